/**
 * A folder of the host as a file system for guests. What the guest asks for stays within: names are resolved one by one, each
 * from an open directory (`/proc/self/fd/N/name` is what openat(2) is elsewhere), and no symbolic link is followed, neither at
 * the end of a path nor in its middle, whoever moves things about in the folder meanwhile. What the kernel makes up (proc,
 * sysfs …) is shown as empty where it is mounted below.
 *
 * The process needs no rights: a guest's owners, device nodes and extended attributes are kept beside (file-metadata.ts),
 * and no set-user-ID bit of a guest's ever reaches the host. Unless it is root's, the user's own files are root's to the guest.
 */
import {
  type BigIntStats,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  statfsSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
} from 'node:fs';
import process from 'node:process';
import { checkExtended } from '../../folders/memory-file-system.ts';
import {
  type Attributes,
  type ByteString,
  type Changes,
  type Creation,
  checkName,
  type DirectoryEntry,
  FileError,
  type FileSystem,
  type OpenFile,
  type OpenMode,
  PERMISSIONS,
  type Room,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from '../file-system.ts';
import { type FileMetadata, METADATA_NAME, MetadataFile } from './file-metadata.ts';
import { asOwner, FolderEntry, FolderFile, type FolderInode, identityOf, keyOf, O_PATH } from './folder-parts.ts';
import { FolderTree } from './folder-tree.ts';

export interface FolderOptions {
  readOnly?: boolean;
  /** Owners are shown as they are. Otherwise the files of the user that runs this are root's. */
  ownersAsTheyAre?: boolean;
}

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_APPEND, O_NONBLOCK, O_NOCTTY, O_NOATIME, O_NOFOLLOW } =
  constants;
const SET_ID_BITS = 0o6000;
/** Files that are kept open on the host. What the guest has open beyond that is opened again when it is used. */
const OPEN_FILES = 256;

/**
 * Opens the folder at `path` for guests.
 * @throws FileError ENOTDIR for what is not a folder, EOPNOTSUPP on a host that is not Linux; the host's own error (with
 *   `code`) if it cannot be opened
 */
export function openFolder(path: string, options: FolderOptions = {}): FileSystem {
  if (process.platform !== 'linux') throw new FileError('EOPNOTSUPP', 'folders can be shared on Linux alone');
  return new Folder(path, options);
}

class Folder implements FileSystem {
  readonly readOnly: boolean;
  readonly #tree: FolderTree;
  /** Open files that have a descriptor, those used last at the end. */
  readonly #openFiles = new Set<FolderFile>();
  readonly #metadata: MetadataFile;
  readonly #user = process.geteuid!();
  readonly #group = process.getegid!();
  readonly #ownersAsTheyAre: boolean;

