/**
 * What dpkg knows of packages that have been unpacked and not configured yet: files below /var/lib/dpkg, as dpkg itself would have
 * written them (dpkg 1.21, lib/dpkg/dump.c, infodb-access.c and src/main/trigproc.c). `dpkg --configure -a` goes on from there.
 */
import type { TarEntry } from 'modern-tar';
import { type DebianPackage, entriesOf } from './package.ts';

/** /var/lib/dpkg, as the names of entries have it. */
const ADMIN = './var/lib/dpkg';
/** Control files that dpkg does not keep below info/: it has them in its list of packages. */
const NOT_KEPT = ['control'];

export interface PackageRecords {
  /** The package's paragraph in /var/lib/dpkg/status. */
  paragraph: string;
  /** Its files below info/. */
  entries: TarEntry[];
  /** Lines of triggers/File, and of files named after triggers. */
  triggers: readonly { file: string; line: string }[];
}

/** @param md5 of a file's content, in hexadecimal. @throws ImageError for a damaged package */
export async function describePackage(
  unpacked: DebianPackage,
  md5: (data: Uint8Array) => string,
): Promise<PackageRecords> {
  const { fields, control, tar } = unpacked;
  const text = (name: string) => new TextDecoder().decode(control.get(name) ?? new Uint8Array());
  const name = fields.get('Package')!;
  // Packages that may be there for several architectures at once have it in their files' names.
  const shown = fields.get('Multi-Arch') === 'same' ? `${name}:${fields.get('Architecture')}` : name;
  const conffiles = text('conffiles')
    .split('\n')
    .map(line => line.trim())
    .filter(line => line.startsWith('/'));
  const files = await entriesOf(tar);
  const list = files.map(({ header }) => header.name.replace(/^\.?\/*/, '/').replace(/(.)\/+$/, '$1'));
  const digests = conffiles.map(path => {
    const file = files[list.indexOf(path)];
    return `\n ${path} ${md5(file?.data ?? new Uint8Array())}`;
  });
  const entries = [...control]
    .filter(([file]) => !NOT_KEPT.includes(file) && /^[\w.-]+$/.test(file))
    .map(([file, body]) => tarFile(`${ADMIN}/info/${shown}.${file}`, body, isScript(file) ? 0o755 : 0o644));
  const listed = list.map(path => `${path === '/' ? '/.' : path}\n`).join('');
  entries.push(tarFile(`${ADMIN}/info/${shown}.list`, listed));
  return {
    paragraph: paragraph(text('control'), digests),
    entries,
    triggers: interests(text('triggers'), shown),
  };
}

const isScript = (file: string) => /^(?:pre|post)(?:inst|rm)$|^config$/.test(file);

function paragraph(control: string, digests: readonly string[]): string {
  const [first, ...rest] = control.trimEnd().split('\n');
  const conffiles = digests.length > 0 ? [`Conffiles:${digests.join('')}`] : [];
  return [first, 'Status: install ok unpacked', ...rest, ...conffiles, '', ''].join('\n');
}

/** deb-triggers(5): which triggers a package is interested in; those that are paths stand in one file. */
function interests(triggers: string, name: string): PackageRecords['triggers'] {
  return triggers.split('\n').flatMap(line => {
    const [, kind, trigger] = /^\s*interest(-\w+)?\s+(\S+)/.exec(line) ?? [];
    if (trigger === undefined) return [];
    const who = kind === '-noawait' ? `${name}/noawait` : name;
    return trigger.startsWith('/')
      ? [{ file: 'File', line: `${trigger} ${who}\n` }]
      : [{ file: trigger.replaceAll('/', '_'), line: `${who}\n` }];
  });
}

/** The entries that make all packages known. @param records in the order in which they would have been unpacked */
export function databaseEntries(records: readonly PackageRecords[]): TarEntry[] {
  const triggers = new Map<string, string>();
  for (const { file, line } of records.flatMap(({ triggers }) => triggers))
    triggers.set(file, (triggers.get(file) ?? '') + line);
  return [
    ...['', '/info', '/triggers', '/updates', '/parts', '/alternatives'].map(name => tarFolder(`${ADMIN}${name}`)),
    ...records.flatMap(({ entries }) => entries),
    tarFile(`${ADMIN}/info/format`, '1\n'),
    tarFile(`${ADMIN}/status`, records.map(({ paragraph }) => paragraph).join('')),
    tarFile(`${ADMIN}/available`, ''),
    ...[...triggers].map(([file, lines]) => tarFile(`${ADMIN}/triggers/${file}`, lines)),
  ];
}

export function tarFile(name: string, content: Uint8Array | string, mode = 0o644): TarEntry {
  const body = typeof content === 'string' ? new TextEncoder().encode(content) : content;
  return { header: { name, type: 'file', size: body.length, mode, uid: 0, gid: 0, mtime: new Date(0) }, body };
}

export function tarFolder(name: string, mode = 0o755): TarEntry {
  return { header: { name: `${name}/`, type: 'directory', size: 0, mode, uid: 0, gid: 0, mtime: new Date(0) } };
}

export function tarLink(name: string, linkname: string): TarEntry {
  return { header: { name, type: 'symlink', size: 0, linkname, mode: 0o777, uid: 0, gid: 0, mtime: new Date(0) } };
}
