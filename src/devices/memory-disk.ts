/** A disk image in memory, for tests. */
import type { Disk } from '../host/disk.ts';

export interface MemoryDisk extends Disk {
  readonly bytes: Uint8Array;
  /** What was asked for, in order: `flush`, `discard 512+1024`. */
  readonly events: string[];
}

export function memoryDisk(name: string, size: number, readOnly = false): MemoryDisk {
  const bytes = new Uint8Array(size);
  const events: string[] = [];
  const check = (offset: number, length: number) => {
    if (offset < 0 || offset + length > size) throw new RangeError(`${offset}+${length} is past the end`);
  };
  return {
    ...{ name, size, readOnly, bytes, events },
    read(offset, into) {
      check(offset, into.length);
      into.set(bytes.subarray(offset, offset + into.length));
    },
    write(offset, from) {
      check(offset, from.length);
      if (readOnly) throw new Error('read-only');
      bytes.set(from, offset);
    },
    flush: () => void events.push('flush'),
    discard(offset, length) {
      check(offset, length);
      if (readOnly) throw new Error('read-only');
      events.push(`discard ${offset}+${length}`);
      bytes.fill(0, offset, offset + length);
    },
    close: () => {},
  };
}
