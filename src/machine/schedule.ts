/**
 * Schedules: how long the rounds are, who comes first, and who is held up. `fair` treats all processors alike. A seed
 * draws all of it, so that another seed is another interleaving, and the same seed is the same one with the virtual clock.
 */
import type { State, States } from '../state/state.ts';

/** `fair`, or the seed of a schedule that is drawn: 0 to 2^32-1. */
export type ScheduleOption = 'fair' | number;
export const LARGEST_SEED = 0xffffffff;

/** A processor is held up: it gets no turn for so many nanoseconds of guest time, as if the host ran others. */
export interface Hold {
  index: number;
  duration: number;
}

export interface Schedule {
  /** Nanoseconds that the round to come has for each processor, at most. */
  span(): number;
  /** The order of the turns. @param ready places of the processors that can execute @param last whose turn was the last */
  order(ready: number[], last: number): number[];
  /** Who is held up from now on; undefined, as nearly always: nobody. @param count of the machine's processors */
  hold(count: number): Hold | undefined;
}

/** Long enough that changing processors costs little, and short enough that a lock's holder is not waited for long. */
const SPAN = 25_000;

/** Whoever had the last turn has the first one of the next round, too: a change less. The others follow by their numbers. */
const fair: Schedule = {
  span: () => SPAN,
  order(ready, last) {
    const from = ready.findIndex(index => index >= last);
    return from <= 0 ? ready : [...ready.slice(from), ...ready.slice(0, from)];
  },
  hold: () => undefined,
};

/** Drawn rounds: 2^SHORTEST to 2^LONGEST nanoseconds, as many of each magnitude. */
const SHORTEST = 8;
const LONGEST = 17;
/** One round in so many has a processor held up, for 2^SHORTEST_HOLD to 2^LONGEST_HOLD nanoseconds: 60 µs to 34 ms. */
const ROUNDS_A_HOLD = 400;
const SHORTEST_HOLD = 16;
const LONGEST_HOLD = 25;

/** A linear congruential generator (Numerical Recipes, 7.1): good enough for interleavings, and its state is a word. */
class Drawn implements Schedule {
  readonly #state: State<{ word: number }>;

  constructor(states: States, seed: number) {
    this.#state = states.state('schedule', 1, () => ({ word: seed }));
    // Neighbouring seeds begin alike.
    for (let i = 0; i < 4; i++) this.#draw(2);
  }

  /** 0 to below - 1. The generator's upper bits are the random ones. */
  #draw(below: number): number {
    this.#state.word = (Math.imul(this.#state.word, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state.word / 2 ** 32) * below);
  }
  /** 2^from to 2^to. */
  #magnitude(from: number, to: number): number {
    const bits = from + this.#draw(to - from);
    return 2 ** bits + this.#draw(2 ** bits);
  }

  span(): number {
    return this.#magnitude(SHORTEST, LONGEST);
  }
  order(ready: number[]): number[] {
    for (let left = ready.length; left > 1; left--) {
      const chosen = this.#draw(left);
      [ready[left - 1], ready[chosen]] = [ready[chosen]!, ready[left - 1]!];
    }
    return ready;
  }
  hold(count: number): Hold | undefined {
    if (this.#draw(ROUNDS_A_HOLD) > 0) return undefined;
    return { index: this.#draw(count), duration: this.#magnitude(SHORTEST_HOLD, LONGEST_HOLD) };
  }
}

export function createSchedule(option: ScheduleOption, states: States): Schedule {
  return option === 'fair' ? fair : new Drawn(states, option);
}
