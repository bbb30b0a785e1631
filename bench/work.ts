/**
 * The workloads, by everybody in turn: each has booted its guest once and waits while another is measured, so that what
 * else the host does hits all alike. What a workload prints must be what it prints on the host itself.
 */
import { join } from 'node:path';
import { cacheFolder, withWorkFolder } from '../src/host/node/cache.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { type Bench, type BenchContext, OURS, type Row, type Table } from './bench.ts';
import type { Command } from './console.ts';
import { BenchGuest, type Run, timeOf } from './guest.ts';
import { mebibytes } from './host-use.ts';
import { makeImages } from './images.ts';
import { hasQemu, polyvisorWithCounters, qemu } from './peers.ts';
import { profileTables } from './profile.ts';
import { timeTables } from './report.ts';
import { v86 } from './v86.ts';
import { findWorkloads, hasCompiler, makeWorkloads, runNatively, type Workload } from './workloads.ts';

const TITLES = {
  shell: 'shell and tools',
  programs: 'C programs',
  costs: 'costs of the system',
  devices: 'devices',
  smp: 'several processors',
} as const;

/** After the last workload, in ms, until the process's memory is looked at. */
const SETTLED = 3000;

/** Somebody who runs workloads. */
interface Contestant {
  command: Command;
  /** Booted when first needed, and again after a failure. */
  guest?: BenchGuest;
}

export const work: Bench = {
  name: 'work',
  title: 'shell and tools, C programs: time by the host between marks on the console',
  usual: true,
  run: context => withWorkFolder(cacheFolder(), folder => measure(context, folder)),
};

async function measure(context: BenchContext, folder: string) {
  const { runs, memory, progress, note, fail } = context;
  const workloads = chosen(context);
  const build = join(folder, 'amd64');
  makeWorkloads(workloads, build, 'amd64');
  const answers = new Map(workloads.map(workload => [workload.name, runNatively(workload, build)]));
  const contestants = await enter(context, workloads, folder, build);

  const rows: Row[] = [];
  const tables: Table[] = [];
  let last = 0;
  try {
    for (const workload of workloads) {
      const { name, title, group } = workload;
      const row: Row = { group: TITLES[group], name, title, seconds: {} };
      rows.push(row);
      let able = contestants;
      for (let attempt = 1; attempt <= runs; attempt++)
        for (const contestant of able) {
          const who = contestant.command.name;
          progress(`${name}: ${who}, ${attempt} of ${runs}`);
          try {
            const profile = who === OURS && context.profile && attempt === runs;
            const run = await runOnce(contestant, name, answers.get(name)?.output, { profile, limit: context.limit });
            (row.seconds[who] ??= []).push(timeOf(run, context.time));
            for (const line of run.kernel) note(`${who}, ${name}: its kernel says ${line.trim()}`);
            if (run.profile) tables.push(...profileTables(name, run));
            if (who === OURS)
              row.besideRam = Math.max(row.besideRam ?? 0, contestant.guest?.residentBesideRam(memory << 20) ?? 0);
          } catch (error) {
            fail((error as Error).message);
            able = able.filter(other => other !== contestant);
          }
        }
    }
    await new Promise(resolve => setTimeout(resolve, SETTLED));
    last = contestants[0]!.guest?.residentBesideRam(memory << 20) ?? 0;
  } finally {
    for (const { guest } of contestants) await guest?.stop();
  }
  const most = Math.max(...rows.map(row => row.besideRam ?? 0));
  if (context.time === 'processor')
    note("times are the processor's, of all threads of a peer; to compare on a busy host");
  if (most > 0)
    note(
      `${OURS} held ${mebibytes(last)} of the host's memory beside the guest's ${memory} MiB at the end, ${mebibytes(most)} at most`,
    );
  const native = Object.fromEntries([...answers].map(([name, answer]) => [name, answer?.seconds]));
  return { tables: [...tables, ...timeTables(rows)], data: { rows, native, besideRam: { last, most } }, rows };
}

/**
 * Runs the workload once. A guest that fails is ended: the next run gets a fresh one.
 * @throws Error for a wrong answer, too.
 */
async function runOnce(
  contestant: Contestant,
  name: string,
  expected: string | undefined,
  { limit, profile }: { limit: number; profile: boolean },
): Promise<Run> {
  const { restless } = contestant.command;
  try {
    if (restless) contestant.guest?.pause(false);
    contestant.guest ??= await BenchGuest.boot(contestant.command, limit);
    const run = await contestant.guest.run(name, { profile });
    if (restless) contestant.guest.pause(true);
    if (expected === undefined || run.output === expected) return run;
    throw new Error(`${contestant.command.name}: ${name} printed ${run.output}instead of ${expected}`);
  } catch (error) {
    await contestant.guest?.stop();
    contestant.guest = undefined;
    throw error;
  }
}

/** The workloads asked for, by name or group; without any, all but those that `paravirt` and `smp` show. Devices have benchmarks of their own. */
function chosen({ only, note }: BenchContext): Workload[] {
  const usual = ({ group }: Workload) => group === 'shell' || group === 'programs';
  const named = ({ name, group }: Workload) => group !== 'devices' && (only.includes(name) || only.includes(group));
  const asked = only.length === 0 ? usual : named;
  const workloads = findWorkloads().filter(asked);
  if (hasCompiler()) return workloads;
  note('gcc is not installed: no C programs (apt-get install gcc)');
  return workloads.filter(({ source }) => !source.endsWith('.c'));
}

/** Us and the peers that are there, each with its guest's images. */
async function enter(
  context: BenchContext,
  workloads: readonly Workload[],
  folder: string,
  build: string,
): Promise<Contestant[]> {
  const { peers, progress } = context;
  const guest = await ensureGuest({ progress: ({ text }) => progress(text) });
  const images = makeImages(guest, build);
  const contestants: Contestant[] = [{ command: polyvisorWithCounters(images, context) }];
  if (hasQemu(context)) contestants.push({ command: qemu(images, context) });
  if (peers.includes('v86')) {
    const command = await v86(context, guest => {
      const theirs = join(folder, 'i386');
      makeWorkloads(workloads, theirs, 'i386');
      return makeImages(guest, theirs);
    });
    if (command) contestants.push({ command });
  }
  return contestants;
}
