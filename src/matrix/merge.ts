/** The reports of a matrix's shards as the report that one machine would have written. */
import { notInBaseline } from './baseline.ts';
import { plural } from './format.ts';
import type { CellResult, MatrixReport, ShardRun } from './result.ts';

/** What keeps reports from being merged: which file, why, and what to do. */
export class MergeError extends Error {
  override name = 'MergeError';
}

export interface ReportFile {
  file: string;
  report: MatrixReport;
}

type Shard = ReportFile & { shard: NonNullable<MatrixReport['shard']> };

/** @throws MergeError where they are not all shards of one run, each of them once */
export function mergeReports(files: readonly ReportFile[]): MatrixReport {
  const shards = files.map(asShard).sort((a, b) => a.shard.index - b.shard.index);
  const [first] = shards;
  if (!first) throw new MergeError('no report to merge: name what the shards wrote with --json');
  for (const other of shards) checkSameRun(first, other);
  checkComplete(shards);

  const { shard: _, ...head } = first.report;
  const begin = Math.min(...shards.map(({ report }) => Date.parse(report.date)));
  const end = Math.max(...shards.map(({ report }) => Date.parse(report.date) + report.wallTime * 1000));
  const cells = cellsInOrder(shards);
  return {
    ...head,
    date: new Date(begin).toISOString(),
    cells,
    wallTime: (end - begin) / 1000,
    jobs: shards.reduce((sum, { report }) => sum + report.jobs, 0),
    ...(head.baseline && { baseline: { ...head.baseline, notes: mergedNotes(shards, cells) } }),
    shards: shards.map(
      ({ shard, report }): ShardRun => ({
        index: shard.index,
        host: shard.host,
        date: report.date,
        wallTime: report.wallTime,
        jobs: report.jobs,
      }),
    ),
  };
}

function asShard({ file, report }: ReportFile): Shard {
  const { shard } = report;
  if (report.shards) throw new MergeError(`${file}: has been merged already; name the reports of the shards`);
  if (!shard) throw new MergeError(`${file}: the report of a whole run, not of a shard: run it with --shard I/N`);
  if (
    !(Number.isInteger(shard.count) && Number.isInteger(shard.index) && shard.index >= 1 && shard.index <= shard.count)
  )
    throw new MergeError(
      `${file}: a damaged report: it says it is shard ${shard.index} of ${shard.count}; run it anew`,
    );
  if (Number.isNaN(Date.parse(report.date)))
    throw new MergeError(`${file}: a damaged report: its date is "${report.date}"; run it anew`);
  return { file, report, shard };
}

/** What shards of one run have in common, in the words of the one who has to find out why they have not. */
function checkSameRun(one: Shard, other: Shard): void {
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name).join(', ');
  const facts: [what: string, of: (shard: Shard) => string][] = [
    ['polyvisor', ({ report }) => report.polyvisor],
    ['number of shards', ({ shard }) => `${shard.count}`],
    ['kernels', ({ report }) => names(report.kernels)],
    ['hypervisors', ({ report }) => names(report.hypervisors)],
    ['test', ({ report }) => report.test],
    ['clock', ({ report }) => report.clock],
  ];
  for (const [what, of] of facts)
    if (of(one) !== of(other))
      throw new MergeError(
        `${other.file}: of another run than ${one.file}: ${what} "${of(other)}", not "${of(one)}"; ` +
          'run all shards with the same polyvisor, kernels and options',
      );
  if (one.shard.plan !== other.shard.plan)
    throw new MergeError(
      `${other.file}: of another run than ${one.file}: the bytes of a kernel, of --initrd, of the test, of the baseline or of a ` +
        "hypervisor's file, or an option that changes what cells do, are not the same; run all shards with the same",
    );
}

/** Each shard once, and each cell in one of them. */
function checkComplete(shards: readonly Shard[]): void {
  const { count } = shards[0]!.shard;
  const files = new Map<number, string>();
  for (const { file, shard } of shards) {
    const same = files.get(shard.index);
    if (same !== undefined)
      throw new MergeError(`${file}: shard ${shard.index} of ${count}, as is ${same}; name only one of them`);
    files.set(shard.index, file);
  }
  if (files.size < count) {
    const missing: number[] = [];
    // A damaged number may be large: a few names are enough.
    for (let index = 1; index <= count && missing.length < 20; index++) if (!files.has(index)) missing.push(index);
    const more = count - files.size > missing.length ? ', …' : '';
    throw new MergeError(
      `${plural(count - files.size, 'shard')} of ${count} missing: ${missing.map(index => `${index}/${count}`).join(', ')}${more}; ` +
        'run them with --shard and name their reports, too',
    );
  }
}

/** All cells in the order of kernels, then hypervisors, each with the shard that ran it. */
function cellsInOrder(shards: readonly Shard[]): CellResult[] {
  const found = new Map<string, { file: string; cell: CellResult }>();
  const key = (kernel: string, hypervisor: string) => JSON.stringify([kernel, hypervisor]);
  for (const { file, report, shard } of shards)
    for (const cell of report.cells) {
      const { kernel, hypervisor } = cell;
      const same = found.get(key(kernel, hypervisor));
      if (same)
        throw new MergeError(
          `${file}: ${kernel} on ${hypervisor} is in ${same.file}, too: one of them is damaged; run it anew`,
        );
      found.set(key(kernel, hypervisor), { file, cell: { ...cell, shard: shard.index } });
    }
  const { kernels, hypervisors } = shards[0]!.report;
  const cells: CellResult[] = [];
  for (const { name: kernel } of kernels)
    for (const { name: hypervisor } of hypervisors) {
      const entry = found.get(key(kernel, hypervisor));
      if (!entry)
        throw new MergeError(
          `${kernel} on ${hypervisor} is in none of the reports: one of them is damaged; run the shards anew`,
        );
      found.delete(key(kernel, hypervisor));
      cells.push(entry.cell);
    }
  for (const { file, cell } of found.values())
    throw new MergeError(
      `${file}: ${cell.kernel} on ${cell.hypervisor} is of no kernel and hypervisor of this run: the report is damaged; run it anew`,
    );
  return cells;
}

/** What is said of all cells is in every report; what is said of one, in its shard's. */
function mergedNotes(shards: readonly Shard[], cells: readonly CellResult[]): string[] {
  const notes = new Set(shards.flatMap(({ report }) => report.baseline?.notes ?? []));
  const own = cells.map(notInBaseline).filter(note => notes.delete(note));
  return [...notes, ...own];
}
