/**
 * Linux's own entries (Documentation/x86/boot.rst): the 64-bit and the 32-bit one, each into the kernel proper that we have
 * unpacked or, when its packing is beyond us, into the bzImage's code that unpacks it itself.
 */

import type { GuestMemory } from '../memory/memory.ts';
import { CR0_ET, CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME } from '../x86/control.ts';
import { PAGE_SIZE, PTE_P, PTE_PS, PTE_RW } from '../x86/paging.ts';
import { writeBootParams } from './boot-params.ts';
import type { EntryState } from './entry.ts';
import { FLAGS_CLEAR, flatDescriptorTable, flatSegments } from './entry-segments.ts';
import type { KernelImage } from './image.ts';
import { ImageError } from './image-error.ts';
import {
  endOf,
  keepLowMemoryFree,
  LOW_MEMORY,
  type LoadOptions,
  loadSegments,
  placeCommandLine,
  placeInitrd,
  requireRam,
  roundUp,
} from './placement.ts';
import { DEFAULT_COMMAND_LINE_LIMIT, DEFAULT_INITRD_MAX } from './pvh.ts';

/** How far into the protected-mode code the 64-bit entry is. */
const ENTRY_64 = 0x200;
/** How much the identity map covers, in GiB: whatever a kernel may look at before it has tables of its own. */
const IDENTITY_GIB = 4;

const PRESENT_WRITABLE = BigInt(PTE_P | PTE_RW);

/** Unpacked by us where possible, entered at its startup_64 or startup_32. */
export function loadLinux(memory: GuestMemory, image: KernelImage, options: LoadOptions): EntryState {
  if (!image.elf) return loadPackedLinux(memory, image, options);
  requireRam(memory, LOW_MEMORY.end, 'Linux');
  const kernel = loadSegments(memory, image.elf);
  keepLowMemoryFree(kernel);
  const entry = Number(image.elf.entry);
  if (!memory.has(entry, 1))
    throw new ImageError(`a damaged kernel: its entry, 0x${image.elf.entry.toString(16)}, lies outside RAM`);
  return enter(memory, image, options, image.bits, entry, endOf(kernel));
}

/** As a boot loader does it: the bzImage's protected-mode code, which unpacks the kernel in the guest. Slow. */
export function loadPackedLinux(memory: GuestMemory, image: KernelImage, options: LoadOptions): EntryState {
  const { address, end } = placePackedLinux(memory, image);
  const bits = image.setup?.entry64 ? 64 : 32;
  return enter(memory, image, options, bits, bits === 64 ? address + ENTRY_64 : address, end);
}

/** Loads a bzImage's protected-mode code. @returns its address, and the end of what it takes to unpack itself */
export function placePackedLinux(memory: GuestMemory, image: KernelImage): { address: number; end: number } {
  const { setup } = image;
  if (!setup) throw new ImageError(`${image.description} is no bzImage`);
  requireRam(memory, LOW_MEMORY.end, 'Linux');
  const address = setup.relocatable ? roundUp(setup.preferredAddress, setup.alignment) : 0x100000;
  const end = address + Math.max(setup.initSize, image.bytes.length - setup.codeOffset);
  requireRam(memory, end, 'the kernel, which unpacks itself,');
  memory.copyIn(address, image.bytes.subarray(setup.codeOffset));
  return { address, end };
}

function enter(
  memory: GuestMemory,
  image: KernelImage,
  options: LoadOptions,
  bits: 32 | 64,
  entry: number,
  kernelEnd: number,
): EntryState {
  const commandLine = placeCommandLine(
    memory,
    options.commandLine,
    image.setup?.commandLineSize ?? DEFAULT_COMMAND_LINE_LIMIT,
  );
  const initrd = placeInitrd(memory, options, kernelEnd, image.setup?.initrdAddressMax ?? DEFAULT_INITRD_MAX);
  const bootParams = writeBootParams(memory, image, options, commandLine, initrd);
  const table = flatDescriptorTable(bits);
  for (const [index, descriptor] of table.entries()) memory.write64(LOW_MEMORY.gdt + index * 8, descriptor);
  const registers: EntryState['registers'] = {
    rip: BigInt(entry),
    rsi: BigInt(bootParams),
    flags: FLAGS_CLEAR,
    cr0: BigInt(CR0_PE | CR0_ET),
    gdtBase: BigInt(LOW_MEMORY.gdt),
    gdtLimit: BigInt(table.byteLength - 1),
    dr6: 0xffff0ff0n,
    dr7: 0x400n,
  };
  if (bits === 64) {
    registers.cr0 = BigInt((CR0_PE | CR0_ET | CR0_PG) >>> 0);
    registers.cr3 = BigInt(writeIdentityMap(memory, LOW_MEMORY.pageTables));
    registers.cr4 = BigInt(CR4_PAE);
    registers.efer = BigInt(EFER_LME | EFER_LMA);
  }
  return { registers, segments: flatSegments(bits) };
}

/** Four-level page tables that map the first GiBs to themselves in 2 MiB pages (SDM 3A 4.5). @returns the root's address */
function writeIdentityMap(memory: GuestMemory, root: number): number {
  const pointers = root + PAGE_SIZE;
  memory.fill(root, (2 + IDENTITY_GIB) * PAGE_SIZE);
  memory.write64(root, BigInt(pointers) | PRESENT_WRITABLE);
  for (let gib = 0; gib < IDENTITY_GIB; gib++) {
    const directory = pointers + PAGE_SIZE * (1 + gib);
    memory.write64(pointers + 8 * gib, BigInt(directory) | PRESENT_WRITABLE);
    for (let entry = 0; entry < 512; entry++) {
      const address = BigInt(gib * 512 + entry) << 21n;
      memory.write64(directory + 8 * entry, address | BigInt(PTE_PS) | PRESENT_WRITABLE);
    }
  }
  return root;
}
