/**
 * A Debian binary package (deb(5)): an ar archive of "debian-binary", control.tar.* and data.tar.*. Only the data is read.
 */
import { decompress } from '../decompress.ts';
import { ImageError } from '../image-error.ts';

/** A regular file of a package; `path` has no leading "./". */
export interface PackageFile {
  path: string;
  mode: number;
  data: Uint8Array;
}

const AR_MAGIC = '!<arch>\n';
/** An ar member's header: name 16, time 12, owner 6, group 6, mode 8, size 10, end 2 (all ASCII). */
const AR_HEADER = 60;

/** The package's regular files whose path `wanted` accepts. @throws ImageError when the package is damaged. */
export async function readDeb(bytes: Uint8Array, wanted: (path: string) => boolean): Promise<PackageFile[]> {
  const [name, packed] = debMember(bytes, 'data.tar');
  const tar = name === 'data.tar' ? packed : await decompress(packed);
  const clean = (path: string) => path.replace(/^(\.?\/)+/, '');
  const { unpackTar } = await import('modern-tar');
  try {
    const entries = await unpackTar(tar, { filter: header => wanted(clean(header.name)) });
    return entries
      .filter(entry => (entry.header.type ?? 'file') === 'file')
      .map(({ header, data }) => ({
        path: clean(header.name),
        mode: header.mode ?? 0o644,
        data: data ?? new Uint8Array(),
      }));
  } catch (error) {
    throw new ImageError(
      `the package's ${name} is damaged: ${error instanceof Error ? error.message : error}; fetch it again`,
    );
  }
}

/**
 * The name and contents of the member whose name begins so: for `data.tar` also data.tar.xz, …
 * @throws ImageError where there is none
 */
export function debMember(bytes: Uint8Array, beginning: string): [name: string, data: Uint8Array] {
  const text = (start: number, length: number) =>
    new TextDecoder('latin1').decode(bytes.subarray(start, start + length));
  if (text(0, AR_MAGIC.length) !== AR_MAGIC) throw new ImageError('not a Debian package');
  let at = AR_MAGIC.length;
  while (at + AR_HEADER <= bytes.length) {
    const name = text(at, 16).trim().replace(/\/$/, '');
    const size = Number.parseInt(text(at + 48, 10), 10);
    const start = at + AR_HEADER;
    if (!(size >= 0) || start + size > bytes.length) break;
    if (name.startsWith(beginning)) return [name, bytes.subarray(start, start + size)];
    at = start + size + (size & 1);
  }
  throw new ImageError(`the Debian package is cut off or damaged: it has no ${beginning}; fetch it again`);
}
