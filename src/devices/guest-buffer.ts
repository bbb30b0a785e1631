/**
 * A buffer of the guest's that lies in several pieces of RAM: what a command reads its data from or fills. Every piece was
 * checked against RAM when the buffer was made.
 */
import type { GuestMemory } from '../memory/memory.ts';

export interface Piece {
  /** Guest-physical. */
  readonly address: number;
  /** In bytes. */
  readonly length: number;
}

export class GuestBuffer {
  /** In bytes. */
  readonly length: number;
  readonly #memory: GuestMemory;
  readonly #pieces: readonly Piece[];

  private constructor(memory: GuestMemory, pieces: readonly Piece[]) {
    this.#memory = memory;
    this.#pieces = pieces;
    this.length = pieces.reduce((sum, { length }) => sum + length, 0);
  }

  /** @returns undefined if a piece is not RAM */
  static over(memory: GuestMemory, pieces: readonly Piece[]): GuestBuffer | undefined {
    return pieces.every(({ address, length }) => memory.has(address, length))
      ? new GuestBuffer(memory, pieces)
      : undefined;
  }

  /**
   * Calls `each` with the guest's own memory for `length` bytes from `offset` on, piece by piece, as far as the buffer
   * reaches.
   * @param write true if `each` writes there
   */
  forEach(offset: number, length: number, write: boolean, each: (bytes: Uint8Array, done: number) => void): void {
    let done = 0;
    let skip = offset;
    for (const piece of this.#pieces) {
      if (done >= length) break;
      const skipped = Math.min(skip, piece.length);
      skip -= skipped;
      const size = Math.min(piece.length - skipped, length - done);
      if (size === 0) continue;
      const address = piece.address + skipped;
      each(this.#memory.bytes.subarray(address, address + size), done);
      if (write) this.#memory.onWrite(address, size);
      done += size;
    }
  }

  /** A copy of `length` bytes from `offset` on; shorter where the buffer ends. */
  copyOut(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(Math.max(0, Math.min(length, this.length - offset)));
    this.forEach(offset, bytes.length, false, (piece, done) => bytes.set(piece, done));
    return bytes;
  }

  /** Stores `data` from `offset` on, as far as the buffer reaches. @returns the bytes stored */
  copyIn(offset: number, data: Uint8Array): number {
    const length = Math.max(0, Math.min(data.length, this.length - offset));
    this.forEach(offset, length, true, (piece, done) => piece.set(data.subarray(done, done + piece.length)));
    return length;
  }
}
