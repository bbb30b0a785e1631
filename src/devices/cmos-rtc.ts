/**
 * The MC146818 real-time clock and its 128 bytes of battery-backed memory (Motorola data sheet; register 0x32 is the
 * PC's century). Time is the clock's, in UTC, plus what the guest has set it off by.
 */
import type { Clock, Timer } from '../host/clock.ts';
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device, InterruptLine } from './device.ts';

const SECONDS = 0x00;
const SECONDS_ALARM = 0x01;
const MINUTES = 0x02;
const MINUTES_ALARM = 0x03;
const HOURS = 0x04;
const HOURS_ALARM = 0x05;
const WEEKDAY = 0x06;
const DAY = 0x07;
const MONTH = 0x08;
const YEAR = 0x09;
const REGISTER_A = 0x0a;
const REGISTER_B = 0x0b;
const REGISTER_C = 0x0c;
const REGISTER_D = 0x0d;
export const RTC_CENTURY = 0x32;

const UPDATE_IN_PROGRESS = 0x80;

/** Register B. */
const SET = 0x80;
const PERIODIC = 0x40;
const ALARM = 0x20;
const UPDATE_ENDED = 0x10;
const BINARY = 0x04;
const HOURS_24 = 0x02;

const INTERRUPT_REQUEST = 0x80;
const VALID_RAM_AND_TIME = 0x80;
const PM = 0x80;

const SECOND = 1e9;
/** The update-in-progress bit rises this long before the clock steps. */
const UPDATE_WARNING = 244_000;
const DAY_IN_SECONDS = 86400;

/** @param ramSize in bytes, told in the registers where a BIOS keeps it */
function initialMemory(ramSize: number): Uint8Array {
  const memory = new Uint8Array(128);
  memory[REGISTER_A] = 0x26;
  memory[REGISTER_B] = HOURS_24;
  memory[0x14] = 0x02; // equipment: a coprocessor
  memory[0x15] = 640 & 0xff;
  memory[0x16] = 640 >> 8;
  const extended = Math.min(0xffff, Math.max(0, ramSize / 1024 - 1024));
  memory[0x17] = memory[0x30] = extended & 0xff;
  memory[0x18] = memory[0x31] = extended >> 8;
  const above16M = Math.min(0xffff, Math.max(0, Math.floor(ramSize / 65536) - 256));
  memory[0x34] = above16M & 0xff;
  memory[0x35] = above16M >> 8;
  return memory;
}

const initial = (epoch: bigint, ramSize: number) => ({
  memory: initialMemory(ramSize),
  /** The register behind the data port. */
  index: 0,
  /** Unix time, in seconds, and the nanoseconds into that second, at the clock's 0. */
  epochSeconds: Number(epoch / 1_000_000_000n),
  epochNanoseconds: Number(epoch % 1_000_000_000n),
  /** While register B's SET bit is on: the time that software edits. */
  held: undefined as number | undefined,
  /** The last second whose flags were put into register C. */
  secondSeen: 0,
  periodSeen: 0,
});

export class CmosRtc implements Device, ByteRegisters {
  readonly name = 'cmos-rtc';
  readonly #clock: Clock;
  readonly #line: InterruptLine;
  readonly #state: State<ReturnType<typeof initial>>;
  /** Set for the next event for which an interrupt is enabled. */
  readonly #event: Timer;

