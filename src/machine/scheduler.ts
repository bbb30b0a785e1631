/**
 * Who executes next: N processors have turns on one thread, and time passes as if they ran side by side.
 *
 * Time goes in rounds. A round has a span of guest time, and every processor that can execute may execute as many
 * instructions as the span has nanoseconds. How far a processor has come in the round is its own time (`Turn.at`). A round
 * is over when each has used the span up or is halted. With n processors in the round, an instruction of any moves the
 * machine's clock by 1/n ns, and the end of the round moves it to the latest of their own times. So the clock goes on by a
 * span a round, not by n; it never runs back, whoever reads it; and a processor alone moves it by a nanosecond an
 * instruction, as in a machine with one.
 *
 * A processor loses its turn when it has used up the span, when it halts, and when it executes PAUSE or asks a hypervisor
 * to yield: then it only waits for others. A PAUSE takes a while of its own time (SHORTEST_PAUSE, and twice as much each
 * time it finds nothing better to do, to LONGEST_PAUSE, and without limit once somebody else has used up the span), so that
 * processors that spin do so in few instructions and turns; the processor goes to the end of the queue. Alone it does not lose
 * anything.
 *
 * A halted processor that an interrupt wakes joins the round at the clock's time. One that executes alone has no end of its
 * round; it ends when another one wakes. Interrupts and timers therefore take effect within a span, at an instruction that
 * is the same in every run with the virtual clock.
 *
 * With a host's clock the same rounds are run, but time is the host's: the instructions only bound how fast it goes
 * (host-time.ts), PAUSE takes no time, and what a processor waits for its turn is told as stolen (`tellWaited`).
 */
import type { MachineClock } from '../clock.ts';
import type { Core } from '../engine/core.ts';
import { REGION_LIMIT } from '../engine/layout.ts';
import { state as fields } from '../engine/x86/state.ts';
import type { Timer } from '../host/clock.ts';
import type { State, States } from '../state/state.ts';
import type { ProcessorParts } from './parts.ts';
import type { Schedule } from './schedule.ts';
import type { GuestTime } from './time.ts';

/** What a PAUSE takes of its processor's time, in nanoseconds. */
const SHORTEST_PAUSE = 100;
const LONGEST_PAUSE = 3_200;
/** A turn with more instructions before its PAUSE has done something: the next pauses are short again. */
const USEFUL_TURN = 500;
/** No span is shorter, in nanoseconds, however soon the next timer is due; and nobody joins a round for less. */
const LEAST_SPAN = 1_000;
/**
 * What a round may take by a host's clock, in nanoseconds. Those who wait for their turn see the clock leap by nearly as much, and
 * guests compare clocks on one processor with ticks that another one counts (Linux: calibrate_delay_direct, to an eighth of 8 ms).
 */
const LONGEST_ROUND = 400_000;
/** Before anything has been measured: what a nanosecond of the processors' own time takes, in nanoseconds. */
const FIRST_PACE = 40;
/** The same at most: a host may stall. */
const SLOWEST_PACE = 1_000;
/** Waiting is told to hypervisors when it has come to so many nanoseconds. */
const TOLD_WAIT = 1_000_000;

interface Turn {
  /** The processor's place. */
  readonly index: number;
  /** Its own time in the round: nanoseconds since the round began. */
  at: number;
  /** Instructions executed since it has got the turn. */
  executed: number;
}

