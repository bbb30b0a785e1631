/**
 * ACPI's fixed hardware (ACPI specification 6.5, 4.8.3): the power-management timer, the PM1 event and control
 * registers, the system control interrupt, and the fixed power button. The machine is always in ACPI mode: there is no
 * SMI command.
 */

import type { Clock, Timer } from '../host/clock.ts';
import type { BusHandler, Width } from '../memory/bus.ts';
import type { State, States } from '../state/state.ts';
import type { Device, InterruptLine } from './device.ts';

/** Offsets of the register blocks. */
export const PM1_EVENT = 0x00;
export const PM1_CONTROL = 0x04;
export const PM_TIMER = 0x08;
export const ACPI_PM_SIZE = 0x0c;

/** In Hz. */
export const PM_TIMER_FREQUENCY = 3579545;
/** What the DSDT's \_S5 object tells the guest to put into SLP_TYP. */
export const SLEEP_TYPE_S5 = 5;

/** PM1 status and enable bits. */
const TIMER = 1 << 0;
const GLOBAL = 1 << 5;
const POWER_BUTTON = 1 << 8;
/** Not announced as a fixed event (FADT, RTC_STS), but Linux complains if its enable bit does not stick. */
const RTC = 1 << 10;
const WAKE = 1 << 15;
const ENABLES = TIMER | GLOBAL | POWER_BUTTON | RTC;

/** PM1 control bits. */
const SCI_ENABLE = 1 << 0;
const SLEEP_ENABLE = 1 << 13;

/** The timer's most significant bit changes this often, in counts. */
const HALF_TIMER = 2 ** 31;

const initial = () => ({
  status: 0,
  enable: 0,
  control: SCI_ENABLE,
  /** How many times the timer's top bit had changed when the timer's status bit was last brought up to date. */
  halvesSeen: 0,
});

export class AcpiPm implements Device, BusHandler {
  readonly name = 'acpi-pm';
  readonly #clock: Clock;
  readonly #sci: InterruptLine;
  readonly #powerOff: () => void;
  readonly #state: State<ReturnType<typeof initial>>;
  /** Set for the next change of the timer's top bit, if that is to interrupt. */
  readonly #topBit: Timer;

  /** @param powerOff the guest entered S5 */
  constructor(states: States, clock: Clock, sci: InterruptLine, powerOff: () => void) {
    this.#clock = clock;
    this.#sci = sci;
    this.#powerOff = powerOff;
    this.#state = states.state(this.name, 1, initial);
    this.#topBit = clock.timer(this.name, () => this.#update());
  }

  reset(): void {
    this.#state.initialise();
    this.#state.halvesSeen = this.#halves();
    this.#update();
  }

  /** Somebody presses the power button: a guest with an ACPI daemon shuts down. */
  pressPowerButton(): void {
    this.#state.status |= POWER_BUTTON;
    this.#update();
  }

  #count(): number {
    return Math.floor(this.#clock.now() * (PM_TIMER_FREQUENCY / 1e9));
  }

  #halves(): number {
    return Math.floor(this.#count() / HALF_TIMER);
  }

  read(offset: number, width: Width): number {
    if (offset === PM_TIMER && width === 4) return this.#count() % 2 ** 32;
    const aligned = offset & ~3;
    const value = this.#readDouble(aligned);
    const shifted = value >>> (8 * (offset - aligned));
    return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
  }

  #readDouble(offset: number): number {
    if (offset === PM1_EVENT) {
      this.#refreshTimerStatus();
      return this.#state.status | (this.#state.enable << 16);
    }
    return offset === PM1_CONTROL ? this.#state.control : this.#count() % 2 ** 32;
  }

  write(offset: number, width: Width, value: number): void {
    for (let i = 0; i < width && i < 4; i++) this.#writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    this.#update();
  }

  #writeByte(offset: number, value: number): void {
    const shift = 8 * (offset & 1);
    const byte = value << shift;
    switch (offset & ~1) {
      case PM1_EVENT:
        this.#refreshTimerStatus();
        this.#state.status &= ~byte;
        break;
      case PM1_EVENT + 2:
        this.#state.enable = ((this.#state.enable & ~(0xff << shift)) | byte) & ENABLES;
        break;
      case PM1_CONTROL:
        this.#state.control = (this.#state.control & ~(0xff << shift)) | (byte & ~SLEEP_ENABLE) | SCI_ENABLE;
        if (byte & SLEEP_ENABLE && ((byte >> 10) & 7) === SLEEP_TYPE_S5) this.#powerOff();
        else if (byte & SLEEP_ENABLE) this.#state.status |= WAKE;
        break;
    }
  }

  #refreshTimerStatus(): void {
    const halves = this.#halves();
    if (halves === this.#state.halvesSeen) return;
    this.#state.halvesSeen = halves;
    this.#state.status |= TIMER;
  }

  #update(): void {
    this.#refreshTimerStatus();
    this.#topBit.off();
    if (this.#state.enable & TIMER) {
      const next = Math.ceil(((this.#state.halvesSeen + 1) * HALF_TIMER * 1e9) / PM_TIMER_FREQUENCY) + 1;
      this.#topBit.at(next);
    }
    this.#sci.set((this.#state.status & this.#state.enable) !== 0);
  }
}
