/**
 * Saving and restoring of the x87 and SSE state, MXCSR, and the fences and hints that came with SSE (SDM 1, 10.5 and
 * chapter 13). XSAVE has the standard format with the two components x87 and SSE; neither is ever taken to be in its
 * initial state.
 */
import { CR0_TS, CR4_OSXSAVE } from '../../../x86/control.ts';
import { GP, NM, UD } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import type { Meaning, Operand, Row } from './row.ts';
import { memory, none, reads, register, row, sse, x66 } from './vector-columns.ts';

/** Bits that MXCSR has, and the mask in an image that tells so: all 16, DAZ among them. */
const MXCSR_MASK = 0xffff;

/** Components: bits of XCR0, RFBM and XSTATE_BV. */
const X87 = 1;
const SSE = 2;

/** Offsets in the image (SDM 1, tables 10-2 and 13-1). */
const IMAGE_MXCSR = 24;
const IMAGE_ST = 32;
const IMAGE_XMM = 160;
const LAST_BYTE = 511;
const XSTATE_BV = 512;
const XCOMP_BV = 520;

const xmmCount = (b: Builder) => (b.tier.wide ? 16 : 8);
const at = (memory: Operand, b: Builder, offset: number) => memory.displaced(b.const(offset));
const bit = (b: Builder, x: Value, mask: number) => b.no(b.eqz(b.and(x, b.const(mask))));

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
function storeSse(b: Builder, memory: Operand): void {
  const mxcsr = b.or(b.state(state.MXCSR, 32), b.const(BigInt(MXCSR_MASK) << 32n));
  b.store(at(memory, b, IMAGE_MXCSR), 64, mxcsr);
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
function restoreSse(b: Builder, mxcsr: Value): void {
  b.setState(state.MXCSR, mxcsr, 32);
  for (let n = 0; n < xmmCount(b); n++)
    b.setState(state.XMM + 16 * n, b.state(state.FPU_IMAGE + IMAGE_XMM + 16 * n, 128), 128);
}

const fxsave: Meaning = (b, memory) => {
  aligned(b, memory, 16);
  // Both ends first, the last one as AMD's processors do: a fault then finds nothing written.
  for (const offset of [LAST_BYTE, 0]) b.loadForWrite(at(memory, b, offset), 8);
  storeX87(b, memory);
  storeSse(b, memory);
};
const fxrstor: Meaning = (b, memory) => {
  aligned(b, memory, 16);
  const mxcsr = loadMxcsr(b, memory, b.i32(1));
  loadImage(b, memory, b.i32(1), b.i32(1));
  b.helper(restorerOf(memory));
  restoreSse(b, mxcsr);
};

/** What XSAVE and XRSTOR check first; their components: EDX:EAX as far as XCR0 has them. */
function requested(b: Builder, memory: Operand): Value {
  b.raiseIf(b.no(bit(b, b.state(state.CR4), CR4_OSXSAVE)), UD);
  b.raiseIf(bit(b, b.state(state.CR0), CR0_TS), NM);
  aligned(b, memory, 64);
  return b.and(b.or(b.gpr(0, 32), b.shl(b.gpr(2, 32), b.const(32))), b.state(state.XCR0));
}

const xsave: Meaning = (b, memory) => {
  const components = requested(b, memory);
  const header = at(memory, b, XSTATE_BV);
  const present = b.loadForWrite(header, 64);
  b.when(bit(b, components, X87), () => storeX87(b, memory));
  b.when(bit(b, components, SSE), () => storeSse(b, memory));
  b.store(header, 64, b.or(present, components));
};
const xrstor: Meaning = (b, memory) => {
  const components = requested(b, memory);
  const present = b.load(at(memory, b, XSTATE_BV), 64);
  const reserved = b.or(b.load(at(memory, b, XCOMP_BV), 64), b.load(at(memory, b, XCOMP_BV + 8), 64));
  const unknown = b.and(present, b.not(b.state(state.XCR0)));
  b.raiseIf(b.no(b.eqz(b.or(reserved, unknown))), GP, 0);
  const mxcsr = loadMxcsr(b, memory, bit(b, components, SSE));
  loadImage(b, memory, bit(b, present, X87), bit(b, present, SSE));
  b.when(bit(b, components, X87), () => b.helper(restorerOf(memory)));
  b.when(bit(b, components, SSE), () => restoreSse(b, mxcsr));
};

const xgetbv: Meaning = b => {
  b.raiseIf(b.no(bit(b, b.state(state.CR4), CR4_OSXSAVE)), UD);
  b.raiseIf(b.no(b.eqz(b.gpr(1, 32))), GP, 0);
  const value = b.state(state.XCR0);
  b.setGpr(0, b.zx(value, 32), 32);
  b.setGpr(2, b.shr(value, b.const(32)), 32);
};
/** x87 always, SSE or not, nothing else. */
const xsetbv: Meaning = b => {
  b.raiseIf(b.no(bit(b, b.state(state.CR4), CR4_OSXSAVE)), UD);
  const value = b.or(b.gpr(0, 32), b.shl(b.gpr(2, 32), b.const(32)));
  const valid = b.eqz(b.and(b.xor(value, b.const(X87)), b.const(~SSE)));
  b.raiseIf(b.either(b.no(valid), b.no(b.eqz(b.gpr(1, 32)))), GP, 0);
  b.setState(state.XCR0, value);
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
  row('xsave', 0x0fae, 'M', xsave, none, memory, xstate, { group: 4 }),
  row('xrstor', 0x0fae, 'M', xrstor, none, memory, reads, xstate, { group: 5 }),
  row('xgetbv', 0x0f01, '', xgetbv, none, xstate, { modrm: 0xd0 }),
  row('xsetbv', 0x0f01, '', xsetbv, none, {
    feature: 'xsave',
    modrm: 0xd1,
    privileged: 'with OSXSAVE',
    untested: 'needs CPL 0',
  }),
  row('lfence', 0x0fae, '', nothing, none, register, { feature: 'sse2', group: 5 }),
  row('mfence', 0x0fae, '', nothing, none, register, { feature: 'sse2', group: 6 }),
  row('sfence', 0x0fae, '', nothing, none, register, { feature: 'sse', group: 7 }),
  row('clflushopt', 0x0fae, 'Mb', touch, x66, memory, reads, { feature: 'clflushopt', group: 7 }),
  row('prefetchw', 0x0f0d, 'Mb', nothing, memory, reads, { feature: '3dnowprefetch' }),
  row('emms', 0x0f77, '', b => void b.helper('emms'), none, { feature: 'mmx', unit: 'x87' }),
];
