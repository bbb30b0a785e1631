/**
 * An archive (tar, packed or not) in a file system in memory: a root of its own. Nothing of it is written on the host. Names are
 * looked up from the top of the tree: one that climbs out with ".." is refused, and symbolic links that lead to directories are followed
 * within the tree, whose top is the end of every "..".
 */
import { compressionOf, decompress } from '../boot/decompress.ts';
import { ImageError } from '../boot/image-error.ts';
import {
  type ByteString,
  byteString,
  FileError,
  type Inode,
  PERMISSIONS,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
} from '../host/file-system.ts';
import type { MemoryFileSystem } from './memory-file-system.ts';

/** What the layers of an image say of those below (OCI image specification, layer.md): a file's removal, a directory's emptying. */
const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
/** Archives consist of blocks of so many bytes (tar(5)). */
const BLOCK = 512;
/** Symbolic links on the way to a directory, as in Linux. */
const MOST_LINKS = 40;

const TYPES: ReadonlyMap<string, number> = new Map([
  ['file', S_IFREG],
  ['contiguous-file', S_IFREG],
  ['directory', S_IFDIR],
  ['symlink', S_IFLNK],
  ['character-device', S_IFCHR],
  ['block-device', S_IFBLK],
  ['fifo', S_IFIFO],
]);

interface Entry {
  name: string;
  type: string;
  mode: number;
  uid: number;
  gid: number;
  linkname: string;
  mtime: Date | undefined;
  data: Uint8Array;
}

/**
 * Unpacks `bytes` into `files`.
 * @param isLayer names that begin with ".wh." remove
 * @throws ImageError for what is no archive, is damaged, or climbs out
 */
export async function unpackInto(files: MemoryFileSystem, bytes: Uint8Array, isLayer: boolean): Promise<void> {
  const tar = compressionOf(bytes) ? await decompress(bytes) : bytes;
  const { unpackTar } = await import('modern-tar');
  let entries: Entry[];
  try {
    const unpacked = await unpackTar(tar);
    const short = unpacked.find(({ header, data }) => data && data.length < header.size);
    if (short || tar.length % BLOCK !== 0)
      throw new Error(`it is cut off${short ? ` in "${short.header.name}", of ${short.header.size} bytes` : ''}`);
    entries = unpacked.map(({ header, data }) => ({
      name: header.name,
      type: header.type ?? 'file',
      mode: header.mode ?? 0o644,
      uid: header.uid ?? 0,
      gid: header.gid ?? 0,
      linkname: header.linkname ?? '',
      mtime: header.mtime,
      data: data ?? new Uint8Array(),
    }));
  } catch (error) {
    throw new ImageError(`the archive is damaged: ${error instanceof Error ? error.message : error}`);
  }
  if (entries.length === 0) throw new ImageError('the archive is empty, or no tar archive');
  const tree = new Unpacking(files);
  for (const entry of entries) {
    try {
      tree.add(entry, isLayer);
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      throw new ImageError(`the archive's "${entry.name}" cannot be unpacked: ${error.message}`);
    }
  }
}

class Unpacking {
  readonly #files: MemoryFileSystem;

  constructor(files: MemoryFileSystem) {
    this.#files = files;
  }

  add(entry: Entry, isLayer: boolean): void {
    const path = pathOf(entry.name);
    const name = path.pop();
    if (name === undefined) return this.#describe(this.#files.root, entry); // The top itself.
    const directory = this.#directory(path);
    if (isLayer && name === OPAQUE) return this.#empty(directory);
    if (isLayer && name.startsWith(WHITEOUT)) return this.#remove(directory, name.slice(WHITEOUT.length));
    if (entry.type === 'link') return this.#link(directory, name, entry.linkname);
    const type = TYPES.get(entry.type);
    if (type === undefined) return; // Extended headers of others, and the like.
    const before = this.#find(directory, name);
    if (before?.type === S_IFDIR && type === S_IFDIR) return this.#describe(before, entry);
    if (before) this.#remove(directory, name);
    const { uid, gid } = entry;
    const target = byteString(entry.linkname);
    const mode = type | (type === S_IFLNK ? 0o777 : entry.mode & PERMISSIONS);
    const inode = this.#files.create(directory, name, { mode, uid, gid, ...(type === S_IFLNK ? { target } : {}) });
    if (type === S_IFREG) this.#fill(inode, entry.data);
    this.#describe(inode, entry);
    this.#files.release(inode);
  }

