/**
 * FSIN FCOS FSINCOS FPTAN FPATAN F2XM1 FYL2X FYL2XP1 (SDM 1, 8.3.7 and 8.3.10). Results are correctly rounded by RC;
 * real processors promise no more than one unit in the last place, and differ among each other.
 */
import type { Helper } from '../helper.ts';
import { BEFORE_COMPUTATION, IE, PE, UE, ZE } from '../softfloat/environment.ts';
import * as functions from '../softfloat/functions.ts';
import { answerNan, answerUnaryNan, invalid, raiseDenormal } from '../softfloat/operands.ts';
import { FLOATX80, round } from '../softfloat/rounding.ts';
import { copy, FINITE, INFINITY, setFinite, setInfinity, setZero, Value, ZERO } from '../softfloat/value.ts';
import * as unit from './unit.ts';
import { C2, environment, left, result, right } from './unit.ts';

const { magnitude, assign } = functions;

/** The second result, of those that push one. */
const second = new Value();

/** Angles from here on are out of range: C2 is set and nothing done. */
const RANGE_EXPONENT = 63;

const opposite = (sign: 0 | 1): 0 | 1 => (sign ? 0 : 1);

function setOne(value: Value, sign: 0 | 1): void {
  setFinite(value, sign, 0, 0x80000000, 0, 0);
}

// ── angles ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** sin and cos of a finite angle; each of the two functions of the reduced angle is computed when it is asked for. */
function angle(value: Value): { sine(out: Value): void; cosine(out: Value): void; tangent(out: Value): void } {
  const reduced = functions.reduceAngle(magnitude(value));
  const { quadrant, negative } = reduced;
  const sine = () => functions.sineOfReduced(reduced);
  const cosine = () => functions.cosineOfReduced(reduced);
  const swapped = (quadrant & 1) !== 0;
  // sin(x + q pi/2) is sin, cos, -sin, -cos of x; cos(x + q pi/2) is cos, -sin, -cos, sin.
  const sineSign = (quadrant >= 2 !== (value.sign === 1)) !== (negative && !swapped) ? 1 : 0;
  const cosineSign = (quadrant === 1 || quadrant === 2) !== (negative && swapped) ? 1 : 0;
  return {
    sine: out => assign(out, sineSign, swapped ? cosine() : sine()),
    cosine: out => assign(out, cosineSign, swapped ? sine() : cosine()),
    tangent: out => {
      const [s, c] = swapped ? [cosine(), sine()] : [sine(), cosine()];
      assign(out, sineSign === cosineSign ? 0 : 1, functions.quotient(s, c));
    },
  };
}

function sine(value: Value, out: Value): void {
  if (value.kind === ZERO) setZero(out, value.sign);
  else angle(value).sine(out);
}

function cosine(value: Value, out: Value): void {
  if (value.kind === ZERO) setOne(out, 0);
  else angle(value).cosine(out);
}

/** FPTAN pushes a 1 after its result, for the sake of the 8087's programs. */
function tangentAndOne(value: Value, out: Value, pushed: Value): void {
  if (value.kind === ZERO) setZero(out, value.sign);
  else angle(value).tangent(out);
  setOne(pushed, 0);
}

function sineAndCosine(value: Value, out: Value, pushed: Value): void {
  if (value.kind === ZERO) {
    sine(value, out);
    cosine(value, pushed);
    return;
  }
  const both = angle(value);
  both.sine(out);
  both.cosine(pushed);
}

type OfAngle = (value: Value, out: Value, pushed: Value) => void;

/** A function of the angle in ST(0); `pushes` when it has a second result. */
function ofAngle(compute: OfAngle, pushes: boolean): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    const outOfRange = replaceAngle(view, compute, pushes);
    unit.finish(view);
    unit.setConditions(view, C2, outOfRange ? C2 : 0);
  };
}

