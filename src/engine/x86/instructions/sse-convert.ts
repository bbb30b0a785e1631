/** Conversions of SSE and SSE2 (SDM 1, 5.5.1.6, 5.5.3 and 5.6.1.6): fast where float-check.ts allows it. */
import type { Builder, Value } from '../builder.ts';
import { VECTOR } from '../state.ts';
import { DOUBLE, everyLane, type Format, inSoftware, LaneCheck, lowest, roundingIsSilent, scalarSource, SINGLE, vectorOf, withLowest } from './float-check.ts';
import type { Meaning, Row } from './row.ts';
import { doubled, low } from './vector.ts';

/** The number 2^exponent, as a scalar. */
const powerOfTwo = (b: Builder, format: Format, exponent: number) =>
  format.bits === 64
    ? b.op('f64.reinterpret_i64', b.const(BigInt(exponent + 1023) << 52n))
    : b.op('f32.reinterpret_i32', b.i32((exponent + 127) << 23));

/** 2^31 in every lane: what no 32-bit integer reaches. */
const TWO_31: Record<32 | 64, bigint> = { 32: 0x4f000000n, 64: 0x41e0000000000000n };

/** `fast` tells when `result` stands; else the helper's answer does. */
function orInSoftware(b: Builder, fast: Value, result: Value, name: string, source: Value): Value {
  const answer = b.variable(result);
  b.when(b.no(fast), () => answer.set(inSoftware(b, name, undefined, source)));
  return answer.get();
}

// ── scalars and general registers ─────────────────────────────────────────────────────────────────────────────────

/** CVTSI2SS, CVTSI2SD: exact while the integer has no more bits than the significand. */
const fromInteger =
  (name: string, format: Format): Meaning =>
  (b, dst, src) => {
    const integer = b.sx(src!.get(), src!.bits);
    const x = dst!.get();
    const result = withLowest(b, format, x, b.op(`f${format.bits}.convert_i64_s`, integer));
    const precision = format.bits === 64 ? 53 : 24;
    if (src!.bits < precision) return dst!.set(result);
    const limit = b.const(1n << BigInt(precision));
    const exact = b.ltu(b.add(integer, limit), b.shl(limit, b.const(1)));
    b.when(
      b.either(exact, roundingIsSilent(b)),
      () => dst!.set(result),
      () => {
        b.helper(`${name}_${src!.bits}`, integer);
        dst!.set(withLowest(b, format, x, lowest(b, format, b.state(VECTOR + 48, 128))));
      },
    );
  };

/** CVT(T)SS2SI, CVT(T)SD2SI to 32 or 64 bits: in range, and either exact or silently rounded. */
const toInteger =
  (name: string, format: Format, truncate: boolean): Meaning =>
  (b, dst, src) => {
    const source = vectorOf(b, src!);
    const x = lowest(b, format, source);
    const type = `f${format.bits}`;
    const rounded = truncate ? x : b.op(`${type}.nearest`, x);
    const integer = b.op(`i64.trunc_sat_${type}_s`, rounded);
    const inRange = b.op(`${type}.lt`, b.op(`${type}.abs`, rounded), powerOfTwo(b, format, dst!.bits - 1));
    const exact = b.op(`${type}.eq`, b.op(`${type}.convert_i64_s`, integer), x);
    const answer = b.variable(integer);
    b.when(b.no(b.both(inRange, b.either(exact, roundingIsSilent(b)))), () => {
      b.setState(VECTOR + 16, source, 128);
      answer.set(b.helper(`${name}_${dst!.bits}`));
    });
    dst!.set(b.zx(answer.get(), dst!.bits));
  };

// ── between the two formats ───────────────────────────────────────────────────────────────────────────────────────

/** CVTSS2SD, CVTPS2PD: always exact. */
function widened(b: Builder, name: string, x: Value, packed: boolean): Value {
  const check = new LaneCheck(b, SINGLE, packed);
  return orInSoftware(b, check.holds(check.isOrdinary(x)), b.op('f64x2.promote_low_f32x4', x), name, x);
}

/** CVTSD2SS, CVTPD2PS: looked at as doubles again, so that the two lanes of the answer are checked and no others. */
function narrowed(b: Builder, name: string, x: Value, packed: boolean): Value {
  const result = b.op('f32x4.demote_f64x2_zero', x);
  const again = b.op('f64x2.promote_low_f32x4', result);
  const check = new LaneCheck(b, DOUBLE, packed);
  const smallest = everyLane(b, DOUBLE, BigInt(1023 - 126) << 52n);
  const normal = b.op('f64x2.gt', b.op('f64x2.abs', again), smallest);
  const silent = b.op('v128.and', check.isFinite(again), b.op('v128.or', normal, check.isZero(x)));
  return orInSoftware(b, b.both(check.holds(silent), roundingIsSilent(b)), result, name, x);
}

