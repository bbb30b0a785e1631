/**
 * Cells of a matrix in the queue instead of in processes of ours. What is known is asked of the server, again and again: a message
 * that gets lost, a server that restarts or one that has forgotten everything delay a cell and lose none. The number of a cell within its
 * run is its job's name, so it can stand there only once, and its first result is the one that counts.
 */
import { isCellResult } from '../../matrix/check-report.ts';
import { visibleLine } from '../../matrix/escape.ts';
import { type CellResult, cellWithoutBoot } from '../../matrix/result.ts';
import type { CellProgress, CellSpec } from '../cell.ts';
import type { CellEvents, CellRunner } from '../cell-runner.ts';
import { status } from '../exit-status.ts';
import { Failure } from '../failure.ts';
import { digest } from '../matrix-plan.ts';
import { packageVersion } from '../version.ts';
import { type CellJob, isCellAnswer, isCellNews, jobsOf } from './cell-job.ts';
import {
  type Bull,
  cancelKey,
  connected,
  type Job,
  KEPT,
  loadBull,
  newRun,
  parseQueue,
  patiently,
  QUEUE,
  type Queue,
  type RunNote,
  runKey,
  triesKey,
} from './queue.ts';
import { openStore, type Store } from './store.ts';

export interface QueueOptions {
  /** The server's address. */
  queue: string;
  /** The folder or bucket that all machines see. */
  store: string;
  /** From 1, which goes first. */
  priority: number;
  /** A run that was begun earlier. */
  resume?: string | undefined;
}

/** Between two looks at the server, in ms. */
const INTERVAL = 500;
/** How long nobody need have taken a cell before that is said, in ms. */
const LONELY = 10_000;
/** How long after Ctrl-C another one cancels the run, in ms. */
const SECOND_THOUGHTS = 3000;
/** How often a result that the store has not kept is made again. */
const MOST_LOSSES = 3;

export interface QueueRunner extends CellRunner {
  /** Takes the cells out of the queue, and ends those that run. */
  cancel(): Promise<void>;
  /** How many workers have had a part. */
  readonly workers: number;
}

/**
 * @param order in which cells are started, as places in `specs`
 * @throws Failure
 */
export async function runCellsInQueue(
  specs: readonly CellSpec[],
  ready: readonly (CellResult | undefined)[],
  order: readonly number[],
  options: QueueOptions,
  events: CellEvents,
): Promise<QueueRunner> {
  const { name, options: connection } = parseQueue(options.queue);
  const store = await openStore(options.store);
  const bull = await loadBull();
  const queue = await openQueue(bull, connection, name);
  try {
    const client = await queue.client;
    const run = options.resume ?? newRun();
    const found = await client.get(runKey(run));
    const jobs = await jobsOf(run, specs, store);
    const plan = planOf(jobs);
    if (options.resume !== undefined) checkResumed(run, found, plan);
    const note: RunNote = { version: packageVersion(), plan };
    await client.set(runKey(run), JSON.stringify(note), 'EX', KEPT);
    const wanted = order.filter(index => !ready[index]);
    const dispatch = new Dispatch({ queue, name, store, run, jobs, options, events });
    for (const index of order) if (ready[index]) dispatch.end(index, ready[index]);
    await dispatch.add(wanted);
    process.stderr.write(`polyvisor: run ${run}: ${wanted.length} cells in the queue ${name}\n`);
    const results = dispatch.collect().finally(() => queue.close().catch(() => {}));
    return Object.assign(dispatch, { results });
  } catch (error) {
    await queue.close().catch(() => {});
    throw error;
  }
}

async function openQueue(bull: Bull, connection: object, name: string): Promise<Queue> {
  const queue = new bull.Queue(QUEUE, { connection: { ...connection, maxRetriesPerRequest: 1 } });
  await connected(queue, name);
  // Later ones are met where a request fails.
  queue.on('error', () => {});
  return queue;
}

/** A digest of what the cells are and do, wherever their files stand. */
function planOf(jobs: readonly CellJob[]): string {
  const places = { kernelFile: '', initrdFile: '', hypervisorFile: '' };
  return digest(JSON.stringify(jobs.map(({ spec, files }) => ({ ...spec, ...places, files }))));
}

function checkResumed(run: string, found: string | null, plan: string): void {
  if (found === null)
    throw new Failure(
      `--resume ${run}: the queue knows no such run: it has been collected or cancelled, or is a week old`,
    );
  const note = JSON.parse(found) as RunNote;
  if (note.version !== packageVersion())
    throw new Failure(`--resume ${run}: is a run of Polyvisor ${note.version}, and this is ${packageVersion()}`);
  if (note.plan !== plan) throw new Failure(`--resume ${run}: that run has other kernels, hypervisors or options`);
}

interface Setup {
  queue: Queue;
  name: string;
  store: Store;
  run: string;
  jobs: readonly CellJob[];
  options: QueueOptions;
  events: CellEvents;
}

class Dispatch {
  readonly #setup: Setup;
  readonly #results: (CellResult | undefined)[];
  readonly #pending = new Set<number>();
  readonly #started = new Set<number>();
  readonly #losses = new Map<number, number>();
  readonly #workers = new Set<string>();
  #over: Failure | undefined;
  #wake: () => void = () => {};

  constructor(setup: Setup) {
    this.#setup = setup;
    this.#results = setup.jobs.map(() => undefined);
  }

  get workers(): number {
    return this.#workers.size;
  }

