/**
 * A guest's memory and processors as an ELF core (System V ABI, chapter 5; Linux's fs/binfmt_elf.c for the notes), for gdb. RAM stands in
 * the file once; the segments are where the page tables of the first processor map it.
 */

/** A processor, by gdb's names of its registers. */
export type CoreRegisters = (name: string) => bigint;

export interface CoreSource {
  readonly memory: Uint8Array;
  readonly processors: readonly CoreRegisters[];
}

const PT_LOAD = 1;
const PT_NOTE = 4;
const NT_PRSTATUS = 1;
const PAGE = 4096;
/** Where RAM begins in the file: after the headers and notes, at a page. */
const align = (value: number, to: number) => Math.ceil(value / to) * to;

/** What the two sizes of ELF files differ in; bytes. */
interface Shape {
  /** EI_CLASS and e_machine. */
  readonly elfClass: number;
  readonly machine: number;
  /** Of an address, and so of a register. */
  readonly word: 4 | 8;
  readonly fileHeader: number;
  readonly programHeader: number;
  /** Where sizes begin in the file's header. */
  readonly sizes: number;
  /** Of `struct elf_prstatus`: its size, and where the process's number and registers stand. */
  readonly prstatus: { readonly size: number; readonly pid: number; readonly registers: number };
  /** `struct user_regs_struct`; `-` is what a stopped guest has none of. */
  readonly userRegisters: readonly string[];
}
const names = (text: string) => text.split(' ');
const AMD64: Shape = {
  ...{ elfClass: 2, machine: 62, word: 8, fileHeader: 64, programHeader: 56, sizes: 52 },
  prstatus: { size: 336, pid: 32, registers: 112 },
  userRegisters: [
    ...names('r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi - rip'),
    ...names('cs eflags rsp ss fs_base gs_base ds es fs gs'),
  ],
};
const I386: Shape = {
  ...{ elfClass: 1, machine: 3, word: 4, fileHeader: 52, programHeader: 32, sizes: 40 },
  prstatus: { size: 144, pid: 24, registers: 72 },
  userRegisters: names('rbx rcx rdx rsi rdi rbp rax ds es fs gs - rip cs eflags rsp ss'),
};

interface Mapping {
  linear: bigint;
  physical: number;
  length: number;
}
/** An ELF file counts its segments in 16 bits, and 0xffff means something else. */
const MOST_MAPPINGS = 0xfff0;
const CR0_PG = 1n << 31n;
const CR4_PSE = 1n << 4n;
const CR4_PAE = 1n << 5n;
const EFER_LMA = 1n << 10n;
const PRESENT = 1n;
const LARGE = 1n << 7n;
const FRAME = 0x000f_ffff_ffff_f000n;

/** The file in pieces: what stands before RAM, and RAM itself, not copied. It is for i386 unless the first processor is in long mode. */
export function coreFile(source: CoreSource): Uint8Array[] {
  const { memory, processors } = source;
  const shape = processors[0]!('efer') & EFER_LMA ? AMD64 : I386;
  const { fileHeader, programHeader, sizes, word } = shape;
  const mappings = mappingsOf(memory, processors[0]!);
  const notes = joined([
    ...processors.map((registers, index) => note('CORE', NT_PRSTATUS, prstatus(shape, registers, index))),
    ...findVmcoreinfo(memory).map(text => note('VMCOREINFO', 0, text)),
  ]);
  const count = 1 + mappings.length;
  const notesAt = fileHeader + count * programHeader;
  const ram = align(notesAt + notes.length, PAGE);
  const front = new Uint8Array(ram);
  const view = new DataView(front.buffer);
  front.set([0x7f, 0x45, 0x4c, 0x46, shape.elfClass, 1, 1]);
  view.setUint16(16, 4, true); // ET_CORE
  view.setUint16(18, shape.machine, true);
  view.setUint32(20, 1, true);
  view.setUint32(24 + word, fileHeader, true); // e_phoff
  for (const [index, value] of [fileHeader, programHeader, count].entries())
    view.setUint16(sizes + 2 * index, value, true);
  const segments = [
    { type: PT_NOTE, offset: notesAt, linear: 0n, physical: 0, length: notes.length },
    ...mappings.map(mapping => ({ type: PT_LOAD, offset: ram + mapping.physical, ...mapping })),
  ];
  for (const [index, one] of segments.entries()) putSegment(view, fileHeader + index * programHeader, shape, one);
  front.set(notes, notesAt);
  return [front, memory];
}

