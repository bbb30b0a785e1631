/** A machine in another thread, as its user sees it. `serveMachine` is at the other end. */
import { ImageError } from '../boot/image-error.ts';
import type { Exit } from '../exits.ts';
import type { MachineRequest, RunLimits, Statistics } from '../machine/options.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { connect } from './connect.ts';
import type { MachineProtocol, RemoteOptions, SentError } from './machine-protocol.ts';
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
  readonly statistics: Statistics;
  run(limits?: RunLimits): Promise<Exit>;
  stop(): void;
  request(what: MachineRequest): void;
  type(text: string | Uint8Array): void;
  /** A snapshot's file: `Snapshot.decode` reads it. @throws Error, later, if the guest has ended or cannot be told */
  snapshot(): Promise<Uint8Array<ArrayBuffer>>;
  describe(): Promise<string>;
}

/**
 * @param transfer parts of the options that are handed over and not copied
 * @throws ImageError, SnapshotError, Error, later: as `createMachine`
 */
export async function createRemoteMachine(
  port: RemotePort,
  options: RemoteOptions,
  listener: RemoteListener,
  transfer: object[] = [],
): Promise<RemoteMachine> {
  let statistics: Statistics;
  const connection = connect<MachineProtocol>(
    port,
    options,
    {
      console: data => listener.console(data),
      log: line => listener.log?.(line),
      report(report) {
        statistics = report.statistics;
        listener.report?.(statistics, report.crossings);
      },
      received,
    },
    transfer,
  );
  await connection.ready;
  return {
    get statistics() {
      return statistics;
    },
    run: (limits = {}) => connection.run(limits),
    stop: () => connection.stop(),
    request: what => connection.request(what),
    type: text => connection.type(typeof text === 'string' ? new TextEncoder().encode(text) : text),
    snapshot: () => connection.ask('snapshot', undefined),
    describe: () => connection.ask('describe', undefined),
  };
}

/** The error again, as the class that says whose it is. */
function received({ kind, message, stack }: SentError): Error {
  if (kind === 'image') return new ImageError(message);
  if (kind === 'snapshot') return new SnapshotError(message);
  return Object.assign(new Error(message), { stack });
}
