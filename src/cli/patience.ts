/**
 * Time limits that tell a process that hangs from one that starves: a host with more to do than processors makes everything in it late, and
 * that is no fault of a guest's.
 */
import { readFileSync } from 'node:fs';

/** Between two looks, in ms. */
const LOOK = 500;

/**
 * Calls `expired` when the process has had `seconds` of the wall's time, without those in which its first thread was ready to run and
 * others had the processors. @returns what ends the wait
 */
export function afterItsTime(
  pid: number | undefined,
  seconds: number,
  expired: () => void,
  waited: (pid: number) => number = waitedForProcessor,
): () => void {
  const lost = () => (pid === undefined ? 0 : waited(pid));
  const [started, before] = [performance.now(), lost()];
  const timer = setInterval(() => {
    if ((performance.now() - started) / 1000 - (lost() - before) < seconds) return;
    clearInterval(timer);
    expired();
  }, LOOK);
  return () => clearInterval(timer);
}

/** How long the first thread of a process has been ready to run and did not, in seconds; 0 where the host does not tell. */
export function waitedForProcessor(pid: number): number {
  try {
    // Linux, Documentation/scheduler/sched-stats.rst: nanoseconds on a processor, nanoseconds waiting for one, slices.
    const [, waiting] = readFileSync(`/proc/${pid}/schedstat`, 'latin1').split(' ');
    return Number(waiting) / 1e9 || 0;
  } catch {
    return 0;
  }
}
