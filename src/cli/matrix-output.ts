/** Where the reports of a matrix go: files that are known to be writable before the cells run, and standard output. */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { BaselineError, parseBaseline } from '../matrix/baseline.ts';
import { jsonText } from '../matrix/escape.ts';
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

export interface ReportOutputs {
  json?: string | undefined;
  junit?: string | undefined;
  html?: string | undefined;
  markdown?: boolean | undefined;
}

/** A report that cannot be written is better known before the run than after it. @throws Failure */
export function checkOutputs({ json, junit, html }: ReportOutputs): void {
  for (const file of [json, junit, html]) if (file) withFile(file, status.output, () => closeSync(openSync(file, 'a')));
}

/** @returns the exit status. @throws Failure */
export function writeReports(report: MatrixReport, { json, junit, html, markdown }: ReportOutputs): number {
  write(json, `${jsonText(report, 1)}\n`);
  write(junit, junitReport(report));
  write(html, htmlReport(report));
  print(markdown ? markdownReport(report) : plainReport(report));
  return isSuccess(report) ? status.ok : status.cells;
}

function write(file: string | undefined, text: string): void {
  if (file) withFile(file, status.output, () => writeFileSync(file, text));
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
