/**
 * Locks on disk images: two guests that write one image destroy it. The lock is flock(2)'s, on the open file itself: the kernel
 * knows an image by its inode, whatever its name, and drops the lock when the process ends, however it ends.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import process from 'node:process';

/** What an image is opened for. `share` promises that whoever writes knows of the others: it refuses and is refused by nobody who shares. */
export type DiskAccess = 'write' | 'read' | 'share';

/** The image is open elsewhere in a way that does not go together with this one. */
export class DiskInUseError extends Error {
  override name = 'DiskInUseError';

  constructor(path: string, holder: string) {
    super(
      `${path} is in use by ${holder}: "FILE,ro" in both shares it read-only, and "FILE,share" is for those who know better`,
    );
  }
}

/** Flags of open(2) that only BSDs and macOS have (sys/fcntl.h): the file is locked when it is opened. */
const BSD_O_NONBLOCK = 0x4;
const BSD_O_SHLOCK = 0x10;
const BSD_O_EXLOCK = 0x20;

/** A conflict is looked at again this often: a process that is just ending, or udev at a block device, holds a lock for a moment. */
const ATTEMPTS = 10;
const PAUSE = 50;

/** Exit status of the lockers below for a lock that somebody else holds. */
const HELD = 1;

/** Node has no flock(2). A lock belongs to the open file, not to the process, so a program that inherits the file can take it for us. */
const LOCKERS: readonly { program: string; words: (exclusive: boolean) => string[] }[] = [
  { program: 'flock', words: exclusive => ['-n', exclusive ? '-x' : '-s', '3'] },
  {
    program: 'perl',
    words: exclusive => [
      '-e',
      `open(my $f, "${exclusive ? '+' : ''}<&=3") or exit 2; exit(flock($f, ${exclusive ? 2 : 1} | 4) ? 0 : $!{EWOULDBLOCK} ? ${HELD} : 2)`,
    ],
  },
];

/**
 * Opens the image at `path` and locks it: alone for `write`, together with other readers for `read`. The lock ends with the
 * descriptor. @param unlockable hears why the host cannot lock this file, which is then open without a lock
 * @throws DiskInUseError; the host's own error (with `code`) if it cannot be opened
 */
export function openLocked(
  path: string,
  access: DiskAccess,
  readOnly: boolean,
  unlockable: (reason: string) => void,
): number {
  const flags = readOnly ? constants.O_RDONLY : constants.O_RDWR;
  const exclusive = access === 'write';
  for (let attempt = 1; ; attempt++) {
    const opened = lockedDescriptor(path, flags, exclusive, unlockable);
    if (opened !== 'held') return opened;
    if (access === 'share') return openSync(path, flags);
    const holder = holderOf(path);
    if (holder?.pid === process.pid || attempt === ATTEMPTS) throw new DiskInUseError(path, describe(holder));
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE);
  }
}

function lockedDescriptor(
  path: string,
  flags: number,
  exclusive: boolean,
  unlockable: (reason: string) => void,
): number | 'held' {
  if (process.platform === 'darwin') return openWithLock(path, flags, exclusive, unlockable);
  const descriptor = openSync(path, flags);
  try {
    const answer = lock(descriptor, exclusive);
    if (answer === 'held') {
      closeSync(descriptor);
      return answer;
    }
    if (answer !== undefined) unlockable(answer);
    return descriptor;
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** macOS: open(2) takes the lock. */
function openWithLock(
  path: string,
  flags: number,
  exclusive: boolean,
  unlockable: (reason: string) => void,
): number | 'held' {
  try {
    return openSync(path, flags | BSD_O_NONBLOCK | (exclusive ? BSD_O_EXLOCK : BSD_O_SHLOCK));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN') return 'held';
    if (code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw error;
    unlockable('its file system has no locks');
    return openSync(path, flags);
  }
}

/** @returns undefined where the lock has been taken, `held`, or why there is no lock here */
function lock(descriptor: number, exclusive: boolean): string | undefined {
  for (const { program, words } of LOCKERS) {
    const { status, error, stderr } = spawnSync(program, words(exclusive), {
      stdio: ['ignore', 'ignore', 'pipe', descriptor],
      encoding: 'utf8',
    });
    const code = (error as NodeJS.ErrnoException | undefined)?.code;
    if (code === 'ENOENT' || code === 'EACCES') continue;
    if (error) throw error;
    if (status === 0) return undefined;
    return status === HELD && !stderr.trim() ? 'held' : `${program} failed: ${stderr.trim() || `status ${status}`}`;
  }
  return 'neither flock (util-linux) nor perl is here to lock it with';
}

interface Holder {
  pid: number;
  command: string;
}

/** Who has the image locked, as far as we may know. */
function holderOf(path: string): Holder | undefined {
  try {
    return process.platform === 'linux' ? holderOnLinux(path) : holderByPrograms(path);
  } catch {
    return undefined;
  }
}

/** /proc/PID/fdinfo tells which of a process's files is locked (proc(5)). */
function holderOnLinux(path: string): Holder | undefined {
  const { dev, ino } = statSync(path, { bigint: true });
  const pids = readdirSync('/proc').filter(name => /^\d+$/.test(name));
  for (const pid of pids) {
    for (const file of listed(`/proc/${pid}/fd`)) {
      const stat = statOf(`/proc/${pid}/fd/${file}`);
      if (stat?.dev !== dev || stat.ino !== ino) continue;
      if (/^lock:.*FLOCK/m.test(contents(`/proc/${pid}/fdinfo/${file}`)))
        return { pid: Number(pid), command: contents(`/proc/${pid}/cmdline`).replaceAll('\0', ' ') };
    }
  }
  return undefined;
}

function holderByPrograms(path: string): Holder | undefined {
  const run = (program: string, words: string[]) => spawnSync(program, words, { encoding: 'utf8' }).stdout ?? '';
  const [pid] = run('lsof', ['-t', '--', path]).split('\n');
  return pid ? { pid: Number(pid), command: run('ps', ['-o', 'command=', '-p', pid]) } : undefined;
}

function describe(holder: Holder | undefined): string {
  if (!holder) return "another process, which is not ours to see (another user's, or in another container)";
  if (holder.pid === process.pid) return 'this process already: the same image is given twice';
  const command = holder.command.replaceAll(/\s+/g, ' ').trim();
  return `process ${holder.pid}${command ? ` (${command.length > 120 ? `${command.slice(0, 120)}…` : command})` : ''}`;
}

/** Processes come and go, and some are not ours to look at. */
function listed(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

function contents(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function statOf(path: string) {
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}
