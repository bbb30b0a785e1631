/**
 * The 8254 interval timer (Intel 8254 data sheet) and the part of port 0x61 that belongs to it: channel 0 is IRQ 0,
 * channel 2 the speaker, with its gate and output in that port. Counters are not stepped but computed from the clock.
 * One liberty: a count written in modes 2 and 3 takes effect at once, not at the end of the running period.
 */
import type { Alarm, Clock } from '../host/clock.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device, InterruptLine } from './device.ts';

/** In Hz: a third of the NTSC colour carrier's quadruple. */
export const PIT_FREQUENCY = 1193182;
const NANOSECONDS_PER_TICK = 1e9 / PIT_FREQUENCY;

/** The control word's access field, and the order in which a counter's bytes pass. */
const LATCH = 0;
const LOW_BYTE = 1;
const HIGH_BYTE = 2;

class Counter {
  mode = 0;
  readonly #clock: Clock;
  /** Called when the output's next rising edge has moved. */
  readonly #rescheduled: () => void;
  #access = LOW_BYTE | HIGH_BYTE;
  #bcd = false;
  /** The programmed count, 1 to 65536 (10000 in BCD). */
  #count = 65536;
  /** When counting began, in nanoseconds; meaningful while `#running`. */
  #start = 0;
  /** Ticks counted when the gate stopped the counter, with their fraction. */
  #frozen = 0;
  #running = false;
  /** A control word has been written and no count since. */
  #nullCount = true;
  #gate = true;
  #writeLow = -1;
  #readHigh = false;
  /** Latched count and status, -1 for none. */
  #latch = -1;
  #status = -1;

  constructor(clock: Clock, rescheduled: () => void) {
    this.#clock = clock;
    this.#rescheduled = rescheduled;
  }

  reset(gate: boolean): void {
    this.#gate = gate;
    this.control(LOW_BYTE | HIGH_BYTE, 0, false);
    this.#count = 65536;
  }

  control(access: number, mode: number, bcd: boolean): void {
    this.#access = access;
    this.mode = mode > 5 ? mode - 4 : mode;
    this.#bcd = bcd;
    this.#running = false;
    this.#frozen = 0;
    this.#nullCount = true;
    this.#writeLow = this.#latch = this.#status = -1;
    this.#readHigh = false;
    this.#rescheduled();
  }

  /** Ticks since counting began. */
  #ticks(): number {
    return Math.floor(this.#running ? this.#elapsed() : this.#frozen);
  }

  #elapsed(): number {
    return (this.#clock.now() - this.#start) / NANOSECONDS_PER_TICK;
  }

