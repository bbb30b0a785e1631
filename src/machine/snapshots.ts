/** A machine as data, and a machine of that data (src/snapshot/). */
import { restoreProcessor, saveProcessor } from '../engine/saved-processor.ts';
import type { HostClock } from '../host/clock.ts';
import type { Disk } from '../host/disk.ts';
import type { GuestMemory } from '../memory/memory.ts';
import { digestOf } from '../snapshot/disk-digest.ts';
import type { DiskReference, Header } from '../snapshot/header.ts';
import {
  gatherChanged,
  gatherPages,
  type MemoryPiece,
  markOf,
  PAGE,
  type PageRun,
  viewPages,
} from '../snapshot/memory-pages.ts';
import { Snapshot } from '../snapshot/snapshot.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { placeNothing } from './entry.ts';
import type { Parts } from './parts.ts';

/**
 * @param code the name of the machine's translated code in a cache
 * @param like another one, to share pages with
 * @param passing its pages stay where they are
 * @throws Error where there is nothing that could go on, or from within what the guest asks
 */
export function takeSnapshot(parts: Parts, code: string, like?: Snapshot, passing = false): Snapshot {
  const { core, states, time, table, context, board, ending } = parts;
  const { vcpus } = core;
  if (ending.exit) throw new Error(`no snapshot: the guest has ended (${ending.exit.kind})`);
  if (vcpus.some(({ inside }) => inside))
    throw new Error('no snapshot while the guest executes: take it when `run` has returned, or from a timer');
  board?.flush();
  const header: Header = {
    hypervisor: table.name,
    memory: context.memory.size,
    processors: vcpus.length,
    clock: time.virtual ? 'virtual' : 'host',
    instructions: core.instructions,
    // No reading, which would be part of what the guest's time becomes.
    guestTime: time.following?.latest ?? time.clock.now(),
    code,
    disks: context.backEnds.disks.map(referenceTo),
  };
  const knowledge = { states: states.save(), processors: vcpus.map(saveProcessor) };
  const { bytes } = context.memory;
  const gather = passing ? viewPages : gatherPages;
  return new Snapshot(header, knowledge, like ? gatherChanged(bytes, like.memory) : gather(bytes));
}

function referenceTo(disk: Disk): DiskReference {
  // What the guest has written counts as the disk's.
  if (!disk.readOnly) disk.flush();
  const { name, size, readOnly, bus = '' } = disk;
  return { name, size, readOnly, bus, digest: digestOf(disk) };
}

/** The engine's decoded code as bytes, of what has been executed since a snapshot and is in it. @param marks of its pages */
export function learnedSince({ core }: Parts, marks: ReadonlyMap<number, number>): Uint8Array {
  const isAsItWas = (page: number) =>
    marks.get(page) === markOf(core.memory.bytes.subarray(page * PAGE, (page + 1) * PAGE));
  const known = new Map<number, boolean>();
  return core.blocks.kept(page => {
    const asItWas = known.get(page) ?? isAsItWas(page);
    known.set(page, asItWas);
    return asItWas;
  });
}

/** What was written to memory that was all zeros. */
export interface Writes {
  /** Guest-physical addresses and lengths, in bytes. */
  readonly ranges: readonly (readonly [address: number, length: number])[];
  end(): void;
}

/** Notes what is written to memory from now on through its own methods. */
export function noteWrites(memory: GuestMemory): Writes {
  const ranges: [number, number][] = [];
  const { onWrite } = memory;
  memory.onWrite = (address, length) => {
    ranges.push([address, length]);
    onWrite(address, length);
  };
  return { ranges, end: () => void (memory.onWrite = onWrite) };
}

/**
 * Lets a machine that was put together like the snapshot's go on from it.
 * @param writes all that has been written to its memory so far
 * @param host the clock that guest time follows: then the guest finds the wall's time when it asks for it. Without, time goes on as it was
 * @throws SnapshotError naming the first thing that does not fit
 */
