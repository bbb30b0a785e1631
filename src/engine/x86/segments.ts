/** Segment registers and descriptors (SDM 3A 3.4, 3.5, 5). Helpers named here are called by rows of the table. */
import { CR4_UMIP } from '../../x86/control.ts';
import {
  DESCRIPTOR_ACCESSED,
  DESCRIPTOR_ATTRIBUTES,
  DESCRIPTOR_CODE,
  DESCRIPTOR_DB,
  DESCRIPTOR_DPL,
  DESCRIPTOR_DPL_SHIFT,
  DESCRIPTOR_EXPAND_DOWN,
  DESCRIPTOR_G,
  DESCRIPTOR_P,
  REAL_SEGMENT,
} from '../../x86/descriptors.ts';
import { CS, GS, LDTR, SS, TR } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { type Cpu, isCanonical, segmentBaseOffset } from './cpu.ts';
import type { Helper } from './helper.ts';
import { state } from './state.ts';

/** Linear address of `bytes` at `offset` in the stack segment; #SS(0) where they leave it (SDM 3A 5.3). For helpers. */
export function stackAddress(cpu: Cpu, offset: bigint, bytes: number): bigint {
  if (cpu.mode === 64) {
    if (!isCanonical(offset)) cpu.raise(vectors.SS, 0);
    return offset;
  }
  if (!fitsStack(currentLimits(cpu), offset, bytes)) cpu.raise(vectors.SS, 0);
  return cpu.wrap(cpu.segmentBase(SS) + offset);
}

/** What says how large a stack segment is: the attributes as a descriptor's second word has them, and the limit in bytes. */
export interface StackLimits {
  attributes: number;
  limit: number;
}
export function currentLimits(cpu: Cpu): StackLimits {
  return {
    attributes: cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * SS),
    limit: cpu.get32(state.SEGMENT_LIMIT + 4 * SS),
  };
}
/** Whether `bytes` at `offset` lie within a stack segment. */
export function fitsStack({ attributes, limit }: StackLimits, offset: bigint, bytes: number): boolean {
  const first = Number(offset & 0xffffffffn);
  const last = first + bytes - 1;
  const expandsDown = (attributes & TYPE_CODE_OR_DOWN) === DESCRIPTOR_EXPAND_DOWN;
  const highest = !expandsDown ? limit : attributes & DESCRIPTOR_DB ? 0xffffffff : 0xffff;
  return last <= highest && !(expandsDown && first <= limit);
}

export interface Descriptor {
  low: number;
  high: number;
  /** Linear address of the descriptor; 0n for a made-up one. */
  address: bigint;
}

/** In a segment's attributes: data that expands down, as against code and data that grows upwards. */
const TYPE_CODE_OR_DOWN = DESCRIPTOR_CODE | DESCRIPTOR_EXPAND_DOWN;

export function descriptorBase(d: Descriptor): bigint {
  return BigInt(((d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff000000)) >>> 0);
}
export function descriptorLimit(d: Descriptor): number {
  const limit = (d.low & 0xffff) | (d.high & 0xf0000);
  return d.high & DESCRIPTOR_G ? ((limit << 12) | 0xfff) >>> 0 : limit;
}
export const descriptorDpl = (d: Descriptor): number => (d.high & DESCRIPTOR_DPL) >> DESCRIPTOR_DPL_SHIFT;
export const isPresent = (d: Descriptor): boolean => (d.high & DESCRIPTOR_P) !== 0;
/** S and type: 0x10 | type for code and data, the type alone for system descriptors. */
export const descriptorType = (d: Descriptor): number => (d.high >> 8) & 0x1f;

