/**
 * The local APIC's timer (SDM 3A 11.5.4): one-shot, periodic, or at a value of the time-stamp counter. Counts are never
 * stepped; they are computed from the clock when somebody looks.
 */
import type { Alarm, Clock } from '../host/clock.ts';

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

export class ApicTimer {
  readonly #clock: Clock;
  readonly #tsc: TimeStampCounter;
  readonly #expired: () => void;
  readonly #fire = () => this.#onAlarm();
  #mode: TimerMode = 'one-shot';
  #initial = 0;
  #divideRegister = 0;
  /** Clock ticks per count: 1, 2, 4 … 128. */
  #divisor = 2;
  /** When the present count-down from `#initial` started, in the clock's nanoseconds. */
  #start = 0;
  #running = false;
  #deadline = 0n;
  #alarm: Alarm | undefined;

  /** @param expired called at each expiry, masked or not */
  constructor(clock: Clock, tsc: TimeStampCounter, expired: () => void) {
    this.#clock = clock;
    this.#tsc = tsc;
    this.#expired = expired;
  }

  reset(): void {
    this.#stop();
    this.#mode = 'one-shot';
    this.#initial = this.#divideRegister = 0;
    this.#divisor = 2;
    this.#deadline = 0n;
  }

  get mode(): TimerMode {
    return this.#mode;
  }

  /** Changing between the count-down modes and the deadline mode disarms the timer (SDM 3A 11.5.4.1). */
  setMode(mode: TimerMode): void {
    if (mode === this.#mode) return;
    const deadlineInvolved = mode === 'tsc-deadline' || this.#mode === 'tsc-deadline';
    this.#mode = mode;
    if (!deadlineInvolved) return;
    this.#stop();
    this.#initial = 0;
    this.#deadline = 0n;
  }

  get initialCount(): number {
    return this.#initial;
  }

  /** Starts a count-down; 0 stops the timer. Ignored in deadline mode. */
  set initialCount(count: number) {
    if (this.#mode === 'tsc-deadline') return;
    this.#stop();
    this.#initial = count >>> 0;
    if (this.#initial === 0) return;
    this.#start = this.#clock.now();
    this.#running = true;
    this.#arm(this.#start + this.#period);
  }

  /** The current-count register, 0 to 2^32-1. */
  get currentCount(): number {
    if (!this.#running || this.#mode === 'tsc-deadline') return 0;
    const counted = Math.floor((this.#clock.now() - this.#start) / (this.#divisor * NANOSECONDS_PER_TICK));
    if (counted < this.#initial) return this.#initial - counted;
    return this.#mode === 'periodic' ? this.#initial - (counted % this.#initial) : 0;
  }

  get divide(): number {
    return this.#divideRegister;
  }

  /** The divide configuration register: bits 3, 1 and 0 hold log2(divisor) - 1, where 7 means 1. */
  set divide(value: number) {
    const left = this.currentCount;
    this.#divideRegister = value & 0xb;
    const code = (value & 3) | ((value >> 1) & 4);
    this.#divisor = 1 << ((code + 1) & 7);
    if (!this.#running || this.#mode === 'tsc-deadline') return;
    // What is left of the count goes on at the new pace.
    this.#start = this.#clock.now() - (this.#initial - left) * this.#divisor * NANOSECONDS_PER_TICK;
    this.#arm(this.#start + this.#period);
  }

  /** IA32_TSC_DEADLINE: 0 when disarmed. */
  get deadline(): bigint {
    return this.#deadline;
  }

  set deadline(value: bigint) {
    if (this.#mode !== 'tsc-deadline') return;
    this.#stop();
    this.#deadline = value;
    if (value !== 0n) this.#armDeadline();
  }

  /** The guest changed its time-stamp counter, and with it the time at which a deadline is reached. */
  tscChanged(): void {
    if (this.#deadline !== 0n) this.#armDeadline();
  }

  get #period(): number {
    return this.#initial * this.#divisor * NANOSECONDS_PER_TICK;
  }

  #armDeadline(): void {
    const ticks = this.#deadline - this.#tsc.read();
    const now = this.#clock.now();
    if (ticks <= 0n) this.#arm(now);
    else this.#arm(now + Math.max(1, Math.ceil((Number(ticks) * 1e9) / this.#tsc.frequency)));
  }

  #arm(at: number): void {
    this.#alarm?.cancel();
    // A deadline may be centuries off: the clock need not know.
    this.#alarm = at < Number.MAX_SAFE_INTEGER ? this.#clock.alarm(at, this.#fire) : undefined;
  }

  #stop(): void {
    this.#alarm?.cancel();
    this.#alarm = undefined;
    this.#running = false;
  }

  #onAlarm(): void {
    this.#alarm = undefined;
    if (this.#mode === 'tsc-deadline') {
      // Rounding may wake us a tick early.
      if (this.#tsc.read() < this.#deadline) return this.#armDeadline();
      this.#deadline = 0n;
    } else if (this.#mode === 'periodic') {
      // Periods that a busy host slept through are dropped, not delivered in a burst.
      const period = this.#period;
      this.#start += Math.max(1, Math.floor((this.#clock.now() - this.#start) / period)) * period;
      this.#arm(this.#start + period);
    } else {
      this.#running = false;
    }
    this.#expired();
  }
}
