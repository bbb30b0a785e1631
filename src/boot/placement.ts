/**
 * Where loaders put what they hand to a kernel. Everything small goes below 640 KiB, which kernels leave alone until they
 * have read it; the initrd goes as high as it may.
 */

import type { GuestMemory } from '../memory/memory.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import { type MemoryRange, ramEnd } from './e820.ts';
import { type Elf, PT_LOAD } from './elf.ts';
import { formatSize, ImageError } from './image-error.ts';

/** Guest-physical addresses, each with the room up to the next. Page 0 is the BIOS's. */
export const LOW_MEMORY = {
  /** hvm_start_info, its list of modules and its memory map: 4 KiB each. */
  startInfo: 0x1000,
  moduleList: 0x2000,
  memoryMap: 0x3000,
  /** struct boot_params, the "zero page": 4 KiB. */
  bootParams: 0x7000,
  gdt: 0x8000,
  /** Six pages of identity map. */
  pageTables: 0x9000,
  /** The segment of Linux's set-up code, its heap and stack: 64 KiB. */
  realMode: 0x10000,
  /** Up to 64 KiB. */
  commandLine: 0x20000,
  end: 0x30000,
} as const;

/** A file that a multiboot or PVH kernel finds in memory. */
export interface BootModule {
  data: Uint8Array;
  /** The file's name and the words for it, as in a boot loader's menu. A PVH kernel is told the words alone. */
  commandLine: string;
}

export interface PlacedModule extends BootModule {
  address: number;
}

/** What every loader gets besides the kernel. */
export interface LoadOptions {
  initrd: Uint8Array | undefined;
  /** More files for a multiboot or PVH kernel, in this order behind the initrd. */
  modules?: readonly BootModule[] | undefined;
  commandLine: string;
  /** Guest-physical address of the ACPI root pointer; 0 where there is no ACPI. */
  rsdp: number;
  memoryMap: readonly MemoryRange[];
  /** For Linux's own entries: a node of the list to which boot_params points, struct setup_data. */
  setupData?: { readonly type: number; readonly data: Uint8Array } | undefined;
}

/** A part of the kernel in memory: guest-physical addresses [start, end). */
export interface Extent {
  start: number;
  end: number;
}
/** The first address behind all of them. */
export function endOf(kernel: readonly Extent[]): number {
  return kernel.reduce((highest, { end }) => Math.max(highest, end), 0);
}
/** @throws ImageError if the kernel lies where Linux's boot data have to be, in low memory. */
export function keepLowMemoryFree(kernel: readonly Extent[]): void {
  const part = kernel.find(({ start, end }) => start < LOW_MEMORY.end && end > LOW_MEMORY.startInfo);
  if (part)
    throw new ImageError(
      `the kernel wants to be loaded at 0x${part.start.toString(16)}, where its boot data must go; this loader cannot boot it`,
    );
}

/** Loads the PT_LOAD segments by physical address. @returns where they are */
export function loadSegments(memory: GuestMemory, elf: Elf): Extent[] {
  const segments = elf.segments.filter(({ type, memorySize }) => type === PT_LOAD && memorySize > 0);
  const end = segments.reduce((highest, { physicalAddress, memorySize }) => {
    const last = physicalAddress + BigInt(memorySize);
    return last > highest ? last : highest;
  }, 0n);
  requireRam(memory, Number(end), 'the kernel');
  for (const { offset, physicalAddress, fileSize, memorySize } of segments) {
    const address = Number(physicalAddress);
    memory.copyIn(address, elf.bytes.subarray(offset, offset + fileSize));
    memory.fill(address + fileSize, memorySize - fileSize);
  }
  return segments.map(({ physicalAddress, memorySize }) => ({
    start: Number(physicalAddress),
    end: Number(physicalAddress) + memorySize,
  }));
}

/** @throws ImageError when RAM does not reach to `end`. */
export function requireRam(memory: GuestMemory, end: number, what: string): void {
  if (memory.has(0, end)) return;
  const needed = Number.isSafeInteger(end) ? formatSize(roundUp(end, 1 << 20)) : 'more than a machine can have';
  throw new ImageError(
    `too little memory: ${what} needs ${needed} and the machine has ${formatSize(memory.size)}; give it more with --memory`,
  );
}

