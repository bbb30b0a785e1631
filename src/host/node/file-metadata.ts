/**
 * What a guest has set on files of a shared folder and the host's user may not set, or Node.js cannot: owners, set-user-ID
 * bits, device nodes, extended attributes. It stands in one file at the top of the folder, which no guest sees: a line of JSON
 * for each change, the last one of a file counts. A file is known by its inode number and its time of birth, so that renames
 * and links keep what belongs to it, and a new file with an old number inherits nothing.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs';
import type { ByteString } from '../file-system.ts';

/** Names at the top of a shared folder that begin so are ours. */
export const METADATA_NAME = '.polyvisor-metadata';

export interface FileMetadata {
  /** With the type, which may be another than the host's: a device node is an empty file there. */
  mode?: number;
  uid?: number;
  gid?: number;
  major?: number;
  minor?: number;
  /** Base64, by name. */
  extended?: Record<ByteString, string>;
}

/** So many lines beyond two for each file are worth a new file. */
const SPARE_LINES = 4096;
const { O_RDONLY, O_WRONLY, O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants;

export class MetadataFile {
  readonly #path: string;
  readonly #readOnly: boolean;
  #files = new Map<string, FileMetadata>();
  /** Which file it was, and how much of it has been read. */
  #inode = 0n;
  #read = 0;
  #lines = 0;
  /** A line that is not complete yet. */
  #rest = '';

  /** @param folder a path that ends in a slash */
  constructor(folder: string, readOnly: boolean) {
    this.#path = folder + METADATA_NAME;
    this.#readOnly = readOnly;
    this.#refresh();
    if (!readOnly && this.#lines > 2 * this.#files.size + SPARE_LINES) this.#rewrite();
  }

  get(key: string): FileMetadata | undefined {
    this.#refresh();
    return this.#files.get(key);
  }

  /** Keeps `metadata`, or forgets the file. @throws the host's error */
  set(key: string, metadata: FileMetadata | undefined): void {
    this.#refresh();
    if (metadata === undefined && !this.#files.has(key)) return;
    const descriptor = openSync(this.#path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0o600);
    try {
      // In one call, so that two who share the folder do not write into each other's lines.
      writeSync(descriptor, line(key, metadata));
    } finally {
      closeSync(descriptor);
    }
    this.#refresh();
  }

  /** Reads what has been added since the last time, by us or by somebody who shares the folder. */
  #refresh(): void {
    const stat = lstatSync(this.#path, { bigint: true, throwIfNoEntry: false });
    if (!stat?.isFile()) return;
    if (stat.ino === this.#inode && Number(stat.size) === this.#read) return;
    if (stat.ino !== this.#inode || Number(stat.size) < this.#read) {
      this.#files = new Map();
      [this.#inode, this.#read, this.#lines, this.#rest] = [stat.ino, 0, 0, ''];
    }
    const descriptor = openSync(this.#path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const added = Buffer.alloc(Math.max(0, fstatSync(descriptor).size - this.#read));
      const count = readSync(descriptor, added, 0, added.length, this.#read);
      this.#read += count;
      const lines = (this.#rest + added.toString('latin1', 0, count)).split('\n');
      this.#rest = lines.pop()!;
      for (const text of lines) this.#take(text);
    } finally {
      closeSync(descriptor);
    }
  }

  #take(text: string): void {
    this.#lines++;
    const entry = parse(text);
    if (!entry) return;
    const { file, ...metadata } = entry;
    if (Object.keys(metadata).length === 0) this.#files.delete(file);
    else this.#files.set(file, metadata);
  }

  #rewrite(): void {
    const path = `${this.#path}.new`;
    try {
      const descriptor = openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      try {
        writeSync(descriptor, [...this.#files].map(([key, metadata]) => line(key, metadata)).join(''));
      } finally {
        closeSync(descriptor);
      }
      renameSync(path, this.#path);
      this.#refresh();
    } catch {
      // Somebody else is at it, or the disk is full: the old one is as good.
    }
  }

  /** For tests: what stands in the file. */
  get text(): string {
    return this.#readOnly ? '' : readFileSync(this.#path, 'latin1');
  }
}

function line(file: string, metadata: FileMetadata | undefined): string {
  // Only ASCII: names in it are bytes, and stay what they are.
  const text = JSON.stringify({ file, ...metadata });
  return `${text.replace(/[\u0080-\u00ff]/g, char => `\\u00${char.charCodeAt(0).toString(16)}`)}\n`;
}

/** A line, if it is one of ours: others may have written to the folder. */
function parse(text: string): (FileMetadata & { file: string }) | undefined {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null || typeof value.file !== 'string') return undefined;
  const result: FileMetadata & { file: string } = { file: value.file };
  for (const name of ['mode', 'uid', 'gid', 'major', 'minor'] as const) {
    const number = value[name];
    if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number < 2 ** 32)
      result[name] = number;
  }
  if (typeof value.extended === 'object' && value.extended !== null) {
    const names = Object.entries(value.extended).filter(([, content]) => typeof content === 'string');
    result.extended = Object.fromEntries(names) as Record<string, string>;
  }
  return result;
}
