/** The kernel and initial RAM disk of a run: the files named, or the default guest's. */
import { readFileSync } from 'node:fs';
import { commandArchive, joinArchives } from '../boot/exec-protocol.ts';
import type { BootModule } from '../boot/load.ts';
import { status } from './exit-status.ts';
import { withFile } from './failure.ts';
import { fetchGuest } from './fetch-guest.ts';
import type { Settings } from './settings.ts';

export interface Images {
  /** What to call the kernel in messages. */
  name: string;
  kernel: Uint8Array;
  initrd: Uint8Array | undefined;
  modules: BootModule[];
  /** The initial RAM disk is the default guest's. */
  ownGuest: boolean;
}

/** @throws Failure where a file cannot be read or the default guest cannot be had. */
export async function loadImages({
  kernel,
  initrd,
  exec,
  guest: kind,
  modules,
}: Pick<Settings, 'kernel' | 'initrd' | 'exec' | 'guest' | 'modules'>): Promise<Images> {
  // A kernel without an initial RAM disk is one that brings its own; --exec needs the default guest's shell in any case.
  const ownGuest = initrd === undefined && (kernel === undefined || exec !== undefined);
  const guest = kernel === undefined || ownGuest ? await fetchGuest(kind) : undefined;
  const disk = ownGuest ? guest!.initrd : initrd;
  const archive = disk === undefined ? undefined : readFile(disk);
  return {
    name: kernel ?? "Debian's kernel",
    kernel: readFile(kernel ?? guest!.kernel),
    initrd: archive && exec !== undefined ? joinArchives(archive, commandArchive(exec)) : archive,
    modules: modules.map(({ path, words }) => ({ data: readFile(path), commandLine: words })),
    ownGuest,
  };
}

function readFile(path: string): Uint8Array {
  return withFile(path, status.noInput, () => readFileSync(path));
}
