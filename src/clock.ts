/**
 * Machine time: a queue of timers over a source of nanoseconds, either counted in instructions or following the host.
 */
import type { Clock, HostClock, Timer } from './host/clock.ts';
import { type State, StateStore, type States } from './state/state.ts';

interface Deadline {
  at: number;
  /** Which of simultaneous deadlines was set first. */
  order: number;
}

interface QueuedTimer extends Timer {
  readonly fire: () => void;
  /** The timer's own deadline; undefined while it is off. */
  deadline: Deadline | undefined;
}

/** The timers of a machine. Which are set, for when and in which order is its state; what they do is fixed. */
export class MachineClock implements Clock {
  readonly #now: () => number;
  readonly #state: State<{ epoch: bigint; order: number; deadlines: Map<string, Deadline> }>;
  readonly #timers = new Map<string, QueuedTimer>();
  /** The timers that are set, the earliest first: derived from the deadlines. */
  readonly #queue: QueuedTimer[] = [];
  /** Called when a timer becomes the earliest one. */
  onEarlier: () => void = () => {};

  constructor(now: () => number, epoch: bigint, states: States = new StateStore()) {
    this.#now = now;
    this.#state = states.state('clock', 1, () => ({ epoch, order: 0, deadlines: new Map() }));
  }

  get epoch(): bigint {
    return this.#state.epoch;
  }

  now(): number {
    return this.#now();
  }

  timer(name: string, fire: () => void): Timer {
    if (this.#timers.has(name)) throw new Error(`timer ${name}: the name is taken`);
    const timer: QueuedTimer = {
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

  /** Fires what is due. */
  run(): void {
    const now = this.#now();
    // What a timer sets for now or earlier waits for the next call: a device cannot hold the machine up.
    let due = 0;
    while (due < this.#queue.length && this.#queue[due].deadline!.at <= now) due++;
    for (; due > 0 && this.next <= now; due--) this.fireNext();
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
    for (const name of this.#state.deadlines.keys())
      if (!this.#timers.has(name))
        throw new Error(`timer ${name}: set in what was restored, but this machine has none`);
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
  /** The processor is halted until `at`. */
  skipTo(at: number): void {
    this.#state.skipped += Math.max(0, at - this.now());
  }
}

/** The most that guest time advances while a slice of instructions runs, in nanoseconds: less than a tick at 250 Hz. */
const STRIDE = 3_000_000;
/** The most that guest time advances between two readings that follow each other closely, in nanoseconds. */
const STEP = 1_500;
/** Readings follow each other closely if fewer instructions than this are executed between them. */
const CLOSE = 64;

const initialHostTime = () => ({
  /** Guest time when the present slice of instructions began. */
  slice: 0,
  /** The latest reading of guest time, and how many instructions had been executed then. */
  latest: 0,
  at: 0,
  /** Nanoseconds that the host took, and that the guest has not been told of. */
  stolen: 0,
});

/**
 * Guest time that follows the host, from 0 on. While the guest executes, two limits apply, and what the host took
 * beyond them is gone for the guest, as if the machine had been paused. An idle guest's time runs like the host's.
 *
 * - A slice of instructions advances it by no more than STRIDE, however long the host took: a guest that counts timer
 *   interrupts against the TSC would otherwise find most of them missing.
 * - Readings that follow each other closely advance it by no more than STEP: a guest that calibrates one clock by
 *   another reads both at once (Linux's quick_pit_calibrate), and gives up if the host takes longer in between, to
 *   compile for example.
 */
export class HostTime {
  readonly #host: Pick<HostClock, 'now'>;
  readonly #instructions: () => number;
  readonly #state: State<ReturnType<typeof initialHostTime>>;
  /**
   * The host's time at which guest time was, or would have been, 0: no state, for a restored machine has another host.
   */
  #start: number;
  /** @param instructions executed so far */
  constructor(host: Pick<HostClock, 'now'>, instructions: () => number, states: States = new StateStore()) {
    this.#host = host;
    this.#instructions = instructions;
    this.#state = states.state('host-time', 1, initialHostTime);
    this.#start = host.now();
  }
  now = (): number => {
    const state = this.#state;
    const at = this.#instructions();
    const slice = state.slice + STRIDE;
    const limit = at - state.at < CLOSE ? Math.min(state.latest + STEP, slice) : slice;
    state.at = at;
    state.latest = this.#until(limit);
    return state.latest;
  };
  /** The state has been restored: guest time goes on from its latest reading. */
  restored(): void {
    this.#start = this.#host.now() - this.#state.latest;
  }
  /** Guest time, which gets no later than `limit`. */
  #until(limit: number): number {
    const now = this.#host.now() - this.#start;
    if (now <= limit) return now;
    this.#start += now - limit;
    this.#state.stolen += now - limit;
    return limit;
  }
  /** A slice of instructions begins. */
  slice(): void {
    this.#state.slice = this.#state.latest = this.#until(this.#state.slice + STRIDE);
  }
  /** The guest has been idle until now. @returns the nanoseconds that the host took since the last call. */
  idled(): number {
    this.#state.slice = this.#state.latest = this.#host.now() - this.#start;
    const { stolen } = this.#state;
    this.#state.stolen = 0;
    return stolen;
  }
}
