/**
 * The local APIC's timer (SDM 3A 11.5.4): one-shot, periodic, or at a value of the time-stamp counter. Counts are never
 * stepped; they are computed from the clock when they are read.
 */
import type { Clock, Timer } from '../host/clock.ts';
import type { State, States } from '../state/state.ts';

/** The guest's time-stamp counter. */
export interface TimeStampCounter {
  read(): bigint;
  /** In Hz. */
  readonly frequency: number;
}

export type TimerMode = 'one-shot' | 'periodic' | 'tsc-deadline';

/** What the timer counts before division, in Hz: one tick a nanosecond. */
export const APIC_TIMER_FREQUENCY = 1_000_000_000;
const NANOSECONDS_PER_TICK = 1e9 / APIC_TIMER_FREQUENCY;

const initial = () => ({
  mode: 'one-shot' as TimerMode,
  /** The initial-count register. */
  initial: 0,
  divideRegister: 0,
  /** When the present count-down from `initial` started, in the clock's nanoseconds. */
  start: 0,
  running: false,
  /** IA32_TSC_DEADLINE: 0 when disarmed. */
  deadline: 0n,
});

export class ApicTimer {
  readonly #clock: Clock;
  readonly #tsc: TimeStampCounter;
  readonly #expired: () => void;
  readonly #state: State<ReturnType<typeof initial>>;
  /** Set for the next expiry. */
  readonly #expiry: Timer;

  /**
   * @param name of its state and its deadline
   * @param expired called at each expiry, masked or not
   */
  constructor(states: States, name: string, clock: Clock, tsc: TimeStampCounter, expired: () => void) {
    this.#state = states.state(name, 2, initial);
    this.#expiry = clock.timer(name, () => this.#onExpiry());
    this.#clock = clock;
    this.#tsc = tsc;
    this.#expired = expired;
  }

  reset(): void {
    this.#expiry.off();
    this.#state.initialise();
  }

  get mode(): TimerMode {
    return this.#state.mode;
  }

  /** Changing between the count-down modes and the deadline mode disarms the timer (SDM 3A 11.5.4.1). */
  setMode(mode: TimerMode): void {
    if (mode === this.#state.mode) return;
    const deadlineInvolved = mode === 'tsc-deadline' || this.#state.mode === 'tsc-deadline';
    this.#state.mode = mode;
    if (!deadlineInvolved) return;
    this.#stop();
    this.#state.initial = 0;
    this.#state.deadline = 0n;
  }

  get initialCount(): number {
    return this.#state.initial;
  }

  /** Starts a count-down; 0 stops the timer. Ignored in deadline mode. */
  set initialCount(count: number) {
    if (this.#state.mode === 'tsc-deadline') return;
    this.#stop();
    this.#state.initial = count >>> 0;
    if (this.#state.initial === 0) return;
    this.#state.start = this.#clock.now();
    this.#state.running = true;
    this.#arm(this.#state.start + this.#period);
  }

  /** The current-count register, 0 to 2^32-1. */
  get currentCount(): number {
    if (!this.#state.running || this.#state.mode === 'tsc-deadline') return 0;
    const counted = Math.floor((this.#clock.now() - this.#state.start) / (this.#divisor * NANOSECONDS_PER_TICK));
    if (counted < this.#state.initial) return this.#state.initial - counted;
    return this.#state.mode === 'periodic' ? this.#state.initial - (counted % this.#state.initial) : 0;
  }

  get divide(): number {
    return this.#state.divideRegister;
  }

  set divide(value: number) {
    const left = this.currentCount;
    this.#state.divideRegister = value & 0xb;
    if (!this.#state.running || this.#state.mode === 'tsc-deadline') return;
    // What is left of the count goes on at the new pace.
    this.#state.start = this.#clock.now() - (this.#state.initial - left) * this.#divisor * NANOSECONDS_PER_TICK;
    this.#arm(this.#state.start + this.#period);
  }

  /** IA32_TSC_DEADLINE: 0 when disarmed. */
  get deadline(): bigint {
    return this.#state.deadline;
  }

  set deadline(value: bigint) {
    if (this.#state.mode !== 'tsc-deadline') return;
    this.#stop();
    this.#state.deadline = value;
    if (value !== 0n) this.#armDeadline();
  }

  /** The guest changed its time-stamp counter, and with it the time at which a deadline is reached. */
  tscMoved(): void {
    if (this.#state.deadline !== 0n) this.#armDeadline();
  }

  /** Clock ticks per count: 1, 2, 4 … 128. Bits 3, 1 and 0 of the divide configuration register hold log2 of it - 1; 7 means 1. */
  get #divisor(): number {
    const value = this.#state.divideRegister;
    return 1 << ((((value & 3) | ((value >> 1) & 4)) + 1) & 7);
  }

  /** In nanoseconds. At least one, whatever was restored: a timer that is always due would keep the guest from executing. */
  get #period(): number {
    return Math.max(1, this.#state.initial * this.#divisor * NANOSECONDS_PER_TICK);
  }

  #armDeadline(): void {
    const ticks = this.#state.deadline - this.#tsc.read();
    const now = this.#clock.now();
    if (ticks <= 0n) this.#arm(now);
    else this.#arm(now + Math.max(1, Math.ceil((Number(ticks) * 1e9) / this.#tsc.frequency)));
  }

  #arm(at: number): void {
    // A deadline may be centuries off: the clock need not know.
    if (at < Number.MAX_SAFE_INTEGER) this.#expiry.at(at);
    else this.#expiry.off();
  }

  #stop(): void {
    this.#expiry.off();
    this.#state.running = false;
  }

  #onExpiry(): void {
    if (this.#state.mode === 'tsc-deadline') {
      // Rounding may wake us a tick early.
      if (this.#tsc.read() < this.#state.deadline) return this.#armDeadline();
      this.#state.deadline = 0n;
    } else if (this.#state.mode === 'periodic') {
      // Periods that a busy host slept through are dropped, not delivered in a burst.
      const period = this.#period;
      this.#state.start += Math.max(1, Math.floor((this.#clock.now() - this.#state.start) / period)) * period;
      this.#arm(this.#state.start + period);
    } else {
      this.#state.running = false;
    }
    this.#expired();
  }
}
