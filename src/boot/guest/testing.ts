/** Packages made for tests. */
import { gzipSync } from 'fflate';
import { packTar } from 'modern-tar';
import { makeElf, text } from '../testing.ts';

/** An ar archive of the members, as dpkg-deb makes it. */
export function makeAr(members: Record<string, Uint8Array>): Uint8Array {
  const out = [...text('!<arch>\n')];
  for (const [name, data] of Object.entries(members)) {
    const header = `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(data.length).padEnd(10)}\`\n`;
    out.push(...text(header), ...data, ...(data.length % 2 ? [10] : []));
  }
  return Uint8Array.from(out);
}

/** A package of those files. */
export async function makeDeb(files: Record<string, string | Uint8Array>): Promise<Uint8Array> {
  const directory = { header: { name: './boot/', type: 'directory' as const, size: 0 } };
  const entries = Object.entries(files).map(([name, content]) => {
    const body = typeof content === 'string' ? text(content) : content;
    return { header: { name, size: body.length, mode: 0o755 }, body };
  });
  const tar = await packTar([directory, ...entries]);
  return makeAr({ 'debian-binary': text('2.0\n'), 'control.tar.gz': text('odd'), 'data.tar.gz': gzipSync(tar) });
}

/** A kernel module that says so much of itself. */
export function makeModule(name: string, depends: string[] = [], aliases: string[] = []) {
  const info = [
    `name=${name}`,
    `depends=${depends.join(',')}`,
    ...aliases.map(alias => `alias=${alias}`),
    'vermagic=6.1',
  ];
  const data = makeElf({ type: 1, sections: [{ name: '.modinfo', data: text(`${info.join('\0')}\0`) }] });
  return { path: `kernel/drivers/${name.replaceAll('_', '-')}.ko`, data };
}

/** As much of a busybox as its list of applets. */
export const BUSYBOX = Uint8Array.from([0x7f, 0x45, 0, ...text('[\0garbage\0\0[\0[[\0ash\0cat\0poweroff\0sh\0\0zz')]);
