/** What several reports say of a whole matrix. */
import { plural } from './format.ts';
import { type CellResult, isGood, type MatrixReport, type Phase } from './result.ts';

/** True if every cell that should boot did, and nothing got worse than the baseline. */
export function isSuccess({ cells }: MatrixReport): boolean {
  return cells.every(({ verdict, changes }) => isGood(verdict) && !changes?.some(({ worse }) => worse));
}

/** `3 of 4 cells passed, 1 not built for it`. */
export function summarise({ cells }: MatrixReport): string {
  const count = (verdict: string) => cells.filter(cell => cell.verdict === verdict).length;
  const other = count('not built for it');
  const worse = cells.filter(({ changes }) => changes?.some(change => change.worse)).length;
  const parts = [`${count('passed')} of ${plural(cells.length - other, 'cell')} passed`];
  if (other > 0) parts.push(`${other} not built for it`);
  if (worse > 0) parts.push(`${worse} worse than the baseline`);
  return parts.join(', ');
}

/** Where a cell that is not good went wrong: a test that failed did so before the guest went on and powered off. */
export function wentWrongIn({ verdict, phase }: CellResult): Phase | undefined {
  return verdict === 'failed' && phase ? 'test' : phase;
}

/** The names of all tests that any cell ran, in the order of the first that ran them. */
export function testNames(cells: readonly CellResult[]): string[] {
  return [...new Set(cells.flatMap(({ tests }) => tests.map(({ name }) => name)))];
}

/** What cells are compared by: the wall's time, or instructions where guest time is counted in them. */
export function costOf(report: Pick<MatrixReport, 'clock'>) {
  return report.clock === 'virtual' ? ('instructions' as const) : ('hostTime' as const);
}

/** `, in 4 shards`, or `, shard 1 of 4`; empty for a run of one machine. */
export function describeShards({ shard, shards }: Pick<MatrixReport, 'shard' | 'shards'>): string {
  if (shards) return `, in ${plural(shards.length, 'shard')}`;
  return shard ? `, shard ${shard.index} of ${shard.count}` : '';
}

/** `shard 2, on HOST`, or the worker, and those that were lost before; undefined where all cells ran on one machine. */
export function whereRan({ shards }: Pick<MatrixReport, 'shards'>, { shard, workers }: CellResult): string | undefined {
  const [last, ...lost] = workers?.toReversed() ?? [];
  if (last !== undefined)
    return `worker ${last}${lost.length > 0 ? `, tried before by ${lost.reverse().join(', ')}` : ''}`;
  const run = shards?.find(({ index }) => index === shard);
  return run && `shard ${run.index}, on ${run.host}`;
}
