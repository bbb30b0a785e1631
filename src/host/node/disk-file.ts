/**
 * A raw disk image in a file or on a block device. Every call is synchronous, and `flush` is fdatasync(2): what it returned
 * from survives the process.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, fdatasyncSync, fstatSync, readFileSync, readSync, type Stats, writeSync } from 'node:fs';
import { basename } from 'node:path';
import { ImageError } from '../../boot/image-error.ts';
import type { Disk } from '../disk.ts';
import { openLocked } from './disk-lock.ts';

const SECTOR = 512;
const ZEROS = new Uint8Array(1 << 20);
/** From this length on it pays to start another program that gives the space back. */
const PUNCH_MINIMUM = 4 << 20;

export interface DiskFileOptions {
  readOnly?: boolean;
  /** Others may have the image open, too, and write to it: the caller knows what that does. */
  share?: boolean;
  /** What it is plugged into: see `Disk`. */
  bus?: string | undefined;
  /** Hears why the host cannot lock the image. It is opened all the same. */
  onUnlockable?: (reason: string) => void;
}

/**
 * Opens the image at `path`, and locks it against others that would write to it, or read what is being written.
 * @throws DiskInUseError if somebody has it; ImageError if it is not a file of whole sectors; the host's own error (with `code`) if it cannot be opened.
 */
export function openDiskFile(path: string, options: DiskFileOptions = {}): Disk {
  const { readOnly = false, share = false, bus, onUnlockable = () => {} } = options;
  const descriptor = openLocked(path, share ? 'share' : readOnly ? 'read' : 'write', readOnly, onUnlockable);
  try {
    const size = imageSize(path, fstatSync(descriptor));
    return new DiskFile(basename(path), descriptor, size, readOnly, bus);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function imageSize(path: string, stat: Stats): number {
  if (!stat.isFile() && !stat.isBlockDevice()) throw new ImageError(`${path}: a disk is a file or a block device`);
  const size = stat.isBlockDevice() ? blockDeviceSize(path, stat.rdev) : stat.size;
  if (size === 0)
    throw new ImageError(`${path}: the disk image is empty: give it a size with "truncate -s 1G ${path}"`);
  if (size % SECTOR !== 0) {
    const rounded = Math.ceil(size / SECTOR) * SECTOR;
    throw new ImageError(
      `${path}: ${size} bytes are no whole number of ${SECTOR}-byte sectors: "truncate -s ${rounded} ${path}" adds what is missing`,
    );
  }
  return size;
}

/** stat(2) tells nothing of a block device's size, but Linux's sysfs does, in sectors. */
function blockDeviceSize(path: string, device: number): number {
  const major = (device >> 8) & 0xfff;
  const minor = (device & 0xff) | ((device >> 12) & 0xfff00);
  try {
    return Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, 'utf8')) * SECTOR;
  } catch {
    throw new ImageError(`${path}: cannot find out the size of this block device`);
  }
}

class DiskFile implements Disk {
  readonly name: string;
  readonly size: number;
  readonly readOnly: boolean;
  readonly bus: string | undefined;
  readonly #descriptor: number;
  #open = true;
  #canPunch = process.platform === 'linux';

  constructor(name: string, descriptor: number, size: number, readOnly: boolean, bus: string | undefined) {
    this.name = name;
    this.size = size;
    this.readOnly = readOnly;
    this.bus = bus;
    this.#descriptor = descriptor;
  }

  read(offset: number, into: Uint8Array): void {
    this.#check(offset, into.length);
    for (let done = 0; done < into.length; ) {
      const count = readSync(this.#descriptor, into, done, into.length - done, offset + done);
      if (count === 0) throw new Error(`${this.name}: the file has become shorter than ${this.size} bytes`);
      done += count;
    }
  }

  write(offset: number, from: Uint8Array): void {
    this.#check(offset, from.length);
    this.#checkWritable();
    for (let done = 0; done < from.length; )
      done += writeSync(this.#descriptor, from, done, from.length - done, offset + done);
  }

  flush(): void {
    if (!this.readOnly) fdatasyncSync(this.#descriptor);
  }

  discard(offset: number, length: number): void {
    this.#check(offset, length);
    this.#checkWritable();
    if (length >= PUNCH_MINIMUM && this.#punch(offset, length)) return;
    for (let done = 0; done < length; ) {
      const count = Math.min(ZEROS.length, length - done);
      this.write(offset + done, ZEROS.subarray(0, count));
      done += count;
    }
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#descriptor);
  }

  /** Node has no fallocate(2); util-linux has it as a program, which gets our descriptor as its third. */
  #punch(offset: number, length: number): boolean {
    if (!this.#canPunch) return false;
    const result = spawnSync('fallocate', ['--punch-hole', '-o', `${offset}`, '-l', `${length}`, '/proc/self/fd/3'], {
      stdio: ['ignore', 'ignore', 'ignore', this.#descriptor],
    });
    if (result.status !== 0) this.#canPunch = false;
    return result.status === 0;
  }

  #check(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0)
      throw new RangeError(`${this.name}: not a range: ${offset}+${length}`);
    if (offset + length > this.size)
      throw new RangeError(`${this.name}: ${offset}+${length} is past the end (${this.size})`);
  }

  #checkWritable(): void {
    if (this.readOnly) throw new Error(`${this.name} is read-only`);
  }
}
