/** A Debian package as a whole (deb(5)): its control files, and the tar archive of what it installs. */
import { compressionOf, decompress } from '../decompress.ts';
import { debMember } from '../guest/deb.ts';
import { ImageError } from '../image-error.ts';

export interface DebianPackage {
  /** Fields of the control file, by their names: `Package`, `Depends`. Continued lines are joined by line ends. */
  fields: ReadonlyMap<string, string>;
  /** The control archive's files, by their names: `control`, `postinst`. */
  control: ReadonlyMap<string, Uint8Array>;
  /** What is installed, as a tar archive. */
  tar: Uint8Array;
}

/** @throws ImageError when the package is damaged */
export async function openDeb(bytes: Uint8Array): Promise<DebianPackage> {
  const [controlTar, tar] = await Promise.all(
    ['control.tar', 'data.tar'].map(async member => {
      const [, packed] = debMember(bytes, member);
      return compressionOf(packed) ? await decompress(packed) : packed;
    }),
  );
  const control = new Map<string, Uint8Array>();
  for (const { header, data } of await entriesOf(controlTar!))
    if (header.type === 'file' && data) control.set(header.name.replace(/^\.?\/+/, ''), data);
  const text = control.get('control');
  if (!text) throw new ImageError('the Debian package has no control file: it is damaged; fetch it again');
  const fields = controlFields(new TextDecoder().decode(text));
  for (const name of ['Package', 'Version', 'Architecture'])
    if (!fields.get(name)) throw new ImageError(`the Debian package's control file has no ${name}; fetch it again`);
  return { fields, control, tar: tar! };
}

/** The entries of an archive that is part of a package. @throws ImageError */
export async function entriesOf(tar: Uint8Array, wanted: (name: string) => boolean = () => true) {
  const { unpackTar } = await import('modern-tar');
  try {
    return await unpackTar(tar, { filter: header => wanted(header.name) });
  } catch (error) {
    throw new ImageError(`the Debian package is damaged: ${error instanceof Error ? error.message : error}`);
  }
}

/** deb-control(5): `Name: value`; a line that begins with a space goes on with the value before it. */
export function controlFields(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  let last = '';
  for (const line of text.split('\n')) {
    const [, name, value] = /^([\w-]+):\s*(.*)$/.exec(line) ?? [];
    if (name !== undefined) fields.set((last = name), value!.trim());
    else if (/^\s+\S/.test(line)) fields.set(last, `${fields.get(last)}\n${line}`);
  }
  return fields;
}

/** What the package needs, by name: of alternatives the first. */
export function dependencies({ fields }: DebianPackage): string[] {
  const lists = ['Pre-Depends', 'Depends'].map(name => fields.get(name) ?? '');
  return lists
    .join(',')
    .split(',')
    .map(item => item.trim().split(/[\s:(|]/)[0]!)
    .filter(Boolean);
}

const BLOCK = 512;
/** Types of entries that belong to the next one (tar(5)): its long name, the long name of what it links to (GNU), what else is said of it. */
const LONG_NAME = 0x4c;
const BEFORE_OTHERS = [LONG_NAME, 0x4b, 0x78];

/**
 * A tar archive's entries without the zeros after them, as pieces of it: several archives in a row are one then.
 * @param wanted says which entries, by their names. @throws ImageError
 */
export function tarEntries(tar: Uint8Array, wanted: (name: string) => boolean): Uint8Array[] {
  const text = (start: number, length: number) => {
    const field = tar.subarray(start, start + length);
    const end = field.indexOf(0);
    return new TextDecoder().decode(end < 0 ? field : field.subarray(0, end));
  };
  const pieces: Uint8Array[] = [];
  let at = 0;
  /** Where the entry begins, if something stands before it that belongs to it. */
  let start: number | undefined;
  let longName = '';
  while (at + BLOCK <= tar.length && tar[at] !== 0) {
    const end = at + BLOCK + Math.ceil(sizeOf(tar.subarray(at, at + BLOCK)) / BLOCK) * BLOCK;
    if (end > tar.length) throw new ImageError('the Debian package is damaged: its archive is cut off');
    const type = tar[at + 156]!;
    if (BEFORE_OTHERS.includes(type)) {
      start ??= at;
      if (type === LONG_NAME) longName = text(at + BLOCK, end - at - BLOCK);
    } else {
      const prefix = text(at + 257, 6) === 'ustar' ? text(at + 345, 155) : '';
      const name = longName || [prefix, text(at, 100)].filter(Boolean).join('/');
      if (wanted(name)) pieces.push(tar.subarray(start ?? at, end));
      start = undefined;
      longName = '';
    }
    at = end;
  }
  return pieces;
}

/** Octal digits, or, with the first bit set, a number in binary (star(5)). @throws ImageError */
function sizeOf(header: Uint8Array): number {
  const field = header.subarray(124, 136);
  const size =
    field[0]! & 0x80
      ? field.subarray(4).reduce((sum, byte) => sum * 256 + byte, 0)
      : Number.parseInt(
          String.fromCharCode(...field)
            .replaceAll('\0', ' ')
            .trim() || '0',
          8,
        );
  if (!(size >= 0)) throw new ImageError('the Debian package is damaged: an entry of its archive has no size');
  return size;
}
