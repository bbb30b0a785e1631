/**
 * A server of 9P2000.L, as Linux's v9fs speaks it (fs/9p, net/9p/client.c): one client, whose messages come whole and whose
 * answers are handed to whoever brought the request. It knows files by fids, which name objects of a FileSystem. What the
 * client sends is the guest's word: every message is answered, by an error where it makes no sense.
 *
 * The client checks permissions and keeps locks among its own processes, so that every lock is granted here.
 *
 * Fids name objects of the host's, so they are no part of a machine's states: after a restore the client's are unknown (EBADF).
 */
import {
  type ByteString,
  type Changes,
  type DirectoryEntry,
  ERRNO,
  FileError,
  type FileSystem,
  type Inode,
  PERMISSIONS,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../host/file-system.ts';
import { ENTRY_COST, type Fid, FidTable } from './nine-p-fids.ts';
import * as p9 from './nine-p-messages.ts';
import { deviceNumber, errorMessage, HEADER_SIZE, Reader, Writer } from './nine-p-messages.ts';

/** The largest message, in bytes: Linux asks for at most 125 pages. */
export const LARGEST_MESSAGE = 500 << 10;
/** The smallest that a client may ask for (Linux: 4096). */
const SMALLEST_MESSAGE = 4096;
/** Requests that wait for something to read. */
const MOST_WAITING = 1 << 12;

export interface NinePOptions {
  /** Nanoseconds since 1970. */
  now?: () => bigint;
  /** Hears of what is no answer of a file system's: a mistake of ours. The client hears EIO. */
  onMistake?: (error: unknown) => void;
}

type Reply = (message: Uint8Array) => void;

/** A request that has not been answered. */
interface Waiting {
  reply: Reply;
}

/** Thrown by a handler whose answer is not known yet. */
class NotYet {
  /** Calls `again` once, when it may be. */
  readonly onReadable: (again: () => void) => void;

  constructor(onReadable: (again: () => void) => void) {
    this.onReadable = onReadable;
  }
}

export class NinePServer {
  readonly #files: FileSystem;
  readonly #now: () => bigint;
  readonly #fids: FidTable;
  readonly #waiting = new Map<number, Waiting>();
  readonly #onMistake: (error: unknown) => void;
  #messageSize = LARGEST_MESSAGE;

  constructor(files: FileSystem, { now, onMistake = () => {} }: NinePOptions = {}) {
    this.#onMistake = onMistake;
    this.#files = files;
    this.#fids = new FidTable(files);
    this.#now = now ?? (() => BigInt(Date.now()) * 1_000_000n);
  }

  /** Forgets the client: its fids, and what it waits for. */
  reset(): void {
    this.#waiting.clear();
    this.#fids.clear();
  }

  /** How many fids there are, for tests. */
  get fids(): number {
    return this.#fids.size;
  }

  /**
   * Does what `message` asks for, which is whole. `reply` is called once, at once or later, with at most `room` bytes, a
   * number from HEADER_SIZE + 4 on; never after `reset`. What a view of `message` shows must not change before that.
   */
  request(message: Uint8Array, room: number, reply: Reply): void {
    const reader = new Reader(message);
    const { type, tag } = reader;
    const handler = HANDLERS.get(type);
    const attempt = (): void => {
      const writer = new Writer(Math.min(room, this.#messageSize));
      let answer: Uint8Array;
      try {
        if (!handler) throw new FileError('EOPNOTSUPP');
        handler.call(this, new Reader(message), writer);
        answer = writer.finish(type + 1, tag);
      } catch (error) {
        if (error instanceof NotYet) return this.#later(tag, { reply }, error, attempt);
        if (!(error instanceof FileError)) this.#onMistake(error);
        answer = errorMessage(tag, error instanceof FileError ? error.errno : ERRNO.EIO);
      }
      reply(answer);
    };
    attempt();
  }

  /** Tries again when there is something to read, unless the client has given up by then. */
  #later(tag: number, waiting: Waiting, { onReadable }: NotYet, attempt: () => void): void {
    if (this.#waiting.has(tag) || this.#waiting.size >= MOST_WAITING)
      return waiting.reply(errorMessage(tag, ERRNO.EINVAL));
    this.#waiting.set(tag, waiting);
    onReadable(() => {
      if (this.#waiting.get(tag) !== waiting) return;
      this.#waiting.delete(tag);
      attempt();
    });
  }

  #owner(fid: Fid, gid: number): { uid: number; gid: number } {
    return { uid: fid.uid, gid: gid === p9.NONUNAME ? 0 : gid };
  }

  // ---- Sessions --------------------------------------------------------------------------------

  version(reader: Reader, writer: Writer): void {
    const size = reader.u32();
    const version = reader.text();
    this.reset();
    if (size < SMALLEST_MESSAGE) throw new FileError('EMSGSIZE');
    this.#messageSize = Math.min(size, LARGEST_MESSAGE);
    writer.u32(this.#messageSize);
    writer.text(version === '9P2000.L' ? version : 'unknown');
  }

  /** No file asks for more than an attach. */
  auth(): void {
    throw new FileError('EOPNOTSUPP');
  }

  attach(reader: Reader, writer: Writer): void {
    const number = reader.u32();
    reader.u32(); // afid
    reader.text(); // uname
    const path = reader.text();
    const uid = reader.u32();
    let inode = this.#files.root;
    this.#files.retain(inode);
    try {
      for (const name of path.split('/').filter(Boolean)) {
        const next = this.#step(inode, name);
        this.#files.release(inode);
        inode = next;
      }
      this.#fids.add(number, { inode, uid: uid === p9.NONUNAME ? 0 : uid, held: 0 });
    } catch (error) {
      this.#files.release(inode);
      throw error;
    }
    writer.qid(inode);
  }

  flush(reader: Reader): void {
    const tag = reader.u16();
    const waiting = this.#waiting.get(tag);
    this.#waiting.delete(tag);
    // Whoever carries the messages wants an answer to each.
    waiting?.reply(errorMessage(tag, ERRNO.EINTR));
  }

  #step(directory: Inode, name: ByteString): Inode {
    if (directory.type !== S_IFDIR) throw new FileError('ENOTDIR');
    if (name === '..') return this.#files.parent(directory);
    if (name === '.') {
      this.#files.retain(directory);
      return directory;
    }
    return this.#files.lookup(directory, name);
  }

  walk(reader: Reader, writer: Writer): void {
    const from = reader.u32();
    const to = reader.u32();
    const count = reader.u16();
    if (count > p9.MAX_WALK) throw new FileError('EINVAL');
    const names = Array.from({ length: count }, () => reader.text());
    const start = this.#fids.named(from);
    // An open fid can be cloned: Linux does so with a file that has no name any more.
    if (to === from && (start.open || start.isOpenDirectory)) throw new FileError('EBADF');
    let inode = start.inode;
    this.#files.retain(inode);
    const found: Inode[] = [];
    try {
      for (const name of names) {
        let next: Inode;
        try {
          next = this.#step(inode, name);
        } catch (error) {
          if (found.length === 0) throw error;
          break;
        }
        this.#files.release(inode);
        inode = next;
        // Plain data: the object itself may be gone by the time it is written.
        found.push({ id: inode.id, type: inode.type });
      }
      writer.u16(found.length);
      for (const { id, type } of found) writer.qid({ id, type });
      // Not all of the way: there is no new fid.
      if (found.length < count) return this.#files.release(inode);
      if (to === from) {
        this.#files.release(start.inode);
        start.inode = inode;
      } else this.#fids.add(to, { inode, uid: start.uid, held: 0 });
    } catch (error) {
      this.#files.release(inode);
      throw error;
    }
  }

  clunk(reader: Reader): void {
    const number = reader.u32();
    const { writing, inode } = this.#fids.get(number);
    try {
      if (writing) this.#keep(inode, writing);
    } finally {
      this.#fids.clunk(number);
    }
  }

  /** A client that has 9P2000.L has `unlinkat` instead. The fid goes all the same. */
  remove(reader: Reader): void {
    this.#fids.clunk(reader.u32());
    throw new FileError('EOPNOTSUPP');
  }

  // ---- Files -----------------------------------------------------------------------------------

  lopen(reader: Reader, writer: Writer): void {
    const fid = this.#fids.named(reader.u32());
    const flags = reader.u32();
    this.#open(fid, flags);
    writer.qid(fid.inode);
    writer.u32(0);
  }

  #open(fid: Fid, flags: number): void {
    if (fid.open || fid.isOpenDirectory) throw new FileError('EBADF');
    const { inode } = fid;
    const access = flags & p9.L_ACCESS;
    const write = access === p9.L_WRONLY || access === p9.L_RDWR;
    if (inode.type === S_IFDIR) {
      if (write) throw new FileError('EISDIR');
      fid.isOpenDirectory = true;
      return;
    }
    if (flags & p9.L_DIRECTORY) throw new FileError('ENOTDIR');
    if (inode.type === S_IFLNK) throw new FileError('ELOOP');
    // Linux reads through a file that is open for writing, too, when it fills a page of its cache.
    fid.open = this.#files.open(inode, { read: access !== p9.L_WRONLY, write, append: (flags & p9.L_APPEND) !== 0 });
    if (flags & p9.L_TRUNC && write) this.#files.change(inode, { size: 0 });
  }

  lcreate(reader: Reader, writer: Writer): void {
    const fid = this.#fids.named(reader.u32());
    const name = reader.text();
    const flags = reader.u32();
    const mode = reader.u32();
    const gid = reader.u32();
    if (fid.open || fid.isOpenDirectory) throw new FileError('EBADF');
    const inode = this.#createOrFind(fid, name, flags, S_IFREG | (mode & PERMISSIONS), gid);
    const before = fid.inode;
    try {
      fid.inode = inode;
      this.#open(fid, flags & ~p9.L_DIRECTORY);
    } catch (error) {
      fid.inode = before;
      this.#files.release(inode);
      throw error;
    }
    this.#files.release(before);
    writer.qid(inode);
    writer.u32(0);
  }

  #createOrFind(fid: Fid, name: ByteString, flags: number, mode: number, gid: number): Inode {
    try {
      return this.#files.create(fid.inode, name, { mode, ...this.#owner(fid, gid) });
    } catch (error) {
      const exists = error instanceof FileError && error.code === 'EEXIST';
      if (!exists || flags & p9.L_EXCL) throw error;
      return this.#files.lookup(fid.inode, name);
    }
  }

  read(reader: Reader, writer: Writer): void {
    const { open, value } = this.#fids.get(reader.u32());
    const offset = reader.u64();
    const count = reader.u32();
    const at = Number(offset);
    if (value) {
      return writer.counted(count, into => {
        const part = value.subarray(Math.min(at, value.length), Math.min(value.length, at + into.length));
        into.set(part);
        return part.length;
      });
    }
    if (!open) throw new FileError('EBADF');
    if (!Number.isSafeInteger(at + count)) return writer.u32(0);
    writer.counted(count, into => {
      const length = open.read(at, into);
      if (length === undefined) throw new NotYet(again => open.onReadable!(again));
      return length;
    });
  }

  write(reader: Reader, writer: Writer): void {
    const { open, writing } = this.#fids.get(reader.u32());
    const offset = Number(reader.u64());
    const data = reader.data(reader.u32());
    if (writing) {
      if (offset !== writing.filled || offset + data.length > writing.value.length) throw new FileError('EINVAL');
      writing.value.set(data, offset);
      writing.filled += data.length;
      return writer.u32(data.length);
    }
    if (!open) throw new FileError('EBADF');
    if (!Number.isSafeInteger(offset + data.length)) throw new FileError('EFBIG');
    writer.u32(data.length === 0 ? 0 : open.write(offset, data));
  }

  fsync(reader: Reader): void {
    const { open } = this.#fids.get(reader.u32());
    const dataOnly = reader.u32() !== 0;
    open?.sync(dataOnly);
  }

  readdir(reader: Reader, writer: Writer): void {
    const fid = this.#fids.get(reader.u32());
    const offset = reader.u64();
    const count = reader.u32();
    if (!fid.isOpenDirectory) throw new FileError('EBADF');
    // What is read on is the directory as it was: entries that come and go must not move the others.
    const listing = offset === 0n || !fid.listing ? this.#list(fid.inode) : fid.listing;
    if (listing !== fid.listing)
      this.#fids.hold(
        fid,
        listing.reduce((sum, { name }) => sum + name.length + ENTRY_COST, 0),
      );
    fid.listing = listing;
    writer.counted(count, into => {
      const entries = new Writer(HEADER_SIZE + into.length);
      for (let at = Number(offset); at < listing.length; at++) {
        const { name, type, id } = listing[at];
        // qid, offset, type and name.
        if (entries.length + 13 + 8 + 1 + 2 + name.length > HEADER_SIZE + into.length) break;
        entries.qid({ type, id });
        entries.u64(at + 1);
        entries.u8(type >> 12);
        entries.text(name);
      }
      const bytes = entries.finish(0, 0).subarray(HEADER_SIZE);
      into.set(bytes);
      return bytes.length;
    });
  }

  #list(directory: Inode): readonly DirectoryEntry[] {
    const parent = this.#files.parent(directory);
    const above = { name: '..', type: parent.type, id: parent.id };
    this.#files.release(parent);
    return [{ name: '.', type: directory.type, id: directory.id }, above, ...this.#files.list(directory)];
  }

  // ---- Names -----------------------------------------------------------------------------------

  /** Makes an object that is not open. */
  #make(fid: Fid, name: ByteString, what: { mode: number; gid: number }, writer: Writer, more: object = {}): void {
    const { mode, gid } = what;
    const inode = this.#files.create(fid.inode, name, { mode, ...this.#owner(fid, gid), ...more });
    try {
      writer.qid(inode);
    } finally {
      this.#files.release(inode);
    }
  }

  symlink(reader: Reader, writer: Writer): void {
    const fid = this.#fids.named(reader.u32());
    const name = reader.text();
    const target = reader.text();
    const gid = reader.u32();
    if (target === '' || target.includes('\0')) throw new FileError('EINVAL');
    this.#make(fid, name, { mode: S_IFLNK | 0o777, gid }, writer, { target });
  }

  mknod(reader: Reader, writer: Writer): void {
    const fid = this.#fids.named(reader.u32());
    const name = reader.text();
    const mode = reader.u32() & (S_IFMT | PERMISSIONS);
    const [major, minor, gid] = [reader.u32(), reader.u32(), reader.u32()];
    const type = mode & S_IFMT || S_IFREG;
    if (!MKNOD_TYPES.includes(type)) throw new FileError('EINVAL');
    this.#make(fid, name, { mode: type | (mode & PERMISSIONS), gid }, writer, { major, minor });
  }

  mkdir(reader: Reader, writer: Writer): void {
    const fid = this.#fids.named(reader.u32());
    const name = reader.text();
    const mode = reader.u32();
    const gid = reader.u32();
    this.#make(fid, name, { mode: S_IFDIR | (mode & PERMISSIONS), gid }, writer);
  }

  link(reader: Reader): void {
    const directory = this.#fids.named(reader.u32());
    const fid = this.#fids.named(reader.u32());
    this.#files.link(fid.inode, directory.inode, reader.text());
  }

  renameat(reader: Reader): void {
    const from = this.#fids.named(reader.u32());
    const name = reader.text();
    const to = this.#fids.named(reader.u32());
    this.#files.rename(from.inode, name, to.inode, reader.text());
  }

  /** A client that has 9P2000.L has `renameat` instead. */
  rename(): void {
    throw new FileError('EOPNOTSUPP');
  }

  unlinkat(reader: Reader): void {
    const directory = this.#fids.named(reader.u32());
    const name = reader.text();
    this.#files.remove(directory.inode, name, (reader.u32() & p9.AT_REMOVEDIR) !== 0);
  }

  readlink(reader: Reader, writer: Writer): void {
    writer.text(this.#files.readLink(this.#fids.named(reader.u32()).inode));
  }

  // ---- Attributes ------------------------------------------------------------------------------

  getattr(reader: Reader, writer: Writer): void {
    const { inode } = this.#fids.get(reader.u32());
    const attributes = this.#files.attributes(inode);
    writer.u64(p9.GETATTR_VALID);
    writer.qid(inode);
    writer.u32(attributes.mode);
    writer.u32(attributes.uid);
    writer.u32(attributes.gid);
    writer.u64(attributes.links);
    writer.u64(deviceNumber(attributes));
    writer.u64(attributes.size);
    writer.u64(4096);
    writer.u64(attributes.blocks);
    for (const time of [attributes.atime, attributes.mtime, attributes.ctime, attributes.btime]) {
      writer.u64(time / p9.NANOSECONDS);
      writer.u64(time % p9.NANOSECONDS);
    }
    writer.u64(0); // generation
    writer.u64(0); // version of the data
  }

  setattr(reader: Reader): void {
    const { inode } = this.#fids.get(reader.u32());
    const valid = reader.u32();
    const [mode, uid, gid] = [reader.u32(), reader.u32(), reader.u32()];
    const size = reader.u64();
    const time = () => reader.u64() * p9.NANOSECONDS + reader.u64();
    const [atime, mtime] = [time(), time()];
    const changes: Changes = {};
    if (valid & p9.SET_MODE) changes.mode = mode & PERMISSIONS;
    if (valid & p9.SET_UID && uid !== p9.NONUNAME) changes.uid = uid;
    if (valid & p9.SET_GID && gid !== p9.NONUNAME) changes.gid = gid;
    if (valid & p9.SET_SIZE) {
      if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw new FileError('EFBIG');
      changes.size = Number(size);
    }
    if (valid & p9.SET_ATIME) changes.atime = valid & p9.SET_ATIME_GIVEN ? BigInt.asIntN(64, atime) : this.#now();
    if (valid & p9.SET_MTIME) changes.mtime = valid & p9.SET_MTIME_GIVEN ? BigInt.asIntN(64, mtime) : this.#now();
    this.#files.change(inode, changes);
  }

  statfs(reader: Reader, writer: Writer): void {
    this.#fids.get(reader.u32());
    const room = this.#files.room();
    writer.u32(p9.V9FS_MAGIC);
    writer.u32(room.blockSize);
    for (const value of [room.blocks, room.free, room.available, room.files, room.filesFree]) writer.u64(value);
    writer.u64(0);
    writer.u32(p9.NAME_MAX);
  }

  xattrwalk(reader: Reader, writer: Writer): void {
    const { inode, uid } = this.#fids.named(reader.u32());
    const number = reader.u32();
    const name = reader.text();
    const value = name === '' ? this.#extendedNames(inode) : this.#files.extended(inode, name);
    if (!value) throw new FileError('ENODATA');
    this.#files.retain(inode);
    try {
      this.#fids.add(number, { inode, uid, value, held: value.length });
    } catch (error) {
      this.#files.release(inode);
      throw error;
    }
    writer.u64(value.length);
  }

  #extendedNames(inode: Inode): Uint8Array {
    const text = this.#files.extendedNames(inode).map(name => `${name}\0`);
    return Uint8Array.from(text.join(''), char => char.charCodeAt(0));
  }

  xattrcreate(reader: Reader): void {
    const fid = this.#fids.named(reader.u32());
    const name = reader.text();
    const size = reader.u64();
    const flags = reader.u32();
    if (fid.open || fid.isOpenDirectory || name === '') throw new FileError('EINVAL');
    if (size > BigInt(p9.MOST_EXTENDED)) throw new FileError('ERANGE');
    this.#fids.hold(fid, Number(size));
    fid.writing = { name, value: new Uint8Array(Number(size)), filled: 0, flags };
  }

  #keep(inode: Inode, { name, value, filled, flags }: NonNullable<Fid['writing']>): void {
    if (filled !== value.length) throw new FileError('EINVAL');
    const before = this.#files.extended(inode, name);
    if (flags & p9.XATTR_CREATE && before) throw new FileError('EEXIST');
    if (flags & p9.XATTR_REPLACE && !before) throw new FileError('ENODATA');
    // Linux removes one by replacing it with nothing; what it sets to nothing, it does not ask to be there before.
    const removes = value.length === 0 && (flags & p9.XATTR_REPLACE) !== 0;
    this.#files.setExtended(inode, name, removes ? undefined : value);
  }

  // ---- Locks -----------------------------------------------------------------------------------

  lock(reader: Reader, writer: Writer): void {
    this.#fids.get(reader.u32());
    writer.u8(p9.LOCK_SUCCESS);
  }

  getlock(reader: Reader, writer: Writer): void {
    this.#fids.get(reader.u32());
    reader.u8();
    const [start, length] = [reader.u64(), reader.u64()];
    const process = reader.u32();
    const client = reader.text();
    writer.u8(p9.LOCK_UNLCK);
    writer.u64(start);
    writer.u64(length);
    writer.u32(process);
    writer.text(client);
  }
}

