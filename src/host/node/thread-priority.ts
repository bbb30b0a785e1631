/** Which of the process's threads go first when there are fewer processors than threads. */
import { readdirSync, readlinkSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';
import { basename } from 'node:path';
import process from 'node:process';

/** How much nicer than the guest's thread the others are: they get a third of its share of a processor. */
const NICER = 5;

/**
 * Puts this thread, which is to run a guest, before those that optimise, translate and collect garbage for it: left alone,
 * they take its processor for a whole slice of the scheduler (20 ms) again and again, and a guest that measures time notices.
 * For a process that does nothing else. Only Linux has a priority for each thread.
 */
export function preferThisThread(): void {
  if (process.platform !== 'linux') return;
  try {
    const own = basename(readlinkSync('/proc/thread-self'));
    const nicer = Math.min(getPriority(Number(own)) + NICER, constants.priority.PRIORITY_LOW);
    for (const thread of readdirSync('/proc/self/task')) {
      if (thread === own || thread === String(process.pid)) continue;
      setPriority(Number(thread), nicer);
    }
  } catch {
    // No /proc, or a thread has ended meanwhile: it works without.
  }
}
