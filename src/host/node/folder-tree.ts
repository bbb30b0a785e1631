/**
 * The objects of a shared folder that are in use, and how they are reached: each name is resolved from an open directory
 * (`/proc/self/fd/N/name` is what openat(2) is elsewhere), and no symbolic link is followed. What is found must be what was
 * there before, by device, inode number and birth.
 */
import {
  type BigIntStats,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readlinkSync,
  statfsSync,
} from 'node:fs';
import { type ByteString, FileError, S_IFDIR, S_IFLNK } from '../file-system.ts';
import { FolderInode, hosted, identityOf, MADE_UP, O_PATH } from './folder-parts.ts';

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants;
/** Directories that are kept open. */
const OPEN_DIRECTORIES = 256;
/** Directories within each other. */
const DEEPEST = 4096;
/** Objects without a name that the guest may have in use: each takes a descriptor. */
const MOST_HELD = 4096;
/** Inode numbers up to here have room for the number of their device above them. */
const PLAIN_INODES = 1n << 48n;
const PLAIN_DEVICES = 1n << 14n;

export class FolderTree {
  readonly root: FolderInode;
  readonly #rootDescriptor: number;
  /** By identity: those in use. */
  readonly #inodes = new Map<string, FolderInode>();
  /** Open directories (O_PATH), those used last at the end. */
  readonly #directories = new Map<FolderInode, number>();
  readonly #devices = new Map<bigint, bigint>();
  /** Of objects whose inode number is too large to say it all. */
  readonly #oddIds = new Map<string, bigint>();
  readonly #typeOf: (stat: BigIntStats) => number;
  readonly #onGone: (inode: FolderInode) => void;
  #held = 0;
  /** How many calls of `do` are under way. */
  #depth = 0;

