/**
 * What is made at a start and serves later ones, in the cache folder: ROOM/HASH/NAME, where HASH is that of the code that makes it.
 * In `engine` is what the engine makes of its table of instructions, and of a kernel's code; in `warm`, guests that have booted. A file is the SHA-256 of its contents, then the contents: one that a power failure or a full
 * disk has cut short does not match, and is made again. It is code that runs, so a folder that others can write to is not used.
 */
import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
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
/** For how many versions of the code something is kept: the ones used last. */
const VERSIONS = 4;
/** How many files a version has: the ones used last. Those of a kernel have some megabytes. */
const FILES = 24;
/** The same for guests that have booted, which have some tens of megabytes, and two files each. */
const GUESTS = { versions: 2, files: 16 } as const;

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
): ArtifactCache {
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
    save(name, ...pieces) {
      let work: string | undefined;
      try {
        const file = fileOf(name);
        mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
        // Renamed into place, so that nobody reads half of it.
        work = `${file}.${process.pid}`;
        writePieces(work, pieces);
        renameSync(work, file);
        forget(dirname(file), files);
        forget(versions, most);
      } catch {
        // A full or read-only disk: it will be made again next time.
        if (work !== undefined) removeQuietly(work);
      }
    },
  };
}

function writePieces(file: string, pieces: readonly Uint8Array[]): void {
  const hash = createHash('sha256');
  for (const piece of pieces) hash.update(piece);
  const descriptor = openSync(file, 'w');
  try {
    for (const piece of [hash.digest(), ...pieces])
      for (let at = 0; at < piece.length; ) at += writeSync(descriptor, piece, at);
  } finally {
    closeSync(descriptor);
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

/** For `MachineOptions.cache`: in the folder of cache.ts. */
export const diskCache: ArtifactCache = createArtifactCache(cacheFolder(), ['engine', 'wasm', 'x86'].map(compiledRoom));

/**
 * Guests that have booted (cli/warm-start.ts): what they know is data of every room's, so that a version of it is one of the whole
 * program. The bundle's files name each other by what is in them, so that one of them tells all. Undefined where the program runs
 * file by file.
 */
export function guestCache(program: string): ArtifactCache | undefined {
  if (!isBundled) return undefined;
  const version = () => createHash('sha256').update(readFileSync(program)).digest('hex').slice(0, 32);
  return createArtifactCache(cacheFolder(), version, { room: 'warm', ...GUESTS });
}
