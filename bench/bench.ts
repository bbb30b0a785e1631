/** What a benchmark is, and what one says. */

export interface Settings {
  /** Times everything is measured; medians are shown. */
  runs: number;
  /** Who is measured beside us, where present. */
  peers: readonly PeerName[];
  /** Our engine; undefined for what `polyvisor run` takes. */
  engine: string | undefined;
  hypervisor: string;
  /** Part of the names of the devices to be measured; empty for all. */
  device: string;
  /** Those that benchmarks go through which measure hypervisor after hypervisor. */
  hypervisors: readonly string[];
  /** Numbers of processors that `smp` measures. */
  cpus: readonly number[];
  /** RAM of every guest, in MiB. */
  memory: number;
  /** Seconds a guest may take to boot, and for one run of one workload. */
  limit: number;
  /** How long `soak` goes on. */
  minutes: number;
  /** What is compared: the host's time, or the time its processors worked, for a host that is busy with other things. */
  time: (typeof TIMES)[number];
  /** Show where our time goes. */
  profile: boolean;
}

export const PEERS = ['qemu', 'v86'] as const;
export type PeerName = (typeof PEERS)[number];

export const TIMES = ['wall', 'processor'] as const;

export interface BenchContext extends Settings {
  /** Workloads asked for by name; empty for all of them. */
  only: readonly string[];
  /** Says what goes on. */
  progress(text: string): void;
  /** Something the reader of the tables should know, such as a peer that is not there. */
  note(text: string): void;
  /** Something that must not happen, such as a wrong answer: the command ends with a status that says so. */
  fail(text: string): void;
}

export interface Table {
  title: string;
  /** The first column is text, the others are numbers. */
  header: readonly string[];
  rows: readonly (readonly string[])[];
}

export interface Report {
  tables: readonly Table[];
  /** For --json. */
  data: unknown;
  /** For --plot: what was done by us and by peers. */
  rows?: readonly Row[];
}

export interface Bench {
  name: string;
  title: string;
  /** True for what runs when no name is given. */
  usual: boolean;
  run(context: BenchContext): Promise<Report>;
}

/** One figure: the same thing done by us and by the peers that are there, in the same run. */
export interface Row {
  group: string;
  name: string;
  title: string;
  /** Seconds, one an attempt, by who did it. */
  seconds: Record<string, number[]>;
  /** The most our process has held in memory beside the guest's RAM after an attempt, in bytes. */
  besideRam?: number;
}

/** Our name in `seconds`. */
export const OURS = 'polyvisor';

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

/** How many times a peer's speed ours is: above 1 we are faster. Undefined where one of the two has no figure. */
export function speedAgainst(peer: string, { seconds }: Row): number | undefined {
  const [ours, theirs] = [seconds[OURS], seconds[peer]];
  return ours?.length && theirs?.length ? median(theirs) / median(ours) : undefined;
}

/** Who else is in these rows. */
export function peersOf(rows: readonly Row[]): string[] {
  return [...new Set(rows.flatMap(({ seconds }) => Object.keys(seconds)))].filter(name => name !== OURS);
}
