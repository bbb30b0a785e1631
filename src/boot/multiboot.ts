/**
 * Multiboot 1 (the Multiboot Specification 0.6.96), the entry of Xen itself, of GRUB-bootable hobby systems and of many a
 * test kernel: 32-bit protected mode, EAX a magic number, EBX an information structure.
 */

import type { GuestMemory } from '../memory/memory.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import { type BootData, flatEntry, placeBootData } from './boot-data.ts';
import { E820_RAM } from './e820.ts';
import type { EntryState } from './entry.ts';
import type { KernelImage } from './image.ts';
import { ImageError } from './image-error.ts';
import {
  createStrings,
  type Extent,
  LOW_MEMORY,
  type LoadOptions,
  loadSegments,
  type PlacedModule,
  placeCommandLine,
  placeModules,
  requireRam,
} from './placement.ts';

/** 3.1.1: in the kernel's file, among its first 8192 bytes, at a multiple of 4. */
const HEADER_MAGIC = 0x1badb002;
const HEADER_REACH = 8192;
/** 3.2: in EAX at the entry. */
const LOADER_MAGIC = 0x2badb002;

/** 3.1.2: bits 0-15 are demands; of those we know page-aligned modules, memory information and (unheeded) a video mode. */
const DEMANDS = 0xffff;
const KNOWN_DEMANDS = 0x0007;
/** The load addresses stand in the header, and count even for an ELF file. */
const HAS_ADDRESSES = 1 << 16;

/** 3.3: which fields of the information structure are valid. */
const INFO = { memory: 1 << 0, commandLine: 1 << 2, modules: 1 << 3, memoryMap: 1 << 6, loaderName: 1 << 9 } as const;
const MODULE_SIZE = 16;
const MOST_MODULES = PAGE_SIZE / MODULE_SIZE;
const MEMORY_MAP_ENTRY_SIZE = 24;
/** The command line's own 32 KiB: other strings stand behind it. */
const COMMAND_LINE_LIMIT = 0x7fff;

export interface MultibootHeader {
  flags: number;
  /** The "address fields" (3.1.3), if the header has them. All are guest-physical but `fileOffset`. */
  addresses?: { fileOffset: number; load: number; loadEnd: number; bssEnd: number; entry: number };
}

export function findMultibootHeader(bytes: Uint8Array): MultibootHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 12 <= Math.min(bytes.length, HEADER_REACH); at += 4) {
    if (view.getUint32(at, true) !== HEADER_MAGIC) continue;
    const flags = view.getUint32(at + 4, true);
    if ((HEADER_MAGIC + flags + view.getUint32(at + 8, true)) % 2 ** 32 !== 0) continue;
    if (!(flags & HAS_ADDRESSES)) return { flags };
    if (at + 32 > bytes.length) return undefined;
    const [header, load, loadEnd, bssEnd, entry] = [12, 16, 20, 24, 28].map(offset =>
      view.getUint32(at + offset, true),
    );
    return { flags, addresses: { fileOffset: at - (header - load), load, loadEnd, bssEnd, entry } };
  }
  return undefined;
}

/** Loads a multiboot kernel; the initrd becomes its first module. */
export function loadMultiboot(memory: GuestMemory, image: KernelImage, options: LoadOptions): EntryState {
  const header = image.multiboot;
  if (!header) throw new ImageError(`${image.description} has no multiboot header`);
  const unknown = header.flags & DEMANDS & ~KNOWN_DEMANDS;
  if (unknown)
    throw new ImageError(
      `the kernel's multiboot header demands what this loader does not have (flags 0x${unknown.toString(16)})`,
    );
  requireRam(memory, LOW_MEMORY.end, 'a multiboot kernel');
  const { kernel, entry } = header.addresses
    ? loadByAddresses(memory, image.bytes, header.addresses)
    : loadElf(memory, image);
  if (!memory.has(entry, 1))
    throw new ImageError(`a damaged kernel: its entry, 0x${entry.toString(16)}, lies outside RAM`);
  const data = placeBootData(memory, kernel, options.memoryMap);
  writeInformation(memory, options, data, placeModules(memory, options, data.free, MOST_MODULES));
  return flatEntry(entry, data, { rax: BigInt(LOADER_MAGIC) });
}

interface Loaded {
  kernel: Extent[];
  entry: number;
}

function loadElf(memory: GuestMemory, image: KernelImage): Loaded {
  if (!image.elf)
    throw new ImageError(`${image.description} says neither in ELF nor in its multiboot header where to load it`);
  return { kernel: loadSegments(memory, image.elf), entry: Number(image.elf.entry) };
}

function loadByAddresses(
  memory: GuestMemory,
  bytes: Uint8Array,
  { fileOffset, load, loadEnd, bssEnd, entry }: NonNullable<MultibootHeader['addresses']>,
): Loaded {
  // 3.1.3: no end of the data means all of the file; no end of the bss means none.
  const size = loadEnd === 0 ? bytes.length - fileOffset : loadEnd - load;
  const end = Math.max(bssEnd, load + size);
  if (fileOffset < 0 || size < 0 || fileOffset + size > bytes.length)
    throw new ImageError(
      `a damaged kernel: its multiboot header wants ${size} bytes from ${fileOffset} on of a file of ${bytes.length}`,
    );
  requireRam(memory, end, 'the kernel');
  memory.copyIn(load, bytes.subarray(fileOffset, fileOffset + size));
  memory.fill(load + size, end - load - size);
  return { kernel: [{ start: load, end }], entry };
}

/** The information structure (3.3), its modules, memory map and strings. */
function writeInformation(
  memory: GuestMemory,
  { commandLine, memoryMap }: LoadOptions,
  data: BootData,
  modules: readonly PlacedModule[],
): void {
  const { startInfo: info, moduleList, memoryMap: map } = data;
  memory.fill(info, 3 * PAGE_SIZE);
  let flags = INFO.memory | INFO.commandLine | INFO.memoryMap | INFO.loaderName;
  const ram = memoryMap.filter(({ type }) => type === E820_RAM);
  const low = ram.find(({ address }) => address === 0);
  const high = ram.find(({ address }) => address === 1 << 20);
  memory.write32(info + 4, Math.floor((low?.size ?? 0) / 1024));
  memory.write32(info + 8, Math.floor((high?.size ?? 0) / 1024));
  memory.write32(info + 16, placeCommandLine(memory, commandLine, COMMAND_LINE_LIMIT, data));
  const strings = createStrings(memory, COMMAND_LINE_LIMIT, data);
  memory.write32(info + 64, strings.add('polyvisor'));
  if (modules.length > 0) {
    flags |= INFO.modules;
    memory.write32(info + 20, modules.length);
    memory.write32(info + 24, moduleList);
    for (const [index, { address, data, commandLine: words }] of modules.entries()) {
      const at = moduleList + index * MODULE_SIZE;
      memory.write32(at, address);
      memory.write32(at + 4, address + data.length);
      memory.write32(at + 8, strings.add(words));
    }
  }
  memory.write32(info + 44, memoryMap.length * MEMORY_MAP_ENTRY_SIZE);
  memory.write32(info + 48, map);
  memoryMap.forEach(({ address, size, type }, index) => {
    const at = map + index * MEMORY_MAP_ENTRY_SIZE;
    memory.write32(at, MEMORY_MAP_ENTRY_SIZE - 4); // An entry's size leaves this field out.
    memory.write64(at + 4, BigInt(address));
    memory.write64(at + 12, BigInt(size));
    memory.write32(at + 20, type);
  });
  memory.write32(info, flags);
}
