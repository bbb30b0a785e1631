/** What a shared folder (folder.ts) is made of: its objects and open files, and how the host's errors become a guest's. */
import {
  type BigIntStats,
  chmodSync,
  closeSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  readSync,
  writeSync,
} from 'node:fs';
import {
  type ByteString,
  type DirectoryEntry,
  ERRNO,
  type ErrnoName,
  FileError,
  type Inode,
  type OpenFile,
  PERMISSIONS,
  S_IFMT,
} from '../file-system.ts';

/** An open file that can only be named, whatever it is (open(2)). Node.js does not know it. */
export const O_PATH = 0o10000000;

/** f_type of file systems without files of anybody's (statfs(2)): what is read there may wait for ever, or do something. */
export const MADE_UP = new Set([
  ...[0x9fa0, 0x62656572, 0x27e0eb, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0xcafe4a11, 0x6165676c],
  ...[0x0187, 0x62656570, 0x42494e4d, 0xde5e81e4, 0x19800202, 0x1cd1, 0x6c6f6f70, 0x65735543],
]);

export class FolderInode implements Inode {
  readonly id: bigint;
  readonly type: number;
  readonly device: bigint;
  /** By which it is found again. */
  readonly identity: string;
  /** For the metadata. */
  readonly key: string;
  /** Nothing below it is shown. */
  readonly isMadeUp: boolean;
  references = 0;
  /** Where it was found last. The parent is retained. */
  parent: FolderInode | undefined;
  name: ByteString = '';
  /** An O_PATH descriptor, from when its name went away. */
  held: number | undefined;
  /** Of a link whose name went away. */
  target: ByteString | undefined;
  /** Its last name has gone: so does its metadata, when nobody needs it any more. */
  isGone = false;

  constructor(id: bigint, type: number, stat: BigIntStats, isMadeUp: boolean) {
    this.id = id;
    this.type = type;
    this.device = stat.dev;
    this.identity = identityOf(stat);
    this.key = keyOf(stat);
    this.isMadeUp = isMadeUp;
  }
}

/** By which the metadata knows a file. */
export const keyOf = ({ ino, birthtimeNs }: BigIntStats) => `${ino.toString(36)}.${birthtimeNs.toString(36)}`;

/** What no two files of the host have, not even one after the other: a number may come again at once, a birth does not. */
export const identityOf = (stat: BigIntStats) => `${stat.dev}:${keyOf(stat)}:${Number(stat.mode) & S_IFMT}`;

/** A name in a directory. What it names is looked at when somebody asks. */
export class FolderEntry implements DirectoryEntry {
  readonly name: ByteString;
  readonly #identify: () => { type: number; id: bigint };
  #known: { type: number; id: bigint } | undefined;

  constructor(name: ByteString, identify: () => { type: number; id: bigint }) {
    this.name = name;
    this.#identify = identify;
  }

  get type(): number {
    return (this.#known ??= this.#identify()).type;
  }

  get id(): bigint {
    return (this.#known ??= this.#identify()).id;
  }
}

export class FolderFile implements OpenFile {
  readonly #open: () => number;
  readonly #onUse: () => void;
  readonly #onClose: () => void;
  /** Undefined while it is paused. */
  #descriptor: number | undefined;

  /** @param open opens the host's file, each time to the same one */
  constructor(open: () => number, onUse: () => void, onClose: () => void) {
    this.#open = open;
    this.#onUse = onUse;
    this.#onClose = onClose;
  }

  /** @returns the descriptor */
  resume(): number {
    this.#descriptor ??= this.#open();
    const descriptor = this.#descriptor;
    this.#onUse();
    return descriptor;
  }

  pause(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  read(offset: number, into: Uint8Array): number {
    return hosted(() => readSync(this.resume(), into, 0, into.length, offset));
  }

  write(offset: number, from: Uint8Array): number {
    return hosted(() => writeSync(this.resume(), from, 0, from.length, offset));
  }

  sync(dataOnly: boolean): void {
    hosted(() => (dataOnly ? fdatasyncSync(this.resume()) : fsyncSync(this.resume())));
  }

  close(): void {
    this.pause();
    this.#onClose();
  }
}

/**
 * Does `work`; where the mode of what `path` leads to forbids it and it is ours, once more with `bits` added for a moment:
 * root in the guest may do what its owner could allow himself.
 */
export function asOwner<T>(user: number, path: string, bits: number, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    const stat = fstatOf(path);
    const mode = Number(stat.mode) & PERMISSIONS;
    if (Number(stat.uid) !== user || (mode & bits) === bits) throw error;
    chmodSync(path, mode | bits);
    try {
      return work();
    } finally {
      chmodSync(path, mode);
    }
  }
}

/** `path` is one of /proc/self/fd. */
const fstatOf = (path: string) => fstatSync(Number(path.slice(path.lastIndexOf('/') + 1)), { bigint: true });

/** Does `work`; what the host refuses becomes a FileError. */
export function hosted<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof FileError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    if (code === 'ENOTSUP') throw new FileError('EOPNOTSUPP', message);
    throw new FileError(Object.hasOwn(ERRNO, code) ? (code as ErrnoName) : 'EIO', message);
  }
}
