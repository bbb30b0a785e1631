/** `--restore FILE`: what the snapshot says of its machine is what the options do not say. */
import { Failure } from './failure.ts';
import type { RunOptions } from './settings.ts';
import { readSnapshotHeader } from './snapshot-file.ts';

/** Options that are for a guest's start. */
const FOR_A_START = {
  kernel: '--kernel',
  initrd: '--initrd',
  module: '--module',
  arch: '--arch',
  flavour: '--flavour',
  entry: '--entry',
  append: '--append',
  commandLine: '--command-line',
  exec: '--exec',
  share: '--share',
  cpu: '--cpu',
  root: '--root',
  modules: '--modules',
  trace: '--trace',
} as const;

/**
 * @param isGiven whether an option stands on the command line: the others have their defaults
 * @throws Failure for options that a restored guest has no use for, or a file that is no snapshot
 */
export function restoredOptions(options: RunOptions, isGiven: (option: keyof RunOptions) => boolean): RunOptions {
  const { restore } = options;
  if (restore === undefined) return options;
  for (const [name, option] of Object.entries(FOR_A_START))
    if (isGiven(name as keyof typeof FOR_A_START))
      throw new Failure(`--restore ${restore}: the guest is the snapshot's, so ${option} cannot be given`);
  const header = readSnapshotHeader(restore);
  const { disks } = header;
  if (disks.length !== (options.disk ?? []).length)
    throw new Failure(
      `--restore ${restore}: its guest has ${disks.length} disks: name them in this order: ${disks.map(({ name }) => `--disk ${name}`).join(' ')}`,
    );
  return {
    ...options,
    ...(isGiven('hypervisor') ? {} : { hypervisor: header.hypervisor }),
    ...(isGiven('memory') ? {} : { memory: `${header.memory / 1024}K` }),
    ...(isGiven('cpus') ? {} : { cpus: String(header.processors) }),
    ...(isGiven('clock') ? {} : { clock: header.clock }),
  };
}
