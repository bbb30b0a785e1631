/** Which of its entries a kernel is booted by. */
import type { GuestMemory } from '../memory/memory.ts';
import { writeBiosImage } from './bios/image.ts';
import type { EntryState } from './entry.ts';
import type { KernelImage } from './image.ts';
import { ImageError } from './image-error.ts';
import { loadLinux, loadPackedLinux } from './linux-boot.ts';
import { loadRealModeLinux } from './linux-real-mode.ts';
import { loadMultiboot } from './multiboot.ts';
import type { LoadOptions } from './placement.ts';
import { canBootPvh, loadPvh } from './pvh.ts';

export type { BootModule, LoadOptions } from './placement.ts';

/**
 * - `pvh`: the PVH entry;
 * - `linux`: Linux's 64-bit or 32-bit entry, whichever is the kernel's, unpacked by us;
 * - `packed`: the same entry of the bzImage as it is, which unpacks itself in the guest;
 * - `real`: the bzImage's real-mode set-up code, which asks the BIOS and then goes on as `packed`;
 * - `multiboot`: the entry of multiboot 1.
 */
export const BOOT_ENTRIES = ['pvh', 'linux', 'packed', 'real', 'multiboot'] as const;
export type BootEntry = (typeof BOOT_ENTRIES)[number];

/** On a PC: boots by `entry` or, when none is named, by the shortest way that the image has. @throws ImageError */
export function loadKernel(
  memory: GuestMemory,
  image: KernelImage,
  options: LoadOptions,
  entry?: BootEntry,
): EntryState {
  writeBiosImage(memory);
  const way = entry ?? shortestWay(image);
  if (options.modules?.length && way !== 'multiboot')
    throw new ImageError(`${image.description} takes no modules: only multiboot kernels do`);
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
  }
}

function shortestWay(image: KernelImage): BootEntry {
  if (canBootPvh(image)) return 'pvh';
  return image.multiboot ? 'multiboot' : 'linux';
}
