/**
 * Far transfers, interrupts and system calls (SDM 3A 5.8, 6.12-6.15; SDM 2, the instructions). Task switches through TSS
 * descriptors and task gates raise #GP: no system since the 386's days uses them, and long mode has none.
 */
import { DR6_BS, DR7_GD, EFER_SCE } from '../../x86/control.ts';
import {
  DESCRIPTOR_DB,
  DESCRIPTOR_DPL,
  DESCRIPTOR_DPL_SHIFT,
  DESCRIPTOR_L,
  DESCRIPTOR_P,
  FLAT_CODE_32,
  FLAT_CODE_64,
  FLAT_DATA,
  REAL_SEGMENT,
} from '../../x86/descriptors.ts';
import { AC, IF, IOPL, NT, RF, TF, VIF, VIP, VM } from '../../x86/flags.ts';
import { CS, DS, ES, FS, GS, SS, TR } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { isStepping } from './control.ts';
import { type Cpu, FAULT, isCanonical } from './cpu.ts';
import { NO_CODE } from './exceptions.ts';
import type { Helper } from './helper.ts';
import {
  currentLimits,
  type Descriptor,
  descriptor,
  descriptorDpl,
  descriptorLimit,
  descriptorType,
  fitsStack,
  isPresent,
  type StackLimits,
  setAccessed,
  setFromDescriptor,
  setRealSegment,
  setSegment,
  stackAddress,
} from './segments.ts';
import { state } from './state.ts';

const RSP = 4;

/** Where a frame is pushed. */
interface StackPlace {
  base: bigint;
  sp: bigint;
  mask: bigint;
  /** Undefined in 64-bit mode, where addresses have to be canonical. */
  limits: StackLimits | undefined;
  /** The error code of #SS where the frame does not fit. */
  error: number;
}
/** What stacks of 64-bit code have in common. */
const LONG_STACK = { base: 0n, mask: 0xffffffffffffffffn, limits: undefined };
/** The current stack. */
function currentStack(cpu: Cpu, error = 0): StackPlace {
  const wide = cpu.mode === 64;
  return {
    base: wide ? 0n : cpu.segmentBase(SS),
    sp: cpu.gpr(RSP),
    mask: cpu.get64(state.STACK_MASK),
    limits: wide ? undefined : currentLimits(cpu),
    error,
  };
}

