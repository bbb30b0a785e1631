/**
 * What a run of the matrix is in numbers and words: the shape of `--json`, which baselines and all reports are made from.
 * A cell is a kernel under a hypervisor. Times are seconds.
 */

import type { NetworkStatistics } from '../machine/network-input.ts';

/** Raised when a field changes its meaning or goes away; a baseline of another format is refused. */
export const FORMAT = 1;

/** The parts of a cell's life, in order. */
export const PHASES = ['entry', 'early boot', 'drivers', 'init', 'test', 'power-off'] as const;
export type Phase = (typeof PHASES)[number];

/** What each phase reaches to. */
export const PHASE_MEANINGS: Readonly<Record<Phase, string>> = {
  entry: "from the kernel's entry to its first line on the console",
  'early boot': 'memory, interrupts, clocks; to the start of device initialisation',
  drivers: 'device initialisation; to the first process',
  init: 'the first process; to the start of the test',
  test: 'the test',
  'power-off': 'from the end of the test to the end of the machine',
};

/** What is said of a cell. All but the first two are red. */
export const VERDICTS = {
  passed: 'booted, and the test passed',
  'not built for it': 'the kernel has no such guest support: known from the image, not booted',
  failed: 'booted, and the test failed',
  panicked: 'the kernel panicked',
  hung: 'its time or its instructions were used up, or nothing could have woken the guest',
  reset: 'the guest reset itself',
  crashed: 'triple fault, or the guest asked its hypervisor for the impossible',
  ended: 'the guest powered off too early',
  flooded: 'the guest printed without end',
  unusable: "the image cannot be booted at all, or the hypervisor's file is none",
  died: "the cell's own process ended",
} as const;
export type Verdict = keyof typeof VERDICTS;

export const isGood = (verdict: Verdict): boolean => verdict === 'passed' || verdict === 'not built for it';

/** What was spent between two moments. */
export interface Cost {
  /** By the host's clock. */
  hostTime: number;
  /** By the guest's. */
  guestTime: number;
  /** Executed by the guest. */
  instructions: number;
}

export interface PhaseResult extends Cost {
  phase: Phase;
}

/** One item of a test. */
export interface TestResult extends Partial<Cost> {
  name: string;
  outcome: 'passed' | 'failed' | 'skipped';
  /** Why it failed or was skipped; or what it measured. */
  note?: string;
  /** What it measured, with its unit in `unit`. */
  value?: number;
  unit?: string;
}

/** What a guest found and turned on, as far as it says so. */
export interface Found {
  /** Its own words: `KVM`, `Xen PV`; undefined if it said nothing. */
  hypervisor?: string;
  /** The line about its paravirtual interface: `KVM`, `bare hardware`. */
  platform?: string;
  clocksource?: string;
  clockevent?: string;
  /** Lines of its log about the hypervisor, without their time. */
  lines: string[];
  /** Hypercalls made and paravirtual registers written, by name: what it really uses. */
  features: string[];
  /** Lines of its log that complain. */
  complaints: string[];
}

/** What one processor has done. */
export interface ProcessorResult {
  instructions: number;
  /** Guest time in which it executed. */
  ranTime: number;
  /** Guest time in which it could have executed, and others had their turn. */
  waitedTime: number;
  /** How often it got the turn. */
  turns: number;
  /** Interrupts and messages that processors have sent to it. */
  ipis: number;
  /** What left translated code, by kind. */
  exits: Record<string, number>;
}

/** A cell's boot and test under one schedule. */
export interface ScheduleRun {
  seed: number;
  verdict: Verdict;
  reason: string;
  /** Executed in all. */
  instructions: number;
}

export interface CellCounts {
  /** What left translated code, by kind. */
  exits: Record<string, number>;
  /** Ops of the waist that were functions, by `group.op`. */
  operations: Record<string, number>;
  hypercalls: Record<string, number>;
  msrs: Record<string, number>;
  ports: Record<string, number>;
}

