/**
 * Guest time that follows a host's clock (`--clock host`), whatever the host does meanwhile: it may take the processor
 * away for a minute, sleep for a night, or have a clock that moves in steps of a millisecond.
 *
 * The law. Guest time g starts at 0 and shall be host time h. The lag, h - g, is what the host took and g has still to
 * make up. g is computed when somebody reads it. Between two readings, h goes on by as much as it likes, the guest
 * executes n instructions, and g goes on to h, within these limits:
 *
 * 1. By n × CREEP at least, even beyond h. So time never stands still while instructions execute, and never runs back.
 *    A host may execute more than one instruction a nanosecond, though: where h has gone on, half of that is enough. So h
 *    catches up with g, and an idle guest never waits for that.
 * 2. By STEP + (n - CLOSE) × RATE at most. The guest sees a processor that is at times slow, but one that executes 20
 *    instructions a microsecond at least, and never one that stops: a tick of 1 ms has room for 20,000 instructions,
 *    of which the handler takes a fifth. Where the host executes more (they all do, some 50 to 500), g runs faster
 *    than h by at most that factor, until the lag is 0. Where a busy host executes less, the lag grows, and is made up
 *    later.
 * 3. Not beyond the next deadline of a timer, before that timer has fired. Readings that reach it ask the machine to
 *    fire it. So no tick is lost and none is late in guest time: a guest that counts interrupts against the
 *    time-stamp counter finds as many as there should be, however fast g runs.
 *
 * STEP is for guests that calibrate one clock by another and read both at once, again and again: Linux's
 * quick_pit_calibrate reads the 8254 and the TSC every few instructions, wants to see each count of 214 µs in five
 * rounds, and gives up if a round or two, of six readings each, take more than 12 µs. That lasts 50 ms. A guest that
 * reads the time and does nothing else for longer (POLLING readings) could not follow a host that takes longer than
 * STEP for each: for such a guest, STEP grows with the lag, which then comes to rest at a fraction of a second.
 *
 * A guest that is idle has no instructions between which time could leap: limit 2 does not apply, and g goes to h or to
 * the next deadline at once. So a lag of a minute is gone within some milliseconds of idleness, however many timers the
 * guest has; a guest that is busy makes it up in ten to twenty seconds.
 *
 * All processors read this one g, so their readings are in order.
 *
 * Stolen time is what the host took beyond RATE while the guest wanted to execute. It is told once (`takeStolen`), when
 * it has been noticed; the guest sees it in g later. Linux counts stolen time against what passes then.
 */
import type { HostClock } from './host/clock.ts';
import { type State, StateStore, type States } from './state/state.ts';

/** The least by which an instruction advances guest time, in nanoseconds. */
const CREEP = 1;
/** The most, once there are more than CLOSE instructions between two readings. */
const RATE = 50;
const CLOSE = 64;
/** The most that guest time advances between two readings that are closer. */
const STEP = 1_500;
/** After so many close readings STEP grows by a nanosecond for every LAG_A_NANOSECOND of lag, to LONGEST_STEP. */
const POLLING = 200_000;
const LAG_A_NANOSECOND = 100_000;
const LONGEST_STEP = 50_000;
/** What the host takes at once and nobody calls stolen, in nanoseconds: to compile, to look at its other events. */
const SLACK = 2_000_000;
/** What an instruction takes at most, as far as it is measured: a host may stall. */
const SLOWEST = 1_000;
/** Fewer instructions are not worth a slice. */
const SHORTEST_SLICE = 1_000;
/** How often the wall clock is looked at, and by how much it must have run ahead for the host to have slept; in ns. */
const LOOK_EVERY = 1e9;
const SLEPT = 1e9;

/** The deadlines of the machine, as far as time must know them. */
export interface Deadlines {
  /** The earliest; Infinity if there is none. */
  readonly next: number;
  /** Guest time has reached it: its timer is to fire soon. */
  reached(): void;
}

