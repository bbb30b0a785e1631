/**
 * The watch over a thread that runs somebody else's code: the thread notes which op it is answering and beats a pulse; the main
 * thread looks on. Looks are counted, not time: a process that was stopped for a minute has looked once.
 */
import type { Watch } from '../plugins/guard.ts';

/** Between two looks, and two beats, in milliseconds. */
const LOOK = 250;
const BEAT = 100;
/** Looks without any sign of life after which an op has not returned (5 s), or the thread is stuck elsewhere (60 s). */
const PATIENCE = 20;
const LONG_PATIENCE = 240;

/** Looks without any sign of life after which a thread that was told to stop is not going to (3 s), and looks in all (10 s). */
const STOP_PATIENCE = 12;
const LONG_STOP_PATIENCE = 40;

/** Cells of the shared memory: the op being answered (0: none), a count of ops begun and ended, the pulse. */
const CURRENT = 0;
const COUNT = 1;
const PULSE = 2;
const CELLS = 3;

export const createCells = () => new Int32Array(new SharedArrayBuffer(4 * CELLS));

/** The thread's half. `announce` tells the main thread what an op's number means. */
export function createWatch(cells: Int32Array, announce: (name: string) => void): Watch {
  const numbers = new Map<string, number>();
  const outer: number[] = [];
  setInterval(() => cells[PULSE]++, BEAT).unref();
  return {
    enter(operation) {
      let number = numbers.get(operation);
      if (number === undefined) {
        numbers.set(operation, (number = numbers.size + 1));
        announce(operation);
      }
      outer.push(cells[CURRENT]);
      cells[CURRENT] = number;
      cells[COUNT]++;
    },
    leave() {
      cells[CURRENT] = outer.pop() ?? 0;
      cells[COUNT]++;
    },
  };
}

/**
 * The main thread's half: calls `stuck` once with the number of the op that did not return, or 0. `pulse` false: the thread
 * may be busy with itself. @returns what ends the watch
 */
export function watchOver(cells: Int32Array, pulse: boolean, stuck: (operation: number, seconds: number) => void) {
  let last = '';
  let looks = 0;
  const timer = setInterval(() => {
    const now = cells.join();
    if (now !== last) looks = 0;
    last = now;
    looks++;
    const patience = cells[CURRENT] ? PATIENCE : pulse ? LONG_PATIENCE : Number.POSITIVE_INFINITY;
    if (looks <= patience) return;
    clearInterval(timer);
    stuck(cells[CURRENT], (patience * LOOK) / 1000);
  }, LOOK);
  timer.unref();
  return () => clearInterval(timer);
}

/**
 * The main thread's half once it has told the thread to stop: calls `stuck` if that shows no sign of life, or does but goes on. @returns what
 * ends the watch
 */
export function watchStop(cells: Int32Array, stuck: () => void) {
  let last = '';
  let [still, looks] = [0, 0];
  const timer = setInterval(() => {
    const now = cells.join();
    still = now === last ? still + 1 : 0;
    last = now;
    if (still < STOP_PATIENCE && ++looks < LONG_STOP_PATIENCE) return;
    clearInterval(timer);
    stuck();
  }, LOOK);
  timer.unref();
  return () => clearInterval(timer);
}