/** The descriptor a selector names; undefined outside its table. Faults of reading it raise. */
export function tryDescriptor(cpu: Cpu, selector: number): Descriptor | undefined {
  const local = selector & 4;
  const base = local ? cpu.get64(state.LDT_BASE) : cpu.get64(state.GDT_BASE);
  const limit = local ? cpu.get32(state.SEGMENT_LIMIT + 4 * LDTR) : cpu.get32(state.GDT_LIMIT);
  if (local && !cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * LDTR)) return undefined;
  const offset = selector & 0xfff8;
  if (offset + 7 > limit) return undefined;
  const address = cpu.wrap(base + BigInt(offset));
  const value = cpu.readLinear(address, 8, true);
  return { low: Number(value & 0xffffffffn), high: Number(value >> 32n), address };
}
/** @param external 1 while an event that no instruction asked for is delivered: EXT in the error code (SDM 3A 6.13) */
export function descriptor(cpu: Cpu, selector: number, vector: number = vectors.GP, external = 0): Descriptor {
  return tryDescriptor(cpu, selector) ?? cpu.raise(vector, (selector & 0xfffc) | external);
}
/** Sets the accessed flag of a code or data descriptor in memory. */
export function setAccessed(cpu: Cpu, d: Descriptor): void {
  if (d.high & DESCRIPTOR_ACCESSED) return;
  d.high |= DESCRIPTOR_ACCESSED;
  cpu.writeLinear(cpu.wrap(d.address + 4n), 4, BigInt(d.high >>> 0), true);
}

/** Loads the hidden part. 64-bit mode ignores the base of the first four, but they are kept for compatibility mode. */
export function setSegment(
  cpu: Cpu,
  segment: number,
  selector: number,
  base: bigint,
  limit: number,
  attributes: number,
): void {
  cpu.set16(state.SELECTOR + 4 * segment, selector);
  cpu.set64(segmentBaseOffset(segment), base);
  cpu.set32(state.SEGMENT_LIMIT + 4 * segment, limit);
  cpu.set32(state.SEGMENT_ATTRIBUTES + 4 * segment, attributes);
  if (segment <= GS) cpu.noteSegment(segment);
}
export function setFromDescriptor(cpu: Cpu, segment: number, selector: number, d: Descriptor): void {
  setSegment(cpu, segment, selector, descriptorBase(d), descriptorLimit(d), d.high & DESCRIPTOR_ATTRIBUTES);
}
/** Attributes of segments in real and virtual-8086 mode. */
export function setRealSegment(cpu: Cpu, segment: number, selector: number): void {
  setSegment(
    cpu,
    segment,
    selector,
    BigInt(selector) << 4n,
    0xffff,
    cpu.v86 ? REAL_SEGMENT | DESCRIPTOR_DPL : REAL_SEGMENT,
  );
}
function setNull(cpu: Cpu, segment: number, selector: number): void {
  // AMD keeps base and limit of a null selector; Intel clears the base. Linux copes with either; this is Intel's way.
  setSegment(cpu, segment, selector, 0n, 0, segment === SS ? (cpu.cpl << DESCRIPTOR_DPL_SHIFT) | DESCRIPTOR_DB : 0);
}

