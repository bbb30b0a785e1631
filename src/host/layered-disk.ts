/**
 * A disk that is not written to, with a layer in memory above it: what a guest writes is there until the end of the run. Several
 * guests may stand on one image at the same time.
 */
import type { Disk } from './disk.ts';

/** Written pieces are kept whole, in bytes. */
const PIECE = 1 << 16;

class LayeredDisk implements Disk {
  readonly name: string;
  readonly size: number;
  readonly readOnly = false;
  readonly bus: string | undefined;
  readonly #below: Disk;
  readonly #limit: number;
  /** By their number. */
  readonly #pieces = new Map<number, Uint8Array>();

  constructor(below: Disk, limit: number) {
    this.name = below.name;
    this.size = below.size;
    this.bus = below.bus;
    this.#below = below;
    this.#limit = limit;
  }

  read(offset: number, into: Uint8Array): void {
    this.#check(offset, into.length);
    this.#each(offset, into.length, (number, start, at, count) => {
      const part = into.subarray(at, at + count);
      const piece = this.#pieces.get(number);
      if (piece) part.set(piece.subarray(start, start + count));
      else this.#below.read(number * PIECE + start, part);
    });
  }

  write(offset: number, from: Uint8Array): void {
    this.#check(offset, from.length);
    this.#each(offset, from.length, (number, start, at, count) => {
      this.#piece(number, count).set(from.subarray(at, at + count), start);
    });
  }

  flush(): void {}

  discard(offset: number, length: number): void {
    this.#check(offset, length);
    this.#each(offset, length, (number, start, _at, count) => {
      this.#piece(number, count).fill(0, start, start + count);
    });
  }

  close(): void {
    this.#pieces.clear();
    this.#below.close();
  }

  /** @param count how many of its bytes will be written. @throws Error when there is no room */
  #piece(number: number, count: number): Uint8Array {
    const present = this.#pieces.get(number);
    if (present) return present;
    if ((this.#pieces.size + 1) * PIECE > this.#limit)
      throw new Error(`${this.name}: what is written to its layer in memory is more than ${this.#limit} bytes`);
    const length = Math.min(PIECE, this.size - number * PIECE);
    const piece = new Uint8Array(length);
    if (count < length) this.#below.read(number * PIECE, piece);
    this.#pieces.set(number, piece);
    return piece;
  }

  #each(offset: number, length: number, work: (number: number, start: number, at: number, count: number) => void) {
    for (let at = 0; at < length; ) {
      const number = Math.floor((offset + at) / PIECE);
      const start = offset + at - number * PIECE;
      const count = Math.min(PIECE - start, length - at);
      work(number, start, at, count);
      at += count;
    }
  }

  #check(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0)
      throw new RangeError(`${this.name}: not a range: ${offset}+${length}`);
    if (offset + length > this.size)
      throw new RangeError(`${this.name}: ${offset}+${length} is past the end (${this.size})`);
  }
}

/** What a layer may take of the host's memory, in bytes, where nothing else is said. */
const LIMIT = 2 ** 30;

/** @param limit what the layer may take, in bytes: a write that needs more fails. */
export function layeredDisk(below: Disk, limit = LIMIT): Disk {
  return new LayeredDisk(below, limit);
}
