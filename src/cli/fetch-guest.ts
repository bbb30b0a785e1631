/** The default guest, and roots of Debian's packages, with their making shown on the terminal. */
import { fork } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { cachedDebianRoot, type DebianRoot } from '../host/node/debian-root.ts';
import { cachedGuest, type Guest } from '../host/node/guest.ts';
import { status } from './exit-status.ts';
import { Failure } from './failure.ts';
import type { GuestFailure, GuestMessage, GuestOrder, RootOrder } from './guest-process.ts';
import { showProgress } from './progress.ts';

const PROGRAM = fileURLToPath(new URL('./guest-process.js', import.meta.url));
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
/** How long (ms) a process that was told to end may clean up. */
const GRACE = 5000;

/** @throws Failure when it cannot be had, with what to do instead. */
export async function fetchGuest(order: GuestOrder = {}): Promise<Guest> {
  const present = order.refresh ? undefined : cachedGuest(order);
  return present ?? (await makeShown<Guest>(order, 'the default guest'));
}

/** @throws Failure when it cannot be had, with what to do instead. */
export async function fetchRoot(order: Omit<RootOrder, 'program'>): Promise<DebianRoot> {
  const present = order.refresh ? undefined : cachedDebianRoot(order);
  if (present) return present;
  const program = [process.execPath, ...process.execArgv, process.argv[1]!];
  return makeShown<DebianRoot>({ ...order, program }, 'the Debian root');
}

async function makeShown<T>(order: GuestOrder | RootOrder, what: string): Promise<T> {
  const progress = showProgress();
  try {
    return await make<T>(order, what, progress.report);
  } finally {
    progress.done();
  }
}

/** In a process of its own, which signals that end ours end first, so that nothing half made stays. */
function make<T>(
  order: GuestOrder | RootOrder,
  what: string,
  report: ReturnType<typeof showProgress>['report'],
): Promise<T> {
  const child = fork(PROGRAM, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  let signalled: NodeJS.Signals | undefined;
  const onSignal = (signal: NodeJS.Signals) => {
    signalled ??= signal;
    child.kill(signal);
    setTimeout(() => child.kill('SIGKILL'), GRACE).unref();
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  const failed = (signal: NodeJS.Signals | null, code: number | null) => {
    const ended = signalled ?? SIGNALS.find(name => name === signal);
    if (ended) return new Failure(`ended by ${ended} while ${what} was being made`, 128 + constants.signals[ended]);
    const how = signal ? `by ${signal}` : `with status ${code}`;
    return new Failure(`the process that makes ${what} was ended ${how}`, status.unavailable);
  };
  return new Promise<T>((resolve, reject) => {
    child.on('message', (message: GuestMessage<T>) => {
      if ('progress' in message) return report(message.progress);
      if ('made' in message) resolve(message.made);
      else reject(errorOf(message.failure));
      child.disconnect();
    });
    child.on('error', reject);
    child.on('exit', (code, signal) => {
      for (const name of SIGNALS) process.off(name, onSignal);
      // Where it has answered, that counts: the answer may still be on its way.
      if (!child.connected) reject(failed(signal, code));
      else child.on('disconnect', () => reject(failed(signal, code)));
    });
    child.send(order, error => void (error && child.kill()));
  });
}

function errorOf({ message, image, ...rest }: GuestFailure): Error {
  return image ? new Failure(message, status.unavailable) : Object.assign(new Error(message), rest);
}
