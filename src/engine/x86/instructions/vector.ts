/**
 * What the rows of MMX and SSE share: making and taking apart 128-bit values, and the families that make the MMX and
 * the SSE form of one operation together. An MMX value is an i64; it is operated on in the lanes of a v128.
 */
import { MF } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import type { ProcessorCode } from '../code.ts';
import { state } from '../state.ts';
import type { Feature, Meaning, Row } from './row.ts';

/** A lane-wise operation: WebAssembly's own name for it, or a function. */
export type Operation = string | ((b: Builder, x: Value, y: Value) => Value);

export function apply(b: Builder, operation: Operation, x: Value, y: Value): Value {
  return typeof operation === 'string' ? b.wasm(operation, x, y) : operation(b, x, y);
}

/** A constant of 16 bytes, from a function of the byte's number. */
export function bytes(b: ProcessorCode, byte: (i: number) => number): Value {
  return b.v128(Array.from({ length: 16 }, (_, i) => byte(i) & 0xff));
}

/** A constant of equal 16-, 32- or 64-bit lanes. */
export function lanes(b: ProcessorCode, bits: 16 | 32 | 64, value: bigint | number): Value {
  const all = BigInt(value);
  return bytes(b, i => Number((all >> BigInt((i % (bits / 8)) * 8)) & 0xffn));
}

export function zero(b: Builder): Value {
  return bytes(b, () => 0);
}
/** The same byte everywhere. */
export function everyByte(b: Builder, value: number): Value {
  return bytes(b, () => value);
}
/** 0, 1, 2 … 15, moved by `first`. */
export function counting(b: Builder, first = 0): Value {
  return bytes(b, i => i + first);
}

/** The low and the high half of a v128, as i64. */
export function low(b: ProcessorCode, x: Value): Value {
  return b.lane('i64x2.extract_lane', 0, x);
}
export function high(b: Builder, x: Value): Value {
  return b.lane('i64x2.extract_lane', 1, x);
}

/** An i64 in the low half, zeros above. */
export function extended(b: Builder, x: Value): Value {
  return b.lane('i64x2.replace_lane', 0, zero(b), x);
}

/** An i64 in both halves. */
export function doubled(b: ProcessorCode, x: Value): Value {
  return b.wasm('i64x2.splat', x);
}

export function pair(b: Builder, lower: Value, upper: Value): Value {
  return b.lane('i64x2.replace_lane', 1, doubled(b, lower), upper);
}

/** Lanes of `size` bytes chosen from x and y laid end to end, by constant numbers. */
export function choose(b: ProcessorCode, x: Value, y: Value, size: number, numbers: readonly number[]): Value {
  return b.shuffle(
    x,
    y,
    numbers.flatMap(n => Array.from({ length: size }, (_, i) => n * size + i)),
  );
}

/** The number of an immediate, where translation knows it (the interpreter reads it at run time). */
export function known(value: Value): number | undefined {
  return value.kind === 'const' ? Number(value.literal) : undefined;
}

/** An immediate byte in every lane. */
export function splat(b: ProcessorCode, shape: 'i8x16' | 'i16x8' | 'i32x4', value: Value): Value {
  return b.wasm(`${shape}.splat`, b.narrow(value));
}

/** MMX registers are x87 registers: an x87 exception that waits comes first (FPU_STATUS's ES). */
export function raiseWaiting(b: Builder): void {
  b.raiseIf(b.narrow(b.and(b.state(state.FPU_STATUS, 16), b.const(0x80))), MF);
}

/** The x87 becomes MMX: its stack starts at 0 and all its registers are in use (SDM 1, 9.5.1). */
export function switchToMmx(b: Builder): void {
  b.setState(state.FPU_STATUS, b.and(b.state(state.FPU_STATUS, 16), b.const(~0x3800)), 16);
  b.setState(state.FPU_TAGS, b.const(0xff), 8);
}

/** dst = operation(dst, src), whole registers. */
export const whole =
  (operation: Operation): Meaning =>
  (b, dst, src) =>
    dst.set(apply(b, operation, dst.get(), src.get()));

/** dst = operation(src). */
export const unary =
  (operation: string | ((b: Builder, x: Value) => Value)): Meaning =>
  (b, dst, src) => {
    const x = src.get();
    dst.set(typeof operation === 'string' ? b.wasm(operation, x) : operation(b, x));
  };

/** Which features the two forms of a family belong to. */
export interface FamilyFeatures {
  mmx: Feature;
  sse: Feature;
}
export const ORIGINAL: FamilyFeatures = { mmx: 'mmx', sse: 'sse2' };
/** What SSE added to MMX, and SSE2 to the vectors. */
export const EXTENDED: FamilyFeatures = { mmx: 'sse', sse: 'sse2' };
export const SSE2_ONLY: FamilyFeatures = { mmx: 'sse2', sse: 'sse2' };
export const SSSE3: FamilyFeatures = { mmx: 'ssse3', sse: 'ssse3' };

function family(name: string, opcode: number, features: FamilyFeatures, narrow: Meaning, wide: Meaning): Row[] {
  return [
    { name, opcode, prefix: 'none', operands: 'Pq,Qq', meaning: narrow, feature: features.mmx, unit: 'mmx' },
    { name, opcode, prefix: '66', operands: 'Vx,Wx', meaning: wide, feature: features.sse, unit: 'sse' },
  ];
}

/** Both forms of an operation whose lanes do not look at each other: `Pq,Qq` and, after 66, `Vx,Wx`. */
export function lanewise(name: string, opcode: number, operation: Operation, features = ORIGINAL): Row[] {
  const narrow: Meaning = (b, dst, src) =>
    dst.set(low(b, apply(b, operation, doubled(b, dst.get()), doubled(b, src.get()))));
  return family(name, opcode, features, narrow, whole(operation));
}

/**
 * Both forms of an operation that folds two registers into one, the first into the lower half (packing, horizontal
 * sums): for MMX both operands stand in one v128, which folded with itself has the answer in its lower half.
 */
export function folding(name: string, opcode: number, operation: Operation, features = ORIGINAL): Row[] {
  const narrow: Meaning = (b, dst, src) => {
    const both = pair(b, dst.get(), src.get());
    dst.set(low(b, apply(b, operation, both, both)));
  };
  return family(name, opcode, features, narrow, whole(operation));
}

/** Both forms of an operation on one source. */
export function mapping(name: string, opcode: number, operation: string, features: FamilyFeatures): Row[] {
  const narrow: Meaning = (b, dst, src) => dst.set(low(b, b.wasm(operation, doubled(b, src.get()))));
  return family(name, opcode, features, narrow, unary(operation));
}

/** As `family`, for rows whose two meanings have little in common. */
export { family as bothForms };