/** A cursor that pushes on a stack that is not yet the current one. What does not fit there raises #SS(`error`). */
class Pusher {
  readonly #cpu: Cpu;
  readonly #base: bigint;
  readonly #mask: bigint;
  readonly #bytes: 2 | 4 | 8;
  readonly #implicit: boolean;
  readonly #limits: StackLimits | undefined;
  readonly #error: number;
  sp: bigint;
  constructor(cpu: Cpu, { base, sp, mask, limits, error }: StackPlace, bytes: 2 | 4 | 8, implicit: boolean) {
    this.#cpu = cpu;
    this.#base = base;
    this.#mask = mask;
    this.#bytes = bytes;
    this.#implicit = implicit;
    this.#limits = limits;
    this.#error = error;
    this.sp = sp;
  }
  push(value: bigint | number): void {
    const next = (this.sp - BigInt(this.#bytes)) & this.#mask;
    const fits = this.#limits ? fitsStack(this.#limits, next, this.#bytes) : isCanonical(next);
    if (!fits) this.#cpu.raise(vectors.SS, this.#error);
    this.#cpu.writeLinear(
      this.#cpu.wrap(this.#base + next),
      this.#bytes,
      BigInt.asUintN(64, BigInt(value)),
      this.#implicit,
    );
    this.sp = (this.sp & ~this.#mask) | next;
  }
}
/** Pops from the current stack without moving it until `commit`. */
class Popper {
  readonly #cpu: Cpu;
  readonly #mask: bigint;
  readonly #bytes: 2 | 4 | 8;
  sp: bigint;
  constructor(cpu: Cpu, bits: number) {
    this.#cpu = cpu;
    this.#bytes = (bits / 8) as 2 | 4 | 8;
    this.#mask = cpu.get64(state.STACK_MASK);
    this.sp = cpu.gpr(RSP);
  }
  pop(): bigint {
    const value = this.#cpu.readLinear(stackAddress(this.#cpu, this.sp & this.#mask, this.#bytes), this.#bytes, false);
    this.skip(this.#bytes);
    return value;
  }
  /** Pops the outer stack's pointer and selector, of which the selector is read first. */
  popOuter(): { sp: bigint; ss: number } {
    const start = this.sp;
    this.skip(this.#bytes);
    const ss = Number(this.pop() & 0xffffn);
    const end = this.sp;
    this.sp = start;
    const sp = this.pop();
    this.sp = end;
    return { sp, ss };
  }
  skip(bytes: number): void {
    this.sp = (this.sp & ~this.#mask) | ((this.sp + BigInt(bytes)) & this.#mask);
  }
}

/** #SS(0) if `count` words do not fit below the stack pointer. */
function checkPushes(cpu: Cpu, count: number, bytes: number): void {
  const mask = cpu.get64(state.STACK_MASK);
  for (let i = 1; i <= count; i++) stackAddress(cpu, (cpu.gpr(RSP) - BigInt(i * bytes)) & mask, bytes);
}

function setStackPointer(cpu: Cpu, sp: bigint): void {
  const mask = cpu.get64(state.STACK_MASK);
  cpu.setGpr(RSP, cpu.mode === 64 ? sp : (cpu.gpr(RSP) & ~mask) | (sp & mask));
}

/** #GP(0) if an offset is none of a code segment's: not canonical in 64-bit code, else beyond the limit. */
function checkOffset(cpu: Cpu, d: Descriptor, offset: bigint): void {
  const long = cpu.longMode && (d.high & DESCRIPTOR_L) !== 0;
  if (long ? !isCanonical(offset) : offset > BigInt(descriptorLimit(d))) cpu.raise(vectors.GP, 0);
}
/** Loads CS with a checked code descriptor at privilege `cpl` and goes to `offset`. */
function enterCode(cpu: Cpu, selector: number, d: Descriptor, offset: bigint, cpl: number): void {
  const long = cpu.longMode && (d.high & DESCRIPTOR_L) !== 0;
  checkOffset(cpu, d, offset);
  setAccessed(cpu, d);
  setFromDescriptor(cpu, CS, (selector & ~3) | cpl, d);
  cpu.setCpl(cpl);
  cpu.updateMode();
  cpu.ip = long ? offset : offset & 0xffffffffn;
}

/** Checks a code segment for a direct far transfer (SDM 3A 5.8.1). */
function checkCode(cpu: Cpu, selector: number): Descriptor {
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, 0);
  const d = descriptor(cpu, selector);
  const type = descriptorType(d);
  if ((type & 0x18) !== 0x18) cpu.raise(vectors.GP, selector & 0xfffc);
  if (cpu.longMode && d.high & DESCRIPTOR_L && d.high & DESCRIPTOR_DB) cpu.raise(vectors.GP, selector & 0xfffc);
  const dpl = descriptorDpl(d);
  if (type & 4 ? dpl > cpu.cpl : (selector & 3) > cpu.cpl || dpl !== cpu.cpl) cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
  return d;
}
const isSystem = (d: Descriptor): boolean => !(descriptorType(d) & 0x10);

/** A call gate's target, or undefined if the descriptor is none. */
function gate(
  cpu: Cpu,
  selector: number,
  d: Descriptor,
): { selector: number; offset: bigint; bits: number; count: number } {
  const type = descriptorType(d);
  if (type !== 12 && !(type === 4 && !cpu.longMode)) cpu.raise(vectors.GP, selector & 0xfffc);
  if (descriptorDpl(d) < Math.max(cpu.cpl, selector & 3)) cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
  let offset = BigInt(((d.low & 0xffff) | (d.high & 0xffff0000)) >>> 0);
  if (type === 4) offset &= 0xffffn;
  if (cpu.longMode) offset |= cpu.readLinear(cpu.wrap(d.address + 8n), 4, true) << 32n;
  return { selector: d.low >>> 16, offset, bits: cpu.longMode ? 64 : type === 12 ? 32 : 16, count: d.high & 31 };
}

function farJump(cpu: Cpu, selector: number, offset: bigint): void {
  if (!cpu.protectedMode || cpu.v86) return farReal(cpu, selector, offset);
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, 0);
  const d = descriptor(cpu, selector);
  if (isSystem(d)) {
    const target = gate(cpu, selector, d);
    return farJump(cpu, target.selector & ~3, target.offset);
  }
  enterCode(cpu, selector, checkCode(cpu, selector), offset, cpu.cpl);
}
function farReal(cpu: Cpu, selector: number, offset: bigint): void {
  if (offset > 0xffffn && cpu.get32(state.SEGMENT_LIMIT + 4 * CS) <= 0xffff) cpu.raise(vectors.GP, 0);
  if (cpu.v86) setRealSegment(cpu, CS, selector);
  else {
    cpu.set16(state.SELECTOR + 4 * CS, selector);
    cpu.set64(state.SEGMENT_BASE + 8 * CS, BigInt(selector) << 4n);
    if (!cpu.protectedMode)
      cpu.set32(
        state.SEGMENT_ATTRIBUTES + 4 * CS,
        REAL_SEGMENT | (cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * CS) & DESCRIPTOR_DB),
      );
    cpu.noteSegment(CS);
  }
  cpu.updateMode();
  cpu.ip = offset;
}

function farCall(cpu: Cpu, bits: number, selector: number, offset: bigint, next: bigint): void {
  const bytes = (bits / 8) as 2 | 4 | 8;
  if (!cpu.protectedMode || cpu.v86) {
    checkPushes(cpu, 2, bytes);
    const stack = new Pusher(cpu, currentStack(cpu), bytes, false);
    stack.push(cpu.selector(CS));
    stack.push(next);
    farReal(cpu, selector, offset);
    setStackPointer(cpu, stack.sp);
    return;
  }
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, 0);
  const d = descriptor(cpu, selector);
  if (!isSystem(d)) {
    const code = checkCode(cpu, selector);
    checkPushes(cpu, 2, bytes);
    const stack = new Pusher(cpu, currentStack(cpu), bytes, false);
    stack.push(cpu.selector(CS));
    stack.push(next);
    const { sp } = stack;
    enterCode(cpu, selector, code, offset, cpu.cpl);
    cpu.setGpr(RSP, sp);
    return;
  }
  const target = gate(cpu, selector, d);
  const code = descriptor(cpu, target.selector);
  const type = descriptorType(code);
  const dpl = descriptorDpl(code);
  if ((type & 0x18) !== 0x18 || dpl > cpu.cpl) cpu.raise(vectors.GP, target.selector & 0xfffc);
  if (!isPresent(code)) cpu.raise(vectors.NP, target.selector & 0xfffc);
  const width = (target.bits / 8) as 2 | 4 | 8;
  if (!(type & 4) && dpl < cpu.cpl) {
    const inner = innerStack(cpu, dpl, 0);
    const stack = new Pusher(cpu, inner, width, true);
    const parameters: bigint[] = [];
    if (target.bits !== 64) {
      const popper = new Popper(cpu, target.bits);
      for (let i = 0; i < target.count; i++) parameters.unshift(popper.pop());
    }
    stack.push(cpu.selector(SS));
    stack.push(cpu.gpr(RSP));
    for (const parameter of parameters) stack.push(parameter);
    stack.push(cpu.selector(CS));
    stack.push(next);
    enterCode(cpu, target.selector, code, target.offset, dpl);
    inner.load(dpl);
    setStackPointer(cpu, stack.sp);
    return;
  }
  checkPushes(cpu, 2, width);
  const stack = new Pusher(cpu, currentStack(cpu), width, false);
  stack.push(cpu.selector(CS));
  stack.push(next);
  enterCode(cpu, target.selector, code, target.offset, cpu.cpl);
  cpu.setGpr(RSP, stack.sp);
}

/**
 * The stack for privilege `dpl` from the TSS; in long mode `ist` 1-7 picks one of the seven others (SDM 3A 7.7, 6.14.5).
 * `external` is EXT in the error codes.
 */
function innerStack(cpu: Cpu, dpl: number, ist: number, external = 0): StackPlace & { load(cpl: number): void } {
  const tss = cpu.get64(state.TR_BASE);
  const limit = cpu.get32(state.SEGMENT_LIMIT + 4 * TR);
  if (cpu.longMode) {
    const offset = ist ? 0x24 + 8 * (ist - 1) : 4 + 8 * dpl;
    if (offset + 7 > limit) cpu.raise(vectors.TS, (cpu.selector(TR) & 0xfffc) | external);
    const sp = cpu.readLinear(cpu.wrap(tss + BigInt(offset)), 8, true);
    if (!isCanonical(sp)) cpu.raise(vectors.SS, external);
    return {
      ...LONG_STACK,
      sp,
      error: external,
      load: cpl => setSegment(cpu, SS, cpl, 0n, 0, (cpl << DESCRIPTOR_DPL_SHIFT) | DESCRIPTOR_DB),
    };
  }
  const wide = (cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * TR) & 0x800) !== 0;
  const offset = wide ? 4 + 8 * dpl : 2 + 4 * dpl;
  if (offset + (wide ? 5 : 3) > limit) cpu.raise(vectors.TS, (cpu.selector(TR) & 0xfffc) | external);
  const sp = cpu.readLinear(cpu.wrap(tss + BigInt(offset)), wide ? 4 : 2, true);
  const selector = Number(cpu.readLinear(cpu.wrap(tss + BigInt(offset + (wide ? 4 : 2))), 2, true));
  if (!(selector & 0xfffc)) cpu.raise(vectors.TS, external);
  const d = descriptor(cpu, selector, vectors.TS, external);
  if ((selector & 3) !== dpl || descriptorDpl(d) !== dpl || (descriptorType(d) & 0x1a) !== 0x12)
    cpu.raise(vectors.TS, (selector & 0xfffc) | external);
  if (!isPresent(d)) cpu.raise(vectors.SS, (selector & 0xfffc) | external);
  const base = BigInt(((d.low >>> 16) | ((d.high & 0xff) << 16) | (d.high & 0xff000000)) >>> 0);
  return {
    base,
    sp,
    mask: d.high & DESCRIPTOR_DB ? 0xffffffffn : 0xffffn,
    limits: { attributes: d.high, limit: descriptorLimit(d) },
    error: (selector & 0xfffc) | external,
    load: () => {
      setAccessed(cpu, d);
      setFromDescriptor(cpu, SS, selector, d);
      cpu.updateMode();
    },
  };
}

