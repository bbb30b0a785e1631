/**
 * Files that the command line names for what we write. Whether one can be written is known before the work is done; a FIFO
 * is opened then, and who waits for its reader says so.
 */
import { closeSync, constants, lstatSync, openSync, writeFileSync } from 'node:fs';
import { visibleLine } from '../matrix/escape.ts';
import { status } from './exit-status.ts';
import { withFile } from './failure.ts';

/** FIFOs that were opened when they were checked: opened once more, they would end for their reader in between. */
const open = new Map<string, number>();

/** @throws Failure if `path` cannot be written */
export function checkOutput(path: string): void {
  const file = openOutput(path, 'a');
  if (isFifo(path)) open.set(path, file);
  else closeSync(file);
}

/** Writes all of a file that was checked. @throws Failure */
export function writeOutput(path: string, text: string): void {
  const file = open.get(path);
  withFile(path, status.output, () => writeFileSync(file ?? path, text));
  if (file !== undefined) closeSync(file);
  open.delete(path);
}

/** A descriptor for what is written piece by piece. @param what it is called where it cannot be had. @throws Failure */
export function openOutput(path: string, flags: 'w' | 'a' = 'w', what = path): number {
  return withFile(what, status.output, () => {
    const already = isFifo(path) ? openForReader(path) : undefined;
    const file = openSync(path, flags);
    if (already !== undefined) closeSync(already);
    return file;
  });
}

export function isFifo(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isFIFO() ?? false;
}

/**
 * fifo(7): without O_NONBLOCK, open(2) waits for the other end; with it, that there is none is an error, which is told. Where there is
 * a reader the descriptor is kept until there is another one: it would find the end in between.
 */
function openForReader(path: string): number | undefined {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error;
    process.stderr.write(`polyvisor: ${visibleLine(path)}: a FIFO that nobody reads: waiting for a reader\n`);
    return undefined;
  }
}
