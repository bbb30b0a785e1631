/** What the library's machine in another thread and its user agree on. */
import type { MachineOptions, Statistics } from '../machine/options.ts';
import type { Crossing } from '../paravirt/trace.ts';
import type { Protocol } from './messages.ts';

/** What a machine is made of, as far as it can be sent. */
export interface RemoteOptions
  extends Pick<
    MachineOptions,
    | 'kernel'
    | 'initrd'
    | 'append'
    | 'commandLine'
    | 'modules'
    | 'entry'
    | 'memory'
    | 'cpu'
    | 'cpus'
    | 'schedule'
    | 'engine'
  > {
  /** A name of the list; default: the snapshot's, or `bare`. */
  hypervisor?: string;
  /** `host` (default): guest time follows the clock of the thread. */
  clock?: 'host' | 'virtual';
  /** A snapshot's file, to go on from. */
  snapshot?: Uint8Array;
  /** How many of the latest crossings each report has. Default 0: they are not even looked at. */
  crossings?: number;
  /** What the thread's host makes of it is between that and whoever started the thread, e.g. disks. */
  extras?: unknown;
}

/** How the machine stands: sent at the start, ten times a second while it runs, and before an exit. */
export interface Report {
  statistics: Statistics;
  crossings: Crossing[];
}

/** An error, as far as it matters who made it: `image` and `snapshot` are what a file is to blame for. */
export interface SentError {
  kind: 'image' | 'snapshot' | 'other';
  message: string;
  stack: string | undefined;
}

export interface MachineProtocol extends Protocol {
  options: RemoteOptions;
  report: Report;
  error: SentError;
  questions: {
    /** A snapshot's file. */
    snapshot: { given: undefined; answer: Uint8Array<ArrayBuffer> };
    describe: { given: undefined; answer: string };
  };
  commands: never;
  news: never;
}
