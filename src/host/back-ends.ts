/**
 * What stands behind a machine's devices on the host. It is passed whole: the board and the hypervisors each take the
 * kinds they have devices for, so that a new kind is a member here and a device there.
 */
import type { Console } from './console.ts';
import type { Disk } from './disk.ts';
import type { FileSystem } from './file-system.ts';
import type { Network } from './network.ts';
import type { Vsock } from './vsock.ts';

/** A tree of files that a guest mounts. */
export interface SharedFolder {
  /** By which the guest knows it: ASCII. */
  readonly tag: string;
  readonly files: FileSystem;
}

export interface BackEnds {
  readonly disks: readonly Disk[];
  readonly networks: readonly Network[];
  readonly folders: readonly SharedFolder[];
  /** A machine has one at most. */
  readonly vsock?: Vsock | undefined;
  /** What is joined to a PC's second serial port, COM2: it is there if this is. */
  readonly serial?: Console | undefined;
}

export const NO_BACK_ENDS: BackEnds = { disks: [], networks: [], folders: [] };

/** All back ends that a machine's options name. */
export function backEndsOf(options: {
  disks?: readonly Disk[];
  serial?: Console;
  backEnds?: Partial<BackEnds>;
}): BackEnds {
  const { disks = [], networks = [], folders = [], vsock, serial = options.serial } = options.backEnds ?? {};
  return { disks: [...(options.disks ?? []), ...disks], networks, folders, vsock, serial };
}

/** A back end may say which bus it wants. */
interface Plugged {
  readonly name: string;
  readonly bus?: string | undefined;
}

/** Those that are plugged into `bus`. @param first the bus of those that do not say */
export function onBus<T extends Plugged>(backEnds: readonly T[], bus: string, first: string | undefined): readonly T[] {
  return backEnds.filter(backEnd => (backEnd.bus ?? first) === bus);
}

/** A back end that no bus, and no port, of the machine takes. */
export class NoSuchBusError extends Error {
  readonly kind: 'disk' | 'net' | 'vsock' | 'serial';

  constructor(kind: NoSuchBusError['kind'], message: string) {
    super(message);
    this.kind = kind;
  }
}

/**
 * @param kind of all of them
 * @param buses those of the machine, by name
 * @throws NoSuchBusError for a back end that none of them takes
 */
export function checkBuses(
  kind: NoSuchBusError['kind'],
  backEnds: readonly Plugged[],
  buses: readonly string[],
  where: string,
): void {
  for (const { name, bus = buses[0] } of backEnds) {
    if (bus !== undefined && buses.includes(bus)) continue;
    const there = buses.length > 0 ? `there ${buses.length === 1 ? 'is' : 'are'} ${buses.join(', ')}` : 'there is none';
    throw new NoSuchBusError(kind, `${name}: no bus ${bus ?? 'takes it'} under ${where}: ${there}`);
  }
}
