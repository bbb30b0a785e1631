/**
 * The soft-float against two oracles that share none of its code: JavaScript's own numbers, and exact rational
 * arithmetic on BigInt, rounded here by the definition (SDM 1, 4.8.4).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { add, type Binary, divide, multiply, squareRoot, subtract } from './arithmetic.ts';
import { fromPackedDecimal, toPackedDecimal } from './bcd.ts';
import { compare, UNORDERED } from './compare.ts';
import { createEnvironment, DE, DOWN, IE, OE, PE, TO_NEAREST, UE, UP, ZE } from './environment.ts';
import { loadFloat32, loadFloat64, loadFloatX80, storeFloat32, storeFloat64, storeFloatX80 } from './formats.ts';
import {
  FLOAT32,
  FLOAT64,
  FLOATX80,
  FLOATX80_24,
  FLOATX80_53,
  type Format,
  fromInteger,
  integer,
  round,
  toInteger,
} from './rounding.ts';
import { FINITE, QUIET, Value, ZERO } from './value.ts';

const view = new DataView(new ArrayBuffer(64));
const a = new Value();
const b = new Value();
const out = new Value();

/** A small generator of our own, so that a failure can be had again. */
let seed = 1;
function random(): number {
  seed = (seed + 0x6d2b79f5) >>> 0;
  let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return (t ^ (t >>> 14)) >>> 0;
}
const below = (n: number) => random() % n;

/** 64 bits with long runs now and then: where carries and sticky bits go wrong. */
function bits64(): bigint {
  const any = (BigInt(random()) << 32n) | BigInt(random());
  const edge = 1n << BigInt(below(64));
  return [any, any & -edge, edge - 1n, BigInt.asUintN(64, -edge), edge][below(5)]!;
}

function number64(): number {
  const exponent = [0, 1, 2046, 2047, 1023 - 60 + below(120), below(2048)][below(6)]!;
  const fraction = bits64() & 0xfffffffffffffn;
  view.setBigUint64(32, (BigInt(below(2)) << 63n) | (BigInt(exponent) << 52n) | fraction, true);
  return view.getFloat64(32, true);
}

const operations: [string, Binary, (x: number, y: number) => number][] = [
  ['add', add, (x, y) => x + y],
  ['subtract', subtract, (x, y) => x - y],
  ['multiply', multiply, (x, y) => x * y],
  ['divide', divide, (x, y) => x / y],
];

test('float64, to nearest, agrees with JavaScript', () => {
  const environment = createEnvironment(false);
  for (const [name, operation, expected] of operations) {
    for (let n = 0; n < 20000; n++) {
      const x = number64();
      const y = number64();
      view.setFloat64(0, x, true);
      view.setFloat64(8, y, true);
      loadFloat64(view, 0, a);
      loadFloat64(view, 8, b);
      operation(a, b, out, environment);
      round(out, FLOAT64, environment);
      storeFloat64(view, 16, out);
      assert.ok(Object.is(view.getFloat64(16, true), expected(x, y)), `${name} ${x} ${y}`);
    }
  }
});

test('float32, to nearest, agrees with Math.fround', () => {
  const environment = createEnvironment(false);
  for (const [name, operation, expected] of operations) {
    for (let n = 0; n < 20000; n++) {
      const exponent = [0, 1, 254, 127 - 30 + below(60), below(256)][below(5)]!;
      view.setUint32(0, (below(2) << 31) | (exponent << 23) | (Number(bits64() & 0xffffffn) >>> 1), true);
      view.setUint32(4, (below(2) << 31) | ((127 - 20 + below(40)) << 23) | (Number(bits64() & 0xffffffn) >>> 1), true);
      const x = view.getFloat32(0, true);
      const y = view.getFloat32(4, true);
      loadFloat32(view, 0, a);
      loadFloat32(view, 4, b);
      operation(a, b, out, environment);
      round(out, FLOAT32, environment);
      storeFloat32(view, 16, out);
      // Twice rounding is once here: float64 has more than twice float32's bits (but not for denormal results).
      const wanted = Math.fround(expected(x, y));
      if (Math.abs(wanted) < 2 ** -126) continue;
      assert.ok(Object.is(view.getFloat32(16, true), wanted), `${name} ${x} ${y}`);
    }
  }
});

test('square roots agree with JavaScript', () => {
  const environment = createEnvironment(false);
  for (let n = 0; n < 20000; n++) {
    const x = number64();
    view.setFloat64(0, x, true);
    loadFloat64(view, 0, a);
    squareRoot(a, out, environment);
    round(out, FLOAT64, environment);
    storeFloat64(view, 16, out);
    assert.ok(Object.is(view.getFloat64(16, true), Math.sqrt(x)), `${x}`);
  }
});

/** The exact result as numerator / denominator * 2^scale, and what is to come of it. */
interface Rounded {
  significand: bigint;
  exponent: number;
  flags: number;
  roundedUp: boolean;
}

/**
 * Rounds the fraction |n/d| * 2^scale by definition: the multiple of the last place below, and the choice of the next.
 */
