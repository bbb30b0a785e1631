/**
 * ELF files, 32- and 64-bit, little-endian (System V ABI, chapters 4 and 5): kernels and their modules. Every offset in the
 * file is checked before it is followed.
 */
import { ImageError } from './image-error.ts';

export const EM_386 = 3;
export const EM_X86_64 = 62;

export const PT_LOAD = 1;
/** Names the dynamic linker: only programs have it. */
export const PT_INTERP = 3;
export const PT_NOTE = 4;
export const SHT_NOTE = 7;
export const SHT_NOBITS = 8;

export const ET_REL = 1;
export const ET_EXEC = 2;
export const ET_DYN = 3;

export interface ElfSegment {
  type: number;
  offset: number;
  virtualAddress: bigint;
  physicalAddress: bigint;
  fileSize: number;
  memorySize: number;
}

export interface ElfSection {
  name: string;
  type: number;
  offset: number;
  size: number;
}

export interface ElfNote {
  owner: string;
  type: number;
  description: Uint8Array;
}

export interface Elf {
  bytes: Uint8Array;
  class: 32 | 64;
  type: number;
  machine: number;
  entry: bigint;
  segments: ElfSegment[];
  sections: ElfSection[];
}

const MACHINES: Record<number, string> = {
  2: 'SPARC',
  8: 'MIPS',
  20: 'PowerPC',
  21: '64-bit PowerPC',
  22: 's390',
  40: '32-bit ARM',
  43: '64-bit SPARC',
  50: 'Itanium',
  183: '64-bit ARM',
  243: 'RISC-V',
  258: 'LoongArch',
};

export function isElf(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}

/** Reads the headers. @throws ImageError unless it is a whole ELF file for x86. */
export function parseElf(bytes: Uint8Array): Elf {
  if (!isElf(bytes)) throw new ImageError('not an ELF file');
  if (bytes.length < 64) throw truncated('header', 64, bytes.length);
  const file = new Fields(bytes);
  const wide = bytes[4] === 2;
  if (!wide && bytes[4] !== 1) throw new ImageError(`an ELF file of unknown class ${bytes[4]}`);
  const machine = bytes[5] === 2 ? (bytes[18] << 8) | bytes[19] : file.u16(18);
  if (machine !== EM_386 && machine !== EM_X86_64)
    throw new ImageError(
      `an ELF file for ${MACHINES[machine] ?? `machine type ${machine}`}, not for x86; use an amd64 or i386 kernel`,
    );
  if (bytes[5] !== 1) throw new ImageError('a big-endian ELF file, which no x86 kernel is');

  const word = (at: number) => (wide ? file.offset64(at) : file.u32(at));
  const programHeaders = { at: word(wide ? 32 : 28), size: file.u16(wide ? 54 : 42), count: file.u16(wide ? 56 : 44) };
  const sectionHeaders = { at: word(wide ? 40 : 32), size: file.u16(wide ? 58 : 46), count: file.u16(wide ? 60 : 48) };
  checkTable('program', programHeaders, wide ? 56 : 32, bytes.length);
  checkTable('section', sectionHeaders, wide ? 64 : 40, bytes.length);

  const segments = Array.from({ length: programHeaders.count }, (_, index): ElfSegment => {
    const at = programHeaders.at + index * programHeaders.size;
    return {
      type: file.u32(at),
      offset: wide ? file.offset64(at + 8) : file.u32(at + 4),
      virtualAddress: wide ? file.u64(at + 16) : BigInt(file.u32(at + 8)),
      physicalAddress: wide ? file.u64(at + 24) : BigInt(file.u32(at + 12)),
      fileSize: word(at + (wide ? 32 : 16)),
      memorySize: word(at + (wide ? 40 : 20)),
    };
  });
  for (const { type, offset, fileSize, memorySize } of segments) {
    if (type !== PT_LOAD && type !== PT_NOTE) continue;
    if (offset + fileSize > bytes.length) throw truncated('a segment', offset + fileSize, bytes.length);
    if (type === PT_LOAD && fileSize > memorySize)
      throw new ImageError('a damaged ELF file: a segment is larger in the file than in memory');
  }
  const elf: Elf = {
    bytes,
    class: wide ? 64 : 32,
    type: file.u16(16),
    machine,
    entry: wide ? file.u64(24) : BigInt(file.u32(24)),
    segments,
    sections: [],
  };
  elf.sections = readSections(elf, file, sectionHeaders, file.u16(wide ? 62 : 50));
  return elf;
}

