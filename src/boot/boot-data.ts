/** What the PVH and the multiboot entry have in common: 32-bit protected mode, EBX pointing to what the kernel is handed. */
import type { GuestMemory } from '../memory/memory.ts';
import { CR0_ET, CR0_PE, DR6_FIXED, DR7_FIXED } from '../x86/control.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import { E820_RAM, type MemoryRange } from './e820.ts';
import type { EntryState } from './entry.ts';
import { FLAGS_CLEAR, flatSegments } from './entry-segments.ts';
import { ImageError } from './image-error.ts';
import { type Extent, endOf, LOW_MEMORY, requireRam, roundUp } from './placement.ts';

/** Guest-physical addresses. */
export interface BootData {
  /** The structure that EBX points to, the list of modules, the memory map: 4 KiB each. */
  startInfo: number;
  moduleList: number;
  memoryMap: number;
  /** The command line and other strings, up to `stringsEnd`. */
  commandLine: number;
  stringsEnd: number;
  /** Modules may stand from here on. */
  free: number;
}

const TABLES_SIZE = 3 * PAGE_SIZE;
const STRINGS_SIZE = LOW_MEMORY.end - LOW_MEMORY.commandLine;
const ONE_MIB = 1 << 20;

/**
 * Finds a place beside the kernel: in low memory where Linux's data stand, too, if the kernel is not there, else behind
 * one of the kernel's parts.
 * @param memoryMap empty: RAM has no holes
 */
export function placeBootData(
  memory: GuestMemory,
  kernel: readonly Extent[],
  memoryMap: readonly MemoryRange[],
): BootData {
  const isClear = (start: number, end: number) => kernel.every(part => part.end <= start || part.start >= end);
  const isRam = (start: number, end: number) =>
    memory.has(start, end - start) &&
    (memoryMap.length === 0 ||
      memoryMap.some(({ type, address, size }) => type === E820_RAM && address <= start && end <= address + size));
  const at = (tables: number, strings: number): BootData => ({
    startInfo: tables,
    moduleList: tables + PAGE_SIZE,
    memoryMap: tables + 2 * PAGE_SIZE,
    commandLine: strings,
    stringsEnd: strings + STRINGS_SIZE,
    // Modules are long: behind a kernel in low memory they have no room.
    free: Math.max(endOf(kernel), strings > ONE_MIB ? strings + STRINGS_SIZE : 0, ONE_MIB + 1),
  });
  const { startInfo, commandLine } = LOW_MEMORY;
  if (isClear(startInfo, startInfo + TABLES_SIZE) && isClear(commandLine, commandLine + STRINGS_SIZE))
    return at(startInfo, commandLine);
  const size = TABLES_SIZE + STRINGS_SIZE;
  const starts = [...kernel.map(({ end }) => roundUp(end, PAGE_SIZE)), LOW_MEMORY.end, ONE_MIB].sort((a, b) => a - b);
  const place = starts.find(
    start => start >= LOW_MEMORY.end && isClear(start, start + size) && isRam(start, start + size),
  );
  if (place === undefined) {
    requireRam(memory, Math.max(endOf(kernel), ONE_MIB) + size, 'the kernel with its boot data');
    throw new ImageError('the kernel leaves no room for its boot data: 76 KiB of RAM in one piece');
  }
  return at(place, place + TABLES_SIZE);
}

/** The processor at such an entry. */
export function flatEntry(entry: number, data: BootData, registers: EntryState['registers']): EntryState {
  return {
    registers: {
      rip: BigInt(entry),
      rbx: BigInt(data.startInfo),
      cr0: BigInt(CR0_PE | CR0_ET),
      flags: FLAGS_CLEAR,
      dr6: BigInt(DR6_FIXED),
      dr7: BigInt(DR7_FIXED),
      ...registers,
    },
    segments: flatSegments(32),
  };
}
