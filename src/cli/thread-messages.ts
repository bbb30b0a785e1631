/** What a thread that runs a hypervisor's file and the main thread tell each other. */

import { ImageError } from '../boot/image-error.ts';
import type { Exit } from '../exits.ts';
import type { Machine, MachineOptions, Statistics } from '../machine/options.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { PluginError, reasonOf } from '../plugins/guard.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import type { DiskOption } from './values.ts';

/** What a machine is made of, as far as it can be sent. */
export interface ThreadOptions
  extends Omit<
    MachineOptions,
    'hypervisor' | 'clock' | 'console' | 'disks' | 'backEnds' | 'devices' | 'cache' | 'onLog'
  > {
  /** The hypervisor's file. */
  file: string;
  clock: 'host' | 'virtual';
  disks: readonly DiskOption[];
  trace: boolean;
}

export interface ThreadStart {
  cells: Int32Array;
  options: ThreadOptions;
}

export type ToThread =
  | { kind: 'run'; limits: Parameters<Machine['run']>[0] }
  | { kind: 'stop' }
  | { kind: 'type'; data: Uint8Array };

/** How the machine stands: sent at the start, now and then, and at the end of a run. */
export interface State {
  statistics: Statistics;
  description: string;
}

/** An error, as far as it matters who made it. */
export interface SentError {
  kind: 'image' | 'failure' | 'plugin' | 'other';
  message: string;
  status: number;
  stack: string | undefined;
}

export type FromThread =
  | { kind: 'ready'; state: State }
  | { kind: 'failed'; error: SentError }
  | { kind: 'operation'; name: string }
  | { kind: 'console'; data: Uint8Array }
  | { kind: 'log'; line: string }
  | { kind: 'trace'; crossings: Crossing[] }
  | { kind: 'state'; state: State }
  | { kind: 'exit'; exit: Exit; state: State };

export function sendable(error: unknown): SentError {
  const kind =
    error instanceof ImageError
      ? 'image'
      : error instanceof Failure
        ? 'failure'
        : error instanceof PluginError
          ? 'plugin'
          : 'other';
  return {
    kind,
    message: kind === 'other' ? reasonOf(error) : (error as Error).message,
    status: error instanceof Failure ? error.status : status.image,
    stack: error instanceof Error ? error.stack : undefined,
  };
}

/** The error again, as the class that says what becomes of it. */
export function received({ kind, message, status: exitStatus, stack }: SentError): Error {
  if (kind === 'image') return new ImageError(message);
  if (kind === 'failure' || kind === 'plugin') return new Failure(message, exitStatus);
  return Object.assign(new Error(message), { stack });
}
