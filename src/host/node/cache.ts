/**
 * The folder where what was fetched or built is kept: $POLYVISOR_CACHE, else $XDG_CACHE_HOME/polyvisor, else
 * ~/.cache/polyvisor. What is in it is whole: everything is made in a work folder inside it, written to the disk and renamed into
 * place, and the work folder goes away however the work ends, also by Ctrl-C. The folder holds code that will run, so it is used
 * only where nobody else can have written to it.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { ImageError } from '../../boot/image-error.ts';

/** Absolute path of the cache; it need not exist yet. */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  if (environment.POLYVISOR_CACHE) return environment.POLYVISOR_CACHE;
  return join(environment.XDG_CACHE_HOME || join(homedir(), '.cache'), 'polyvisor');
}

/** Bits of a mode (stat(2)): for everybody else, for group and everybody else, and "only owners remove files here". */
const OTHERS_WRITE = 0o002;
const GROUP_OR_OTHERS_WRITE = 0o022;
const STICKY = 0o1000;
const OWNER_ALONE = 0o700;

/**
 * Why `cache` must not be used: somebody else can put files into it, or could. Undefined where it may be used. A folder of ours
 * that others may only read becomes ours alone.
 */
export function distrust(cache: string): string | undefined {
  const user = process.getuid?.();
  if (user === undefined || !existsSync(cache)) return undefined;
  const above = new Set([...foldersAbove(resolve(cache)), ...foldersAbove(realpathSync(cache))]);
  for (const folder of above) {
    const { mode } = statSync(folder);
    if (mode & OTHERS_WRITE && !(mode & STICKY)) return `everybody may rename what is in ${folder}, above it`;
  }
  const { uid, mode } = statSync(cache);
  if (uid !== user) return `it belongs to the user with number ${uid}, and this process runs as ${user}`;
  if (mode & GROUP_OR_OTHERS_WRITE && readdirSync(cache).length > 0)
    return 'others may write to it: remove it, or make it yours alone with "chmod 700" if you know what is in it';
  if ((mode & 0o777) !== OWNER_ALONE) chmodSync(cache, OWNER_ALONE);
  return undefined;
}

function foldersAbove(path: string): string[] {
  const parent = dirname(path);
  return parent === path ? [] : [parent, ...foldersAbove(parent)];
}

const WORK_PREFIX = '.work-';

/**
 * Calls `work` with a new folder inside `cache` and removes the folder afterwards. A signal that ends the process removes
 * it too; `onInterrupt` is called before that.
 */
export async function withWorkFolder<T>(
  cache: string,
  work: (folder: string, onInterrupt: (stop: () => void) => void) => Promise<T>,
): Promise<T> {
  const folder = makeWorkFolder(cache);
  const stops: (() => void)[] = [];
  const remove = () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  const interrupted = (signal: NodeJS.Signals) => {
    for (const stop of stops) stop();
    remove();
    // Ours was the last word on the signal only until here: die of it like any program.
    for (const name of SIGNALS) process.removeListener(name, interrupted);
    process.kill(process.pid, signal);
  };
  for (const name of SIGNALS) process.on(name, interrupted);
  try {
    return await work(folder, stop => stops.push(stop));
  } catch (error) {
    throw explain(error, cache);
  } finally {
    for (const name of SIGNALS) process.removeListener(name, interrupted);
    remove();
  }
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Moves a finished file or folder into the cache. When somebody else was quicker, theirs stays: what has the same name has
 * the same contents.
 */
export function publish(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true, mode: OWNER_ALONE });
  synchronise(from);
  try {
    renameSync(from, to);
  } catch (error) {
    if (!existsSync(to)) throw error;
    rmSync(from, { recursive: true, force: true });
  }
  synchronise(dirname(to), false);
}

/** Writes a file, or a folder with all that is in it, to the disk: a name must not outlive a power failure that its contents do not. */
function synchronise(path: string, contents = true): void {
  const folder = statSync(path).isDirectory();
  if (folder && contents) for (const name of readdirSync(path)) synchronise(join(path, name));
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } catch (error) {
    // Not every file system can do that for a folder.
    if (!folder) throw error;
  } finally {
    closeSync(descriptor);
  }
}

/** Work folders of processes that were killed outright. */
function removeAbandoned(cache: string): void {
  for (const name of readdirSync(cache)) {
    const pid = new RegExp(`^\\${WORK_PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid && !isAlive(Number(pid))) rmSync(join(cache, basename(name)), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function makeWorkFolder(cache: string): string {
  const reason = distrust(cache);
  if (reason !== undefined)
    throw new ImageError(`the cache ${cache} is not used: ${reason}; or name another folder with POLYVISOR_CACHE`);
  try {
    mkdirSync(cache, { recursive: true, mode: OWNER_ALONE });
    removeAbandoned(cache);
    return mkdtempSync(join(cache, `${WORK_PREFIX}${process.pid}-`));
  } catch (error) {
    // On a read-only file system, mkdir with `recursive` finds that nothing is there instead.
    const code = (error as NodeJS.ErrnoException).code;
    throw explain(code === 'ENOENT' ? { code: 'EROFS' } : error, cache);
  }
}

/** What a failed write means to the person at the keyboard. */
function explain(error: unknown, cache: string): unknown {
  switch ((error as NodeJS.ErrnoException | undefined)?.code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new ImageError(
        `the disk is full: no room in ${cache}; make room, or name another folder with POLYVISOR_CACHE`,
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
    case 'ENOTDIR':
    case 'EEXIST':
      return new ImageError(
        `cannot write to ${cache}; make it a folder of yours, or name another with POLYVISOR_CACHE`,
      );
    default:
      return error;
  }
}