/** The outer stack segment of a return to less privilege; `isLong`: to 64-bit code. */
function loadOuterStack(cpu: Cpu, selector: number, cpl: number, isLong: boolean): void {
  if (!(selector & 0xfffc)) {
    // Allowed when returning to 64-bit code below ring 3 (SDM 2A, IRET; SDM 2B, RET).
    if (isLong && cpl < 3) return setSegment(cpu, SS, selector, 0n, 0, (cpl << DESCRIPTOR_DPL_SHIFT) | DESCRIPTOR_DB);
    cpu.raise(vectors.GP, 0);
  }
  const d = descriptor(cpu, selector);
  if ((selector & 3) !== cpl || descriptorDpl(d) !== cpl || (descriptorType(d) & 0x1a) !== 0x12)
    cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.SS, selector & 0xfffc);
  setAccessed(cpu, d);
  setFromDescriptor(cpu, SS, selector, d);
}
/** After a return outwards, data segments more privileged than the new CPL become null. */
function dropInnerSegments(cpu: Cpu, cpl: number): void {
  for (const segment of [ES, DS, FS, GS]) {
    const attributes = cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * segment);
    if ((attributes & 0x1c00) !== 0x1c00 && ((attributes >> 13) & 3) < cpl && attributes & DESCRIPTOR_P)
      setSegment(cpu, segment, 0, segment >= FS && cpu.longMode ? cpu.segmentBase(segment) : 0n, 0, 0);
  }
}
function checkReturnCode(cpu: Cpu, selector: number): Descriptor {
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, 0);
  const d = descriptor(cpu, selector);
  const type = descriptorType(d);
  const rpl = selector & 3;
  const dpl = descriptorDpl(d);
  if ((type & 0x18) !== 0x18 || rpl < cpu.cpl || (type & 4 ? dpl > rpl : dpl !== rpl))
    cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
  return d;
}

