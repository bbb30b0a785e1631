/**
 * A tree of files as devices see it, by Linux's rules: what a guest mounts. It names objects, not paths: an `Inode` stays
 * good when it, or a directory above it, is renamed, and after its last name is gone, for as long as somebody retains it.
 * Nothing here follows a symbolic link: that is the guest's to do. Permissions are the guest's to check, too.
 *
 * Everything is synchronous, and throws a `FileError` with the number that Linux gives the error.
 */

/**
 * A file's name, or a symbolic link's target: one character, U+0000 to U+00FF, for each byte. Names on Linux are bytes
 * and need not be UTF-8.
 */
export type ByteString = string;

/** Error numbers of Linux on x86 (include/uapi/asm-generic/errno-base.h, errno.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EMLINK: 31,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  ENODATA: 61,
  EOVERFLOW: 75,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  ESTALE: 116,
  EDQUOT: 122,
} as const;

export type ErrnoName = keyof typeof ERRNO;

/** What a file system refuses. */
export class FileError extends Error {
  readonly code: ErrnoName;

  constructor(code: ErrnoName, detail = '') {
    super(detail === '' ? code : `${code}: ${detail}`);
    this.code = code;
  }

  get errno(): number {
    return ERRNO[this.code];
  }
}

/** Types of files, as they stand in `mode` (include/uapi/linux/stat.h). */
export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;
/** Permissions, and the set-user-ID, set-group-ID and sticky bits. */
export const PERMISSIONS = 0o7777;

/** An object of a file system: a file, a directory, a link, a device. Whoever made it knows what else is in it. */
export interface Inode {
  /** The same for all names of the object, and no other object's while this one lives. Below 2^64. */
  readonly id: bigint;
  /** One of S_IF…. Never changes. */
  readonly type: number;
}

export interface Attributes {
  /** With the type. */
  mode: number;
  uid: number;
  gid: number;
  links: number;
  /** Of a device node. */
  major: number;
  minor: number;
  /** Bytes. */
  size: number;
  /** What is taken on the host, in units of 512 bytes. */
  blocks: number;
  /** Nanoseconds since 1970: last access, change of the content, change of attributes, birth. */
  atime: bigint;
  mtime: bigint;
  ctime: bigint;
  btime: bigint;
}

/** What `change` changes: what is there. */
export interface Changes {
  /** Without the type. */
  mode?: number;
  uid?: number;
  gid?: number;
  size?: number;
  /** Nanoseconds since 1970. */
  atime?: bigint;
  mtime?: bigint;
}

/** A new object. */
export interface Creation {
  /** With the type. */
  mode: number;
  uid: number;
  gid: number;
  /** Of a device node. */
  major?: number;
  minor?: number;
  /** Of a symbolic link. */
  target?: ByteString;
}

export interface OpenMode {
  read: boolean;
  write: boolean;
  /** Every write goes to the end, wherever it was to go. */
  append?: boolean;
}

export interface OpenFile {
  /**
   * Fills `into` from `offset` (bytes). @returns how much there was, 0 at the end; undefined where it will only be known
   * later: `onReadable` then says when to ask again
   */
  read(offset: number, into: Uint8Array): number | undefined;
  /** Calls `again` once, when there may be something to read. Only files whose `read` returns undefined have it. */
  onReadable?(again: () => void): void;
  /** @returns how much was written, more than 0 unless `from` is empty */
  write(offset: number, from: Uint8Array): number;
  /** Returns when what was written is on the host's storage. */
  sync(dataOnly: boolean): void;
  close(): void;
}

export interface DirectoryEntry {
  readonly name: ByteString;
  readonly type: number;
  /** The object's. */
  readonly id: bigint;
}

/** For `df`. In units of `blockSize` bytes. */
export interface Room {
  blockSize: number;
  blocks: bigint;
  free: bigint;
  available: bigint;
  files: bigint;
  filesFree: bigint;
}

export interface FileSystem {
  readonly readOnly: boolean;
  /** The topmost directory. It is always good. */
  readonly root: Inode;
  /** `inode` stays good until `release` is called as often. What the methods below return is retained once. */
  retain(inode: Inode): void;
  release(inode: Inode): void;

  lookup(directory: Inode, name: ByteString): Inode;
  /** The directory above, or the root itself. */
  parent(directory: Inode): Inode;
  /** All names but "." and "..", as they are now: what happens to the directory later does not show. */
  list(directory: Inode): readonly DirectoryEntry[];
  readLink(link: Inode): ByteString;

  attributes(inode: Inode): Attributes;
  change(inode: Inode, changes: Changes): void;
  /** Opens a regular file. */
  open(file: Inode, mode: OpenMode): OpenFile;

  /** Makes an object of any type. @throws FileError EEXIST where there is one of that name */
  create(directory: Inode, name: ByteString, what: Creation): Inode;
  /** Gives `inode` one more name. */
  link(inode: Inode, directory: Inode, name: ByteString): void;
  /** rename(2): what has the new name is replaced. */
  rename(from: Inode, name: ByteString, to: Inode, newName: ByteString): void;
  /** unlink(2) or, for a directory, rmdir(2). */
  remove(directory: Inode, name: ByteString, isDirectory: boolean): void;

  /** Extended attributes (xattr(7)), by their full names. */
  extendedNames(inode: Inode): readonly ByteString[];
  /** Undefined where there is none of that name. */
  extended(inode: Inode, name: ByteString): Uint8Array | undefined;
  /** Sets it, or removes it if `value` is undefined. */
  setExtended(inode: Inode, name: ByteString, value: Uint8Array | undefined): void;

  room(): Room;
  /** Gives back what the host lent. */
  close(): void;
}

/** NAME_MAX of Linux. */
export const NAME_LENGTH = 255;

/** Refuses what cannot name a new or existing entry. @throws FileError */
export function checkName(name: ByteString): void {
  if (name === '' || name === '.' || name === '..') throw new FileError('EINVAL', 'not a name');
  if (name.includes('/') || name.includes('\0')) throw new FileError('EINVAL', 'a name with a slash or NUL');
  if (name.length > NAME_LENGTH) throw new FileError('ENAMETOOLONG');
}

export function toBytes(text: ByteString): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

export function fromBytes(bytes: Uint8Array): ByteString {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** A text of our own as bytes in UTF-8. */
export const byteString = (text: string): ByteString => fromBytes(new TextEncoder().encode(text));
