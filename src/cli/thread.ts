/**
 * A machine in a thread of its own, so that the main thread always answers: to the time limit, to signals, to the keys that leave. A guest's
 * thread that does not stop when it is told to, for whatever reason, is ended. Where the hypervisor is a file, the main thread also says
 * which op of it did not return, and only that guest ends (an op without end, memory without end, process.exit).
 */

import { resolve as resolvePath } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Worker } from 'node:worker_threads';
import type { Exit } from '../exits.ts';
import type { Console } from '../host/console.ts';
import { machineOf } from '../machine/controls.ts';
import type { Machine } from '../machine/options.ts';
import { visibleLine } from '../matrix/escape.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { reasonOf } from '../plugins/guard.ts';
import { connect } from '../remote/connect.ts';
import type { RemotePort } from '../remote/port.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import type { GuestThread } from './guest-thread.ts';
import {
  isFromThread,
  received,
  type Saved,
  type State,
  type ThreadOptions,
  type ThreadProtocol,
} from './thread-messages.ts';
import { watchOver, watchStop } from './watch.ts';

/** What is at the other end of a guest's channel (folders/channel.ts). */
export interface ChannelUser {
  output(stream: 'stdout' | 'stderr', data: Uint8Array): void;
  status(value: number): void;
  /** More input is wanted: `give` is called once for it, without data if there is none any more. */
  wantsInput(give: (data?: Uint8Array) => void): void;
  /** The command can be sent signals (by their numbers) from now on. */
  takesSignals(send: (number: number) => void): void;
}

export interface ThreadSurroundings {
  console: Console;
  channel?: ChannelUser | undefined;
  onLog(line: string): void;
  onNotice(line: string): void;
  onSaved(saved: Saved): void;
  /** @param instructions executed when it happened */
  onCrossing?: ((crossing: Crossing, instructions: number) => void) | undefined;
}

/** A machine that can be written to a file. */
export interface ThreadMachine extends Machine {
  /** @throws Failure: it cannot be written; the guest is as it was */
  save(file: string): Promise<Saved>;
  /** Writes an ELF core, also of a guest that has ended. @throws Failure: it cannot be written */
  dump(file: string): Promise<Saved>;
}

/** @throws Failure, ImageError: as for any machine, and for a file that is not a hypervisor */
export async function createMachineInThread(
  { worker, cells }: GuestThread,
  options: Omit<ThreadOptions, 'trace'>,
  { console, channel, onLog, onNotice, onSaved, onCrossing }: ThreadSurroundings,
): Promise<ThreadMachine> {
  const { hypervisor, isFile } = options;
  const names: string[] = [];
  const log: string[] = [];
  let state: State | undefined;
  let over: Exit | undefined;
  let stopWatchingStop = () => {};

  const news = (message: ThreadProtocol['news']) => {
    switch (message.kind) {
      case 'operation':
        return void names.push(message.name);
      case 'output':
        return channel?.output(message.stream, message.data);
      case 'status':
        return channel?.status(message.status);
      case 'wants-input':
        return channel?.wantsInput(data => connection.tell({ kind: 'input', data }));
      case 'takes-signals':
        return channel?.takesSignals(number => connection.tell({ kind: 'signal', number }));
      case 'notice':
        return onNotice(visibleLine(message.line));
      case 'trace':
        return message.crossings.forEach(({ crossing, instructions }) => onCrossing?.(crossing, instructions));
      case 'saved':
        return onSaved(message.saved);
    }
  };
  const connection = connect<ThreadProtocol>(
    checkedPort(worker, () => {
      if (isFile) return end('outside of its ops: has sent a message that is none of ours');
      fail(new Error("the guest's thread has sent a message of an unknown shape"));
    }),
    { ...options, trace: onCrossing !== undefined },
    {
      console: data => console.write(data),
      log(line) {
        log.push(line);
        onLog(line);
      },
      report: report => void (state = report),
      news,
      received,
      failed(error) {
        const isTheirs = error.kind === 'other' && error.stack?.includes(pathToFileURL(resolvePath(hypervisor)).href);
        if (isFile && isTheirs) return end(`outside of its ops: ${error.message}`);
        fail(received(error));
      },
    },
    // Not copied, where nobody else has a use for them.
    onCrossing ? [] : [options.kernel, options.initrd, options.warm?.decoded].flatMap(whole),
  );

  /** The thread is no more, or is not to be. */
  const abandon = (exit: Exit) => {
    stopWatching();
    stopWatchingStop();
    void worker.terminate();
    over ??= exit;
    connection.finish(over);
  };
  /** The hypervisor's file is to blame. */
  const end = (reason: string) => {
    const exit: Exit = { kind: 'killed', reason: `${hypervisor}: ${reason}` };
    if (!state) connection.fail(new Failure(exit.reason, status.image));
    abandon(exit);
  };
  /** Something of ours, or of the host's, is to blame. */
  const fail = (error: Error) => {
    connection.fail(error);
    abandon({ kind: 'stopped' });
  };
  const stopWatching = isFile
    ? watchOver(cells, options.engine !== 'both', (operation, seconds) =>
        end(`${operation ? names[operation - 1] : 'outside of its ops'}: has not returned for ${seconds} seconds`),
      )
    : () => {};
  worker.on('error', error => (isFile ? end(`outside of its ops: ${reasonOf(error)}`) : fail(error)));
  worker.on('exit', () => {
    if (isFile) end('has ended its thread');
    else if (!over) fail(new Error("the guest's thread has ended by itself"));
  });
  console.onInput(data => connection.type(data));
  await connection.ready;

  const plain = machineOf({
    run: limits => (over ? Promise.resolve(over) : connection.run(limits).finally(() => stopWatchingStop())),
    stop() {
      connection.stop();
      stopWatchingStop();
      // Whatever the thread is doing, a mistake of ours included: this one goes on, and ends it.
      stopWatchingStop = watchStop(cells, () => abandon({ kind: 'stopped' }));
    },
    request: what => connection.request(what),
    type: data => connection.type(data),
    statistics: () => state!.statistics,
    instructions: () => state!.statistics.instructions,
    describe: () => state!.description,
    log,
  });
  const files: Pick<ThreadMachine, 'save' | 'dump'> = {
    save: file => connection.ask('save', file),
    async dump(file) {
      if (over) throw new Failure('its thread has been ended', status.output);
      return connection.ask('dump', file);
    },
  };
  return Object.defineProperties(files, Object.getOwnPropertyDescriptors(plain)) as ThreadMachine;
}

/** The thread's messages, each of a known shape; `onUnknown` is called for others. */
function checkedPort(worker: Worker, onUnknown: () => void): RemotePort {
  return {
    postMessage: (message, transfer) => worker.postMessage(message, transfer as ArrayBuffer[]),
    addEventListener(_type, listener) {
      worker.on('message', (data: unknown) => (isFromThread(data) ? listener({ data }) : onUnknown()));
    },
  };
}

/** The memory of `bytes`, if it is theirs, but for a digest before them. */
function whole(bytes: Uint8Array | undefined): ArrayBuffer[] {
  return bytes?.buffer instanceof ArrayBuffer && bytes.buffer.byteLength - bytes.byteLength <= 32 ? [bytes.buffer] : [];
}
