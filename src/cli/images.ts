import { isBootable } from '../boot/bios/boot-sector.ts';
import { is32Bit } from '../boot/bits.ts';
import { commandArchive, joinArchives, resumeArchive } from '../boot/exec-protocol.ts';
import { modulesArchive } from '../boot/guest/initramfs.ts';
import { ImageError } from '../boot/image-error.ts';
import type { BootModule } from '../boot/load.ts';
import { flavourWithFolders } from '../host/node/guest.ts';
import { installedModules, readKernelModules } from '../host/node/kernel-modules.ts';
import { openDisk } from './disks.ts';
import { status } from './exit-status.ts';
import { Failure, withFileLater } from './failure.ts';
import { fetchGuest } from './fetch-guest.ts';
import { mountsFolders } from './folder-options.ts';
import { readInput } from './input-file.ts';
import type { Settings } from './settings.ts';

export interface Images {
  /** What to call the kernel in messages. */
  name: string;
  /** Undefined: a disk is booted. */
  kernel: Uint8Array | undefined;
  /** Where it came from. */
  kernelFile?: string;
  initrd: Uint8Array | undefined;
  modules: BootModule[] | undefined;
  /** The initial RAM disk is the default guest's. */
  ownGuest: boolean;
}

/**
 * @param start what the default guest finds beside its /init: folders to mount, a root to run in
 * @throws Failure where a file cannot be read or the default guest cannot be had.
 */
export async function loadImages(settings: ImageSettings, start: Uint8Array | undefined): Promise<Images> {
  const { kernel, guestDisk, initrd, exec, modules, rooted, modulesFolder } = settings;
  const mounts = settings.shares.length > 0 || (rooted !== undefined && mountsFolders(rooted));
  const kind = mounts && kernel === undefined ? withFolders(settings.guest) : settings.guest;
  if (bootsDisk(settings))
    return { name: settings.disks[0]?.path ?? '', kernel: undefined, initrd: undefined, modules: [], ownGuest: false };
  // A kernel without an initial RAM disk is one that brings its own; --exec needs the default guest's shell in any case.
  const own = guestDisk || exec !== undefined || rooted !== undefined || modulesFolder !== undefined;
  const ownGuest = initrd === undefined && (kernel === undefined || own);
  const file = kernel === undefined ? undefined : readFile(kernel);
  // A 32-bit kernel runs no 64-bit programs.
  const fits: Settings['guest'] = file && is32Bit(file) ? { architecture: 'i386' } : kind;
  const guest = !file || ownGuest ? await fetchGuest(fits) : undefined;
  const disk = ownGuest ? guest!.initrd : initrd;
  const archive = disk === undefined ? undefined : readFile(disk);
  const folder = modulesFolder ?? (kernel === undefined ? undefined : installedModules(kernel));
  const extra = [
    ...(folder === undefined ? [] : [await readModules(folder)]),
    ...(exec !== undefined && !rooted ? [settings.waits ? resumeArchive() : commandArchive(exec)] : []),
    ...(start ? [start] : []),
  ];
  return {
    name: kernel ?? "Debian's kernel",
    kernel: file ?? readFile(guest!.kernel),
    kernelFile: kernel ?? guest!.kernel,
    initrd: ownGuest && archive ? joinArchives(archive, ...extra) : archive,
    modules: modules.map(({ path, words }) => ({ data: readFile(path), commandLine: words })),
    ownGuest,
  };
}

type ImageSettings = Pick<
  Settings,
  | 'kernel'
  | 'guestDisk'
  | 'initrd'
  | 'exec'
  | 'guest'
  | 'modules'
  | 'entry'
  | 'disks'
  | 'append'
  | 'commandLine'
  | 'rooted'
  | 'shares'
  | 'modulesFolder'
> & {
  /** The command of --exec comes later (warm-start.ts). */
  waits?: boolean;
};

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
  const [first] = disks;
  // Only looked at: whoever uses the disk opens it for itself.
  const disk = openDisk({ ...first, readOnly: true, share: true });
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
  ['--root', ({ rooted }) => rooted !== undefined],
  ['--exec', ({ exec }) => exec !== undefined],
  ['--modules', ({ modulesFolder }) => modulesFolder !== undefined],
  ['--module', ({ modules }) => modules.length > 0],
  ['--append', ({ append }) => append !== undefined],
  ['--command-line', ({ commandLine }) => commandLine !== undefined],
  ['--flavour', ({ guest }) => guest.flavour !== undefined],
  ['--arch i386', ({ guest }) => guest.architecture === 'i386'],
];

/** @throws Failure */
async function readModules(folder: string): Promise<Uint8Array> {
  try {
    const { release, modules } = await withFileLater(`--modules ${folder}`, status.noInput, () =>
      readKernelModules(folder),
    );
    return modulesArchive(release, modules);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
    throw new Failure(`--modules: ${error.message}`, status.noInput);
  }
}

/** Not every flavour of Debian's kernels can mount a folder. @throws Failure for one that is named and cannot */
function withFolders({ architecture = 'amd64', flavour }: Settings['guest']): Settings['guest'] {
  const capable = flavourWithFolders(architecture);
  if (flavour === undefined) return { architecture, flavour: capable };
  if (/(?:^|-)cloud-/.test(flavour))
    throw new Failure(
      `--flavour ${flavour}: Debian's kernels for clouds have no 9P, by which folders are shared: --flavour ${capable}`,
    );
  return { architecture, flavour };
}

function readFile(path: string): Uint8Array {
  return readInput(path);
}