interface Segment extends Mapping {
  type: number;
  offset: number;
}
function putSegment(view: DataView, at: number, { word }: Shape, { type, offset, linear, physical, length }: Segment) {
  const flags = BigInt(type === PT_LOAD ? 7 : 4);
  const words = [BigInt(offset), linear, BigInt(physical), BigInt(length), BigInt(length)];
  view.setUint32(at, type, true);
  if (word === 8) {
    view.setUint32(at + 4, Number(flags), true);
    for (const [index, value] of [...words, 1n].entries()) view.setBigUint64(at + 8 + 8 * index, value, true);
  } else
    for (const [index, value] of [...words, flags, 1n].entries())
      view.setUint32(at + 4 + 4 * index, Number(BigInt.asUintN(32, value)), true);
}

function note(owner: string, type: number, description: Uint8Array): Uint8Array {
  const name = new TextEncoder().encode(`${owner}\0`);
  const start = 12 + align(name.length, 4);
  const bytes = new Uint8Array(start + align(description.length, 4));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length, true);
  view.setUint32(4, description.length, true);
  view.setUint32(8, type, true);
  bytes.set(name, 12);
  bytes.set(description, start);
  return bytes;
}

function prstatus(
  { prstatus: place, userRegisters, word }: Shape,
  registers: CoreRegisters,
  index: number,
): Uint8Array {
  const bytes = new Uint8Array(place.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(place.pid, index + 1, true);
  for (const [number, name] of userRegisters.entries()) {
    const value = name === '-' ? 0n : registers(name);
    const at = place.registers + word * number;
    if (word === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
    else view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
  }
  return bytes;
}

/** All that the page tables map to RAM, in order, as few pieces as possible (SDM 3A 4.3 to 4.5). */
function mappingsOf(memory: Uint8Array, registers: CoreRegisters): Mapping[] {
  const everything = [{ linear: 0n, physical: 0, length: memory.length }];
  const [cr0, cr3, cr4, efer] = ['cr0', 'cr3', 'cr4', 'efer'].map(registers) as [bigint, bigint, bigint, bigint];
  if (!(cr0 & CR0_PG)) return everything;
  const view = new DataView(memory.buffer, memory.byteOffset, memory.length);
  const found: Mapping[] = [];
  const add = (linear: bigint, physical: number, length: number) => {
    const last = found.at(-1);
    const size = Math.min(length, memory.length - physical);
    if (size <= 0) return;
    if (last && last.linear + BigInt(last.length) === linear && last.physical + last.length === physical)
      last.length += size;
    else if (found.length < MOST_MAPPINGS) found.push({ linear, physical, length: size });
  };
  const wide = (cr4 & CR4_PAE) !== 0n;
  const [bits, size] = wide ? [9, 8] : [10, 4];
  const mayBeLarge = (level: number) =>
    wide ? level === 1 || (level === 2 && (efer & EFER_LMA) !== 0n) : (cr4 & CR4_PSE) !== 0n;
  /** @param level 0: the entries map pages */
  const walk = (table: number, level: number, base: bigint, entries: number) => {
    if (table + entries * size > memory.length) return;
    const span = 4096 * 2 ** (bits * level);
    for (let index = 0; index < entries && found.length < MOST_MAPPINGS; index++) {
      const entry = wide ? view.getBigUint64(table + 8 * index, true) : BigInt(view.getUint32(table + 4 * index, true));
      if (!(entry & PRESENT)) continue;
      let linear = base + BigInt(index) * BigInt(span);
      if (level === 3 && index >= 256) linear |= 0xffff_0000_0000_0000n;
      const frame = Number(entry & FRAME);
      if (level === 0) add(linear, frame, span);
      else if (entry & LARGE && mayBeLarge(level)) add(linear, frame - (frame % span), span);
      else walk(frame, level - 1, linear, 2 ** bits);
    }
  };
  if (efer & EFER_LMA) walk(Number(cr3 & FRAME), 3, 0n, 512);
  else if (wide) walk(Number(cr3 & 0xffff_ffe0n), 2, 0n, 4);
  else walk(Number(cr3 & 0xffff_f000n), 1, 0n, 1024);
  return found;
}

const VMCOREINFO = new TextEncoder().encode('VMCOREINFO\0');
/** Of the note that Linux keeps in its memory (kernel/crash_core.c): up to a page. */
const HEAD = 12 + 12;

/** What the kernel says of itself to those who read its memory; none if it has not said it. */
function findVmcoreinfo(memory: Uint8Array): Uint8Array[] {
  const view = new DataView(memory.buffer, memory.byteOffset, memory.length);
  const words = new Uint32Array(memory.buffer, memory.byteOffset, memory.length / 4);
  for (let at = words.indexOf(VMCOREINFO.length); at >= 0; at = words.indexOf(VMCOREINFO.length, at + 1)) {
    const start = at * 4;
    if (start + HEAD > memory.length || VMCOREINFO.some((byte, index) => memory[start + 12 + index] !== byte)) continue;
    const length = view.getUint32(start + 4, true);
    if (length > 0 && length <= PAGE && start + HEAD + length <= memory.length)
      return [memory.slice(start + HEAD, start + HEAD + length)];
  }
  return [];
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
