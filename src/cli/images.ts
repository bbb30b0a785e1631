/** The kernel and initial RAM disk of a run: the files named, the default guest's, or what a disk's boot loader brings. */
import { readFileSync } from 'node:fs';
import { isBootable } from '../boot/bios/boot-sector.ts';
import { commandArchive, joinArchives } from '../boot/exec-protocol.ts';
import type { BootModule } from '../boot/load.ts';
import { openDiskFile } from '../host/node/disk-file.ts';
import { status } from './exit-status.ts';
import { Failure, withFile } from './failure.ts';
import { fetchGuest } from './fetch-guest.ts';
import type { Settings } from './settings.ts';

export interface Images {
  /** What to call the kernel in messages. */
  name: string;
  /** Undefined: a disk is booted. */
  kernel: Uint8Array | undefined;
  initrd: Uint8Array | undefined;
  modules: BootModule[];
  /** The initial RAM disk is the default guest's. */
  ownGuest: boolean;
}

/** @throws Failure where a file cannot be read or the default guest cannot be had. */
export async function loadImages(settings: ImageSettings): Promise<Images> {
  const { kernel, initrd, exec, guest: kind, modules } = settings;
  if (bootsDisk(settings))
    return { name: settings.disks[0]?.path ?? '', kernel: undefined, initrd: undefined, modules: [], ownGuest: false };
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

type ImageSettings = Pick<
  Settings,
  'kernel' | 'initrd' | 'exec' | 'guest' | 'modules' | 'entry' | 'disks' | 'append' | 'commandLine'
>;

/**
 * Whether it is a disk that brings the kernel: it is asked for, or nothing that is given belongs to a kernel of ours and the
 * first disk has a boot loader.
 * @throws Failure if both are asked for
 */
function bootsDisk(settings: ImageSettings): boolean {
  const { entry, disks } = settings;
  const named = FOR_A_KERNEL.find(([, isGiven]) => isGiven(settings));
  if (entry === 'disk') {
    if (named) throw new Failure(`--entry disk: the kernel is the disk's, so ${named[0]} cannot be given to it`);
    if (disks.length === 0) throw new Failure('--entry disk: no disk is named: give one with --disk FILE');
    return true;
  }
  if (named || entry !== undefined || disks.length === 0) return false;
  const [{ path }] = disks;
  // Only looked at: whoever uses the disk opens it for itself.
  const disk = withFile(path, status.noInput, () => openDiskFile(path, { readOnly: true, share: true }));
  try {
    return isBootable(disk);
  } finally {
    disk.close();
  }
}

/** Options that are for a kernel which we load. */
const FOR_A_KERNEL: readonly (readonly [option: string, isGiven: (settings: ImageSettings) => boolean])[] = [
  ['--kernel', ({ kernel }) => kernel !== undefined],
  ['--initrd', ({ initrd }) => initrd !== undefined],
  ['--exec', ({ exec }) => exec !== undefined],
  ['--module', ({ modules }) => modules.length > 0],
  ['--append', ({ append }) => append !== undefined],
  ['--command-line', ({ commandLine }) => commandLine !== undefined],
  ['--flavour', ({ guest }) => guest.flavour !== undefined],
  ['--arch i386', ({ guest }) => guest.architecture === 'i386'],
];

function readFile(path: string): Uint8Array {
  return withFile(path, status.noInput, () => readFileSync(path));
}
