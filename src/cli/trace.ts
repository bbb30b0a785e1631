/** `polyvisor trace`: what a run with --trace wrote, for people, against another run, or for Perfetto. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { chromeTrace } from '../trace/chrome.ts';
import { type CountDifference, compareTraces, type Step } from '../trace/compare.ts';
import { describeRecord } from '../trace/describe.ts';
import { parseTrace, type Trace, TraceError } from '../trace/format.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';

export interface TraceShowOptions {
  /** A regular expression. */
  match?: string;
}

/** `trace show FILE`. */
export function showTrace(file: string, { match }: TraceShowOptions): void {
  const { header, records } = readTrace(file);
  const pattern = match === undefined ? undefined : parsePattern(match);
  const lines = [`${header.kernel} on ${header.hypervisor}, ${header.clock} clock: ${records.length} crossings`];
  for (const record of records) {
    const line = describeRecord(record);
    if (!pattern || pattern.test(line)) lines.push(line);
    if (lines.length >= 1000) print(lines.splice(0));
  }
  print(lines);
}

export interface TraceDiffOptions {
  all?: boolean;
}

/** Differences shown without --all. */
const SHOWN_COUNTS = 40;
const SHOWN_HUNKS = 60;
/** Steps of one side of one difference. */
const SHOWN_STEPS = 12;

/** `trace diff A B`. @returns the exit status, as diff's: 0 if nothing differs, 1 if something does. */
export function diffTraces(before: string, after: string, { all = false }: TraceDiffOptions): number {
  const [first, second] = [readTrace(before), readTrace(after)];
  const { counts, hunks, same, steps } = compareTraces(first, second);
  const name = ({ header, records }: Trace, file: string) =>
    `${file}: ${header.kernel} on ${header.hypervisor}, ${records.length.toLocaleString('en')} crossings`;
  const lines = [`--- ${name(first, before)}`, `+++ ${name(second, after)}`];

  // Who asks is worth a word only where it is not asked as often: compilers inline as they like.
  const different = counts.filter(count => count.before !== count.after);
  if (different.length > 0) lines.push('', 'How often it was asked:', '');
  for (const count of all ? different : different.slice(0, SHOWN_COUNTS)) lines.push(...describeCount(count));
  if (!all && different.length > SHOWN_COUNTS) lines.push(`  and ${different.length - SHOWN_COUNTS} more: --all`);

  if (hunks.length > 0)
    lines.push(
      '',
      `In which order (${same} steps in a row or one by one are the same, of ${steps.before} and ${steps.after}):`,
    );
  for (const { context, before, after } of all ? hunks : hunks.slice(0, SHOWN_HUNKS)) {
    lines.push('', `  ${context ? describeStep(context) : 'at the beginning'}`);
    lines.push(...describeSteps('-', before, all), ...describeSteps('+', after, all));
  }
  if (!all && hunks.length > SHOWN_HUNKS) lines.push('', `  and ${hunks.length - SHOWN_HUNKS} more differences: --all`);
  const equal = different.length === 0 && hunks.length === 0;
  if (equal) lines.push('', 'No difference.');
  print(lines);
  return equal ? status.ok : 1;
}

function describeCount({ question, before, after, callers }: CountDifference): string[] {
  const number = (value: number) => value.toLocaleString('en').padStart(11);
  const lines = [`  ${number(before)} ${number(after)}  ${question}`];
  for (const { function: name, before: x, after: y } of callers.slice(0, SHOWN_STEPS))
    lines.push(`  ${number(x)} ${number(y)}      ${y === 0 ? 'no more' : 'new'} from ${name}`);
  if (callers.length > SHOWN_STEPS) lines.push(`${' '.repeat(30)}and from ${callers.length - SHOWN_STEPS} more`);
  return lines;
}

const describeStep = ({ question, function: caller, count, instructions }: Step) =>
  `${instructions.toLocaleString('en').padStart(15)}  ${caller}: ${question}${count > 1 ? ` × ${count}` : ''}`;

function describeSteps(sign: string, steps: readonly Step[], all: boolean): string[] {
  const shown = all ? steps : steps.slice(0, SHOWN_STEPS);
  const lines = shown.map(step => `${sign} ${describeStep(step)}`);
  if (shown.length < steps.length) lines.push(`${sign} ${' '.repeat(15)}  and ${steps.length - shown.length} more`);
  return lines;
}

/** `trace export FILE OUTPUT`. */
export function exportTrace(file: string, output: string): void {
  const trace = readTrace(file);
  withFile(output, status.output, () => {
    const descriptor = openSync(output, 'w');
    try {
      let text = '';
      for (const piece of chromeTrace(trace)) {
        text += piece;
        if (text.length < 1 << 16) continue;
        writeSync(descriptor, text);
        text = '';
      }
      writeSync(descriptor, text);
    } finally {
      closeSync(descriptor);
    }
  });
}

function readTrace(file: string): Trace {
  const text = withFile(file, status.noInput, () => readFileSync(file, 'latin1'));
  try {
    return parseTrace(text);
  } catch (error) {
    if (!(error instanceof TraceError)) throw error;
    throw new Failure(`${file}: ${error.message}`, status.image);
  }
}

function parsePattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch (error) {
    throw new Failure(`--match ${text}: ${(error as Error).message}`);
  }
}

/** Synchronously, so that a pipe that closes early ends the command and not its memory. */
function print(lines: readonly string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}
