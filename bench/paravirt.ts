/**
 * What paravirtualization costs or saves: the same kernel and programs on hypervisor after hypervisor, in instructions
 * executed, time, and questions asked of the hypervisor, for one operation.
 */
import { join } from 'node:path';
import { cacheFolder, withWorkFolder } from '../src/host/node/cache.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { type Bench, type BenchContext, median, type Settings, type Table } from './bench.ts';
import { BenchGuest, type Run, timeOf } from './guest.ts';
import { makeImages } from './images.ts';
import { polyvisorWithCounters } from './peers.ts';
import { findWorkloads, makeWorkloads } from './workloads.ts';

/** In the order of the tables: name of the program, and of its operation. */
const OPERATIONS = {
  'system-calls': 'system call',
  'context-switches': 'context switch',
  'page-faults': 'page fault',
  'fork-exec-wait': 'fork + exec + wait',
} as const;

/** Of one operation. */
interface Cost {
  nanoseconds: number;
  instructions: number;
  /** Times translated code was left with a question: ports, device memory, MSRs, CPUID, hypercalls. */
  exits: number;
  /** Times the hypervisor answered in the machine's stead: ops of the waist that are functions. */
  operations: number;
}

type Costs = Record<string, Partial<Record<keyof typeof OPERATIONS, Cost>>>;

export const paravirt: Bench = {
  name: 'paravirt',
  title: 'system call, context switch, page fault and fork+exec on each hypervisor',
  usual: false,
  run: context => withWorkFolder(cacheFolder(), folder => measure(context, folder)),
};

async function measure(context: BenchContext, folder: string) {
  const { runs, limit, progress, note } = context;
  const build = join(folder, 'amd64');
  const programs = findWorkloads().filter(({ name, source }) => name in OPERATIONS && source.endsWith('.c'));
  makeWorkloads(programs, build, 'amd64');
  const guest = await ensureGuest({ progress: ({ text }) => progress(text) });
  const images = makeImages(guest, build);

  const costs: Costs = {};
  for (const hypervisor of context.hypervisors) {
    progress(`booting on ${hypervisor}`);
    let machine: BenchGuest | undefined;
    try {
      machine = await BenchGuest.boot(polyvisorWithCounters(images, { ...context, hypervisor }), limit);
      costs[hypervisor] = {};
      for (const program of Object.keys(OPERATIONS) as (keyof typeof OPERATIONS)[]) {
        const results: Run[] = [];
        for (let attempt = 1; attempt <= runs; attempt++) {
          progress(`${program} on ${hypervisor}, ${attempt} of ${runs}`);
          results.push(await machine.run(program));
        }
        costs[hypervisor][program] = costOf(results, context.time);
      }
    } catch (error) {
      note(`${hypervisor}: ${(error as Error).message.split('\n')[0]}`);
    } finally {
      await machine?.stop();
    }
  }
  return { tables: tables(costs), data: costs };
}

/** @param runs of a program that says how many operations it has done: `operations 0x…`. */
function costOf(runs: readonly Run[], time: Settings['time']): Cost {
  const operations = Number(/operations (0x[0-9a-f]+)/.exec(runs[0].output)?.[1]);
  const each = (value: (run: Run) => number) => median(runs.map(value)) / operations;
  return {
    nanoseconds: each(run => timeOf(run, time) * 1e9),
    instructions: each(({ counters }) => counters!.instructions),
    exits: each(({ counters }) => total(counters!.exits)),
    operations: each(({ counters }) => total(counters!.operations)),
  };
}

function total(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function tables(costs: Costs): Table[] {
  const names = Object.keys(costs);
  const table = (title: string, cell: (cost: Cost) => string): Table => ({
    title,
    header: ['', ...names],
    rows: Object.entries(OPERATIONS).map(([program, operation]) => [
      operation,
      ...names.map(name => {
        const cost = costs[name][program as keyof typeof OPERATIONS];
        return cost ? cell(cost) : '-';
      }),
    ]),
  });
  return [
    table('time of one', ({ nanoseconds }) => `${(nanoseconds / 1000).toFixed(2)} µs`),
    table('instructions executed for one', ({ instructions }) => Math.round(instructions).toLocaleString('en')),
    table('exits from translated code for one', ({ exits }) => exits.toFixed(2)),
    table('operations of the hypervisor for one', ({ operations }) => operations.toFixed(2)),
  ];
}
