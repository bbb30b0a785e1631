/** What a thread that runs a machine and the main thread tell each other. */

import { ImageError } from '../boot/image-error.ts';
import type { Exit } from '../exits.ts';
import { NoSuchBusError } from '../host/back-ends.ts';
import type { MachineOptions, Statistics } from '../machine/options.ts';
import { type Check, listOf, number, oneOf, optional, shape, tableOf, text } from '../matrix/shape.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { isA, PluginError, reasonOf } from '../plugins/guard.ts';
import type { FromMachine, Protocol } from '../remote/messages.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import type { FolderOption } from './folder-options.ts';
import type { NetOption } from './net-options.ts';
import type { DebugOption, DiskOption, SaveOption, SerialOption, VsockOption } from './values.ts';
import type { WarmOptions } from './warm-start.ts';

/** What a machine is made of, as far as it can be sent. */
export interface ThreadOptions
  extends Omit<
    MachineOptions,
    | 'door'
    | 'snapshot'
    | 'hypervisor'
    | 'clock'
    | 'console'
    | 'disks'
    | 'serial'
    | 'backEnds'
    | 'devices'
    | 'cache'
    | 'onLog'
  > {
  /** A name of the list, or a file. */
  hypervisor: string;
  /** The hypervisor is a file: somebody else's code. */
  isFile: boolean;
  clock: 'host' | 'virtual';
  disks: readonly DiskOption[];
  folders: readonly FolderOption[];
  net: NetOption;
  vsock: VsockOption | undefined;
  serial: SerialOption | undefined;
  gdb: DebugOption | undefined;
  trace: boolean;
  save: SaveOption | undefined;
  /** A snapshot to go on from. */
  restore: string | undefined;
  /** Where what enters the machine is recorded, and a recording that is repeated. */
  record: string | undefined;
  replay: string | undefined;
  /** The command of --exec. */
  exec: string | undefined;
  /** The guest is kept when it waits for its command, or is one that was. */
  warm: WarmOptions | undefined;
}

/** A snapshot that has been written. */
export interface Saved {
  file: string;
  /** Bytes. */
  size: number;
  /** Executed when it was taken. */
  instructions: number;
}

export interface ThreadStart {
  cells: Int32Array;
}

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

/** With the instructions that had been executed. */
export interface CountedCrossing {
  crossing: Crossing;
  instructions: number;
}

/** What the thread and the command agree on, beside what every machine in another thread is told and tells. */
export interface ThreadProtocol extends Protocol {
  options: ThreadOptions;
  report: State;
  error: SentError;
  /** To write a file. */
  questions: Record<'save' | 'dump', { given: string; answer: Saved }>;
  commands: /** More of the command's input; none: that was all. */
    | { kind: 'input'; data: Uint8Array | undefined }
    /** A signal for the command, by its number. */
    | { kind: 'signal'; number: number };
  news:
    | { kind: 'operation'; name: string }
    /** What comes through the channel (folders/channel.ts). */
    | { kind: 'output'; stream: 'stdout' | 'stderr'; data: Uint8Array }
    | { kind: 'status'; status: number }
    | { kind: 'wants-input' }
    | { kind: 'takes-signals' }
    /** For the person, whether they want to know much or not. */
    | { kind: 'notice'; line: string }
    | { kind: 'trace'; crossings: CountedCrossing[] }
    /** A snapshot that was to be taken at some time has been. */
    | { kind: 'saved'; saved: Saved };
}

/** An error as it is sent. What a file's hypervisor has thrown may be anything. */
export function sendable(error: unknown): SentError {
  if (isA(error, NoSuchBusError)) return sendable(new Failure(`--${error.kind} ${error.message}`));
  const known = isA(error, ImageError) || isA(error, Failure) || isA(error, PluginError);
  return {
    kind: isA(error, ImageError)
      ? 'image'
      : isA(error, Failure)
        ? 'failure'
        : isA(error, PluginError)
          ? 'plugin'
          : 'other',
    message: known ? error.message : reasonOf(error),
    status: isA(error, Failure) ? error.status : status.image,
    stack: isA(error, Error) && typeof error.stack === 'string' ? error.stack : undefined,
  };
}

/** The error again, as the class that says what becomes of it. */
export function received({ kind, message, status: exitStatus, stack }: SentError): Error {
  if (kind === 'image') return new ImageError(message);
  if (kind === 'failure' || kind === 'plugin') return new Failure(message, exitStatus);
  return Object.assign(new Error(message), { stack });
}

const EXIT_KINDS: readonly Exit['kind'][] = [
  ...(['power-off', 'reset', 'panic', 'killed', 'triple-fault', 'dead-halt', 'stopped', 'timeout'] as const),
];

const processor = shape({
  ...{ instructions: number, ranTime: number, waitedTime: number, turns: number, ipis: number },
  exits: tableOf(number),
});
const statistics = shape({
  hypervisor: text,
  ...{ instructions: number, guestTime: number, hostTime: number, haltedTime: number, stolenTime: number },
  ...{ exits: tableOf(number), operations: tableOf(number), ports: tableOf(number), msrs: tableOf(number) },
  hypercalls: tableOf(number),
  processors: listOf(processor),
  networks: listOf(
    shape({
      ...{ name: text, addresses: listOf(text), lost: number },
      ...{ sent: tableOf(number), received: tableOf(number) },
    }),
  ),
});
const state = shape({ statistics, description: text });
export const isSentError = shape({
  kind: oneOf(['image', 'failure', 'plugin', 'other']),
  message: text,
  status: number,
  stack: optional(text),
});
const exit = shape({ kind: oneOf(EXIT_KINDS), reason: optional(text), status: optional(number) });
const crossing = shape({
  time: number,
  operation: text,
  callers: Array.isArray,
  name: optional(text),
  arguments: shape({}),
});

const saved = shape({ file: text, size: number, instructions: number });
const bytes: Check = value => value instanceof Uint8Array;

/** What each kind of message has beside its kind. */
const MESSAGES: ReadonlyMap<unknown, Check> = new Map<FromMachine<ThreadProtocol>['kind'], Check>([
  ['ready', shape({ report: state })],
  ['failed', shape({ error: isSentError })],
  ['console', shape({ data: bytes })],
  ['log', shape({ line: text })],
  ['report', shape({ report: state })],
  ['exit', shape({ exit, report: state })],
  ['answer', shape({ number, answer: saved })],
  ['refused', shape({ number, error: isSentError })],
  ['operation', shape({ name: text })],
  ['output', shape({ stream: oneOf(['stdout', 'stderr']), data: bytes })],
  ['status', shape({ status: number })],
  ['wants-input', shape({})],
  ['takes-signals', shape({})],
  ['notice', shape({ line: text })],
  ['trace', shape({ crossings: listOf(shape({ instructions: number, crossing })) })],
  ['saved', shape({ saved })],
]);

/** A file's hypervisor can send what it likes in our place. */
export function isFromThread(value: unknown): value is FromMachine<ThreadProtocol> {
  return shape({ kind: text })(value) && !!MESSAGES.get((value as { kind: string }).kind)?.(value);
}