export interface CellResult {
  kernel: string;
  hypervisor: string;
  verdict: Verdict;
  /** One sentence; empty for a cell that passed. */
  reason: string;
  /** The last phase that was reached; undefined if it was not booted. */
  phase?: Phase;
  /** As far as they got. */
  phases: PhaseResult[];
  total: Cost;
  found: Found;
  tests: TestResult[];
  counts: CellCounts;
  /** Of the first boot, where there are several. */
  processors?: ProcessorResult[];
  /** The network cards that the guest had: addresses, and frames and bytes both ways. */
  networks?: NetworkStatistics[];
  /** The console: its beginning and its end, when it is long. */
  console: string;
  /** Bytes printed in all. */
  consoleBytes: number;
  /** Registers and last exceptions, where it ended badly; where the guest was, by symbol. */
  state?: string;
  /** What differs from the baseline, when there is one. */
  changes?: Change[];
  /** With --schedules: each of them. All else is of the first that is red, or else of the first. */
  schedules?: ScheduleRun[];
  /** The command, for a shell, that repeats it: a recording's, or with --schedules the first that is red. */
  repeat?: string;
  /** With --record-failures: the recording that it has left. */
  recording?: string;
  /** In a merged report: the number of the shard that ran it. */
  shard?: number;
  /** In a run through a queue: the workers that have begun it, the one whose result this is last. */
  workers?: string[];
}

/** A difference from the baseline. */
export interface Change {
  what: string;
  before: string;
  after: string;
  /** Worse: beyond the tolerance, or lost. */
  worse: boolean;
  /** Of a cost, how much more: 0.5 is half as much again. */
  share?: number;
}

export interface KernelInfo {
  /** What it is called in cells. */
  name: string;
  /** `Linux 6.1.0-56-cloud-amd64 (bzImage, 64-bit)`; empty for what is no kernel. */
  description: string;
  file: string;
  /** Bytes. */
  size: number;
  /** SHA-256 of the file, in hexadecimal. */
  digest?: string;
}

/** One machine's part of a run that was dealt to several. */
export interface ShardRun {
  /** From 1. */
  index: number;
  /** The machine's name. */
  host: string;
  /** As in the shard's own report. */
  date: string;
  wallTime: number;
  jobs: number;
}

export interface MatrixReport {
  format: typeof FORMAT;
  /** Polyvisor's version. */
  polyvisor: string;
  /** ISO 8601. */
  date: string;
  clock: 'host' | 'virtual';
  /** The name of the script, or `built-in`. */
  test: string;
  kernels: KernelInfo[];
  /** By name, with the line that `polyvisor list` has; of a file, with the SHA-256 of it. */
  hypervisors: { name: string; title: string; digest?: string }[];
  /** A digest of all options, and of the files they name, that decide what a cell does, beside its kernel and its hypervisor. */
  settings?: string;
  cells: CellResult[];
  /** From the first cell's start to the last one's end. */
  wallTime: number;
  jobs: number;
  /** What the baseline was, if there was one. */
  baseline?: { file: string; date: string; polyvisor: string; tolerance: number; notes: string[] };
  /**
   * Of a shard, which has some of the cells and the names of all: which of how many, on which machine. `plan` is the same in all shards
   * of a run: a digest of whatever decides what cells do and how they are dealt.
   */
  shard?: { index: number; count: number; plan: string; host: string };
  /** Of a merged report: where its cells ran. */
  shards?: ShardRun[];
}

export const NO_COST: Cost = { hostTime: 0, guestTime: 0, instructions: 0 };

export function emptyCounts(): CellCounts {
  return { exits: {}, operations: {}, hypercalls: {}, msrs: {}, ports: {} };
}

/** A cell about which there is nothing to say but why. */
export function cellWithoutBoot(kernel: string, hypervisor: string, verdict: Verdict, reason: string): CellResult {
  return {
    kernel,
    hypervisor,
    verdict,
    reason,
    phases: [],
    total: NO_COST,
    found: { lines: [], features: [], complaints: [] },
    tests: [],
    counts: emptyCounts(),
    console: '',
    consoleBytes: 0,
  };
}
