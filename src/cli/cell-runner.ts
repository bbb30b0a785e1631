/**
 * Runs cells in processes, so many at a time, and outlives whatever becomes of them. A process whose cell has come to its end
 * takes the next one: V8 has compiled the engine there already, and most of what its guest runs. One that died, was killed or ran a file's code takes no other.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { type CellResult, cellWithoutBoot, PHASES, type Phase } from '../matrix/result.ts';
import type { CellProgress, CellSpec } from './cell.ts';
import { type CellOrder, isCellMessage } from './cell-messages.ts';
import { forgetRecordings, withRecording } from './cell-recording.ts';
import { afterItsTime } from './patience.ts';

/** What is watched while cells run; all calls come in order for a cell. */
export interface CellEvents {
  started(index: number): void;
  progress(index: number, progress: CellProgress): void;
  ended(index: number, result: CellResult): void;
}

/** A cell ends itself at its time limit; a process that has not within this many seconds more is beyond help. */
const GRACE = 30;
/** How long to wait for the end of a process that takes no order, in ms. */
const DEAF = 1000;
/** What a process prints that is no message is kept up to here, in characters, for the case that it dies. */
const LAST_WORDS = 2000;
const PROGRAM = new URL('./cell-process.js', import.meta.url);

export interface CellRunner {
  /** All results, in the order of `specs`. */
  readonly results: Promise<CellResult[]>;
  /** Ends what runs, and starts nothing more: the results say so. */
  stop(reason: string): void;
}

/** Processes that wait for a cell: they load the program while their parent is still reading kernels. */
export interface CellProcesses {
  /** One that waits, or a new one. @throws Error where none can be started. */
  take(): ChildProcess;
  /** One whose cell has ended: it waits for the next. */
  give(child: ChildProcess): void;
  /** Ends those that still wait. */
  end(): void;
}