/** Returns true, having done nothing, for an angle out of range. */
function replaceAngle(view: DataView, compute: OfAngle, pushes: boolean): boolean {
  unit.loadRegister(view, 0, left);
  let ordinary = false;
  if (unit.isEmpty(view, 0)) unit.stackUnderflow();
  else if (pushes && !unit.isEmpty(view, -1)) unit.stackOverflow();
  else if (!answerUnaryNan(left, result, environment)) {
    if (left.kind === FINITE && left.exponent >= RANGE_EXPONENT) return true;
    if (left.kind === INFINITY) invalid(result, environment);
    else {
      raiseDenormal(left, left, environment);
      ordinary = true;
    }
  }
  if (unit.isUnmasked()) return false;
  if (ordinary) {
    compute(left, result, second);
    round(result, FLOATX80, environment);
    // C1 tells of the first result.
    const { roundedUp } = environment;
    if (pushes) round(second, FLOATX80, environment);
    environment.roundedUp = roundedUp;
  } else copy(result, second);
  unit.storeRegister(view, 0, result);
  if (pushes) pushSecond(view);
  return false;
}

function pushSecond(view: DataView): void {
  unit.push(view);
  unit.storeRegister(view, 0, second);
}

/** FPATAN: the angle of the point (x, y), y in ST(1), x in ST(0) (SDM 2A, table 3-30). */
function arctangent(y: Value, x: Value, out: Value): void {
  const { sign } = y;
  if (y.kind === ZERO || x.kind === INFINITY) {
    if (y.kind === INFINITY) assign(out, sign, functions.piTimes(x.sign ? 3n : 1n, 2));
    else if (x.sign) assign(out, sign, functions.pi);
    else setZero(out, sign);
    return;
  }
  if (x.kind === ZERO || y.kind === INFINITY) {
    assign(out, sign, functions.piTimes(1n, 1));
    return;
  }
  const a = magnitude(y);
  const b = magnitude(x);
  const distance = y.exponent - x.exponent;
  const steep = distance > 0 || (distance === 0 && (y.high > x.high || (y.high === x.high && y.low > x.low)));
  if (!steep) {
    const flat = functions.arctangent(a, b);
    assign(out, sign, x.sign ? functions.turn(0, flat, false) : flat);
  } else assign(out, sign, functions.turn(1, functions.arctangent(b, a), x.sign === 1));
}

// ── powers and logarithms ───────────────────────────────────────────────────────────────────────────────────────────

/** F2XM1. Its operand should lie between -1 and 1; beyond, where results are undefined, it comes back unchanged. */
const powerMinusOne: Helper = cpu => {
  const { view } = cpu;
  unit.begin(cpu);
  unit.loadRegister(view, 0, left);
  if (unit.isEmpty(view, 0)) unit.stackUnderflow();
  else if (!answerUnaryNan(left, result, environment)) {
    raiseDenormal(left, left, environment);
    copy(left, result);
    if (left.kind === INFINITY) {
      if (left.sign) setOne(result, 1);
    } else if (left.kind === FINITE && !unit.isUnmasked()) {
      if (left.exponent < 0) assign(result, left.sign, functions.powerMinusOne(magnitude(left), left.sign === 1));
      else if (left.sign && left.exponent === 0 && left.high === 0x80000000 && left.low === 0) result.exponent = -1;
      environment.flags |= PE;
      round(result, FLOATX80, environment);
    }
  }
  if ((environment.flags & ~environment.masks & BEFORE_COMPUTATION) === 0) unit.storeRegister(view, 0, result);
  unit.finish(view);
};

/** y times a logarithm that is not zero. */
function multiplyLogarithm(y: Value, logarithm: functions.Signed, exact: boolean, out: Value): void {
  const sign = logarithm.negative ? opposite(y.sign) : y.sign;
  assign(out, sign, functions.product(magnitude(y), logarithm), exact);
}

/** y times an infinite logarithm. */
function multiplyInfinity(y: Value, sign: 0 | 1, out: Value): void {
  if (y.kind === ZERO) invalid(out, environment);
  else setInfinity(out, y.sign === sign ? 0 : 1);
}

/** y times a logarithm where one of them is zero or y infinite; `relation`: the logarithm's sign, or 0. */
function multiplySpecial(y: Value, relation: -1 | 0 | 1, logarithmSign: 0 | 1, out: Value): void {
  if (y.kind === INFINITY) {
    if (relation === 0) invalid(out, environment);
    else setInfinity(out, y.sign === logarithmSign ? 0 : 1);
  } else setZero(out, y.sign === logarithmSign ? 0 : 1);
}