const initial = () => ({
  /** The round: what `progress` was when it began, its processors, its length, and what they have executed in all. */
  base: 0,
  share: 1,
  span: Number.POSITIVE_INFINITY,
  done: 0,
  /** The latest of the processors' own times. */
  longest: 0,
  /** By a host's clock: the host's time when the round began, and what a nanosecond of the processors' own time has taken lately. */
  begun: 0,
  pace: FIRST_PACE,
  /** Instructions that the processor whose turn it is had executed when `done` was last brought up to date. */
  from: 0,
  /** Whose turn was the last one: his registers stand where processors execute. */
  last: 0,
  /** Who has the turn; undefined: nobody. */
  turn: undefined as Turn | undefined,
  /** Who comes after, in order. */
  queue: [] as Turn[],
  /** By place: the own time of those that are in neither, for they have halted or used up the span. */
  left: [] as (number | undefined)[],
  /** By place: what the next PAUSE takes. */
  pauses: [] as number[],
  /** By place: the guest time until which the processor gets no turn. */
  held: [] as number[],
  /** By place: the guest time since which it could execute and did not; undefined: it could not, or did. */
  waiting: [] as (number | undefined)[],
  /** By place: nanoseconds waited that nobody has been told of. */
  untold: [] as number[],
});

export class Scheduler {
  readonly #core: Core;
  readonly #schedule: Schedule;
  readonly #state: State<ReturnType<typeof initial>>;
  #processors: readonly ProcessorParts[] = [];
  #clock!: MachineClock;
  #time!: GuestTime;
  #release!: Timer;
  /** The guest time up to which the present turn is in its processor's account. */
  #seen = 0;

  constructor(core: Core, schedule: Schedule, states: States) {
    this.#core = core;
    this.#schedule = schedule;
    this.#state = states.state('scheduler', 2, initial);
    if (core.vcpus.length === 1) this.#state.turn = { index: 0, at: 0, executed: 0 };
    for (const { index } of core.vcpus) {
      this.#state.left[index] = undefined;
      this.#state.pauses[index] = SHORTEST_PAUSE;
      this.#state.held[index] = 0;
      this.#state.waiting[index] = undefined;
      this.#state.untold[index] = 0;
    }
  }
  /** Called once, when there is time, and with the processors in order of their places. */
  connect(processors: readonly ProcessorParts[], time: GuestTime): void {
    this.#processors = processors;
    this.#time = time;
    this.#clock = time.clock;
    // Idle time ends there.
    this.#release = time.clock.timer('scheduler', () => this.#awaitRelease());
  }

