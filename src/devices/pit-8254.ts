/**
 * The 8254 interval timer (Intel 8254 data sheet) and the part of port 0x61 that belongs to it: channel 0 is IRQ 0,
 * channel 2 the speaker, with its gate and output in that port. Counters are not stepped but computed from the clock.
 * One liberty: a count written in modes 2 and 3 takes effect at once, not at the end of the running period.
 */
import type { Clock, Timer } from '../host/clock.ts';
import type { State, States } from '../state/state.ts';
import type { ByteRegisters } from './byte-ports.ts';
import type { Device, InterruptLine } from './device.ts';

/** In Hz: a third of the NTSC colour carrier's quadruple. */
export const PIT_FREQUENCY = 1193182;
const NANOSECONDS_PER_TICK = 1e9 / PIT_FREQUENCY;

/** The control word's access field, and the order in which a counter's bytes pass. */
const LATCH = 0;
const LOW_BYTE = 1;
const HIGH_BYTE = 2;

const initial = (gate: boolean) => ({
  mode: 0,
  access: LOW_BYTE | HIGH_BYTE,
  bcd: false,
  /** The programmed count, 1 to 65536 (10000 in BCD). */
  count: 65536,
  /** When counting began, in nanoseconds; meaningful while `running`. */
  start: 0,
  /** Ticks counted when the gate stopped the counter, with their fraction. */
  frozen: 0,
  running: false,
  /** A control word has been written and no count since. */
  nullCount: true,
  gate,
  /** The low byte of a count whose high byte is to follow; -1 for none. */
  writeLow: -1,
  readHigh: false,
  /** Latched count and status, -1 for none. */
  latch: -1,
  status: -1,
});

class Counter {
  readonly #clock: Clock;
  /** Called when the output's next rising edge has moved. */
  readonly #rescheduled: () => void;
  readonly #state: State<ReturnType<typeof initial>>;

  /** @param gate its level after a reset */
  constructor(states: States, name: string, gate: boolean, clock: Clock, rescheduled: () => void) {
    this.#state = states.state(name, 1, () => initial(gate));
    this.#clock = clock;
    this.#rescheduled = rescheduled;
  }

  reset(): void {
    this.#state.initialise();
    this.#rescheduled();
  }

  get mode(): number {
    return this.#state.mode;
  }

  control(access: number, mode: number, bcd: boolean): void {
    this.#state.access = access;
    this.#state.mode = mode > 5 ? mode - 4 : mode;
    this.#state.bcd = bcd;
    this.#state.running = false;
    this.#state.frozen = 0;
    this.#state.nullCount = true;
    this.#state.writeLow = this.#state.latch = this.#state.status = -1;
    this.#state.readHigh = false;
    this.#rescheduled();
  }

  /** Ticks since counting began. */
  #ticks(): number {
    return Math.floor(this.#state.running ? this.#elapsed() : this.#state.frozen);
  }

  #elapsed(): number {
    return (this.#clock.now() - this.#state.start) / NANOSECONDS_PER_TICK;
  }

