/** A disk in memory: what the built-in test may write to, gone with its cell. */
import type { Disk } from '../host/disk.ts';

export function createMemoryDisk(name: string, size: number, label: string): Disk {
  let bytes = new Uint8Array(size);
  bytes.set(new TextEncoder().encode(label));
  /** A copy of `bytes`, where nobody has written since. */
  let copy: Uint8Array | undefined;
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
      copy = undefined;
      bytes.set(from, offset);
    },
    flush() {},
    discard(offset, length) {
      check(offset, length);
      copy = undefined;
      bytes.fill(0, offset, offset + length);
    },
    close() {},
    memory: {
      label,
      get contents() {
        copy ??= bytes.slice();
        return copy;
      },
      set contents(contents) {
        copy = contents;
        bytes = contents.slice();
      },
    },
  };
}
