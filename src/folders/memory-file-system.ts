/**
 * A file system in memory: an empty one, or a writable layer above another file system, which is only read. A layer has an
 * object for each of the other's that is in use or was changed; what was removed leaves a gap in its directory. So the
 * guest sees one tree, and all its changes are gone with the layer.
 */
import {
  type Attributes,
  type ByteString,
  type Changes,
  type Creation,
  checkName,
  type DirectoryEntry,
  FileError,
  type FileSystem,
  type Inode,
  type OpenFile,
  type OpenMode,
  PERMISSIONS,
  type Room,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../host/file-system.ts';
import { type Allowance, Content, type Source } from './content.ts';

export interface MemoryFileSystemOptions {
  /** What is beneath. It must not change. */
  lower?: FileSystem;
  /** Bytes that files may take in memory. */
  limit?: number;
  /** The time: nanoseconds since 1970. */
  now?: () => bigint;
  /** Owner of an empty file system's root. */
  uid?: number;
  gid?: number;
}

/** Ids of objects of a layer, so that they are none of the layer's below. */
const OWN_IDS = 1n << 63n;
const DEFAULT_LIMIT = 2 ** 32;
/** What an object costs besides its content, roughly. It counts, so that empty files cannot fill the memory. */
const INODE_COST = 512;
const BLOCK_SIZE = 4096;
/** What a guest may keep in extended attributes of one object: ext4's order of magnitude. */
const EXTENDED_LIMIT = 1 << 17;
/** XATTR_SIZE_MAX */
const EXTENDED_VALUE_LIMIT = 1 << 16;
const LINK_LIMIT = 65000;

type Kept = Omit<Attributes, 'links' | 'size' | 'blocks'>;

class MemoryInode implements Inode {
  readonly id: bigint;
  readonly type: number;
  /** How many retain it, the objects below a directory among them. */
  references = 0;
  /** Its names; a directory has one, or none. Those of the lower's objects are counted once they change. */
  links = 0;
  /** What a directory shows as its links: 2 and one for each directory in it, where the lower counts so, too. */
  shownLinks = 2;
  /** Undefined while they are the lower's. */
  kept: Kept | undefined;
  lower: Inode | undefined;
  content: Content | undefined;
  target: ByteString | undefined;
  /** What a directory has otherwise than the lower; undefined for what is not there any more. */
  readonly entries = new Map<ByteString, MemoryInode | undefined>();
  /** Undefined while they are the lower's. */
  extended: Map<ByteString, Uint8Array> | undefined;
  /** Of a directory: the one above. Of what is the lower's still: where it was found. */
  parent: MemoryInode | undefined;
  /** Where the lower's object stands in `parent`. */
  name: ByteString = '';
  /** The lower's object was found under several names. */
  isShared = false;

  constructor(id: bigint, type: number) {
    this.id = id;
    this.type = type;
  }

  /** Nothing of it is ours: it can be made again. */
  get isClean(): boolean {
    const untouched = !this.kept && !this.content && !this.extended && this.entries.size === 0;
    return this.lower !== undefined && untouched && !this.isShared;
  }
}

export class MemoryFileSystem implements FileSystem {
  readonly readOnly = false;
  readonly root: MemoryInode;
  readonly #lower: FileSystem | undefined;
  readonly #now: () => bigint;
  readonly #allowance: Allowance;
  /** By the ids of the lower's. */
  readonly #fromLower = new Map<bigint, MemoryInode>();
  #nextId: bigint;

  constructor({ lower, limit = DEFAULT_LIMIT, now, uid = 0, gid = 0 }: MemoryFileSystemOptions = {}) {
    this.#lower = lower;
    this.#allowance = { limit, used: 0 };
    this.#now = now ?? (() => BigInt(Date.now()) * 1_000_000n);
    this.#nextId = lower ? OWN_IDS : 1n;
    if (lower) {
      lower.retain(lower.root);
      this.root = this.#wrap(lower.root);
      this.root.name = '';
    } else this.root = this.#make({ mode: S_IFDIR | 0o755, uid, gid });
    this.root.links = 1;
    this.root.references = 1;
  }

  // ---- Lives -----------------------------------------------------------------------------------

  retain(inode: MemoryInode): void {
    inode.references++;
  }

  release(inode: MemoryInode): void {
    if (--inode.references > 0) return;
    if (inode.links === 0) return this.#drop(inode);
    // What is the lower's still is found there again.
    for (let clean: MemoryInode | undefined = inode; clean?.isClean && clean.references === 0; ) {
      const { parent, name }: MemoryInode = clean;
      if (!parent || parent.entries.get(name) !== clean) return;
      parent.entries.delete(name);
      this.#forget(clean);
      clean = parent;
    }
  }

  /** Nobody can reach it any more. */
  #drop(inode: MemoryInode): void {
    inode.content?.drop();
    for (const value of inode.extended?.values() ?? []) this.#allowance.used -= value.length;
    if (!inode.lower) this.#allowance.used -= INODE_COST;
    this.#forget(inode);
  }

  #forget(inode: MemoryInode): void {
    if (!inode.lower) return;
    this.#fromLower.delete(inode.lower.id);
    this.#lower!.release(inode.lower);
  }

  #make({ mode, uid, gid, major = 0, minor = 0, target }: Creation): MemoryInode {
    if (this.#allowance.used + INODE_COST > this.#allowance.limit) throw new FileError('ENOSPC');
    this.#allowance.used += INODE_COST;
    const inode = new MemoryInode(this.#nextId++, mode & S_IFMT);
    const now = this.#now();
    inode.kept = { mode, uid, gid, major, minor, atime: now, mtime: now, ctime: now, btime: now };
    if (inode.type === S_IFREG) inode.content = new Content(this.#allowance);
    if (inode.type === S_IFLNK) inode.target = target ?? '';
    return inode;
  }

  /** Our object for one of the lower's, which has been retained for it. */
  #wrap(lower: Inode): MemoryInode {
    const known = this.#fromLower.get(lower.id);
    if (known) {
      this.#lower!.release(lower);
      return known;
    }
    const inode = new MemoryInode(lower.id, lower.type);
    inode.lower = lower;
    inode.links = 1;
    this.#fromLower.set(lower.id, inode);
    return inode;
  }

  // ---- Names -----------------------------------------------------------------------------------

  lookup(directory: MemoryInode, name: ByteString): MemoryInode {
    checkName(name);
    const found = this.#find(directory, name);
    if (!found) throw new FileError('ENOENT');
    found.references++;
    return found;
  }

  parent(directory: MemoryInode): MemoryInode {
    const parent = directory.parent ?? this.root;
    parent.references++;
    return parent;
  }

  #find(directory: MemoryInode, name: ByteString): MemoryInode | undefined {
    this.#checkDirectory(directory);
    const found = directory.entries.get(name);
    if (found || directory.entries.has(name) || !directory.lower) return found;
    let below: Inode;
    try {
      below = this.#lower!.lookup(directory.lower, name);
    } catch (error) {
      if (error instanceof FileError && error.code === 'ENOENT') return undefined;
      throw error;
    }
    const inode = this.#wrap(below);
    if (inode.parent) inode.isShared = true;
    else [inode.parent, inode.name] = [directory, name];
    directory.entries.set(name, inode);
    return inode;
  }

  list(directory: MemoryInode): DirectoryEntry[] {
    this.#checkDirectory(directory);
    const below = directory.lower ? this.#lower!.list(directory.lower) : [];
    const entries = below.filter(({ name }) => !directory.entries.has(name));
    for (const [name, inode] of directory.entries) if (inode) entries.push({ name, type: inode.type, id: inode.id });
    return entries;
  }

  readLink(link: MemoryInode): ByteString {
    if (link.type !== S_IFLNK) throw new FileError('EINVAL');
    return link.target ?? this.#lower!.readLink(link.lower!);
  }

  #checkDirectory(inode: MemoryInode): void {
    if (inode.type !== S_IFDIR) throw new FileError('ENOTDIR');
  }

  /** @throws FileError where no entry can be made: a directory that was removed takes none. */
  #checkRoomFor(directory: MemoryInode, name: ByteString): void {
    this.#checkDirectory(directory);
    checkName(name);
    if (directory.links === 0) throw new FileError('ENOENT');
  }

  #enter(directory: MemoryInode, name: ByteString, inode: MemoryInode): void {
    directory.entries.set(name, inode);
    this.#touch(directory, true);
    if (inode.type !== S_IFDIR) return;
    inode.parent = directory;
    if (directory.shownLinks >= 2) directory.shownLinks++;
  }

  /** Takes a name away; a gap stays where the lower has it still. */
  #remove(directory: MemoryInode, name: ByteString, inode: MemoryInode): void {
    if (directory.lower && this.#isBelow(directory.lower, name)) directory.entries.set(name, undefined);
    else directory.entries.delete(name);
    this.#touch(directory, true);
    if (inode.type === S_IFDIR && directory.shownLinks > 2) directory.shownLinks--;
  }

  #isBelow(directory: Inode, name: ByteString): boolean {
    try {
      this.#lower!.release(this.#lower!.lookup(directory, name));
      return true;
    } catch {
      return false;
    }
  }

  /** One name less. */
  #unlink(inode: MemoryInode): void {
    this.#touch(inode, false);
    inode.links = inode.type === S_IFDIR ? 0 : inode.links - 1;
    if (inode.links === 0 && inode.references === 0) this.#drop(inode);
  }

  create(directory: MemoryInode, name: ByteString, what: Creation): MemoryInode {
    this.#checkRoomFor(directory, name);
    if (this.#find(directory, name)) throw new FileError('EEXIST');
    const inode = this.#make(what);
    inode.links = 1;
    inode.references = 1;
    this.#enter(directory, name, inode);
    return inode;
  }

  link(inode: MemoryInode, directory: MemoryInode, name: ByteString): void {
    this.#checkRoomFor(directory, name);
    if (inode.type === S_IFDIR) throw new FileError('EPERM');
    if (this.#find(directory, name)) throw new FileError('EEXIST');
    if (inode.links === 0) throw new FileError('ENOENT');
    this.#touch(inode, false);
    if (inode.links >= LINK_LIMIT) throw new FileError('EMLINK');
    inode.links++;
    this.#enter(directory, name, inode);
  }

  rename(from: MemoryInode, name: ByteString, to: MemoryInode, newName: ByteString): void {
    checkName(name);
    this.#checkRoomFor(to, newName);
    const inode = this.#find(from, name);
    if (!inode) throw new FileError('ENOENT');
    const replaced = this.#find(to, newName);
    if (replaced === inode) return;
    const isDirectory = inode.type === S_IFDIR;
    if (isDirectory) {
      for (let above: MemoryInode | undefined = to; above; above = above.parent)
        if (above === inode) throw new FileError('EINVAL');
    }
    if (replaced) {
      if (isDirectory && replaced.type !== S_IFDIR) throw new FileError('ENOTDIR');
      if (!isDirectory && replaced.type === S_IFDIR) throw new FileError('EISDIR');
      if (isDirectory && this.list(replaced).length > 0) throw new FileError('ENOTEMPTY');
    }
    // From here on it is no longer where the lower has it.
    this.#touch(inode, false);
    this.#remove(from, name, inode);
    if (replaced) this.#remove(to, newName, replaced);
    this.#enter(to, newName, inode);
    if (replaced) this.#unlink(replaced);
  }

  remove(directory: MemoryInode, name: ByteString, isDirectory: boolean): void {
    checkName(name);
    const inode = this.#find(directory, name);
    if (!inode) throw new FileError('ENOENT');
    if (isDirectory && inode.type !== S_IFDIR) throw new FileError('ENOTDIR');
    if (!isDirectory && inode.type === S_IFDIR) throw new FileError('EISDIR');
    if (isDirectory && this.list(inode).length > 0) throw new FileError('ENOTEMPTY');
    this.#touch(inode, false);
    this.#remove(directory, name, inode);
    this.#unlink(inode);
  }

  // ---- Attributes ------------------------------------------------------------------------------

  attributes(inode: MemoryInode): Attributes {
    const below = inode.lower && (!inode.kept || !inode.content) ? this.#lower!.attributes(inode.lower) : undefined;
    const size =
      inode.content?.size ?? inode.target?.length ?? below?.size ?? (inode.type === S_IFDIR ? BLOCK_SIZE : 0);
    const blocks = inode.content ? Math.ceil(inode.content.allocated / 512) : (below?.blocks ?? 0);
    if (!inode.kept) return { ...below!, size, blocks };
    const links = inode.type === S_IFDIR && inode.links > 0 ? inode.shownLinks : inode.links;
    return { ...inode.kept, links, size, blocks };
  }

  change(inode: MemoryInode, changes: Changes): void {
    const { size, mode, ...rest } = changes;
    if (size !== undefined) {
      if (inode.type !== S_IFREG) throw new FileError(inode.type === S_IFDIR ? 'EISDIR' : 'EINVAL');
      this.#contentOf(inode).resize(size);
    }
    const kept = this.#touch(inode, size !== undefined);
    if (mode !== undefined) kept.mode = inode.type | (mode & PERMISSIONS);
    Object.assign(kept, rest);
  }

  /** Its attributes, which are ours from now on, with the time of change, and that of the content's too. */
  #touch(inode: MemoryInode, content: boolean): Kept {
    if (!inode.kept) {
      const { links, size: _, blocks: __, ...kept } = this.#lower!.attributes(inode.lower!);
      inode.kept = kept;
      if (inode.type === S_IFDIR) inode.shownLinks = links;
      else inode.links = Math.max(1, links);
    }
    inode.kept.ctime = this.#now();
    if (content) inode.kept.mtime = inode.kept.ctime;
    return inode.kept;
  }

  #contentOf(inode: MemoryInode): Content {
    inode.content ??= new Content(this.#allowance, this.#sourceOf(inode));
    return inode.content;
  }

  /** The lower's file beneath ours. It is opened for each read: a layer may have very many. */
  #sourceOf(inode: MemoryInode): Source {
    const lower = this.#lower!;
    const file = inode.lower!;
    return {
      size: lower.attributes(file).size,
      read(offset, into) {
        const open = lower.open(file, { read: true, write: false });
        try {
          for (let done = 0; done < into.length; ) {
            const count = open.read(offset + done, into.subarray(done)) ?? 0;
            if (count === 0) throw new FileError('EIO', 'the file below has become shorter');
            done += count;
          }
        } finally {
          open.close();
        }
      },
    };
  }

  extendedNames(inode: MemoryInode): readonly ByteString[] {
    return inode.extended || !inode.lower
      ? [...(inode.extended?.keys() ?? [])]
      : this.#lower!.extendedNames(inode.lower);
  }

  extended(inode: MemoryInode, name: ByteString): Uint8Array | undefined {
    return inode.extended || !inode.lower ? inode.extended?.get(name) : this.#lower!.extended(inode.lower, name);
  }

  setExtended(inode: MemoryInode, name: ByteString, value: Uint8Array | undefined): void {
    if (!inode.extended) {
      const names = inode.lower ? this.#lower!.extendedNames(inode.lower) : [];
      inode.extended = new Map(
        names.map(name => [name, this.#lower!.extended(inode.lower!, name) ?? new Uint8Array()]),
      );
      for (const { length } of inode.extended.values()) this.#allowance.used += length;
    }
    const old = inode.extended.get(name);
    if (value) {
      checkExtended(inode.extended, name, value);
      if (this.#allowance.used + value.length > this.#allowance.limit) throw new FileError('ENOSPC');
      inode.extended.set(name, value);
    } else inode.extended.delete(name);
    this.#allowance.used += (value?.length ?? 0) - (old?.length ?? 0);
    this.#touch(inode, false);
  }

  // ---- Contents --------------------------------------------------------------------------------

  open(file: MemoryInode, { write, append }: OpenMode): OpenFile {
    if (file.type !== S_IFREG) throw new FileError(file.type === S_IFDIR ? 'EISDIR' : 'ENXIO');
    // Read where it is, until somebody writes to it.
    const below = file.content || write ? undefined : this.#lower!.open(file.lower!, { read: true, write: false });
    file.references++;
    return {
      read: (offset, into) =>
        file.content || !below ? this.#contentOf(file).read(offset, into) : below.read(offset, into),
      write: (offset, from) => {
        if (!write) throw new FileError('EBADF');
        const content = this.#contentOf(file);
        const count = content.write(append ? content.size : offset, from);
        this.#touch(file, true);
        return count;
      },
      sync() {},
      close: () => {
        below?.close();
        this.release(file);
      },
    };
  }

  /** Makes `source` the content of a file that is empty. It is read when the guest reads it, and never written. */
  fill(file: MemoryInode, source: Source): void {
    file.content = new Content(this.#allowance, source);
  }

  room(): Room {
    const { limit, used } = this.#allowance;
    const free = BigInt(Math.max(0, Math.floor((limit - used) / BLOCK_SIZE)));
    return {
      blockSize: BLOCK_SIZE,
      blocks: BigInt(Math.floor(limit / BLOCK_SIZE)),
      free,
      available: free,
      files: BigInt(Math.floor(limit / INODE_COST)),
      filesFree: BigInt(Math.max(0, Math.floor((limit - used) / INODE_COST))),
    };
  }

  close(): void {
    this.#lower?.close();
  }
}

/** @throws FileError if `value` is too much for one object */
export function checkExtended(all: ReadonlyMap<ByteString, Uint8Array>, name: ByteString, value: Uint8Array): void {
  if (value.length > EXTENDED_VALUE_LIMIT) throw new FileError('ERANGE');
  if (name === '' || name.length > 255 || name.includes('\0')) throw new FileError('ERANGE');
  let sum = name.length + value.length;
  for (const [other, { length }] of all) if (other !== name) sum += other.length + length;
  if (sum > EXTENDED_LIMIT) throw new FileError('ENOSPC');
}
