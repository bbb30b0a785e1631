/** What `polyvisor matrix` was asked to do: the options as typed, and as checked values. */
import { accessSync, constants } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { findHypervisor, hypervisors } from '../hypervisors/list.ts';
import type { ScheduleOption } from '../machine/schedule.ts';
import type { Share } from '../matrix/shard.ts';
import type { HypervisorModule } from '../paravirt/operations.ts';
import type { Topology } from '../x86/topology.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import type { QueueOptions } from './fleet/dispatch.ts';
import type { RootSettings } from './folder-options.ts';
import { parseSchedules, type Seeds } from './seeds.ts';
import { CLOCKS, ENGINES, parseRooted } from './settings.ts';
import { isFileName, oneOf, parseCpus, parseHypervisor, parseMemory, parseSchedule, parseSeconds } from './values.ts';

/** As commander hands them over: texts. */
export interface MatrixOptions {
  hypervisor?: string;
  initrd?: string;
  root?: string;
  init?: boolean;
  cwd?: string;
  env?: string[];
  user?: string;
  test?: string;
  until?: string;
  append?: string;
  memory: string;
  cpus: string;
  schedule: string;
  schedules?: string;
  clock: string;
  engine?: string;
  jobs?: string;
  timeout: string;
  limit?: string;
  baseline?: string;
  tolerance: string;
  json?: string;
  junit?: string;
  html?: string;
  markdown?: boolean;
  history?: string;
  shard?: string;
  bisect?: string;
  trace?: string;
  recordFailures?: string;
  queue?: string;
  store?: string;
  priority: string;
  resume?: string;
}

/** A column of the matrix. */
export interface MatrixHypervisor {
  name: string;
  title: string;
  /** Undefined where it is a file: only the processes of its cells load that. */
  module?: HypervisorModule;
  file?: string;
}

export interface MatrixSettings {
  hypervisors: MatrixHypervisor[];
  initrd: string | undefined;
  /** The root in which the test runs, with how. */
  rooted: RootSettings | undefined;
  test: string | undefined;
  until: string | undefined;
  append: string;
  /** Bytes. */
  memory: number;
  cpus: Topology;
  schedule: ScheduleOption;
  /** Each cell is run under each of these instead. */
  seeds: Seeds | undefined;
  clock: (typeof CLOCKS)[number];
  engine: 'jit' | 'interpreter' | undefined;
  jobs: number;
  /** Seconds, for a cell. */
  timeout: number;
  /** Instructions, for a boot. */
  limit: number | undefined;
  baseline: string | undefined;
  /** A share: 0.02 is two percent. */
  tolerance: number;
  json: string | undefined;
  junit: string | undefined;
  html: string | undefined;
  markdown: boolean;
  history: string | undefined;
  /** Undefined: all cells. */
  shard: Share | undefined;
  /** The name of the hypervisor that is the control; it is the last of `hypervisors`. */
  bisect: string | undefined;
  /** Folders. */
  trace: string | undefined;
  recordFailures: string | undefined;
  /** Undefined: the cells run here. */
  queue: QueueOptions | undefined;
}

const MOST_JOBS = 256;
const MOST_SHARDS = 1000;