function farReturn(cpu: Cpu, bits: number, release: number): void {
  const stack = new Popper(cpu, bits);
  const offset = stack.pop();
  const selector = Number(stack.pop() & 0xffffn);
  if (!cpu.protectedMode || cpu.v86) {
    stack.skip(release);
    farReal(cpu, selector, offset);
    setStackPointer(cpu, stack.sp);
    return;
  }
  const rpl = selector & 3;
  stack.skip(release);
  // As AMD's processors do, all that is popped is read before anything is checked.
  const outer = rpl === cpu.cpl ? undefined : stack.popOuter();
  const d = checkReturnCode(cpu, selector);
  if (!outer) {
    const { sp } = stack;
    enterCode(cpu, selector, d, offset, rpl);
    cpu.setGpr(RSP, sp);
    return;
  }
  checkOffset(cpu, d, offset);
  loadOuterStack(cpu, outer.ss, rpl, cpu.longMode && (d.high & DESCRIPTOR_L) !== 0);
  enterCode(cpu, selector, d, offset, rpl);
  setStackPointer(cpu, outer.sp + BigInt(release));
  dropInnerSegments(cpu, rpl);
}

function iret(cpu: Cpu, bits: number): void {
  const stack = new Popper(cpu, bits);
  cpu.nmiBlocked = false;
  if (!cpu.protectedMode || cpu.v86) {
    if (cpu.v86 && cpu.iopl < 3) cpu.raise(vectors.GP, 0);
    const offset = stack.pop();
    const selector = Number(stack.pop() & 0xffffn);
    const flags = Number(stack.pop() & 0xffffffffn);
    farReal(cpu, selector, offset);
    setStackPointer(cpu, stack.sp);
    const keep = VM | (cpu.v86 ? IOPL : 0) | (bits === 16 ? 0xffff0000 : VIF | VIP);
    cpu.flags = (cpu.flags & keep) | (flags & ~keep & 0x277fd7) | 2;
    return;
  }
  if (cpu.get32(state.FLAGS_REST) & NT) cpu.raise(vectors.GP, 0); // a nested task's return
  const offset = stack.pop();
  const selector = Number(stack.pop() & 0xffffn);
  const flags = Number(stack.pop() & 0xffffffffn);
  if (flags & VM && cpu.cpl === 0 && !cpu.longMode && bits === 32)
    return returnToV86(cpu, stack, offset, selector, flags);
  const rpl = selector & 3;
  const outward = rpl !== cpu.cpl;
  const outer = outward || cpu.mode === 64 ? stack.popOuter() : undefined;
  const d = checkReturnCode(cpu, selector);
  const oldCpl = cpu.cpl;
  const { iopl } = cpu;
  if (outer) {
    checkOffset(cpu, d, offset);
    loadOuterStack(cpu, outer.ss, rpl, cpu.longMode && (d.high & DESCRIPTOR_L) !== 0);
    enterCode(cpu, selector, d, offset, rpl);
    setStackPointer(cpu, outer.sp);
    if (outward) dropInnerSegments(cpu, rpl);
  } else {
    const { sp } = stack;
    enterCode(cpu, selector, d, offset, rpl);
    cpu.setGpr(RSP, sp);
  }
  // IOPL only at CPL 0, IF only if CPL <= IOPL; VM, VIF, VIP only from CPL 0 (SDM 2A, IRET).
  let change = 0x3f7fd7 & ~(VM | IOPL | IF | VIF | VIP);
  if (bits === 16) change &= 0xffff;
  if (oldCpl === 0) change |= IOPL | (bits === 16 ? 0 : VIF | VIP);
  if (oldCpl <= iopl) change |= IF;
  cpu.flags = (cpu.flags & ~change) | (flags & change) | 2;
  cpu.updateBank();
}
function returnToV86(cpu: Cpu, stack: Popper, offset: bigint, selector: number, flags: number): void {
  const [sp, ss, es, ds, fs, gs] = Array.from({ length: 6 }, () => stack.pop());
  cpu.flags = flags;
  cpu.setCpl(3);
  const segments: [number, bigint | number][] = [
    [CS, selector],
    [SS, ss!],
    [ES, es!],
    [DS, ds!],
    [FS, fs!],
    [GS, gs!],
  ];
  for (const [segment, value] of segments) setRealSegment(cpu, segment, Number(value) & 0xffff);
  cpu.updateMode();
  cpu.setGpr(RSP, sp!);
  cpu.ip = offset & 0xffffn;
}

