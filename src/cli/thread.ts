/**
 * A machine in a thread of its own, so that the main thread always answers: to the time limit, to signals, to the keys that leave. A guest's
 * thread that does not stop when it is told to, for whatever reason, is ended. Where the hypervisor is a file, the main thread also says
 * which op of it did not return, and only that guest ends (an op without end, memory without end, process.exit).
 */

import { resolve as resolvePath } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Exit } from '../exits.ts';
import type { Console } from '../host/console.ts';
import { machineOf } from '../machine/controls.ts';
import type { Machine } from '../machine/options.ts';
import { visibleLine } from '../matrix/escape.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { reasonOf } from '../plugins/guard.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import type { GuestThread } from './guest-thread.ts';
import {
  isFromThread,
  received,
  type Saved,
  type SentError,
  type State,
  type ThreadOptions,
  type ToThread,
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
export function createMachineInThread(
  { worker, cells }: GuestThread,
  options: Omit<ThreadOptions, 'trace'>,
  { console, channel, onLog, onNotice, onSaved, onCrossing }: ThreadSurroundings,
): Promise<ThreadMachine> {
  const { hypervisor, isFile } = options;
  const send = (message: ToThread) => worker.postMessage(message);
  worker.postMessage(
    { kind: 'make', options: { ...options, trace: onCrossing !== undefined } } satisfies ToThread,
    // Not copied, where nobody else has a use for them.
    onCrossing ? [] : [options.kernel, options.initrd, options.warm?.decoded].flatMap(whole),
  );

  return new Promise((resolve, reject) => {
    const names: string[] = [];
    const log: string[] = [];
    let state: State | undefined;
    let running: { done(exit: Exit): void; failed(error: Error): void } | undefined;
    let over: Exit | undefined;
    /** Those who have asked for a snapshot, in order. */
    const saving: { done(saved: Saved): void; failed(error: Error): void }[] = [];
    let stopWatchingStop = () => {};

    const finish = (exit: Exit) => {
      stopWatchingStop();
      running?.done(exit);
      running = undefined;
    };
    /** The thread is no more, or is not to be. */
    const abandon = (exit: Exit) => {
      stopWatching();
      void worker.terminate();
      over ??= exit;
      finish(over);
    };
    /** The hypervisor's file is to blame. */
    const end = (reason: string) => {
      const first = over === undefined;
      const exit: Exit = { kind: 'killed', reason: `${hypervisor}: ${reason}` };
      abandon(exit);
      if (first && !state) reject(new Failure(exit.reason, status.image));
    };
    /** Something of ours, or of the host's, is to blame. */
    const fail = (error: Error) => {
      (running?.failed ?? reject)(error);
      running = undefined;
      abandon({ kind: 'stopped' });
    };
    const onFailed = (error: SentError) => {
      const blame =
        isFile && error.kind === 'other' && error.stack?.includes(pathToFileURL(resolvePath(hypervisor)).href);
      if (blame) return end(`outside of its ops: ${error.message}`);
      fail(received(error));
    };
    const stopWatching = isFile
      ? watchOver(cells, options.engine !== 'both', (operation, seconds) =>
          end(`${operation ? names[operation - 1] : 'outside of its ops'}: has not returned for ${seconds} seconds`),
        )
      : () => {};

    worker.on('message', (message: unknown) => {
      if (!isFromThread(message)) {
        if (isFile) return end('outside of its ops: has sent a message that is none of ours');
        return fail(new Error("the guest's thread has sent a message of an unknown shape"));
      }
      switch (message.kind) {
        case 'ready':
          state = message.state;
          return resolve(machine);
        case 'failed':
          return onFailed(message.error);
        case 'operation':
          return void names.push(message.name);
        case 'console':
          return console.write(message.data);
        case 'output':
          return channel?.output(message.stream, message.data);
        case 'status':
          return channel?.status(message.status);
        case 'wants-input':
          return channel?.wantsInput(data => send({ kind: 'input', data }));
        case 'takes-signals':
          return channel?.takesSignals(number => send({ kind: 'signal', number }));
        case 'log':
          log.push(message.line);
          return onLog(message.line);
        case 'notice':
          return onNotice(visibleLine(message.line));
        case 'trace':
          return message.crossings.forEach(({ crossing, instructions }) => onCrossing?.(crossing, instructions));
        case 'saved': {
          const asked = saving.shift();
          return asked ? asked.done(message.saved) : onSaved(message.saved);
        }
        case 'not-saved':
          return void saving.shift()?.failed(received(message.error));
        case 'state':
          state = message.state;
          return;
        case 'exit':
          state = message.state;
          return finish(message.exit);
      }
    });
    worker.on('error', error => (isFile ? end(`outside of its ops: ${reasonOf(error)}`) : fail(error)));
    worker.on('exit', () => {
      if (isFile) end('has ended its thread');
      else if (!over) fail(new Error("the guest's thread has ended by itself"));
    });
    console.onInput(data => send({ kind: 'type', data }));

    const plain = machineOf({
      run: limits =>
        new Promise((done, failed) => {
          if (over) return done(over);
          running = { done, failed };
          send({ kind: 'run', limits });
        }),
      stop() {
        send({ kind: 'stop' });
        stopWatchingStop();
        // Whatever the thread is doing, a mistake of ours included: this one goes on, and ends it.
        stopWatchingStop = watchStop(cells, () => abandon({ kind: 'stopped' }));
      },
      request: what => send({ kind: 'request', what }),
      type: data => send({ kind: 'type', data }),
      statistics: () => state!.statistics,
      instructions: () => state!.statistics.instructions,
      describe: () => state!.description,
      log,
    });
    const write = (kind: 'save' | 'dump') => (file: string) =>
      new Promise<Saved>((done, failed) => {
        if (over && kind === 'dump') return failed(new Failure('its thread has been ended', status.output));
        saving.push({ done, failed });
        send({ kind, file });
      });
    const machine: ThreadMachine = Object.defineProperties(
      { save: write('save'), dump: write('dump') },
      Object.getOwnPropertyDescriptors(plain),
    ) as ThreadMachine;
  });
}

/** The memory of `bytes`, if it is theirs, but for a digest before them. */
function whole(bytes: Uint8Array | undefined): ArrayBuffer[] {
  return bytes?.buffer instanceof ArrayBuffer && bytes.buffer.byteLength - bytes.byteLength <= 32 ? [bytes.buffer] : [];
}
