/**
 * The transcendental functions, in fixed point on BigInt with far more bits than any result keeps, so that the rounding
 * that follows is the correct one. A positive number is `mantissa * 2^-point`, point being its own; inside a series
 * everything has POINT fraction bits.
 */
import type { Value } from './value.ts';
import { setFinite } from './value.ts';

/** Fraction bits of a series. Results keep 64, and 128 more leave no doubt about rounding. */
const POINT = 192;
const BITS = BigInt(POINT);
const ONE = 1n << BITS;

/** A positive number of any size: mantissa / 2^point. */
export interface Fixed {
  mantissa: bigint;
  point: number;
}

/** How many bits a positive number has. */
function bitLength(x: bigint): number {
  // Hexadecimal digits first, then the bits of the leading one.
  const text = x.toString(16);
  return text.length * 4 - Math.clz32(Number.parseInt(text[0]!, 16)) + 28;
}

/** The magnitude of a finite value. */
export function magnitude(value: Value): Fixed {
  return { mantissa: (BigInt(value.high) << 32n) | BigInt(value.low), point: 63 - value.exponent };
}

/**
 * Puts x into value, with the sticky bit: set, since none of these functions ever is exact, unless told so. Bits beyond
 * 96 are cut off, which rounds like what they stand for.
 */
export function assign(value: Value, sign: 0 | 1, { mantissa, point }: Fixed, exact = false): void {
  const length = bitLength(mantissa);
  const shift = length - 96;
  const top = shift >= 0 ? mantissa >> BigInt(shift) : mantissa << BigInt(-shift);
  const sticky = exact && (shift <= 0 || top << BigInt(shift) === mantissa) ? 0n : 1n;
  const rest = Number((top & 0xffffffffn) | sticky);
  setFinite(value, sign, length - 1 - point, Number(top >> 64n), Number((top >> 32n) & 0xffffffffn), rest);
}

/** x at POINT fraction bits, cut off. */
function atPoint({ mantissa, point }: Fixed): bigint {
  return point >= POINT ? mantissa >> BigInt(point - POINT) : mantissa << BigInt(POINT - point);
}

/** x times a factor at POINT fraction bits: keeps x's relative precision however small x is. */
function times({ mantissa, point }: Fixed, factor: bigint): Fixed {
  return { mantissa: mantissa * factor, point: point + POINT };
}

/** A quotient of at least POINT significant bits. */
export function quotient(a: Fixed, b: Fixed): Fixed {
  const extra = Math.max(0, POINT + bitLength(b.mantissa) - bitLength(a.mantissa) + 1);
  return { mantissa: (a.mantissa << BigInt(extra)) / b.mantissa, point: a.point + extra - b.point };
}

export function product(a: Fixed, b: Fixed): Fixed {
  return { mantissa: a.mantissa * b.mantissa, point: a.point + b.point };
}

/** atan(1/n) or, with `alternate` false, atanh(1/n), at `bits` fraction bits: for the constants. */
function inverseTangent(n: bigint, alternate: boolean, bits: bigint): bigint {
  let power = (1n << bits) / n;
  let sum = 0n;
  for (let k = 1n; power !== 0n; k += 2n) {
    const term = power / k;
    sum += alternate && (k & 2n) !== 0n ? -term : term;
    power /= n * n;
  }
  return sum;
}

/** Pi (Machin) and ln 2, with some bits to spare for the series' own truncation. */
const SPARE = 32n;
const PI = (4n * (4n * inverseTangent(5n, true, BITS + SPARE) - inverseTangent(239n, true, BITS + SPARE))) >> SPARE;
const LN2 = (2n * inverseTangent(3n, false, BITS + SPARE)) >> SPARE;
export const pi: Fixed = { mantissa: PI, point: POINT };

/** A multiple of 2^-k of pi, as FPATAN and others need for their special cases. */
export const piTimes = (numerator: bigint, k: number): Fixed => ({ mantissa: PI * numerator, point: POINT + k });