  get #modulus(): number {
    return this.#state.bcd ? 10000 : 65536;
  }

  /** The counting element as software reads it: 16 bits, four digits in BCD. */
  #value(): number {
    const ticks = this.#ticks();
    const modulus = this.#modulus;
    let value: number;
    if (this.mode === 2) value = this.#state.count - (ticks % this.#state.count);
    else if (this.mode === 3) value = this.#state.count - ((2 * ticks) % this.#state.count);
    else value = (((this.#state.count - ticks) % modulus) + modulus) % modulus;
    value %= modulus;
    return this.#state.bcd ? toBcd(value) : value;
  }

  get output(): boolean {
    const ticks = this.#ticks();
    if (this.#state.nullCount) return this.mode !== 0;
    switch (this.mode) {
      case 0:
        return ticks >= this.#state.count;
      case 1:
        return !this.#state.running || ticks >= this.#state.count;
      case 2:
        return !this.#state.running || ticks % this.#state.count !== this.#state.count - 1;
      case 3:
        return !this.#state.running || ticks % this.#state.count < Math.ceil(this.#state.count / 2);
      default:
        return ticks !== this.#state.count;
    }
  }

  /** The time of the first rising edge of the output after `after`, or undefined if none will come. */
  nextEdge(after: number): number | undefined {
    if (!this.#state.running) return undefined;
    if (this.mode === 2 || this.mode === 3) {
      const period = this.#state.count * NANOSECONDS_PER_TICK;
      const number = Math.floor((after - this.#state.start) / period) + 1;
      const edge = Math.ceil(this.#state.start + number * period);
      // Rounding may find the edge again that has just been.
      return edge > after ? edge : Math.ceil(this.#state.start + (number + 1) * period);
    }
    // The strobe of modes 4 and 5 lasts one tick.
    const edge = Math.ceil(
      this.#state.start + (this.mode >= 4 ? this.#state.count + 1 : this.#state.count) * NANOSECONDS_PER_TICK,
    );
    return edge > after ? edge : undefined;
  }

  get gate(): boolean {
    return this.#state.gate;
  }

  set gate(high: boolean) {
    if (high === this.#state.gate) return;
    this.#state.gate = high;
    const triggered = this.mode === 1 || this.mode === 5;
    if (triggered && !high) return;
    if (!high) {
      if (!this.#state.running) return;
      this.#state.frozen = this.#elapsed();
      this.#state.running = false;
    } else if (!this.#state.nullCount) {
      // Modes 0 and 4 go on where they were stopped, the others start anew.
      if (this.mode !== 0 && this.mode !== 4) this.#state.frozen = 0;
      this.#begin();
    }
    this.#rescheduled();
  }

  #begin(): void {
    this.#state.start = this.#clock.now() - this.#state.frozen * NANOSECONDS_PER_TICK;
    this.#state.running = true;
  }

  latchCount(): void {
    if (this.#state.latch < 0) this.#state.latch = this.#value();
  }

  latchStatus(): void {
    if (this.#state.status >= 0) return;
    this.#state.status =
      (this.output ? 0x80 : 0) |
      (this.#state.nullCount ? 0x40 : 0) |
      (this.#state.access << 4) |
      (this.mode << 1) |
      (this.#state.bcd ? 1 : 0);
  }

  read(): number {
    if (this.#state.status >= 0) {
      const status = this.#state.status;
      this.#state.status = -1;
      return status;
    }
    const value = this.#state.latch >= 0 ? this.#state.latch : this.#value();
    const high = this.#state.access === HIGH_BYTE || (this.#state.access !== LOW_BYTE && this.#state.readHigh);
    if (this.#state.access === (LOW_BYTE | HIGH_BYTE)) this.#state.readHigh = !this.#state.readHigh;
    if (!this.#state.readHigh) this.#state.latch = -1;
    return high ? value >> 8 : value & 0xff;
  }

  write(byte: number): void {
    if (this.#state.access === LOW_BYTE) return this.#load(byte);
    if (this.#state.access === HIGH_BYTE) return this.#load(byte << 8);
    if (this.#state.writeLow < 0) {
      this.#state.writeLow = byte;
      // Mode 0 stops counting between the two bytes.
      if (this.mode === 0 && this.#state.running) {
        this.#state.frozen = this.#elapsed();
        this.#state.running = false;
        this.#rescheduled();
      }
      return;
    }
    const value = this.#state.writeLow | (byte << 8);
    this.#state.writeLow = -1;
    this.#load(value);
  }

  #load(raw: number): void {
    const value = this.#state.bcd ? fromBcd(raw) : raw;
    this.#state.count = value === 0 ? this.#modulus : value;
    this.#state.nullCount = false;
    // Modes 1 and 5 wait for the gate to rise.
    if (this.mode === 1 || this.mode === 5) return;
    this.#state.frozen = 0;
    this.#state.running = false;
    if (this.#state.gate) this.#begin();
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
  readonly #state: State<{ speaker: number }>;
  /** Set for the next rising edge of channel 0's output. */
  readonly #edge: Timer;

  /** @param line IRQ 0 */
  constructor(states: States, clock: Clock, line: InterruptLine) {
    /** Bits 0 and 1 of port 0x61. */
    this.#state = states.state(this.name, 1, () => ({ speaker: 0 }));
    this.#edge = clock.timer(this.name, () => this.#onEdge());
    this.#clock = clock;
    this.#line = line;
    const counter = (index: number, rescheduled: () => void) =>
      new Counter(states, `${this.name}/${index}`, index !== 2, clock, rescheduled);
    this.#counters = [counter(0, () => this.#schedule()), counter(1, () => {}), counter(2, () => {})];
    this.ports = {
      readByte: offset => (offset === 3 ? 0xff : this.#counters[offset].read()),
      writeByte: (offset, value) => (offset === 3 ? this.#control(value) : this.#counters[offset].write(value)),
    };
    this.controlPort = {
      readByte: () => this.#readControlPort(),
      writeByte: (_offset, value) => {
        this.#state.speaker = value & 3;
        this.#counters[2].gate = (value & 1) !== 0;
      },
    };
    this.reset();
  }

  reset(): void {
    this.#state.speaker = 0;
    for (const counter of this.#counters) counter.reset();
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
    return this.#state.speaker | (refresh << 4) | (this.#counters[2].output ? 0x20 : 0);
  }

  #schedule(): void {
    this.#edge.off();
    const counter = this.#counters[0];
    if (counter.mode === 0 && !counter.output) this.#line.set(false);
    const edge = counter.nextEdge(this.#clock.now());
    if (edge !== undefined) this.#edge.at(edge);
  }

  #onEdge(): void {
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
