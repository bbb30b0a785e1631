/**
 * Memory that a guest has handed over page by page (a GPADL): it looks like one piece. Its pages were checked against RAM
 * when it was handed over, and every access is checked against its length.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';

export class PagedBuffer {
  /** In bytes. */
  readonly length: number;
  readonly #memory: GuestMemory;
  readonly #pages: Uint32Array;
  readonly #start: number;

  /**
   * @param pages numbers of pages that are RAM
   * @param start where the buffer begins, in bytes from the beginning of the first
   */
  constructor(memory: GuestMemory, pages: Uint32Array, start: number, length: number) {
    if (start + length > pages.length * PAGE_SIZE) throw new RangeError('a buffer longer than its pages');
    this.#memory = memory;
    this.#pages = pages;
    this.#start = start;
    this.length = length;
  }

  /** True if it begins where a page does. */
  get isAligned(): boolean {
    return this.#start % PAGE_SIZE === 0;
  }

  /** A part of it. @throws RangeError outside */
  slice(offset: number, length: number): PagedBuffer {
    this.#check(offset, length);
    return new PagedBuffer(this.#memory, this.#pages, this.#start + offset, length);
  }

  /** A 32-bit number of an aligned buffer; `offset` is a multiple of 4. */
  read32(offset: number): number {
    this.#check(offset, 4);
    return this.#memory.read32(this.#address(offset));
  }

  write32(offset: number, value: number): void {
    this.#check(offset, 4);
    this.#memory.write32(this.#address(offset), value);
  }

  /** @throws RangeError outside */
  copyOut(offset: number, length: number): Uint8Array {
    this.#check(offset, length);
    const bytes = new Uint8Array(length);
    this.#pieces(offset, length, (address, size, done) =>
      bytes.set(this.#memory.bytes.subarray(address, address + size), done),
    );
    return bytes;
  }

  /** @throws RangeError outside */
  copyIn(offset: number, data: Uint8Array): void {
    this.#check(offset, data.length);
    this.#pieces(offset, data.length, (address, size, done) =>
      this.#memory.copyIn(address, data.subarray(done, done + size)),
    );
  }

  #address(offset: number): number {
    const at = this.#start + offset;
    return this.#pages[Math.floor(at / PAGE_SIZE)] * PAGE_SIZE + (at % PAGE_SIZE);
  }

  #pieces(offset: number, length: number, each: (address: number, size: number, done: number) => void): void {
    for (let done = 0; done < length; ) {
      const size = Math.min(length - done, PAGE_SIZE - ((this.#start + offset + done) % PAGE_SIZE));
      each(this.#address(offset + done), size, done);
      done += size;
    }
  }

  #check(offset: number, length: number): void {
    if (!(Number.isInteger(offset) && offset >= 0 && length >= 0 && offset + length <= this.length))
      throw new RangeError(`${offset}+${length} is outside a buffer of ${this.length} bytes`);
  }
}
