/**
 * The high precision event timer (IA-PC HPET specification 1.0a): a 64-bit counter at 100 MHz and three comparators,
 * the first of them periodic, with the legacy replacement route that takes IRQ 0 and IRQ 8 over from the PIT and the
 * RTC.
 */

import type { Clock, Timer } from '../host/clock.ts';
import type { BusHandler, Width } from '../memory/bus.ts';
import type { State, States } from '../state/state.ts';
import type { Device, InterruptLine } from './device.ts';

export const HPET_SIZE = 0x400;
const TIMERS = 3;
/** Nanoseconds a count. */
const TICK = 10;
const PERIOD_FEMTOSECONDS = TICK * 1e6;
/** Revision 1, three timers, 64 bits, legacy replacement, Intel's vendor id as chipsets have it. */
export const HPET_ID = 0x8086a201;

/** Register offsets. */
const ID = 0x000;
const PERIOD = 0x004;
const CONFIGURATION = 0x010;
const STATUS = 0x020;
const COUNTER = 0x0f0;
const TIMER_FIRST = 0x100;
const TIMER_STRIDE = 0x20;

const ENABLE = 1;
const LEGACY = 2;

/** Timer configuration bits. */
const LEVEL = 1 << 1;
const INTERRUPT = 1 << 2;
const PERIODIC = 1 << 3;
const CAN_PERIODIC = 1 << 4;
const SIZE_64 = 1 << 5;
const SET_VALUE = 1 << 6;
const FORCE_32 = 1 << 8;
const ROUTE_SHIFT = 9;
const WRITABLE = LEVEL | INTERRUPT | PERIODIC | FORCE_32 | (31 << ROUTE_SHIFT);
/** The I/O APIC inputs a timer may use when not on the legacy route: 20 to 23. */
const ROUTES = 0x00f00000;

const TWO_32 = 2n ** 32n;
const MASK_64 = 2n ** 64n - 1n;

/** How the board takes the HPET's interrupts away. */
export interface HpetWiring {
  /** Drives I/O APIC input `gsi` (20-23). */
  route(gsi: number, high: boolean): void;
  /** IRQ 0 and IRQ 8 in the legacy replacement route. */
  legacy: [InterruptLine, InterruptLine];
  /** The legacy replacement route was switched: the PIT and the RTC are to be cut off, or connected again. */
  onLegacy(on: boolean): void;
}

const initialTimer = () => ({
  configuration: 0,
  /** Where the counter must arrive. */
  comparator: MASK_64,
  /** What is added to the comparator after each match in periodic mode. */
  period: 0n,
  /** What of the comparator the next writes will set, even in periodic mode: SET_VALUE asks for it, each half once. */
  sets: 'nothing' as 'nothing' | 'upper' | 'both',
  /** The counter when the comparator was last brought up to date. */
  seen: 0n,
});

const initial = () => ({
  configuration: 0,
  status: 0,
  /** The counter's value when it was last started or written, in two halves: reading it must not allocate. */
  baseLow: 0,
  baseHigh: 0,
  startedAt: 0,
  timers: Array.from({ length: TIMERS }, initialTimer),
});

function is32(timer: { configuration: number }): boolean {
  return (timer.configuration & FORCE_32) !== 0;
}

/** How many values a timer's counter has. */
function spanOf(timer: { configuration: number }): bigint {
  return is32(timer) ? TWO_32 : MASK_64 + 1n;
}

/** Counts from a value of the counter to the comparator. */
function countsUntil(timer: { configuration: number; comparator: bigint }, counter: bigint): bigint {
  const span = spanOf(timer);
  return (((timer.comparator - counter) % span) + span) % span;
}

export class Hpet implements Device, BusHandler {
  readonly name = 'hpet';
  readonly #clock: Clock;
  readonly #wiring: HpetWiring;
  readonly #state: State<ReturnType<typeof initial>>;
  /** Set for the next match of each comparator. */
  readonly #matches: readonly Timer[];

  constructor(states: States, clock: Clock, wiring: HpetWiring) {
    this.#state = states.state(this.name, 2, initial);
    this.#matches = Array.from({ length: TIMERS }, (_, index) =>
      clock.timer(`${this.name}/${index}`, () => this.#onMatch(index)),
    );
    this.#clock = clock;
    this.#wiring = wiring;
  }