/** What kind of event goes through the IDT. */
export type EventKind = 'exception' | 'external' | 'software';

/**
 * Delivers a vector through the IDT (SDM 3A 6.12): pushes the frame with the current RIP, loads the handler. Faults on the
 * way raise; nothing has been changed by then but the inner stack's memory.
 */
export function deliver(cpu: Cpu, vector: number, code: number | undefined, kind: EventKind): void {
  const external = kind === 'software' ? 0 : 1;
  if (external && cpu.functions.deliver(vector, code ?? NO_CODE)) return;
  if (!cpu.protectedMode) return deliverReal(cpu, vector);
  const long = cpu.longMode;
  const size = long ? 16 : 8;
  const offset = vector * size;
  const bad = (): never => cpu.raise(vectors.GP, vector * 8 + 2 + external);
  if (offset + size - 1 > cpu.get32(state.IDT_LIMIT)) bad();
  const address = cpu.wrap(cpu.get64(state.IDT_BASE) + BigInt(offset));
  const entry = cpu.readLinear(address, 8, true);
  const low = Number(entry & 0xffffffffn);
  const high = Number(entry >> 32n);
  const type = (high >> 8) & 0x1f;
  // 14, 15: 32- or 64-bit interrupt and trap gates; 6, 7: their 16-bit forms.
  if (type !== 14 && type !== 15 && !(!long && (type === 6 || type === 7))) bad();
  if (kind === 'software' && ((high >> 13) & 3) < cpu.cpl) bad();
  if (!(high & DESCRIPTOR_P)) cpu.raise(vectors.NP, vector * 8 + 2 + external);
  let target = BigInt(((low & 0xffff) | (high & 0xffff0000)) >>> 0);
  if (long) target |= cpu.readLinear(cpu.wrap(address + 8n), 4, true) << 32n;
  const wide = type & 8;
  if (!wide) target &= 0xffffn;
  const selector = low >>> 16;
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, external);
  const d = descriptor(cpu, selector, vectors.GP, external);
  const codeType = descriptorType(d);
  const dpl = descriptorDpl(d);
  if ((codeType & 0x18) !== 0x18 || dpl > cpu.cpl) cpu.raise(vectors.GP, (selector & 0xfffc) | external);
  if (long && (!(d.high & DESCRIPTOR_L) || d.high & DESCRIPTOR_DB))
    cpu.raise(vectors.GP, (selector & 0xfffc) | external);
  if (!isPresent(d)) cpu.raise(vectors.NP, (selector & 0xfffc) | external);
  const conforming = (codeType & 4) !== 0;
  const inward = !conforming && dpl < cpu.cpl;
  const newCpl = conforming ? cpu.cpl : dpl;
  if (cpu.v86 && newCpl !== 0) cpu.raise(vectors.GP, (selector & 0xfffc) | external);
  const flags = cpu.flags;
  const bytes = long ? 8 : wide ? 4 : 2;
  const ist = long ? high & 7 : 0;
  let stack: Pusher;
  let inner: ReturnType<typeof innerStack> | undefined;
  if (long) {
    if (inward || ist) inner = innerStack(cpu, newCpl, ist, external);
    const sp = (inner ? inner.sp : cpu.gpr(RSP)) & ~15n;
    stack = new Pusher(cpu, { ...LONG_STACK, sp, error: external }, 8, newCpl < 3);
    stack.push(cpu.selector(SS));
    stack.push(cpu.gpr(RSP));
  } else if (inward || cpu.v86) {
    inner = innerStack(cpu, newCpl, 0, external);
    stack = new Pusher(cpu, inner, bytes, true);
    if (cpu.v86) for (const segment of [GS, FS, DS, ES]) stack.push(cpu.selector(segment));
    stack.push(cpu.selector(SS));
    stack.push(cpu.gpr(RSP) & 0xffffffffn);
  } else {
    stack = new Pusher(cpu, currentStack(cpu, external), bytes, newCpl < 3);
  }
  stack.push(flags);
  stack.push(cpu.selector(CS));
  stack.push(cpu.ip);
  if (code !== undefined) stack.push(code);
  if (long && !isCanonical(target)) cpu.raise(vectors.GP, external);
  const { v86 } = cpu;
  let clear = TF | NT | RF | VM;
  if (!(type & 1)) clear |= IF;
  cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~clear);
  const { sp } = stack;
  if (v86) for (const segment of [GS, FS, DS, ES]) setSegment(cpu, segment, 0, 0n, 0, 0);
  enterCode(cpu, selector, d, target, newCpl);
  if (inner && (inward || v86)) inner.load(newCpl);
  cpu.updateMode();
  setStackPointer(cpu, sp);
  cpu.updateBank();
}
function deliverReal(cpu: Cpu, vector: number): void {
  if (vector * 4 + 3 > cpu.get32(state.IDT_LIMIT)) cpu.raise(vectors.GP, 0);
  const entry = Number(cpu.readLinear(cpu.get64(state.IDT_BASE) + BigInt(vector * 4), 4, true));
  const stack = new Pusher(cpu, { ...currentStack(cpu), mask: 0xffffn }, 2, true);
  stack.push(cpu.flags & 0xffff);
  stack.push(cpu.selector(CS));
  stack.push(cpu.ip & 0xffffn);
  cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~(IF | TF | AC | RF));
  cpu.setGpr(RSP, stack.sp);
  farReal(cpu, entry >>> 16, BigInt(entry & 0xffff));
}

