import { DESCRIPTOR_DB, DESCRIPTOR_DPL_SHIFT } from '../../x86/descriptors.ts';
import { SS, TR } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { type Cpu, isCanonical } from './cpu.ts';
import {
  currentLimits,
  descriptor,
  descriptorDpl,
  descriptorLimit,
  descriptorType,
  fitsStack,
  isPresent,
  type StackLimits,
  setAccessed,
  setFromDescriptor,
  setSegment,
  stackAddress,
} from './segments.ts';
import { state } from './state.ts';

export const RSP = 4;

/** Where a frame is pushed. */
export interface StackPlace {
  base: bigint;
  sp: bigint;
  mask: bigint;
  /** Undefined in 64-bit mode, where addresses have to be canonical. */
  limits: StackLimits | undefined;
  /** The error code of #SS where the frame does not fit. */
  error: number;
}
/** What stacks of 64-bit code have in common. */
export const LONG_STACK = { base: 0n, mask: 0xffffffffffffffffn, limits: undefined };
/** The current stack. */
export function currentStack(cpu: Cpu, error = 0): StackPlace {
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
export class Pusher {
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
export class Popper {
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
export function checkPushes(cpu: Cpu, count: number, bytes: number): void {
  const mask = cpu.get64(state.STACK_MASK);
  for (let i = 1; i <= count; i++) stackAddress(cpu, (cpu.gpr(RSP) - BigInt(i * bytes)) & mask, bytes);
}

export function setStackPointer(cpu: Cpu, sp: bigint): void {
  const mask = cpu.get64(state.STACK_MASK);
  cpu.setGpr(RSP, cpu.mode === 64 ? sp : (cpu.gpr(RSP) & ~mask) | (sp & mask));
}

/**
 * The stack for privilege `dpl` from the TSS; in long mode `ist` 1-7 picks one of the seven others (SDM 3A 7.7, 6.14.5).
 * `external` is EXT in the error codes.
 */
export function innerStack(cpu: Cpu, dpl: number, ist: number, external = 0): StackPlace & { load(cpl: number): void } {
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
