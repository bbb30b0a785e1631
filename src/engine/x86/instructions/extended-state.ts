/**
 * Saving and restoring of the x87, SSE and AVX state, MXCSR, and the fences and hints that came with SSE (SDM 1, 10.5 and
 * chapter 13). Of XSAVE's components x87 and SSE are never taken to be in their initial state.
 */
import { CR0_TS, CR4_OSXSAVE, XSTATE_AVX, XSTATE_SSE, XSTATE_X87 } from '../../../x86/control.ts';
import { GP, NM, UD } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import type { Meaning, Operand, Row } from './row.ts';
import { zero } from './vector.ts';
import { memory, none, reads, register, row, sse, x66 } from './vector-columns.ts';

/** Bits that MXCSR has, and the mask in an image that tells so: all 16, DAZ among them. */
const MXCSR_MASK = 0xffff;

const MXCSR_INITIAL = 0x1f80;

/** Offsets in the image (SDM 1, tables 10-2 and 13-1). */
const IMAGE_MXCSR = 24;
const IMAGE_ST = 32;
const IMAGE_XMM = 160;
const LAST_BYTE = 511;
const XSTATE_BV = 512;
const XCOMP_BV = 520;
const XCOMP_COMPACTED = 1n << 63n;
/** Of AVX's component: the upper halves of the YMM registers. CPUID tells the place (leaf 0xd, 2). */
const IMAGE_YMM = 576;
/** Where they stand while XRSTOR may still fault. */
const YMM_SCRATCH = state.FPU_IMAGE + 512;

const xmmCount = (b: Builder) => (b.tier.wide ? 16 : 8);
const at = (memory: Operand, b: Builder, offset: number) => memory.displaced(b.const(offset));
const isSet = (b: Builder, x: Value) => b.no(b.eqz(x));
const bit = (b: Builder, x: Value, mask: number | bigint) => isSet(b, b.and(x, b.const(mask)));

/** #GP(0) unless the image is aligned. */
function aligned(b: Builder, memory: Operand, bytes: number): void {
  b.raiseIf(bit(b, memory.address(), bytes - 1), GP, 0);
}

/** REX.W: instruction and data pointers of 64 bits, else of 32 and selectors. */
const saverOf = (memory: Operand) => (memory.bits === 64 ? 'fxsave64_x87' : 'fxsave_x87');
const restorerOf = (memory: Operand) => (memory.bits === 64 ? 'fxrstor64_x87' : 'fxrstor_x87');

function storeX87(b: Builder, memory: Operand): void {
  b.helper(saverOf(memory));
  for (let offset = 0; offset < IMAGE_MXCSR; offset += 8)
    b.store(at(memory, b, offset), 64, b.state(state.FPU_IMAGE + offset));
  for (let offset = IMAGE_ST; offset < IMAGE_XMM; offset += 16)
    b.store(at(memory, b, offset), 128, b.state(state.FPU_IMAGE + offset, 128));
}
function storeMxcsr(b: Builder, memory: Operand): void {
  const mxcsr = b.or(b.state(state.MXCSR, 32), b.const(BigInt(MXCSR_MASK) << 32n));
  b.store(at(memory, b, IMAGE_MXCSR), 64, mxcsr);
}
function storeXmm(b: Builder, memory: Operand): void {
  for (let n = 0; n < xmmCount(b); n++)
    b.store(at(memory, b, IMAGE_XMM + 16 * n), 128, b.state(state.XMM + 16 * n, 128));
}

/** What an image would have at an offset in the initial state: FCW 037F, all else zero. */
function initial(b: Builder, offset: number): Value {
  return b.v128(Array.from({ length: 16 }, (_, i) => (offset + i === 0 ? 0x7f : offset + i === 1 ? 0x03 : 0)));
}

/**
 * Loads all that an image has into FPU_IMAGE: faults come now, before anything changes. Of components that are not
 * `present` the initial state.
 */