/** Exceptions that, on top of one another, make a double fault (SDM 3A table 6-5). */
function contributory(vector: number): boolean {
  return vector === vectors.DE || (vector >= vectors.TS && vector <= vectors.GP);
}
/**
 * Delivers an exception with what may go wrong on the way: a second fault is delivered instead, or as a double fault.
 * This ends, for each exception after the first is worse than the one before (any other, contributory, page fault, double
 * fault; SDM 3A table 6-5), and after a double fault comes nothing. #AC is an exception to that: where its delivery raises
 * #AC again, processors go on for ever (CVE-2015-5307). Here nothing is delivered then, and the guest goes on where it was.
 * @returns false for a triple fault.
 */
export function deliverException(cpu: Cpu, vector: number, code: number | undefined, kind: EventKind): boolean {
  let current = vector;
  let error = code;
  for (;;) {
    try {
      deliver(cpu, current, error, kind);
      return true;
    } catch (thrown) {
      if (thrown !== FAULT) throw thrown;
      const second = cpu.get32(state.FAULT) & 0xff;
      const secondCode = cpu.get32(state.FAULT_CODE);
      cpu.set32(state.FAULT, 0);
      if (current === vectors.DF) return false;
      if (current === vectors.AC && second === vectors.AC) return true;
      const first = kind === 'exception' ? current : -1;
      const double =
        (contributory(first) && contributory(second)) ||
        (first === vectors.PF && (second === vectors.PF || contributory(second)));
      kind = 'exception';
      current = double ? vectors.DF : second;
      error = double ? 0 : vectors.hasErrorCode(second) ? secondCode : undefined;
    }
  }
}