/** What mknod makes. */
const MKNOD_TYPES: readonly number[] = [S_IFREG, 0o020000, 0o060000, 0o010000, 0o140000];

type Handler = (this: NinePServer, reader: Reader, writer: Writer) => void;

const { prototype } = NinePServer;
const HANDLERS = new Map<number, Handler>([
  [p9.Tstatfs, prototype.statfs],
  [p9.Tlopen, prototype.lopen],
  [p9.Tlcreate, prototype.lcreate],
  [p9.Tsymlink, prototype.symlink],
  [p9.Tmknod, prototype.mknod],
  [p9.Trename, prototype.rename],
  [p9.Treadlink, prototype.readlink],
  [p9.Tgetattr, prototype.getattr],
  [p9.Tsetattr, prototype.setattr],
  [p9.Txattrwalk, prototype.xattrwalk],
  [p9.Txattrcreate, prototype.xattrcreate],
  [p9.Treaddir, prototype.readdir],
  [p9.Tfsync, prototype.fsync],
  [p9.Tlock, prototype.lock],
  [p9.Tgetlock, prototype.getlock],
  [p9.Tlink, prototype.link],
  [p9.Tmkdir, prototype.mkdir],
  [p9.Trenameat, prototype.renameat],
  [p9.Tunlinkat, prototype.unlinkat],
  [p9.Tversion, prototype.version],
  [p9.Tauth, prototype.auth],
  [p9.Tattach, prototype.attach],
  [p9.Tflush, prototype.flush],
  [p9.Twalk, prototype.walk],
  [p9.Tread, prototype.read],
  [p9.Twrite, prototype.write],
  [p9.Tclunk, prototype.clunk],
  [p9.Tremove, prototype.remove],
]);
