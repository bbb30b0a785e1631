/**
 * A process that runs somebody else's hypervisor, watched from a thread of its own: when an op does not return, the process is
 * ended, with its reason as the last line on stderr.
 */
import { Worker } from 'node:worker_threads';
import type { Watch } from '../plugins/guard.ts';
import { createCells, createWatch } from './watch.ts';

export interface SelfWatchStart {
  file: string;
  cells: Int32Array;
}

export function watchMyself(file: string): Watch {
  const cells = createCells();
  const workerData: SelfWatchStart = { file, cells };
  const worker = new Worker(new URL('./self-watch-worker.js', import.meta.url), { workerData });
  worker.unref();
  return createWatch(cells, name => worker.postMessage(name));
}
