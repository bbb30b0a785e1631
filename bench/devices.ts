/** What the benchmarks of devices share: guests that run one program of guests/bench/devices, and rates instead of times. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder, withWorkFolder } from '../src/host/node/cache.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { type BenchContext, median, OURS, type Report, type Table } from './bench.ts';
import type { Command } from './console.ts';
import { BenchGuest, type Run, timeOf } from './guest.ts';
import { makeImages } from './images.ts';
import { hasQemu, type Images, type Plugged, polyvisorWithCounters, qemu } from './peers.ts';
import { profileTables } from './profile.ts';
import { findWorkloads, hasCompiler, makeWorkloads } from './workloads.ts';

/** A device of ours, by the hypervisor whose guests have it, and the words for QEMU's; none where QEMU has no such device. */
export interface DeviceCase {
  readonly name: string;
  readonly hypervisor: string;
  readonly plugged: Plugged;
  readonly qemu?: readonly string[];
}

export interface Task {
  /** What is measured. */
  readonly title: string;
  /** Its line for the driver, and what it is to print. */
  readonly line: string;
  readonly expected: string;
  /** How much is done in it, and of what. */
  readonly amount: number;
  readonly unit: string;
}

/** A device, and that of QEMU's which it is compared with. */
interface Compared extends DeviceCase {
  readonly peer: DeviceCase;
}

/** Rates, one an attempt, by what is measured and who did it. */
type Rates = Record<string, Record<string, number[]>>;

/** What runs in the guest. */
export interface Programs {
  /** Which of Debian's kernels; left out: the default guest's. */
  readonly flavour?: string;
  /** Puts the programs into a folder. */
  make(folder: string): void;
}

/** A program of guests/bench/devices; undefined, with a note, where there is no compiler. */
export function compiled({ note }: BenchContext, program: string): Programs | undefined {
  if (!hasCompiler()) {
    note('gcc is not installed: nothing to run in the guest (apt-get install gcc)');
    return undefined;
  }
  const own = findWorkloads().filter(({ group, name }) => group === 'devices' && name === program);
  return { make: folder => makeWorkloads(own, folder, 'amd64') };
}

/** Runs every task on every device, by us and by QEMU; a device that QEMU has not is compared with the first that it has. */
export function measureDevices(
  context: BenchContext,
  programs: Programs | undefined,
  all: readonly DeviceCase[],
  tasks: readonly Task[],
): Promise<Report> {
  const cases = all
    .filter(({ name }) => name.includes(context.device))
    .map(each => ({ ...each, peer: each.qemu ? each : all.find(({ qemu }) => qemu)! }));
  if (cases.length === 0) {
    context.fail(`no device has "${context.device}" in its name: there is ${all.map(({ name }) => name).join(', ')}`);
    return Promise.resolve({ tables: [], data: null });
  }
  if (!programs) return Promise.resolve({ tables: [], data: null });
  return withWorkFolder(cacheFolder(), async folder => {
    const build = join(folder, 'amd64');
    mkdirSync(build);
    programs.make(build);
    const { flavour } = programs;
    const guest = await ensureGuest({ ...(flavour && { flavour }), progress: ({ text }) => context.progress(text) });
    const images = makeImages(guest, build);
    const rates: Rates = Object.fromEntries(tasks.map(({ title }) => [title, {}]));
    const tables: Table[] = [];
    for (const [command, name] of contestants(context, images, cases)) {
      context.progress(`${name}: boots`);
      const done = await measureOne(context, command, tasks).catch((error: Error) => context.fail(error.message));
      for (const { title, rate, run } of done ?? []) {
        (rates[title][name] ??= []).push(rate);
        if (run.profile) tables.push(...profileTables(`${title}, ${name}`, run));
      }
    }
    return { tables: [...tables, ratesTable(tasks, cases, rates)], data: rates };
  });
}

const theirName = ({ name }: DeviceCase) => `qemu-tcg: ${name}`;

function contestants(context: BenchContext, images: Images, cases: readonly Compared[]): [Command, string][] {
  const all: [Command, string][] = cases.map(({ name, hypervisor, plugged }) => [
    polyvisorWithCounters(images, { ...context, hypervisor }, { plugged }),
    name,
  ]);
  if (!hasQemu(context)) return all;
  for (const peer of new Set(cases.map(each => each.peer)))
    all.push([qemu(images, context, { devices: peer.qemu }), theirName(peer)]);
  return all;
}

async function measureOne(context: BenchContext, command: Command, tasks: readonly Task[]) {
  const { runs, limit, time, progress } = context;
  const guest = await BenchGuest.boot(command, limit);
  const done: { title: string; rate: number; run: Run }[] = [];
  try {
    for (const { title, line, expected, amount } of tasks)
      for (let attempt = 1; attempt <= runs; attempt++) {
        progress(`${command.name}: ${title}, ${attempt} of ${runs}`);
        const profile = context.profile && attempt === runs && command.name === OURS;
        const run = await guest.run(line, { profile });
        if (run.output.trim() !== expected)
          throw new Error(`${command.name}: ${line} printed ${run.output.trim()} instead of ${expected}`);
        done.push({ title, rate: amount / timeOf(run, time), run });
      }
  } finally {
    await guest.stop();
  }
  return done;
}

function ratesTable(tasks: readonly Task[], cases: readonly Compared[], rates: Rates): Table {
  const figure = (values: readonly number[] | undefined, unit: string) =>
    values?.length ? `${Math.round(median(values)).toLocaleString('en')} ${unit}/s` : '-';
  const rows = cases.flatMap(each =>
    tasks.map(({ title, unit }) => {
      const ours = rates[title][each.name];
      const theirs = rates[title][theirName(each.peer)];
      const speed = ours?.length && theirs?.length ? `${(median(ours) / median(theirs)).toFixed(2)} x` : '-';
      return [`${each.name}: ${title}`, figure(ours, unit), figure(theirs, unit), speed];
    }),
  );
  return {
    title: 'rates; a device that QEMU has not is compared with its virtio',
    header: ['', OURS, 'qemu-tcg', 'our speed'],
    rows,
  };
}

/** As the programs print their checksums. */
export function hexadecimal(value: number): string {
  return (value >>> 0).toString(16).padStart(8, '0');
}

/** The numbers that the programs draw (guests/bench/runtime.h), from the first on. */
export function* randomNumbers(): Generator<number, never> {
  let state = 2463534242;
  for (;;) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    yield (state >>>= 0);
  }
}