  /**
   * @param line IRQ 8
   * @param ramSize guest RAM in bytes, told in the registers where a BIOS keeps it
   */
  constructor(states: States, clock: Clock, line: InterruptLine, ramSize: number) {
    this.#state = states.state(this.name, 1, () => initial(clock.epoch, ramSize));
    this.#event = clock.timer(this.name, () => {
      this.#refreshFlags();
      this.#schedule();
    });
    this.#clock = clock;
    this.#line = line;
    this.#state.secondSeen = this.#second();
  }

  /** A reset does not touch the battery-backed memory, only the interrupts. */
  reset(): void {
    this.#state.memory[REGISTER_B] &= ~(PERIODIC | ALARM | UPDATE_ENDED);
    this.#state.memory[REGISTER_C] = 0;
    this.#schedule();
  }

  readByte(offset: number): number {
    if (offset === 0) return 0xff;
    if (offset !== 1) return 0xff;
    switch (this.#state.index) {
      case REGISTER_A:
        return this.#state.memory[REGISTER_A] | (this.#updating() ? UPDATE_IN_PROGRESS : 0);
      case REGISTER_C: {
        this.#refreshFlags();
        const flags = this.#state.memory[REGISTER_C];
        this.#state.memory[REGISTER_C] = 0;
        this.#line.set(false);
        return flags;
      }
      case REGISTER_D:
        return VALID_RAM_AND_TIME;
    }
    const field = isTime(this.#state.index) ? this.#readTime(this.#state.index) : -1;
    return field >= 0 ? field : this.#state.memory[this.#state.index];
  }

  writeByte(offset: number, value: number): void {
    if (offset === 0) {
      this.#state.index = value & 0x7f; // bit 7 gates NMI, which this board does not have
      return;
    }
    if (offset !== 1) return;
    switch (this.#state.index) {
      case REGISTER_A:
        this.#refreshFlags();
        this.#state.memory[REGISTER_A] = value & 0x7f;
        this.#state.periodSeen = this.#periods();
        return this.#schedule();
      case REGISTER_B:
        return this.#writeB(value);
      case REGISTER_C:
      case REGISTER_D:
        return;
    }
    if (isTime(this.#state.index)) this.#writeTime(this.#state.index, value);
    else this.#state.memory[this.#state.index] = value;
  }

  #writeB(value: number): void {
    this.#refreshFlags();
    this.#state.memory[REGISTER_B] = value;
    if (value & SET) {
      this.#state.held ??= this.#second();
    } else if (this.#state.held !== undefined) {
      const held = this.#state.held;
      this.#state.held = undefined;
      this.#setTime(held);
    }
    this.#updateLine();
    this.#schedule();
  }

  // ---- Time ------------------------------------------------------------------------------------

  /** Nanoseconds into an arbitrary stretch of whole seconds. */
  #nanoseconds(): number {
    return this.#state.epochNanoseconds + this.#clock.now();
  }

  /** The clock's Unix time in seconds. */
  #second(): number {
    return this.#state.epochSeconds + Math.floor(this.#nanoseconds() / SECOND);
  }

  #updating(): boolean {
    return this.#state.held === undefined && this.#nanoseconds() % SECOND >= SECOND - UPDATE_WARNING;
  }

  #setTime(second: number): void {
    this.#state.epochSeconds += second - this.#second();
    this.#state.secondSeen = second;
  }

  #readTime(register: number): number {
    const second = this.#state.held ?? this.#second();
    const date = new Date(second * 1000);
    switch (register) {
      case SECONDS:
        return this.#encode(date.getUTCSeconds());
      case MINUTES:
        return this.#encode(date.getUTCMinutes());
      case HOURS:
        return this.#encodeHour(date.getUTCHours());
      case WEEKDAY:
        return date.getUTCDay() + 1;
      case DAY:
        return this.#encode(date.getUTCDate());
      case MONTH:
        return this.#encode(date.getUTCMonth() + 1);
      case YEAR:
        return this.#encode(date.getUTCFullYear() % 100);
      default:
        return this.#encode(Math.floor(date.getUTCFullYear() / 100));
    }
  }

  #writeTime(register: number, value: number): void {
    const date = new Date((this.#state.held ?? this.#second()) * 1000);
    const year = date.getUTCFullYear();
    const number = this.#decode(value);
    switch (register) {
      case SECONDS:
        date.setUTCSeconds(number);
        break;
      case MINUTES:
        date.setUTCMinutes(number);
        break;
      case HOURS:
        date.setUTCHours(this.#decodeHour(value));
        break;
      case WEEKDAY:
        return; // follows from the date
      case DAY:
        date.setUTCDate(number);
        break;
      case MONTH:
        // Software writes field by field: the 31st must survive being in February for a moment, so the day is kept
        // where it fits and clamped where it does not.
        setMonth(date, year, number - 1);
        break;
      case YEAR:
        setMonth(date, year - (year % 100) + (number % 100), date.getUTCMonth());
        break;
      default:
        setMonth(date, (number % 100) * 100 + (year % 100), date.getUTCMonth());
    }
    const second = Math.floor(date.getTime() / 1000);
    if (this.#state.held !== undefined) this.#state.held = second;
    else this.#setTime(second);
  }

  #encode(value: number): number {
    return this.#state.memory[REGISTER_B] & BINARY ? value : Math.floor(value / 10) * 16 + (value % 10);
  }

  #decode(raw: number): number {
    return this.#state.memory[REGISTER_B] & BINARY ? raw : (raw >> 4) * 10 + (raw & 15);
  }

  #encodeHour(hour: number): number {
    if (this.#state.memory[REGISTER_B] & HOURS_24) return this.#encode(hour);
    return this.#encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? PM : 0);
  }

  #decodeHour(raw: number): number {
    if (this.#state.memory[REGISTER_B] & HOURS_24) return this.#decode(raw);
    return (this.#decode(raw & 0x7f) % 12) + (raw & PM ? 12 : 0);
  }

  // ---- Interrupts ------------------------------------------------------------------------------

  /** The periodic interrupt's period in nanoseconds, 0 for none: rate selection in register A (data sheet, table 5). */
  #period(): number {
    const rate = this.#state.memory[REGISTER_A] & 15;
    if (rate === 0) return 0;
    return (2 ** (rate < 3 ? rate + 6 : rate - 1) * 1e9) / 32768;
  }

  #periods(): number {
    const period = this.#period();
    return period === 0 ? 0 : Math.floor(this.#nanoseconds() / period);
  }

  /** Sets the flags of register C for all that has happened since the last call. */
  #refreshFlags(): void {
    const periods = this.#periods();
    if (periods !== this.#state.periodSeen) {
      this.#state.periodSeen = periods;
      this.#state.memory[REGISTER_C] |= PERIODIC;
    }
    const now = this.#state.held ?? this.#second();
    if (this.#state.held !== undefined || now <= this.#state.secondSeen) return this.#updateLine();
    this.#state.memory[REGISTER_C] |= UPDATE_ENDED;
    // An alarm matches at least once a day, so that days further back add nothing.
    for (let s = Math.max(this.#state.secondSeen + 1, now - DAY_IN_SECONDS); s <= now; s++) {
      if (!this.#matchesAlarm(s)) continue;
      this.#state.memory[REGISTER_C] |= ALARM;
      break;
    }
    this.#state.secondSeen = now;
    this.#updateLine();
  }

  #matchesAlarm(second: number): boolean {
    const inDay = second % DAY_IN_SECONDS;
    return (
      this.#matches(SECONDS_ALARM, this.#encode(inDay % 60)) &&
      this.#matches(MINUTES_ALARM, this.#encode(Math.floor(inDay / 60) % 60)) &&
      this.#matches(HOURS_ALARM, this.#encodeHour(Math.floor(inDay / 3600)))
    );
  }

  /** An alarm byte with both upper bits set matches anything. */
  #matches(register: number, value: number): boolean {
    const wanted = this.#state.memory[register];
    return (wanted & 0xc0) === 0xc0 || wanted === value;
  }

  #updateLine(): void {
    const c = this.#state.memory[REGISTER_C] & (PERIODIC | ALARM | UPDATE_ENDED);
    const active = (c & this.#state.memory[REGISTER_B]) !== 0;
    this.#state.memory[REGISTER_C] = c | (active ? INTERRUPT_REQUEST : 0);
    this.#line.set(active);
  }

  /** Sets the timer for the next event for which an interrupt is enabled. */
  #schedule(): void {
    this.#event.off();
    const b = this.#state.memory[REGISTER_B];
    const elapsed = this.#nanoseconds();
    let wait = Number.POSITIVE_INFINITY;
    const period = this.#period();
    if (b & PERIODIC && period > 0) wait = period - (elapsed % period);
    if (b & (ALARM | UPDATE_ENDED) && !(b & SET)) wait = Math.min(wait, SECOND - (elapsed % SECOND));
    if (wait === Number.POSITIVE_INFINITY) return;
    this.#event.at(this.#clock.now() + Math.max(1, Math.ceil(wait)));
  }
}

function isTime(register: number): boolean {
  return register <= YEAR ? register > HOURS_ALARM || register % 2 === 0 : register === RTC_CENTURY;
}

/** Moves `date` to another month and year, its day at most the last of that month. */
function setMonth(date: Date, year: number, month: number): void {
  const last = new Date(Date.UTC(year, month + 1, 0)).getUTCDate();
  date.setUTCFullYear(year, month, Math.min(date.getUTCDate(), last));
}