function reference(n: bigint, d: bigint, scale: number, sign: number, format: Format, rounding: number): Rounded {
  const leading = (p: bigint, q: bigint) => {
    let e = p.toString(2).length - q.toString(2).length;
    if (e >= 0 ? p < q << BigInt(e) : p << BigInt(-e) < q) e--;
    return e;
  };
  const cut = (last: number) => {
    // Units of 2^last in n/d * 2^scale, rounded.
    const shift = scale - last;
    const p = shift >= 0 ? n << BigInt(shift) : n;
    const q = shift >= 0 ? d : d << BigInt(-shift);
    const floor = p / q;
    const twice = 2n * (p % q);
    const up =
      rounding === TO_NEAREST
        ? twice > q || (twice === q && (floor & 1n) === 1n)
        : twice > 0n && rounding === (sign ? DOWN : UP);
    return { units: up ? floor + 1n : floor, inexact: twice !== 0n, up };
  };
  const exponent = leading(n, d) + scale;
  const unbounded = cut(exponent - format.precision + 1);
  const carried = unbounded.units >> BigInt(format.precision) !== 0n;
  const tiny = exponent + (carried ? 1 : 0) < format.minExponent;
  const last = Math.max(exponent, format.minExponent) - format.precision + 1;
  const { units, inexact, up } = cut(last);
  const length = units.toString(2).length;
  return {
    significand: units << BigInt(64 - length),
    exponent: units === 0n ? 0 : last + length - 1,
    flags: (inexact ? PE : 0) | (tiny && inexact ? UE : 0),
    roundedUp: up,
  };
}

test('80 bits: every precision and rounding, flags and C1, agree with exact rationals', () => {
  const formats = [FLOATX80, FLOATX80_53, FLOATX80_24];
  for (let n = 0; n < 30000; n++) {
    const environment = createEnvironment(true);
    environment.rounding = below(4);
    const format = formats[below(3)]!;
    const x = bits64() | (1n << 63n);
    const y = bits64() | (1n << 63n);
    const ex = below(4) ? 16383 - 40 + below(80) : 1 + below(100);
    const ey = below(4) ? 16383 - 40 + below(80) : 1 + below(100);
    const [sx, sy] = [below(2), below(2)];
    view.setBigUint64(0, x, true);
    view.setUint16(8, (sx << 15) | ex, true);
    view.setBigUint64(16, y, true);
    view.setUint16(24, (sy << 15) | ey, true);
    loadFloatX80(view, 0, a);
    loadFloatX80(view, 16, b);
    const kind = below(4);
    const [operation, numerator, denominator, scale] = (() => {
      if (kind === 0) return [multiply, x * y * (sx === sy ? 1n : -1n), 1n, ex + ey - 2 * (16383 + 63)] as const;
      if (kind === 1) return [divide, x * (sx === sy ? 1n : -1n), y, ex - ey] as const;
      const base = Math.min(ex, ey);
      const p = (sx ? -x : x) << BigInt(ex - base);
      const q = (sy ? -y : y) << BigInt(ey - base);
      return [kind === 2 ? add : subtract, kind === 2 ? p + q : p - q, 1n, base - 16383 - 63] as const;
    })();
    operation(a, b, out, environment);
    round(out, format, environment);
    if (numerator === 0n) {
      assert.equal(out.kind, ZERO);
      continue;
    }
    const sign = numerator < 0n ? 1 : 0;
    const wanted = reference(sign ? -numerator : numerator, denominator, scale, sign, format, environment.rounding);
    if (wanted.exponent > format.maxExponent) continue; // overflow has a test of its own
    const label = `${operation.name} ${sx}:${ex}:${x.toString(16)} ${sy}:${ey}:${y.toString(16)} rc ${environment.rounding}`;
    assert.equal((BigInt(out.high) << 32n) | BigInt(out.low), wanted.significand, label);
    if (wanted.significand !== 0n) assert.equal(out.exponent, wanted.exponent, label);
    assert.equal(out.sign, sign, label);
    assert.equal(environment.flags & (PE | UE), wanted.flags, label);
    assert.equal(environment.roundedUp, wanted.roundedUp, label);
  }
});

test('overflow: infinity or the largest number of the precision, by rounding', () => {
  for (const [rounding, exponent, high] of [
    [TO_NEAREST, 0x7fff, 0x80000000],
    [UP, 0x7fff, 0x80000000],
    [DOWN, 0x7ffe, 0xffffffff],
    [3, 0x7ffe, 0xffffffff],
  ] as const) {
    const environment = createEnvironment(true);
    environment.rounding = rounding;
    view.setBigUint64(0, 0xc000000000000000n, true);
    view.setUint16(8, 0x7ffe, true);
    loadFloatX80(view, 0, a);
    add(a, a, out, environment);
    round(out, FLOATX80_53, environment);
    storeFloatX80(view, 16, out);
    assert.equal(view.getUint16(24, true), exponent);
    assert.equal(view.getUint32(20, true), high);
    assert.equal(view.getUint32(16, true), exponent === 0x7fff ? 0 : 0xfffff800);
    assert.equal(environment.flags, OE | PE);
  }
});