interface Table {
  at: number;
  size: number;
  count: number;
}

function checkTable(what: string, { at, size, count }: Table, least: number, length: number): void {
  if (count === 0) return;
  if (size < least) throw new ImageError(`a damaged ELF file: ${what} headers of ${size} bytes`);
  if (at + size * count > length) throw truncated(`the ${what} headers`, at + size * count, length);
}

/** Sections are a convenience here: one that lies outside the file is left out, not an error. */
function readSections(elf: Elf, file: Fields, table: Table, namesIndex: number): ElfSection[] {
  const wide = elf.class === 64;
  const rows = Array.from({ length: table.count }, (_, index) => {
    const at = table.at + index * table.size;
    return {
      nameOffset: file.u32(at),
      type: file.u32(at + 4),
      offset: wide ? file.offset64(at + 24) : file.u32(at + 16),
      size: wide ? file.offset64(at + 32) : file.u32(at + 20),
    };
  });
  const names = rows[namesIndex];
  if (!names || names.offset + names.size > elf.bytes.length) return [];
  const nameBytes = elf.bytes.subarray(names.offset, names.offset + names.size);
  return rows
    .filter(({ type, offset, size }) => type === SHT_NOBITS || offset + size <= elf.bytes.length)
    .map(({ nameOffset, type, offset, size }) => ({ name: textAt(nameBytes, nameOffset), type, offset, size }));
}

/** A section's bytes; none when there is no such section. */
export function sectionData(elf: Elf, name: string): Uint8Array {
  const section = elf.sections.find(candidate => candidate.name === name && candidate.type !== SHT_NOBITS);
  return section ? elf.bytes.subarray(section.offset, section.offset + section.size) : new Uint8Array();
}

/** All notes: of the PT_NOTE segments or, when there are none, of the SHT_NOTE sections. A damaged one ends its list. */
export function elfNotes(elf: Elf): ElfNote[] {
  const segments = elf.segments
    .filter(({ type }) => type === PT_NOTE)
    .map(({ offset, fileSize }) => [offset, fileSize]);
  const sections = elf.sections.filter(({ type }) => type === SHT_NOTE).map(({ offset, size }) => [offset, size]);
  const notes: ElfNote[] = [];
  for (const [start, size] of segments.length > 0 ? segments : sections) {
    const bytes = elf.bytes.subarray(start, start + size);
    const fields = new Fields(bytes);
    for (let at = 0; at + 12 <= bytes.length; ) {
      const [nameSize, descriptionSize, type] = [fields.u32(at), fields.u32(at + 4), fields.u32(at + 8)];
      const description = at + 12 + align4(nameSize);
      if (description > bytes.length) break;
      // The last note of GRUB's i386-xen image says 12 bytes and has 4, "yes" among them: what is there counts, as in Xen.
      notes.push({
        owner: textAt(bytes.subarray(0, at + 12 + nameSize), at + 12),
        type,
        description: bytes.slice(description, description + descriptionSize),
      });
      at = description + align4(descriptionSize);
    }
  }
  return notes;
}

/** The NUL-terminated text at `at`. */
function textAt(bytes: Uint8Array, at: number): string {
  let end = Math.min(at, bytes.length);
  while (end < bytes.length && bytes[end] !== 0) end++;
  return new TextDecoder('latin1').decode(bytes.subarray(at, end));
}

function align4(value: number): number {
  return Math.ceil(value / 4) * 4;
}

function truncated(what: string, needed: number, length: number): ImageError {
  return new ImageError(`a truncated ELF file: ${what} would end at byte ${needed} of ${length}; fetch the file again`);
}

/** Little-endian fields at byte offsets that the caller has checked. */
class Fields {
  readonly #view: DataView;
  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  u16(at: number): number {
    return this.#view.getUint16(at, true);
  }
  u32(at: number): number {
    return this.#view.getUint32(at, true);
  }
  u64(at: number): bigint {
    return this.#view.getBigUint64(at, true);
  }
  /** A 64-bit file offset or size as a number: beyond 2^53 it is inexact, and beyond any file. */
  offset64(at: number): number {
    return Number(this.u64(at));
  }
}