function loadImage(b: Builder, memory: Operand, x87: Value, sse: Value): void {
  const end = IMAGE_XMM + 16 * xmmCount(b);
  for (let offset = 0; offset < end; offset += 16) {
    const loaded = b.load(at(memory, b, offset), 128);
    const present = offset < IMAGE_XMM ? x87 : sse;
    b.setState(state.FPU_IMAGE + offset, b.select(present, loaded, initial(b, offset)), 128);
  }
}
/** MXCSR of the image in memory; #GP(0) for a reserved bit, if it `matters`. */
function loadMxcsr(b: Builder, memory: Operand, matters: Value): Value {
  const mxcsr = b.load(at(memory, b, IMAGE_MXCSR), 32);
  b.raiseIf(b.both(matters, bit(b, mxcsr, ~MXCSR_MASK)), GP, 0);
  return mxcsr;
}
function restoreXmm(b: Builder): void {
  for (let n = 0; n < xmmCount(b); n++)
    b.setState(state.XMM + 16 * n, b.state(state.FPU_IMAGE + IMAGE_XMM + 16 * n, 128), 128);
}

const fxsave: Meaning = (b, memory) => {
  aligned(b, memory, 16);
  // Both ends first, the last one as AMD's processors do: a fault then finds nothing written.
  for (const offset of [LAST_BYTE, 0]) b.loadForWrite(at(memory, b, offset), 8);
  storeX87(b, memory);
  storeMxcsr(b, memory);
  storeXmm(b, memory);
};
const fxrstor: Meaning = (b, memory) => {
  aligned(b, memory, 16);
  const mxcsr = loadMxcsr(b, memory, b.i32(1));
  loadImage(b, memory, b.i32(1), b.i32(1));
  b.helper(restorerOf(memory));
  b.setState(state.MXCSR, mxcsr, 32);
  restoreXmm(b);
};

/** What XSAVE and XRSTOR check first; their components (RFBM): EDX:EAX as far as XCR0 has them. */
function requested(b: Builder, memory: Operand): Value {
  b.raiseIf(b.no(bit(b, b.state(state.CR4), CR4_OSXSAVE)), UD);
  b.raiseIf(bit(b, b.state(state.CR0), CR0_TS), NM);
  aligned(b, memory, 64);
  return b.and(b.or(b.gpr(0, 32), b.shl(b.gpr(2, 32), b.const(32))), b.state(state.XCR0));
}

/** XINUSE (SDM 1, 13.6): AVX's is in its initial state while no upper half has a bit set. */
function inUse(b: Builder): Value {
  const halves = Array.from({ length: 16 }, (_, n) => b.state(state.YMM_HIGH + 16 * n, 128));
  const any = b.wasm(
    'v128.any_true',
    halves.reduce((x, y) => b.wasm('v128.or', x, y)),
  );
  return b.select(any, b.const(XSTATE_X87 | XSTATE_SSE | XSTATE_AVX), b.const(XSTATE_X87 | XSTATE_SSE));
}

function storeYmm(b: Builder, memory: Operand): void {
  for (let n = 0; n < xmmCount(b); n++)
    b.store(at(memory, b, IMAGE_YMM + 16 * n), 128, b.state(state.YMM_HIGH + 16 * n, 128));
}
/** Loads AVX's component into FPU_IMAGE, behind the others, if it is wanted; zeros where it is not present. */
function loadYmm(b: Builder, memory: Operand, wanted: Value, present: Value): void {
  b.when(wanted, () => {
    for (let n = 0; n < xmmCount(b); n++) {
      const loaded = b.variable(zero(b));
      b.when(present, () => loaded.set(b.load(at(memory, b, IMAGE_YMM + 16 * n), 128)));
      b.setState(YMM_SCRATCH + 16 * n, loaded.get(), 128);
    }
  });
}
function restoreYmm(b: Builder): void {
  for (let n = 0; n < xmmCount(b); n++) b.setState(state.YMM_HIGH + 16 * n, b.state(YMM_SCRATCH + 16 * n, 128), 128);
}