/** e^x - 1 for |x| below 1, as x * (1 + x/2 + x^2/6 + ...). `negative` is x's sign; the result has it too. */
function exponentialMinusOne(x: Fixed, negative: boolean): Fixed {
  const step = negative ? -atPoint(x) : atPoint(x);
  let term = ONE;
  let sum = ONE;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = ((term * step) >> BITS) / k;
    sum += term;
  }
  return times(x, sum);
}

/** 2^x - 1 for |x| at most 1. */
export function powerMinusOne(x: Fixed, negative: boolean): Fixed {
  return exponentialMinusOne(times(x, LN2), negative);
}

/**
 * ln((1 + s) / (1 - s)) = 2 atanh(s), as 2 s (1 + s^2/3 + s^4/5 + ...), for |s| at most 0.2.
 */
function logarithmOf(s: Fixed): Fixed {
  const t = atPoint(s);
  const square = (t * t) >> BITS;
  let power = ONE;
  let sum = 0n;
  for (let k = 1n; power !== 0n; k += 2n) {
    sum += power / k;
    power = (power * square) >> BITS;
  }
  return times(s, 2n * sum);
}

/** A number with its sign apart. */
export interface Signed extends Fixed {
  negative: boolean;
}

/** log2(x) for x > 0 that is no power of two. */
export function logarithm(x: Fixed): Signed {
  let exponent = bitLength(x.mantissa) - 1 - x.point;
  let m: Fixed = { mantissa: x.mantissa, point: x.point + exponent };
  // m in [1, 2); bring it to [0.75, 1.5), where the logarithm is small and near 0 keeps its precision.
  if (2n * m.mantissa >= 3n << BigInt(m.point)) {
    exponent++;
    m = { mantissa: m.mantissa, point: m.point + 1 };
  }
  const one = 1n << BigInt(m.point);
  const negative = m.mantissa < one;
  const distance = negative ? one - m.mantissa : m.mantissa - one;
  if (distance === 0n) return whole(exponent);
  const ln = logarithmOf(
    quotient({ mantissa: distance, point: m.point }, { mantissa: m.mantissa + one, point: m.point }),
  );
  const part = quotient(ln, { mantissa: LN2, point: POINT });
  if (exponent === 0) return { ...part, negative };
  const fraction = atPoint(part);
  const sum = (BigInt(exponent) << BITS) + (negative ? -fraction : fraction);
  return { mantissa: sum < 0n ? -sum : sum, point: POINT, negative: sum < 0n };
}

function whole(number: number): Signed {
  return { mantissa: BigInt(Math.abs(number)), point: 0, negative: number < 0 };
}

/** log2(1 + x) for small x of either sign, 1 + x > 0. */
export function logarithmPlusOne(x: Fixed, negative: boolean): Signed {
  // ln(1 + x) = 2 atanh(x / (2 + x)). A tiny x leaves 2 + x at 2 but for bits far below the result's.
  if (x.point > 2 * POINT + bitLength(x.mantissa)) {
    const part = quotient(x, { mantissa: LN2, point: POINT });
    // log2(1 + x) is below x / ln 2: one unit down makes the sticky bit tell so.
    return { mantissa: negative ? part.mantissa : part.mantissa - 1n, point: part.point, negative };
  }
  const point = Math.max(x.point, 0);
  const mantissa = x.mantissa << BigInt(point - x.point);
  const two = 2n << BigInt(point);
  const s = quotient({ mantissa, point }, { mantissa: negative ? two - mantissa : two + mantissa, point });
  return { ...quotient(logarithmOf(s), { mantissa: LN2, point: POINT }), negative };
}

/** Fraction bits kept while an argument is reduced: the nearest that any comes to a multiple of pi/2 is about 2^-68. */
const REDUCTION = 2 * POINT;
/**
 * The processor's pi has 66 significant bits and no more: its results for large arguments are those of that number, not
 * of pi (SDM 1, 8.3.8).
 */
