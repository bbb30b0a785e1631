/**
 * Machine time: a queue of timers over a source of nanoseconds. The source either counts instructions (VirtualTime) or
 * follows the host (host-time.ts).
 */
import type { Clock, Timer } from './host/clock.ts';
import { type State, StateStore, type States } from './state/state.ts';

interface Deadline {
  at: number;
  /** Which of simultaneous deadlines was set first. */
  order: number;
}

interface QueuedTimer extends Timer {
  readonly name: string;
  readonly fire: () => void;
  /** The timer's own deadline; undefined while it is off. */
  deadline: Deadline | undefined;
}

/** How often timers may fire at one guest time, in which no instruction is executed: far more than a machine has timers. */
const MOST_AT_ONCE = 100_000;

/** Counts what happens at one and the same guest time. */
class Standstill {
  #time = Number.NaN;
  #count = 0;

  /** @returns how often it has been called with `time` since it was called with another */
  at(time: number): number {
    if (time !== this.#time) [this.#time, this.#count] = [time, 0];
    return ++this.#count;
  }
}

/** The timers of a machine. Which are set, for when and in which order is its state; what they do is fixed. */
export class MachineClock implements Clock {
  readonly now: () => number;
  readonly #state: State<{ epoch: bigint; order: number; deadlines: Map<string, Deadline> }>;
  readonly #timers = new Map<string, QueuedTimer>();
  /** The timers that are set, the earliest first: derived from the deadlines. */
  readonly #queue: QueuedTimer[] = [];
  readonly #standstill = new Standstill();
  /** Called when a timer becomes the earliest one, or is due while the guest executes. */
  onEarlier: () => void = () => {};

  constructor(now: () => number, epoch: bigint, states: States = new StateStore()) {
    this.now = now;
    this.#state = states.state('clock', 1, () => ({ epoch, order: 0, deadlines: new Map() }));
  }

  get epoch(): bigint {
    return this.#state.epoch;
  }

  /** The wall's clock has been set, or the guest has slept: now it is `wall`, in nanoseconds since the Unix epoch. */
  setWall(wall: bigint): void {
    this.#state.epoch = wall - BigInt(Math.floor(this.now()));
  }

  timer(name: string, fire: () => void): Timer {
    if (this.#timers.has(name)) throw new Error(`timer ${name}: the name is taken`);
    const timer: QueuedTimer = {
      name,
      fire,
      deadline: undefined,
      get due() {
        return timer.deadline?.at;
      },
      at: time => {
        timer.off();
        const deadline = { at: time, order: this.#state.order++ };
        timer.deadline = deadline;
        this.#state.deadlines.set(name, deadline);
        this.#enqueue(timer, deadline);
        if (this.#queue[0] === timer) this.onEarlier();
      },
      off: () => {
        if (!timer.deadline) return;
        timer.deadline = undefined;
        this.#state.deadlines.delete(name);
        this.#queue.splice(this.#queue.indexOf(timer), 1);
      },
    };
    this.#timers.set(name, timer);
    return timer;
  }

  #enqueue(timer: QueuedTimer, { at, order }: Deadline): void {
    let index = this.#queue.length;
    for (; index > 0; index--) {
      const before = this.#queue[index - 1].deadline!;
      if (before.at < at || (before.at === at && before.order < order)) break;
    }
    this.#queue.splice(index, 0, timer);
  }

  /** When the next timer is due, in nanoseconds; Infinity when none is set. */
  get next(): number {
    return this.#queue[0]?.due ?? Number.POSITIVE_INFINITY;
  }

  /** How many timers are set. */
  get armed(): number {
    return this.#queue.length;
  }

  /**
   * Fires what is due.
   * @throws TimerError if one is due again and again while time stands still: the processors would never execute anything
   */
  run(): void {
    const now = this.now();
    // What a timer sets for now or earlier waits for the next call: a device cannot hold the machine up.
    let due = 0;
    while (due < this.#queue.length && this.#queue[due].deadline!.at <= now) due++;
    for (; due > 0 && this.next <= now; due--) {
      const { name } = this.#queue[0]!;
      this.fireNext();
      if (this.#standstill.at(now) > MOST_AT_ONCE)
        throw new TimerError(`timer ${name}: is always due, and time stands still at ${now} ns`);
    }
  }

  /** Fires the earliest timer, whenever it is due. */
  fireNext(): void {
    const timer = this.#queue[0];
    if (!timer) return;
    timer.off();
    timer.fire();
  }

  /** The deadlines have been restored: sets the timers by them. @throws Error if one has no timer in this machine. */
  restored(): void {
    for (const [name, deadline] of this.#state.deadlines) {
      if (!this.#timers.has(name))
        throw new Error(`timer ${name}: set in what was restored, but this machine has none`);
      const at: unknown = (deadline as Deadline | undefined)?.at;
      if (!Number.isFinite(at)) throw new Error(`timer ${name}: set for ${at} in what was restored`);
    }
    this.#queue.length = 0;
    for (const [name, timer] of this.#timers) {
      const deadline = this.#state.deadlines.get(name);
      timer.deadline = deadline && { ...deadline };
      if (deadline) this.#enqueue(timer, deadline);
    }
    this.onEarlier();
  }
}

/** Guest time that jumps over halts: executed instructions (one a nanosecond) plus the time skipped while halted. */
export class VirtualTime {
  readonly #instructions: () => number;
  readonly #state: State<{ skipped: number }>;
  constructor(instructions: () => number, states: States = new StateStore()) {
    this.#instructions = instructions;
    this.#state = states.state('virtual-time', 1, () => ({ skipped: 0 }));
  }
  now = (): number => this.#instructions() + this.#state.skipped;
  /** Time passes in which nothing is executed. @param nanoseconds 0 or more */
  skip(nanoseconds: number): void {
    this.#state.skipped += nanoseconds;
  }
  /** All processors are halted until `at`. */
  skipTo(at: number): void {
    this.skip(Math.max(0, at - this.now()));
  }
}

/** A timer is always due: a mistake of whoever sets it. */
export class TimerError extends Error {
  override name = 'TimerError';
}
