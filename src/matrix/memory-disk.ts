/** A disk in memory: what the built-in test may write to, gone with its cell. */
import type { Disk } from '../host/disk.ts';

export function createMemoryDisk(name: string, size: number, label: string): Disk {
  const bytes = new Uint8Array(size);
  bytes.set(new TextEncoder().encode(label));
  const check = (offset: number, length: number) => {
    if (offset < 0 || offset + length > size) throw new RangeError(`${offset}+${length} lies outside of ${name}`);
  };
  return {
    name,
    size,
    readOnly: false,
    read(offset, into) {
      check(offset, into.length);
      into.set(bytes.subarray(offset, offset + into.length));
    },
    write(offset, from) {
      check(offset, from.length);
      bytes.set(from, offset);
    },
    flush() {},
    discard(offset, length) {
      check(offset, length);
      bytes.fill(0, offset, offset + length);
    },
    close() {},
  };
}
