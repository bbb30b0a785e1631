/**
 * What a machine in another thread and its user tell each other. Both ends are ours; what is in between (`RemotePort`) must
 * copy plain data, as `structuredClone` does.
 */
import type { Exit } from '../exits.ts';
import type { MachineOptions, MachineRequest, RunLimits, Statistics } from '../machine/options.ts';
import type { Crossing } from '../paravirt/trace.ts';

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

export type ToRemote =
  /** The first message. */
  | { kind: 'make'; options: RemoteOptions }
  | { kind: 'run'; limits: RunLimits }
  | { kind: 'stop' }
  | { kind: 'request'; what: MachineRequest }
  | { kind: 'type'; data: Uint8Array }
  /** Answered by `snapshot` or `not-saved`; by `description`. */
  | { kind: 'snapshot' }
  | { kind: 'describe' };

/** How the machine stands: sent at the start, ten times a second while it runs, and before an exit. */
export interface Report {
  statistics: Statistics;
  /** The latest since the report before, the oldest first. */
  crossings: Crossing[];
}

export type FromRemote =
  | { kind: 'ready'; report: Report; log: string[] }
  /** It could not be made, or a run ended by a mistake of ours. */
  | { kind: 'failed'; error: SentError }
  | { kind: 'console'; data: Uint8Array }
  | { kind: 'log'; line: string }
  | { kind: 'report'; report: Report }
  | { kind: 'exit'; exit: Exit; report: Report }
  | { kind: 'snapshot'; bytes: Uint8Array<ArrayBuffer> }
  | { kind: 'not-saved'; error: SentError }
  | { kind: 'description'; text: string };

/** An error, as far as it matters who made it: `image` and `snapshot` are what a file is to blame for. */
export interface SentError {
  kind: 'image' | 'snapshot' | 'other';
  message: string;
  stack: string | undefined;
}
