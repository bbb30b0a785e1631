/** FPREM and FPREM1: a remainder by long division, at most 63 bits of quotient an instruction (SDM 2A, FPREM). */
import type { Helper } from '../helper.ts';
import { answerNan, invalid, raiseDenormal } from '../softfloat/operands.ts';
import { FLOATX80, round } from '../softfloat/rounding.ts';
import { normalize } from '../softfloat/significand.ts';
import { copy, INFINITY, setFinite, ZERO } from '../softfloat/value.ts';
import * as unit from './unit.ts';
import { C0, C1, C2, C3, CONDITIONS, environment, left, result, right } from './unit.ts';

const TWO_32 = 0x100000000;

/** The running remainder, which may need 65 bits while it is being doubled, and the low bits of the quotient. */
let high = 0;
let low = 0;
let quotient = 0;
/** There was a quotient at all. */
let reduced = false;

/** Whether the running remainder is at least right's significand. */
function reaches(): boolean {
  return high > right.high || (high === right.high && low >= right.low);
}

function subtract(): void {
  low -= right.low;
  high -= right.high;
  if (low < 0) {
    low += TWO_32;
    high--;
  }
}

function double(): void {
  high = high * 2 + (low >= 0x80000000 ? 1 : 0);
  low = (low << 1) >>> 0;
}

/** `steps` + 1 bits of the quotient; the remainder is left in scale with right. */
function divide(steps: number): void {
  quotient = 0;
  for (let i = 0; ; i++) {
    quotient <<= 1;
    if (reaches()) {
      subtract();
      quotient |= 1;
    }
    if (i === steps) return;
    double();
  }
}

/** Puts the remainder into result; `exponent` is its scale. Returns the condition bits. */
function reduce(nearest: boolean): number {
  if (answerNan(left, right, result, environment)) return 0;
  if (left.kind === INFINITY || right.kind === ZERO) {
    invalid(result, environment);
    return 0;
  }
  raiseDenormal(left, right, environment);
  if (unit.isUnmasked()) return 0;
  reduced = true;
  copy(left, result);
  if (left.kind === ZERO || right.kind === INFINITY) return 0;
  const distance = left.exponent - right.exponent;
  if (distance < (nearest ? -1 : 0)) return 0;
  high = left.high;
  low = left.low;
  let { sign } = left;
  if (distance >= 64) {
    // Partial: take so many bits that what is left is still a multiple away from the end.
    const steps = partialSteps(distance);
    divide(steps);
    setFinite(result, sign, left.exponent - steps, high, low, 0);
    normalize(result);
    return C2;
  }
  if (distance === -1) {
    // left is below right, but may be above half of it: quotient 0, remainder left, in right's scale one place down.
    quotient = 0;
    const above = left.high > right.high || (left.high === right.high && left.low > right.low);
    if (!above) return 0;
    // |left| = m/2 in right's scale with m > divisor: left - right = (m - 2 divisor)/2, whose magnitude is 2 divisor -
    // m.
    quotient = 1;
    sign = sign ? 0 : 1;
    let restLow = right.low * 2 - low;
    let restHigh = right.high * 2 - high;
    if (restLow < 0) {
      restLow += TWO_32;
      restHigh--;
    } else if (restLow >= TWO_32) {
      restLow -= TWO_32;
      restHigh++;
    }
    setFinite(result, sign, left.exponent, restHigh, restLow, 0);
    normalize(result);
  } else {
    divide(distance);
    if (nearest && roundsUp()) {
      quotient++;
      sign = sign ? 0 : 1;
      // divisor - remainder
      low = right.low - low;
      high = right.high - high;
      if (low < 0) {
        low += TWO_32;
        high--;
      }
    }
    setFinite(result, sign, right.exponent, high, low, 0);
    if (high === 0 && low === 0) result.sign = left.sign;
    normalize(result);
  }
  return (quotient & 4 ? C0 : 0) | (quotient & 2 ? C3 : 0) | (quotient & 1 ? C1 : 0);
}

/** Twice the remainder against the divisor: above, or equal with an odd quotient. */
function roundsUp(): boolean {
  const twiceHigh = high * 2 + (low >= 0x80000000 ? 1 : 0);
  const twiceLow = (low << 1) >>> 0;
  if (twiceHigh !== right.high) return twiceHigh > right.high;
  if (twiceLow !== right.low) return twiceLow > right.low;
  return (quotient & 1) !== 0;
}

/**
 * How many doublings a partial remainder makes: between 32 and 63, the distance modulo 32 (as AMD's and Intel's do).
 */
function partialSteps(distance: number): number {
  return 32 + (distance % 32);
}

function remainder(nearest: boolean): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    reduced = false;
    let conditions = 0;
    if (unit.isEmpty(view, 0) || unit.isEmpty(view, 1)) unit.stackUnderflow();
    else {
      unit.loadRegister(view, 0, left);
      unit.loadRegister(view, 1, right);
      conditions = reduce(nearest);
    }
    if (!unit.isUnmasked()) {
      round(result, FLOATX80, environment);
      unit.storeRegister(view, 0, result);
    }
    unit.finish(view);
    // What is not a number says nothing about a quotient: C0 and C3 stay.
    unit.setConditions(view, reduced ? CONDITIONS : C1 | C2, conditions);
  };
}

export const remainderHelpers: Record<string, Helper> = { fprem: remainder(false), fprem1: remainder(true) };
