/**
 * The I/O APIC (Intel 82093AA data sheet, with the EOI register of later chips): 24 inputs, each turned into a message
 * to the local APICs by its redirection entry. Lines carry "asserted", not a voltage, so the polarity bit only reads
 * back.
 */
import type { BusHandler, Width } from '../memory/bus.ts';
import type { State, States } from '../state/state.ts';
import type { ApicBus } from './apic-bus.ts';
import type { Device } from './device.ts';

export const IO_APIC_PINS = 24;

const IOREGSEL = 0x00;
const IOWIN = 0x10;
const EOI = 0x40;

const VERSION = 0x20;

/** Bits of a redirection entry's low half. */
const LOGICAL = 1 << 11;
const REMOTE_IRR = 1 << 14;
const LEVEL = 1 << 15;
const MASKED = 1 << 16;
/** What a guest may write: not delivery status, not remote IRR. */
const WRITABLE = 0x1afff;

const initial = () => ({
  id: 0,
  /** IOREGSEL: the register behind IOWIN. */
  select: 0,
  /** The halves of the redirection entries. */
  low: new Int32Array(IO_APIC_PINS).fill(MASKED),
  high: new Int32Array(IO_APIC_PINS),
  /** The inputs' levels, a bit each. A reset does not change them: others drive them. */
  asserted: 0,
});

export class IoApic implements Device, BusHandler {
  readonly name = 'io-apic';
  readonly #bus: ApicBus;
  readonly #state: State<ReturnType<typeof initial>>;

  constructor(states: States, bus: ApicBus) {
    this.#bus = bus;
    this.#state = states.state(this.name, 1, initial);
    bus.addIo(this);
  }

  reset(): void {
    const { asserted } = this.#state;
    this.#state.initialise();
    this.#state.asserted = asserted;
  }

  /** @param pin 0-23 */
  setLine(pin: number, high: boolean): void {
    const bit = 1 << pin;
    const was = (this.#state.asserted & bit) !== 0;
    if (was === high) return;
    this.#state.asserted ^= bit;
    // An edge on a masked input is lost, as the data sheet says.
    if (high) this.#deliver(pin);
  }

  /** A local APIC ended the level-triggered interrupt `vector`. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      const low = this.#state.low[pin];
      if ((low & 0xff) !== vector || !(low & REMOTE_IRR) || !(low & LEVEL)) continue;
      this.#state.low[pin] = low & ~REMOTE_IRR;
      if (this.#state.asserted & (1 << pin)) this.#deliver(pin);
    }
  }

  #deliver(pin: number): void {
    const low = this.#state.low[pin];
    const level = (low & LEVEL) !== 0;
    if (low & MASKED || (level && low & REMOTE_IRR)) return;
    // First, because a local APIC may end the interrupt before `send` returns.
    if (level) this.#state.low[pin] |= REMOTE_IRR;
    this.#bus.send(this.#state.high[pin] >>> 24, (low & LOGICAL) !== 0, (low >> 8) & 7, low & 0xff, level);
  }

  read(offset: number, width: Width): number {
    const register = offset & ~3;
    const value =
      register === IOREGSEL ? this.#state.select : register === IOWIN ? this.#readRegister(this.#state.select) : 0;
    const shifted = value >>> (8 * (offset & 3));
    return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
  }

  write(offset: number, width: Width, value: number): void {
    if (offset === IOREGSEL) this.#state.select = value & 0xff;
    else if (width !== 4) return;
    else if (offset === IOWIN) this.#writeRegister(this.#state.select, value);
    else if (offset === EOI) this.endOfInterrupt(value & 0xff);
  }

  #readRegister(index: number): number {
    if (index === 0 || index === 2) return this.#state.id << 24;
    if (index === 1) return VERSION | ((IO_APIC_PINS - 1) << 16);
    const pin = (index - 0x10) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) return 0;
    return index & 1 ? this.#state.high[pin] : this.#state.low[pin];
  }

  #writeRegister(index: number, value: number): void {
    if (index === 0) this.#state.id = (value >>> 24) & 0xf;
    const pin = (index - 0x10) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) return;
    if (index & 1) {
      this.#state.high[pin] = value & 0xff000000;
      return;
    }
    let low = (value & WRITABLE) | (this.#state.low[pin] & REMOTE_IRR);
    // An input that is made edge-triggered forgets that it was being served: the way software clears a stuck entry.
    if (!(low & LEVEL)) low &= ~REMOTE_IRR;
    this.#state.low[pin] = low;
    if (low & LEVEL && this.#state.asserted & (1 << pin)) this.#deliver(pin);
  }
}
