/**
 * A warm start: `--exec` of the default guest goes on from a guest that has booted and waits for a command, kept in the cache, and
 * otherwise boots one that then is kept (boot/guest/resume-program.ts). What such a guest can see of the options is part of the
 * name that it is kept under; what a kept guest cannot have boots cold.
 */
import { createHash, randomBytes } from 'node:crypto';
import { read, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { commandMark, startMark } from '../boot/exec-protocol.ts';
import { canBeTyped, resumeMessage } from '../boot/guest/resume-program.ts';
import { noCompression } from '../host/compression.ts';
import { type FileCache, guestCache, type OpenArtifact } from '../host/node/artifact-cache.ts';
import { guestDigest } from '../host/node/guest.ts';
import type { Machine } from '../machine/options.ts';
import { Snapshot } from '../snapshot/snapshot.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { fetchGuest } from './fetch-guest.ts';
import type { Settings } from './settings.ts';

/** What the thread of the machine is told. */
export interface WarmOptions {
  /** What the guest is kept under. */
  name: string;
  /** The guest that is kept, as a snapshot that is not compressed, in an open file; none: it is to be booted, and kept. */
  kept: Omit<OpenArtifact, 'isSound' | 'close'> | undefined;
  /** What the engine decodes when it goes on: it does without, only slower. */
  decoded: Uint8Array<ArrayBuffer> | undefined;
  command: string;
}

export interface WarmStart {
  readonly warm: WarmOptions;
  /** The file of the guest that is kept. */
  readonly artifact: OpenArtifact | undefined;
}

const readLater = promisify(read);

/** The longest command that is typed into a guest, in bytes: a console is slow. */
const LONGEST_COMMAND = 1 << 15;

const program = fileURLToPath(new URL('./thread-worker.js', import.meta.url));

/** Undefined where nothing is kept. */
export const warmCache = (): FileCache | undefined => guestCache(program);

/** @returns undefined for what boots cold. @throws Failure where there is no default guest, and none can be had */
export async function warmStart(settings: Settings): Promise<WarmStart | undefined> {
  const { exec } = settings;
  if (exec === undefined || !isUsual(settings) || !canBeTyped(exec)) return undefined;
  if (new TextEncoder().encode(exec).length > LONGEST_COMMAND) return undefined;
  const cache = warmCache();
  if (!cache) return undefined;
  // The guest is named by its packages, and by how it is made.
  if (guestDigest(settings.guest) === undefined) await fetchGuest(settings.guest);
  const guest = guestDigest(settings.guest);
  if (guest === undefined) return undefined;
  const { hypervisor, memory, cpu, cpus, net } = settings;
  const visible = [guest, typeof hypervisor === 'object' && hypervisor.name, memory, cpu, cpus, net.kind];
  const name = createHash('sha256').update(JSON.stringify(visible)).digest('hex').slice(0, 32);
  const artifact = cache.open(name);
  const decoded = artifact && cache.load(decodedName(name));
  const kept = artifact && { descriptor: artifact.descriptor, start: artifact.start, size: artifact.size };
  return { warm: { name, kept, decoded, command: exec }, artifact };
}

/** Nothing is asked for that a kept guest does not have, and nobody looks at its boot or counts its instructions. */
export function isUsual(settings: Settings): boolean {
  const { cold, kernel, initrd, modules, modulesFolder, guest, entry, append, commandLine, disks, shares, rooted } =
    settings;
  const {
    hypervisor,
    schedule,
    net,
    vsock,
    serial,
    clock,
    engine,
    gdb,
    save,
    restore,
    record,
    replay,
    trace,
    verbose,
  } = settings;
  const asked = [
    vsock,
    serial,
    kernel,
    initrd,
    modulesFolder,
    entry,
    append,
    commandLine,
    rooted,
    gdb,
    save,
    restore,
    record,
    replay,
    trace,
  ];
  const lists = [modules, disks, shares];
  return (
    !cold &&
    !verbose &&
    asked.every(value => value === undefined) &&
    lists.every(({ length }) => length === 0) &&
    guest.architecture !== 'i386' &&
    typeof hypervisor === 'object' &&
    schedule === 'fair' &&
    clock === 'host' &&
    engine !== 'interpreter' &&
    // What passes a network is to be seen from the start.
    (net.kind === 'none' || (net.kind === 'user' && !net.restrict && net.dump === undefined && net.bus === undefined))
  );
}

/** What the engine has decoded of a guest is known only when its first command has ended, and kept beside it. */
const decodedName = (name: string) => `${name}-decoded`;

/** Keeps a guest that waits, at once: it is too large to hold on to while its command runs. */
export async function keep(name: string, snapshot: Snapshot): Promise<void> {
  await warmCache()?.saveParts(name, snapshot.pieces(noCompression));
}

export function keepDecoded(name: string, decoded: Uint8Array): void {
  warmCache()?.save(decodedName(name), decoded);
}

/** @throws SnapshotError for one that was kept by a program that does not fit this one */
export function openKept(
  { descriptor, start, size }: NonNullable<WarmOptions['kept']>,
  decoded: Uint8Array | undefined,
): Snapshot {
  const atLeastOne = (count: number) => {
    if (count === 0) throw new SnapshotError('it is cut short');
    return count;
  };
  const bytes = (at: number, length: number) => {
    const all = new Uint8Array(length);
    for (let done = 0; done < length; )
      done += atLeastOne(readSync(descriptor, all, done, length - done, start + at + done));
    return all;
  };
  // By other threads: most of it is the host's work of finding pages for the guest.
  const readInto = async (target: Uint8Array, at: number) => {
    for (let done = 0; done < target.length; ) {
      const { bytesRead } = await readLater(descriptor, target, done, target.length - done, start + at + done);
      done += atLeastOne(bytesRead);
    }
  };
  const snapshot = Snapshot.from({ size, bytes, readInto });
  snapshot.decoded = decoded;
  return snapshot;
}

/** What is typed to a guest that waits, and what its console is said to have shown then. */
export function resumption(command: string, machine: Machine): { typed: Uint8Array; shown: Uint8Array } {
  const seed = randomBytes(32);
  // The counter starts with guest time, and Debian's kernels leave it alone.
  const tsc = BigInt(Math.floor(machine.statistics.guestTime));
  const typed = resumeMessage({ time: machine.epoch! + tsc, tsc, seed, mark: commandMark(command), command });
  return { typed, shown: new TextEncoder().encode(startMark(command)) };
}
