/** Mixed work for a long time on one machine: neither may it become slower nor may it grow. */
import { join } from 'node:path';
import { cacheFolder, withWorkFolder } from '../src/host/node/cache.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { type Bench, type BenchContext, median, type Table } from './bench.ts';
import { BenchGuest } from './guest.ts';
import { mebibytes } from './host-use.ts';
import { makeImages } from './images.ts';
import { polyvisorWithCounters } from './peers.ts';
import { findWorkloads, makeWorkloads, runNatively } from './workloads.ts';

/** A round: processes, memory, integers, floats and tools. */
const MIX = ['shell-loop', 'page-faults', 'sieve', 'context-switches', 'gzip', 'n-body', 'sort', 'hash-map'];
/** Lines of the table. */
const PERIODS = 10;

interface Round {
  /** Since the guest was up, in seconds, at its end. */
  at: number;
  seconds: number;
  /** Bytes beside guest RAM; 0 where the host does not tell. */
  besideRam: number;
}

export const soak: Bench = {
  name: 'soak',
  title: 'mixed work for --minutes: speed and memory over time',
  usual: false,
  run: context => withWorkFolder(cacheFolder(), folder => measure(context, folder)),
};

async function measure(context: BenchContext, folder: string) {
  const { minutes, memory, limit, progress, note, fail } = context;
  const build = join(folder, 'amd64');
  const workloads = findWorkloads().filter(({ name, group }) => MIX.includes(name) && group !== 'costs');
  makeWorkloads(workloads, build, 'amd64');
  const answers = new Map(workloads.map(workload => [workload.name, runNatively(workload, build)?.output]));
  const guest = await ensureGuest({ progress: ({ text }) => progress(text) });
  const machine = await BenchGuest.boot(polyvisorWithCounters(makeImages(guest, build), context), limit);
  const rounds: Round[] = [];
  const start = performance.now();
  const elapsed = () => (performance.now() - start) / 1000;
  try {
    while (elapsed() < minutes * 60) {
      let seconds = 0;
      for (const name of MIX) {
        const run = await machine.run(name);
        seconds += run.seconds;
        if (run.output !== (answers.get(name) ?? run.output))
          fail(`${name} printed ${run.output}in round ${rounds.length + 1}`);
      }
      rounds.push({ at: elapsed(), seconds, besideRam: machine.residentBesideRam(memory << 20) ?? 0 });
      const { at, besideRam } = rounds[rounds.length - 1];
      progress(
        `${(at / 60).toFixed(1)} minutes, round ${rounds.length}: ${seconds.toFixed(2)} s, ${mebibytes(besideRam)}`,
      );
    }
  } catch (error) {
    fail((error as Error).message);
  } finally {
    await machine.stop();
  }
  if (rounds.length >= 4) note(drift(rounds));
  return { tables: [table(rounds)], data: rounds };
}

/** How the last quarter differs from the second: the first is where code is still being translated. */
function drift(rounds: readonly Round[]): string {
  const quarter = Math.floor(rounds.length / 4);
  const [early, late] = [rounds.slice(quarter, 2 * quarter), rounds.slice(-quarter)];
  const change = (of: (round: Round) => number) => (median(late.map(of)) / median(early.map(of)) - 1) * 100;
  const percent = (value: number) => `${value >= 0 ? '+' : ''}${value.toFixed(1)} %`;
  return `from the second quarter to the last: time ${percent(change(({ seconds }) => seconds))}, memory beside guest RAM ${percent(change(({ besideRam }) => besideRam))}`;
}

function table(rounds: readonly Round[]): Table {
  const size = Math.max(1, Math.ceil(rounds.length / PERIODS));
  const rows = [];
  for (let index = 0; index < rounds.length; index += size) {
    const period = rounds.slice(index, index + size);
    rows.push([
      `until ${(period[period.length - 1].at / 60).toFixed(1)} min`,
      `${period.length}`,
      `${median(period.map(({ seconds }) => seconds)).toFixed(2)} s`,
      mebibytes(Math.max(...period.map(({ besideRam }) => besideRam))),
    ]);
  }
  return { title: 'rounds of mixed work', header: ['', 'rounds', 'a round', 'beside RAM'], rows };
}
