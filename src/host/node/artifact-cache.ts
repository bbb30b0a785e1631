/**
 * What is made at a start and serves later ones, in the cache folder: ROOM/HASH/NAME, where HASH is that of the code that makes it.
 * In `engine` is what the engine makes of its table of instructions, and of a kernel's code; in `warm`, guests that have booted. A file is the SHA-256 of its contents, then the contents: one that a power failure or a full
 * disk has cut short does not match, and is made again. It is code that runs, so a folder that others can write to is not used.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { dirname, join, sep } from 'node:path';
import process from 'node:process';
import type { ArtifactCache } from '../artifact-cache.ts';
import { cacheFolder, distrust } from './cache.ts';
import { compiledRoom, isBundled } from './package-files.ts';

const DIGEST_LENGTH = 32;
/** Bytes that are read at once. */
const PIECE = 1 << 20;
/** For how many versions of the code something is kept: the ones used last. */
const VERSIONS = 4;
/** How many files a version has: the ones used last. Those of a kernel have some megabytes. */
const FILES = 24;
/** The same for guests that have booted, which have some tens of megabytes, and two files each. */
const GUESTS = { versions: 2, files: 16 } as const;

/** One that takes large files, too. */
export interface FileCache extends ArtifactCache {
  /** As `save`, of what is made while it is written. */
  saveParts(name: string, parts: AsyncIterable<Uint8Array>): Promise<void>;
  /** What was saved under the name, to be read piece by piece; undefined as for `load`, but damage shows in `isSound` alone. */
  open(name: string): OpenArtifact | undefined;
}

/** The file of an artifact, which nobody changes, though another one may take its name. */
export interface OpenArtifact {
  readonly descriptor: number;
  /** Where in the file the artifact begins, and how many bytes it has. */
  readonly start: number;
  readonly size: number;
  /** Reads all of it. */
  isSound(): boolean;
  close(): void;
}

const digest = (data: Uint8Array) => createHash('sha256').update(data).digest();

/** Hash of all code in the folders, under which its artifacts are valid. */
function versionOf(folders: readonly string[]): string {
  const hash = createHash('sha256');
  for (const folder of folders) {
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    for (const name of names.filter(name => name.endsWith('.js') && !name.includes('.test.')).sort()) {
      const content = readFileSync(join(folder, name));
      hash.update(`${name.replaceAll(sep, '/')} ${content.length}\n`).update(content);
    }
  }
  return hash.digest('hex').slice(0, 32);
}

/** Of the room in the cache, and how much is kept in it. */
interface Shelf {
  room: string;
  versions: number;
  files: number;
}

/** @param code the folders with the code that makes what is kept, or its version */
export function createArtifactCache(
  cache: string,
  code: readonly string[] | (() => string),
  { room, versions: most, files }: Shelf = { room: 'engine', versions: VERSIONS, files: FILES },
): FileCache {
  const versions = join(cache, room);
  let folder: string | undefined;
  let trusted: boolean | undefined;
  /** @throws Error where the cache is not to be used: neither is anything found then, nor kept */
  const fileOf = (name: string) => {
    trusted ??= distrust(cache) === undefined;
    if (!trusted) throw new Error('not ours alone');
    return join((folder ??= join(versions, typeof code === 'function' ? code() : versionOf(code))), name);
  };
  return {
    load(name) {
      try {
        const file = fileOf(name);
        const { buffer, byteOffset, length } = readFileSync(file) as Buffer<ArrayBuffer>;
        const content = new Uint8Array(buffer, byteOffset, length);
        const data = content.subarray(DIGEST_LENGTH);
        if (!digest(data).equals(content.subarray(0, DIGEST_LENGTH))) return undefined;
        utimesSync(file, new Date(), new Date());
        return data;
      } catch {
        return undefined; // Not there, or not to be read: then it is made.
      }
    },
    open(name) {
      try {
        const file = fileOf(name);
        const descriptor = openSync(file, 'r');
        utimesSync(file, new Date(), new Date());
        return {
          descriptor,
          start: DIGEST_LENGTH,
          size: Math.max(0, fstatSync(descriptor).size - DIGEST_LENGTH),
          isSound: () => isSound(descriptor),
          close: () => closeSync(descriptor),
        };
      } catch {
        return undefined;
      }
    },
    save(name, ...pieces) {
      const writing = begin(name);
      for (const piece of pieces) writing?.add(piece);
      writing?.end();
    },
    async saveParts(name, parts) {
      const writing = begin(name);
      for await (const part of parts) if (!writing?.add(part)) break;
      writing?.end();
    },
  };

  /** Begins a file; undefined where that cannot be. */
  function begin(name: string): Writing | undefined {
    try {
      const file = fileOf(name);
      mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
      return new Writing(file, () => {
        forget(dirname(file), files);
        forget(versions, most);
      });
    } catch {
      return undefined; // A read-only disk: it will be made again next time.
    }
  }
}