  get #modulus(): number {
    return this.#bcd ? 10000 : 65536;
  }

  /** The counting element as software reads it: 16 bits, four digits in BCD. */
  #value(): number {
    const ticks = this.#ticks();
    const modulus = this.#modulus;
    let value: number;
    if (this.mode === 2) value = this.#count - (ticks % this.#count);
    else if (this.mode === 3) value = this.#count - ((2 * ticks) % this.#count);
    else value = (((this.#count - ticks) % modulus) + modulus) % modulus;
    value %= modulus;
    return this.#bcd ? toBcd(value) : value;
  }

  get output(): boolean {
    const ticks = this.#ticks();
    if (this.#nullCount) return this.mode !== 0;
    switch (this.mode) {
      case 0:
        return ticks >= this.#count;
      case 1:
        return !this.#running || ticks >= this.#count;
      case 2:
        return !this.#running || ticks % this.#count !== this.#count - 1;
      case 3:
        return !this.#running || ticks % this.#count < Math.ceil(this.#count / 2);
      default:
        return ticks !== this.#count;
    }
  }

  /** The time of the first rising edge of the output after `after`, or undefined if none will come. */
  nextEdge(after: number): number | undefined {
    if (!this.#running) return undefined;
    if (this.mode === 2 || this.mode === 3) {
      const period = this.#count * NANOSECONDS_PER_TICK;
      const number = Math.floor((after - this.#start) / period) + 1;
      const edge = Math.ceil(this.#start + number * period);
      // Rounding may find the edge again that has just been.
      return edge > after ? edge : Math.ceil(this.#start + (number + 1) * period);
    }
    // The strobe of modes 4 and 5 lasts one tick.
    const edge = Math.ceil(this.#start + (this.mode >= 4 ? this.#count + 1 : this.#count) * NANOSECONDS_PER_TICK);
    return edge > after ? edge : undefined;
  }

  get gate(): boolean {
    return this.#gate;
  }

  set gate(high: boolean) {
    if (high === this.#gate) return;
    this.#gate = high;
    const triggered = this.mode === 1 || this.mode === 5;
    if (triggered && !high) return;
    if (!high) {
      if (!this.#running) return;
      this.#frozen = this.#elapsed();
      this.#running = false;
    } else if (!this.#nullCount) {
      // Modes 0 and 4 go on where they were stopped, the others start anew.
      if (this.mode !== 0 && this.mode !== 4) this.#frozen = 0;
      this.#begin();
    }
    this.#rescheduled();
  }

  #begin(): void {
    this.#start = this.#clock.now() - this.#frozen * NANOSECONDS_PER_TICK;
    this.#running = true;
  }

  latchCount(): void {
    if (this.#latch < 0) this.#latch = this.#value();
  }

  latchStatus(): void {
    if (this.#status >= 0) return;
    this.#status =
      (this.output ? 0x80 : 0) |
      (this.#nullCount ? 0x40 : 0) |
      (this.#access << 4) |
      (this.mode << 1) |
      (this.#bcd ? 1 : 0);
  }

  read(): number {
    if (this.#status >= 0) {
      const status = this.#status;
      this.#status = -1;
      return status;
    }
    const value = this.#latch >= 0 ? this.#latch : this.#value();
    const high = this.#access === HIGH_BYTE || (this.#access !== LOW_BYTE && this.#readHigh);
    if (this.#access === (LOW_BYTE | HIGH_BYTE)) this.#readHigh = !this.#readHigh;
    if (!this.#readHigh) this.#latch = -1;
    return high ? value >> 8 : value & 0xff;
  }

  write(byte: number): void {
    if (this.#access === LOW_BYTE) return this.#load(byte);
    if (this.#access === HIGH_BYTE) return this.#load(byte << 8);
    if (this.#writeLow < 0) {
      this.#writeLow = byte;
      // Mode 0 stops counting between the two bytes.
      if (this.mode === 0 && this.#running) {
        this.#frozen = this.#elapsed();
        this.#running = false;
        this.#rescheduled();
      }
      return;
    }
    const value = this.#writeLow | (byte << 8);
    this.#writeLow = -1;
    this.#load(value);
  }

  #load(raw: number): void {
    const value = this.#bcd ? fromBcd(raw) : raw;
    this.#count = value === 0 ? this.#modulus : value;
    this.#nullCount = false;
    // Modes 1 and 5 wait for the gate to rise.
    if (this.mode === 1 || this.mode === 5) return;
    this.#frozen = 0;
    this.#running = false;
    if (this.#gate) this.#begin();
    this.#rescheduled();
  }
}

export class Pit8254 implements Device {
  readonly name = 'pit-8254';
  /** Ports 0x40-0x43. */
  readonly ports: ByteRegisters;
  /** Port 0x61, system control port B: the gate and output of channel 2, the refresh toggle. */
  readonly controlPort: ByteRegisters;

  readonly #clock: Clock;
  readonly #line: InterruptLine;
  readonly #counters: Counter[];
  readonly #fire = () => this.#onAlarm();
  #alarm: Alarm | undefined;
  #speaker = 0;

  /** @param line IRQ 0 */
  constructor(clock: Clock, line: InterruptLine) {
    this.#clock = clock;
    this.#line = line;
    const nothing = () => {};
    this.#counters = [
      new Counter(clock, () => this.#schedule()),
      new Counter(clock, nothing),
      new Counter(clock, nothing),
    ];
    this.ports = {
      readByte: offset => (offset === 3 ? 0xff : this.#counters[offset].read()),
      writeByte: (offset, value) => (offset === 3 ? this.#control(value) : this.#counters[offset].write(value)),
    };
    this.controlPort = {
      readByte: () => this.#readControlPort(),
      writeByte: (_offset, value) => {
        this.#speaker = value & 3;
        this.#counters[2].gate = (value & 1) !== 0;
      },
    };
    this.reset();
  }

  reset(): void {
    this.#speaker = 0;
    for (const [index, counter] of this.#counters.entries()) counter.reset(index !== 2);
  }

  #control(value: number): void {
    const which = value >> 6;
    const access = (value >> 4) & 3;
    if (which === 3) {
      // Read-back: the latches asked for by zero bits 5 (count) and 4 (status), the channels by bits 3-1.
      for (const [index, counter] of this.#counters.entries()) {
        if (!(value & (2 << index))) continue;
        if (!(value & 0x20)) counter.latchCount();
        if (!(value & 0x10)) counter.latchStatus();
      }
    } else if (access === LATCH) {
      this.#counters[which].latchCount();
    } else {
      this.#counters[which].control(access, (value >> 1) & 7, (value & 1) !== 0);
    }
  }

  #readControlPort(): number {
    // Bit 4 toggles with every memory refresh, about 15 microseconds apart: old delay loops count it.
    const refresh = Math.floor(this.#clock.now() / 15085) & 1;
    return this.#speaker | (refresh << 4) | (this.#counters[2].output ? 0x20 : 0);
  }

  #schedule(): void {
    this.#alarm?.cancel();
    this.#alarm = undefined;
    const counter = this.#counters[0];
    if (counter.mode === 0 && !counter.output) this.#line.set(false);
    const edge = counter.nextEdge(this.#clock.now());
    if (edge !== undefined) this.#alarm = this.#clock.alarm(edge, this.#fire);
  }

  #onAlarm(): void {
    this.#alarm = undefined;
    this.#line.set(false);
    this.#line.set(true);
    const counter = this.#counters[0];
    if (counter.mode === 2 || counter.mode === 3) this.#schedule();
  }
}

function toBcd(value: number): number {
  return (
    (value % 10) |
    ((Math.floor(value / 10) % 10) << 4) |
    ((Math.floor(value / 100) % 10) << 8) |
    ((Math.floor(value / 1000) % 10) << 12)
  );
}

function fromBcd(raw: number): number {
  return (raw & 15) + ((raw >> 4) & 15) * 10 + ((raw >> 8) & 15) * 100 + (raw >> 12) * 1000;
}
