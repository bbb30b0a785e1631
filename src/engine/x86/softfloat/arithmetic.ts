/**
 * Add, subtract, multiply, divide, square root, scale. Each puts the exact result (a sticky bit standing for what 96
 * bits cannot hold) into out, which must be neither operand; `round` then makes it fit. Between the two the caller
 * looks whether an exception found so far is unmasked: then there is no result.
 */
import { DOWN, type Environment, ZE } from './environment.ts';
import { answerNan, answerUnaryNan, invalid, raiseDenormal } from './operands.ts';
import {
  compareSignificands,
  divideSignificands,
  multiplySignificands,
  normalize,
  shiftRight,
  squareRootSignificand,
} from './significand.ts';
import { copy, FINITE, INFINITY, setFinite, setInfinity, setZero, Value, ZERO } from './value.ts';

const TWO_32 = 0x100000000;

export type Binary = (a: Value, b: Value, out: Value, environment: Environment) => void;
export type Unary = (a: Value, out: Value, environment: Environment) => void;

export const add: Binary = (a, b, out, environment) => addSigned(a, b, b.sign, out, environment);
export const subtract: Binary = (a, b, out, environment) => addSigned(a, b, b.sign ? 0 : 1, out, environment);

/** Work copy of the operand with the smaller magnitude. */
const aligned = new Value();

function addSigned(a: Value, b: Value, bSign: 0 | 1, out: Value, environment: Environment): void {
  if (answerNan(a, b, out, environment)) return;
  if (a.kind === INFINITY || b.kind === INFINITY) {
    if (a.kind === b.kind && a.sign !== bSign) {
      invalid(out, environment);
      return;
    }
    raiseDenormal(a, b, environment);
    setInfinity(out, a.kind === INFINITY ? a.sign : bSign);
    return;
  }
  raiseDenormal(a, b, environment);
  if (b.kind === ZERO) {
    copy(a, out);
    out.denormal = false;
    if (a.kind === ZERO && a.sign !== bSign) out.sign = environment.rounding === DOWN ? 1 : 0;
    return;
  }
  if (a.kind === ZERO) {
    copy(b, out);
    out.denormal = false;
    out.sign = bSign;
    return;
  }
  const order = a.exponent !== b.exponent ? a.exponent - b.exponent : compareSignificands(a, b);
  if (order === 0 && a.sign !== bSign) {
    setZero(out, environment.rounding === DOWN ? 1 : 0);
    return;
  }
  const large = order >= 0 ? a : b;
  const small = order >= 0 ? b : a;
  setFinite(out, order >= 0 ? a.sign : bSign, large.exponent, large.high, large.low, 0);
  copy(small, aligned);
  shiftRight(aligned, large.exponent - small.exponent);
  if (a.sign === bSign) addMagnitude(out, aligned);
  else subtractMagnitude(out, aligned);
}

function addMagnitude(out: Value, small: Value): void {
  // large has nothing in rest
  out.rest = small.rest;
  const low = out.low + small.low;
  out.low = low >>> 0;
  const high = out.high + small.high + (low >= TWO_32 ? 1 : 0);
  out.high = high >>> 0;
  if (high >= TWO_32) {
    shiftRight(out, 1);
    out.high = (out.high | 0x80000000) >>> 0;
    out.exponent++;
  }
}

function subtractMagnitude(out: Value, small: Value): void {
  const borrow0 = small.rest !== 0 ? 1 : 0;
  out.rest = -small.rest >>> 0;
  const low = out.low - small.low - borrow0;
  out.low = low >>> 0;
  out.high = out.high - small.high - (low < 0 ? 1 : 0);
  normalize(out);
}

export const multiply: Binary = (a, b, out, environment) => {
  if (answerNan(a, b, out, environment)) return;
  const sign = a.sign === b.sign ? 0 : 1;
  if (a.kind === INFINITY || b.kind === INFINITY) {
    if (a.kind === ZERO || b.kind === ZERO) {
      invalid(out, environment);
      return;
    }
    raiseDenormal(a, b, environment);
    setInfinity(out, sign);
    return;
  }
  raiseDenormal(a, b, environment);
  if (a.kind === ZERO || b.kind === ZERO) {
    setZero(out, sign);
    return;
  }
  setFinite(out, sign, a.exponent + b.exponent + 1, 0, 0, 0);
  multiplySignificands(a, b, out);
  normalize(out);
};

export const divide: Binary = (a, b, out, environment) => {
  if (answerNan(a, b, out, environment)) return;
  const sign = a.sign === b.sign ? 0 : 1;
  if (a.kind === b.kind && a.kind !== FINITE) {
    invalid(out, environment); // 0/0, inf/inf
    return;
  }
  if (b.kind === ZERO && a.kind === FINITE) {
    environment.flags |= ZE;
    setInfinity(out, sign);
    return;
  }
  raiseDenormal(a, b, environment);
  if (a.kind === INFINITY || b.kind === ZERO) setInfinity(out, sign);
  else if (a.kind === ZERO || b.kind === INFINITY) setZero(out, sign);
  else {
    setFinite(out, sign, a.exponent - b.exponent, 0, 0, 0);
    divideSignificands(a, b, out);
  }
};

/** The operation with its operands exchanged: FSUBR, FDIVR. */
export const subtractReversed: Binary = (a, b, out, environment) => subtract(b, a, out, environment);
export const divideReversed: Binary = (a, b, out, environment) => divide(b, a, out, environment);

export const squareRoot: Unary = (a, out, environment) => {
  if (answerUnaryNan(a, out, environment)) return;
  if (a.kind === ZERO) {
    setZero(out, a.sign);
    return;
  }
  if (a.sign === 1) {
    invalid(out, environment);
    return;
  }
  raiseDenormal(a, a, environment);
  if (a.kind === INFINITY) {
    setInfinity(out, 0);
    return;
  }
  const odd = (a.exponent & 1) !== 0;
  setFinite(out, 0, (a.exponent - (odd ? 1 : 0)) / 2, 0, 0, 0);
  squareRootSignificand(a, odd, out);
};
