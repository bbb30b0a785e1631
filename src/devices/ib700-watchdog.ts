/**
 * The watchdog timer of the iBASE IB700 single-board computer (as Linux's ib700wdt knows it): a write to the enable
 * port starts it, or starts it anew; if none follows in time, the machine is reset.
 */
import type { Clock, Timer } from '../host/clock.ts';
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device } from './device.ts';

/** Offsets from the first of its three ports. */
const DISABLE = 0;
const ENABLE = 2;

export class Ib700Watchdog implements Device, ByteRegisters {
  readonly name = 'ib700-watchdog';
  readonly #clock: Clock;
  readonly #state: State<{ code: number }>;
  readonly #expiry: Timer;

  constructor(states: States, clock: Clock, requestReset: () => void) {
    this.#clock = clock;
    this.#state = states.state(this.name, 1, () => ({ code: 0 }));
    this.#expiry = clock.timer(this.name, requestReset);
  }

  reset(): void {
    this.#state.initialise();
    this.#expiry.off();
  }

  readByte(offset: number): number {
    return offset === ENABLE ? this.#state.code : 0xff;
  }

  writeByte(offset: number, value: number): void {
    if (offset === DISABLE) this.#expiry.off();
    if (offset !== ENABLE) return;
    this.#state.code = value & 15;
    // Code 0 is 30 seconds, each further one 2 seconds less.
    this.#expiry.at(this.#clock.now() + (30 - 2 * this.#state.code) * 1e9);
  }
}
