/**
 * The chipset's ways to reset the machine: the reset control register at port 0xcf9 (82371SB) and the fast-reset bit of
 * port 0x92. The third, through the keyboard controller, is in i8042.ts. Address line 20 is always on.
 */
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device } from './device.ts';

/** What to write to the reset control register to reset everything: the value that the FADT carries. */
export const FULL_RESET = 0x0e;

const RESET_CPU = 0x04;
const A20 = 0x02;

export class ResetControl implements Device {
  readonly name = 'reset-control';
  /** Port 0xcf9: a rising bit 2 resets. */
  readonly control: ByteRegisters;
  /** Port 0x92. */
  readonly systemPortA: ByteRegisters;
  readonly #state: State<{ value: number; portA: number }>;

  constructor(states: States, requestReset: () => void) {
    this.#state = states.state(this.name, 1, () => ({ value: 0, portA: A20 }));
    this.control = {
      readByte: () => this.#state.value,
      writeByte: (_offset, value) => {
        const rises = (value & ~this.#state.value & RESET_CPU) !== 0;
        this.#state.value = value & 0x0e;
        if (rises) requestReset();
      },
    };
    this.systemPortA = {
      readByte: () => this.#state.portA,
      writeByte: (_offset, value) => {
        const rises = (value & ~this.#state.portA & 1) !== 0;
        this.#state.portA = value | A20;
        if (rises) requestReset();
      },
    };
  }

  reset(): void {
    this.#state.initialise();
  }
}
