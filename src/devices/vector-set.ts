/** A set of interrupt vectors as the local APIC keeps three of them: 256 bits in eight words, the highest always known. */
export class VectorSet {
  readonly #words = new Int32Array(8);
  #top = -1;

  /** The highest vector in the set, or -1: kept, because it is asked for all the time. */
  get top(): number {
    return this.#top;
  }

  add(vector: number): void {
    this.#words[vector >> 5] |= 1 << (vector & 31);
    if (vector > this.#top) this.#top = vector;
  }

  remove(vector: number): void {
    this.#words[vector >> 5] &= ~(1 << (vector & 31));
    if (vector === this.#top) this.#top = this.#highest();
  }

  has(vector: number): boolean {
    return (this.#words[vector >> 5] & (1 << (vector & 31))) !== 0;
  }

  clear(): void {
    this.#words.fill(0);
    this.#top = -1;
  }

  /** Vectors `index` * 32 to `index` * 32 + 31, the lowest in bit 0. */
  word(index: number): number {
    return this.#words[index];
  }

  #highest(): number {
    for (let index = 7; index >= 0; index--) {
      if (this.#words[index] !== 0) return index * 32 + 31 - Math.clz32(this.#words[index]);
    }
    return -1;
  }
}