/** Offset in CS of the instruction after the one being executed. */
function nextIp(cpu: Cpu): bigint {
  const next = cpu.next();
  return cpu.mode === 64 ? next : (next - cpu.segmentBase(CS)) & 0xffffffffn;
}

/**
 * A hypervisor has been entered. A trap that MOV SS held off until now comes there and is dropped, as Xen drops it
 * (CVE-2018-8897): the guest never sees it.
 */
function dropHeldTraps(cpu: Cpu): void {
  cpu.set32(state.PENDING_DEBUG, 0);
}

/** INT n, INT3 and INTO. Only the first minds IOPL in virtual-8086 mode. */
function softwareInterrupt(cpu: Cpu, vector: number, mindsIopl: boolean): void {
  const next = nextIp(cpu);
  const ask = cpu.environment.softwareInterrupt;
  if (ask) {
    // The hypervisor finds RIP at the instruction, as it does when one has faulted.
    cpu.rip = cpu.here();
    dropHeldTraps(cpu);
    return ask(vector, next);
  }
  if (mindsIopl && cpu.v86 && cpu.iopl < 3) cpu.raise(vectors.GP, 0);
  deliverAfter(cpu, next, () => deliver(cpu, vector, undefined, 'software'));
}
/** INT1 is a debug exception with RIP after it: no gate's DPL is checked, and errors on the way show EXT (APM 3, INT1). */
function debugInterrupt(cpu: Cpu): void {
  deliverAfter(cpu, nextIp(cpu), () => {
    if (cpu.environment.exception?.({ vector: vectors.DB })) return;
    deliver(cpu, vectors.DB, undefined, 'exception');
    cpu.set64(state.DR + 40, cpu.get64(state.DR + 40) & ~BigInt(DR7_GD));
  });
}
/** Delivers an event with RIP at `next`, and RF clear as software interrupts push it; a fault on the way is at RIP. */
function deliverAfter(cpu: Cpu, next: bigint, event: () => void): void {
  const here = cpu.rip;
  cpu.ip = next;
  cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~RF);
  try {
    event();
  } catch (thrown) {
    cpu.rip = here;
    throw thrown;
  }
}

function loadFlat(cpu: Cpu, code: number, stack: number, codeAttributes: number, dpl: number): void {
  setSegment(cpu, CS, code, 0n, 0xffffffff, codeAttributes | dpl);
  setSegment(cpu, SS, stack, 0n, 0xffffffff, FLAT_DATA | dpl);
}

