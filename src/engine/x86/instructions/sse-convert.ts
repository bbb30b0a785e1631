/** Conversions of SSE and SSE2 (SDM 1, 5.5.1.6, 5.5.3 and 5.6.1.6): fast where float-check.ts allows it. */
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import {
  DOUBLE,
  everyLane,
  type Format,
  inSoftware,
  LaneCheck,
  lowest,
  roundingIsSilent,
  SINGLE,
  scalarSource,
  vectorOf,
  withLowest,
} from './float-check.ts';
import type { Meaning, Row } from './row.ts';
import { doubled, low, switchToMmx } from './vector.ts';
import { f2, f3, memory, none, register, row, sse, sse2, sse2Mmx, sseMmx, x66 } from './vector-columns.ts';

/** The number 2^exponent, as a scalar. */
const powerOfTwo = (b: Builder, format: Format, exponent: number) =>
  format.bits === 64
    ? b.wasm('f64.reinterpret_i64', b.const(BigInt(exponent + 1023) << 52n))
    : b.wasm('f32.reinterpret_i32', b.i32((exponent + 127) << 23));

/** 2^31 in every lane: what no 32-bit integer reaches. */
const TWO_31: Record<32 | 64, bigint> = { 32: 0x4f000000n, 64: 0x41e0000000000000n };

type Conversion = (b: Builder, x: Value) => Value;

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
    const integer = b.sx(src.get(), src.bits);
    const x = dst.get();
    const result = withLowest(b, format, x, b.wasm(`f${format.bits}.convert_i64_s`, integer));
    const precision = format.bits === 64 ? 53 : 24;
    if (src.bits < precision) return dst.set(result);
    const limit = b.const(1n << BigInt(precision));
    const exact = b.ltu(b.add(integer, limit), b.shl(limit, b.const(1)));
    b.when(
      b.either(exact, roundingIsSilent(b)),
      () => dst.set(result),
      () => {
        b.helper(`${name}_${src.bits}`, integer);
        dst.set(withLowest(b, format, x, lowest(b, format, b.state(state.VECTOR + 48, 128))));
      },
    );
  };

/** CVT(T)SS2SI, CVT(T)SD2SI to 32 or 64 bits: in range, and either exact or silently rounded. */
const toInteger =
  (name: string, format: Format, truncate: boolean): Meaning =>
  (b, dst, src) => {
    const source = vectorOf(b, src);
    const x = lowest(b, format, source);
    const type = `f${format.bits}`;
    const rounded = truncate ? x : b.wasm(`${type}.nearest`, x);
    const integer = b.wasm(`i64.trunc_sat_${type}_s`, rounded);
    const inRange = b.wasm(`${type}.lt`, b.wasm(`${type}.abs`, rounded), powerOfTwo(b, format, dst.bits - 1));
    const exact = b.wasm(`${type}.eq`, b.wasm(`${type}.convert_i64_s`, integer), x);
    const answer = b.variable(integer);
    b.when(b.no(b.both(inRange, b.either(exact, roundingIsSilent(b)))), () => {
      b.setState(state.VECTOR + 16, source, 128);
      answer.set(b.helper(`${name}_${dst.bits}`));
    });
    dst.set(b.zx(answer.get(), dst.bits));
  };

// ── between the two formats ───────────────────────────────────────────────────────────────────────────────────────

/** CVTSS2SD, CVTPS2PD: always exact. */
const widened =
  (name: string, packed: boolean): Conversion =>
  (b, x) => {
    const check = new LaneCheck(b, SINGLE, packed);
    return orInSoftware(b, check.holds(check.isOrdinary(x)), b.wasm('f64x2.promote_low_f32x4', x), name, x);
  };

/** CVTSD2SS, CVTPD2PS: looked at as doubles again, so that the two lanes of the answer are checked and no others. */
const narrowed =
  (name: string, packed: boolean): Conversion =>
  (b, x) => {
    const result = b.wasm('f32x4.demote_f64x2_zero', x);
    const again = b.wasm('f64x2.promote_low_f32x4', result);
    const check = new LaneCheck(b, DOUBLE, packed);
    const smallest = everyLane(b, DOUBLE, BigInt(1023 - 126) << 52n);
    const normal = b.wasm('f64x2.gt', b.wasm('f64x2.abs', again), smallest);
    const silent = b.wasm('v128.and', check.isFinite(again), b.wasm('v128.or', normal, check.isZero(x)));
    return orInSoftware(b, b.both(check.holds(silent), roundingIsSilent(b)), result, name, x);
  };

// ── vectors of integers ───────────────────────────────────────────────────────────────────────────────────────────

/** CVT(T)PS2DQ and, of two lanes, CVT(T)PS2PI. */
const integersOfSingles =
  (name: string, truncate: boolean): Conversion =>
  (b, x) => {
    const rounded = truncate ? x : b.wasm('f32x4.nearest', x);
    const result = b.wasm('i32x4.trunc_sat_f32x4_s', rounded);
    const check = new LaneCheck(b, SINGLE, true);
    const exact = check.holds(b.wasm('f32x4.eq', b.wasm('f32x4.convert_i32x4_s', result), x));
    const inRange = check.holds(check.isBelow(x, everyLane(b, SINGLE, TWO_31[32])));
    return orInSoftware(b, b.both(inRange, b.either(exact, roundingIsSilent(b))), result, name, x);
  };

/** CVT(T)PD2DQ and CVT(T)PD2PI: two integers in the low half, zeros above. */
const integersOfDoubles =
  (name: string, truncate: boolean): Conversion =>
  (b, x) => {
    const rounded = truncate ? x : b.wasm('f64x2.nearest', x);
    const result = b.wasm('i32x4.trunc_sat_f64x2_s_zero', rounded);
    const check = new LaneCheck(b, DOUBLE, true);
    const exact = check.holds(b.wasm('f64x2.eq', b.wasm('f64x2.convert_low_i32x4_s', result), x));
    const inRange = check.holds(check.isBelow(rounded, everyLane(b, DOUBLE, TWO_31[64])));
    return orInSoftware(b, b.both(inRange, b.either(exact, roundingIsSilent(b))), result, name, x);
  };

