/**
 * What the cache says of itself in JSON: which packages a guest was made of, and what was made. The files are read as if anybody
 * had written them: a file of another shape counts as not there.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Guest } from './guest.ts';

export interface PackageRecord {
  name: string;
  version: string;
  /** Its name in the folder of packages. */
  file: string;
  /** SHA-256, in hexadecimal. Records of earlier versions have none: their packages are known by their own checksums alone. */
  digest?: string;
}

/** packages.json: the packages a guest is made of. */
export interface Packages {
  kernel: PackageRecord;
  busybox: PackageRecord;
}

/** guest.json. */
export interface GuestRecord extends Omit<Guest, 'kernel' | 'kernelSize' | 'initrd' | 'initrdSize' | 'cached'> {
  recipe: string;
  /** SHA-256 of the two files, in hexadecimal. */
  digests: { kernel: string; initrd: string };
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;

export const isPackageRecord = (value: unknown): value is PackageRecord =>
  isObject(value) &&
  isText(value.name) &&
  isText(value.version) &&
  isText(value.file) &&
  /^[\w.+~%-]+\.deb$/.test(value.file) &&
  (value.digest === undefined || isText(value.digest));

export const isPackages = (value: unknown): value is Packages =>
  isObject(value) && isPackageRecord(value.kernel) && isPackageRecord(value.busybox);

export const isGuestRecord = (value: unknown): value is GuestRecord =>
  isObject(value) &&
  [value.architecture, value.flavour, value.release, value.version, value.busyboxVersion, value.recipe].every(isText) &&
  Array.isArray(value.modules) &&
  value.modules.every(isText) &&
  isObject(value.digests) &&
  isText(value.digests.kernel) &&
  isText(value.digests.initrd);

/** What the file at `path` says, if it is JSON of the right shape. */
export function readJson<T>(path: string, isRight: (value: unknown) => value is T): T | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return isRight(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** SHA-256 of a file, in hexadecimal; undefined where it cannot be read. */
export function digestOf(path: string): string | undefined {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch {
    return undefined;
  }
}
