/**
 * Two traces side by side: what was asked how often and by which functions, how it was refused, and in which order things
 * were asked for the first time. The first times are a boot's skeleton: loops, interrupts and schedules, which differ between
 * any two runs, leave no mark on it. steps.ts compares every step.
 */
import { functionOf, questionOf } from './describe.ts';
import type { Trace, TraceRecord } from './format.ts';
import { longestCommonSubsequence } from './subsequence.ts';

/** Whom a question is for: most telling first. `event`: nobody asked, it came; `program`: a program of the guest's was at work. */
export const KINDS = ['hypervisor', 'processor', 'event', 'program'] as const;
export type QuestionKind = (typeof KINDS)[number];

export interface CountDifference {
  question: string;
  kind: QuestionKind;
  before: number;
  after: number;
  /** Functions that did not ask equally often, those that differ most first. */
  callers: { function: string; before: number; after: number }[];
  /** Results that mean an error (-1 to -4095), with how often, where that differs. */
  errors: { result: number; before: number; after: number }[];
}

/** When a question was asked first. */
export interface First {
  question: string;
  function: string;
  instructions: number;
}

/** A place where the two orders differ. */
export interface OrderDifference {
  /** What both asked before it. */
  context: First | undefined;
  /** What only the first trace has, and only the second. */
  before: First[];
  after: First[];
  /** What both have, in the second trace at this place: with what it came after in the first. */
  moved: { first: First; since: First | undefined }[];
}

export interface TraceComparison {
  /** All questions, in the order of KINDS; what only one asks comes first, equal ones last. */
  counts: CountDifference[];
  order: OrderDifference[];
  /** Questions whose first times are in the same order. */
  inOrder: number;
}

export function compareTraces(before: Trace, after: Trace): TraceComparison {
  return { counts: compareCounts(before.records, after.records), ...compareOrder(before, after) };
}

/** Leaves of CPUID that hypervisors answer (SDM 2A, CPUID: no processor uses them). */
const LEAF_OF_A_HYPERVISOR = /^cpu\.cpuid leaf=4[0-9a-f]{7}\b/;
/** Comes when it comes. */
const EVENT = /^(?:irq|time)\.|^mmu\.pageFault/;

function kindOf(question: string, { by }: TraceRecord): QuestionKind {
  if (by === 'program') return 'program';
  if (EVENT.test(question)) return 'event';
  return question.startsWith('cpu.cpuid') && !LEAF_OF_A_HYPERVISOR.test(question) ? 'processor' : 'hypervisor';
}

type Pair = [before: number, after: number];

function compareCounts(before: readonly TraceRecord[], after: readonly TraceRecord[]): CountDifference[] {
  interface Entry {
    question: string;
    kind: QuestionKind;
    counts: Pair;
    callers: Map<string, Pair>;
    errors: Map<number, Pair>;
  }
  const entries = new Map<string, Entry>();
  const count = <Key>(map: Map<Key, Pair>, key: Key, side: 0 | 1) => {
    const pair = map.get(key);
    if (pair) pair[side]++;
    else map.set(key, side === 0 ? [1, 0] : [0, 1]);
  };
  for (const side of [0, 1] as const)
    for (const record of side === 0 ? before : after) {
      const question = questionOf(record);
      const kind = kindOf(question, record);
      const key = `${kind} ${question}`;
      let entry = entries.get(key);
      if (!entry) {
        entry = { question, kind, counts: [0, 0], callers: new Map(), errors: new Map() };
        entries.set(key, entry);
      }
      entry.counts[side]++;
      count(entry.callers, functionOf(record), side);
      const error = errorOf(record);
      if (error !== undefined) count(entry.errors, error, side);
    }
  const list = [...entries.values()].map(({ question, kind, counts: [before, after], callers, errors }) => ({
    question,
    kind,
    before,
    after,
    callers: differing(callers).map(([name, [x, y]]) => ({ function: name, before: x, after: y })),
    // That one asked more often is no news of how it was answered.
    errors: [...errors]
      .filter(([, [x, y]]) => (x === 0) !== (y === 0))
      .map(([result, [x, y]]) => ({ result, before: x, after: y })),
  }));
  /** What only one side asks weighs most, then how much the counts differ. */
  const weight = ({ before, after, errors }: CountDifference) =>
    before === 0 || after === 0
      ? 1e9 + before + after
      : Math.abs(Math.log(after / before)) + (errors.length > 0 ? 1e-6 : 0);
  return list.sort(
    (a, b) =>
      KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) ||
      weight(b) - weight(a) ||
      b.before - a.before ||
      (a.question < b.question ? -1 : 1),
  );
}

function differing(callers: ReadonlyMap<string, Pair>): [string, Pair][] {
  const distance = ([, [x, y]]: [string, Pair]) => Math.abs(x - y);
  return [...callers].filter(entry => distance(entry) > 0).sort((a, b) => distance(b) - distance(a));
}

/** A small negative number, as Linux and Xen report errors; undefined for all other results. */
function errorOf({ result }: TraceRecord): number | undefined {
  if (result === undefined) return undefined;
  const value = Number(BigInt.asIntN(64, result));
  return value < 0 && value >= -4095 ? value : undefined;
}

/** A guest chooses what it asks: of more different questions than this, the order of the first ones is compared. */
const MOST_FIRSTS = 4000;

function firstsOf(records: readonly TraceRecord[]): First[] {
  const firsts = new Map<string, First>();
  for (const record of records) {
    const question = questionOf(record);
    const kind = kindOf(question, record);
    if (kind === 'event' || kind === 'program' || firsts.has(question)) continue;
    firsts.set(question, { question, function: functionOf(record), instructions: record.instructions });
    if (firsts.size === MOST_FIRSTS) break;
  }
  return [...firsts.values()];
}

function compareOrder(before: Trace, after: Trace): { order: OrderDifference[]; inOrder: number } {
  const [x, y] = [firstsOf(before.records), firstsOf(after.records)];
  const [inX, inY] = [x, y].map(list => new Map(list.map(({ question }, index) => [question, index])));
  const common = longestCommonSubsequence(
    x.map(({ question }) => question),
    y.map(({ question }) => question),
  );
  const order: OrderDifference[] = [];
  let [i, j] = [0, 0];
  for (const [nextI, nextJ] of [...common, [x.length, y.length] as const]) {
    const gone = x.slice(i, nextI).filter(({ question }) => !inY!.has(question));
    const other = y.slice(j, nextJ);
    const fresh = other.filter(({ question }) => !inX!.has(question));
    const moved = other
      .filter(({ question }) => inX!.has(question))
      .map(first => ({ first, since: x[inX!.get(first.question)! - 1] }));
    if (gone.length + other.length > 0) order.push({ context: y[j - 1], before: gone, after: fresh, moved });
    [i, j] = [nextI + 1, nextJ + 1];
  }
  return { order, inOrder: common.length };
}