export const transferHelpers: Record<string, Helper> = {
  far_jump: cpu => {
    farJump(cpu, cpu.argument32(2) & 0xffff, cpu.argument(1));
  },
  far_call: cpu => {
    farCall(cpu, cpu.argument32(0), cpu.argument32(2) & 0xffff, cpu.argument(1), nextIp(cpu));
  },
  far_return: cpu => {
    farReturn(cpu, cpu.argument32(0), cpu.argument32(1));
  },
  iret: cpu => {
    const unblocks = cpu.nmiBlocked;
    iret(cpu, cpu.argument32(0));
    // The instruction that follows clears RF again: where it is not executed by itself (Vcpu.run), RF is clear at once.
    if (!isStepping(cpu)) cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~RF);
    // An NMI may have waited for this, whatever IF is.
    if (unblocks) cpu.requestExit();
    if (cpu.interruptFlag && cpu.environment.interruptPending()) cpu.requestExit();
    if (cpu.get32(state.FLAGS_REST) & TF) cpu.requestExit();
  },
  software_interrupt: cpu => {
    softwareInterrupt(cpu, cpu.argument32(0) & 0xff, true);
  },
  breakpoint: cpu => softwareInterrupt(cpu, vectors.BP, false),
  int1: debugInterrupt,
  into: cpu => {
    if (cpu.argument32(0)) softwareInterrupt(cpu, vectors.OF, false);
    else cpu.ip = nextIp(cpu);
  },
  syscall: cpu => {
    if (!(cpu.get32(state.EFER) & EFER_SCE)) cpu.raise(vectors.UD);
    const next = nextIp(cpu);
    if (cpu.longMode) {
      cpu.setGpr(1, next);
      cpu.setGpr(11, BigInt(cpu.flags & ~RF));
      cpu.ip = next;
      const ask = cpu.environment.syscall;
      if (ask) {
        dropHeldTraps(cpu);
        return ask();
      }
      const target = cpu.get64(cpu.mode === 64 ? state.LSTAR : state.CSTAR);
      const selector = Number((cpu.get64(state.STAR) >> 32n) & 0xfffcn);
      const flags = cpu.flags & ~Number(cpu.get64(state.FMASK) & 0xffffffffn) & ~RF;
      loadFlat(cpu, selector, selector + 8, FLAT_CODE_64, 0);
      cpu.flags = flags;
      cpu.setCpl(0);
      cpu.updateMode();
      cpu.rip = target;
      return;
    }
    // Legacy mode (AMD): EIP from STAR.
    const star = cpu.get64(state.STAR);
    cpu.setGpr(1, next);
    const selector = Number((star >> 32n) & 0xfffcn);
    loadFlat(cpu, selector, selector + 8, FLAT_CODE_32, 0);
    cpu.flags &= ~(VM | IF | RF);
    cpu.setCpl(0);
    cpu.updateMode();
    cpu.ip = star & 0xffffffffn;
  },
  sysret: cpu => {
    if (!(cpu.get32(state.EFER) & EFER_SCE)) cpu.raise(vectors.UD);
    const base = Number((cpu.get64(state.STAR) >> 48n) & 0xffffn);
    const wide = cpu.mode === 64 && cpu.argument32(0) === 64;
    const target = wide ? cpu.gpr(1) : cpu.gpr(1) & 0xffffffffn;
    if (wide && !isCanonical(target)) cpu.raise(vectors.GP, 0);
    const flags = cpu.longMode ? (Number(cpu.gpr(11) & 0x3c7fd7n) & 0x3c7fd7) | 2 : cpu.flags | IF;
    loadFlat(cpu, (base + (wide ? 16 : 0)) | 3, (base + 8) | 3, wide ? FLAT_CODE_64 : FLAT_CODE_32, DESCRIPTOR_DPL);
    cpu.flags = flags;
    cpu.setCpl(3);
    cpu.updateMode();
    cpu.ip = target;
    if (cpu.interruptFlag && cpu.environment.interruptPending()) cpu.requestExit();
    // The single-step trap comes at once (debug-model.ts): the kernel that executes this is not stepped over.
    if (flags & TF) {
      cpu.set32(state.PENDING_DEBUG, cpu.get32(state.PENDING_DEBUG) | DR6_BS);
      cpu.requestExit();
    }
  },
  sysenter: cpu => {
    const cs = cpu.get32(state.SYSENTER_CS) & 0xfffc;
    if (!cpu.protectedMode || !cs) cpu.raise(vectors.GP, 0);
    const long = cpu.longMode;
    cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~(VM | IF | RF));
    loadFlat(cpu, cs, cs + 8, long ? FLAT_CODE_64 : FLAT_CODE_32, 0);
    cpu.setCpl(0);
    cpu.updateMode();
    const mask = long ? 0xffffffffffffffffn : 0xffffffffn;
    cpu.setGpr(RSP, cpu.get64(state.SYSENTER_ESP) & mask);
    cpu.ip = cpu.get64(state.SYSENTER_EIP) & mask;
  },
  sysexit: cpu => {
    const cs = cpu.get32(state.SYSENTER_CS) & 0xfffc;
    if (!cpu.protectedMode || !cs) cpu.raise(vectors.GP, 0);
    const wide = cpu.mode === 64 && cpu.argument32(0) === 64;
    if (wide && !(isCanonical(cpu.gpr(2)) && isCanonical(cpu.gpr(1)))) cpu.raise(vectors.GP, 0);
    loadFlat(
      cpu,
      (cs + (wide ? 32 : 16)) | 3,
      (cs + (wide ? 40 : 24)) | 3,
      wide ? FLAT_CODE_64 : FLAT_CODE_32,
      DESCRIPTOR_DPL,
    );
    cpu.setCpl(3);
    cpu.updateMode();
    cpu.setGpr(RSP, wide ? cpu.gpr(1) : cpu.gpr(1) & 0xffffffffn);
    cpu.ip = wide ? cpu.gpr(2) : cpu.gpr(2) & 0xffffffffn;
  },
  hypercall: cpu => {
    // RIP is past the instruction when the hypervisor is asked; the fault puts it back.
    cpu.ip = nextIp(cpu);
    if (!cpu.environment.hypercall?.()) cpu.raise(vectors.UD);
  },
};