/** @throws Failure for what cannot be meant. */
export function parseMatrixSettings(options: MatrixOptions): MatrixSettings {
  const { initrd, test, until, append = '', baseline, json, junit, html, markdown = false, history, trace } = options;
  if (test !== undefined && until !== undefined) throw new Failure('--until: with --test it is the test that decides');
  if (history !== undefined && options.shard !== undefined)
    throw new Failure('--history: a shard is a part of a run; give it to "polyvisor matrix merge"');
  const engine = options.engine === undefined ? undefined : oneOf('--engine', ENGINES)(options.engine);
  if (engine === 'both') throw new Failure('--engine both: is for "polyvisor run"; here it is jit or interpreter');
  const columns = parseHypervisors(options.hypervisor);
  const control = options.bisect === undefined ? undefined : column(parseHypervisor(options.bisect));
  const tested = columns.filter(({ name }) => name !== control?.name);
  if (control && options.shard !== undefined) throw new Failure('--bisect: a shard does not know of all cells');
  if (tested.length === 0)
    throw new Failure(`--bisect ${options.bisect}: is the control; name with -H what to test against it`);
  return {
    hypervisors: control ? [...tested, control] : columns,
    bisect: control?.name,
    initrd,
    rooted: parseMatrixRoot(options),
    test,
    until,
    append,
    memory: parseMemory(options.memory),
    cpus: parseCpus(options.cpus),
    schedule: parseSchedule(options.schedule),
    seeds: options.schedules === undefined ? undefined : parseSeedsFor(options.schedules, options),
    clock: oneOf('--clock', CLOCKS)(options.clock),
    engine,
    jobs: options.jobs === undefined ? availableParallelism() : parseJobs(options.jobs),
    timeout: parseSeconds(options.timeout),
    limit: options.limit === undefined ? undefined : parseInstructions(options.limit),
    baseline,
    tolerance: parseTolerance(options.tolerance),
    json,
    junit,
    html,
    markdown,
    history,
    shard: options.shard === undefined ? undefined : parseShard(options.shard),
    trace,
    recordFailures: options.recordFailures,
    queue: parseQueueOptions(options),
  };
}

/** @throws Failure where there is nothing to run in the root, or the root is somewhere else */
function parseMatrixRoot(options: MatrixOptions): RootSettings | undefined {
  const rooted = parseRooted({ ...options, exec: undefined });
  if (!rooted) return undefined;
  const { test, until, queue, recordFailures } = options;
  if (rooted.init !== (until !== undefined) || rooted.init === (test !== undefined))
    throw new Failure('--root: --test FILE is what runs in it; or --init --until TEXT, what its own init comes to');
  if (recordFailures !== undefined)
    throw new Failure('--record-failures: what is in folders of the host is not recorded: leave out --root');
  if (queue !== undefined) throw new Failure('--root: is on this machine, and the workers of --queue are elsewhere');
  return rooted;
}

/** Jobs with higher numbers wait for those with lower ones (BullMQ takes numbers up to 2^21). */
const LAST_PRIORITY = 2 ** 20;

function parseQueueOptions({
  queue,
  store,
  priority,
  resume,
  trace,
  recordFailures,
  bisect,
  shard,
}: MatrixOptions): QueueOptions | undefined {
  if (queue === undefined) {
    const word = store === undefined ? (resume === undefined ? undefined : '--resume') : '--store';
    if (word) throw new Failure(`${word}: goes with --queue`);
    return undefined;
  }
  if (store === undefined)
    throw new Failure(
      '--queue: name with --store the folder, or the bucket (s3://…), that this machine shares with the workers',
    );
  if (trace !== undefined) throw new Failure('--trace: traces are written where a cell runs; leave out --queue');
  if (recordFailures !== undefined)
    throw new Failure('--record-failures: recordings are written where a cell runs; leave out --queue');
  if (bisect !== undefined || shard !== undefined)
    throw new Failure(`--${bisect === undefined ? 'shard' : 'bisect'}: does not go with --queue`);
  const number = Number(priority);
  if (!(Number.isInteger(number) && number >= 1 && number <= LAST_PRIORITY))
    throw new Failure(`--priority ${priority}: a whole number from 1, which goes first, to ${LAST_PRIORITY}`);
  if (resume !== undefined && !/^[0-9a-f]{10}$/.test(resume))
    throw new Failure(`--resume ${resume}: is no name of a run`);
  return { queue, store, priority: number, resume };
}

const column = (module: HypervisorModule): MatrixHypervisor => ({ name: module.name, title: module.title, module });

