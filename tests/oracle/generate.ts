/**
 * Makes tests/oracle/vectors on the processor underneath: `npm run vectors` for rows that have none yet, with `--all` for
 * every row, with a word for the rows whose key contains it. Rows that are gone from the table go from the files too.
 * `--times=N` makes N times as many cases and `--folder=PATH` puts them elsewhere: for a long look that is not kept.
 */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { rows } from '../../src/engine/x86/instructions/table.ts';
import { conduct, wantedCases } from './conduct.ts';
import { disassemble } from './disassemble.ts';
import { encode } from './encode.ts';
import { createImage, makeInitial } from './initial.ts';
import { MODES, type Mode } from './layout.ts';
import { isUndefined } from './masks.ts';
import { type NativeCase, type NativeOutcome, openNative } from './native.ts';
import { Random } from './random.ts';
import {
  advance,
  type Case,
  encodeChanges,
  FOLDER,
  fileOf,
  RETIRED,
  readVectors,
  rowKey,
  seedOf,
  writeVectors,
} from './vectors.ts';

/** Of a row's cases, one in so many may be a fault if there are others. */
const FAULT_SHARE = 5;
const BATCH = 4096;
/** How many candidates a row may use up per case wanted. */
const PATIENCE = 60;
/** The same while it has done nothing but fault. */
const PATIENCE_WITH_FAULTS = 12;

interface Task {
  row: Row;
  key: string;
  mode: Mode;
  want: number;
  serial: number;
  retired: Case[];
  faulted: Case[];
  unusable: number;
}

function toCase(
  serial: number,
  mode: Mode,
  target: number | undefined,
  test: NativeCase,
  outcome: NativeOutcome,
): Case | undefined {
  if (outcome.vector === undefined) return undefined;
  const before = test.initial.slice();
  if (outcome.vector === RETIRED) advance(new DataView(before.buffer), mode, test.code.length);
  return {
    serial,
    mode,
    code: test.code,
    target,
    vector: outcome.vector,
    errorCode: outcome.code,
    cr2: outcome.vector === 14 ? outcome.cr2 : 0n,
    changes: encodeChanges(before, outcome.final),
  };
}

/** Enough retired, or so few that the row is one that faults. */
function isDone(task: Task): boolean {
  const { retired, faulted, want, serial } = task;
  if (retired.length + faulted.length < want) return false;
  if (retired.length >= want - Math.floor(want / FAULT_SHARE)) return true;
  return serial >= want * (retired.length ? PATIENCE : PATIENCE_WITH_FAULTS);
}

/** Few faults, many results; in the order in which they were made. */
function choose(task: Task): Case[] {
  const faults = Math.max(Math.floor(task.want / FAULT_SHARE), task.want - task.retired.length);
  const faulted = task.faulted.slice(0, faults);
  return [...task.retired.slice(0, task.want - faulted.length), ...faulted].sort((x, y) => x.serial - y.serial);
}

const option = (name: string): string | undefined =>
  process.argv.find(argument => argument.startsWith(`--${name}=`))?.slice(name.length + 3);
const folder = option('folder') ?? FOLDER;
const times = Number(option('times') ?? 1);
const filter = process.argv.slice(2).find(argument => !argument.startsWith('-'));
const all = process.argv.includes('--all');
const vectors = all ? new Map<string, Case[]>() : readVectors(folder);
const tasks: Task[] = [];
const keys = new Set<string>();
for (const row of rows) {
  const key = rowKey(row);
  if (keys.has(key)) throw new Error(`two rows are called ${key}`);
  keys.add(key);
  if (filter ? !key.includes(filter) && !fileOf(row).includes(filter) : vectors.has(key)) continue;
  vectors.delete(key);
  for (const mode of MODES) {
    const want = wantedCases(row, mode) * times;
    if (want) tasks.push({ row, key, mode, want, serial: 0, retired: [], faulted: [], unusable: 0 });
  }
}

const native = openNative();
const images = Array.from({ length: BATCH }, createImage);
const random = new Random(0);
const started = Date.now();
let ran = 0;
for (let queue = tasks.slice(); queue.length; ) {
  const batch: NativeCase[] = [];
  const owners: { task: Task; serial: number; target: number | undefined }[] = [];
  const later: Task[] = [];
  while (queue.length && batch.length < BATCH) {
    const task = queue.shift()!;
    const share = Math.min(BATCH - batch.length, task.want * 2);
    for (let i = 0; i < share; i++) {
      const serial = task.serial++;
      const { bytes, view } = images[batch.length]!;
      const seed = seedOf(task.key, task.mode, serial);
      makeInitial(bytes, view, task.mode, seed, task.row);
      random.seed(seed ^ 0x5bd1e995);
      const encoded = encode({ row: task.row, mode: task.mode, initial: view, random });
      if (!encoded) continue;
      const { code, target } = encoded;
      if (isUndefined(task.row, task.mode, code, bytes)) continue;
      batch.push({ code, initial: bytes, ...conduct(task.row, code) });
      owners.push({ task, serial, target });
    }
    later.push(task);
  }
  const outcomes = native.run(batch);
  ran += batch.length;
  outcomes.forEach((outcome, i) => {
    const { task, serial, target } = owners[i]!;
    const test = toCase(serial, task.mode, target, batch[i]!, outcome);
    if (!test) {
      task.unusable++;
      if (process.argv.includes('--verbose')) console.log(task.key, disassemble(batch[i]!.code, task.mode));
    }
    if (test) (test.vector === RETIRED ? task.retired : task.faulted).push(test);
  });
  queue = queue.concat(later.filter(task => !isDone(task) && task.serial < task.want * PATIENCE));
}
native.close();

let made = 0;
for (const task of tasks) {
  const chosen = choose(task);
  made += chosen.length;
  vectors.set(task.key, [...(vectors.get(task.key) ?? []), ...chosen]);
  if (chosen.length < task.want || task.unusable > task.want)
    console.log(
      `${task.key} (${task.mode}-bit): ${chosen.length} of ${task.want} cases, ${task.unusable} without an answer`,
    );
}
writeVectors(vectors, rows, folder);
console.log(
  `${tasks.length} row modes, ${made} cases out of ${ran} runs in ${((Date.now() - started) / 1000).toFixed(1)} s`,
);
