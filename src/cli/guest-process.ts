/**
 * A process that makes the default guest, or a root, for its parent and ends. Unpacking a kernel's package takes half a gigabyte for a moment;
 * in the process that goes on to run the guest, much of it would stay.
 */
import { ImageError } from '../boot/image-error.ts';
import { type DebianRoot, type DebianRootOptions, ensureDebianRoot } from '../host/node/debian-root.ts';
import { ensureGuest, type Guest, type GuestOptions, type GuestProgress } from '../host/node/guest.ts';
import { installBy } from './install-root.ts';

export type GuestOrder = Omit<GuestOptions, 'progress'>;
/** @see installBy for the program */
export type RootOrder = Omit<DebianRootOptions, 'progress'> & { program: readonly string[] };

/** An error as it crosses: what it says, what the host calls it, and whether it is about an image. */
export interface GuestFailure {
  message: string;
  stack?: string | undefined;
  code?: unknown;
  syscall?: unknown;
  image: boolean;
}

export type GuestMessage<T = Guest | DebianRoot> =
  | { progress: GuestProgress }
  | { made: T }
  | { failure: GuestFailure };

const send = (message: GuestMessage) =>
  new Promise<void>(resolve => {
    if (process.connected) process.send!(message, undefined, {}, () => resolve());
    else resolve();
  });

let answered = false;
process.on('disconnect', () => {
  if (answered) process.exit();
  // Nobody is left who wants it. The signal takes what is half made along.
  process.kill(process.pid, 'SIGTERM');
});

const progress = (progress: GuestProgress) => void send({ progress });

process.once('message', async (order: GuestOrder | RootOrder) => {
  try {
    const made =
      'program' in order
        ? await ensureDebianRoot({ ...order, progress }, installBy(order.program))
        : await ensureGuest({ ...order, progress });
    answered = true;
    await send({ made });
  } catch (error) {
    const { code, syscall } = (error ?? {}) as NodeJS.ErrnoException;
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    answered = true;
    await send({ failure: { message, stack, code, syscall, image: error instanceof ImageError } });
  }
});