  /**
   * @param typeOf what a guest sees of a file
   * @param onGone hears of an object that has no name any more, when nobody needs it
   */
  constructor(path: string, typeOf: (stat: BigIntStats) => number, onGone: (inode: FolderInode) => void) {
    this.#typeOf = typeOf;
    this.#onGone = onGone;
    // The path is the user's: links in it lead where they lead.
    this.#rootDescriptor = openSync(path, O_PATH | O_DIRECTORY);
    try {
      if (MADE_UP.has(statfsSync(this.rootPath).type))
        throw new FileError('EOPNOTSUPP', 'there are no files in it but those that the kernel makes up');
      // To know that it can be read at all.
      closeSync(openSync(`${this.rootPath}/.`, O_RDONLY | O_DIRECTORY));
    } catch (error) {
      closeSync(this.#rootDescriptor);
      throw error;
    }
    const stat = fstatSync(this.#rootDescriptor, { bigint: true });
    this.root = new FolderInode(this.idOf(stat), S_IFDIR, stat, false);
    this.root.references = 1;
    this.#inodes.set(identityOf(stat), this.root);
  }

  get rootPath(): string {
    return `/proc/self/fd/${this.#rootDescriptor}`;
  }

  close(): void {
    for (const descriptor of this.#directories.values()) closeSync(descriptor);
    this.#directories.clear();
    for (const { held } of this.#inodes.values()) if (held !== undefined) closeSync(held);
    this.#inodes.clear();
    closeSync(this.#rootDescriptor);
  }

  /** The object that `stat` describes, if it is in use. */
  known(stat: BigIntStats): FolderInode | undefined {
    return this.#inodes.get(identityOf(stat));
  }

  retain(inode: FolderInode): void {
    inode.references++;
  }

  release(inode: FolderInode): void {
    for (let last: FolderInode | undefined = inode; last && --last.references === 0; ) {
      this.#inodes.delete(last.identity);
      this.#closeDirectory(last);
      this.#letGo(last);
      if (last.isGone) this.#onGone(last);
      const { parent }: FolderInode = last;
      last.parent = undefined;
      last = parent;
    }
  }

  #closeDirectory(inode: FolderInode): void {
    const descriptor = this.#directories.get(inode);
    if (descriptor === undefined) return;
    this.#directories.delete(inode);
    closeSync(descriptor);
  }

  idOf({ dev, ino }: BigIntStats): bigint {
    const device = this.#devices.get(dev) ?? BigInt(this.#devices.size);
    this.#devices.set(dev, device);
    if (ino < PLAIN_INODES && device < PLAIN_DEVICES) return (device << 48n) | ino;
    const key = `${dev}:${ino}`;
    const id = this.#oddIds.get(key) ?? (PLAIN_DEVICES << 48n) + BigInt(this.#oddIds.size);
    this.#oddIds.set(key, id);
    return id;
  }

  /** The object that `stat` describes, found as `name`; retained. */
  found(directory: FolderInode, name: ByteString, stat: BigIntStats): FolderInode {
    const known = this.#inodes.get(identityOf(stat));
    const inode =
      known ?? new FolderInode(this.idOf(stat), this.#typeOf(stat), stat, this.#isMadeUp(directory, name, stat));
    inode.references++;
    if (inode === this.root) return inode;
    if (!known) this.#inodes.set(identityOf(stat), inode);
    this.place(inode, directory, name);
    return inode;
  }

  /** Notes where the object stands. */
  place(inode: FolderInode, directory: FolderInode, name: ByteString): void {
    this.#letGo(inode);
    inode.name = name;
    if (inode.parent === directory) return;
    directory.references++;
    const before = inode.parent;
    inode.parent = directory;
    if (before) this.release(before);
  }

  #isMadeUp(directory: FolderInode, name: ByteString, stat: BigIntStats): boolean {
    if (stat.dev === directory.device || !stat.isDirectory()) return false;
    return MADE_UP.has(Number(statfsSync(this.at(directory, name)).type));
  }

  /** Does `work`; what the host refuses becomes a FileError. Directories that it opens stay open until it is done. */
  do<T>(work: () => T): T {
    if (this.#depth === 0) {
      for (const oldest of this.#directories.keys()) {
        if (this.#directories.size <= OPEN_DIRECTORIES) break;
        this.#closeDirectory(oldest);
      }
    }
    this.#depth++;
    try {
      return hosted(work);
    } finally {
      this.#depth--;
    }
  }

  // ---- Paths -----------------------------------------------------------------------------------

  /** `name` in an open directory. The last part of a path is not followed by any call that it is given to. */
  at(directory: FolderInode, name: ByteString): Buffer {
    return Buffer.from(`/proc/self/fd/${this.directory(directory)}/${name}`, 'latin1');
  }

  /** A descriptor of the directory, good until the end of this `do`. */
  directory(directory: FolderInode): number {
    if (directory.type !== S_IFDIR) throw new FileError('ENOTDIR');
    if (directory.isMadeUp) throw new FileError('EACCES');
    // Down from the next directory that is open.
    const path: FolderInode[] = [];
    let above = directory;
    let descriptor = this.#opened(above);
    while (descriptor === undefined) {
      path.push(above);
      // Whoever shares the folder may have moved two directories into each other, seen from what we know.
      if (!above.parent || path.length > DEEPEST) throw new FileError('ESTALE');
      above = above.parent;
      descriptor = this.#opened(above);
    }
    for (let inode = path.pop(); inode; inode = path.pop()) {
      const name = Buffer.from(`/proc/self/fd/${descriptor}/${inode.name}`, 'latin1');
      descriptor = openSync(name, O_PATH | O_DIRECTORY | O_NOFOLLOW);
      this.#directories.set(inode, descriptor);
      this.#verify(inode, fstatSync(descriptor, { bigint: true }));
    }
    return descriptor;
  }

  #opened(directory: FolderInode): number | undefined {
    if (directory === this.root) return this.#rootDescriptor;
    if (directory.held !== undefined) return directory.held;
    const descriptor = this.#directories.get(directory);
    if (descriptor !== undefined) {
      this.#directories.delete(directory);
      this.#directories.set(directory, descriptor);
    }
    return descriptor;
  }

  /** @throws FileError if something else stands where the object was: somebody on the host has moved it */
  #verify(inode: FolderInode, stat: BigIntStats): void {
    if (identityOf(stat) === inode.identity) return;
    this.#closeDirectory(inode);
    throw new FileError('ESTALE');
  }

  /** Does `work` with a path that leads to the object itself, even if it is a link. */
  with<T>(inode: FolderInode, work: (path: string, stat: BigIntStats) => T): T {
    return this.do(() => {
      const known = this.#opened(inode);
      const descriptor = known ?? openSync(this.at(inode.parent!, inode.name), O_PATH | O_NOFOLLOW);
      try {
        const stat = fstatSync(descriptor, { bigint: true });
        this.#verify(inode, stat);
        return work(`/proc/self/fd/${descriptor}`, stat);
      } finally {
        if (known === undefined) closeSync(descriptor);
      }
    });
  }

  stat(inode: FolderInode): BigIntStats {
    return this.do(() => {
      const open = this.#opened(inode);
      const stat =
        open === undefined
          ? lstatSync(this.at(inode.parent!, inode.name), { bigint: true })
          : fstatSync(open, { bigint: true });
      this.#verify(inode, stat);
      return stat;
    });
  }

  #letGo(inode: FolderInode): void {
    if (inode.held === undefined) return;
    closeSync(inode.held);
    inode.held = undefined;
    this.#held--;
  }

  /** The object is about to lose the name it is known by: an open descriptor takes its place. */
  hold(inode: FolderInode, stat: BigIntStats): void {
    if (inode.held !== undefined) return;
    if (this.#held >= MOST_HELD) throw new FileError('EMFILE');
    const path = this.at(inode.parent!, inode.name);
    if (inode.type === S_IFLNK) inode.target = readlinkSync(path, 'buffer').toString('latin1');
    const descriptor = openSync(path, O_PATH | O_NOFOLLOW);
    if (identityOf(fstatSync(descriptor, { bigint: true })) !== identityOf(stat)) {
      closeSync(descriptor);
      throw new FileError('ESTALE');
    }
    inode.held = descriptor;
    this.#held++;
    this.#closeDirectory(inode);
  }
}
