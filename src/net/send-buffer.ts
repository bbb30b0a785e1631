/** Bytes that are sent but not acknowledged, and those that wait behind them. */
export class SendBuffer {
  readonly #pieces: Uint8Array[] = [];
  /** Bytes of the first piece that are gone. */
  #gone = 0;
  length = 0;

  put(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#pieces.push(bytes);
    this.length += bytes.length;
  }

  /** Drops the first `count` bytes: they have arrived. */
  drop(count: number): void {
    this.length -= count;
    this.#gone += count;
    let whole = 0;
    while (whole < this.#pieces.length && this.#gone >= this.#pieces[whole].length)
      this.#gone -= this.#pieces[whole++].length;
    this.#pieces.splice(0, whole);
  }

  /** `count` bytes from `offset` on, in pieces. */
  part(offset: number, count: number): Uint8Array[] {
    const parts: Uint8Array[] = [];
    let skip = offset + this.#gone;
    for (const piece of this.#pieces) {
      if (count === 0) break;
      if (skip >= piece.length) {
        skip -= piece.length;
        continue;
      }
      const part = piece.subarray(skip, skip + count);
      parts.push(part);
      count -= part.length;
      skip = 0;
    }
    return parts;
  }

  clear(): void {
    this.#pieces.length = 0;
    this.#gone = this.length = 0;
  }
}

/** Bytes that arrived before those that come before them. */
export class Gaps {
  /** In order, without overlap; sequence numbers relative to a moving start. */
  #pieces: { sequence: number; bytes: Uint8Array }[] = [];

  get empty(): boolean {
    return this.#pieces.length === 0;
  }

  /** Keeps what is not there yet of `bytes`, copied. */
  put(sequence: number, bytes: Uint8Array): void {
    const kept: { sequence: number; bytes: Uint8Array }[] = [];
    let rest: { sequence: number; bytes: Uint8Array } | undefined = { sequence, bytes };
    for (const piece of this.#pieces) {
      if (rest) {
        const before: number = (piece.sequence - rest.sequence) | 0;
        if (before > 0) kept.push({ sequence: rest.sequence, bytes: rest.bytes.slice(0, before) });
        const skip: number = before + piece.bytes.length;
        // What of the new bytes lies before this piece is kept above; what lies behind it goes on.
        if (before >= rest.bytes.length || skip >= rest.bytes.length) rest = undefined;
        else if (skip > 0) rest = { sequence: (rest.sequence + skip) | 0, bytes: rest.bytes.subarray(skip) };
      }
      kept.push(piece);
    }
    if (rest) kept.push({ sequence: rest.sequence, bytes: rest.bytes.slice() });
    this.#pieces = kept;
  }

  /** Takes what begins at or before `sequence`, without what lies before it; undefined if nothing does. */
  take(sequence: number): Uint8Array | undefined {
    while (this.#pieces.length > 0) {
      const [{ sequence: start, bytes }] = this.#pieces;
      const skip = (sequence - start) | 0;
      if (skip < 0) return undefined;
      this.#pieces.shift();
      if (skip < bytes.length) return bytes.subarray(skip);
    }
    return undefined;
  }
}
