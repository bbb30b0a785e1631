/** `polyvisor trace`: what a run with --trace wrote, for people, against another run, or for Perfetto. */
import { closeSync, writeSync } from 'node:fs';
import { visible } from '../matrix/escape.ts';
import { chromeTrace } from '../trace/chrome.ts';
import { compareTraces } from '../trace/compare.ts';
import { describeRecord } from '../trace/describe.ts';
import { describeComparison, describeStepComparison, describeTrace, isEqual } from '../trace/diff-text.ts';
import { parseTrace, type Trace, TraceError } from '../trace/format.ts';
import { compareSteps } from '../trace/steps.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { readInput } from './input-file.ts';
import { print } from './output.ts';
import { openOutput } from './output-file.ts';

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
    if (lines.length >= 1000) printLines(lines.splice(0));
  }
  printLines(lines);
}

export interface TraceDiffOptions {
  all?: boolean;
  steps?: boolean;
}

/** `trace diff A B`. @returns the exit status, as diff's: 0 if nothing differs, 1 if something does. */
export function diffTraces(before: string, after: string, { all = false, steps = false }: TraceDiffOptions): number {
  const [first, second] = [readTrace(before), readTrace(after)];
  const comparison = compareTraces(first, second);
  const stepwise = steps ? compareSteps(first, second) : undefined;
  const equal = isEqual(comparison) && (stepwise?.hunks.length ?? 0) === 0;
  printLines([
    describeTrace('-', before, first),
    describeTrace('+', after, second),
    ...(equal ? ['', 'No difference.'] : describeComparison(comparison, all)),
    ...(stepwise && !equal ? describeStepComparison(stepwise, all) : []),
  ]);
  return equal ? status.ok : 1;
}

/** `trace export FILE OUTPUT`. */
export function exportTrace(file: string, output: string): void {
  const trace = readTrace(file);
  withFile(output, status.output, () => {
    const descriptor = openOutput(output);
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
  const text = readInput(file).toString('latin1');
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

/** A trace repeats what a guest has said, and may be anybody's file. */
function printLines(lines: readonly string[]): void {
  print(`${lines.map(visible).join('\n')}\n`);
}
