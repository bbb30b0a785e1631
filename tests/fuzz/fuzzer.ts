/**
 * What a fuzzer is, and the loop that most of them share: an input is made of a seed, judged, and, if it is judged bad, made smaller
 * for as long as it stays bad. The same seed makes the same input on every machine.
 */
import { createRandom } from '../../src/conformance/random.ts';

export type Random = ReturnType<typeof createRandom>;

export interface Limits {
  /** The first input's; the next one has the next number. */
  seed: number;
  /** Ends after so many inputs. */
  count?: number | undefined;
  /** Ends after so many seconds. */
  seconds?: number | undefined;
  /** What else stood on the command line. */
  words: readonly string[];
}

export interface Finding {
  /** With `count` 1, it makes the same input again. */
  seed: number;
  /** What is wrong, in a line or more. */
  reason: string;
  /** The smallest input that shows it, for people. */
  input: string;
}

export interface Outcome {
  /** Inputs tried. */
  count: number;
  /** The seed with which to go on. */
  next: number;
  /** What else is worth knowing: instructions, hypercalls, answers of each kind. */
  notes?: string;
  finding?: Finding;
}

export interface Fuzzer {
  name: string;
  /** One line, for the list. */
  description: string;
  /** Words that it takes. */
  words?: string;
  /** What this machine lacks for it; undefined where it can run. */
  missing?(): string | undefined;
  run(limits: Limits): Promise<Outcome>;
}

export interface Cases<Input> extends Omit<Fuzzer, 'run'> {
  make(random: Random): Input;
  /** @returns what is wrong; undefined if nothing is. What it throws is wrong, too. */
  judge(input: Input): Promise<string | undefined> | string | undefined;
  /** Inputs that are like this one and smaller, the smallest first. */
  smaller(input: Input): Iterable<Input>;
  show(input: Input): string;
}

/** How often a bad input is made smaller, at most. */
const SHRINKS = 2000;
/** Longest that one input may be judged, in ms: a parser that takes seconds for a kilobyte hangs at a megabyte. */
const SLOW = 5000;

export function caseFuzzer<Input>({ make, judge, smaller, show, ...about }: Cases<Input>): Fuzzer {
  const reasonFor = async (input: Input): Promise<string | undefined> => {
    const started = process.cpuUsage();
    try {
      const reason = await judge(input);
      const { user, system } = process.cpuUsage(started);
      const spent = (user + system) / 1000;
      return reason ?? (spent > SLOW ? `takes ${(spent / 1000).toFixed(1)} s` : undefined);
    } catch (error) {
      return `throws ${error instanceof Error ? error.stack : String(error)}`;
    }
  };
  /** As small as it gets while it stays bad, for whatever reason. */
  const shrink = async (input: Input, reason: string) => {
    let shrinks = 0;
    for (let again = true; again; ) {
      again = false;
      for (const candidate of smaller(input)) {
        if (++shrinks > SHRINKS) return { input, reason };
        const other = await reasonFor(candidate);
        if (other === undefined) continue;
        [input, reason, again] = [candidate, other, true];
        break;
      }
    }
    return { input, reason };
  };
  return {
    ...about,
    async run({ seed, count = Number.POSITIVE_INFINITY, seconds = Number.POSITIVE_INFINITY }) {
      const end = performance.now() + seconds * 1000;
      let done = 0;
      for (; done < count && performance.now() < end; done++) {
        const input = make(createRandom(mixed(seed + done)));
        const reason = await reasonFor(input);
        if (reason === undefined) continue;
        const smallest = await shrink(input, reason);
        const finding = { seed: seed + done, reason: smallest.reason, input: show(smallest.input) };
        return { count: done + 1, next: seed + done + 1, finding };
      }
      return { count: done, next: seed + done };
    },
  };
}

/** Seeds that follow each other must not make inputs that resemble each other (splitmix64's finish). */
function mixed(seed: number): bigint {
  let z = BigInt.asUintN(64, BigInt(seed) * 0x9e3779b97f4a7c15n);
  z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return z ^ (z >> 31n);
}
