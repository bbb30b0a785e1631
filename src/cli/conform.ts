/**
 * `polyvisor conform`: the conformance suite on one hypervisor, of the list or from a file, each check a line. The checks run in a
 * thread: one that never ends has failed, and the next ones run in a new thread.
 */
import { Worker } from 'node:worker_threads';
import { type CheckResult, checkNames } from '../conformance/suite.ts';
import { jsonText, visibleLine } from '../matrix/escape.ts';
import { type Check, oneOf, optional, shape, text } from '../matrix/shape.ts';
import { reasonOf, shortened } from '../plugins/guard.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import { print } from './output.ts';
import { checkOutput, writeOutput } from './output-file.ts';
import { isSentError, received, type SentError } from './thread-messages.ts';
import { isFileName, parseHypervisor } from './values.ts';
import { createCells, watchOver } from './watch.ts';

/** A check did not pass. */
const CHECK_FAILED = 1;
const COLUMNS = { passed: 'ok  ', skipped: 'skip', failed: 'FAIL' } as const;

export interface ConformStart {
  cells: Int32Array;
  /** A name or a file. */
  hypervisor: string;
  checks: readonly string[];
}

export type FromConform =
  | { kind: 'loaded'; name: string; title: string }
  | { kind: 'operation'; name: string }
  | { kind: 'begin'; name: string }
  | { kind: 'checked'; result: CheckResult }
  | { kind: 'done' }
  | { kind: 'failed'; error: SentError };

/** @returns the exit status. @throws Failure for a hypervisor that there is not or a file that is none */
export async function conform(hypervisor: string, options: { json?: string }): Promise<number> {
  if (!isFileName(hypervisor)) parseHypervisor(hypervisor);
  const { json } = options;
  if (json) checkOutput(json);
  let named: { name: string; title: string } | undefined;
  const results: CheckResult[] = [];
  const hear: Hear = {
    loaded(name, title) {
      if (!named) print(`${visibleLine(name)}  ${visibleLine(title)}\n`);
      named ??= { name, title };
    },
    checked(result) {
      results.push(result);
      const reason = result.reason === undefined ? '' : `: ${visibleLine(shortened(result.reason))}`;
      print(`  ${COLUMNS[result.result]}  ${result.name}${reason}\n`);
    },
  };
  while (results.length < checkNames.length) await runChecks(hypervisor, checkNames.slice(results.length), hear);

  const count = (kind: CheckResult['result']) => results.filter(({ result }) => result === kind).length;
  const [passed, skipped, failed] = [count('passed'), count('skipped'), count('failed')];
  print(`${results.length} checks: ${passed} passed, ${skipped} skipped, ${failed} failed\n`);
  if (json) {
    const summary = { polyvisor: 1, hypervisor, ...named, passed, skipped, failed, checks: results };
    writeOutput(json, `${jsonText(summary, 2)}\n`);
  }
  return failed > 0 ? CHECK_FAILED : status.ok;
}

interface Hear {
  loaded(name: string, title: string): void;
  checked(result: CheckResult): void;
}

/** Runs `checks` in one thread, until all are done or one never ends. @throws Failure if the hypervisor cannot be loaded */
function runChecks(hypervisor: string, checks: readonly string[], hear: Hear): Promise<void> {
  const cells = createCells();
  const start: ConformStart = { cells, hypervisor, checks };
  const worker = new Worker(new URL('./conform-worker.js', import.meta.url), {
    workerData: start,
    stdout: true,
    stderr: true,
  });
  worker.stdout.pipe(process.stderr, { end: false });
  worker.stderr.pipe(process.stderr, { end: false });
  return new Promise((resolve, reject) => {
    const operations: string[] = [];
    let current: string | undefined;
    let over = false;
    const finish = (settle: () => void) => {
      if (over) return;
      over = true;
      stopWatching();
      void worker.terminate();
      settle();
    };
    /** The thread is lost: with it the check it was at, or, before the first one, the hypervisor. */
    const lose = (reason: string) =>
      finish(() => {
        if (current === undefined) return reject(new Failure(`${hypervisor}: ${reason}`, status.image));
        hear.checked({ name: current, result: 'failed', reason });
        resolve();
      });
    // A check may compute for a while: only an op that does not return is stuck.
    const stopWatching = watchOver(cells, true, (operation, seconds) =>
      lose(`${operation ? operations[operation - 1] : 'it'} has not returned for ${seconds} seconds`),
    );
    worker.on('message', (message: unknown) => {
      if (over) return;
      if (!isFromConform(message)) return lose('has sent a message that is none of ours');
      switch (message.kind) {
        case 'loaded':
          return hear.loaded(message.name, message.title);
        case 'operation':
          return void operations.push(message.name);
        case 'begin':
          current = message.name;
          return;
        case 'checked':
          current = undefined;
          return hear.checked(message.result);
        case 'done':
          return finish(resolve);
        case 'failed':
          return finish(() => reject(received(message.error)));
      }
    });
    worker.on('error', error => lose(reasonOf(error)));
    worker.on('exit', () => lose('has ended its thread'));
  });
}

const names = shape({ name: text });
const MESSAGES = new Map<unknown, Check>([
  ['loaded', shape({ name: text, title: text })],
  ['operation', names],
  ['begin', names],
  [
    'checked',
    shape({ result: shape({ name: text, result: oneOf(['passed', 'skipped', 'failed']), reason: optional(text) }) }),
  ],
  ['done', shape({})],
  ['failed', shape({ error: isSentError })],
]);

/** A file's hypervisor can send what it likes in our place. */
function isFromConform(value: unknown): value is FromConform {
  return shape({ kind: text })(value) && !!MESSAGES.get((value as FromConform).kind)?.(value);
}