// ── vectors of integers ───────────────────────────────────────────────────────────────────────────────────────────

/** CVT(T)PS2DQ and, of two lanes, CVT(T)PS2PI. */
function integersOfSingles(b: Builder, name: string, x: Value, truncate: boolean): Value {
  const rounded = truncate ? x : b.op('f32x4.nearest', x);
  const result = b.op('i32x4.trunc_sat_f32x4_s', rounded);
  const check = new LaneCheck(b, SINGLE, true);
  const exact = check.holds(b.op('f32x4.eq', b.op('f32x4.convert_i32x4_s', result), x));
  const inRange = check.holds(check.isBelow(x, everyLane(b, SINGLE, TWO_31[32])));
  return orInSoftware(b, b.both(inRange, b.either(exact, roundingIsSilent(b))), result, name, x);
}

/** CVT(T)PD2DQ and CVT(T)PD2PI: two integers in the low half, zeros above. */
function integersOfDoubles(b: Builder, name: string, x: Value, truncate: boolean): Value {
  const rounded = truncate ? x : b.op('f64x2.nearest', x);
  const result = b.op('i32x4.trunc_sat_f64x2_s_zero', rounded);
  const check = new LaneCheck(b, DOUBLE, true);
  const exact = check.holds(b.op('f64x2.eq', b.op('f64x2.convert_low_i32x4_s', result), x));
  const inRange = check.holds(check.isBelow(rounded, everyLane(b, DOUBLE, TWO_31[64])));
  return orInSoftware(b, b.both(inRange, b.either(exact, roundingIsSilent(b))), result, name, x);
}

/** CVTDQ2PS and, of two lanes, CVTPI2PS: exact up to 24 bits. */
function singlesOfIntegers(b: Builder, name: string, x: Value): Value {
  const result = b.op('f32x4.convert_i32x4_s', x);
  const large = b.op('i32x4.gt_u', b.op('i32x4.abs', x), everyLane(b, SINGLE, 1n << 24n));
  const exact = b.no(b.op('v128.any_true', large));
  return orInSoftware(b, b.either(exact, roundingIsSilent(b)), result, name, x);
}
const doublesOfIntegers = (b: Builder, x: Value) => b.op('f64x2.convert_low_i32x4_s', x);

/** One conversion of a whole register or a half of one. */
const whole =
  (convert: (b: Builder, x: Value) => Value): Meaning =>
  (b, dst, src) => {
    const x = src!.bits === 128 ? src!.get() : doubled(b, src!.get());
    const result = convert(b, x);
    dst!.set(dst!.bits === 128 ? result : low(b, result));
  };
/** Of a scalar; the rest of dst stays. */
const single =
  (to: Format, convert: (b: Builder, x: Value) => Value): Meaning =>
  (b, dst, src) => {
    const result = convert(b, vectorOf(b, src!));
    dst!.set(withLowest(b, to, dst!.get(), lowest(b, to, result)));
  };

const none = { prefix: 'none' } as const;
const x66 = { prefix: '66' } as const;
const f3 = { prefix: 'f3' } as const;
const f2 = { prefix: 'f2' } as const;
const sse = { feature: 'sse', unit: 'sse' } as const;
const sse2 = { feature: 'sse2', unit: 'sse' } as const;
/** These read or write an MMX register, and so switch the x87. */
const sseAndMmx = { feature: 'sse', unit: 'mmx' } as const;
const sse2AndMmx = { feature: 'sse2', unit: 'mmx' } as const;

