/** Which of its entries a kernel is booted by. */
import type { GuestMemory } from '../memory/memory.ts';
import { BOOT_SECTOR, loadBootCode } from './bios/boot-sector.ts';
import type { Drive } from './bios/drives.ts';
import { writeBiosImage } from './bios/image.ts';
import type { EntryState } from './entry.ts';
import { enterRealMode } from './entry-segments.ts';
import type { KernelImage } from './image.ts';
import { ImageError } from './image-error.ts';
import { loadLinux, loadPackedLinux } from './linux-boot.ts';
import { loadRealModeLinux } from './linux-real-mode.ts';
import { loadMultiboot } from './multiboot.ts';
import { type LoadOptions, requireRam } from './placement.ts';
import { canBootPvh, loadPvh } from './pvh.ts';

export type { BootModule, LoadOptions } from './placement.ts';

/**
 * - `pvh`: the PVH entry;
 * - `linux`: Linux's 64-bit or 32-bit entry, whichever is the kernel's, unpacked by us;
 * - `packed`: the same entry of the bzImage as it is, which unpacks itself in the guest;
 * - `real`: the bzImage's real-mode set-up code, which asks the BIOS and then goes on as `packed`;
 * - `multiboot`: the entry of multiboot 1;
 * - `disk`: no kernel of ours, but the boot loader on a disk, in real mode.
 */
export const BOOT_ENTRIES = ['pvh', 'linux', 'packed', 'real', 'multiboot', 'disk'] as const;
/** What code in real mode takes for granted: the first MiB. */
const LOW_MEMORY_SIZE = 1 << 20;

export type BootEntry = (typeof BOOT_ENTRIES)[number];

/** On a PC: boots by `entry` or, when none is named, by the shortest way that the image has. @throws ImageError */
export function loadKernel(
  memory: GuestMemory,
  image: KernelImage,
  options: LoadOptions,
  way: BootEntry = shortestWay(image),
  drives: readonly Drive[] = [],
  serialPorts?: readonly number[],
): EntryState {
  writeBiosImage(memory, drives, serialPorts);
  if (options.modules?.length && way !== 'multiboot' && way !== 'pvh')
    throw new ImageError(`${image.description} takes no modules: only multiboot and PVH kernels do`);
  switch (way) {
    case 'pvh':
      return loadPvh(memory, image, options);
    case 'linux':
      return loadLinux(memory, image, options);
    case 'packed':
      return loadPackedLinux(memory, image, options);
    case 'real':
      return loadRealModeLinux(memory, image, options);
    case 'multiboot':
      return loadMultiboot(memory, image, options);
    case 'disk':
      return loadFromDisk(memory, drives);
  }
}

/** As a BIOS does it: what it finds on a drive is entered in real mode with the drive's number in DL. */
function loadFromDisk(memory: GuestMemory, drives: readonly Drive[]): EntryState {
  requireRam(memory, LOW_MEMORY_SIZE, 'a boot loader');
  const code = loadBootCode(memory, drives);
  if (!code) throw new ImageError(nothingToBoot(drives));
  const registers = { rdx: BigInt(code.drive) };
  return enterRealMode({ ...code, segment: 0, sp: BOOT_SECTOR, registers });
}

function nothingToBoot(drives: readonly Drive[]): string {
  if (drives.length === 0) return 'there is neither a kernel nor a disk to boot; name one with --kernel or --disk';
  const names = drives.map(({ disk }) => disk.name).join(', ');
  return `there is no boot loader on ${names}: neither a boot sector with code nor an El Torito image; name a kernel with --kernel`;
}

/** Whether the entry is in real mode, where the guest expects what a BIOS has set up. */
export function isRealMode(entry: BootEntry): boolean {
  return entry === 'real' || entry === 'disk';
}

/** The shortest way that the image has. @param without ways that the machine does not have */
export function shortestWay(image: KernelImage, without: readonly BootEntry[] = []): BootEntry {
  if (image.format === 'disk') return 'disk';
  if (canBootPvh(image) && !without.includes('pvh')) return 'pvh';
  // Programs that borrow Linux's boot protocol (memdisk, iPXE, GRUB's lnxboot) count on their set-up code having run.
  if (image.setup && !image.mayBeLinux && !image.setup.entry64) return 'real';
  return image.multiboot ? 'multiboot' : 'linux';
}
