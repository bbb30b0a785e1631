/** npm run bench -- [NAME...]: runs benchmarks and prints medians, our speed in that of the peers, and what else there is. */
import { writeFileSync } from 'node:fs';
import { cpus, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { findHypervisor, hypervisors } from '../src/index.ts';
import {
  type Bench,
  type BenchContext,
  PEERS,
  type PeerName,
  type Report,
  type Row,
  type Settings,
  TIMES,
} from './bench.ts';
import { boot } from './boot.ts';
import { browser } from './browser.ts';
import { disk } from './disk.ts';
import { folders } from './folders.ts';
import { network } from './network.ts';
import { paravirt } from './paravirt.ts';
import { plot } from './plot.ts';
import { formatTable } from './report.ts';
import { smp } from './smp.ts';
import { soak } from './soak.ts';
import { work } from './work.ts';
import { findWorkloads } from './workloads.ts';

/** All there are; a new one is a file and a line here. */
const benches: readonly Bench[] = [boot, work, paravirt, smp, network, disk, folders, soak, browser];

const ENGINES = ['jit', 'interpreter', 'both'];
const OPTIONS = {
  runs: { type: 'string', default: '3' },
  peers: { type: 'string', default: 'qemu' },
  engine: { type: 'string' },
  hypervisor: { type: 'string' },
  cpus: { type: 'string', default: '1,2,4' },
  device: { type: 'string', default: '' },
  memory: { type: 'string', default: '256' },
  limit: { type: 'string', default: '600' },
  minutes: { type: 'string', default: '30' },
  time: { type: 'string', default: 'wall' },
  profile: { type: 'boolean', default: false },
  json: { type: 'string' },
  plot: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

const HELP = `npm run bench -- [NAME...] [OPTION...]
  NAME is a benchmark, a group of workloads or a workload; without any: ${benches
    .filter(({ usual }) => usual)
    .map(({ name }) => name)
    .join(', ')}.

Options
  --runs N           how often everything is measured; medians are shown (3)
  --peers NAMES      who is measured beside us: ${PEERS.join(',')}, or none (qemu)
  --engine NAME      our engine: jit or interpreter (what polyvisor run takes)
  --hypervisor NAME  whose guest interface our guest gets (bare; paravirt and smp go through all)
  --cpus N,N,...     numbers of processors that smp measures (1,2,4)
  --device TEXT      network, disk and folders: only devices with this in their names, as vmxnet3 or xen-pv
  --memory MIB       RAM of every guest (256)
  --limit SECONDS    for a boot, and for one run of a workload (600)
  --minutes N        how long soak goes on (30)
  --time NAME        wall, or processor where the host is busy with other things (wall)
  --profile          after each workload, what our machine counted and where its time went
  --json FILE        everything measured
  --plot FILE        our speed in that of the peers, as .svg or .html

Benchmarks
${benches.map(({ name, title }) => `  ${name.padEnd(18)} ${title}`).join('\n')}

Workloads
${findWorkloads()
  .filter(({ group }) => group !== 'devices')
  .map(({ group, name, title }) => `  ${group.padEnd(9)} ${name.padEnd(18)} ${title}`)
  .join('\n')}
`;

function usage(problem: string): never {
  process.stderr.write(`bench: ${problem}; --help lists what there is\n`);
  process.exit(64);
}

function parse() {
  try {
    return parseArgs({ allowPositionals: true, options: OPTIONS });
  } catch (error) {
    return usage((error as Error).message);
  }
}

const { values, positionals } = parse();
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
const number = (name: 'runs' | 'memory' | 'limit' | 'minutes') => {
  const value = Number(values[name]);
  return value > 0 ? value : usage(`--${name}: ${values[name]} is no number above 0`);
};
const peers = values.peers === 'none' ? [] : values.peers.split(',');
for (const peer of peers) if (!PEERS.includes(peer as PeerName)) usage(`--peers: no ${peer}`);
if (values.engine !== undefined && !ENGINES.includes(values.engine)) usage(`--engine: no ${values.engine}`);
if (values.hypervisor !== undefined && !findHypervisor(values.hypervisor))
  usage(`--hypervisor: no ${values.hypervisor}`);
const processors = values.cpus.split(',').map(Number);
if (!processors.every(count => Number.isInteger(count) && count > 0))
  usage(`--cpus: ${values.cpus} is no list of numbers`);
const names = new Set(benches.map(({ name }) => name));
const only = positionals.filter(name => !names.has(name));
const workloads = findWorkloads().filter(({ group }) => group !== 'devices');
for (const name of only)
  if (!workloads.some(workload => workload.name === name || workload.group === name)) usage(`no ${name}`);

const settings: Settings = {
  runs: Math.ceil(number('runs')),
  peers: peers as PeerName[],
  engine: values.engine,
  hypervisor: values.hypervisor ?? 'bare',
  hypervisors:
    values.hypervisor === undefined
      ? hypervisors.filter(({ isRelative }) => !isRelative).map(({ name }) => name)
      : [values.hypervisor],
  cpus: [...new Set(processors)].sort((a, b) => a - b),
  device: values.device,
  memory: number('memory'),
  limit: number('limit'),
  minutes: number('minutes'),
  time: TIMES.find(name => name === values.time) ?? usage(`--time: no ${values.time}`),
  profile: values.profile,
};
const wanted = (bench: Bench) =>
  positionals.length === 0 ? bench.usual : positionals.includes(bench.name) || (bench === work && only.length > 0);

const results = [];
const rows: Row[] = [];
let failed = false;
for (const bench of benches.filter(wanted)) {
  const { name, title } = bench;
  const notes: string[] = [];
  let said = '';
  const context: BenchContext = {
    ...settings,
    only,
    progress(text) {
      // A download tells of each part.
      if (text !== said) process.stderr.write(`${name}: ${text}\n`);
      said = text;
    },
    note: text => void notes.push(text),
    fail(text) {
      failed = true;
      notes.push(`FAILED: ${text.split('\n')[0]}`);
      process.stderr.write(`${name}: FAILED: ${text}\n`);
    },
  };
  const report = await bench.run(context).catch((error: Error): Report => {
    context.fail(error.message);
    return { tables: [], data: null };
  });
  rows.push(...(report.rows ?? []));
  results.push({ name, title, notes, data: report.data });
  const parts = [`${name}: ${title}`, ...report.tables.map(formatTable), notes.map(note => `  ${note}`).join('\n')];
  process.stdout.write(`\n${parts.filter(Boolean).join('\n\n')}\n`);
}
const host = { node: process.version, processor: cpus()[0]?.model, processors: cpus().length, memory: totalmem() };
if (values.json) writeFileSync(values.json, `${JSON.stringify({ host, settings, results }, null, 2)}\n`);
if (values.plot) writeFileSync(values.plot, plot(rows, { html: /\.html?$/.test(values.plot), host }));
process.exit(failed ? 1 : 0);