  end(index: number, result: CellResult): void {
    this.#pending.delete(index);
    this.#results[index] = result;
    this.#setup.events.ended(index, result);
  }

  /** Puts cells into the queue; one that is there already stays as it is. */
  async add(indices: readonly number[]): Promise<void> {
    const { queue, name, jobs, options } = this.#setup;
    for (const index of indices) this.#pending.add(index);
    const entries = indices.map(index => ({
      name: 'cell',
      data: jobs[index]!,
      opts: {
        jobId: this.#id(index),
        priority: options.priority,
        removeOnComplete: { age: KEPT },
        removeOnFail: { age: KEPT },
      },
    }));
    await patiently(name, () => queue.addBulk(entries));
  }

  #id = (index: number) => `${this.#setup.run}-${index}`;

  /** @throws Failure where the run is left or cancelled */
  async collect(): Promise<CellResult[]> {
    const { queue, name, options } = this.#setup;
    const since = performance.now();
    for (let told = false; this.#pending.size > 0; ) {
      if (this.#over) throw this.#over;
      for (const index of [...this.#pending])
        await patiently(name, async () => this.#look(index, await queue.getJob(this.#id(index))));
      if (this.#pending.size === 0) break;
      if (!told && this.#workers.size === 0 && performance.now() - since > LONELY) {
        told = true;
        if ((await patiently(name, () => queue.getWorkersCount())) === 0)
          process.stderr.write(
            `polyvisor: no worker is at the queue: "polyvisor worker --queue ${name} --store ${options.store}" is one\n`,
          );
      }
      await new Promise<void>(resolve => {
        this.#wake = resolve;
        setTimeout(resolve, INTERVAL);
      });
    }
    await this.#forget().catch(() => {}); // The results are here: what stays there goes in a week.
    return this.#results as CellResult[];
  }

  async #look(index: number, job: Job | undefined): Promise<void> {
    const { events } = this.#setup;
    // The server has lost it.
    if (!job) return this.add([index]);
    if (isCellNews(job.progress)) {
      const { worker, progress } = job.progress;
      this.#workers.add(worker);
      if (!this.#started.has(index)) events.started(index);
      this.#started.add(index);
      if (progress) events.progress(index, progress as CellProgress);
    }
    if (job.finishedOn === undefined) return;
    const tries = await (await this.#setup.queue.client).lrange(triesKey(this.#id(index)), 0, -1);
    if (job.failedReason !== undefined) return this.end(index, this.#failed(index, job.failedReason, tries));
    const result = await this.#resultOf(index, job.returnvalue);
    if (result) return this.end(index, { ...result, workers: tries.length > 0 ? tries : [worker(job)] });
    const losses = (this.#losses.get(index) ?? 0) + 1;
    this.#losses.set(index, losses);
    if (losses >= MOST_LOSSES)
      return this.end(index, this.#failed(index, `the store has lost its result ${losses} times`, tries));
    await job.remove();
    await this.add([index]);
  }

  async #resultOf(index: number, answer: unknown): Promise<CellResult | undefined> {
    const { store, jobs } = this.#setup;
    const bytes = isCellAnswer(answer) ? await store.get(answer.result) : undefined;
    if (!bytes) return undefined;
    const result: unknown = JSON.parse(bytes.toString('utf8'));
    const { kernel, hypervisor } = jobs[index]!.spec;
    return isCellResult(result) && result.kernel === kernel && result.hypervisor === hypervisor ? result : undefined;
  }

  /** A cell without a result. BullMQ says "stalled" of a job whose worker has not been heard of. */
  #failed(index: number, why: string, tries: readonly string[]): CellResult {
    const { kernel, hypervisor } = this.#setup.jobs[index]!.spec;
    const stalled = /stalled/.test(why);
    const reason = stalled
      ? `given up: the workers that ran it were lost, one after the other: ${tries.join(', ')}`
      : `no worker could run it: ${visibleLine(why)}`;
    return { ...cellWithoutBoot(kernel, hypervisor, 'died', reason), workers: [...tries] };
  }

  /** Ctrl-C: the cells go on, unless another one says otherwise. */
  stop(reason: string): void {
    if (this.#over) return;
    const { run } = this.#setup;
    process.stderr.write(`polyvisor: Ctrl-C once more within ${SECOND_THOUGHTS / 1000} seconds cancels the run\n`);
    setTimeout(() => {
      this.#end(`${reason}: the cells go on; the same command with --resume ${run} collects them`);
    }, SECOND_THOUGHTS);
  }

  async cancel(): Promise<void> {
    const { queue, run } = this.#setup;
    await (await queue.client).set(cancelKey(run), '1', 'EX', KEPT);
    await this.#forget();
    this.#end(`run ${run} is cancelled`);
  }

  #end(message: string): void {
    this.#over ??= new Failure(message, status.interrupted);
    this.#wake();
  }

  /** Takes the run out of the server. What a worker is at cannot be removed: it goes when it has ended. */
  async #forget(): Promise<void> {
    const { queue, run, jobs } = this.#setup;
    const client = await queue.client;
    for (const index of jobs.keys()) {
      const id = this.#id(index);
      await queue
        .getJob(id)
        .then(job => job?.remove())
        .catch(() => {});
      await client.del(triesKey(id));
    }
    await client.del(runKey(run));
  }
}

const worker = ({ returnvalue }: Job) => (isCellAnswer(returnvalue) ? returnvalue.worker : '');