export async function restoreSnapshot(
  parts: Parts,
  snapshot: Snapshot,
  host: HostClock | undefined,
  writes: Writes,
): Promise<void> {
  const { core, states, time, table, context, board } = parts;
  const { memory } = context;
  checkHeader(parts, snapshot.header);
  const { vcpus } = core;
  await explained(async () => {
    placeNothing(table, context, board, snapshot.states);
    board?.restoring();
    table.restoring?.();
    states.restore(snapshot.states);
    writes.end();
    for (const [address, length] of writes.ranges) memory.bytes.fill(0, address, address + length);
    const filled = fillMemory(memory.bytes, snapshot.memory);
    memory.onWrite(0, memory.size);
    // Looks at no memory: it may come meanwhile.
    if (snapshot.decoded) core.blocks.adopt(snapshot.decoded);
    await filled;
    // Before whoever asks what time it is.
    for (const [index, vcpu] of vcpus.entries())
      restoreProcessor(vcpu, snapshot.processors[index], `processor ${index}`);
    if (host) {
      time.following?.restored();
      time.clock.setWall(host.wall());
    }
    time.clock.restored();
    board?.restored();
    table.restored?.();
    // Last, for the others ask for exits: the guest is to notice nothing. The first one comes last: it hears of the others.
    for (const [index, vcpu] of [...vcpus.entries()].reverse())
      restoreProcessor(vcpu, snapshot.processors[index], `processor ${index}`);
  });
}

/** Copies the pages into RAM that is all zeros: to read what nobody has written to would cost the host a fault a page. */
async function fillMemory(ram: Uint8Array, pieces: readonly MemoryPiece[]): Promise<void> {
  const underWay: (void | Promise<void>)[] = [];
  for (const piece of pieces) {
    const { runs, readInto } = piece;
    const [[page, length]] = runs as [PageRun];
    if (readInto && runs.length === 1) {
      underWay.push(readInto(ram.subarray(page * PAGE, (page + length) * PAGE)));
      continue;
    }
    const { bytes } = piece;
    let from = 0;
    for (const [first, count] of runs) {
      ram.set(bytes.subarray(from, from + count * PAGE), first * PAGE);
      from += count * PAGE;
    }
  }
  await Promise.all(underWay);
}

/** @throws SnapshotError if the snapshot is of another machine */
function checkHeader({ core, time, table, context }: Parts, header: Header): void {
  const { disks } = context.backEnds;
  const differ = (what: string, its: unknown, ours: unknown) => {
    if (its !== ours) throw new SnapshotError(`it is of a machine with ${what} ${String(its)}, not ${String(ours)}`);
  };
  differ('hypervisor', header.hypervisor, table.name);
  differ('RAM, in bytes:', header.memory, context.memory.size);
  differ('processors:', header.processors, core.vcpus.length);
  differ('clock', header.clock, time.virtual ? 'virtual' : 'host');
  differ('disks:', header.disks.length, disks.length);
  for (const [index, reference] of header.disks.entries()) checkDisk(reference, disks[index]!);
}

function checkDisk({ name, size, readOnly, bus, digest }: DiskReference, disk: Disk): void {
  const at = disk.name === name ? `the disk ${name}` : `the disk ${disk.name}, in place of ${name},`;
  if (disk.size !== size) throw new SnapshotError(`${at} has ${disk.size} bytes, and had ${size}`);
  if (disk.readOnly !== readOnly)
    throw new SnapshotError(`${at} is ${disk.readOnly ? 'read-only' : 'writable'}, and was not`);
  if ((disk.bus ?? '') !== bus)
    throw new SnapshotError(`${at} is plugged into another bus than ${bus || 'the usual one'}`);
  if (digestOf(disk) !== digest) throw new SnapshotError(`${at} has other contents than when the snapshot was taken`);
}

/** What others throw says what does not fit. */
async function explained(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof SnapshotError || !(error instanceof Error)) throw error;
    throw new SnapshotError(`it does not fit this machine: ${error.message}`);
  }
}