/** CVTDQ2PS and, of two lanes, CVTPI2PS: exact up to 24 bits. */
const singlesOfIntegers: Conversion = (b, x) => {
  const result = b.wasm('f32x4.convert_i32x4_s', x);
  const large = b.wasm('i32x4.gt_u', b.wasm('i32x4.abs', x), everyLane(b, SINGLE, 1n << 24n));
  const exact = b.no(b.wasm('v128.any_true', large));
  return orInSoftware(b, b.either(exact, roundingIsSilent(b)), result, 'cvtdq2ps', x);
};
const doublesOfIntegers: Conversion = (b, x) => b.wasm('f64x2.convert_low_i32x4_s', x);

/** One conversion of a whole register or a half of one; `between` happens between loading and converting. */
const whole =
  (convert: Conversion, between: (b: Builder) => void = () => {}): Meaning =>
  (b, dst, src) => {
    const x = src.bits === 128 ? src.get() : doubled(b, src.get());
    between(b);
    const result = convert(b, x);
    dst.set(dst.bits === 128 ? result : low(b, result));
  };
/** The same with an MMX register: when the conversion itself faults, the x87 has been switched already. */
const withMmx = (convert: Conversion): Meaning => whole(convert, switchToMmx);
/** Of a scalar; the rest of dst stays. */
const single =
  (to: Format, convert: Conversion): Meaning =>
  (b, dst, src) => {
    const result = convert(b, vectorOf(b, src));
    dst.set(withLowest(b, to, dst.get(), lowest(b, to, result)));
  };

export const floatConvertRows: Row[] = [
  row('cvtsi2ss', 0x0f2a, 'Vx,Ey', fromInteger('cvtsi2ss', SINGLE), f3, sse),
  row('cvtsi2sd', 0x0f2a, 'Vx,Ey', fromInteger('cvtsi2sd', DOUBLE), f2, sse2),
  ...scalarSource(row('cvttss2si', 0x0f2c, 'Gy,Wss', toInteger('cvttss2si', SINGLE, true), f3, sse)),
  ...scalarSource(row('cvttsd2si', 0x0f2c, 'Gy,Wsd', toInteger('cvttsd2si', DOUBLE, true), f2, sse2)),
  ...scalarSource(row('cvtss2si', 0x0f2d, 'Gy,Wss', toInteger('cvtss2si', SINGLE, false), f3, sse)),
  ...scalarSource(row('cvtsd2si', 0x0f2d, 'Gy,Wsd', toInteger('cvtsd2si', DOUBLE, false), f2, sse2)),

  row('cvtps2pd', 0x0f5a, 'Vx,Wq', whole(widened('cvtps2pd', true)), none, sse2),
  row('cvtpd2ps', 0x0f5a, 'Vx,Wx', whole(narrowed('cvtpd2ps', true)), x66, sse2),
  ...scalarSource(row('cvtss2sd', 0x0f5a, 'Vsd,Wss', single(DOUBLE, widened('cvtss2sd', false)), f3, sse2)),
  ...scalarSource(row('cvtsd2ss', 0x0f5a, 'Vss,Wsd', single(SINGLE, narrowed('cvtsd2ss', false)), f2, sse2)),

  row('cvtdq2ps', 0x0f5b, 'Vx,Wx', whole(singlesOfIntegers), none, sse2),
  row('cvtps2dq', 0x0f5b, 'Vx,Wx', whole(integersOfSingles('cvtps2dq', false)), x66, sse2),
  row('cvttps2dq', 0x0f5b, 'Vx,Wx', whole(integersOfSingles('cvttps2dq', true)), f3, sse2),
  row('cvttpd2dq', 0x0fe6, 'Vx,Wx', whole(integersOfDoubles('cvttpd2dq', true)), x66, sse2),
  row('cvtdq2pd', 0x0fe6, 'Vx,Wq', whole(doublesOfIntegers), f3, sse2),
  row('cvtpd2dq', 0x0fe6, 'Vx,Wx', whole(integersOfDoubles('cvtpd2dq', false)), f2, sse2),

  // From memory CVTPI2PS and CVTPI2PD touch no MMX register and switch nothing (of the former SDM 2A does not say so).
  row('cvtpi2ps', 0x0f2a, 'Vq,Nq', withMmx(singlesOfIntegers), register, none, sseMmx),
  row('cvtpi2ps', 0x0f2a, 'Vq,Mq', whole(singlesOfIntegers), memory, none, sse),
  row('cvttps2pi', 0x0f2c, 'Pq,Wq', withMmx(integersOfSingles('cvttps2dq', true)), none, sseMmx),
  row('cvtps2pi', 0x0f2d, 'Pq,Wq', withMmx(integersOfSingles('cvtps2dq', false)), none, sseMmx),
  row('cvtpi2pd', 0x0f2a, 'Vx,Nq', withMmx(doublesOfIntegers), register, x66, sse2Mmx),
  row('cvtpi2pd', 0x0f2a, 'Vx,Mq', whole(doublesOfIntegers), memory, x66, sse2),
  row('cvttpd2pi', 0x0f2c, 'Pq,Wx', withMmx(integersOfDoubles('cvttpd2dq', true)), x66, sse2Mmx),
  row('cvtpd2pi', 0x0f2d, 'Pq,Wx', withMmx(integersOfDoubles('cvtpd2dq', false)), x66, sse2Mmx),
];