/** Which components are written, and how the header tells of them. */
interface SaveTraits {
  /** Components in their initial state are left out (XSAVEOPT, XSAVEC). */
  skipsInitial: boolean;
  /** The header has XCOMP_BV (XSAVEC). AVX's component is the only one after the legacy region, so it stays in its place. */
  compacts: boolean;
}
const save =
  ({ skipsInitial, compacts }: SaveTraits): Meaning =>
  (b, memory) => {
    const components = requested(b, memory);
    const header = at(memory, b, XSTATE_BV);
    const old = b.loadForWrite(header, 64);
    const used = b.and(components, inUse(b));
    const written = skipsInitial ? used : components;
    b.when(bit(b, components, XSTATE_X87), () => storeX87(b, memory));
    b.when(bit(b, components, XSTATE_SSE), () => storeXmm(b, memory));
    // MXCSR goes with AVX's component, too (SDM 1, 13.7 and 13.10).
    b.when(bit(b, components, compacts ? XSTATE_SSE : XSTATE_SSE | XSTATE_AVX), () => storeMxcsr(b, memory));
    b.when(bit(b, written, XSTATE_AVX), () => storeYmm(b, memory));
    b.store(header, 64, compacts ? used : b.or(b.and(old, b.not(components)), used));
    if (compacts) b.store(at(memory, b, XCOMP_BV), 64, b.or(components, b.const(XCOMP_COMPACTED)));
  };

/** #GP(0) for a header that XRSTOR does not take (SDM 1, 13.8). @returns a truth value: it has the compacted format */
function checkHeader(b: Builder, memory: Operand, present: Value): Value {
  const layout = b.load(at(memory, b, XCOMP_BV), 64);
  const isCompacted = bit(b, layout, XCOMP_COMPACTED);
  const xcr0 = b.state(state.XCR0);
  const listed = b.and(layout, b.const(~XCOMP_COMPACTED));
  const known = b.select(isCompacted, b.and(listed, xcr0), xcr0);
  b.raiseIf(isSet(b, b.and(present, b.not(known))), GP, 0);
  b.raiseIf(isSet(b, b.and(listed, b.not(b.select(isCompacted, xcr0, b.const(0))))), GP, 0);
  // Of the standard format 8 bytes after XCOMP_BV have to be zero, of the compacted one all 48.
  const reserved = (from: number, to: number) => {
    let some = b.load(at(memory, b, from), 64);
    for (let offset = from + 8; offset < to; offset += 8) some = b.or(some, b.load(at(memory, b, offset), 64));
    return isSet(b, some);
  };
  b.raiseIf(reserved(XCOMP_BV + 8, XCOMP_BV + 16), GP, 0);
  b.when(isCompacted, () => b.raiseIf(reserved(XCOMP_BV + 16, IMAGE_YMM), GP, 0));
  return isCompacted;
}
const xrstor: Meaning = (b, memory) => {
  const components = requested(b, memory);
  // The image's start is looked at before its header.
  b.drop(b.load(memory.address(), 8));
  const present = b.load(at(memory, b, XSTATE_BV), 64);
  const isCompacted = checkHeader(b, memory, present);
  const [x87, sse, avx] = [XSTATE_X87, XSTATE_SSE, XSTATE_AVX].map(mask => bit(b, components, mask));
  const withMxcsr = b.either(sse!, b.both(avx!, b.no(isCompacted)));
  const loaded = loadMxcsr(b, memory, withMxcsr);
  const isInitial = b.both(isCompacted, b.no(bit(b, present, XSTATE_SSE)));
  const mxcsr = b.select(isInitial, b.const(MXCSR_INITIAL), loaded);
  loadImage(b, memory, bit(b, present, XSTATE_X87), bit(b, present, XSTATE_SSE));
  loadYmm(b, memory, avx!, bit(b, present, XSTATE_AVX));
  b.when(x87!, () => b.helper(restorerOf(memory)));
  b.when(withMxcsr, () => b.setState(state.MXCSR, mxcsr, 32));
  b.when(sse!, () => restoreXmm(b));
  b.when(avx!, () => restoreYmm(b));
};

