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

const EHDR = 64;
const PHDR = 56;
const PT_LOAD = 1;
const PT_NOTE = 4;
const NT_PRSTATUS = 1;
const PAGE = 4096;
/** Where RAM begins in the file: after the headers and notes, at a page. */
const align = (value: number, to: number) => Math.ceil(value / to) * to;

/** Of `struct elf_prstatus` (x86-64): its size, and where the process's number and registers stand. */
const PRSTATUS = { size: 336, pid: 32, registers: 112 } as const;
/** `struct user_regs_struct`; `-` is what a stopped guest has none of. */
const USER_REGISTERS = [
  ...[
    'r15',
    'r14',
    'r13',
    'r12',
    'rbp',
    'rbx',
    'r11',
    'r10',
    'r9',
    'r8',
    'rax',
    'rcx',
    'rdx',
    'rsi',
    'rdi',
    '-',
    'rip',
  ],
  ...['cs', 'eflags', 'rsp', 'ss', 'fs_base', 'gs_base', 'ds', 'es', 'fs', 'gs'],
] as const;

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

/** The file in pieces: what stands before RAM, and RAM itself, not copied. */
export function coreFile(source: CoreSource): Uint8Array[] {
  const { memory, processors } = source;
  const mappings = mappingsOf(memory, processors[0]!);
  const notes = joined([
    ...processors.map((registers, index) => note('CORE', NT_PRSTATUS, prstatus(registers, index))),
    ...findVmcoreinfo(memory).map(text => note('VMCOREINFO', 0, text)),
  ]);
  const count = 1 + mappings.length;
  const notesAt = EHDR + count * PHDR;
  const ram = align(notesAt + notes.length, PAGE);
  const front = new Uint8Array(ram);
  const view = new DataView(front.buffer);
  front.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 4, true); // ET_CORE
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(32, BigInt(EHDR), true);
  for (const [at, value] of [
    [52, EHDR],
    [54, PHDR],
    [56, count],
  ] as const)
    view.setUint16(at, value, true);
  segment(view, EHDR, PT_NOTE, notesAt, 0n, 0, notes.length);
  for (const [index, { linear, physical, length }] of mappings.entries())
    segment(view, EHDR + (index + 1) * PHDR, PT_LOAD, ram + physical, linear, physical, length);
  front.set(notes, notesAt);
  return [front, memory];
}

function segment(
  view: DataView,
  at: number,
  type: number,
  offset: number,
  linear: bigint,
  physical: number,
  length: number,
) {
  view.setUint32(at, type, true);
  view.setUint32(at + 4, type === PT_LOAD ? 7 : 4, true);
  const words = [BigInt(offset), linear, BigInt(physical), BigInt(length), BigInt(length), 1n];
  for (const [index, word] of words.entries()) view.setBigUint64(at + 8 + 8 * index, word, true);
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

function prstatus(registers: CoreRegisters, index: number): Uint8Array {
  const bytes = new Uint8Array(PRSTATUS.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(PRSTATUS.pid, index + 1, true);
  for (const [place, name] of USER_REGISTERS.entries())
    view.setBigUint64(PRSTATUS.registers + 8 * place, name === '-' ? 0n : BigInt.asUintN(64, registers(name)), true);
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