  constructor(path: string, { readOnly = false, ownersAsTheyAre = false }: FolderOptions) {
    this.readOnly = readOnly;
    this.#ownersAsTheyAre = ownersAsTheyAre || this.#user === 0;
    this.#tree = new FolderTree(
      path,
      stat => this.#typeOf(stat),
      ({ key }) => this.#forgetMetadata(key),
    );
    this.#metadata = new MetadataFile(`${this.#tree.rootPath}/`, readOnly);
  }

  get root(): FolderInode {
    return this.#tree.root;
  }

  close(): void {
    for (const file of this.#openFiles) file.pause();
    this.#tree.close();
  }

  retain(inode: FolderInode): void {
    this.#tree.retain(inode);
  }

  release(inode: FolderInode): void {
    this.#tree.release(inode);
  }

  #forgetMetadata(key: string): void {
    try {
      this.#metadata.set(key, undefined);
    } catch {
      // No other file has this key: what stays there is never looked at.
    }
  }

  #typeOf(stat: BigIntStats): number {
    const type = Number(stat.mode) & S_IFMT;
    return type === S_IFREG ? (this.#metadata.get(keyOf(stat))?.mode ?? type) & S_IFMT : type;
  }

  #isOurs(directory: FolderInode, name: ByteString): boolean {
    return directory === this.root && name.startsWith(METADATA_NAME);
  }

  /** @throws FileError where nothing may be made or removed */
  #checkChange(directory: FolderInode, name: ByteString): void {
    this.#checkWritable();
    checkName(name);
    if (this.#isOurs(directory, name)) throw new FileError('EACCES', 'the name is Polyvisor’s own');
  }

  #checkWritable(): void {
    if (this.readOnly) throw new FileError('EROFS');
  }

  // ---- Names -----------------------------------------------------------------------------------

  lookup(directory: FolderInode, name: ByteString): FolderInode {
    checkName(name);
    if (directory.type !== S_IFDIR) throw new FileError('ENOTDIR');
    if (directory.isMadeUp || this.#isOurs(directory, name)) throw new FileError('ENOENT');
    return this.#tree.do(() =>
      this.#tree.found(directory, name, lstatSync(this.#tree.at(directory, name), { bigint: true })),
    );
  }

  parent(directory: FolderInode): FolderInode {
    const parent = directory.parent ?? this.root;
    parent.references++;
    return parent;
  }

  list(directory: FolderInode): DirectoryEntry[] {
    if (directory.type !== S_IFDIR) throw new FileError('ENOTDIR');
    if (directory.isMadeUp) return [];
    return this.#tree.do(() => {
      const names = readdirSync(this.#tree.at(directory, '.'), 'buffer').map(name => name.toString('latin1'));
      const shown = names.filter(name => !this.#isOurs(directory, name)).sort();
      return shown.map(name => new FolderEntry(name, () => this.#identify(directory, name)));
    });
  }

  #identify(directory: FolderInode, name: ByteString): { type: number; id: bigint } {
    try {
      return this.#tree.do(() => {
        const stat = lstatSync(this.#tree.at(directory, name), { bigint: true });
        return { type: this.#typeOf(stat), id: this.#tree.idOf(stat) };
      });
    } catch {
      return { type: S_IFREG, id: 0n }; // It has gone since.
    }
  }

  readLink(link: FolderInode): ByteString {
    if (link.type !== S_IFLNK) throw new FileError('EINVAL');
    return (
      link.target ??
      this.#tree.do(() => readlinkSync(this.#tree.at(link.parent!, link.name), 'buffer').toString('latin1'))
    );
  }

  create(directory: FolderInode, name: ByteString, what: Creation): FolderInode {
    this.#checkChange(directory, name);
    return this.#tree.do(() => {
      const type = what.mode & S_IFMT;
      const path = this.#tree.at(directory, name);
      this.#inDirectory(directory, () => {
        if (type === S_IFDIR) mkdirSync(path, 0o700);
        else if (type === S_IFLNK) symlinkSync(Buffer.from(what.target ?? '', 'latin1'), path);
        else closeSync(openSync(path, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY, 0o600));
      });
      try {
        const stat = lstatSync(path, { bigint: true });
        this.#describe(path, stat, what);
        return this.#tree.found(directory, name, stat);
      } catch (error) {
        // Without what belongs to it, it is not what was asked for.
        if (type === S_IFDIR) rmdirSync(path);
        else unlinkSync(path);
        throw error;
      }
    });
  }

  /** A new object's mode, owner and numbers: on the host as far as that goes. */
  #describe(path: Buffer, stat: BigIntStats, { mode, uid, gid, major = 0, minor = 0 }: Creation): void {
    const type = mode & S_IFMT;
    const metadata: FileMetadata = {};
    const isOther = type !== (Number(stat.mode) & S_IFMT);
    if (isOther) Object.assign(metadata, { mode, major, minor });
    else if (mode & SET_ID_BITS && type !== S_IFLNK) metadata.mode = mode;
    const descriptor = openSync(path, O_PATH | O_NOFOLLOW);
    try {
      const self = `/proc/self/fd/${descriptor}`;
      if (type !== S_IFLNK) chmodSync(self, isOther ? 0o600 : mode & PERMISSIONS & ~SET_ID_BITS);
      this.#setOwner(self, stat, metadata, uid, gid);
    } finally {
      closeSync(descriptor);
    }
    if (Object.keys(metadata).length > 0) this.#metadata.set(keyOf(stat), metadata);
  }

  /** Directories are changed as their owner would, or as root in the guest may: whatever their mode. */
  #inDirectory(directory: FolderInode, work: () => void): void {
    asOwner(this.#user, `/proc/self/fd/${this.#tree.directory(directory)}`, 0o300, work);
  }

  link(inode: FolderInode, directory: FolderInode, name: ByteString): void {
    this.#checkChange(directory, name);
    if (inode.type === S_IFDIR) throw new FileError('EPERM');
    if (inode.held !== undefined) throw new FileError('ENOENT');
    const stat = this.#tree.stat(inode);
    this.#tree.do(() => {
      const target = this.#tree.at(directory, name);
      this.#inDirectory(directory, () => linkSync(this.#tree.at(inode.parent!, inode.name), target));
      // Whoever shares the folder may have put something else there.
      if (identityOf(lstatSync(target, { bigint: true })) !== identityOf(stat)) throw new FileError('ESTALE');
    });
  }

  rename(from: FolderInode, name: ByteString, to: FolderInode, newName: ByteString): void {
    this.#checkChange(from, name);
    this.#checkChange(to, newName);
    this.#tree.do(() => {
      const source = this.#tree.at(from, name);
      const moved = lstatSync(source, { bigint: true });
      const inode = this.#tree.known(moved);
      const replaced = lstatSync(this.#tree.at(to, newName), { bigint: true, throwIfNoEntry: false });
      if (replaced && identityOf(replaced) === identityOf(moved)) return;
      const undo = replaced && this.#prepareLoss(to, newName, replaced);
      try {
        // Both descriptors are needed at once.
        this.#inDirectory(from, () =>
          this.#inDirectory(to, () => renameSync(this.#tree.at(from, name), this.#tree.at(to, newName))),
        );
      } catch (error) {
        undo?.();
        throw error;
      }
      if (replaced) this.#lost(replaced);
      if (inode && inode.parent === from && inode.name === name) this.#tree.place(inode, to, newName);
    });
  }

  remove(directory: FolderInode, name: ByteString, isDirectory: boolean): void {
    this.#checkChange(directory, name);
    this.#tree.do(() => {
      const stat = lstatSync(this.#tree.at(directory, name), { bigint: true });
      if (isDirectory && !stat.isDirectory()) throw new FileError('ENOTDIR');
      if (!isDirectory && stat.isDirectory()) throw new FileError('EISDIR');
      const undo = this.#prepareLoss(directory, name, stat);
      try {
        const path = this.#tree.at(directory, name);
        this.#inDirectory(directory, () => (isDirectory ? rmdirSync(path) : unlinkSync(path)));
      } catch (error) {
        undo();
        throw error;
      }
      this.#lost(stat);
    });
  }

  /** Before an object loses a name. @returns what to do if it does not after all */
  #prepareLoss(directory: FolderInode, name: ByteString, stat: BigIntStats): () => void {
    const inode = this.#tree.known(stat);
    if (!inode || inode.parent !== directory || inode.name !== name) return () => {};
    this.#tree.hold(inode, stat);
    return () => this.#tree.place(inode, directory, name);
  }

  /** An object has lost a name, perhaps its last. */
  #lost(stat: BigIntStats): void {
    if (stat.nlink > 1n && !stat.isDirectory()) return;
    const inode = this.#tree.known(stat);
    if (inode) inode.isGone = true;
    else this.#forgetMetadata(keyOf(stat));
  }

  // ---- Attributes ------------------------------------------------------------------------------

  attributes(inode: FolderInode): Attributes {
    const stat = this.#tree.stat(inode);
    const kept = this.#metadata.get(inode.key);
    const mode = Number(stat.mode);
    const isDevice = inode.type !== (mode & S_IFMT);
    const device = Number(stat.rdev);
    return {
      mode: kept?.mode !== undefined && (kept.mode & S_IFMT) === inode.type ? kept.mode : mode,
      uid: kept?.uid ?? this.#shownUser(stat),
      gid: kept?.gid ?? this.#shownGroup(stat),
      links: Number(stat.nlink),
      major: kept?.major ?? (device >> 8) & 0xfff,
      minor: kept?.minor ?? (device & 0xff) | ((device >> 12) & 0xfff00),
      size: isDevice ? 0 : Number(stat.size),
      blocks: Number(stat.blocks),
      atime: stat.atimeNs,
      mtime: stat.mtimeNs,
      ctime: stat.ctimeNs,
      btime: stat.birthtimeNs,
    };
  }

  #shownUser({ uid }: BigIntStats): number {
    return !this.#ownersAsTheyAre && Number(uid) === this.#user ? 0 : Number(uid);
  }

  #shownGroup({ gid }: BigIntStats): number {
    return !this.#ownersAsTheyAre && Number(gid) === this.#group ? 0 : Number(gid);
  }

  change(inode: FolderInode, changes: Changes): void {
    this.#checkWritable();
    const { mode, uid, gid, size, atime, mtime } = changes;
    if (size !== undefined) this.#resize(inode, size);
    if (mode === undefined && uid === undefined && gid === undefined && atime === undefined && mtime === undefined)
      return;
    this.#tree.with(inode, (path, stat) => {
      const before = this.#metadata.get(inode.key);
      const metadata = { ...before };
      if (mode !== undefined) this.#setMode(path, stat, metadata, inode.type | (mode & PERMISSIONS));
      if (uid !== undefined || gid !== undefined) this.#setOwner(path, stat, metadata, uid, gid);
      if (JSON.stringify(before ?? {}) !== JSON.stringify(metadata))
        this.#metadata.set(inode.key, Object.keys(metadata).length > 0 ? metadata : undefined);
      // Node.js has doubles for them: to the microsecond.
      const seconds = (time: bigint) => Number(time / 1000n) / 1e6;
      if (atime !== undefined || mtime !== undefined)
        utimesSync(path, seconds(atime ?? stat.atimeNs), seconds(mtime ?? stat.mtimeNs));
    });
  }

  #setMode(path: string, stat: BigIntStats, metadata: FileMetadata, mode: number): void {
    const isOther = (mode & S_IFMT) !== (Number(stat.mode) & S_IFMT);
    let isKept = isOther || (mode & SET_ID_BITS) !== 0 || stat.isSymbolicLink();
    if (!isOther && !stat.isSymbolicLink()) {
      try {
        chmodSync(path, mode & PERMISSIONS & ~SET_ID_BITS);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
        isKept = true; // Somebody else's, but the guest's root may.
      }
    }
    if (isKept) metadata.mode = mode;
    else delete metadata.mode;
  }

  #setOwner(path: string, stat: BigIntStats, metadata: FileMetadata, uid?: number, gid?: number): void {
    if (this.#user === 0) {
      try {
        chownSync(path, uid ?? Number(stat.uid), gid ?? Number(stat.gid));
        if (uid !== undefined) delete metadata.uid;
        if (gid !== undefined) delete metadata.gid;
        return;
      } catch (error) {
        // A root whose numbers are few: one of a container.
        if (!['EPERM', 'EINVAL'].includes((error as NodeJS.ErrnoException).code!)) throw error;
      }
    }
    if (uid === this.#shownUser(stat)) delete metadata.uid;
    else if (uid !== undefined) metadata.uid = uid;
    if (gid === this.#shownGroup(stat)) delete metadata.gid;
    else if (gid !== undefined) metadata.gid = gid;
  }

  #resize(inode: FolderInode, size: number): void {
    if (inode.type !== S_IFREG) throw new FileError(inode.type === S_IFDIR ? 'EISDIR' : 'EINVAL');
    const descriptor = this.#openSelf(inode, O_WRONLY);
    try {
      this.#tree.do(() => ftruncateSync(descriptor, size));
    } finally {
      closeSync(descriptor);
    }
  }

  extendedNames(inode: FolderInode): readonly ByteString[] {
    return Object.keys(this.#metadata.get(inode.key)?.extended ?? {});
  }

  extended(inode: FolderInode, name: ByteString): Uint8Array | undefined {
    const value = new Map(Object.entries(this.#metadata.get(inode.key)?.extended ?? {})).get(name);
    return value === undefined ? undefined : new Uint8Array(Buffer.from(value, 'base64'));
  }

  setExtended(inode: FolderInode, name: ByteString, value: Uint8Array | undefined): void {
    this.#checkWritable();
    const metadata = { ...this.#metadata.get(inode.key) };
    const all = new Map(this.extendedNames(inode).map(name => [name, this.extended(inode, name)!]));
    if (value) {
      checkExtended(all, name, value);
      all.set(name, value);
    } else all.delete(name);
    const texts = [...all].map(([name, bytes]): [string, string] => [name, Buffer.from(bytes).toString('base64')]);
    if (texts.length > 0) metadata.extended = Object.fromEntries(texts);
    else delete metadata.extended;
    this.#tree.do(() => this.#metadata.set(inode.key, Object.keys(metadata).length > 0 ? metadata : undefined));
  }

  // ---- Contents --------------------------------------------------------------------------------

  open(file: FolderInode, { read, write, append }: OpenMode): OpenFile {
    if (file.type !== S_IFREG) throw new FileError(file.type === S_IFDIR ? 'EISDIR' : 'ENXIO');
    if (write) this.#checkWritable();
    const access = write ? (read ? O_RDWR : O_WRONLY) : O_RDONLY;
    const flags = access | (append && write ? O_APPEND : 0);
    const open = new FolderFile(
      () => this.#openSelf(file, flags),
      () => this.#used(open),
      () => {
        this.#openFiles.delete(open);
        this.release(file);
      },
    );
    open.resume();
    this.retain(file);
    return open;
  }

  /** The file has a descriptor. Those used longest ago give theirs back. */
  #used(file: FolderFile): void {
    this.#openFiles.delete(file);
    this.#openFiles.add(file);
    for (const oldest of this.#openFiles) {
      if (this.#openFiles.size <= OPEN_FILES) break;
      this.#openFiles.delete(oldest);
      oldest.pause();
    }
  }

  #openSelf(file: FolderInode, flags: number): number {
    return this.#tree.with(file, (path, stat) => {
      // A pipe or a device would wait, or do something.
      if (!stat.isFile()) throw new FileError('ENXIO');
      const open = (more: number) => openSync(path, flags | more | O_NONBLOCK | O_NOCTTY);
      return asOwner(this.#user, path, 0o600, () => {
        if (!this.readOnly) return open(0);
        // Not even the time of the last access changes, where we may leave it.
        try {
          return open(O_NOATIME);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
          return open(0);
        }
      });
    });
  }

  room(): Room {
    const stat = this.#tree.do(() => statfsSync(this.#tree.rootPath, { bigint: true }));
    return {
      blockSize: Number(stat.bsize),
      blocks: stat.blocks,
      free: stat.bfree,
      available: stat.bavail,
      files: stat.files,
      filesFree: stat.ffree,
    };
  }
}
