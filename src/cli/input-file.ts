/** Files that the command line names, read whole: a pipe until its end, and nothing without an end. */
import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { formatSize } from '../boot/image-error.ts';
import { visibleLine } from '../matrix/escape.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { isFifo } from './output-file.ts';

/** More than any image, report or trace that can be used here, in bytes. */
export const MOST_INPUT = 2 ** 30;
const PIECE = 2 ** 20;

/** @throws Failure where `path` cannot be read, or goes on for ever as a device does */
export function readInput(path: string): Buffer {
  return withFile(path, status.noInput, () => {
    if (isFifo(path)) process.stderr.write(`polyvisor: ${visibleLine(path)}: reading a FIFO until its end\n`);
    const file = openSync(path, 'r');
    try {
      const stat = fstatSync(file);
      if (stat.isFile() && stat.size <= MOST_INPUT) return readFileSync(file);
      const pieces: Buffer[] = [];
      for (let total = 0; ; ) {
        const piece = Buffer.allocUnsafe(PIECE);
        const count = readSync(file, piece);
        if (count === 0) return Buffer.concat(pieces);
        total += count;
        if (total > MOST_INPUT)
          throw new Failure(
            `${path}: more than ${formatSize(MOST_INPUT)}: no file that can be used here`,
            status.noInput,
          );
        pieces.push(piece.subarray(0, count));
      }
    } finally {
      closeSync(file);
    }
  });
}
