/**
 * Every step of two traces, aligned: runs of the same question from the same function count as one step, so that a loop that
 * goes round once more is no difference. Interrupts, faults and what programs do are no steps: they come when they come.
 */
import { functionOf, questionOf } from './describe.ts';
import type { Trace, TraceRecord } from './format.ts';

export interface Step {
  question: string;
  function: string;
  count: number;
  /** When it was first asked. */
  instructions: number;
}

export interface Hunk {
  /** The step before, in both. */
  context: Step | undefined;
  before: Step[];
  after: Step[];
}

export interface StepComparison {
  hunks: Hunk[];
  /** Steps that are the same in both, and all. */
  same: number;
  steps: { before: number; after: number };
}

export function compareSteps(before: Trace, after: Trace): StepComparison {
  const [first, second] = [stepsOf(before.records), stepsOf(after.records)];
  return { ...align(first, second), steps: { before: first.length, after: second.length } };
}

const ASYNCHRONOUS = /^irq\.delivered|^time\.|^mmu\.pageFault|^irq\.exception/;

function stepsOf(records: readonly TraceRecord[]): Step[] {
  const steps: Step[] = [];
  for (const record of records) {
    const question = questionOf(record);
    if (ASYNCHRONOUS.test(question) || record.by === 'program') continue;
    const caller = functionOf(record);
    const last = steps.at(-1);
    if (last && last.question === question && last.function === caller) last.count++;
    else steps.push({ question, function: caller, count: 1, instructions: record.instructions });
  }
  return steps;
}

/** How far ahead the next step that both have is looked for, and how many in a row must agree there. */
const WINDOW = 3000;
const AGREEING = 3;

/**
 * Aligns by looking ahead: at a difference, the nearest place where AGREEING steps in a row are the same in both. Not the
 * shortest edit, but linear in the length, and what it names is what a reader would point at.
 */
function align(before: readonly Step[], after: readonly Step[]): { hunks: Hunk[]; same: number } {
  const numbers = new Map<string, number>();
  const numbered = (steps: readonly Step[]) =>
    steps.map(({ question, function: caller }) => {
      const key = `${caller}\0${question}`;
      if (!numbers.has(key)) numbers.set(key, numbers.size);
      return numbers.get(key)!;
    });
  const [x, y] = [numbered(before), numbered(after)];
  const agree = (i: number, j: number) => {
    for (let k = 0; k < AGREEING; k++) {
      if (i + k >= x.length && j + k >= y.length) return true;
      if (x[i + k] !== y[j + k]) return false;
    }
    return true;
  };
  const resynchronise = (i: number, j: number): [number, number] => {
    const places = new Map<number, number[]>();
    for (let b = j; b < Math.min(y.length, j + WINDOW); b++) {
      const list = places.get(y[b]!);
      if (list) list.push(b);
      else places.set(y[b]!, [b]);
    }
    let best: [number, number] = [x.length, y.length];
    let least = Number.POSITIVE_INFINITY;
    for (let a = i; a < Math.min(x.length, i + WINDOW) && a - i < least; a++)
      for (const b of places.get(x[a]!) ?? []) {
        const distance = a - i + (b - j);
        if (distance >= least) break;
        if (agree(a, b)) [best, least] = [[a, b], distance];
      }
    return best;
  };

  const hunks: Hunk[] = [];
  let same = 0;
  for (let [i, j] = [0, 0]; i < x.length || j < y.length; ) {
    if (i < x.length && j < y.length && x[i] === y[j]) {
      same++;
      i++;
      j++;
      continue;
    }
    const [a, b] = resynchronise(i, j);
    hunks.push({ context: before[i - 1], before: before.slice(i, a), after: after.slice(j, b) });
    [i, j] = [a, b];
  }
  return { hunks, same };
}
