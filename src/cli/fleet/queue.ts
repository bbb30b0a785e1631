/**
 * The queue between `matrix --queue` and its workers: BullMQ on a Redis server. BullMQ is an optional peer of this package: who wants
 * a fleet installs it beside. These are the parts of its interface that are used (docs.bullmq.io).
 */
import { createHash } from 'node:crypto';
import { visibleLine } from '../../matrix/escape.ts';
import { status } from '../exit-status.ts';
import { Failure } from '../failure.ts';
import { packageVersion } from '../version.ts';
import { loadPeer } from './peer.ts';

export interface Job {
  readonly id?: string | undefined;
  readonly data: unknown;
  readonly progress: unknown;
  readonly returnvalue: unknown;
  readonly failedReason?: string | undefined;
  /** When it has ended, well or not. */
  readonly finishedOn?: number | undefined;
  /** When a worker has last taken it. */
  readonly processedOn?: number | undefined;
  updateProgress(progress: object): Promise<void>;
  remove(): Promise<void>;
}

/** What of Redis itself is used (ioredis). */
export interface Redis {
  get(key: string): Promise<string | null>;
  set(key: string, value: string, expire: 'EX', seconds: number): Promise<unknown>;
  del(...keys: string[]): Promise<unknown>;
  keys(pattern: string): Promise<string[]>;
  rpush(key: string, value: string): Promise<unknown>;
  lrange(key: string, from: number, to: number): Promise<string[]>;
  expire(key: string, seconds: number): Promise<unknown>;
}

interface Connected {
  on(event: 'error', listener: (error: Error) => void): unknown;
  waitUntilReady(): Promise<unknown>;
  close(force?: boolean): Promise<void>;
}

export interface Queue extends Connected {
  readonly client: Promise<Redis>;
  addBulk(jobs: readonly { name: string; data: object; opts: object }[]): Promise<unknown>;
  getJob(id: string): Promise<Job | undefined>;
  getWorkersCount(): Promise<number>;
}

export interface BullWorker extends Connected {
  run(): Promise<void>;
}

export interface Bull {
  Queue: new (name: string, options: object) => Queue;
  Worker: new (name: string, work: (job: Job) => Promise<unknown>, options: object) => BullWorker;
  UnrecoverableError: new (message: string) => Error;
}

/** How long a server may take to answer at first, in ms. */
const PATIENCE = 10_000;
/** What is kept of a run, in seconds. */
export const KEPT = 7 * 24 * 3600;

/** Workers of another version than the run's would judge otherwise: each version has a queue of its own. */
export const QUEUE = `polyvisor-${packageVersion()}`;
export const runKey = (run: string) => `polyvisor:run:${run}`;
export const cancelKey = (run: string) => `polyvisor:cancelled:${run}`;
/** Which workers have begun the cell, in order. */
export const triesKey = (job: string) => `polyvisor:tries:${job}`;

/** What is known of a run by whoever sees the server. */
export interface RunNote {
  version: string;
  /** Digest of what its cells are and do. */
  plan: string;
}

/** `redis://[user:password@]host[:port][/database]`, or `rediss:` with TLS. @throws Failure */
export function parseQueue(text: string): { options: Record<string, unknown>; name: string } {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['redis:', 'rediss:'].includes(url.protocol) || url.hostname === '' || !/^\/?\d*$/.test(url.pathname))
    throw new Failure(`--queue ${withoutPassword(text)}: a Redis server's address, such as redis://localhost:6379`);
  const { protocol, hostname, port, username, password, pathname } = url;
  return {
    name: `${protocol}//${url.host}`,
    options: {
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port || 6379),
      ...(username && { username: decodeURIComponent(username) }),
      ...(password && { password: decodeURIComponent(password) }),
      ...(pathname.length > 1 && { db: Number(pathname.slice(1)) }),
      ...(protocol === 'rediss:' && { tls: {} }),
      retryStrategy: (times: number) => Math.min(2000, 100 * times),
    },
  };
}

const withoutPassword = (text: string) => text.replace(/:[^:@/]*@/, ':…@');

/** @throws Failure where it is not installed */
export const loadBull = async (): Promise<Bull> => (await loadPeer('--queue', 'bullmq', 5)) as Bull;

/** The server has answered, or the reason is said. @throws Failure */
export async function connected<T extends Connected>(connection: T, name: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  try {
    await Promise.race([
      connection.waitUntilReady(),
      new Promise((_, reject) => connection.on('error', reject)),
      new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`no answer within ${PATIENCE / 1000} seconds`)), PATIENCE);
      }),
    ]);
    return connection;
  } catch (error) {
    void connection.close(true).catch(() => {});
    const { message, code } = error as NodeJS.ErrnoException;
    throw new Failure(`--queue ${name}: ${visibleLine(message || String(code))}`, status.unavailable);
  } finally {
    clearTimeout(timer);
  }
}

/** Repeats `work` until the server answers again; says once that it does not. */
export async function patiently<T>(name: string, work: () => Promise<T>): Promise<T> {
  for (let told = false; ; ) {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Failure) throw error;
      if (!told)
        process.stderr.write(`polyvisor: --queue ${name}: ${visibleLine((error as Error).message)}: trying again\n`);
      told = true;
      await new Promise(resolve => setTimeout(resolve, 1000));
    }
  }
}

export const newRun = (): string =>
  createHash('sha256')
    .update(`${process.pid} ${performance.timeOrigin} ${performance.now()}`)
    .digest('hex')
    .slice(0, 10);
