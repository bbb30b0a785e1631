/** What a snapshot says of itself: what a machine needs to be made of it. */
import { ownMember } from '../own-member.ts';
import { SnapshotError } from './snapshot-error.ts';

/** A disk is not in the snapshot: it is told from others, and from itself with other contents. */
export interface DiskReference {
  /** As the disk calls itself: a path, where it is a file. */
  name: string;
  /** Bytes. */
  size: number;
  readOnly: boolean;
  /** What it is plugged into; empty: where guests look first. */
  bus: string;
  /** See disk-digest.ts. */
  digest: string;
}

export interface Header {
  /** The hypervisor's name. */
  hypervisor: string;
  /** RAM in bytes. */
  memory: number;
  processors: number;
  clock: 'virtual' | 'host';
  /** Executed so far, by all processors. */
  instructions: number;
  /** Nanoseconds. */
  guestTime: number;
  /** The name under which a cache has translated code of this guest. */
  code: string;
  disks: DiskReference[];
}

const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
const isText = (value: unknown) => typeof value === 'string' && value.length <= 4096;
const isTruth = (value: unknown) => typeof value === 'boolean';

type Checks = Readonly<Record<string, (value: unknown) => boolean>>;

const DISK: Checks = { name: isText, size: isCount, readOnly: isTruth, bus: isText, digest: isText };
const HEADER: Checks = {
  hypervisor: isText,
  memory: isCount,
  processors: value => isCount(value) && (value as number) >= 1 && (value as number) <= 256,
  clock: value => value === 'virtual' || value === 'host',
  instructions: isCount,
  guestTime: value => Number.isFinite(value) && (value as number) >= 0,
  // It becomes a file's name.
  code: value => isText(value) && /^[a-z0-9-]+$/.test(value as string),
  disks: value => Array.isArray(value) && value.length <= 256 && value.every(disk => isOf(DISK, disk)),
};

function isOf(checks: Checks, value: unknown): boolean {
  return mistakeIn(checks, value) === undefined;
}
/** The name of the first member that is not as it must be. */
function mistakeIn(checks: Checks, value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null) return 'all of it';
  const wrong = Object.entries(checks).find(
    ([name, check]) => !check(ownMember(value as Record<string, unknown>, name)),
  );
  return wrong?.[0] ?? Object.keys(value).find(name => !Object.hasOwn(checks, name));
}

/** @throws SnapshotError */
export function parseHeader(bytes: Uint8Array): Header {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new SnapshotError('its header is no JSON');
  }
  const mistake = mistakeIn(HEADER, value);
  if (mistake !== undefined) throw new SnapshotError(`its header is wrong: ${mistake}`);
  return value as Header;
}