  /**
   * What the machine's clock goes by: whole nanoseconds if each processor took one for each instruction, and all of them
   * executed side by side. The leaps at the ends of rounds are not in it.
   */
  progress = (): number => {
    const { base, done, share, from, turn } = this.#state;
    return base + Math.floor((done + (turn ? this.#core.vcpus[turn.index]!.instructions - from : 0)) / share);
  };

  /** Whose turn it is, or was the last one. */
  get latest(): ProcessorParts {
    return this.#processors[this.#state.last]!;
  }

  /** Gives the turn to whoever is next. @returns undefined if nobody can execute */
  next(): ProcessorParts | undefined {
    if (this.#processors.length === 1) return this.#processors[0];
    this.#account();
    this.#endTurn();
    this.#join();
    const state = this.#state;
    if (!state.turn && !this.#take()) {
      this.#endRound();
      this.#beginRound();
      if (!this.#take()) return undefined;
    }
    return this.again();
  }
  /** Whoever has the turn goes on with it. */
  again(): ProcessorParts {
    const chosen = this.#processors[this.#state.turn!.index]!;
    if (this.#processors.length === 1) return chosen;
    // A machine that was restored has its first processor there.
    this.#core.switchTo(chosen.vcpu);
    chosen.vcpu.cpu.set32(fields.PAUSE_ENDS, this.#state.share > 1 ? 1 : 0);
    return chosen;
  }

  /** Instructions in which the processor whose turn it is moves the clock by `nanoseconds`, or uses up its turn. */
  instructionsFor(nanoseconds: number): number {
    if (this.#processors.length === 1) return nanoseconds;
    const { base, done, share, span, turn } = this.#state;
    return Math.min((this.progress() - base + Math.ceil(nanoseconds)) * share - done, span - turn!.at);
  }

  /** True if a processor could execute, but for the schedule. */
  get holds(): boolean {
    const now = this.#clock.now();
    return this.#processors.some(({ processor, vcpu }) => !vcpu.halted && this.#state.held[processor.id]! > now);
  }

  /** What has been executed since the last call. */
  #account(): void {
    const state = this.#state;
    const { turn } = state;
    if (!turn) return;
    const executed = this.#core.vcpus[turn.index]!.instructions - state.from;
    state.from += executed;
    state.done += executed;
    turn.at += executed;
    turn.executed += executed;
    const { activity } = this.#processors[turn.index]!;
    const now = this.#clock.now();
    activity.ran += this.#time.virtual ? executed : now - this.#seen;
    this.#seen = now;
  }

  /** Takes the turn away from a processor that has used it up or cannot go on. */
  #endTurn(): void {
    const state = this.#state;
    const { turn } = state;
    if (!turn) return;
    const { vcpu } = this.#processors[turn.index]!;
    if (vcpu.paused) {
      vcpu.paused = false;
      this.#pause(turn);
      state.queue.push(turn);
    } else if (!this.#isReady(turn.index) || this.#isUsedUp(turn)) state.left[turn.index] = turn.at;
    else return;
    state.longest = Math.max(state.longest, turn.at);
    state.turn = undefined;
    if (this.#time.following && !vcpu.halted) state.waiting[turn.index] = this.#clock.now();
  }
  #pause(turn: Turn): void {
    const state = this.#state;
    if (turn.executed > USEFUL_TURN) state.pauses[turn.index] = SHORTEST_PAUSE;
    const limit = this.#somebodyIsThrough() ? Math.max(state.span - turn.at, LONGEST_PAUSE) : LONGEST_PAUSE;
    const wanted = state.pauses[turn.index]!;
    const pause = Math.min(wanted, limit);
    state.pauses[turn.index] = Math.max(wanted, Math.min(2 * pause, limit));
    if (state.share === 1) return;
    turn.at += pause;
    if (!this.#time.virtual) return;
    state.done += pause;
    this.#processors[turn.index]!.activity.ran += pause;
  }
  /** True if a processor that can go on has used its span up: what others spin for is likely to be its work, of the next round. */
  #somebodyIsThrough(): boolean {
    const { left } = this.#state;
    const isUsedUp = (at: number | undefined) => at !== undefined && this.#isUsedUp({ at });
    return this.#processors.some(({ processor, vcpu }) => !vcpu.halted && isUsedUp(left[processor.id]));
  }
  /** With a host's clock runs are not exact: they end up to REGION_LIMIT instructions early (Vcpu.run). */
  #isUsedUp({ at }: Pick<Turn, 'at'>): boolean {
    return at >= this.#state.span - (this.#time.virtual ? 0 : REGION_LIMIT);
  }

  /** Processors that have become ready come into the round; a processor that executes alone ends its own. */
  #join(): void {
    const state = this.#state;
    for (const { processor } of this.#processors) {
      const index = processor.id;
      if (state.turn?.index === index || state.queue.some(turn => turn.index === index)) continue;
      if (!this.#isReady(index)) continue;
      if (state.turn && state.share === 1) {
        state.longest = state.turn.at;
        state.turn = undefined;
        return;
      }
      const at = Math.max(state.left[index] ?? 0, this.progress() - state.base);
      if (state.share > 1 && state.span - at >= LEAST_SPAN) this.#enqueue(index, at);
    }
  }
  #enqueue(index: number, at: number): void {
    const state = this.#state;
    state.left[index] = undefined;
    if (this.#time.following) state.waiting[index] ??= this.#clock.now();
    state.queue.push({ index, at, executed: 0 });
  }
  /** True if the processor can execute; one that is halted, and is not to be any longer, goes on. One that is held waits from then on. */
  #isReady(index: number): boolean {
    const { vcpu, interrupts } = this.#processors[index]!;
    if (vcpu.halted) {
      if (vcpu.waitsForStart || !interrupts.awakens) return false;
      vcpu.halted = false;
    }
    if (this.#state.held[index] === 0) return true;
    const now = this.#clock.now();
    if (this.#state.held[index]! <= now) return true;
    this.#state.waiting[index] ??= now;
    return false;
  }

  /** The first of the queue that can still execute gets the turn. */
  #take(): boolean {
    const state = this.#state;
    for (;;) {
      const turn = state.queue.shift();
      if (!turn) return false;
      if (!this.#isReady(turn.index) || this.#isUsedUp(turn)) {
        state.left[turn.index] = turn.at;
        state.longest = Math.max(state.longest, turn.at);
        continue;
      }
      turn.executed = 0;
      state.turn = turn;
      this.#give(turn.index);
      return true;
    }
  }
  /** The processor has the place where processors execute. */
  #give(index: number): void {
    const before = this.#processors[this.#state.last]!;
    const { processor, vcpu, questions, activity } = this.#processors[index]!;
    // Before anybody reads the clock, which goes by it.
    this.#state.from = vcpu.instructions;
    activity.turns++;
    this.#seen = this.#clock.now();
    if (before.processor !== processor) {
      before.questions.scheduledOut?.();
      this.#core.switchTo(vcpu);
      questions.scheduledIn?.();
    }
    this.#state.last = index;
    this.#tellWaited(index);
  }
  #tellWaited(index: number): void {
    const state = this.#state;
    const since = state.waiting[index];
    if (since !== undefined) {
      const now = this.#clock.now();
      // By the virtual clock others have their turns beside it, not before: it has waited for its release alone.
      this.addWaited(index, (this.#time.following ? now : Math.min(now, state.held[index]!)) - since);
    }
    state.waiting[index] = undefined;
    if (state.untold[index]! < TOLD_WAIT) return;
    this.#processors[index]!.questions.resumed?.(state.untold[index]!);
    state.untold[index] = 0;
  }
  /** @param nanoseconds that the processor could have executed in */
  addWaited(index: number, nanoseconds: number): void {
    this.#processors[index]!.processor.waited += nanoseconds;
    this.#state.untold[index]! += nanoseconds;
  }

  #endRound(): void {
    const state = this.#state;
    const { following } = this.#time;
    if (following && state.longest > 0 && state.share > 1) this.#measure(following.seen - state.begun);
    const passed = Math.floor(state.done / state.share);
    state.base += passed;
    state.done = 0;
    this.#time.virtual?.skip(Math.max(0, state.longest - passed));
    state.longest = 0;
    state.left.fill(undefined);
  }
  /** What the round has taken: sooner believed where it is much than where it is little. */
  #measure(took: number): void {
    const state = this.#state;
    const pace = Math.min(Math.max(took / state.longest, 1), SLOWEST_PACE);
    state.pace += (pace - state.pace) / (pace > state.pace ? 2 : 4);
  }
  #beginRound(): void {
    const state = this.#state;
    state.begun = this.#time.following?.seen ?? 0;
    const hold = this.#schedule.hold(this.#processors.length);
    if (hold) this.#hold(hold.index, hold.duration);
    const ready = this.#processors.map(({ processor }) => processor.id).filter(index => this.#isReady(index));
    state.share = Math.max(1, ready.length);
    state.span = ready.length > 1 ? this.#span() : Number.POSITIVE_INFINITY;
    for (const index of this.#schedule.order(ready, state.last)) this.#enqueue(index, 0);
  }
  /** Rounds end where the next timer is due, and before a slow host's turns have taken long. */
  #span(): number {
    const left = Math.ceil(this.#clock.next - this.#clock.now());
    const quick = this.#time.following ? Math.ceil(LONGEST_ROUND / this.#state.pace) : Number.POSITIVE_INFINITY;
    return Math.min(this.#schedule.span(), Math.max(Math.min(left, quick), LEAST_SPAN));
  }
  #hold(index: number, duration: number): void {
    this.#state.held[index] = Math.ceil(this.#clock.now()) + duration;
    this.#awaitRelease();
  }
  #awaitRelease(): void {
    const now = this.#clock.now();
    const next = Math.min(...this.#state.held.filter(until => until > now));
    if (next < Number.POSITIVE_INFINITY) this.#release.at(next);
  }
}
