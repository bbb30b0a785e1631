/** Machines with a door (replay/door.ts): one that is recorded, and one that repeats a recording. */
import { createMachine, type MachineOptions } from '../index.ts';
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
  const backEnds = { ...options.backEnds, networks: networks.map(silentNetwork) };
  const first = await createMachine({ ...silent, backEnds, engine: 'interpreter' });
  const snapshot = first.snapshot();
  const cpus = arrange(typeof options.cpus === 'object' ? options.cpus : { cpus: options.cpus ?? 1 });
  const header: RecordingHeader = {
    cpus: cpus as Exclude<typeof cpus, string>,
    schedule: options.schedule ?? 'fair',
    networks,
    ...(exec !== undefined && { exec }),
    engine: options.engine === 'interpreter' ? 'interpreter' : 'jit',
    version: packageVersion(),
  };
  file.begin(header, snapshot);
  return { ...rest, snapshot, door: new Recorder(file.add) };
}

/** The machine of a recording, without a door. @param options what is the host's */
export function replayed(options: MachineOptions, { header, snapshot }: Recording): MachineOptions {
  const { kernel, initrd, append, commandLine, modules, entry, ...rest } = options;
  return { ...rest, snapshot, backEnds: { networks: header.networks.map(silentNetwork) } };
}
