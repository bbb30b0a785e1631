/**
 * struct boot_params, the "zero page" (Documentation/x86/zero-page.rst): what Linux's own entries take. The boot protocol's
 * header, if the kernel came with one, is copied into its middle and completed.
 */
import type { GuestMemory } from '../memory/memory.ts';
import { BOOT_FLAG, HEADER_MAGIC, SETUP } from './bzimage.ts';
import type { KernelImage } from './image.ts';
import { LOW_MEMORY, type LoadOptions } from './placement.ts';

const SIZE = 4096;
const ACPI_RSDP_ADDR = 0x070;
const EXT_RAMDISK_IMAGE = 0x0c0;
const EXT_RAMDISK_SIZE = 0x0c4;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;
const E820_ENTRY_SIZE = 20;
const E820_LIMIT = 128;
/** The header ends here at the latest: then comes the room for EDD, and the map. */
const HEADER_END = 0x290;
/** "A loader without an assigned number." */
export const LOADER_UNDEFINED = 0xff;
/** struct setup_data: the next node's address (there is none), the type, the length of what follows. */
const SETUP_DATA_TYPE = 8;
const SETUP_DATA_LENGTH = 12;
const SETUP_DATA = 16;
/** What is claimed for a vmlinux, which has no header: 2.15. */
const PROTOCOL = 0x20f;

/** @returns the address of boot_params */
export function writeBootParams(
  memory: GuestMemory,
  image: KernelImage,
  options: LoadOptions,
  commandLine: number,
  initrd: number,
): number {
  const { initrd: ramdisk, rsdp, memoryMap } = options;
  if (memoryMap.length > E820_LIMIT)
    throw new RangeError(`a memory map of ${memoryMap.length} ranges; ${E820_LIMIT} are possible`);
  const base = LOW_MEMORY.bootParams;
  memory.fill(base, SIZE);
  if (image.setup)
    memory.copyIn(base + SETUP.setup_sects, image.setup.bytes.subarray(0, HEADER_END - SETUP.setup_sects));
  else {
    memory.write16(base + SETUP.boot_flag, BOOT_FLAG);
    memory.write32(base + SETUP.header, HEADER_MAGIC);
    memory.write16(base + SETUP.version, PROTOCOL);
  }
  memory.write8(base + SETUP.type_of_loader, LOADER_UNDEFINED);
  memory.write32(base + SETUP.cmd_line_ptr, commandLine);
  memory.write64(base + ACPI_RSDP_ADDR, BigInt(rsdp));
  if (ramdisk && initrd !== 0) {
    memory.write32(base + SETUP.ramdisk_image, initrd);
    memory.write32(base + SETUP.ramdisk_size, ramdisk.length);
    memory.write32(base + EXT_RAMDISK_IMAGE, Math.floor(initrd / 2 ** 32));
    memory.write32(base + EXT_RAMDISK_SIZE, Math.floor(ramdisk.length / 2 ** 32));
  }
  if (options.setupData) memory.write64(base + SETUP.setup_data, BigInt(writeSetupData(memory, options.setupData)));
  memory.write8(base + E820_ENTRIES, memoryMap.length);
  memoryMap.forEach(({ address, size, type }, index) => {
    const at = base + E820_TABLE + index * E820_ENTRY_SIZE;
    memory.write64(at, BigInt(address));
    memory.write64(at + 8, BigInt(size));
    memory.write32(at + 16, type);
  });
  return base;
}

/** Puts the node where a PVH kernel would have its data. @returns its address */
function writeSetupData(memory: GuestMemory, { type, data }: NonNullable<LoadOptions['setupData']>): number {
  const at = LOW_MEMORY.startInfo;
  if (SETUP_DATA + data.length > LOW_MEMORY.moduleList - at) throw new RangeError(`${data.length} bytes of setup data`);
  memory.write64(at, 0n);
  memory.write32(at + SETUP_DATA_TYPE, type);
  memory.write32(at + SETUP_DATA_LENGTH, data.length);
  memory.copyIn(at + SETUP_DATA, data);
  return at;
}