export const floatConvertRows: Row[] = [
  { name: 'cvtsi2ss', opcode: 0x0f2a, operands: 'Vx,Ey', meaning: fromInteger('cvtsi2ss', SINGLE), ...f3, ...sse },
  { name: 'cvtsi2sd', opcode: 0x0f2a, operands: 'Vx,Ey', meaning: fromInteger('cvtsi2sd', DOUBLE), ...f2, ...sse2, hot: true },
  ...scalarSource({ name: 'cvttss2si', opcode: 0x0f2c, operands: 'Gy,Wss', meaning: toInteger('cvttss2si', SINGLE, true), ...f3, ...sse }),
  ...scalarSource({ name: 'cvttsd2si', opcode: 0x0f2c, operands: 'Gy,Wsd', meaning: toInteger('cvttsd2si', DOUBLE, true), ...f2, ...sse2, hot: true }),
  ...scalarSource({ name: 'cvtss2si', opcode: 0x0f2d, operands: 'Gy,Wss', meaning: toInteger('cvtss2si', SINGLE, false), ...f3, ...sse }),
  ...scalarSource({ name: 'cvtsd2si', opcode: 0x0f2d, operands: 'Gy,Wsd', meaning: toInteger('cvtsd2si', DOUBLE, false), ...f2, ...sse2 }),

  { name: 'cvtps2pd', opcode: 0x0f5a, operands: 'Vx,Wq', meaning: whole((b, x) => widened(b, 'cvtps2pd', x, true)), ...none, ...sse2 },
  { name: 'cvtpd2ps', opcode: 0x0f5a, operands: 'Vx,Wx', meaning: whole((b, x) => narrowed(b, 'cvtpd2ps', x, true)), ...x66, ...sse2 },
  ...scalarSource({ name: 'cvtss2sd', opcode: 0x0f5a, operands: 'Vsd,Wss', meaning: single(DOUBLE, (b, x) => widened(b, 'cvtss2sd', x, false)), ...f3, ...sse2 }),
  ...scalarSource({ name: 'cvtsd2ss', opcode: 0x0f5a, operands: 'Vss,Wsd', meaning: single(SINGLE, (b, x) => narrowed(b, 'cvtsd2ss', x, false)), ...f2, ...sse2 }),

  { name: 'cvtdq2ps', opcode: 0x0f5b, operands: 'Vx,Wx', meaning: whole((b, x) => singlesOfIntegers(b, 'cvtdq2ps', x)), ...none, ...sse2 },
  { name: 'cvtps2dq', opcode: 0x0f5b, operands: 'Vx,Wx', meaning: whole((b, x) => integersOfSingles(b, 'cvtps2dq', x, false)), ...x66, ...sse2 },
  { name: 'cvttps2dq', opcode: 0x0f5b, operands: 'Vx,Wx', meaning: whole((b, x) => integersOfSingles(b, 'cvttps2dq', x, true)), ...f3, ...sse2 },
  { name: 'cvttpd2dq', opcode: 0x0fe6, operands: 'Vx,Wx', meaning: whole((b, x) => integersOfDoubles(b, 'cvttpd2dq', x, true)), ...x66, ...sse2 },
  { name: 'cvtdq2pd', opcode: 0x0fe6, operands: 'Vx,Wq', meaning: whole(doublesOfIntegers), ...f3, ...sse2 },
  { name: 'cvtpd2dq', opcode: 0x0fe6, operands: 'Vx,Wx', meaning: whole((b, x) => integersOfDoubles(b, 'cvtpd2dq', x, false)), ...f2, ...sse2 },

  // From memory CVTPI2PS and CVTPI2PD touch no MMX register and switch nothing (of the former SDM 2A does not say so).
  { name: 'cvtpi2ps', opcode: 0x0f2a, form: 'register', operands: 'Vq,Nq', meaning: whole((b, x) => singlesOfIntegers(b, 'cvtdq2ps', x)), ...none, ...sseAndMmx },
  { name: 'cvtpi2ps', opcode: 0x0f2a, form: 'memory', operands: 'Vq,Mq', meaning: whole((b, x) => singlesOfIntegers(b, 'cvtdq2ps', x)), ...none, ...sse },
  { name: 'cvttps2pi', opcode: 0x0f2c, operands: 'Pq,Wq', meaning: whole((b, x) => integersOfSingles(b, 'cvttps2dq', x, true)), ...none, ...sseAndMmx },
  { name: 'cvtps2pi', opcode: 0x0f2d, operands: 'Pq,Wq', meaning: whole((b, x) => integersOfSingles(b, 'cvtps2dq', x, false)), ...none, ...sseAndMmx },
  { name: 'cvtpi2pd', opcode: 0x0f2a, form: 'register', operands: 'Vx,Nq', meaning: whole(doublesOfIntegers), ...x66, ...sse2AndMmx },
  { name: 'cvtpi2pd', opcode: 0x0f2a, form: 'memory', operands: 'Vx,Mq', meaning: whole(doublesOfIntegers), ...x66, ...sse2 },
  { name: 'cvttpd2pi', opcode: 0x0f2c, operands: 'Pq,Wx', meaning: whole((b, x) => integersOfDoubles(b, 'cvttpd2dq', x, true)), ...x66, ...sse2AndMmx },
  { name: 'cvtpd2pi', opcode: 0x0f2d, operands: 'Pq,Wx', meaning: whole((b, x) => integersOfDoubles(b, 'cvtpd2dq', x, false)), ...x66, ...sse2AndMmx },
];