test('what flags operands raise', () => {
  const flagsOf = (operation: Binary, x: number, y: number) => {
    const environment = createEnvironment(false);
    view.setFloat64(0, x, true);
    view.setFloat64(8, y, true);
    loadFloat64(view, 0, a);
    loadFloat64(view, 8, b);
    operation(a, b, out, environment);
    return environment.flags;
  };
  assert.equal(flagsOf(divide, 1, 0), ZE);
  assert.equal(flagsOf(divide, 0, 0), IE);
  assert.equal(flagsOf(divide, 5e-324, 0), ZE); // division by zero comes before the denormal
  assert.equal(flagsOf(subtract, Infinity, Infinity), IE);
  assert.equal(flagsOf(multiply, Infinity, 0), IE);
  assert.equal(flagsOf(add, 5e-324, 1), DE);
  assert.equal(flagsOf(add, 5e-324, Number.NaN), 0);
});

test('NaNs: the x87 takes the larger significand, SSE the first operand', () => {
  const nan = (payload: bigint, address: number) => view.setBigUint64(address, 0x7ff0000000000000n | payload, true);
  for (const [larger, expected] of [
    [true, 0x7ff8000000000005n],
    [false, 0x7ff8000000000003n],
  ] as const) {
    const environment = createEnvironment(larger);
    nan(0x8000000000003n, 0);
    nan(0x8000000000005n, 8);
    loadFloat64(view, 0, a);
    loadFloat64(view, 8, b);
    add(a, b, out, environment);
    storeFloat64(view, 16, out);
    assert.equal(view.getBigUint64(16, true), expected);
    assert.equal(environment.flags, 0);
    nan(3n, 0); // signalling
    loadFloat64(view, 0, a);
    add(a, b, out, environment);
    assert.equal(environment.flags, IE);
    assert.equal(out.kind, QUIET);
  }
});

test('integers: all of those near the limits, every rounding', () => {
  for (const size of [16, 32, 64] as const) {
    for (let n = 0; n < 5000; n++) {
      const environment = createEnvironment(true);
      const rounding = below(4);
      const x = bits64() | (1n << 63n);
      const exponent = [size - 1, size - 2, size, -1, 0, below(64)][below(6)]!;
      const sign = below(2) as 0 | 1;
      view.setBigUint64(0, x, true);
      view.setUint16(8, (sign << 15) | (16383 + exponent), true);
      loadFloatX80(view, 0, a);
      toInteger(a, size, rounding, environment);
      const unit = 1n << 63n;
      const scaled = x << BigInt(exponent + 1);
      let units = scaled / (unit * 2n);
      const rest = scaled % (unit * 2n);
      if (
        rounding === TO_NEAREST
          ? rest > unit || (rest === unit && (units & 1n) === 1n)
          : rest > 0n && rounding === (sign ? DOWN : UP)
      )
        units++;
      const value = sign ? -units : units;
      const fits = BigInt.asIntN(size, value) === value;
      const got = BigInt.asIntN(size, (BigInt(integer.high) << 32n) | BigInt(integer.low));
      assert.equal(
        got,
        fits ? value : -(1n << BigInt(size - 1)),
        `${size} ${x.toString(16)} ${exponent} ${sign} ${rounding}`,
      );
      assert.equal(environment.flags, fits ? (rest !== 0n ? PE : 0) : IE);
    }
  }
  fromInteger(0xffffffff, 0xffffffff, a);
  assert.deepEqual([a.kind, a.sign, a.exponent, a.high], [FINITE, 1, 0, 0x80000000]);
});

test('comparison', () => {
  const environment = createEnvironment(false);
  for (let n = 0; n < 20000; n++) {
    const x = number64();
    const y = below(4) ? number64() : x;
    view.setFloat64(0, x, true);
    view.setFloat64(8, y, true);
    loadFloat64(view, 0, a);
    loadFloat64(view, 8, b);
    const relation = compare(a, b, false, environment);
    assert.equal(relation, x < y ? -1 : x > y ? 1 : x === y ? 0 : UNORDERED);
  }
});

test('packed decimal: there and back, and what does not fit', () => {
  const environment = createEnvironment(true);
  const text = [0x90, 0x78, 0x56, 0x34, 0x12, 0x90, 0x78, 0x56, 0x34, 0x80];
  text.forEach((byte, i) => {
    view.setUint8(i, byte);
  });
  fromPackedDecimal(view, 0, a);
  toPackedDecimal(a, view, 16, environment);
  assert.deepEqual(
    Array.from({ length: 10 }, (_, i) => view.getUint8(16 + i)),
    text,
  );
  assert.equal(environment.flags, 0);
  fromInteger(Number((10n ** 18n) >> 32n), Number((10n ** 18n) & 0xffffffffn), a);
  toPackedDecimal(a, view, 16, environment);
  assert.equal(view.getBigUint64(16, true), 0xc000000000000000n);
  assert.equal(view.getUint16(24, true), 0xffff);
  assert.equal(environment.flags, IE);
});
