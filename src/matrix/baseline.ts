/** An earlier report to compare with: what got slower, what was lost, what is new. */
import { isMatrixReport } from './check-report.ts';
import { formatCount, formatSeconds, formatShare } from './format.ts';
import { type CellResult, type Change, FORMAT, isGood, type MatrixReport } from './result.ts';

export class BaselineError extends Error {
  override name = 'BaselineError';
}

/** @throws BaselineError for what is no report, or one of another format. */
export function parseBaseline(text: string): MatrixReport {
  let report: Partial<MatrixReport>;
  try {
    report = JSON.parse(text) as Partial<MatrixReport>;
  } catch {
    throw new BaselineError('not JSON; write one with --json');
  }
  if (typeof report !== 'object' || report === null || !Array.isArray(report.cells) || !Array.isArray(report.kernels))
    throw new BaselineError('no report of "polyvisor matrix"; write one with --json');
  if (report.format !== FORMAT)
    throw new BaselineError(
      `a report of format ${JSON.stringify(report.format)}, and this polyvisor writes format ${FORMAT}; write it anew`,
    );
  if (!isMatrixReport(report)) throw new BaselineError('a damaged report; write it anew with --json');
  return report;
}

/**
 * Puts into each cell what has changed. Cells are matched by kernel and hypervisor; where no kernel's name is in both, and
 * there are equally many, by the kernels' order, so that one version can be compared with the next.
 */
export function compareWithBaseline(
  report: MatrixReport,
  baseline: MatrixReport,
  tolerance: number,
  file: string,
): void {
  const notes: string[] = [];
  const renamed = renamedKernels(report.kernels, baseline.kernels);
  for (const [name, other] of renamed) notes.push(`${name} is compared with ${other}`);
  if (baseline.polyvisor !== report.polyvisor) notes.push(`the baseline is of polyvisor ${baseline.polyvisor}`);
  if (baseline.clock !== report.clock)
    notes.push(
      `the baseline ran on the ${baseline.clock} clock, this on the ${report.clock} one: costs are not compared`,
    );
  else if (report.clock === 'host')
    notes.push('on the host clock instruction counts vary from run to run; without --clock host they repeat');
  if (baseline.test !== report.test) notes.push(`the baseline ran the test "${baseline.test}": tests are not compared`);

  for (const cell of report.cells) {
    const kernel = renamed.get(cell.kernel) ?? cell.kernel;
    const before = baseline.cells.find(other => other.kernel === kernel && other.hypervisor === cell.hypervisor);
    if (!before) {
      notes.push(notInBaseline(cell));
      continue;
    }
    const changes = compareCells(before, cell, {
      tolerance,
      costs: baseline.clock === report.clock,
      tests: baseline.test === report.test,
    });
    if (changes.length > 0) cell.changes = changes;
  }
  report.baseline = { file, date: String(baseline.date ?? ''), polyvisor: baseline.polyvisor, tolerance, notes };
}

/** What kernels were called earlier: where no name is in both lists, and these are equally long, by their order. */
export function renamedKernels(
  kernels: readonly { name: string }[],
  earlier: readonly { name: string }[],
): Map<string, string> {
  const known = new Set(earlier.map(({ name }) => name));
  if (kernels.length !== earlier.length || kernels.some(({ name }) => known.has(name))) return new Map();
  return new Map(kernels.map(({ name }, index) => [name, earlier[index]!.name]));
}

/** The note about a cell that there is nothing to compare with. */
export const notInBaseline = ({ kernel, hypervisor }: Pick<CellResult, 'kernel' | 'hypervisor'>): string =>
  `${kernel} on ${hypervisor} is not in the baseline`;

function compareCells(
  before: CellResult,
  after: CellResult,
  { tolerance, costs, tests }: { tolerance: number; costs: boolean; tests: boolean },
): Change[] {
  const changes: Change[] = [];
  const differ = (what: string, x: string | undefined, y: string | undefined, worse: boolean) => {
    if (x !== y) changes.push({ what, before: x ?? 'none', after: y ?? 'none', worse });
  };
  differ('verdict', before.verdict, after.verdict, isGood(before.verdict) && !isGood(after.verdict));
  if (!(isGood(before.verdict) && isGood(after.verdict))) return changes;
  differ('hypervisor found', before.found.hypervisor, after.found.hypervisor, after.found.hypervisor === undefined);
  differ('platform', before.found.platform, after.found.platform, after.found.platform === undefined);
  differ('clocksource', before.found.clocksource, after.found.clocksource, false);
  differ('clock event device', before.found.clockevent, after.found.clockevent, false);
  const [old, current] = [new Set(before.found.features), new Set(after.found.features)];
  for (const feature of old) if (!current.has(feature)) differ('feature', feature, 'not used any more', true);
  for (const feature of current) if (!old.has(feature)) differ('feature', undefined, feature, false);
  for (const line of after.found.complaints)
    if (!before.found.complaints.includes(line)) differ('complaint', undefined, line, true);

  const cost = (what: string, x: number | undefined, y: number | undefined, format: (value: number) => string) => {
    if (x === undefined || y === undefined || x <= 0) return;
    const share = y / x - 1;
    if (Math.abs(share) > tolerance)
      changes.push({ what, before: format(x), after: `${format(y)} (${formatShare(share)})`, worse: share > 0, share });
  };
  if (costs) {
    if (tests) cost('in all, instructions', before.total.instructions, after.total.instructions, formatCount);
    for (const phase of after.phases) {
      const same = before.phases.find(other => other.phase === phase.phase);
      if (phase.phase !== 'test' || tests)
        cost(`${phase.phase}, instructions`, same?.instructions, phase.instructions, formatCount);
    }
  }
  if (tests)
    for (const test of after.tests) {
      const same = before.tests.find(other => other.name === test.name);
      differ(`test ${test.name}`, same?.outcome ?? 'not run', test.outcome, test.outcome !== 'passed');
      if (costs && same) {
        cost(`test ${test.name}, instructions`, same.instructions, test.instructions, formatCount);
        if (
          test.unit === same.unit &&
          test.unit?.startsWith('ms') &&
          Math.abs((test.value ?? 0) - (same.value ?? 0)) > 20
        )
          differ(
            `test ${test.name}, measured`,
            formatSeconds((same.value ?? 0) / 1000),
            formatSeconds((test.value ?? 0) / 1000),
            false,
          );
      }
    }
  return changes;
}
