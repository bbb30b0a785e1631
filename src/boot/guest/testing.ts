/** Packages made for tests. */
import { gzipSync } from 'fflate';
import { packTar } from 'modern-tar';
import { makeElf, text } from '../testing.ts';

/** An ar archive of the members, as dpkg-deb makes it. */
export function makeAr(members: Record<string, Uint8Array>): Uint8Array {
  const pieces: Uint8Array[] = [text('!<arch>\n')];
  for (const [name, data] of Object.entries(members)) {
    const header = `${name.padEnd(16)}${'0'.padEnd(12)}${'0'.padEnd(6)}${'0'.padEnd(6)}${'100644'.padEnd(8)}${String(data.length).padEnd(10)}\`\n`;
    pieces.push(text(header), data, text(data.length % 2 ? '\n' : ''));
  }
  const out = new Uint8Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
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

/** A package with its control files besides: `control` and scripts. Folders end with a slash, symbolic links are arrays. */
export async function makeWholeDeb(
  control: Record<string, string>,
  files: Record<string, string | Uint8Array | readonly [target: string]>,
): Promise<Uint8Array> {
  const pack = (contents: Record<string, string | Uint8Array | readonly [target: string]>) =>
    packTar(
      Object.entries(contents).map(([name, content]) => {
        if (name.endsWith('/')) return { header: { name, size: 0, mode: 0o755, type: 'directory' as const } };
        if (Array.isArray(content))
          return { header: { name, size: 0, type: 'symlink' as const, linkname: content[0] as string } };
        const body = typeof content === 'string' ? text(content) : (content as Uint8Array);
        return { header: { name, size: body.length, mode: 0o755, type: 'file' as const }, body };
      }),
    );
  const named = Object.fromEntries(Object.entries(control).map(([name, content]) => [`./${name}`, content]));
  return makeAr({
    'debian-binary': text('2.0\n'),
    'control.tar.gz': gzipSync(await pack(named)),
    'data.tar.gz': gzipSync(await pack({ './': '', ...files })),
  });
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