  /** The archive is kept as it is: a file's content is a part of it. */
  #fill(inode: Inode, data: Uint8Array): void {
    if (data.length === 0) return;
    this.#files.fill(inode as MemoryFileSystem['root'], {
      size: data.length,
      read: (offset, into) => into.set(data.subarray(offset, offset + into.length)),
    });
  }

  #describe(inode: Inode, { mode, uid, gid, mtime }: Entry): void {
    const permissions = inode.type === S_IFLNK ? {} : { mode: mode & PERMISSIONS };
    const time = mtime && !Number.isNaN(mtime.getTime()) ? { mtime: BigInt(mtime.getTime()) * 1_000_000n } : {};
    this.#files.change(inode as MemoryFileSystem['root'], { uid, gid, ...permissions, ...time });
  }

  #link(directory: Inode, name: ByteString, target: string): void {
    const path = pathOf(target);
    const last = path.pop();
    let inode: Inode | undefined = this.#files.root;
    for (const part of path) inode = inode && this.#find(inode, part);
    inode = inode && last !== undefined ? this.#find(inode, last) : undefined;
    if (!inode) throw new FileError('ENOENT', `there is no "${target}" to link to`);
    if (this.#find(directory, name) === inode) return;
    this.#remove(directory, name);
    this.#files.link(inode as MemoryFileSystem['root'], directory as MemoryFileSystem['root'], name);
  }

  #find(directory: Inode, name: ByteString): Inode | undefined {
    if (directory.type !== S_IFDIR) return undefined;
    try {
      const inode = this.#files.lookup(directory as MemoryFileSystem['root'], name);
      this.#files.release(inode);
      return inode;
    } catch (error) {
      if (error instanceof FileError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** The directory, made where there is none. */
  #directory(path: readonly ByteString[]): MemoryFileSystem['root'] {
    let directory = this.#files.root;
    for (const name of path) {
      let next = this.#find(directory, name);
      if (next?.type === S_IFLNK) next = this.#follow(directory, next, 0) ?? next;
      if (next && next.type !== S_IFDIR) {
        this.#remove(directory, name);
        next = undefined;
      }
      if (!next) {
        next = this.#files.create(directory, name, { mode: S_IFDIR | 0o755, uid: 0, gid: 0 });
        this.#files.release(next as MemoryFileSystem['root']);
      }
      directory = next as MemoryFileSystem['root'];
    }
    return directory;
  }

  /** The directory in this tree that a symbolic link leads to, if there is one. */
  #follow(directory: Inode, link: Inode, depth: number): Inode | undefined {
    if (depth > MOST_LINKS) return undefined;
    const target = this.#files.readLink(link as MemoryFileSystem['root']);
    let inode: Inode | undefined = target.startsWith('/') ? this.#files.root : directory;
    for (const name of target.split('/').filter(part => part !== '' && part !== '.')) {
      const above: Inode = inode;
      if (name === '..') {
        inode = this.#files.parent(above as MemoryFileSystem['root']);
        this.#files.release(inode as MemoryFileSystem['root']);
      } else inode = this.#find(above, name);
      if (inode?.type === S_IFLNK) inode = this.#follow(above, inode, depth + 1);
      if (inode?.type !== S_IFDIR) return undefined;
    }
    return inode;
  }

  #remove(directory: Inode, name: ByteString): void {
    const inode = this.#find(directory, name);
    if (!inode) return;
    if (inode.type === S_IFDIR) this.#empty(inode);
    this.#files.remove(directory as MemoryFileSystem['root'], name, inode.type === S_IFDIR);
  }

  #empty(directory: Inode): void {
    for (const { name } of this.#files.list(directory as MemoryFileSystem['root'])) this.#remove(directory, name);
  }
}

/** The parts of an entry's name. @throws FileError for one that climbs */
function pathOf(name: string): ByteString[] {
  const parts = byteString(name)
    .split('/')
    .filter(part => part !== '' && part !== '.');
  if (parts.includes('..')) throw new FileError('EINVAL', 'the name climbs out with ".."');
  return parts;
}
