/**
 * How 9P2000.L puts its messages into bytes (Linux: include/net/9p/9p.h, net/9p/protocol.c): little-endian numbers,
 * strings of a 16-bit length and bytes. A message is its size, its type and its tag, then what the type has.
 */
import { type ByteString, FileError, type Inode, S_IFDIR, S_IFLNK } from '../host/file-system.ts';

/** Types of requests. The answer's is one more. */
export const Tlerror = 6;
export const Tstatfs = 8;
export const Tlopen = 12;
export const Tlcreate = 14;
export const Tsymlink = 16;
export const Tmknod = 18;
export const Trename = 20;
export const Treadlink = 22;
export const Tgetattr = 24;
export const Tsetattr = 26;
export const Txattrwalk = 30;
export const Txattrcreate = 32;
export const Treaddir = 40;
export const Tfsync = 50;
export const Tlock = 52;
export const Tgetlock = 54;
export const Tlink = 70;
export const Tmkdir = 72;
export const Trenameat = 74;
export const Tunlinkat = 76;
export const Tversion = 100;
export const Tauth = 102;
export const Tattach = 104;
export const Tflush = 108;
export const Twalk = 110;
export const Tread = 116;
export const Twrite = 118;
export const Tclunk = 120;
export const Tremove = 122;

export const NOTAG = 0xffff;
export const NOFID = 0xffffffff;
/** A user or group number that is none. */
export const NONUNAME = 0xffffffff;

/** size u32, type u8, tag u16. */
export const HEADER_SIZE = 7;
/** What precedes the data of an answer to Tread: the header and a count. */
export const READ_OVERHEAD = HEADER_SIZE + 4;
/** What precedes that of Twrite, and then some, as 9P counts it (P9_IOHDRSZ). */
export const IO_HEADER_SIZE = 24;
/** Names in one Twalk (P9_MAXWELEM). */
export const MAX_WALK = 16;

/** Flags of Tlopen and Tlcreate, Linux's own on x86, in octal. */
export const L_ACCESS = 0o3;
export const L_WRONLY = 0o1;
export const L_RDWR = 0o2;
export const L_EXCL = 0o200;
export const L_TRUNC = 0o1000;
export const L_APPEND = 0o2000;
export const L_DIRECTORY = 0o200000;

export const AT_REMOVEDIR = 0x200;
/** What Rgetattr has: the basic mask and the time of birth. */
export const GETATTR_VALID = 0x7ffn | 0x800n;
/** Bits of Tsetattr. */
export const SET_MODE = 0x1;
export const SET_UID = 0x2;
export const SET_GID = 0x4;
export const SET_SIZE = 0x8;
export const SET_ATIME = 0x10;
export const SET_MTIME = 0x20;
export const SET_ATIME_GIVEN = 0x80;
export const SET_MTIME_GIVEN = 0x100;

export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;
/** XATTR_SIZE_MAX */
export const MOST_EXTENDED = 1 << 16;

export const LOCK_SUCCESS = 0;
export const LOCK_UNLCK = 2;

/** V9FS_MAGIC */
export const V9FS_MAGIC = 0x01021997;
export const NAME_MAX = 255;
export const NANOSECONDS = 1_000_000_000n;

const QTDIR = 0x80;
const QTSYMLINK = 0x02;
/**
 * Linux compares versions when it meets a file again, and takes two for two files; 0 would mean that nothing of it may be
 * cached. So it is the same for all.
 */
const QID_VERSION = 1;

/** Takes a request apart. @throws FileError EINVAL where it ends too early */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = HEADER_SIZE;

  constructor(message: Uint8Array) {
    this.#bytes = message;
    this.#view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  }

  get type(): number {
    return this.#bytes[4];
  }

  get tag(): number {
    return this.#view.getUint16(5, true);
  }

  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw new FileError('EINVAL', 'a message that ends too early');
    this.#at += length;
    return at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)];
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  text(): ByteString {
    const length = this.u16();
    const start = this.#take(length);
    let text = '';
    for (let at = start; at < start + length; at++) text += String.fromCharCode(this.#bytes[at]);
    return text;
  }

  /** A view, good as long as the message is. */
  data(length: number): Uint8Array {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }
}

/** What an answer takes in most cases. */
const FIRST_ROOM = 256;

/** Puts an answer together, in at most `room` bytes, which are at least HEADER_SIZE + 4. */
export class Writer {
  readonly #room: number;
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #at = HEADER_SIZE;

  constructor(room: number) {
    this.#room = room;
    this.#bytes = new Uint8Array(Math.min(room, FIRST_ROOM));
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#at;
  }

  /** @throws FileError EMSGSIZE if the client has left too little room */
  #take(length: number): number {
    const at = this.#at;
    if (at + length > this.#room) throw new FileError('EMSGSIZE');
    this.#grow(at + length);
    this.#at += length;
    return at;
  }

  #grow(length: number): void {
    if (length <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.min(this.#room, Math.max(length, 2 * this.#bytes.length)));
    bytes.set(this.#bytes);
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }

  // The place first: taking it may move the bytes.
  u8(value: number): void {
    const at = this.#take(1);
    this.#bytes[at] = value;
  }

  u16(value: number): void {
    const at = this.#take(2);
    this.#view.setUint16(at, value, true);
  }

  u32(value: number): void {
    const at = this.#take(4);
    this.#view.setUint32(at, value, true);
  }

  u64(value: bigint | number): void {
    const at = this.#take(8);
    this.#view.setBigUint64(at, BigInt.asUintN(64, BigInt(value)), true);
  }

  text(text: ByteString): void {
    this.u16(text.length);
    const start = this.#take(text.length);
    for (let at = 0; at < text.length; at++) this.#bytes[start + at] = text.charCodeAt(at);
  }

  qid({ id, type }: Pick<Inode, 'id' | 'type'>): void {
    this.u8(type === S_IFDIR ? QTDIR : type === S_IFLNK ? QTSYMLINK : 0);
    this.u32(QID_VERSION);
    this.u64(id);
  }

  /** Room for data whose length is known later: `fill` writes it and says how much it was. */
  counted(most: number, fill: (into: Uint8Array) => number): void {
    const countAt = this.#take(4);
    const end = Math.min(this.#room, this.#at + most);
    this.#grow(end);
    const count = fill(this.#bytes.subarray(this.#at, end));
    this.#view.setUint32(countAt, count, true);
    this.#at += count;
  }

  /** The message's bytes. Undoes nothing: a writer makes one. */
  finish(type: number, tag: number): Uint8Array<ArrayBuffer> {
    this.#view.setUint32(0, this.#at, true);
    this.#bytes[4] = type;
    this.#view.setUint16(5, tag, true);
    return this.#bytes.subarray(0, this.#at);
  }
}

/** Rlerror. */
export function errorMessage(tag: number, errno: number): Uint8Array<ArrayBuffer> {
  const writer = new Writer(HEADER_SIZE + 4);
  writer.u32(errno);
  return writer.finish(Tlerror + 1, tag);
}

/** A device number as the kernel packs it (new_encode_dev). */
export function deviceNumber({ major, minor }: { major: number; minor: number }): number {
  return (minor & 0xff) + ((major & 0xfff) << 8) + (minor & 0xfff00) * 2 ** 12;
}
