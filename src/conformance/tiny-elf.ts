/**
 * The smallest programs and kernels there are: headers, and machine code from a test. ELF-64 Object File Format 1.5.
 */

const FILE_HEADER = 64;
const PROGRAM_HEADER = 56;
const PT_LOAD = 1;
const PT_NOTE = 4;

interface Segment {
  type: number;
  /** Where in the file. */
  offset: number;
  virtual: bigint;
  physical: bigint;
  size: number;
}

function headers(file: Uint8Array, entry: bigint, segments: readonly Segment[]): void {
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]); // ELF, 64-bit, little-endian, version 1
  view.setUint16(16, 2, true); // e_type: executable
  view.setUint16(18, 62, true); // e_machine: x86-64
  view.setUint32(20, 1, true); // e_version
  view.setBigUint64(24, entry, true);
  view.setBigUint64(32, BigInt(FILE_HEADER), true); // e_phoff
  view.setUint16(52, FILE_HEADER, true);
  view.setUint16(54, PROGRAM_HEADER, true);
  view.setUint16(56, segments.length, true);
  for (const [index, { type, offset, virtual, physical, size }] of segments.entries()) {
    const at = FILE_HEADER + index * PROGRAM_HEADER;
    view.setUint32(at, type, true);
    view.setUint32(at + 4, 5, true); // p_flags: read and execute
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, virtual, true);
    view.setBigUint64(at + 24, physical, true);
    view.setBigUint64(at + 32, BigInt(size), true); // p_filesz
    view.setBigUint64(at + 40, BigInt(size), true); // p_memsz
    view.setBigUint64(at + 48, type === PT_LOAD ? 4096n : 4n, true); // p_align
  }
}

/** A static x86-64 Linux program that consists of `code`. */
export function tinyProgram(code: readonly number[]): Uint8Array {
  const base = 0x400000n;
  const start = FILE_HEADER + PROGRAM_HEADER;
  const file = new Uint8Array(start + code.length);
  file.set(code, start);
  headers(file, base + BigInt(start), [{ type: PT_LOAD, offset: 0, virtual: base, physical: base, size: file.length }]);
  return file;
}

/** Where a tiny kernel's code lies, guest-physical, and where a paravirtual guest sees physical address 0. */
export const KERNEL_ADDRESS = 0x100000;
const VIRTUAL_BASE = 0xffffffff80000000n;

/**
 * A kernel that consists of `code` at its start and zeros up to two pages, or more where the code is longer. Its notes (xen/include/public/elfnote.h)
 * offer the 32-bit PVH entry and the 64-bit paravirtual one, both at `code`; the second page is left for hypercalls.
 */
export function tinyKernel(code: readonly number[]): Uint8Array {
  const notes = Uint8Array.from([
    ...note(1, address(VIRTUAL_BASE + BigInt(KERNEL_ADDRESS))), // ENTRY
    ...note(2, address(VIRTUAL_BASE + BigInt(KERNEL_ADDRESS) + 4096n)), // HYPERCALL_PAGE
    ...note(3, address(VIRTUAL_BASE)), // VIRT_BASE
    ...note(5, text('xen-3.0')), // XEN_VERSION
    ...note(6, text('tiny')), // GUEST_OS
    ...note(8, text('generic')), // LOADER
    ...note(9, text('yes')), // PAE_MODE
    ...note(12, address(0xffff800000000000n)), // HV_START_LOW
    ...note(18, address(BigInt(KERNEL_ADDRESS))), // PHYS32_ENTRY
  ]);
  const size = Math.max(2, Math.ceil(code.length / 4096)) * 4096;
  const file = new Uint8Array(4096 + size);
  const noteStart = 2048;
  file.set(notes, noteStart);
  file.set(code, 4096);
  headers(file, BigInt(KERNEL_ADDRESS), [
    {
      type: PT_LOAD,
      offset: 4096,
      virtual: VIRTUAL_BASE + BigInt(KERNEL_ADDRESS),
      physical: BigInt(KERNEL_ADDRESS),
      size,
    },
    { type: PT_NOTE, offset: noteStart, virtual: 0n, physical: 0n, size: notes.length },
  ]);
  return file;
}

/** A note of the owner "Xen". */
function note(type: number, description: readonly number[]): number[] {
  const padding = Array<number>((4 - (description.length % 4)) % 4).fill(0);
  return [...word(4), ...word(description.length), ...word(type), ...text('Xen'), ...description, ...padding];
}

const word = (value: number) => [...new Uint8Array(Uint32Array.of(value).buffer)];
const address = (value: bigint) => [...new Uint8Array(BigUint64Array.of(value).buffer)];
const text = (value: string) => [...new TextEncoder().encode(`${value}\0`)];
