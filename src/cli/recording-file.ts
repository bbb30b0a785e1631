/** `--record` and `--replay`: recordings as files. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { nodeCompression } from '../host/node/compression.ts';
import {
  decodeRecording,
  encodeFront,
  encodePiece,
  type Recording,
  type RecordingHeader,
  recordingHeader,
} from '../replay/recording.ts';
import { Snapshot } from '../snapshot/snapshot.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import type { RunOptions } from './settings.ts';

/** Bytes of the journal that are compressed at once. */
const PIECE = 1 << 20;
/** How often what there is is written, in ms. */
const FLUSH_EVERY = 1000;

/** A recording that is being written. */
export class RecordingFile {
  readonly #name: string;
  readonly #descriptor: number;
  #pieces: Uint8Array[] = [];
  #length = 0;
  #last: Promise<unknown> = Promise.resolve();
  #failure: Failure | undefined;
  readonly #onFailure: () => void;
  #timer: NodeJS.Timeout | undefined;

  /** @param onFailure something could not be written: `close` says what. @throws Failure */
  constructor(name: string, onFailure: () => void) {
    this.#name = name;
    this.#onFailure = onFailure;
    this.#descriptor = withFile(`--record ${name}`, status.output, () => openSync(name, 'w', 0o600));
  }
  /** @param flush has what is recorded handed over: what is in the file is there whatever becomes of the process */
  begin(header: RecordingHeader, snapshot: Snapshot, flush: () => void): void {
    this.#then(() => encodeFront(header, snapshot, nodeCompression));
    this.#timer = setInterval(() => {
      flush();
      this.flush();
    }, FLUSH_EVERY).unref();
  }
  add = (bytes: Uint8Array): void => {
    this.#pieces.push(bytes);
    this.#length += bytes.length;
    if (this.#length >= PIECE) this.flush();
  };
  flush(): void {
    const pieces = this.#pieces.splice(0);
    this.#length = 0;
    if (pieces.length > 0) this.#then(() => encodePiece(Buffer.concat(pieces), nodeCompression));
  }
  #then(make: () => Promise<Uint8Array>): void {
    this.#last = this.#last.then(make).then(bytes => {
      if (this.#failure) return;
      try {
        withFile(`--record ${this.#name}`, status.output, () => {
          for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
        });
      } catch (error) {
        this.#failure = error as Failure;
        this.#onFailure();
      }
    });
  }
  /** Everything has been written. @throws Failure if it could not be */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.flush();
    await this.#last;
    closeSync(this.#descriptor);
    if (this.#failure) throw this.#failure;
  }
}

/** @throws Failure */
export async function readRecording(file: string): Promise<Recording> {
  const bytes = withFile(`--replay ${file}`, status.noInput, () => readFileSync(file));
  return decodeRecording(bytes, nodeCompression).catch(error => {
    throw error instanceof SnapshotError ? replayFailure(file, error) : error;
  });
}

export function replayFailure(file: string, error: Error): Failure {
  return new Failure(`cannot replay ${file}: ${error.message}`, status.image);
}

/** Options that are for a machine that runs for the first time. */
const FOR_THE_FIRST_TIME = [
  ...([
    'kernel',
    'initrd',
    'module',
    'modules',
    'arch',
    'flavour',
    'entry',
    'append',
    'commandLine',
    'exec',
    'share',
  ] as const),
  ...([
    'root',
    'restore',
    'save',
    'record',
    'memory',
    'cpu',
    'cpus',
    'schedule',
    'clock',
    'net',
    'forward',
    'netDump',
    'vsock',
  ] as const),
];

/**
 * `--replay FILE`: the machine is the recording's.
 * @throws Failure for options that a replay has no use for, or a file that is no recording
 */
export function replayedOptions(options: RunOptions, isGiven: (option: keyof RunOptions) => boolean): RunOptions {
  const { replay } = options;
  if (replay === undefined) return options;
  const other = FOR_THE_FIRST_TIME.find(isGiven);
  if (other) {
    const name = other.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
    throw new Failure(`--replay ${replay}: the machine is the recording's, so --${name} cannot be given`);
  }
  if (options.gdb !== undefined && options.serial !== undefined)
    throw new Failure('--serial: a debugger goes back in a recording, and what has been sent cannot be taken back');
  const bytes = withFile(`--replay ${replay}`, status.noInput, () => readFileSync(replay));
  try {
    const { header, snapshot } = recordingHeader(bytes);
    const { hypervisor, memory, clock } = Snapshot.header(snapshot);
    const { cpus, sockets, cores, threads } = header.cpus;
    return {
      ...options,
      ...(isGiven('hypervisor') ? {} : { hypervisor }),
      ...{ memory: `${memory / 1024}K`, clock, net: 'none' },
      cpus: `${cpus},sockets=${sockets},cores=${cores},threads=${threads}`,
      schedule: String(header.schedule),
      ...(header.exec !== undefined && { exec: header.exec }),
    };
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    throw replayFailure(replay, error);
  }
}