/** MOV to, POP and LxS of ES, SS, DS, FS, GS. */
export function loadSegment(cpu: Cpu, segment: number, selector: number): void {
  if (!cpu.protectedMode) {
    // The hidden limit and attributes stay as they are: "unreal mode".
    cpu.set16(state.SELECTOR + 4 * segment, selector);
    cpu.set64(segmentBaseOffset(segment), BigInt(selector) << 4n);
    cpu.noteSegment(segment);
    return;
  }
  if (cpu.v86) return setRealSegment(cpu, segment, selector);
  const { cpl } = cpu;
  if (segment === SS) {
    if (!(selector & 0xfffc)) {
      if (cpu.mode === 64 && cpl < 3 && (selector & 3) === cpl) return setNull(cpu, segment, selector);
      cpu.raise(vectors.GP, 0);
    }
    const d = descriptor(cpu, selector);
    if ((selector & 3) !== cpl || descriptorDpl(d) !== cpl || (descriptorType(d) & 0x1a) !== 0x12)
      cpu.raise(vectors.GP, selector & 0xfffc);
    if (!isPresent(d)) cpu.raise(vectors.SS, selector & 0xfffc);
    setAccessed(cpu, d);
    setFromDescriptor(cpu, segment, selector, d);
    cpu.updateMode();
    return;
  }
  if (!(selector & 0xfffc)) return setNull(cpu, segment, selector);
  const d = descriptor(cpu, selector);
  const type = descriptorType(d);
  if (!(type & 0x10) || (type & 0x1a) === 0x18) cpu.raise(vectors.GP, selector & 0xfffc); // system, or code that cannot be read
  const conforming = (type & 0x1c) === 0x1c;
  if (!conforming && descriptorDpl(d) < Math.max(cpl, selector & 3)) cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
  setAccessed(cpu, d);
  setFromDescriptor(cpu, segment, selector, d);
}

/**
 * The base in an LDT's or a TSS's descriptor in the GDT. In long mode such a descriptor has 16 bytes, all within the table, and
 * its base is canonical; else #GP(selector) (SDM 2A, LLDT and LTR).
 */
function systemBase(cpu: Cpu, selector: number, d: Descriptor): bigint {
  const low = descriptorBase(d);
  if (!cpu.longMode) return low;
  if ((selector & 0xfff8) + 15 > cpu.get32(state.GDT_LIMIT)) cpu.raise(vectors.GP, selector & 0xfffc);
  const base = low | (cpu.readLinear(cpu.wrap(d.address + 8n), 4, true) << 32n);
  if (!isCanonical(base)) cpu.raise(vectors.GP, selector & 0xfffc);
  return base;
}

/** LAR, LSL, VERR, VERW: the descriptor if it may be looked at, else undefined (SDM 2A, LAR). */
function visible(cpu: Cpu, selector: number, systemTypes: readonly number[]): Descriptor | undefined {
  if (!cpu.protectedMode || cpu.v86) cpu.raise(vectors.UD);
  if (!(selector & 0xfffc)) return undefined;
  const d = tryDescriptor(cpu, selector);
  if (!d) return undefined;
  const type = descriptorType(d);
  if (!(type & 0x10) && !systemTypes.includes(type)) return undefined;
  if ((type & 0x1c) !== 0x1c && descriptorDpl(d) < Math.max(cpu.cpl, selector & 3)) return undefined;
  return d;
}
function answer(cpu: Cpu, value: number | undefined): void {
  cpu.setResult(value === undefined ? 0n : BigInt(value >>> 0));
  cpu.setResult32(value === undefined ? 0 : 1, 1);
}

/** UMIP keeps SGDT, SIDT, SLDT, STR and SMSW from user mode. */
function checkUmip(cpu: Cpu): void {
  if (cpu.cpl > 0 && cpu.get32(state.CR4) & CR4_UMIP) cpu.raise(vectors.GP, 0);
}
function needsProtection(cpu: Cpu): void {
  if (!cpu.protectedMode || cpu.v86) cpu.raise(vectors.UD);
}

