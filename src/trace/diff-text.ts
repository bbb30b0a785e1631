/** A comparison of two traces in lines for people: the sum of it first, then how often, then in which order. */
import { formatCount, plural } from '../matrix/format.ts';
import type { CountDifference, First, QuestionKind, TraceComparison } from './compare.ts';
import type { Trace } from './format.ts';
import type { Step, StepComparison } from './steps.ts';

/** Lines of one kind, and functions in a line, that are shown where not all are asked for. */
const SHOWN = { counts: 30, callers: 3, places: 40, firsts: 12, hunks: 60, steps: 12 };
const ALL: typeof SHOWN = Object.fromEntries(Object.keys(SHOWN).map(key => [key, Infinity])) as typeof SHOWN;

const TITLES: Readonly<Record<QuestionKind, string>> = {
  hypervisor: 'Asked of the hypervisor',
  processor: 'Asked of the processor (CPUID)',
  event: 'What came by itself: interrupts and faults',
  program: 'What programs of the guest did: CPUID, system calls, faults',
};

/** `--- FILE: KERNEL on HYPERVISOR, 1,491 crossings in 91.2 M instructions`, with + for the second. */
export function describeTrace(sign: '-' | '+', file: string, { header, records }: Trace): string {
  const { kernel, hypervisor } = header;
  const instructions = formatCount(records.at(-1)?.instructions ?? 0);
  const count = records.length.toLocaleString('en');
  return `${sign.repeat(3)} ${file}: ${kernel} on ${hypervisor}, ${count} crossings in ${instructions} instructions`;
}

export function describeComparison(comparison: TraceComparison, all: boolean): string[] {
  const { counts, order, inOrder } = comparison;
  const shown = all ? ALL : SHOWN;
  const lines = ['', summary(comparison)];
  for (const kind of Object.keys(TITLES) as QuestionKind[]) {
    const different = counts.filter(count => count.kind === kind && isDifferent(count));
    if (different.length === 0) continue;
    // What programs do is between them and their kernel; what it amounts to is a line.
    const few = kind === 'program' && !all;
    lines.push('', `${TITLES[kind]}:${few ? ` ${sumOf(counts, kind)}; --all lists them` : ''}`);
    if (few) continue;
    lines.push('');
    for (const count of different.slice(0, shown.counts)) lines.push(...describeCount(count, shown.callers));
    if (different.length > shown.counts) lines.push(`  and ${different.length - shown.counts} more: --all`);
  }
  if (order.length > 0)
    lines.push('', `In which order they were asked first (${inOrder} in the same one; at how many instructions):`);
  for (const { context, before, after, moved } of order.slice(0, shown.places)) {
    lines.push('', `  ${context ? describeFirst(context) : `${' '.repeat(8)}  at the beginning`}`);
    const body = [
      ...before.map(first => `- ${describeFirst(first)}`),
      ...after.map(first => `+ ${describeFirst(first)}`),
      ...moved.map(
        ({ first, since }) => `> ${describeFirst(first)}; it came ${since ? `after ${since.question}` : 'first'}`,
      ),
    ];
    lines.push(...body.slice(0, shown.firsts));
    if (body.length > shown.firsts) lines.push(`  ${' '.repeat(8)}  and ${body.length - shown.firsts} more`);
  }
  if (order.length > shown.places) lines.push('', `  and ${order.length - shown.places} more places: --all`);
  return lines;
}

export function isEqual({ counts, order }: TraceComparison): boolean {
  return order.length === 0 && !counts.some(isDifferent);
}

const isDifferent = ({ before, after, errors }: CountDifference) => before !== after || errors.length > 0;

function summary({ counts, order }: TraceComparison): string {
  const asked = counts.filter(({ kind }) => kind === 'hypervisor' || kind === 'processor');
  const gone = asked.filter(({ after }) => after === 0).length;
  const fresh = asked.filter(({ before }) => before === 0).length;
  const both = asked.length - gone - fresh;
  const often = asked.filter(({ before, after }) => before > 0 && after > 0 && before !== after).length;
  const answers = asked.filter(({ before, after, errors }) => before > 0 && after > 0 && errors.length > 0).length;
  const moved = order.reduce((sum, place) => sum + place.moved.length, 0);
  const what = [
    `${plural(fresh, 'question')} new, ${gone} gone`,
    `of ${both} in both ${often} not as often`,
    ...(answers > 0 ? [`${answers} refused in one only`] : []),
    ...(moved > 0 ? [`${moved} asked first at another place`] : []),
  ];
  return `The kernel: ${what.join(', ')}.`;
}

function sumOf(counts: readonly CountDifference[], wanted: QuestionKind): string {
  let [before, after] = [0, 0];
  for (const count of counts) if (count.kind === wanted) [before, after] = [before + count.before, after + count.after];
  return `${before.toLocaleString('en')} and ${after.toLocaleString('en')}`;
}

/** `102  174  cpu.cpuid leaf=80000006   init_amd_cacheinfo +48, cpu_detect_tlb_amd +24`. */
function describeCount({ question, before, after, callers, errors }: CountDifference, most: number): string[] {
  const number = (value: number) => value.toLocaleString('en').padStart(9);
  const change = ({ before, after }: { before: number; after: number }) =>
    `${after > before ? '+' : '-'}${Math.abs(after - before).toLocaleString('en')}`;
  const who = callers.slice(0, most).map(caller => `${caller.function} ${change(caller)}`);
  if (callers.length > most) who.push(`${callers.length - most} more`);
  const lines = [`${number(before)} ${number(after)}  ${question.padEnd(44)}  ${who.join(', ')}`.trimEnd()];
  for (const { result, before, after } of errors)
    lines.push(`${number(before)} ${number(after)}      answered with the error ${result}`);
  return lines;
}

const describeFirst = ({ question, function: name, instructions }: First) =>
  `${formatCount(instructions).padStart(8)}  ${question}, by ${name}`;

// ── every step ────────────────────────────────────────────────────────────────────────────────────────────────────────

export function describeStepComparison({ hunks, same, steps }: StepComparison, all: boolean): string[] {
  const shown = all ? ALL : SHOWN;
  const lines = ['', `Every step (${same} are the same, of ${steps.before} and ${steps.after}):`];
  for (const { context, before, after } of hunks.slice(0, shown.hunks)) {
    lines.push('', `  ${context ? describeStep(context) : 'at the beginning'}`);
    for (const [sign, list] of [
      ['-', before],
      ['+', after],
    ] as const) {
      lines.push(...list.slice(0, shown.steps).map(step => `${sign} ${describeStep(step)}`));
      if (list.length > shown.steps) lines.push(`${sign} ${' '.repeat(15)}  and ${list.length - shown.steps} more`);
    }
  }
  if (hunks.length > shown.hunks) lines.push('', `  and ${hunks.length - shown.hunks} more differences: --all`);
  return lines;
}

const describeStep = ({ question, function: caller, count, instructions }: Step) =>
  `${instructions.toLocaleString('en').padStart(15)}  ${caller}: ${question}${count > 1 ? ` × ${count}` : ''}`;
