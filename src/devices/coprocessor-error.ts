/**
 * The chipset between the x87's FERR# and IRQ 13 (SDM 1, appendix D): for systems that leave CR0.NE clear, as DOS does. A write to
 * port 0xf0 ends the interrupt and has the error ignored (IGNNE#) until it is cleared.
 */
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device, InterruptLine } from './device.ts';

export class CoprocessorError implements Device, ByteRegisters {
  readonly name = 'coprocessor-error';
  readonly #line: InterruptLine;
  readonly #state: State<{ interrupts: boolean; ignored: boolean }>;

  constructor(states: States, line: InterruptLine) {
    this.#line = line;
    this.#state = states.state(this.name, 1, () => ({ interrupts: false, ignored: false }));
  }

  /** An unmasked error waits, or does no more. */
  report(waits: boolean): 'interrupt' | 'ignore' {
    if (!waits) this.#state.ignored = false;
    else if (!this.#state.ignored) this.#setInterrupt(true);
    return this.#state.ignored ? 'ignore' : 'interrupt';
  }

  readByte(): number {
    return 0xff;
  }
  /** 0xf0 clears the busy latch; 0xf1 reset a 287, and does nothing today. */
  writeByte(offset: number): void {
    if (offset !== 0 || !this.#state.interrupts) return;
    this.#state.ignored = true;
    this.#setInterrupt(false);
  }
  #setInterrupt(high: boolean): void {
    this.#state.interrupts = high;
    this.#line.set(high);
  }

  reset(): void {
    this.#state.initialise();
    this.#line.set(false);
  }
}
