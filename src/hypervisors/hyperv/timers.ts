/**
 * Synthetic timers (TLFS 12.5): four a processor, one-shot at a reference time or periodic. An expiry is an interrupt
 * of the local APIC (direct mode) or a message to a SINT.
 */
import type { Timer } from '../../host/clock.ts';
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';
import type { State } from '../../state/state.ts';
import { timerMessage } from './messages.ts';
import { REFERENCE_UNIT } from './reference-time.ts';
import type { Synic } from './synic.ts';

const HV_X64_MSR_STIMER0_CONFIG = 0x400000b0;
const TIMERS = 4;

/** HV_X64_MSR_STIMERn_CONFIG. Lazy (bit 2) allows delays, of which there are none here. */
const ENABLE = 1n << 0n;
const PERIODIC = 1n << 1n;
const AUTO_ENABLE = 1n << 3n;
const DIRECT_MODE = 1n << 12n;
const apicVector = (config: bigint) => Number((config >> 4n) & 0xffn);
const sintOf = (config: bigint) => Number((config >> 16n) & 0xfn);
const FIRST_VECTOR = 16;

/** Periods shorter than this (ns) are stretched: a guest that asks for 100 ns would never get to anything else. */
const SHORTEST_PERIOD = 50_000;

interface TimerState {
  config: bigint;
  count: bigint;
  /** When the next expiry is due, in the clock's nanoseconds. */
  due: number;
}

/** One timer of a processor. Its state is `states.timers[index]`, its deadline the clock's. */
class SyntheticTimer {
  readonly #states: State<{ timers: TimerState[] }>;
  readonly #index: number;
  readonly #cpu: Processor;
  readonly #synic: Synic;
  readonly #clock: HypervisorContext['clock'];
  readonly #deadline: Timer;

  constructor(states: State<{ timers: TimerState[] }>, index: number, cpu: Processor, synic: Synic) {
    this.#states = states;
    this.#index = index;
    this.#cpu = cpu;
    this.#synic = synic;
    this.#clock = cpu.clock;
    this.#deadline = cpu.clock.timer(`hyperv/stimer${index}/${cpu.id}`, () => this.#expire());
  }

  get state(): TimerState {
    return this.#states.timers[this.#index];
  }

  setConfig(value: bigint): void {
    // TLFS: a timer without direct mode that is to send to SINT0 stays disabled.
    const nowhere = !(value & DIRECT_MODE) && sintOf(value) === 0;
    this.state.config = nowhere ? value & ~ENABLE : value;
    this.#restart();
  }

  setCount(value: bigint): void {
    const { state } = this;
    state.count = value;
    if (value === 0n) state.config &= ~ENABLE;
    else if (state.config & AUTO_ENABLE) state.config |= ENABLE;
    this.#restart();
  }

  #restart(): void {
    const { config, count } = this.state;
    this.#deadline.off();
    if (!(config & ENABLE) || count === 0n) return;
    const interval = Number(count) * REFERENCE_UNIT;
    this.#arm(config & PERIODIC ? this.#clock.now() + Math.max(interval, SHORTEST_PERIOD) : interval);
  }

  #arm(at: number): void {
    this.state.due = at;
    // A count may be centuries off: the clock need not know.
    if (at < Number.MAX_SAFE_INTEGER) this.#deadline.at(at);
  }

  #expire(): void {
    const { state } = this;
    const { due } = state;
    if (state.config & PERIODIC) {
      const period = Math.max(Number(state.count) * REFERENCE_UNIT, SHORTEST_PERIOD);
      // Periods that a busy host slept through are dropped, not delivered in a burst.
      this.#arm(due + Math.max(1, Math.floor((this.#clock.now() - due) / period) + 1) * period);
    } else state.config &= ~ENABLE;
    this.#notify(BigInt(Math.floor(due / REFERENCE_UNIT)));
  }

  #notify(expiration: bigint): void {
    const { config } = this.state;
    if (config & DIRECT_MODE) {
      const vector = apicVector(config);
      if (vector >= FIRST_VECTOR) this.#cpu.interrupts?.request(vector);
      return;
    }
    const sint = sintOf(config);
    // One message a timer: another expiry before the first was read is the same news.
    if (!this.#synic.waits(this.#cpu, sint, this.#index))
      this.#synic.post(this.#cpu, sint, timerMessage(this.#index, expiration));
  }
}

/** The registers of the timers, by number. */
export function createTimers(context: HypervisorContext, synic: Synic): Readonly<Record<number, Msr>> {
  const states = perProcessor(context, 'hyperv/timers', 1, () => ({
    timers: Array.from({ length: TIMERS }, (): TimerState => ({ config: 0n, count: 0n, due: 0 })),
  }));
  const timers: SyntheticTimer[][] = [];
  for (const cpu of context.cpus)
    timers[cpu.id] = Array.from(
      { length: TIMERS },
      (_, index) => new SyntheticTimer(states[cpu.id], index, cpu, synic),
    );

  const msrs: Record<number, Msr> = {};
  for (let index = 0; index < TIMERS; index++) {
    msrs[HV_X64_MSR_STIMER0_CONFIG + 2 * index] = {
      name: `HV_X64_MSR_STIMER${index}_CONFIG`,
      read: cpu => timers[cpu.id][index].state.config,
      write(cpu, value) {
        timers[cpu.id][index].setConfig(value);
        return true;
      },
    };
    msrs[HV_X64_MSR_STIMER0_CONFIG + 2 * index + 1] = {
      name: `HV_X64_MSR_STIMER${index}_COUNT`,
      read: cpu => timers[cpu.id][index].state.count,
      write(cpu, value) {
        timers[cpu.id][index].setCount(value);
        return true;
      },
    };
  }
  return msrs;
}