const xgetbv: Meaning = b => {
  b.raiseIf(b.no(bit(b, b.state(state.CR4), CR4_OSXSAVE)), UD);
  const index = b.gpr(1, 32);
  b.raiseIf(b.gtu(index, 1n), GP, 0);
  const xcr0 = b.state(state.XCR0);
  // 1: of the components those that are in use.
  const value = b.and(xcr0, b.select(b.narrow(index), inUse(b), b.const(-1)));
  b.setGpr(0, b.zx(value, 32), 32);
  b.setGpr(2, b.shr(value, b.const(32)), 32);
};
/** x87 always, and what there is; AVX not without SSE (SDM 1, 13.3). */
const xsetbv: Meaning = b => {
  b.raiseIf(b.no(bit(b, b.state(state.CR4), CR4_OSXSAVE)), UD);
  const value = b.or(b.gpr(0, 32), b.shl(b.gpr(2, 32), b.const(32)));
  const unknown = b.and(value, b.not(b.state(state.XCR0_SUPPORTED)));
  const withoutSse = b.eq(b.and(value, b.const(XSTATE_SSE | XSTATE_AVX)), b.const(XSTATE_AVX));
  const isInvalid = b.either(b.either(isSet(b, unknown), b.no(bit(b, value, XSTATE_X87))), withoutSse);
  b.raiseIf(b.either(isInvalid, b.no(b.eqz(b.gpr(1, 32)))), GP, 0);
  b.setState(state.XCR0, value);
  b.helper('update_units');
};

const ldmxcsr: Meaning = (b, src) => {
  const value = src.get();
  b.raiseIf(bit(b, value, ~MXCSR_MASK), GP, 0);
  b.setState(state.MXCSR, value, 32);
};
const stmxcsr: Meaning = (b, dst) => dst.set(b.state(state.MXCSR, 32));

/** Ordering and cache hints: one processor sees its own accesses in order. */
const nothing: Meaning = () => {};
/** A cache line's address is checked as a byte's load would be. */
const touch: Meaning = (b, memory) => b.use(b.load(memory.address(), 8));

const user = 'needs state.CR4.CR4_OSXSAVE, and state.XCR0 differs between hosts';
const image = { feature: 'fxsr', unit: 'x87' } as const;
const xstate = { feature: 'xsave', untested: user } as const;

export const extendedStateRows: Row[] = [
  row('fxsave', 0x0fae, 'M', fxsave, none, memory, image, { group: 0 }),
  row('fxrstor', 0x0fae, 'M', fxrstor, none, memory, reads, image, { group: 1 }),
  row('ldmxcsr', 0x0fae, 'Md', ldmxcsr, none, memory, reads, sse, { group: 2 }),
  row('stmxcsr', 0x0fae, 'Md', stmxcsr, none, memory, sse, { group: 3 }),
  row('xsave', 0x0fae, 'M', save({ skipsInitial: false, compacts: false }), none, memory, xstate, { group: 4 }),
  row('xsaveopt', 0x0fae, 'M', save({ skipsInitial: true, compacts: false }), none, memory, {
    ...{ feature: 'xsaveopt', untested: user, group: 6 },
  }),
  row('xsavec', 0x0fc7, 'M', save({ skipsInitial: true, compacts: true }), none, memory, {
    ...{ feature: 'xsavec', untested: user, group: 4 },
  }),
  row('xrstor', 0x0fae, 'M', xrstor, none, memory, reads, xstate, { group: 5 }),
  row('xgetbv', 0x0f01, '', xgetbv, none, xstate, { modrm: 0xd0 }),
  row('xsetbv', 0x0f01, '', xsetbv, none, {
    feature: 'xsave',
    modrm: 0xd1,
    privileged: 'with OSXSAVE',
    untested: 'needs CPL 0',
    ends: true,
  }),
  row('lfence', 0x0fae, '', nothing, none, register, { feature: 'sse2', group: 5 }),
  row('mfence', 0x0fae, '', nothing, none, register, { feature: 'sse2', group: 6 }),
  row('sfence', 0x0fae, '', nothing, none, register, { feature: 'sse', group: 7 }),
  row('clflushopt', 0x0fae, 'Mb', touch, x66, memory, reads, { feature: 'clflushopt', group: 7 }),
  row('prefetchw', 0x0f0d, 'Mb', nothing, memory, reads, { feature: '3dnowprefetch' }),
  row('emms', 0x0f77, '', b => void b.helper('emms'), none, { feature: 'mmx', unit: 'x87' }),
];
