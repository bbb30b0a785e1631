/** What a command prints. Synchronously, so that a full disk or a closed pipe is known before the exit status is. */
import { writeSync } from 'node:fs';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';

const STANDARD_OUTPUT = 1;
/** Between two attempts at a pipe that is full, in milliseconds. */
const PAUSE = 5;

/** Writes all of `text` to standard output. @throws Failure: it cannot be written, or nobody reads it any more */
export function print(text: string): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) {
    const count = withFile('standard output', status.output, () => writeSome(bytes, done));
    if (count === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE);
    done += count;
  }
}

function writeSome(bytes: Uint8Array, from: number): number {
  try {
    return writeSync(STANDARD_OUTPUT, bytes, from);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Whoever shares the pipe has made it non-blocking, and has not read yet.
    if (code === 'EAGAIN') return 0;
    // As a program that the signal ends: nobody is left to tell.
    if (code === 'EPIPE') throw new Failure('', status.brokenPipe);
    throw error;
  }
}
