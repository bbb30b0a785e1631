/**
 * What entered a machine from outside, in the order in which it did: bytes that are written while one runs, and read while another
 * one does the same again. docs/recording-format.md has the table.
 */

/** Readings of the host's clock: nanoseconds since the reading before (LEB128). */
export const NOW = 1;
/** Of the wall's: nanoseconds since the Unix epoch, 8 bytes. */
export const WALL = 2;
/** A processor has executed: its place, instructions since its last slice (LEB128 both), the low half of RIP (4 bytes). */
export const SLICE = 3;
/** Somebody outside wants something: which input, its length (LEB128 both), its bytes. */
export const INPUT = 4;
/** A decision that depends on the host: 0 or 1. */
export const FLAG = 5;
/** A run has ended: length and UTF-8. */
export const END = 6;
/** Where a generator of random numbers starts: 8 bytes. */
export const SEED = 7;

export const ENTRY_NAMES: readonly string[] = [
  ...[
    'nothing more',
    "a reading of the host's clock",
    "a reading of the wall's clock",
    'the end of a slice',
    'an input',
  ],
  ...['a decision', 'the end of a run', 'a random seed'],
];

/** The recording is not what this machine does, or is damaged. */
export class Divergence extends Error {
  override name = 'Divergence';
}

export class JournalWriter {
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  readonly #deliver: (bytes: Uint8Array<ArrayBuffer>) => void;

  /** @param deliver gets the bytes in pieces, and may keep them */
  constructor(deliver: (bytes: Uint8Array<ArrayBuffer>) => void) {
    this.#deliver = deliver;
  }
  /** The next entry, or piece of one, has `length` bytes at most. */
  #room(length: number): void {
    if (this.#length + length <= this.#bytes.length) return;
    this.flush();
    if (length > this.#bytes.length) {
      this.#bytes = new Uint8Array(length);
      this.#view = new DataView(this.#bytes.buffer);
    }
  }
  flush(): void {
    if (this.#length > 0) this.#deliver(this.#bytes.slice(0, this.#length));
    this.#length = 0;
  }
  kind(kind: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = kind;
  }
  /** @param value an integer from 0 to 2^53 */
  count(value: number): void {
    this.#room(8);
    for (; value >= 0x80; value = Math.floor(value / 0x80)) this.#bytes[this.#length++] = (value % 0x80) | 0x80;
    this.#bytes[this.#length++] = value;
  }
  u32(value: number): void {
    this.#room(4);
    this.#view.setUint32(this.#length, value, true);
    this.#length += 4;
  }
  u64(value: bigint): void {
    this.#room(8);
    this.#view.setBigUint64(this.#length, value, true);
    this.#length += 8;
  }
  raw(bytes: Uint8Array): void {
    this.count(bytes.length);
    this.bytes(bytes);
  }
  bytes(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }
}

/** Reads what may come from anywhere. */
export class JournalReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  /** How far it has been read. */
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }
  /** The kind of the next entry; 0 at the end. */
  get next(): number {
    return this.#bytes[this.at] ?? 0;
  }
  #take(length: number): number {
    const { at } = this;
    if (length > this.#bytes.length - at) throw new Divergence('the recording is cut short');
    this.at += length;
    return at;
  }
  kind(): number {
    return this.#bytes[this.#take(1)]!;
  }
  count(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 56; scale *= 0x80) {
      const byte = this.#bytes[this.#take(1)]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new Divergence('the recording is damaged: a number has no end');
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }
  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }
  raw(): Uint8Array {
    const length = this.count();
    const at = this.#take(length);
    return this.#bytes.slice(at, at + length);
  }
}
