/** What ends the command for a reason its user can mend: one line, and the exit status that goes with it. */
import { status } from './exit-status.ts';

export class Failure extends Error {
  override name = 'Failure';
  readonly status: number;

  constructor(message: string, exitStatus: number = status.usage) {
    super(message);
    this.status = exitStatus;
  }
}

/** What the host's error codes mean to somebody who named a file (errno(3)). */
const MEANINGS: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'no such file'],
  ['EACCES', 'permission denied'],
  ['EPERM', 'permission denied'],
  ['EISDIR', 'is a directory, not a file'],
  ['ENOTDIR', 'a part of the path is not a directory'],
  ['ENOSPC', 'the disk is full: free some space and try again'],
  ['EDQUOT', 'the disk quota is used up'],
  ['EROFS', 'the file system is read-only'],
  ['EBUSY', 'in use by somebody else'],
]);

/** Limits of the host that a process runs into, by Node.js' error codes (errno(3) and its own). */
const LIMITS: ReadonlyMap<string, string> = new Map([
  ['EMFILE', 'this process may not open more files: raise the limit with "ulimit -n"'],
  ['ENFILE', 'the host has too many files open'],
  ['ENOMEM', 'the host has no more memory for this process'],
  ['EAGAIN', 'the host starts no more processes or threads for this user'],
  ['ERR_WORKER_OUT_OF_MEMORY', 'a thread has used up its memory'],
  ['ERR_WORKER_INIT_FAILED', 'the host starts no more threads for this process'],
]);
/** What V8 says where the host has no memory, or no address space, for a guest's RAM or for code. */
const NO_MEMORY = /could not allocate memory|array buffer allocation failed|out of memory|cannot allocate wasm memory/i;

/** Which of the host's limits an error is about; undefined for others. */
export function hostLimit(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const known = LIMITS.get(String((error as NodeJS.ErrnoException).code));
  if (known !== undefined) return known;
  return NO_MEMORY.test(error.message)
    ? 'the host has no memory for this guest: give it less with --memory, or raise the limit with "ulimit -v unlimited"'
    : undefined;
}

/** True for an error of the host's file system. */
export function isHostError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string' && 'syscall' in error;
}

/** `work`, with the host's refusals turned into `what: why`. */
export function withFile<T>(what: string, exitStatus: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!isHostError(error) || hostLimit(error) !== undefined) throw error;
    // A file that is to be written need not be there; its folder must.
    const missing = error.code === 'ENOENT' && exitStatus === status.output;
    const meaning = missing ? 'the folder for it does not exist' : (MEANINGS.get(error.code!) ?? error.message);
    throw new Failure(`${what}: ${meaning}`, exitStatus);
  }
}

/** The same for work that takes its time. */
export async function withFileLater<T>(what: string, exitStatus: number, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    return withFile(what, exitStatus, () => {
      throw error;
    });
  }
}