/**
 * Puts the initrd at the top of the RAM that holds the kernel, on a page boundary.
 * @param kernelEnd the first address it may have
 * @param highest the last address its last byte may have
 * @returns its address; 0 when there is none
 */
export function placeInitrd(
  memory: GuestMemory,
  { initrd, memoryMap }: LoadOptions,
  kernelEnd: number,
  highest: number,
): number {
  if (!initrd || initrd.length === 0) return 0;
  const top = Math.min(ramEnd(memoryMap, kernelEnd - 1), highest + 1, memory.size);
  const address = Math.floor((top - initrd.length) / PAGE_SIZE) * PAGE_SIZE;
  if (address < roundUp(kernelEnd, PAGE_SIZE)) {
    // Linux holds the archive and what it unpacks at the same time.
    const needed = roundUp(kernelEnd + 2 * initrd.length, 1 << 20);
    if (needed > highest)
      throw new ImageError(
        `the initrd is too long: ${formatSize(initrd.length)}, and the kernel wants it to end below 0x${highest.toString(16)}`,
      );
    throw new ImageError(
      `too little memory: the kernel takes ${formatSize(kernelEnd)} and the initrd ${formatSize(initrd.length)} of ${formatSize(memory.size)}; give the machine at least ${formatSize(needed)} with --memory`,
    );
  }
  memory.copyIn(address, initrd);
  return address;
}

/**
 * Puts the initrd and the modules one below the other from the top of RAM, each on a page boundary.
 * @param most how many there is room for
 */
export function placeModules(
  memory: GuestMemory,
  options: LoadOptions,
  kernelEnd: number,
  most: number,
  highest = 0xffffffff,
): PlacedModule[] {
  const { initrd, modules = [] } = options;
  const all = [...(initrd ? [{ data: initrd, commandLine: '' }] : []), ...modules].filter(
    ({ data }) => data.length > 0,
  );
  if (all.length > most) throw new ImageError(`${all.length} modules; there is room for ${most}`);
  let last = highest;
  return all.map(module => {
    const address = placeInitrd(memory, { ...options, initrd: module.data }, kernelEnd, last);
    last = address - 1;
    return { ...module, address };
  });
}

/** Where strings stand: guest-physical addresses. */
export interface StringPlace {
  /** The command line is the first. */
  commandLine: number;
  stringsEnd: number;
}
const LINUX_STRINGS: StringPlace = { commandLine: LOW_MEMORY.commandLine, stringsEnd: LOW_MEMORY.end };

/** Hands out places for strings with their NUL, behind a command line of at most `commandLineLimit` bytes. */
export function createStrings(memory: GuestMemory, commandLineLimit: number, place: StringPlace) {
  let next = place.commandLine + commandLineLimit + 1;
  return {
    add(text: string): number {
      const bytes = new TextEncoder().encode(`${text}\0`);
      if (next + bytes.length > place.stringsEnd) throw new ImageError("the modules' words are too long; shorten them");
      const address = next;
      memory.copyIn(address, bytes);
      next += bytes.length;
      return address;
    },
  };
}

/** Writes the command line with its NUL. @returns its address */
export function placeCommandLine(
  memory: GuestMemory,
  commandLine: string,
  limit: number,
  place: StringPlace = LINUX_STRINGS,
): number {
  const bytes = new TextEncoder().encode(commandLine);
  if (bytes.includes(0))
    throw new ImageError('the command line has a NUL character in it, which would end it; leave it out');
  const most = Math.min(limit, place.stringsEnd - place.commandLine - 1);
  if (bytes.length > most)
    throw new ImageError(
      `the command line is too long: ${bytes.length} bytes, and this kernel takes ${most}; shorten what --append adds`,
    );
  memory.copyIn(place.commandLine, bytes);
  memory.write8(place.commandLine + bytes.length, 0);
  return place.commandLine;
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
