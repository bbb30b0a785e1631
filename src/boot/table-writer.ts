/** What tables of a firmware are written with. */

/** Little-endian fields, written one after the other. */
export class TableWriter {
  readonly #bytes: number[] = [];

  u8(...values: number[]): this {
    this.#bytes.push(...values);
    return this;
  }
  u16(value: number): this {
    return this.u8(value & 0xff, (value >> 8) & 0xff);
  }
  u32(value: number): this {
    return this.u16(value & 0xffff).u16((value >>> 16) & 0xffff);
  }
  u64(value: number): this {
    return this.u32(value % 2 ** 32).u32(Math.floor(value / 2 ** 32));
  }
  text(text: string, size: number): this {
    for (let i = 0; i < size; i++) this.u8(i < text.length ? text.charCodeAt(i) : 0x20);
    return this;
  }
  zeros(count: number): this {
    for (let i = 0; i < count; i++) this.u8(0);
    return this;
  }
  /** A generic address structure (5.2.3.2) naming an I/O port. */
  port(port: number, bits: 8 | 16 | 32): this {
    return this.u8(1, bits, 0, bits === 8 ? 1 : bits === 16 ? 2 : 3).u64(port);
  }
  done(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

/** Makes the bytes sum up to 0, by the one at `at`. */
export function seal(bytes: Uint8Array, at: number, length = bytes.length): Uint8Array {
  bytes[at] = 0;
  bytes[at] = -bytes.subarray(0, length).reduce((sum, byte) => sum + byte, 0) & 0xff;
  return bytes;
}
