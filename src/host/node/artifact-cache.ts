/**
 * What the engine makes of its table of instructions, in the cache folder: engine/HASH/NAME, where HASH is that of the code
 * that makes it. A file is the SHA-256 of its contents, then the contents.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, extname, join, sep } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import type { ArtifactCache } from '../artifact-cache.ts';
import { cacheFolder } from './cache.ts';

const DIGEST_LENGTH = 32;
/** For how many versions of the code something is kept: the ones used last. */
const VERSIONS = 4;

const digest = (data: Uint8Array) => createHash('sha256').update(data).digest();

/** Hash of all code of the engine, under which its artifacts are valid. */
function versionOf(folder: string): string {
  const hash = createHash('sha256');
  const extension = extname(fileURLToPath(import.meta.url));
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  for (const name of names.filter(name => name.endsWith(extension) && !name.includes('.test.')).sort()) {
    const content = readFileSync(join(folder, name));
    hash.update(`${name.replaceAll(sep, '/')} ${content.length}\n`).update(content);
  }
  return hash.digest('hex').slice(0, 32);
}

/** @param engine the folder with the engine's code, for tests */
export function createArtifactCache(cache: string, engine: string): ArtifactCache {
  const versions = join(cache, 'engine');
  let folder: string | undefined;
  const fileOf = (name: string) => join((folder ??= join(versions, versionOf(engine))), name);
  return {
    load(name) {
      try {
        const file = new Uint8Array(readFileSync(fileOf(name)));
        const data = file.subarray(DIGEST_LENGTH);
        return digest(data).equals(file.subarray(0, DIGEST_LENGTH)) ? data : undefined;
      } catch {
        return undefined; // Not there, or not to be read: then it is made.
      }
    },
    save(name, data) {
      try {
        const file = fileOf(name);
        mkdirSync(dirname(file), { recursive: true });
        // Renamed into place, so that nobody reads half of it.
        const work = `${file}.${process.pid}`;
        writeFileSync(work, Buffer.concat([digest(data), data]));
        renameSync(work, file);
        forgetOthers(versions);
      } catch {
        // A full or read-only disk: it will be made again next time.
      }
    },
  };
}

/** Removes what was made by code that has not saved anything for longest. */
function forgetOthers(versions: string): void {
  const age = (name: string) => statSync(join(versions, name)).mtimeMs;
  const byAge = readdirSync(versions).sort((x, y) => age(y) - age(x));
  for (const name of byAge.slice(VERSIONS)) rmSync(join(versions, name), { recursive: true, force: true });
}

/** For `MachineOptions.cache`: in the folder of cache.ts. */
export const diskCache: ArtifactCache = createArtifactCache(
  cacheFolder(),
  fileURLToPath(new URL('../../engine', import.meta.url)),
);