/** What is known of a host's clock. */
export interface HostView {
  /** The host's time at which guest time was, or would have been, 0. */
  start: number;
  /** Host time of the latest look at the host's clock, how many instructions had been executed, and its finest step. */
  seen: number;
  seenAt: number;
  grain: number;
  /** Host time at the latest reading. */
  readAt: number;
  /** Nanoseconds an instruction has taken lately, SLOWEST at most; host time and instructions from which on that is measured anew. */
  pace: number;
  paced: number;
  pacedAt: number;
  /** Host time and instructions when the present slice began. */
  slice: number;
  sliceAt: number;
  /** The host's two clocks at the last look at the wall clock. */
  looked: number;
  wall: bigint;
}

export class HostTime {
  readonly #host: Pick<HostClock, 'now' | 'wall'>;
  readonly #instructions: () => number;
  readonly #deadlines: Deadlines;
  readonly #state: State<{ latest: number; at: number; close: number; stolen: number }>;
  /** This host, of which nothing is state: a restored machine has another one. */
  #here: HostView;
  /** It stands still until `goOn`. */
  #isHeld = false;

  /** @param instructions executed so far, by all processors */
  constructor(
    host: Pick<HostClock, 'now' | 'wall'>,
    instructions: () => number,
    deadlines: Deadlines,
    states: States = new StateStore(),
  ) {
    this.#host = host;
    this.#instructions = instructions;
    this.#deadlines = deadlines;
    this.#state = states.state('host-time', 2, () => ({
      /** The latest reading of guest time, and how many instructions had been executed then. */
      latest: 0,
      at: 0,
      /** How many readings have been close to the one before, up to now. */
      close: 0,
      /** Nanoseconds that the host took, and that nobody has been told of. */
      stolen: 0,
    }));
    const now = host.now();
    const at = instructions();
    this.#here = {
      ...{ start: now, seen: 0, seenAt: at, grain: 0, readAt: 0, pace: 10, paced: 0, pacedAt: at },
      ...{ slice: 0, sliceAt: at, looked: now },
      wall: host.wall(),
    };
  }

  now = (): number => {
    if (this.#isHeld) return this.#state.latest;
    const at = this.#instructions();
    const state = this.#state;
    const executed = at - state.at;
    const host = this.#hostTime(at);
    if (executed > CLOSE) {
      state.close = 0;
      return this.#advance(host, at, STEP + (executed - CLOSE) * RATE);
    }
    if (executed > 0) state.close++;
    if (state.close < POLLING) return this.#advance(host, at, STEP);
    return this.#advance(host, at, Math.min(STEP + (host - state.latest) / LAG_A_NANOSECOND, LONGEST_STEP));
  };

  /** The latest reading, for whoever is not to make one: each is part of what the guest's time becomes. */
  get latest(): number {
    return this.#state.latest;
  }

  /** Host time since the start at the latest look at the host's clock, for whoever is not to look. */
  get seen(): number {
    return this.#here.seen;
  }

  /** A reading: guest time goes to `host`, by no more than `most`. */
  #advance(host: number, at: number, most: number): number {
    const state = this.#state;
    const { latest } = state;
    const { next } = this.#deadlines;
    const waiting = latest < next;
    const wanted = Math.min(host, latest + most, waiting ? next : Number.POSITIVE_INFINITY);
    const now = Math.max(wanted, latest + this.#least(at - state.at, host - this.#here.readAt));
    this.#here.readAt = host;
    state.latest = now;
    state.at = at;
    if (waiting && now >= next) this.#deadlines.reached();
    return now;
  }

  /** What a reading goes on by at least, after so many instructions, in which the host's time moved by so much. */
  #least(executed: number, moved: number): number {
    if (executed <= 0) return 0;
    const creep = executed * CREEP;
    return moved > 0 ? Math.max(CREEP, Math.min(creep, moved / 2)) : creep;
  }

  /** Host time since the start. Where the host's clock has not moved since the last look, what it would say is guessed. */
  #hostTime(at: number): number {
    const now = this.#host.now() - this.#here.start;
    const step = now - this.#here.seen;
    if (step === 0) {
      const pace = Math.min(this.#here.pace, RATE);
      return now + Math.min(this.#here.grain, pace * Math.max(0, at - this.#here.seenAt));
    }
    if (step > 0 && (step < this.#here.grain || this.#here.grain === 0)) this.#here.grain = step;
    this.#here.seen = now;
    this.#here.seenAt = at;
    return now;
  }

  /**
   * A slice of instructions begins.
   * @returns how many instructions it may have, for the next timer to fire when it is due
   */
  slice(): number {
    const at = this.#instructions();
    const host = this.#hostTime(at);
    this.#begin(host, at);
    const { latest } = this.#state;
    const left = this.#deadlines.next - latest;
    return Math.max(SHORTEST_SLICE, Math.ceil(left / (host - latest >= left ? RATE : Math.min(this.#here.pace, RATE))));
  }

  /** Accounts for what has been executed since the last call. */
  #begin(host: number, at: number): void {
    const executed = at - this.#here.sliceAt;
    const took = host - this.#here.slice;
    this.#measurePace(host, at);
    if (executed > 0 && took - executed * RATE > SLACK) this.#state.stolen += took - executed * RATE;
    this.#here.slice = host;
    this.#here.sliceAt = at;
    this.#lookForSleep();
  }

  /** Slices may be too short to tell, as those of several processors are: what they take is added up. */
  #measurePace(host: number, at: number): void {
    const executed = at - this.#here.pacedAt;
    if (executed < SHORTEST_SLICE) return;
    const pace = (host - this.#here.paced) / executed;
    this.#here.pace += (Math.min(Math.max(pace, 1), SLOWEST) - this.#here.pace) / 4;
    this.#here.paced = host;
    this.#here.pacedAt = at;
  }

  /** The guest is idle, or has been until now: time goes to the host's, or to the next deadline. @returns guest time */
  idle(): number {
    const at = this.#instructions();
    const host = this.#hostTime(at);
    this.#begin(host, at);
    this.#here.paced = host;
    this.#here.pacedAt = at;
    // A timer that waits to fire sees no time pass.
    const most = this.#state.latest < this.#deadlines.next ? Number.POSITIVE_INFINITY : 0;
    return this.#advance(host, at, most);
  }

  /** Nanoseconds that the host took since the last call. */
  takeStolen(): number {
    const { stolen } = this.#state;
    this.#state.stolen = 0;
    return stolen;
  }

  /**
   * Most hosts' monotonic clocks stand still while the host sleeps (a laptop that is shut), but the wall clock does not:
   * what it has run ahead by is a lag like any other.
   */
  #lookForSleep(): void {
    const before = this.#host.now();
    const passed = before - this.#here.looked;
    if (passed >= 0 && passed < LOOK_EVERY) return;
    const wall = this.#host.wall();
    // Held up between the two clocks: what they say does not fit together.
    if (this.#host.now() - before > SLACK) return;
    const slept = Number(wall - this.#here.wall) - passed;
    if (slept > SLEPT) this.#here.start -= slept;
    this.#here.looked = before;
    this.#here.wall = wall;
  }

  /** For a machine that goes on in the middle of a run that is repeated: on the host as it was seen then. */
  get here(): HostView {
    return { ...this.#here };
  }
  /** Guest time stands still while such a machine is put together: nobody's reading is part of the run. */
  hold(): void {
    this.#isHeld = true;
  }
  goOn(here: HostView): void {
    this.#here = { ...here };
    this.#isHeld = false;
  }

  /** The state has been restored: guest time goes on from its latest reading, on this host. */
  restored(): void {
    const now = this.#host.now();
    const { latest } = this.#state;
    this.#here.start = now - latest;
    this.#here.looked = now;
    this.#here.wall = this.#host.wall();
    this.#here.seen = this.#here.slice = this.#here.paced = this.#here.readAt = latest;
    this.#state.at = this.#here.seenAt = this.#here.sliceAt = this.#here.pacedAt = this.#instructions();
  }
}