  reset(): void {
    if (this.#state.configuration & LEGACY) this.#wiring.onLegacy(false);
    this.#state.initialise();
    for (const match of this.#matches) match.off();
  }

  // ---- The counter -----------------------------------------------------------------------------

  /** Counts since the counter was started. */
  #elapsed(): number {
    return this.#state.configuration & ENABLE ? Math.floor((this.#clock.now() - this.#state.startedAt) / TICK) : 0;
  }

  #counterLow(): number {
    return (this.#state.baseLow + (this.#elapsed() % 2 ** 32)) >>> 0;
  }

  #counterHigh(): number {
    return (this.#state.baseHigh + Math.floor((this.#state.baseLow + this.#elapsed()) / 2 ** 32)) >>> 0;
  }

  #counter(): bigint {
    const base = (BigInt(this.#state.baseHigh) << 32n) | BigInt(this.#state.baseLow);
    return (base + BigInt(this.#elapsed())) & MASK_64;
  }

  // ---- Registers -------------------------------------------------------------------------------

  read(offset: number, width: Width): number {
    const value = this.#readWord(offset & ~3);
    if (width === 4 && (offset & 3) === 0) return value;
    const shifted = value >>> (8 * (offset & 3));
    return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
  }

  #readWord(offset: number): number {
    switch (offset) {
      case COUNTER:
        return this.#counterLow();
      case COUNTER + 4:
        return this.#counterHigh();
      case ID:
        return HPET_ID;
      case PERIOD:
        return PERIOD_FEMTOSECONDS;
      case CONFIGURATION:
        return this.#state.configuration;
      case STATUS:
        return this.#state.status;
    }
    const index = Math.floor((offset - TIMER_FIRST) / TIMER_STRIDE);
    if (index < 0 || index >= TIMERS) return 0;
    const timer = this.#state.timers[index];
    switch (offset & (TIMER_STRIDE - 1)) {
      case 0x00:
        return timer.configuration | SIZE_64 | (index === 0 ? CAN_PERIODIC : 0);
      case 0x04:
        return ROUTES;
      case 0x08:
        this.#bringUp(index);
        return Number(timer.comparator & 0xffffffffn);
      case 0x0c:
        this.#bringUp(index);
        return is32(timer) ? 0 : Number(timer.comparator >> 32n);
    }
    return 0;
  }

  write(offset: number, width: Width, value: number): void {
    if (width !== 4 || offset & 3) return;
    value >>>= 0;
    switch (offset) {
      case CONFIGURATION:
        return this.#configure(value & (ENABLE | LEGACY));
      case STATUS:
        return this.#clearStatus(value);
      case COUNTER:
        return this.#setCounter(value, this.#counterHigh());
      case COUNTER + 4:
        return this.#setCounter(this.#counterLow(), value);
    }
    const index = Math.floor((offset - TIMER_FIRST) / TIMER_STRIDE);
    if (index < 0 || index >= TIMERS) return;
    switch (offset & (TIMER_STRIDE - 1)) {
      case 0x00:
        return this.#configureTimer(index, value);
      case 0x08:
        return this.#writeComparator(index, BigInt(value), false);
      case 0x0c:
        return this.#writeComparator(index, BigInt(value), true);
    }
  }

  #configure(value: number): void {
    const changed = value ^ this.#state.configuration;
    if (changed & ENABLE) {
      if (value & ENABLE) {
        this.#state.startedAt = this.#clock.now();
      } else {
        const high = this.#counterHigh();
        this.#state.baseLow = this.#counterLow();
        this.#state.baseHigh = high;
      }
    }
    this.#state.configuration = value;
    if (changed & LEGACY) this.#wiring.onLegacy((value & LEGACY) !== 0);
    for (let i = 0; i < TIMERS; i++) this.#schedule(i);
  }

  #setCounter(low: number, high: number): void {
    for (let i = 0; i < TIMERS; i++) this.#bringUp(i);
    this.#state.baseLow = low;
    this.#state.baseHigh = high;
    this.#state.startedAt = this.#clock.now();
    for (let i = 0; i < TIMERS; i++) this.#schedule(i);
  }

  #configureTimer(index: number, value: number): void {
    this.#bringUp(index);
    const timer = this.#state.timers[index];
    let kept = value & WRITABLE;
    if (index !== 0) kept &= ~PERIODIC;
    // A route that is not offered does not stick: that is how software finds out.
    const route = (kept >> ROUTE_SHIFT) & 31;
    if (route !== 0 && !(ROUTES & (1 << route))) kept &= ~(31 << ROUTE_SHIFT);
    const disabled = timer.configuration & ~kept & INTERRUPT;
    if (disabled) this.#drive(index, false);
    timer.configuration = kept;
    timer.sets = value & SET_VALUE && kept & PERIODIC ? 'both' : 'nothing';
    if (is32(timer)) {
      timer.comparator &= 0xffffffffn;
      timer.period &= 0xffffffffn;
    }
    this.#schedule(index);
  }