const PI_66 = (0x3243f6a8885a308d3n << BigInt(REDUCTION)) >> 64n;

/** x reduced to within pi/4 of a multiple of pi/2, and which multiple that was, modulo 4. */
export function reduceAngle(x: Fixed): Signed & { quadrant: number } {
  if (x.point > REDUCTION) return { ...x, negative: false, quadrant: 0 };
  const scaled = x.mantissa << BigInt(REDUCTION - x.point);
  const half = PI_66 >> 1n;
  const turns = (scaled + (half >> 1n)) / half;
  const rest = scaled - turns * half;
  return {
    mantissa: rest < 0n ? -rest : rest,
    point: REDUCTION,
    negative: rest < 0n,
    quadrant: Number(turns & 3n),
  };
}

/** sin(x) for |x| at most pi/4, as x (1 - x^2/6 + ...). */
export function sineOfReduced(x: Fixed): Fixed {
  return times(x, alternating(x, 1n));
}

/** cos(x) for |x| at most pi/4. */
export function cosineOfReduced(x: Fixed): Fixed {
  return { mantissa: alternating(x, 0n), point: POINT };
}

/** The sum of (-1)^n x^2n / ((first + 1) ... (first + 2n)). */
function alternating(x: Fixed, first: bigint): bigint {
  const t = atPoint(x);
  const square = (t * t) >> BITS;
  let term = ONE;
  let sum = 0n;
  for (let k = first + 1n; term !== 0n && term !== -1n; k += 2n) {
    sum += term;
    term = -((term * square) >> BITS) / (k * (k + 1n));
  }
  // A tiny angle leaves the sum at 1 where the truth is just below.
  return sum === ONE ? ONE - 1n : sum;
}

/** atan(z) for z at POINT, at most 1/16 or so, divided by z. */
function arctangentSeries(z: bigint): bigint {
  const square = (z * z) >> BITS;
  let power = ONE;
  let sum = 0n;
  for (let k = 1n; power !== 0n && power !== -1n; k += 2n) {
    sum += power / k;
    power = -((power * square) >> BITS);
  }
  return sum === ONE ? ONE - 1n : sum;
}

/** atan(n/16), made when first asked for. */
const arctangents: (bigint | undefined)[] = [0n];
function arctangentOfSixteenths(n: number): bigint {
  // atan(n/16) = atan((n-1)/16) + atan(16 / (256 + n (n - 1)))
  return (arctangents[n] ??= arctangentOfSixteenths(n - 1) + arctangentOf((16n << BITS) / BigInt(256 + n * (n - 1))));
}
function arctangentOf(z: bigint): bigint {
  return (z * arctangentSeries(z)) >> BITS;
}

/** atan(y/x) for positive y <= x. */
export function arctangent(y: Fixed, x: Fixed): Fixed {
  const ratio = quotient(y, x);
  const z = atPoint(ratio);
  const n = Number((z * 16n + (ONE >> 1n)) >> BITS);
  if (n === 0) return times(ratio, arctangentSeries(z));
  // atan(z) = atan(c) + atan((z - c) / (1 + z c)) with c = n/16
  const c = (BigInt(n) << BITS) / 16n;
  const difference = z - c;
  const turned = ((difference < 0n ? -difference : difference) << BITS) / (ONE + ((z * c) >> BITS));
  const part = arctangentOf(turned);
  return { mantissa: arctangentOfSixteenths(n) + (difference < 0n ? -part : part), point: POINT };
}

/** pi / 2^halvings minus or plus x, for an angle x that is smaller. */
export function turn(halvings: number, x: Fixed, add: boolean): Fixed {
  // However small x is, it makes a difference: one unit.
  const small = atPoint(x) || 1n;
  const base = PI >> BigInt(halvings);
  return { mantissa: add ? base + small : base - small, point: POINT };
}
