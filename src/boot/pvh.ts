/**
 * The PVH entry (xen/include/public/arch-x86/hvm/start_info.h; docs/misc/pvh.pandoc): 32-bit protected mode without paging,
 * EBX pointing to a hvm_start_info. Born for Xen, used by every virtual machine monitor that boots a vmlinux directly.
 */

import type { GuestMemory } from '../memory/memory.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import { type BootData, flatEntry, placeBootData } from './boot-data.ts';
import type { EntryState } from './entry.ts';
import type { KernelImage } from './image.ts';
import { ImageError } from './image-error.ts';
import {
  createStrings,
  LOW_MEMORY,
  type LoadOptions,
  loadSegments,
  type PlacedModule,
  placeCommandLine,
  placeModules,
  requireRam,
} from './placement.ts';

const HVM_START_MAGIC_VALUE = 0x336ec578;
/** Version 1 of the structure is the one with a memory map. */
const VERSION = 1;
const MODULE_ENTRY_SIZE = 32;
const MOST_MODULES = PAGE_SIZE / MODULE_ENTRY_SIZE;
const MEMORY_MAP_ENTRY_SIZE = 24;
/** Linux reads the map into boot_params, which has room for 128, and adds an entry of its own. */
const MEMORY_MAP_LIMIT = 127;

/** The command line's limit where the file does not say: COMMAND_LINE_SIZE of Linux on x86, less the NUL. */
export const DEFAULT_COMMAND_LINE_LIMIT = 2047;
/** Fields for the initrd are 32 bits wide. */
export const DEFAULT_INITRD_MAX = 0xffffffff;

export function canBootPvh(image: KernelImage): boolean {
  return image.elf !== undefined && image.xen.phys32Entry !== undefined;
}

/** What to say of an image without the entry, behind its description. */
export function lacksPvhEntry({ multiboot, setup, mayBeLinux }: KernelImage): string {
  if (multiboot) return 'has no PVH entry but a multiboot one, as Xen itself has: boot it with --hypervisor bare';
  if (setup && mayBeLinux) return 'has no PVH entry; build it with CONFIG_PVH';
  return 'has no PVH entry (the ELF note PHYS32_ENTRY): Linux has one with CONFIG_PVH, firmware such as hvmloader has none';
}

/** Loads a kernel that has the PVH entry. The memory map is given unless the options have none (Xen's guests ask for it). */
export function loadPvh(memory: GuestMemory, image: KernelImage, options: LoadOptions): EntryState {
  const entry = image.xen.phys32Entry;
  if (!image.elf || entry === undefined) throw new ImageError(`${image.description} ${lacksPvhEntry(image)}`);
  requireRam(memory, LOW_MEMORY.end, 'a PVH kernel');
  const data = placeBootData(memory, loadSegments(memory, image.elf), options.memoryMap);
  if (!memory.has(entry, 1))
    throw new ImageError(`a damaged kernel: its PVH entry, 0x${entry.toString(16)}, lies outside RAM`);
  const limit = image.setup?.commandLineSize ?? DEFAULT_COMMAND_LINE_LIMIT;
  placeCommandLine(memory, options.commandLine, limit, data);
  const highest = image.setup?.initrdAddressMax ?? DEFAULT_INITRD_MAX;
  const modules = placeModules(memory, options, data.free, MOST_MODULES, highest);
  writeStartInfo(memory, options, data, modules, createStrings(memory, limit, data));
  return flatEntry(entry, data, {});
}

function writeStartInfo(
  memory: GuestMemory,
  { rsdp, memoryMap }: LoadOptions,
  { startInfo, moduleList, memoryMap: mapAddress, commandLine }: BootData,
  modules: readonly PlacedModule[],
  strings: ReturnType<typeof createStrings>,
): void {
  if (memoryMap.length > MEMORY_MAP_LIMIT)
    throw new RangeError(`a memory map of ${memoryMap.length} ranges; ${MEMORY_MAP_LIMIT} are possible`);
  memory.fill(startInfo, 3 * PAGE_SIZE);
  memory.write32(startInfo + 0, HVM_START_MAGIC_VALUE);
  memory.write32(startInfo + 4, VERSION);
  memory.write64(startInfo + 24, BigInt(commandLine));
  memory.write64(startInfo + 32, BigInt(rsdp));
  if (modules.length > 0) {
    memory.write32(startInfo + 12, modules.length);
    memory.write64(startInfo + 16, BigInt(moduleList));
  }
  for (const [index, { address, data, commandLine: words }] of modules.entries()) {
    const at = moduleList + index * MODULE_ENTRY_SIZE;
    memory.write64(at, BigInt(address));
    memory.write64(at + 8, BigInt(data.length));
    // A PVH kernel's command lines do not begin with the name of a file.
    const text = words.replace(/^\S*\s*/, '');
    memory.write64(at + 16, text === '' ? 0n : BigInt(strings.add(text)));
    memory.write64(at + 24, 0n);
  }
  if (memoryMap.length === 0) return;
  memory.write64(startInfo + 40, BigInt(mapAddress));
  memory.write32(startInfo + 48, memoryMap.length);
  memoryMap.forEach(({ address, size, type }, index) => {
    const at = mapAddress + index * MEMORY_MAP_ENTRY_SIZE;
    memory.write64(at, BigInt(address));
    memory.write64(at + 8, BigInt(size));
    memory.write32(at + 16, type);
  });
}