  /** In periodic mode a write sets the period; with the set-value bit just written, comparator and period. */
  #writeComparator(index: number, value: bigint, upper: boolean): void {
    this.#bringUp(index);
    const timer = this.#state.timers[index];
    if (upper && is32(timer)) return;
    const merge = (old: bigint) =>
      upper ? (old & 0xffffffffn) | (value << 32n) : is32(timer) ? value : (old & ~0xffffffffn) | value;
    const periodic = (timer.configuration & PERIODIC) !== 0;
    const sets = timer.sets === 'both' || (upper && timer.sets === 'upper');
    if (!periodic || sets) timer.comparator = merge(timer.comparator);
    if (periodic) timer.period = merge(timer.period);
    timer.sets = timer.sets === 'both' && !upper && !is32(timer) ? 'upper' : 'nothing';
    this.#schedule(index);
  }

  // ---- Interrupts ------------------------------------------------------------------------------

  #schedule(index: number): void {
    const timer = this.#state.timers[index];
    const counter = this.#counter();
    timer.seen = counter;
    this.#matches[index].off();
    // A match shows only as an interrupt, and in level mode in the status: for nothing else a timer is worth it. Linux leaves a
    // timer that it does not use in periodic mode, without interrupts.
    if (!(this.#state.configuration & ENABLE) || !(timer.configuration & (INTERRUPT | LEVEL))) return;
    const distance = countsUntil(timer, counter);
    const wait = Number(distance) * TICK;
    const now = this.#clock.now();
    if (now + wait > Number.MAX_SAFE_INTEGER) return;
    const intoTick = (now - this.#state.startedAt) % TICK;
    this.#matches[index].at(now + wait - (distance === 0n ? 0 : intoTick));
  }

  /** In periodic mode each match moves the comparator on by a period: by all those, at once, that have passed since it was seen. */
  #bringUp(index: number): void {
    const timer = this.#state.timers[index];
    const counter = this.#counter();
    const elapsed = (counter - timer.seen) & MASK_64;
    if (timer.configuration & PERIODIC && timer.period > 0n) {
      const distance = countsUntil(timer, timer.seen);
      if (elapsed >= distance)
        timer.comparator =
          (timer.comparator + timer.period * ((elapsed - distance) / timer.period + 1n)) % spanOf(timer);
    }
    timer.seen = counter;
  }

  #onMatch(index: number): void {
    const timer = this.#state.timers[index];
    if (timer.configuration & PERIODIC && timer.period > 0n) {
      // Periods that a busy host slept through are dropped, not delivered in a burst.
      this.#bringUp(index);
      this.#schedule(index);
    }
    if (timer.configuration & LEVEL) {
      this.#state.status |= 1 << index;
      if (timer.configuration & INTERRUPT) this.#drive(index, true);
    } else if (timer.configuration & INTERRUPT) {
      this.#drive(index, false);
      this.#drive(index, true);
      this.#drive(index, false);
    }
  }

  #clearStatus(value: number): void {
    for (let i = 0; i < TIMERS; i++) {
      if (value & this.#state.status & (1 << i)) this.#drive(i, false);
    }
    this.#state.status &= ~value;
  }

  #drive(index: number, high: boolean): void {
    const route = (this.#state.timers[index].configuration >> ROUTE_SHIFT) & 31;
    if (this.#state.configuration & LEGACY && index < 2) this.#wiring.legacy[index].set(high);
    else if (route !== 0) this.#wiring.route(route, high);
  }
}
