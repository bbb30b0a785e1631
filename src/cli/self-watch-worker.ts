/** The thread of self-watch.ts. */
import { writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import type { SelfWatchStart } from './self-watch.ts';
import { watchOver } from './watch.ts';

const { file, cells } = workerData as SelfWatchStart;
const names: string[] = [];
parentPort!.on('message', (name: string) => void names.push(name));
watchOver(cells, true, (operation, seconds) => {
  const where = operation ? names[operation - 1] : 'outside of its ops';
  writeSync(2, `polyvisor: ${file}: ${where}: has not returned for ${seconds} seconds\n`);
  process.kill(process.pid, 'SIGKILL');
});
