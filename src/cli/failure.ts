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
const MEANINGS: Record<string, string> = {
  ENOENT: 'no such file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EISDIR: 'is a directory, not a file',
  ENOTDIR: 'a part of the path is not a directory',
  ENOSPC: 'the disk is full: free some space and try again',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many open files',
  EBUSY: 'in use by somebody else',
};

/** True for an error of the host's file system. */
export function isHostError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).code === 'string' && 'syscall' in error;
}

/** `work`, with the host's refusals turned into `what: why`. */
export function withFile<T>(what: string, exitStatus: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!isHostError(error)) throw error;
    throw new Failure(`${what}: ${MEANINGS[error.code!] ?? error.message}`, exitStatus);
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
