/**
 * A set of interrupt vectors as the local APIC keeps three of them: 256 bits in eight words, the highest always known.
 */
import type { State, States } from '../state/state.ts';

export class VectorSet {
  readonly #state: State<{ words: Int32Array; top: number }>;

  constructor(states: States, name: string) {
    this.#state = states.state(name, 1, () => ({ words: new Int32Array(8), top: -1 }));
  }

  /** The highest vector in the set, or -1: kept, because it is asked for all the time. */
  get top(): number {
    return this.#state.top;
  }

  add(vector: number): void {
    this.#state.words[vector >> 5] |= 1 << (vector & 31);
    if (vector > this.#state.top) this.#state.top = vector;
  }

  remove(vector: number): void {
    this.#state.words[vector >> 5] &= ~(1 << (vector & 31));
    if (vector === this.#state.top) this.#state.top = this.#highest();
  }

  has(vector: number): boolean {
    return (this.#state.words[vector >> 5] & (1 << (vector & 31))) !== 0;
  }

  clear(): void {
    this.#state.initialise();
  }

  /** Vectors `index` * 32 to `index` * 32 + 31, the lowest in bit 0. */
  word(index: number): number {
    return this.#state.words[index];
  }

  #highest(): number {
    for (let index = 7; index >= 0; index--) {
      if (this.#state.words[index] !== 0) return index * 32 + 31 - Math.clz32(this.#state.words[index]);
    }
    return -1;
  }
}
