/**
 * Synthetic timers (TLFS 12.5): four a processor, one-shot at a reference time or periodic. An expiry is an interrupt of the
 * local APIC (direct mode) or a message to a SINT.
 */
import type { Alarm } from '../../host/clock.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import type { Message, Synic } from './synic.ts';
import { REFERENCE_UNIT } from './time.ts';

const HV_X64_MSR_STIMER0_CONFIG = 0x400000b0;
const TIMERS = 4;

/** HV_X64_MSR_STIMERn_CONFIG. Lazy (bit 2) allows delays that never come about here. */
const ENABLE = 1n << 0n;
const PERIODIC = 1n << 1n;
const AUTO_ENABLE = 1n << 3n;
const DIRECT_MODE = 1n << 12n;
const apicVector = (config: bigint) => Number((config >> 4n) & 0xffn);
const sintOf = (config: bigint) => Number((config >> 16n) & 0xfn);
const FIRST_VECTOR = 16;

const HVMSG_TIMER_EXPIRED = 0x80000010;
/** TimerIndex, reserved, ExpirationTime, DeliveryTime. */
const TIMER_MESSAGE_SIZE = 24;

/** Periods shorter than this (ns) are stretched: a guest that asks for 100 ns would never get to anything else. */
const SHORTEST_PERIOD = 50_000;

class SyntheticTimer {
  config = 0n;
  count = 0n;
  #alarm: Alarm | undefined;
  #message: Message | undefined;
  /** When the next expiry is due, in the clock's nanoseconds. */
  #due = 0;
  readonly #index: number;
  readonly #cpu: Processor;
  readonly #synic: Synic;
  readonly #clock: HypervisorContext['clock'];

  constructor(index: number, cpu: Processor, synic: Synic, clock: HypervisorContext['clock']) {
    this.#index = index;
    this.#cpu = cpu;
    this.#synic = synic;
    this.#clock = clock;
  }

  setConfig(value: bigint): void {
    // TLFS: a timer without direct mode that is to send to SINT0 stays disabled.
    const nowhere = !(value & DIRECT_MODE) && sintOf(value) === 0;
    this.config = nowhere ? value & ~ENABLE : value;
    this.#restart();
  }

  setCount(value: bigint): void {
    this.count = value;
    if (value === 0n) this.config &= ~ENABLE;
    else if (this.config & AUTO_ENABLE) this.config |= ENABLE;
    this.#restart();
  }

  #restart(): void {
    this.#alarm?.cancel();
    this.#alarm = undefined;
    if (!(this.config & ENABLE) || this.count === 0n) return;
    const interval = Number(this.count) * REFERENCE_UNIT;
    this.#arm(this.config & PERIODIC ? this.#clock.now() + Math.max(interval, SHORTEST_PERIOD) : interval);
  }

  #arm(at: number): void {
    this.#due = at;
    // A count may be centuries off: the clock need not know.
    if (at < Number.MAX_SAFE_INTEGER) this.#alarm = this.#clock.alarm(at, () => this.#expire());
  }

  #expire(): void {
    this.#alarm = undefined;
    const due = this.#due;
    if (this.config & PERIODIC) {
      const period = Math.max(Number(this.count) * REFERENCE_UNIT, SHORTEST_PERIOD);
      // Periods that a busy host slept through are dropped, not delivered in a burst.
      this.#arm(due + Math.max(1, Math.floor((this.#clock.now() - due) / period) + 1) * period);
    } else this.config &= ~ENABLE;
    this.#notify(BigInt(Math.floor(due / REFERENCE_UNIT)));
  }

  #notify(expiration: bigint): void {
    if (this.config & DIRECT_MODE) {
      const vector = apicVector(this.config);
      if (vector >= FIRST_VECTOR) this.#cpu.interrupts?.request(vector);
      return;
    }
    const sint = sintOf(this.config);
    // One message a timer: another expiry before the first was read is the same news.
    if (this.#message && this.#synic.waits(this.#cpu, sint, this.#message)) return;
    this.#message = { type: HVMSG_TIMER_EXPIRED, payload: () => this.#payload(expiration) };
    this.#synic.post(this.#cpu, sint, this.#message);
  }

  #payload(expiration: bigint): Uint8Array {
    const view = new DataView(new ArrayBuffer(TIMER_MESSAGE_SIZE));
    view.setUint32(0, this.#index, true);
    view.setBigUint64(8, expiration, true);
    view.setBigUint64(16, BigInt(Math.floor(this.#clock.now() / REFERENCE_UNIT)), true);
    return new Uint8Array(view.buffer);
  }
}

export function createTimers({ clock }: HypervisorContext, synic: Synic) {
  const all = new Map<number, SyntheticTimer[]>();
  const timersOf = (cpu: Processor): SyntheticTimer[] => {
    let timers = all.get(cpu.id);
    if (!timers) {
      timers = Array.from({ length: TIMERS }, (_, index) => new SyntheticTimer(index, cpu, synic, clock));
      all.set(cpu.id, timers);
    }
    return timers;
  };

  const msrs: Record<number, Msr> = {};
  for (let index = 0; index < TIMERS; index++) {
    const timerOf = (cpu: Processor) => timersOf(cpu)[index];
    msrs[HV_X64_MSR_STIMER0_CONFIG + 2 * index] = {
      name: `HV_X64_MSR_STIMER${index}_CONFIG`,
      read: cpu => timerOf(cpu).config,
      write(cpu, value) {
        timerOf(cpu).setConfig(value);
        return true;
      },
    };
    msrs[HV_X64_MSR_STIMER0_CONFIG + 2 * index + 1] = {
      name: `HV_X64_MSR_STIMER${index}_COUNT`,
      read: cpu => timerOf(cpu).count,
      write(cpu, value) {
        timerOf(cpu).setCount(value);
        return true;
      },
    };
  }
  return { msrs };
}
