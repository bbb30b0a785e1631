/** Where the reports of a matrix go: files that are known to be writable before the cells run, and standard output. */
import { appendFileSync, existsSync } from 'node:fs';
import { BaselineError, parseBaseline } from '../matrix/baseline.ts';
import { jsonText } from '../matrix/escape.ts';
import { HistoryError, type HistoryRun, historyLine, parseHistory } from '../matrix/history.ts';
import { htmlReport } from '../matrix/html.ts';
import { junitReport } from '../matrix/junit.ts';
import { markdownReport } from '../matrix/markdown.ts';
import { plainReport } from '../matrix/plain-report.ts';
import type { MatrixReport } from '../matrix/result.ts';
import { isSuccess } from '../matrix/summary.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { readInput } from './input-file.ts';
import { print } from './output.ts';
import { checkOutput, writeOutput } from './output-file.ts';

export interface ReportOutputs {
  json?: string | undefined;
  junit?: string | undefined;
  html?: string | undefined;
  markdown?: boolean | undefined;
  /** Appended to. */
  history?: string | undefined;
}

/** A report that cannot be written is better known before the run than after it. @throws Failure */
export function checkOutputs({ json, junit, html, history }: ReportOutputs): void {
  for (const file of [json, junit, html, history]) if (file) checkOutput(file);
}

/**
 * @param earlier what `readHistory` gave
 * @returns the exit status. @throws Failure
 */
export function writeReports(
  report: MatrixReport,
  { json, junit, html, markdown, history }: ReportOutputs,
  earlier: readonly HistoryRun[],
): number {
  write(json, `${jsonText(report, 1)}\n`);
  write(junit, junitReport(report));
  write(html, htmlReport(report, earlier));
  if (history) append(history, historyLine(report));
  print(markdown ? markdownReport(report) : plainReport(report));
  return isSuccess(report) ? status.ok : status.cells;
}

function write(file: string | undefined, text: string): void {
  if (file) writeOutput(file, text);
}

/** In one write, so that runs which end at the same time do not mix; a line that somebody left without its end gets it. */
function append(file: string, line: string): void {
  withFile(file, status.output, () => {
    const before = existsSync(file) ? readInput(file) : Buffer.alloc(0);
    appendFileSync(file, before.length > 0 && before.at(-1) !== 0x0a ? `\n${line}` : line);
  });
}

/** The runs so far; none where there is no such file yet. @throws Failure */
export function readHistory(file: string | undefined): HistoryRun[] {
  if (file === undefined || !existsSync(file)) return [];
  try {
    return parseHistory(readInput(file).toString('utf8'));
  } catch (error) {
    if (!(error instanceof HistoryError)) throw error;
    throw new Failure(`--history ${file}: ${error.message}`, status.image);
  }
}

/** @param what begins the error's line: the file, with the option that named it. @throws Failure */
export function readReport(file: string, what: string): MatrixReport {
  const text = readInput(file).toString('utf8');
  try {
    return parseBaseline(text);
  } catch (error) {
    if (!(error instanceof BaselineError)) throw error;
    throw new Failure(`${what}: ${error.message}`, status.image);
  }
}