/** `kvm,xen-pv,./acme.wasm`: each once, in the order given; all of ours but relatives of others when nothing is given. */
function parseHypervisors(text: string | undefined): MatrixHypervisor[] {
  const ours = hypervisors.map(column);
  if (text === undefined) return hypervisors.filter(({ isRelative }) => !isRelative).map(column);
  const words = new Set(withOptions(text.split(',').map(name => name.trim())));
  words.delete('');
  if (words.size === 0) throw new Failure(`--hypervisor ${text}: names none`);
  const columns: MatrixHypervisor[] = [];
  for (const word of words) {
    if (word === 'all') columns.push(...ours);
    else if (isFileName(word)) {
      withFile(word, status.noInput, () => accessSync(word, constants.R_OK));
      // Two files of one name are told apart by their folders.
      const short = basename(word);
      const name = [...words].filter(other => basename(other) === short).length > 1 ? word : short;
      columns.push({ name, title: 'a hypervisor from a file', file: word });
    } else columns.push(column(parseHypervisor(word)));
  }
  return columns.filter(({ name }, index) => columns.findIndex(other => other.name === name) === index);
}

/** Words that are options of the hypervisor before them belong to it: `kvm,xen-pvh,hvm_fep` names two. */
function withOptions(words: readonly string[]): string[] {
  const names: string[] = [];
  for (const word of words) {
    const longer = `${names.at(-1)},${word}`;
    if (names.length > 0 && findHypervisor(longer)) names[names.length - 1] = longer;
    else names.push(word);
  }
  return names;
}

/** @throws Failure where seeds cannot repeat themselves, or make no difference. */
function parseSeedsFor(text: string, { schedule, clock, cpus, trace }: MatrixOptions): Seeds {
  const option = `--schedules ${text}`;
  if (schedule !== 'fair') throw new Failure(`${option}: and --schedule ${schedule}: give one of them`);
  if (clock !== 'virtual')
    throw new Failure(`${option}: with the host's clock no seed repeats itself: leave out --clock ${clock}`);
  if (parseCpus(cpus).cpus === 1)
    throw new Failure(`${option}: one processor always has its turn: add --cpus with 2 or more`);
  if (trace !== undefined)
    throw new Failure(
      `${option}: --trace is for one boot a cell: give it with --schedule and the seed that you are after`,
    );
  return parseSchedules(text);
}

export function parseJobs(text: string): number {
  const jobs = Number(text);
  if (!Number.isInteger(jobs) || jobs < 1 || jobs > MOST_JOBS)
    throw new Failure(`--jobs ${text}: how many cells may run at once, from 1 to ${MOST_JOBS}`);
  return jobs;
}

/** `2/4`: the second of four. */
function parseShard(text: string): Share {
  const [, index, count] = (/^(\d+)\/(\d+)$/.exec(text.trim()) ?? []).map(Number);
  if (!(index! >= 1 && index! <= count! && count! <= MOST_SHARDS))
    throw new Failure(`--shard ${text}: which share of how many, such as 1/4, of at most ${MOST_SHARDS}`);
  return { index: index!, count: count! };
}

const UNITS: ReadonlyMap<string, number> = new Map(Object.entries({ '': 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 }));

/** `500M`, `3G`. */
function parseInstructions(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kMGT]?)$/.exec(text.trim());
  const count = match ? Math.round(Number(match[1]) * UNITS.get(match[2]!)!) : Number.NaN;
  if (!(count >= 1 && count <= 2 ** 50))
    throw new Failure(`--limit ${text}: a number of instructions, such as 500M or 10G`);
  return count;
}

/** `2%` or `0.02`. */
function parseTolerance(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(%?)$/.exec(text.trim());
  const share = match ? Number(match[1]) / (match[2] ? 100 : 1) : Number.NaN;
  if (!(share >= 0 && share <= 10)) throw new Failure(`--tolerance ${text}: a share, such as 2% or 0.02`);
  return share;
}