/** The file is the digest of its contents, and these. */
function isSound(descriptor: number): boolean {
  try {
    const piece = Buffer.allocUnsafe(PIECE);
    const hash = createHash('sha256');
    const expected = Buffer.alloc(DIGEST_LENGTH);
    let at = readSync(descriptor, expected, 0, DIGEST_LENGTH, 0);
    for (let length = 1; length > 0; at += length) {
      length = readSync(descriptor, piece, 0, PIECE, at);
      hash.update(piece.subarray(0, length));
    }
    return hash.digest().equals(expected);
  } catch {
    return false;
  }
}

/** A file that is being written: renamed into place at its end, so that nobody reads half of it. */
class Writing {
  readonly #file: string;
  readonly #work: string;
  readonly #onDone: () => void;
  readonly #descriptor: number;
  readonly #hash = createHash('sha256');
  #failed = false;

  /** @throws Error if the file cannot be begun */
  constructor(file: string, onDone: () => void) {
    this.#file = file;
    this.#onDone = onDone;
    this.#work = `${file}.${process.pid}`;
    this.#descriptor = openSync(this.#work, 'w');
    // The digest comes last, and stands first.
    this.#write(new Uint8Array(DIGEST_LENGTH));
  }
  /** @returns false if it is in vain */
  add(piece: Uint8Array): boolean {
    this.#hash.update(piece);
    return this.#write(piece);
  }
  #write(piece: Uint8Array, position: number | null = null): boolean {
    try {
      for (let at = 0; at < piece.length && !this.#failed; )
        at += writeSync(this.#descriptor, piece, at, piece.length - at, position === null ? null : position + at);
    } catch {
      this.#failed = true; // A full disk.
    }
    return !this.#failed;
  }
  end(): void {
    this.#write(this.#hash.digest(), 0);
    try {
      closeSync(this.#descriptor);
      if (this.#failed) return removeQuietly(this.#work);
      renameSync(this.#work, this.#file);
      this.#onDone();
    } catch {
      removeQuietly(this.#work);
    }
  }
}

/** Half of a file takes room on a disk that has none. */
function removeQuietly(file: string): void {
  try {
    rmSync(file, { force: true });
  } catch {
    // Then it cannot be helped.
  }
}

/** Removes what has not been used for longest. */
function forget(folder: string, keep: number): void {
  const age = (name: string) => statSync(join(folder, name)).mtimeMs;
  const byAge = readdirSync(folder).sort((x, y) => age(y) - age(x));
  for (const name of byAge.slice(keep)) rmSync(join(folder, name), { recursive: true, force: true });
}

/** Of the code that makes what is in the room `engine`. The bundle has it written in (bin/bundle.cjs): a start does not read a hundred files for it. */
export const engineVersion = (): string => versionOf(['engine', 'wasm', 'x86'].map(compiledRoom));
const written = (globalThis as { polyvisorEngineVersion?: string }).polyvisorEngineVersion;

/** For `MachineOptions.cache`: in the folder of cache.ts. */
export const diskCache: ArtifactCache = createArtifactCache(cacheFolder(), () => written ?? engineVersion());

/**
 * Guests that have booted (cli/warm-start.ts): what they know is data of every room's, so that a version of it is one of the whole
 * program. The bundle's files name each other by what is in them, so that one of them tells all. Undefined where the program runs
 * file by file.
 */
export function guestCache(program: string): FileCache | undefined {
  if (!isBundled) return undefined;
  const version = () => createHash('sha256').update(readFileSync(program)).digest('hex').slice(0, 32);
  return createArtifactCache(cacheFolder(), version, { room: 'warm', ...GUESTS });
}