export const segmentHelpers: Record<string, Helper> = {
  load_segment: cpu => {
    const segment = cpu.argument32(0);
    if (segment === CS || segment > GS) cpu.raise(vectors.UD);
    loadSegment(cpu, segment, cpu.argument32(1));
    if (segment === SS) {
      cpu.set64(state.INTERRUPT_SHADOW, cpu.next());
      cpu.set64(state.TRAP_SHADOW, cpu.next());
      if (cpu.environment.interruptPending()) cpu.requestExit();
    }
  },
  /** LSS, LDS and so on: LSS loads the stack pointer, too, and holds nothing off (SDM 3A 6.8.3). */
  load_far_segment: cpu => loadSegment(cpu, cpu.argument32(0), cpu.argument32(1)),
  read_selector: cpu => {
    const segment = cpu.argument32(0);
    if (segment > GS) cpu.raise(vectors.UD);
    cpu.setResult32(cpu.selector(segment));
  },
  check_umip: checkUmip,
  check_protected: needsProtection,
  lgdt: cpu => {
    cpu.set64(state.GDT_BASE, tableBase(cpu));
    cpu.set32(state.GDT_LIMIT, cpu.argument32(0));
  },
  lidt: cpu => {
    cpu.set64(state.IDT_BASE, tableBase(cpu));
    cpu.set32(state.IDT_LIMIT, cpu.argument32(0));
  },
  sldt: cpu => {
    needsProtection(cpu);
    checkUmip(cpu);
    cpu.setResult32(cpu.selector(LDTR));
  },
  str: cpu => {
    needsProtection(cpu);
    checkUmip(cpu);
    cpu.setResult32(cpu.selector(TR));
  },
  smsw: cpu => {
    checkUmip(cpu);
    cpu.setResult(cpu.get64(state.CR0));
  },
  lldt: cpu => {
    needsProtection(cpu);
    const selector = cpu.argument32(0) & 0xffff;
    if (!(selector & 0xfffc)) return setSegment(cpu, LDTR, selector, 0n, 0, 0);
    if (selector & 4) cpu.raise(vectors.GP, selector & 0xfffc);
    const d = descriptor(cpu, selector);
    if (descriptorType(d) !== 2) cpu.raise(vectors.GP, selector & 0xfffc);
    if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
    setSegment(cpu, LDTR, selector, systemBase(cpu, selector, d), descriptorLimit(d), d.high & DESCRIPTOR_ATTRIBUTES);
  },
  ltr: cpu => {
    needsProtection(cpu);
    const selector = cpu.argument32(0) & 0xffff;
    if (!(selector & 0xfffc) || selector & 4) cpu.raise(vectors.GP, selector & 0xfffc);
    const d = descriptor(cpu, selector);
    const type = descriptorType(d);
    if (type !== 9 && !(type === 1 && !cpu.longMode)) cpu.raise(vectors.GP, selector & 0xfffc);
    if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
    const base = systemBase(cpu, selector, d);
    d.high |= 0x200; // busy
    cpu.writeLinear(cpu.wrap(d.address + 4n), 4, BigInt(d.high >>> 0), true);
    setSegment(cpu, TR, selector, base, descriptorLimit(d), d.high & DESCRIPTOR_ATTRIBUTES);
  },
  lar: cpu => {
    const d = visible(cpu, cpu.argument32(0), cpu.longMode ? [2, 9, 11, 12] : [1, 2, 3, 4, 5, 9, 11, 12]);
    answer(cpu, d && d.high & DESCRIPTOR_ATTRIBUTES);
  },
  lsl: cpu => {
    const d = visible(cpu, cpu.argument32(0), cpu.longMode ? [2, 9, 11] : [1, 2, 3, 9, 11]);
    answer(cpu, d && descriptorLimit(d));
  },
  verr: cpu => {
    const d = visible(cpu, cpu.argument32(0), []);
    answer(cpu, d && (descriptorType(d) & 0x1a) !== 0x18 ? 1 : undefined);
  },
  verw: cpu => {
    const d = visible(cpu, cpu.argument32(0), []);
    answer(cpu, d && (descriptorType(d) & 0x1a) === 0x12 ? 1 : undefined);
  },
};

/** The base that LGDT and LIDT take: 24 bits with 16-bit operands; #GP(0) in 64-bit mode if it is not canonical. */
function tableBase(cpu: Cpu): bigint {
  const base = cpu.argument(1);
  if (cpu.mode === 64 && !isCanonical(base)) cpu.raise(vectors.GP, 0);
  return cpu.mode !== 64 && cpu.argument32(2) === 16 ? base & 0xffffffn : base;
}
