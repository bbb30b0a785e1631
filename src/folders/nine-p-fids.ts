/** The fids of a 9P client: its numbers for files, and what each has open. */
import {
  type ByteString,
  type DirectoryEntry,
  FileError,
  type FileSystem,
  type Inode,
  type OpenFile,
} from '../host/file-system.ts';
import { NOFID } from './nine-p-messages.ts';

/** How many fids one client may have. Linux has one for each cached name under cache=loose. */
const MOST_FIDS = 1 << 20;
/** Bytes that fids may hold, in lists of names and extended attributes. */
const MOST_HELD = 1 << 28;
/** What an entry of a list takes besides its name, roughly. */
export const ENTRY_COST = 64;

export interface Fid {
  inode: Inode;
  /** Who attached: owner of what is made without a word about its owner. */
  uid: number;
  open?: OpenFile;
  /** A directory that is open, as it was when reading began. */
  listing?: readonly DirectoryEntry[];
  isOpenDirectory?: boolean;
  /** An extended attribute, or the list of their names, being read. */
  value?: Uint8Array;
  /** One being written: it takes effect when the fid is clunked. */
  writing?: { name: ByteString; value: Uint8Array; filled: number; flags: number };
  /** Bytes of ours that it holds, roughly. */
  held: number;
}

/** Each fid retains its inode. */
export class FidTable {
  readonly #files: FileSystem;
  readonly #fids = new Map<number, Fid>();
  /** Bytes that all of them hold. */
  #held = 0;

  constructor(files: FileSystem) {
    this.#files = files;
  }

  get size(): number {
    return this.#fids.size;
  }

  get(number: number): Fid {
    const fid = this.#fids.get(number);
    if (!fid) throw new FileError('EBADF');
    return fid;
  }

  /** A fid that names a file, not an extended attribute. */
  named(number: number): Fid {
    const fid = this.get(number);
    if (fid.value || fid.writing) throw new FileError('EBADF');
    return fid;
  }

  /** Takes over the caller's hold of the inode, unless it throws. */
  add(number: number, fid: Fid): void {
    if (number === NOFID || this.#fids.has(number)) throw new FileError('EINVAL');
    if (this.#fids.size >= MOST_FIDS) throw new FileError('ENFILE');
    if (this.#held + fid.held > MOST_HELD) throw new FileError('ENOMEM');
    this.#held += fid.held;
    this.#fids.set(number, fid);
  }

  /** Notes that the fid holds so many bytes of ours. @throws FileError if that is too much */
  hold(fid: Fid, bytes: number): void {
    if (this.#held + bytes - fid.held > MOST_HELD) throw new FileError('ENOMEM');
    this.#held += bytes - fid.held;
    fid.held = bytes;
  }

  clunk(number: number): void {
    const fid = this.get(number);
    this.#fids.delete(number);
    this.#held -= fid.held;
    try {
      fid.open?.close();
    } finally {
      this.#files.release(fid.inode);
    }
  }

  clear(): void {
    for (const number of [...this.#fids.keys()]) this.clunk(number);
  }
}
