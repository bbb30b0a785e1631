/**
 * What the engine makes of its table of instructions, and of a kernel's code, in the cache folder: engine/HASH/NAME, where HASH
 * is that of the code that makes it. A file is the SHA-256 of its contents, then the contents: one that a power failure or a full
 * disk has cut short does not match, and is made again. It is code that runs, so a folder that others can write to is not used.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join, sep } from 'node:path';
import process from 'node:process';
import type { ArtifactCache } from '../artifact-cache.ts';
import { cacheFolder, distrust } from './cache.ts';
import { compiledRoom } from './package-files.ts';

const DIGEST_LENGTH = 32;
/** For how many versions of the code something is kept: the ones used last. */
const VERSIONS = 4;
/** How many files a version has: the ones used last. Those of a kernel have some megabytes. */
const FILES = 24;

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

/** @param code the folders with the code that makes what is kept, for tests */
export function createArtifactCache(cache: string, code: readonly string[]): ArtifactCache {
  const versions = join(cache, 'engine');
  let folder: string | undefined;
  let trusted: boolean | undefined;
  /** @throws Error where the cache is not to be used: neither is anything found then, nor kept */
  const fileOf = (name: string) => {
    trusted ??= distrust(cache) === undefined;
    if (!trusted) throw new Error('not ours alone');
    return join((folder ??= join(versions, versionOf(code))), name);
  };
  return {
    load(name) {
      try {
        const file = fileOf(name);
        const content = new Uint8Array(readFileSync(file));
        const data = content.subarray(DIGEST_LENGTH);
        if (!digest(data).equals(content.subarray(0, DIGEST_LENGTH))) return undefined;
        utimesSync(file, new Date(), new Date());
        return data;
      } catch {
        return undefined; // Not there, or not to be read: then it is made.
      }
    },
    save(name, data) {
      let work: string | undefined;
      try {
        const file = fileOf(name);
        mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
        // Renamed into place, so that nobody reads half of it.
        work = `${file}.${process.pid}`;
        writeFileSync(work, Buffer.concat([digest(data), data]));
        renameSync(work, file);
        forget(dirname(file), FILES);
        forget(versions, VERSIONS);
      } catch {
        // A full or read-only disk: it will be made again next time.
        if (work !== undefined) removeQuietly(work);
      }
    },
  };
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
