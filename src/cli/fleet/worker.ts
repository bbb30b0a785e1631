/**
 * `polyvisor worker`: takes cells out of the queue, runs them in processes as `matrix` does, and puts the results into the store. One that
 * dies, hangs or loses its connection stops renewing its claims, and its cells go to others. One whose host gives it no room
 * gives its cell back and leaves: it would only spoil the next ones.
 */
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { visibleLine } from '../../matrix/escape.ts';
import type { CellResult } from '../../matrix/result.ts';
import { type CellProcesses, runCells, startCellProcesses } from '../cell-runner.ts';
import { status } from '../exit-status.ts';
import { Failure, hostLimit, isHostError, withFile } from '../failure.ts';
import { parseJobs } from '../matrix-settings.ts';
import { packageVersion } from '../version.ts';
import { type CellAnswer, isCellJob, specHere } from './cell-job.ts';
import {
  type BullWorker,
  cancelKey,
  connected,
  type Job,
  KEPT,
  loadBull,
  parseQueue,
  QUEUE,
  type Redis,
  type RunNote,
  runKey,
  triesKey,
} from './queue.ts';
import { openStore, type Store } from './store.ts';

export interface WorkerOptions {
  queue: string;
  store?: string;
  jobs?: string;
  lease: string;
}

/** How often a cell's worker may be lost before the cell is taken for the reason: the third time. */
const MOST_LOSSES = 2;
/** Between two messages about a cell, and two questions whether its run is cancelled, in ms. */
const NEWS_INTERVAL = 1000;
const OUR_TROUBLE: ReadonlySet<number> = new Set([status.output, status.noInput, status.unavailable]);
const RUNS = runKey('*');

/** @returns the exit status. @throws Failure */
export async function worker(options: WorkerOptions): Promise<number> {
  const { name, options: connection } = parseQueue(options.queue);
  if (options.store === undefined)
    throw new Failure('--store: name the folder, or the bucket (s3://…), that this machine shares with the others');
  const jobs = options.jobs === undefined ? availableParallelism() : parseJobs(options.jobs);
  const lease = Number(options.lease);
  if (!(lease >= 1 && lease <= 3600)) throw new Failure(`--lease ${options.lease}: seconds, from 1 to 3600`);
  const store = await openStore(options.store);
  const bull = await loadBull();

  const settings = { connection: { ...connection, maxRetriesPerRequest: null } };
  const queue = await connected(new bull.Queue(QUEUE, settings), name);
  queue.on('error', () => {});
  const client = await queue.client;
  await checkVersions(client, name);

  const processes = startCellProcesses(jobs);
  const folder = withFile(tmpdir(), status.output, () => mkdtempSync(join(tmpdir(), 'polyvisor-worker-')));
  const self = `${hostname()}:${process.pid}`;
  const site: Site = { self, folder, files: new Map(), store, processes, client };
  try {
    return await new Promise<number>((resolve, reject) => {
      const bullWorker = new bull.Worker(
        QUEUE,
        async job => {
          try {
            return await runJob(job, site, bull.UnrecoverableError);
          } catch (error) {
            if (!isOurTrouble(error)) throw error;
            // As if this worker had been lost: the cell goes to another one, and this one takes no more.
            reject(error);
            return new Promise<never>(() => {});
          }
        },
        {
          ...settings,
          concurrency: jobs,
          lockDuration: lease * 1000,
          stalledInterval: lease * 500,
          maxStalledCount: MOST_LOSSES,
        },
      );
      bullWorker.on('error', () => {}); // It connects again by itself.
      process.stderr.write(`polyvisor: worker ${self}: ${jobs} at a time, from ${name}\n`);
      leaveOnSignal(bullWorker, resolve);
    });
  } finally {
    processes.end();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Site {
  self: string;
  folder: string;
  /** What has been fetched into `folder`, or is being fetched, by its path. */
  files: Map<string, Promise<void>>;
  store: Store;
  processes: CellProcesses;
  client: Redis;
}

/** Something that is this machine's: room, memory, files that cannot be written, a store that it does not reach. */
function isOurTrouble(error: unknown): boolean {
  if (error instanceof Failure) return OUR_TROUBLE.has(error.status);
  return isHostError(error) || hostLimit(error) !== undefined;
}

/** @throws Failure if all that waits is another version's */
async function checkVersions(client: Redis, name: string): Promise<void> {
  const notes = await Promise.all((await client.keys(RUNS)).map(key => client.get(key)));
  const versions = new Set(notes.flatMap(note => (note === null ? [] : [(JSON.parse(note) as RunNote).version])));
  if (versions.size === 0 || versions.has(packageVersion())) return;
  const theirs = [...versions].map(visibleLine).join(', ');
  throw new Failure(
    `this is Polyvisor ${packageVersion()}, and what waits in the queue ${name} is for ${theirs}: a worker must be of the run's version`,
    status.unavailable,
  );
}

async function runJob(job: Job, site: Site, Unrecoverable: new (message: string) => Error): Promise<CellAnswer> {
  const { self, store, processes, client } = site;
  const { data } = job;
  if (!isCellJob(data)) throw new Unrecoverable('is no cell of this version');
  const tries = triesKey(job.id ?? '');
  await client.rpush(tries, self);
  await client.expire(tries, KEPT);
  await job.updateProgress({ worker: self });
  const spec = await specHere(data, (digest, name) => fileHere(digest, name, site, Unrecoverable));

  let progress: object | undefined;
  let told: object | undefined;
  const runner = runCells([spec], [undefined], [0], 1, processes, {
    started: () => {},
    progress: (_, news) => {
      progress = news;
    },
    ended: () => {},
  });
  const timer = setInterval(() => {
    if (progress !== told) void job.updateProgress({ worker: self, progress: (told = progress) }).catch(() => {});
    void client.get(cancelKey(data.run)).then(
      cancelled => cancelled !== null && runner.stop('its run is cancelled'),
      () => {},
    );
  }, NEWS_INTERVAL);
  try {
    const [result] = (await runner.results) as [CellResult];
    return { result: await store.put(Buffer.from(JSON.stringify(result))), worker: self };
  } finally {
    clearInterval(timer);
  }
}

/** The file of that digest in this worker's folder, fetched the first time. @throws Failure, Unrecoverable */
async function fileHere(
  digest: string,
  name: string,
  { folder, files, store }: Site,
  Unrecoverable: new (message: string) => Error,
): Promise<string> {
  // A hypervisor from a file is imported once a name and process: each has its own.
  const file = join(folder, digest, name.replaceAll(/[^\w.+-]/g, '_') || 'file');
  const fetched = async () => {
    const bytes = await store.get(digest);
    if (!bytes) throw new Unrecoverable(`the store has no ${digest}: is it the one that the others have?`);
    withFile(folder, status.output, () => {
      mkdirSync(join(folder, digest), { recursive: true });
      writeFileSync(`${file}.part`, bytes);
      renameSync(`${file}.part`, file);
    });
  };
  // Two cells at a time may need the same file.
  const known = files.get(file) ?? fetched();
  files.set(file, known);
  try {
    await known;
  } catch (error) {
    files.delete(file);
    throw error;
  }
  return file;
}

/** Once: no more cells are taken, and those that run are waited for. Twice: they go to others. */
function leaveOnSignal(bullWorker: BullWorker, leave: (exitStatus: number) => void): void {
  let asked = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      if (asked) return leave(status.interrupted);
      asked = true;
      process.stderr.write('polyvisor: takes no more cells; once more leaves those that run to others\n');
      void bullWorker.close().then(() => leave(status.ok));
    });
}