/** FYL2X: ST(1) times log2 of ST(0) (SDM 2A, table 3-47). */
function timesLogarithm(y: Value, x: Value, out: Value): void {
  if (x.kind === ZERO) {
    if (y.kind === FINITE) environment.flags |= ZE;
    multiplyInfinity(y, 1, out);
    return;
  }
  if (x.sign) {
    invalid(out, environment);
    return;
  }
  if (x.kind === INFINITY) {
    multiplyInfinity(y, 0, out);
    raiseDenormalUnlessInvalid(y, x);
    return;
  }
  const powerOfTwo = x.high === 0x80000000 && x.low === 0;
  const one = powerOfTwo && x.exponent === 0;
  if (y.kind !== FINITE || one) {
    const below = x.exponent < 0;
    multiplySpecial(y, one ? 0 : below ? -1 : 1, below ? 1 : 0, out);
    raiseDenormalUnlessInvalid(y, x);
    return;
  }
  raiseDenormal(y, x, environment);
  // An exact result counts as inexact too: processors do not look.
  if (!unit.isUnmasked()) environment.flags |= PE;
  multiplyLogarithm(y, functions.logarithm(magnitude(x)), powerOfTwo, out);
}

/** FYL2XP1: ST(1) times log2 of 1 + ST(0) (SDM 2A, table 3-48). */
function timesLogarithmPlusOne(y: Value, x: Value, out: Value): void {
  if (x.kind === INFINITY) {
    if (x.sign) invalid(out, environment);
    else multiplyInfinity(y, 0, out);
    raiseDenormalUnlessInvalid(y, x);
    return;
  }
  if (y.kind !== FINITE || x.kind === ZERO) {
    multiplySpecial(y, x.kind === ZERO ? 0 : x.sign ? -1 : 1, x.sign, out);
    raiseDenormalUnlessInvalid(y, x);
    return;
  }
  raiseDenormal(y, x, environment);
  if (x.sign && x.exponent >= 0) {
    copy(x, out); // at or beyond -1: undefined
    if (!unit.isUnmasked()) environment.flags |= PE;
    return;
  }
  if (x.exponent < -1) multiplyLogarithm(y, functions.logarithmPlusOne(magnitude(x), x.sign === 1), false, out);
  else {
    const { mantissa, point } = magnitude(x);
    const shift = BigInt(Math.max(point, 0));
    const sum = (1n << shift) + (x.sign ? -mantissa : mantissa << (shift - BigInt(point)));
    const powerOfTwo = (sum & (sum - 1n)) === 0n;
    if (powerOfTwo && !unit.isUnmasked()) environment.flags |= PE;
    multiplyLogarithm(y, functions.logarithm({ mantissa: sum, point: Number(shift) }), powerOfTwo, out);
  }
}

function raiseDenormalUnlessInvalid(a: Value, b: Value): void {
  if ((environment.flags & IE) === 0) raiseDenormal(a, b, environment);
}

/** A function of ST(1), in left, and ST(0), in right, that replaces both. */
function ofTwo(compute: (first: Value, second: Value, out: Value) => void): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    if (unit.isEmpty(view, 0) || unit.isEmpty(view, 1)) unit.stackUnderflow();
    else {
      unit.loadRegister(view, 1, left);
      unit.loadRegister(view, 0, right);
      if (!answerNan(left, right, result, environment)) compute(left, right, result);
    }
    if ((environment.flags & ~environment.masks & BEFORE_COMPUTATION) === 0) {
      round(result, FLOATX80, environment);
      // What counts as inexact and is tiny has underflowed.
      const tiny = result.kind === FINITE && result.exponent < FLOATX80.minExponent;
      if (tiny && (environment.flags & PE) !== 0) environment.flags |= UE;
      unit.storeRegister(view, 1, result);
      unit.pop(view);
    }
    unit.finish(view);
  };
}

export const transcendentalHelpers: Record<string, Helper> = {
  fsin: ofAngle(sine, false),
  fcos: ofAngle(cosine, false),
  fsincos: ofAngle(sineAndCosine, true),
  fptan: ofAngle(tangentAndOne, true),
  fpatan: ofTwo((y, x, out) => {
    raiseDenormal(y, x, environment);
    arctangent(y, x, out);
  }),
  f2xm1: powerMinusOne,
  fyl2x: ofTwo(timesLogarithm),
  fyl2xp1: ofTwo(timesLogarithmPlusOne),
};
