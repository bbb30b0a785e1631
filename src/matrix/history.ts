/** The runs of a matrix over time: a file of JSON, a line a run, that `--history` appends to and the report draws. */
import { renamedKernels } from './baseline.ts';
import { jsonText } from './escape.ts';
import { type CellResult, isGood, type MatrixReport, PHASES, type Phase, VERDICTS, type Verdict } from './result.ts';
import { type Check, listOf, number, oneOf, optional, shape, text } from './shape.ts';

/** Raised when a field changes its meaning or goes away. */
export const HISTORY_FORMAT = 1;

/** What is kept of a cell. Costs are instructions. */
export interface HistoryCell {
  kernel: string;
  hypervisor: string;
  verdict: Verdict;
  instructions: number;
  /** Seconds. */
  hostTime: number;
  phases: { phase: Phase; instructions: number }[];
  tests: { name: string; outcome: string; instructions?: number }[];
}

/** What is kept of a run: as in its report. */
export interface HistoryRun extends Pick<MatrixReport, 'polyvisor' | 'date' | 'clock' | 'test' | 'settings'> {
  format: typeof HISTORY_FORMAT;
  kernels: { name: string; digest?: string }[];
  hypervisors: { name: string; digest?: string }[];
  cells: HistoryCell[];
}

export class HistoryError extends Error {
  override name = 'HistoryError';
}

const named = listOf(shape({ name: text, digest: optional(text) }));
const checks: { readonly [name in keyof Required<HistoryRun>]: Check } = {
  format: value => value === HISTORY_FORMAT,
  polyvisor: text,
  date: text,
  clock: oneOf(['host', 'virtual']),
  test: text,
  settings: optional(text),
  kernels: named,
  hypervisors: named,
  cells: listOf(
    shape({
      kernel: text,
      hypervisor: text,
      verdict: oneOf(Object.keys(VERDICTS)),
      instructions: number,
      hostTime: number,
      phases: listOf(shape({ phase: oneOf(PHASES), instructions: number })),
      tests: listOf(shape({ name: text, outcome: text, instructions: optional(number) })),
    }),
  ),
};
const isRun = shape(checks);

/** @throws HistoryError with the number of the line that is no run */
export function parseHistory(content: string): HistoryRun[] {
  const runs: HistoryRun[] = [];
  for (const [index, line] of content.split('\n').entries()) {
    if (line.trim() === '') continue;
    let run: unknown;
    try {
      run = JSON.parse(line);
    } catch {
      throw new HistoryError(`line ${index + 1} is not JSON: remove it, or name another file`);
    }
    const { format } = Object(run) as Partial<HistoryRun>;
    if (typeof format === 'number' && format !== HISTORY_FORMAT)
      throw new HistoryError(
        `line ${index + 1} is of format ${format}, and this polyvisor writes format ${HISTORY_FORMAT}: name another file`,
      );
    if (!isRun(run)) throw new HistoryError(`line ${index + 1} is no run of a matrix: remove it, or name another file`);
    runs.push(run as HistoryRun);
  }
  return runs;
}

export function historyRun(report: MatrixReport): HistoryRun {
  const { polyvisor, date, clock, test, settings, kernels, hypervisors, cells } = report;
  const identity = ({ name, digest }: { name: string; digest?: string }) => ({ name, ...(digest && { digest }) });
  return {
    format: HISTORY_FORMAT,
    polyvisor,
    date,
    clock,
    test,
    ...(settings && { settings }),
    kernels: kernels.map(identity),
    hypervisors: hypervisors.map(identity),
    cells: cells.map(({ kernel, hypervisor, verdict, total, phases, tests }) => ({
      kernel,
      hypervisor,
      verdict,
      instructions: total.instructions,
      hostTime: total.hostTime,
      phases: phases.map(({ phase, instructions }) => ({ phase, instructions })),
      tests: tests.map(({ name, outcome, instructions }) => ({
        name,
        outcome,
        ...(instructions !== undefined && { instructions }),
      })),
    })),
  };
}

/** The line that is appended, with its end. */
export const historyLine = (report: MatrixReport): string => `${jsonText(historyRun(report))}\n`;

/** A cell in one run of the history. */
export interface Moment {
  run: HistoryRun;
  cell: HistoryCell;
  /** The clock and the test are those of the report: what it cost can be compared. */
  comparable: boolean;
}

export interface Trend {
  cell: CellResult;
  /** In the order of the file; the last is the report's own. */
  moments: Moment[];
  /** How often the very same cell has ended otherwise, and how often it ran; undefined where it always ended in the same way. */
  flaky: { verdicts: Verdict[]; bad: number; runs: number } | undefined;
}

/**
 * What became of the report's cells before, and now. Kernels of other names are matched by their order, as with a baseline.
 * @param earlier without the report's own run
 */
export function trendsOf(report: MatrixReport, earlier: readonly HistoryRun[]): Trend[] {
  const runs = [...earlier, historyRun(report)];
  const renamed = runs.map(run => renamedKernels(report.kernels, run.kernels));
  const places = runs.map(
    run => new Map(run.cells.map(cell => [JSON.stringify([cell.kernel, cell.hypervisor]), cell] as const)),
  );
  return report.cells.map(cell => {
    const { kernel, hypervisor } = cell;
    const moments = runs.flatMap((run, index): Moment[] => {
      const name = renamed[index]!.get(kernel) ?? kernel;
      const found = places[index]!.get(JSON.stringify([name, hypervisor]));
      return found ? [{ run, cell: found, comparable: run.clock === report.clock && run.test === report.test }] : [];
    });
    const now = identityOf(moments.at(-1)!);
    const same = now === undefined ? [] : moments.filter(moment => identityOf(moment) === now);
    const verdicts = [...new Set(same.map(moment => moment.cell.verdict))];
    const bad = same.filter(moment => !isGood(moment.cell.verdict)).length;
    return { cell, moments, flaky: verdicts.length > 1 ? { verdicts, bad, runs: same.length } : undefined };
  });
}

/** The same for cells that must end in the same way: all bytes and options are. Undefined where that is not known. */
function identityOf({ run, cell }: Moment): string | undefined {
  const kernel = run.kernels.find(({ name }) => name === cell.kernel)?.digest;
  const hypervisor = run.hypervisors.find(({ name }) => name === cell.hypervisor)?.digest;
  if (kernel === undefined || run.settings === undefined) return undefined;
  return JSON.stringify([run.polyvisor, run.settings, kernel, cell.hypervisor, hypervisor]);
}
