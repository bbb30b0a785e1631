/**
 * Linux's oldest entry (Documentation/x86/boot.rst, "Running the Kernel"): the set-up code of a bzImage in real mode, which
 * asks the BIOS for the memory map and the rest of boot_params and then enters the protected-mode code itself.
 */

import type { GuestMemory } from '../memory/memory.ts';
import { LOADER_UNDEFINED } from './boot-params.ts';
import { SETUP } from './bzimage.ts';
import type { EntryState } from './entry.ts';
import { enterRealMode } from './entry-segments.ts';
import type { KernelImage } from './image.ts';
import { formatSize, ImageError } from './image-error.ts';
import { placePackedLinux } from './linux-boot.ts';
import { LOW_MEMORY, type LoadOptions, placeCommandLine, placeInitrd } from './placement.ts';

/** The set-up code may take so much of its segment, in bytes; its heap and stack follow, up to HEAP_END. */
const MOST_SETUP = 0x8000;
const HEAP_END = 0xe000;
/** Of which this is the stack's. */
const STACK_SIZE = 0x200;
const CAN_USE_HEAP = 1 << 7;
/** It is entered this far behind its first byte, in paragraphs: where the header's jump stands. */
const ENTRY_PARAGRAPHS = 0x20;

export function loadRealModeLinux(memory: GuestMemory, image: KernelImage, options: LoadOptions): EntryState {
  const { setup, bytes } = image;
  const { address, end } = placePackedLinux(memory, image);
  if (!setup || setup.codeOffset > MOST_SETUP)
    throw new ImageError(`${image.description} has no set-up code of at most ${formatSize(MOST_SETUP)} for real mode`);
  const base = LOW_MEMORY.realMode;
  memory.fill(base, HEAP_END);
  memory.copyIn(base, bytes.subarray(0, setup.codeOffset));
  const { initrd } = options;
  const ramdisk = placeInitrd(memory, options, end, setup.initrdAddressMax);
  memory.write8(base + SETUP.type_of_loader, LOADER_UNDEFINED);
  memory.write8(base + SETUP.loadflags, bytes[SETUP.loadflags] | CAN_USE_HEAP);
  memory.write16(base + SETUP.heap_end_ptr, HEAP_END - STACK_SIZE);
  memory.write32(base + SETUP.code32_start, address);
  memory.write32(base + SETUP.cmd_line_ptr, placeCommandLine(memory, options.commandLine, setup.commandLineSize));
  memory.write32(base + SETUP.ramdisk_image, ramdisk);
  memory.write32(base + SETUP.ramdisk_size, initrd && ramdisk !== 0 ? initrd.length : 0);

  const segment = base >> 4;
  return enterRealMode({ cs: segment + ENTRY_PARAGRAPHS, ip: 0, segment, sp: HEAP_END });
}
