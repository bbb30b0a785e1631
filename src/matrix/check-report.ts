/**
 * Whether a value is a report, or a cell's result, in shape: they come from files that anybody may have edited, and from processes
 * that ran somebody else's hypervisor. What passes can be compared and printed without looking again.
 */
import {
  type CellResult,
  type Change,
  type Cost,
  FORMAT,
  type MatrixReport,
  PHASES,
  type ProcessorResult,
  type ScheduleRun,
  type ShardRun,
  VERDICTS,
} from './result.ts';
import { type Check, listOf, number, oneOf, optional, shape, tableOf, text, truth } from './shape.ts';

type Members<T> = { readonly [name in keyof Required<T>]: Check };

const cost: Members<Cost> = { hostTime: number, guestTime: number, instructions: number };
const phase = oneOf(PHASES);
const counts = tableOf(number);

const change: Members<Change> = { what: text, before: text, after: text, worse: truth, share: optional(number) };

const processor: Members<ProcessorResult> = {
  ...{ instructions: number, ranTime: number, waitedTime: number, turns: number, ipis: number },
  exits: counts,
};
const verdict = oneOf(Object.keys(VERDICTS));
const scheduleRun: Members<ScheduleRun> = { seed: number, verdict, reason: text, instructions: number };
const traffic = shape({ frames: number, bytes: number });

const cell: Members<CellResult> = {
  kernel: text,
  hypervisor: text,
  verdict,
  reason: text,
  phase: optional(phase),
  phases: listOf(shape({ phase, ...cost })),
  total: shape(cost),
  found: shape({
    hypervisor: optional(text),
    platform: optional(text),
    clocksource: optional(text),
    clockevent: optional(text),
    lines: listOf(text),
    features: listOf(text),
    complaints: listOf(text),
  }),
  tests: listOf(
    shape({
      name: text,
      outcome: oneOf(['passed', 'failed', 'skipped']),
      note: optional(text),
      value: optional(number),
      unit: optional(text),
      hostTime: optional(number),
      guestTime: optional(number),
      instructions: optional(number),
    }),
  ),
  counts: shape({ exits: counts, operations: counts, hypercalls: counts, msrs: counts, ports: counts }),
  processors: optional(listOf(shape(processor))),
  networks: optional(
    listOf(shape({ name: text, addresses: listOf(text), sent: traffic, received: traffic, lost: number })),
  ),
  console: text,
  consoleBytes: number,
  state: optional(text),
  changes: optional(listOf(shape(change))),
  schedules: optional(listOf(shape(scheduleRun))),
  repeat: optional(text),
  recording: optional(text),
  shard: optional(number),
  workers: optional(listOf(text)),
};

const shardRun: Members<ShardRun> = { index: number, host: text, date: text, wallTime: number, jobs: number };

const report: Members<MatrixReport> = {
  format: value => value === FORMAT,
  polyvisor: text,
  date: text,
  clock: oneOf(['host', 'virtual']),
  test: text,
  kernels: listOf(shape({ name: text, description: text, file: text, size: number, digest: optional(text) })),
  hypervisors: listOf(shape({ name: text, title: text, digest: optional(text) })),
  settings: optional(text),
  cells: listOf(shape(cell)),
  wallTime: number,
  jobs: number,
  baseline: optional(shape({ file: text, date: text, polyvisor: text, tolerance: number, notes: listOf(text) })),
  shard: optional(shape({ index: number, count: number, plan: text, host: text })),
  shards: optional(listOf(shape(shardRun))),
};

const checks = { cost: shape(cost), cell: shape(cell), report: shape(report) };
export const isCost = (value: unknown): value is Cost => checks.cost(value);
export const isCellResult = (value: unknown): value is CellResult => checks.cell(value);
export const isMatrixReport = (value: unknown): value is MatrixReport => checks.report(value);
