/** Files of a browser's as disks. Devices read at once or not at all, so these are for a worker: only there files can be read so. */
import type { Disk } from '../disk.ts';
import { type BrowserBlob, browser, type SyncAccessHandle } from './browser.ts';

const SECTOR = 512;
/** What is written is kept in pieces of this size. */
const PIECE = 1 << 16;

/** @throws RangeError outside the disk */
function check(size: number, offset: number, length: number): void {
  if (offset < 0 || offset + length > size) throw new RangeError(`bytes ${offset} to ${offset + length} of ${size}`);
}

/** A size of whole sectors. @throws Error for a file that is no disk image */
function sizeOf(name: string, size: number): number {
  if (size === 0 || size % SECTOR !== 0)
    throw new Error(`${name}: ${size} bytes is no multiple of ${SECTOR}: it is no disk image`);
  return size;
}

/**
 * A File, or any Blob, that the page was given. It stays as it is: what the guest writes is kept in memory, and is gone with the
 * machine.
 */
export function blobDisk(name: string, blob: BrowserBlob): Disk {
  const size = sizeOf(name, blob.size);
  const Reader = browser.FileReaderSync;
  if (!Reader) throw new Error(`${name}: files can be read at once in a worker only`);
  const reader = new Reader();
  const readBlob = (from: number, to: number) =>
    new Uint8Array(reader.readAsArrayBuffer(blob.slice(from, Math.min(to, size))));
  const written = new Map<number, Uint8Array>();
  /** The pieces that a range touches: calls `each` with the piece's number, and the range within it and within the request. */
  const split = (
    offset: number,
    length: number,
    each: (piece: number, from: number, to: number, at: number) => void,
  ) => {
    check(size, offset, length);
    for (let at = 0; at < length; ) {
      const piece = Math.floor((offset + at) / PIECE);
      const from = offset + at - piece * PIECE;
      const to = Math.min(PIECE, from + length - at);
      each(piece, from, to, at);
      at += to - from;
    }
  };
  const writable = (piece: number): Uint8Array => {
    let bytes = written.get(piece);
    if (!bytes) {
      bytes = new Uint8Array(PIECE);
      bytes.set(readBlob(piece * PIECE, (piece + 1) * PIECE));
      written.set(piece, bytes);
    }
    return bytes;
  };
  return {
    name,
    size,
    readOnly: false,
    read: (offset, into) =>
      split(offset, into.length, (piece, from, to, at) => {
        const bytes = written.get(piece)?.subarray(from, to) ?? readBlob(piece * PIECE + from, piece * PIECE + to);
        into.set(bytes, at);
      }),
    write: (offset, bytes) =>
      split(offset, bytes.length, (piece, from, to, at) => {
        writable(piece).set(bytes.subarray(at, at + to - from), from);
      }),
    flush() {},
    discard: (offset, length) => split(offset, length, (piece, from, to) => void writable(piece).fill(0, from, to)),
    close: () => written.clear(),
  };
}

/** A file of the origin's own file system (OPFS), which stays: `await fileHandle.createSyncAccessHandle()` in the worker. */
export function opfsDisk(name: string, handle: SyncAccessHandle): Disk {
  const size = sizeOf(name, handle.getSize());
  return {
    name,
    size,
    readOnly: false,
    read(offset, into) {
      check(size, offset, into.length);
      const read = handle.read(into, { at: offset });
      if (read !== into.length) throw new Error(`${name}: ${read} bytes instead of ${into.length} at ${offset}`);
    },
    write(offset, from) {
      check(size, offset, from.length);
      const written = handle.write(from, { at: offset });
      if (written !== from.length) throw new Error(`${name}: no room for ${from.length} bytes at ${offset}`);
    },
    flush: () => handle.flush(),
    discard(offset, length) {
      check(size, offset, length);
      const zeros = new Uint8Array(Math.min(length, PIECE));
      for (let at = 0; at < length; at += PIECE)
        handle.write(zeros.subarray(0, Math.min(PIECE, length - at)), { at: offset + at });
    },
    close: () => handle.close(),
  };
}
