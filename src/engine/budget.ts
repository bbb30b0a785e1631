/**
 * How many instructions a processor has executed and may still execute. FUEL holds what is left while WebAssembly runs; it is
 * counted down a block at a time, so the record in execution says how far into its block the processor is.
 */
import * as record from './record.ts';
import type { Cpu } from './x86/cpu.ts';
import { state } from './x86/state.ts';

export class Budget {
  /** Instructions executed before the present call of `run` in WebAssembly. */
  executed = 0;
  readonly #cpu: Cpu;
  /** FUEL given to that call, and what `forfeit` took out of it. */
  #given = 0;
  #forfeited = 0;
  #inside = false;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  /** Instructions executed so far, exact even while one of them asks. */
  get instructions(): number {
    if (!this.#inside) return this.executed;
    const at = this.#cpu.get32(state.RECORD);
    return this.executed + this.#spent() + (at ? this.#cpu.bytes[at + record.POSITION]! : 0);
  }
  /** WebAssembly has been entered and not left. */
  get inside(): boolean {
    return this.#inside;
  }
  /** WebAssembly is entered, with `fuel` instructions at most. */
  enter(fuel: number): void {
    this.#given = fuel;
    this.#forfeited = 0;
    this.#setFuel(fuel);
    this.#inside = true;
  }
  /** WebAssembly has been left. */
  leave(): void {
    this.#inside = false;
    this.executed += this.#spent();
  }
  /** Takes away what is left, so that WebAssembly is left at the end of the block. */
  forfeit(): void {
    if (!this.#inside) return;
    this.#forfeited += this.#fuel();
    this.#setFuel(0);
  }

  #fuel(): number {
    return this.#cpu.get32(state.FUEL) | 0;
  }
  #spent(): number {
    return this.#given - this.#forfeited - this.#fuel();
  }
  #setFuel(fuel: number): void {
    this.#cpu.set32(state.FUEL, fuel);
    this.#cpu.setFloat64(state.GOAL, this.executed + this.#given - this.#forfeited);
  }
}
