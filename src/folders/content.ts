/**
 * What is in a regular file in memory: pieces that have been written, above what it was made of (a file of another file
 * system, a part of an archive), above zeros. So a hole costs nothing, and a change of a large file costs only its pieces.
 */
import { FileError } from '../host/file-system.ts';

/** What lies beneath a content. It does not change. */
export interface Source {
  readonly size: number;
  /** Fills `into` from `offset`; the caller stays within `size`. */
  read(offset: number, into: Uint8Array): void;
}

/** How much memory a file system may take for its contents, in bytes. */
export interface Allowance {
  readonly limit: number;
  used: number;
}

const PIECE = 1 << 16;
/** The largest file: byte offsets are doubles. */
export const LARGEST_FILE = Number.MAX_SAFE_INTEGER;

export class Content {
  #size: number;
  /** Undefined once nothing of it shows. */
  #source: Source | undefined;
  /** How much of the source shows: less than all of it once the file was cut. */
  #sourceEnd: number;
  /** By number. A piece that is shorter than PIECE is followed by zeros. */
  readonly #pieces = new Map<number, Uint8Array>();
  readonly #allowance: Allowance;

  constructor(allowance: Allowance, source?: Source) {
    this.#allowance = allowance;
    this.#source = source;
    this.#size = this.#sourceEnd = source?.size ?? 0;
  }

  get size(): number {
    return this.#size;
  }

  /** Bytes that are not holes. */
  get allocated(): number {
    let sum = this.#sourceEnd;
    for (const piece of this.#pieces.values()) sum += piece.length;
    return sum;
  }

  read(offset: number, into: Uint8Array): number {
    const length = Math.max(0, Math.min(into.length, this.#size - offset));
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const within = at % PIECE;
      const count = Math.min(PIECE - within, length - done);
      this.#readPiece(Math.floor(at / PIECE), within, into.subarray(done, done + count));
      done += count;
    }
    return length;
  }

  #readPiece(index: number, within: number, into: Uint8Array): void {
    const piece = this.#pieces.get(index);
    let known = 0;
    if (piece) {
      known = Math.max(0, Math.min(into.length, piece.length - within));
      into.set(piece.subarray(within, within + known));
    } else {
      const at = index * PIECE + within;
      known = Math.max(0, Math.min(into.length, this.#sourceEnd - at));
      if (known > 0) this.#source!.read(at, into.subarray(0, known));
    }
    into.fill(0, known);
  }

  write(offset: number, from: Uint8Array): number {
    if (offset + from.length > LARGEST_FILE) throw new FileError('EFBIG');
    for (let done = 0; done < from.length; ) {
      const at = offset + done;
      const within = at % PIECE;
      const count = Math.min(PIECE - within, from.length - done);
      this.#pieceFor(Math.floor(at / PIECE), within + count).set(from.subarray(done, done + count), within);
      done += count;
      this.#size = Math.max(this.#size, at + count);
    }
    return from.length;
  }

  /** The piece to write into, at least `length` bytes long. */
  #pieceFor(index: number, length: number): Uint8Array {
    const old = this.#pieces.get(index);
    if (old && old.length >= length) return old;
    const start = index * PIECE;
    const beneath = old ? 0 : Math.max(0, Math.min(PIECE, this.#sourceEnd - start));
    // Small files stay small; one that grows doubles its piece, so that appending does not copy it each time.
    const wanted = Math.min(PIECE, Math.max(length, beneath, 2 * (old?.length ?? 0)));
    const more = wanted - (old?.length ?? 0);
    if (this.#allowance.used + more > this.#allowance.limit) throw new FileError('ENOSPC');
    this.#allowance.used += more;
    const piece = new Uint8Array(wanted);
    if (old) piece.set(old);
    else if (beneath > 0) this.#source!.read(start, piece.subarray(0, beneath));
    this.#pieces.set(index, piece);
    return piece;
  }

  resize(size: number): void {
    if (size > LARGEST_FILE) throw new FileError('EFBIG');
    if (size < this.#size) {
      const last = Math.floor(size / PIECE);
      for (const [index, piece] of this.#pieces) {
        if (index > last || (index === last && size % PIECE === 0)) {
          this.#allowance.used -= piece.length;
          this.#pieces.delete(index);
        } else if (index === last) piece.fill(0, size % PIECE);
      }
      this.#sourceEnd = Math.min(this.#sourceEnd, size);
      if (this.#sourceEnd === 0) this.#source = undefined;
    }
    this.#size = size;
  }

  /** The file is no more. */
  drop(): void {
    this.resize(0);
  }
}
