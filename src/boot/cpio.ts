/**
 * The "newc" cpio archive, the only format Linux accepts for an initramfs (Documentation/driver-api/early-userspace/
 * buffer-format.rst): per entry a header of "070701" and thirteen 8-digit hexadecimal fields, the NUL-terminated name and
 * the data, each padded to 4 bytes; at the end an entry named TRAILER!!!. The kernel unpacks several archives that follow
 * each other, so long as each starts at a multiple of 4 bytes.
 */
import { ImageError } from './image-error.ts';

export interface CpioEntry {
  /** Path without a leading slash: `bin/busybox`. */
  name: string;
  /** Type and permissions, as in `stat`: see S_IFREG and the others below. */
  mode: number;
  /** A file's contents; a symbolic link's target as text. */
  data?: Uint8Array | string;
  /** Major and minor number of a device node. */
  device?: readonly [major: number, minor: number];
}

export const S_IFREG = 0o100000;
export const S_IFDIR = 0o040000;
export const S_IFLNK = 0o120000;
export const S_IFCHR = 0o020000;

const HEADER = 110;
const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
/** Where a field stands in the header, after the magic: 6 + 8 * index. */
const FIELD = { mode: 1, nlink: 4, size: 6, deviceMajor: 9, deviceMinor: 10, nameSize: 11 } as const;

/** The archive of `entries`, in their order (a directory before what is in it), padded to 512 bytes. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const all = [...entries, { name: TRAILER, mode: 0 }].map((entry, index) => {
    const name = new TextEncoder().encode(`${entry.name}\0`);
    const data =
      typeof entry.data === 'string' ? new TextEncoder().encode(entry.data) : (entry.data ?? new Uint8Array());
    return { entry, inode: index + 1, name, data };
  });
  let length = 0;
  for (const { name, data } of all) length += align4(HEADER + name.length) + align4(data.length);
  const out = new Uint8Array(Math.ceil(length / 512) * 512);
  let at = 0;
  for (const { entry, inode, name, data } of all) {
    const [major, minor] = entry.device ?? [0, 0];
    const links = (entry.mode & 0o170000) === S_IFDIR ? 2 : 1;
    // inode, mode, uid, gid, nlink, mtime, size, device of the file system (2), device (2), name's length, checksum
    const fields = [inode, entry.mode, 0, 0, links, 0, data.length, 0, 0, major, minor, name.length, 0];
    const header = MAGIC + fields.map(field => field.toString(16).padStart(8, '0')).join('');
    out.set(new TextEncoder().encode(header), at);
    out.set(name, at + HEADER);
    at += align4(HEADER + name.length);
    out.set(data, at);
    at += align4(data.length);
  }
  return out;
}

/** The entries of an archive, or of several in a row. @throws ImageError when it is not whole. */
export function readCpio(bytes: Uint8Array): CpioEntry[] {
  const entries: CpioEntry[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (bytes[at] === 0) {
      at += 4; // Padding between archives.
      continue;
    }
    const header = new TextDecoder('latin1').decode(bytes.subarray(at, at + HEADER));
    if (header.length < HEADER || !header.startsWith(MAGIC) || !/^[0-9a-fA-F]+$/.test(header))
      throw new ImageError(`not a newc cpio archive: no header at byte ${at}`);
    const field = (index: number) => Number.parseInt(header.slice(6 + 8 * index, 14 + 8 * index), 16);
    const [size, nameSize, mode] = [field(FIELD.size), field(FIELD.nameSize), field(FIELD.mode)];
    const dataStart = at + align4(HEADER + nameSize);
    if (nameSize === 0 || dataStart + size > bytes.length)
      throw new ImageError(`cpio archive ends inside the entry at byte ${at}`);
    const name = new TextDecoder().decode(bytes.subarray(at + HEADER, at + HEADER + nameSize - 1));
    at = dataStart + align4(size);
    if (name === TRAILER) continue;
    const entry: CpioEntry = { name, mode, data: bytes.slice(dataStart, dataStart + size) };
    if (field(FIELD.deviceMajor) || field(FIELD.deviceMinor))
      entry.device = [field(FIELD.deviceMajor), field(FIELD.deviceMinor)];
    entries.push(entry);
  }
  return entries;
}

function align4(value: number): number {
  return (value + 3) & ~3;
}