export function startCellProcesses(count: number): CellProcesses {
  const start = () => {
    const child = fork(PROGRAM, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
    // Whoever takes it listens, too; nobody may be there when it fails.
    child.on('error', () => {});
    return child;
  };
  const waiting: ChildProcess[] = [];
  try {
    while (waiting.length < count) waiting.push(start());
  } catch {
    // Those that are missing are started when they are needed, and what keeps them from it is said of their cells.
  }
  return {
    take() {
      for (let child = waiting.shift(); child; child = waiting.shift()) if (child.connected) return child;
      return start();
    },
    give: child => void waiting.push(child),
    end() {
      for (const child of waiting.splice(0)) child.kill('SIGKILL');
    },
  };
}

/** What the runs of cells have in common. */
interface Runner {
  readonly processes: CellProcesses;
  readonly running: Set<{ kill(): void }>;
  /** Why nothing more is to run. */
  stopped: string | undefined;
}

/** Has a process run the cell, or, if its first boot is there already, add to its result. */
function runInProcess(
  runner: Runner,
  order: CellOrder,
  onProgress: (progress: CellProgress) => void,
): Promise<CellResult> {
  const { processes } = runner;
  return new Promise(resolve => {
    const { spec } = order;
    let last: CellProgress | undefined;
    let words = '';
    let answer: CellResult | undefined;
    let settled = false;
    let expired = false;
    const settle = (result: CellResult) => {
      if (settled) return;
      settled = true;
      stopWaiting();
      runner.running.delete(handle);
      resolve(result);
    };
    /** The process is gone, and what is known of its cell is what it last said. */
    const lost = (reason: string): CellResult => {
      const phase = PHASES.find(name => name === last?.phase.split(':')[0]) as Phase | undefined;
      const { kernel, hypervisor } = spec;
      const { reason: said = reason } = /^polyvisor: (?<reason>.*)\n$/m.exec(words)?.groups ?? {};
      const where = last ? ` in ${last.phase}, after ${last.line || 'nothing printed'}` : '';
      const result = cellWithoutBoot(kernel, hypervisor, expired ? 'hung' : 'died', `${said}${where}`);
      return { ...result, console: words, ...(last && { total: last.cost }), ...(phase && { phase }) };
    };
    let child: ChildProcess;
    let stopWaiting = () => {};
    const handle = { kill: () => void child?.kill('SIGKILL') };
    if (runner.stopped !== undefined) return settle(lost(runner.stopped));
    try {
      child = processes.take();
    } catch (error) {
      return settle(lost(`its process could not be started: ${(error as Error).message}`));
    }
    runner.running.add(handle);
    // A host with too much to do is not a guest that hangs: time in which the process waits for a processor does not count.
    stopWaiting = afterItsTime(child.pid, spec.timeout + GRACE, () => {
      expired = true;
      handle.kill();
    });
    const onWords = (text: string) => {
      words = (words + text).slice(-LAST_WORDS);
    };
    const onMessage = (message: unknown) => {
      if (settled) return;
      if (!isCellMessage(message)) {
        answer = lost('its process has sent a message that is none of ours');
        return handle.kill();
      }
      if (message.kind === 'progress') {
        last = message.progress;
        return onProgress(last);
      }
      if (message.kind === 'result' && spec.hypervisorFile === undefined) {
        for (const stream of [child.stdout, child.stderr]) stream?.off('data', onWords);
        child.off('message', onMessage).off('error', onError).off('close', onClose);
        settle(message.result);
        return processes.give(child);
      }
      // Whoever waits for the matrix shall find nothing running: once it has gone, it is told of.
      answer = message.kind === 'result' ? message.result : lost(`a mistake in polyvisor itself: ${message.message}`);
      handle.kill();
    };
    const onError = (error: Error) => settle(lost(`its process failed: ${error.message}`));
    const onClose = (code: number | null, signal: string | null) =>
      settle(
        answer ??
          lost(
            runner.stopped ??
              (expired
                ? 'its process did not answer any more'
                : `its process was ended ${signal ? `by ${signal}` : `with status ${code}`}`),
          ),
      );
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', onWords);
    child.on('message', onMessage).on('error', onError).on('close', onClose);
    child.send(order, error => {
      if (!error) return;
      // It has ended, as `close` will tell better; or else it is deaf.
      setTimeout(() => {
        settle(lost(`its process took no order: ${error.message}`));
        handle.kill();
      }, DEAF);
    });
  });
}

/**
 * @param ready results that need no run, at their place
 * @param order in which cells are started, as places in `specs`
 */
export function runCells(
  specs: readonly CellSpec[],
  ready: readonly (CellResult | undefined)[],
  order: readonly number[],
  jobs: number,
  processes: CellProcesses,
  events: CellEvents,
): CellRunner {
  const results: CellResult[] = new Array(specs.length);
  const runner: Runner = { processes, running: new Set(), stopped: undefined };
  let next = 0;
  const atOnce = Math.min(jobs, specs.filter((_, index) => !ready[index]).length);
  const spareCore = 2 * atOnce <= availableParallelism();
  const one = (index: number, before?: CellResult) =>
    runInProcess(runner, { spec: specs[index]!, before, spareCore }, progress => events.progress(index, progress));

  /** Cells whose second boot has been put off, so that the last processes end at about the same time. */
  const unfinished: { index: number; result: CellResult }[] = [];
  /** First boots that are under way, and who waits for one of them to end. */
  let booting = 0;
  const idle: (() => void)[] = [];
  const end = (index: number, ended: CellResult) => {
    const result = ready[index] ? ended : withRecording(specs[index]!, ended);
    results[index] = result;
    events.ended(index, result);
  };
  const boot = async (index: number): Promise<void> => {
    if (ready[index]) return end(index, ready[index]);
    if (runner.stopped === undefined) events.started(index);
    forgetRecordings(specs[index]!);
    booting++;
    const result = await one(index);
    booting--;
    if (!(specs[index]!.builtIn && result.verdict === 'passed')) end(index, result);
    else if (order.length - next >= jobs) end(index, await one(index, result));
    else unfinished.push({ index, result });
    for (const wake of idle.splice(0)) wake();
  };
  const work = async () => {
    for (;;) {
      const index = order[next++];
      const waiting = index === undefined ? unfinished.shift() : undefined;
      if (index !== undefined) await boot(index);
      else if (waiting) end(waiting.index, await one(waiting.index, waiting.result));
      else if (booting > 0) await new Promise<void>(resolve => idle.push(resolve));
      else return;
    }
  };

  return {
    results: Promise.all(Array.from({ length: Math.min(jobs, specs.length) }, work)).then(() => results),
    stop(reason) {
      runner.stopped ??= reason;
      for (const handle of runner.running) handle.kill();
    },
  };
}
