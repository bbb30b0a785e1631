/** The default guest, with its making shown on the terminal. */
import { ImageError } from '../boot/image-error.ts';
import { ensureGuest, type Guest, type GuestOptions } from '../host/node/guest.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import { showProgress } from './progress.ts';

/** @throws Failure when it cannot be had, with what to do instead. */
export async function fetchGuest(options: Omit<GuestOptions, 'progress'> = {}): Promise<Guest> {
  const progress = showProgress();
  try {
    return await ensureGuest({ ...options, progress: progress.report });
  } catch (error) {
    throw error instanceof ImageError ? new Failure(error.message, status.unavailable) : error;
  } finally {
    progress.done();
  }
}
