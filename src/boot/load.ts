/** Which of its entries a kernel is booted by. */
import type { GuestMemory } from '../memory/memory.ts';
import type { EntryState } from './entry.ts';
import type { KernelImage } from './image.ts';
import { loadLinux, loadPackedLinux } from './linux-boot.ts';
import { loadMultiboot } from './multiboot.ts';
import { type LoadOptions, writeBiosDataArea } from './placement.ts';
import { canBootPvh, loadPvh } from './pvh.ts';

export type { LoadOptions } from './placement.ts';

/**
 * - `pvh`: the PVH entry;
 * - `linux`: Linux's 64-bit or 32-bit entry, whichever is the kernel's, unpacked by us;
 * - `packed`: the same entry of the bzImage as it is, which unpacks itself in the guest;
 * - `multiboot`: the entry of multiboot 1.
 */
export type BootEntry = 'pvh' | 'linux' | 'packed' | 'multiboot';

/** On a PC: boots by `entry` or, when none is named, by the shortest way that the image has. @throws ImageError */
export function loadKernel(
  memory: GuestMemory,
  image: KernelImage,
  options: LoadOptions,
  entry?: BootEntry,
): EntryState {
  writeBiosDataArea(memory);
  switch (entry ?? shortestWay(image)) {
    case 'pvh':
      return loadPvh(memory, image, options);
    case 'linux':
      return loadLinux(memory, image, options);
    case 'packed':
      return loadPackedLinux(memory, image, options);
    case 'multiboot':
      return loadMultiboot(memory, image, options);
  }
}

function shortestWay(image: KernelImage): BootEntry {
  if (canBootPvh(image)) return 'pvh';
  return image.multiboot ? 'multiboot' : 'linux';
}
