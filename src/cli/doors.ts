/** Machines with a door (replay/door.ts): one that is recorded, and one that repeats a recording. */

import { backEndsOf } from '../host/back-ends.ts';
import { MUTE } from '../host/console.ts';
import { createMachine, type MachineOptions } from '../index.ts';
import { createMemoryDisk } from '../matrix/memory-disk.ts';
import { Recorder } from '../replay/door.ts';
import { type Recording, type RecordingHeader, recordedNetwork, silentNetwork } from '../replay/recording.ts';
import { arrange } from '../x86/topology.ts';
import type { RecordingFile } from './recording-file.ts';
import { packageVersion } from './version.ts';

/**
 * The machine of `options`, to be made of a snapshot of itself before its first instruction: so a recording has all that a replay needs.
 * @param exec the command of --exec
 */
export async function recorded(
  options: MachineOptions,
  file: RecordingFile,
  exec: string | undefined,
): Promise<MachineOptions> {
  const { kernel, initrd, append, commandLine, modules, entry, ...rest } = options;
  const networks = (options.backEnds?.networks ?? []).map(recordedNetwork);
  const { console, onLog, translator, cache, ...silent } = options;
  const backEnds = {
    ...options.backEnds,
    networks: networks.map(silentNetwork),
    ...(backEndsOf(options).serial && { serial: MUTE }),
  };
  const first = await createMachine({ ...silent, backEnds, engine: 'interpreter' });
  const snapshot = first.snapshot();
  const cpus = arrange(typeof options.cpus === 'object' ? options.cpus : { cpus: options.cpus ?? 1 });
  const disks = backEndsOf(options).disks.flatMap(({ name, size, memory }) =>
    memory ? { name, size, label: memory.label } : [],
  );
  const header: RecordingHeader = {
    cpus: cpus as Exclude<typeof cpus, string>,
    schedule: options.schedule ?? 'fair',
    networks,
    ...(exec !== undefined && { exec }),
    ...(disks.length > 0 && { disks }),
    engine: options.engine === 'interpreter' ? 'interpreter' : 'jit',
    version: packageVersion(),
  };
  const door = new Recorder(file.add);
  file.begin(header, snapshot, () => door.flush());
  return { ...rest, snapshot, door };
}

/** The machine of a recording, without a door. @param options what is the host's */
export function replayed(options: MachineOptions, { header, snapshot }: Recording): MachineOptions {
  const { kernel, initrd, append, commandLine, modules, entry, ...rest } = options;
  const { networks, disks = [] } = header;
  return {
    ...rest,
    snapshot,
    disks: [...(options.disks ?? []), ...disks.map(({ name, size, label }) => createMemoryDisk(name, size, label))],
    backEnds: { networks: networks.map(silentNetwork) },
  };
}
