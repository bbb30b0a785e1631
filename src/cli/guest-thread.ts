/**
 * Starts the thread in which a machine will run. Its program takes a while to load, so the command starts it first of all, and
 * loads its own code and the guest's files meanwhile.
 */
import { Worker } from 'node:worker_threads';
import type { ThreadStart } from './thread-messages.ts';
import { createCells } from './watch.ts';

/** What the thread's own heap may grow to, in MiB: guests' memory is not part of it. */
const HEAP = 1024;

export interface GuestThread {
  worker: Worker;
  /** What the thread is doing, for whoever watches over it (watch.ts). */
  cells: Int32Array;
}

export function startGuestThread(): GuestThread {
  const cells = createCells();
  const workerData: ThreadStart = { cells };
  const worker = new Worker(new URL('./thread-worker.js', import.meta.url), {
    workerData,
    resourceLimits: { maxOldGenerationSizeMb: HEAP },
    // What a module prints is for its author: the guest's output stays clean.
    stdout: true,
    stderr: true,
  });
  worker.stdout.pipe(process.stderr, { end: false });
  worker.stderr.pipe(process.stderr, { end: false });
  return { worker, cells };
}
