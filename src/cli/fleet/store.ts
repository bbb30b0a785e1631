/**
 * What the machines of a fleet share: files by the SHA-256 of their contents, in a folder that all of them see (NFS, a volume), or in a
 * bucket. A file there is whole or not there: in a folder, it is written under another name, to the disk, and renamed. What is read
 * is checked.
 */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { status } from '../exit-status.ts';
import { withFile } from '../failure.ts';
import { digest } from '../matrix-plan.ts';
import { openS3Store, parseS3 } from './s3-store.ts';

export interface Store {
  /** Keeps `bytes`. @returns their digest @throws Failure where there is no room, or nobody may write */
  put(bytes: Uint8Array): Promise<string>;
  /** @returns undefined where it is not there, or damaged: then it is removed @throws Failure where nobody may read */
  get(name: string): Promise<Buffer | undefined>;
}

const DIGEST = /^[0-9a-f]{64}$/;
export const isDigest = (value: unknown): value is string => typeof value === 'string' && DIGEST.test(value);

/** @param place a folder, or `s3://BUCKET[/PREFIX]` @throws Failure where it cannot be written */
export async function openStore(place: string): Promise<Store> {
  return place.startsWith('s3://') ? openS3Store(parseS3(place, process.env)) : openFolder(place);
}

function openFolder(folder: string): Store {
  const fileOf = (name: string) => join(folder, name.slice(0, 2), name);
  withFile(folder, status.output, () => mkdirSync(folder, { recursive: true }));
  return {
    async put(bytes) {
      const name = digest(bytes);
      const file = fileOf(name);
      if (await this.get(name)) return name;
      const work = `${file}.${randomBytes(6).toString('hex')}.part`;
      withFile(`--store ${folder}`, status.output, () => {
        mkdirSync(join(folder, name.slice(0, 2)), { recursive: true });
        try {
          const descriptor = openSync(work, 'wx');
          try {
            writeFileSync(descriptor, bytes);
            fsyncSync(descriptor);
          } finally {
            closeSync(descriptor);
          }
          renameSync(work, file);
        } catch (error) {
          rmSync(work, { force: true });
          throw error;
        }
      });
      return name;
    },
    async get(name) {
      const file = fileOf(name);
      if (!isDigest(name) || !existsSync(file)) return undefined;
      const bytes = withFile(`--store ${folder}`, status.noInput, () => readFileSync(file));
      if (digest(bytes) === name) return bytes;
      rmSync(file, { force: true });
      return undefined;
    },
  };
}
