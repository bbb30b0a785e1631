/** A machine in another thread, as its user sees it. `serveMachine` is at the other end. */
import { ImageError } from '../boot/image-error.ts';
import type { Exit } from '../exits.ts';
import type { MachineRequest, RunLimits, Statistics } from '../machine/options.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import type { FromRemote, RemoteOptions, Report, SentError, ToRemote } from './messages.ts';
import type { RemotePort } from './port.ts';

export interface RemoteListener {
  /** What the guest writes to its console. */
  console(data: Uint8Array): void;
  /** Called with each report, ten times a second while the machine runs. */
  report?(statistics: Statistics, crossings: readonly Crossing[]): void;
  log?(line: string): void;
}

/** `Machine` (machine/options.ts), as far as it is one from afar. */
export interface RemoteMachine {
  /** As of the latest report. */
  readonly statistics: Statistics;
  run(limits?: RunLimits): Promise<Exit>;
  stop(): void;
  request(what: MachineRequest): void;
  type(text: string | Uint8Array): void;
  /** A snapshot's file: `Snapshot.decode` reads it. @throws Error, later, if the guest has ended or cannot be told */
  snapshot(): Promise<Uint8Array<ArrayBuffer>>;
  describe(): Promise<string>;
}

/** Those who wait for an answer, in order. */
interface Waiting<T> {
  done(value: T): void;
  failed(error: Error): void;
}

/**
 * @param transfer parts of the options that are handed over and not copied
 * @throws ImageError, SnapshotError, Error, later: as `createMachine`
 */
export function createRemoteMachine(
  port: RemotePort,
  options: RemoteOptions,
  listener: RemoteListener,
  transfer: object[] = [],
): Promise<RemoteMachine> {
  const send = (message: ToRemote) => port.postMessage(message, []);
  return new Promise((resolve, reject) => {
    let statistics: Statistics;
    let running: Waiting<Exit> | undefined;
    const snapshots: Waiting<Uint8Array<ArrayBuffer>>[] = [];
    const descriptions: Waiting<string>[] = [];
    const take = (report: Report) => {
      statistics = report.statistics;
      listener.report?.(statistics, report.crossings);
    };
    const asked = <T>(waiting: Waiting<T>[], message: ToRemote) =>
      new Promise<T>((done, failed) => {
        waiting.push({ done, failed });
        send(message);
      });

    port.addEventListener('message', ({ data }) => {
      const message = data as FromRemote;
      switch (message.kind) {
        case 'ready':
          message.log.forEach(line => listener.log?.(line));
          take(message.report);
          return resolve(machine);
        case 'failed':
          (running?.failed ?? reject)(received(message.error));
          running = undefined;
          return;
        case 'console':
          return listener.console(message.data);
        case 'log':
          return listener.log?.(message.line);
        case 'report':
          return take(message.report);
        case 'exit':
          take(message.report);
          running?.done(message.exit);
          running = undefined;
          return;
        case 'snapshot':
          return snapshots.shift()?.done(message.bytes);
        case 'not-saved':
          return snapshots.shift()?.failed(received(message.error));
        case 'description':
          return descriptions.shift()?.done(message.text);
      }
    });
    port.postMessage({ kind: 'make', options } satisfies ToRemote, transfer);

    const machine: RemoteMachine = {
      get statistics() {
        return statistics;
      },
      run: (limits = {}) =>
        new Promise((done, failed) => {
          if (running) return failed(new Error('the machine runs already'));
          running = { done, failed };
          send({ kind: 'run', limits });
        }),
      stop: () => send({ kind: 'stop' }),
      request: what => send({ kind: 'request', what }),
      type: text => send({ kind: 'type', data: typeof text === 'string' ? new TextEncoder().encode(text) : text }),
      snapshot: () => asked(snapshots, { kind: 'snapshot' }),
      describe: () => asked(descriptions, { kind: 'describe' }),
    };
  });
}

/** The error again, as the class that says whose it is. */
function received({ kind, message, stack }: SentError): Error {
  if (kind === 'image') return new ImageError(message);
  if (kind === 'snapshot') return new SnapshotError(message);
  return Object.assign(new Error(message), { stack });
}
