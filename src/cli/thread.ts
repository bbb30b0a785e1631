/**
 * A machine in a thread of its own, for hypervisors that are files: whatever such a file does (an op that never returns, memory
 * without end, process.exit), the main thread goes on, says which file and op it was, and only that guest ends.
 */

import { resolve as resolvePath } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Exit } from '../exits.ts';
import type { Console } from '../host/console.ts';
import { machineOf } from '../machine/controls.ts';
import type { Machine } from '../machine/options.ts';
import type { Crossing } from '../paravirt/trace.ts';
import { reasonOf } from '../plugins/guard.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import { isFromThread, received, type SentError, type State, type ThreadOptions } from './thread-messages.ts';
import { createCells, watchOver } from './watch.ts';

/** What the thread's own heap may grow to, in MiB: guests' memory is not part of it. */
const HEAP = 1024;

export interface ThreadSurroundings {
  console: Console;
  onLog(line: string): void;
  onCrossing?: (crossing: Crossing) => void;
}

/** @throws Failure, ImageError: as for any machine, and for a file that is no hypervisor */
export function createMachineInThread(
  options: Omit<ThreadOptions, 'trace'>,
  { console, onLog, onCrossing }: ThreadSurroundings,
): Promise<Machine> {
  const { file } = options;
  const cells = createCells();
  const worker = new Worker(new URL('./thread-worker.js', import.meta.url), {
    workerData: { cells, options: { ...options, trace: onCrossing !== undefined } },
    resourceLimits: { maxOldGenerationSizeMb: HEAP },
    // What a module prints is for its author: the guest's output stays clean.
    stdout: true,
    stderr: true,
  });
  worker.stdout.pipe(process.stderr, { end: false });
  worker.stderr.pipe(process.stderr, { end: false });
  const send = (message: object) => worker.postMessage(message);

  return new Promise((resolve, reject) => {
    const names: string[] = [];
    const log: string[] = [];
    let state: State | undefined;
    let finish: ((exit: Exit) => void) | undefined;
    let broke: ((error: Error) => void) | undefined;
    let over: Exit | undefined;

    /** The thread is no more, or is not to be. */
    const end = (reason: string) => {
      stopWatching();
      void worker.terminate();
      if (over) return;
      over = { kind: 'killed', reason: `${file}: ${reason}` };
      if (!state) reject(new Failure(over.reason, status.image));
      finish?.(over);
    };
    const fail = (error: SentError) => {
      const blame = error.kind === 'other' && error.stack?.includes(pathToFileURL(resolvePath(file)).href);
      if (blame) return end(`outside of its ops: ${error.message}`);
      (state ? broke : reject)?.(received(error));
      if (!state) end(error.message);
    };
    const stopWatching = watchOver(cells, options.engine !== 'both', (operation, seconds) =>
      end(`${operation ? names[operation - 1] : 'outside of its ops'}: has not returned for ${seconds} seconds`),
    );

    worker.on('message', (message: unknown) => {
      if (!isFromThread(message)) return end('outside of its ops: has sent a message that is none of ours');
      switch (message.kind) {
        case 'ready':
          state = message.state;
          return resolve(machine);
        case 'failed':
          return fail(message.error);
        case 'operation':
          return void names.push(message.name);
        case 'console':
          return console.write(message.data);
        case 'log':
          log.push(message.line);
          return onLog(message.line);
        case 'trace':
          return message.crossings.forEach(crossing => onCrossing?.(crossing));
        case 'state':
          state = message.state;
          return;
        case 'exit':
          state = message.state;
          return finish?.(message.exit);
      }
    });
    worker.on('error', error => end(`outside of its ops: ${reasonOf(error)}`));
    worker.on('exit', () => end('has ended its thread'));
    console.onInput(data => send({ kind: 'type', data }));

    const machine = machineOf({
      run: limits =>
        new Promise((done, failed) => {
          if (over) return done(over);
          finish = done;
          broke = failed;
          send({ kind: 'run', limits });
        }),
      stop: () => send({ kind: 'stop' }),
      type: data => send({ kind: 'type', data }),
      statistics: () => state!.statistics,
      instructions: () => state!.statistics.instructions,
      describe: () => state!.description,
      log,
    });
  });
}
