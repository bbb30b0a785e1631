/**
 * Several processors: a boot, and work that they share, with each number of them on hypervisor after hypervisor, beside QEMU's TCG
 * with one thread for all processors and with a thread for each. And what further processors cost one that works alone.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cacheFolder, withWorkFolder } from '../src/host/node/cache.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { type Bench, type BenchContext, geometricMean, median, type Table } from './bench.ts';
import type { Command } from './console.ts';
import { BenchGuest, timeOf } from './guest.ts';
import { makeImages } from './images.ts';
import { hasQemu, type Images, polyvisorWithCounters, qemu } from './peers.ts';
import { findWorkloads, hasCompiler, makeWorkloads, runNatively } from './workloads.ts';

/** The row of the tables that is no workload's. */
const BOOT = 'boot';
/** Workloads of one thread: what else a machine has should cost them nothing. */
const ALONE = ['sieve', 'hash-map', 'shell-loop', 'fork-exec-wait'];
/** What the most processors may cost a guest that has work for one: times as long as with one processor. */
const LIMITS = { boot: 1.35, alone: 1.1 };
/** How long a guest is left alone before it is ended, in ms: it keeps what it has translated. */
const SETTLED = 1500;

/** Somebody who runs guests with any number of processors. */
interface Contestant {
  name: string;
  isPeer: boolean;
  command(cpus: number): Command;
}

/** Seconds, one an attempt, by number of processors and by what was done. */
type Times = Map<number, Record<string, number[]>>;

export interface SmpResult {
  name: string;
  isPeer: boolean;
  times: Times;
}

export const smp: Bench = {
  name: 'smp',
  title: 'boot and shared work with 1, 2 and 4 processors on each hypervisor, beside both ways of TCG',
  usual: false,
  run: context => withWorkFolder(cacheFolder(), folder => measure(context, folder)),
};

async function measure(context: BenchContext, folder: string) {
  const { progress } = context;
  if (!hasCompiler()) throw new Error('gcc is not installed: there are no programs to run (apt-get install gcc)');
  const build = join(folder, 'amd64');
  const workloads = findWorkloads().filter(({ name, group }) => group === 'smp' || ALONE.includes(name));
  makeWorkloads(workloads, build, 'amd64');
  const answers = new Map(workloads.map(workload => [workload.name, runNatively(workload, build)?.output]));
  const guest = await ensureGuest({ progress: ({ text }) => progress(text) });
  const results: SmpResult[] = [];
  for (const contestant of enter(context, makeImages(guest, build)))
    results.push(await measureOne(contestant, answers, context));
  const { tables, notes } = compare(results, context.cpus);
  for (const note of notes) context.note(note);
  const data = results.map(({ times, ...who }) => ({ ...who, seconds: Object.fromEntries(times) }));
  return { tables, data };
}

function enter(context: BenchContext, images: Images): Contestant[] {
  const ours = context.hypervisors.map(hypervisor => ({
    name: hypervisor,
    isPeer: false,
    command: (cpus: number) => polyvisorWithCounters(images, { ...context, hypervisor }, { cpus }),
  }));
  if (!hasQemu(context)) return ours;
  const peers = (['single', 'multi'] as const).map(thread => ({
    name: `tcg ${thread}`,
    isPeer: true,
    command: (cpus: number) => qemu(images, context, { processors: { cpus, thread } }),
  }));
  return [...ours, ...peers];
}

/** Everything with every number of processors: these take turns, so that what else the host does hits all alike. */
async function measureOne(
  { name, isPeer, command }: Contestant,
  answers: ReadonlyMap<string, string | undefined>,
  { cpus, runs, limit, time, progress, note, fail }: BenchContext,
): Promise<SmpResult> {
  const times: Times = new Map();
  const guests = new Map<number, BenchGuest>();
  const add = (count: number, task: string, seconds: number) => {
    const known = times.get(count) ?? {};
    times.set(count, known);
    (known[task] ??= []).push(seconds);
  };
  const fails = (count: number, error: Error) => {
    const text = `${name}, ${count} processors: ${error.message}`;
    if (/is too many/.test(text)) note(text.split('\n')[0]!);
    else fail(text);
  };
  /** Runs `act` for each number that has not failed. */
  const withEach = async (act: (count: number) => Promise<void>) => {
    for (const count of able)
      await act(count).catch(async (error: Error) => {
        able = able.filter(other => other !== count);
        fails(count, error);
        await guests.get(count)?.stop();
        guests.delete(count);
      });
  };
  let able = [...cpus];
  try {
    // As on any day but the first: what is translated of the kernel is in the cache.
    progress(`${name}, once before`);
    await withEach(async count => {
      const guest = await BenchGuest.boot(command(count), limit);
      await sleep(SETTLED);
      await guest.stop();
    });
    for (let attempt = 1; attempt <= runs; attempt++)
      await withEach(async count => {
        progress(`${name}: boot with ${count}, ${attempt} of ${runs}`);
        const guest = await BenchGuest.boot(command(count), limit);
        add(count, BOOT, timeOf(guest.bootTime, time));
        if (attempt === runs) guests.set(count, guest);
        else await guest.stop();
      });
    for (const [task, answer] of answers)
      for (let attempt = 1; attempt <= runs; attempt++)
        await withEach(async count => {
          progress(`${name}: ${task} with ${count}, ${attempt} of ${runs}`);
          const run = await guests.get(count)!.run(task);
          if (answer !== undefined && run.output !== answer)
            throw new Error(`${task} printed ${run.output}instead of ${answer}`);
          for (const line of run.kernel) note(`${name}, ${task} with ${count}: its kernel says ${line.trim()}`);
          add(count, task, timeOf(run, time));
        });
  } finally {
    for (const guest of guests.values()) await guest.stop();
  }
  return { name, isPeer, times };
}

/** What is measured of `task` with `count` processors; undefined: it failed. */
function timeWith({ times }: SmpResult, count: number, task: string): number | undefined {
  const seconds = times.get(count)?.[task];
  return seconds?.length ? median(seconds) : undefined;
}

/** The fastest of `results` at a task, with its time. */
function fastest(
  results: readonly SmpResult[],
  count: number,
  task: string,
): [name: string, seconds: number] | undefined {
  const found = results.flatMap(result => {
    const seconds = timeWith(result, count, task);
    return seconds === undefined ? [] : [[result.name, seconds] as [string, number]];
  });
  return found.sort(([, a], [, b]) => a - b)[0];
}

/** The tables, and what should be said beside them. @param cpus in ascending order */
export function compare(results: readonly SmpResult[], cpus: readonly number[]): { tables: Table[]; notes: string[] } {
  const tables = cpus.map(count => timeTable(results, count));
  const most = cpus[cpus.length - 1]!;
  if (cpus[0] !== 1 || most === 1) return { tables, notes: [] };
  const { table, notes } = costOfProcessors(results, most);
  return { tables: [...tables, table], notes };
}

function timeTable(results: readonly SmpResult[], count: number): Table {
  const tasks = [...new Set(results.flatMap(({ times }) => Object.keys(times.get(count) ?? {})))];
  const [ours, peers] = [results.filter(({ isPeer }) => !isPeer), results.filter(({ isPeer }) => isPeer)];
  const ahead = (task: string): string => {
    const [us, them] = [fastest(ours, count, task), fastest(peers, count, task)];
    if (!us || !them) return '-';
    const [first, second] = us[1] <= them[1] ? [us, them] : [them, us];
    return `${first[0]}, ${(second[1] / first[1]).toFixed(2)} x`;
  };
  return {
    title: `seconds with ${count} processor${count === 1 ? '' : 's'}; ahead: the fastest of us or of TCG, and how many times as fast as the other's fastest`,
    header: ['', ...results.map(({ name }) => name), ...(peers.length > 0 ? ['ahead'] : [])],
    rows: tasks.map(task => [
      task,
      ...results.map(result => timeWith(result, count, task)?.toFixed(3) ?? '-'),
      ...(peers.length > 0 ? [ahead(task)] : []),
    ]),
  };
}

/** How many times as long a boot and one thread's work take with `most` processors as with one. */
function costOfProcessors(results: readonly SmpResult[], most: number): { table: Table; notes: string[] } {
  const notes: string[] = [];
  const header = ['', BOOT, ...ALONE, 'alone, geometric mean'];
  const rows = results.map(result => {
    const ratio = (task: string) => {
      const [many, one] = [timeWith(result, most, task), timeWith(result, 1, task)];
      return many === undefined || one === undefined ? undefined : many / one;
    };
    const alone = ALONE.map(ratio).filter(value => value !== undefined);
    const mean = alone.length > 0 ? geometricMean(alone) : undefined;
    const say = (what: string, value: number | undefined, limit: number) => {
      if (!result.isPeer && value !== undefined && value > limit)
        notes.push(
          `${result.name}: ${what} takes ${value.toFixed(2)} times as long with ${most} processors as with one; it should be at most ${limit}`,
        );
    };
    say('the boot', ratio(BOOT), LIMITS.boot);
    say('the work of one thread', mean, LIMITS.alone);
    return [result.name, ...[BOOT, ...ALONE].map(ratio), mean];
  });
  const cells = rows.map(([name, ...values]) => [
    name as string,
    ...values.map(value => (typeof value === 'number' ? `${value.toFixed(2)} x` : '-')),
  ]);
  const title = `times as long with ${most} processors as with one, for a boot and for work of one thread`;
  return { table: { title, header, rows: cells }, notes };
}
