/** Rounding: of a result to a format's precision and range (SDM 1, 4.8.4 and 4.9.1), and to whole numbers. */
import { DOWN, type Environment, IE, OE, PE, TO_NEAREST, UE, UP } from './environment.ts';
import { normalize, shiftRight } from './significand.ts';
import { FINITE, setFinite, setInfinity, setZero, type Value, ZERO } from './value.ts';

/** Precision in bits and the exponents of the largest and the smallest normal number. */
export interface Format {
  readonly precision: number;
  readonly minExponent: number;
  readonly maxExponent: number;
}

export const FLOAT16: Format = { precision: 11, minExponent: -14, maxExponent: 15 };
export const FLOAT32: Format = { precision: 24, minExponent: -126, maxExponent: 127 };
export const FLOAT64: Format = { precision: 53, minExponent: -1022, maxExponent: 1023 };
export const FLOATX80: Format = { precision: 64, minExponent: -16382, maxExponent: 16383 };
/** What the x87's precision control makes of a register: less precision, the same range (SDM 1, 8.1.5.2). */
export const FLOATX80_53: Format = { ...FLOATX80, precision: 53 };
export const FLOATX80_24: Format = { ...FLOATX80, precision: 24 };

/** By how much an unmasked overflow or underflow shifts the exponent of a register result (SDM 1, 8.5.4, 8.5.5). */
const WRAP = 24576;

/** True where the fraction `rest` below a magnitude (odd or even in its last place) rounds away from zero. */
function roundsAway(rounding: number, sign: 0 | 1, odd: number, rest: number): boolean {
  if (rest === 0) return false;
  if (rounding === TO_NEAREST) return rest > 0x80000000 || (rest === 0x80000000 && odd !== 0);
  return rounding === (sign ? DOWN : UP);
}

/**
 * Rounds away the lowest `shift` bits of the 64-bit significand (and rest), leaving the value normalised or zero.
 * Raises nothing; returns whether bits were lost, and tells environment.roundedUp.
 */
function roundAt(value: Value, shift: number, environment: Environment): boolean {
  shiftRight(value, shift);
  const { rest } = value;
  value.rest = 0;
  // The last place left is now bit 0 of low, worth 2^(exponent + shift - 63).
  value.exponent += shift;
  environment.roundedUp = roundsAway(environment.rounding, value.sign, value.low & 1, rest);
  if (environment.roundedUp) {
    value.low = (value.low + 1) >>> 0;
    if (value.low === 0) {
      value.high = (value.high + 1) >>> 0;
      if (value.high === 0) {
        value.high = 0x80000000;
        value.exponent++;
      }
    }
  }
  normalize(value);
  return rest !== 0;
}

const trial: Value = { kind: FINITE, sign: 0, exponent: 0, high: 0, low: 0, rest: 0, denormal: false };

/** True where the value, rounded as if exponents had no end, is below the smallest normal number ("after rounding"). */
function isTiny(value: Value, format: Format, environment: Environment): boolean {
  if (value.exponent >= format.minExponent) return false;
  if (value.exponent < format.minExponent - 1) return true;
  setFinite(trial, value.sign, value.exponent, value.high, value.low, value.rest);
  roundAt(trial, 64 - format.precision, environment);
  return trial.exponent < format.minExponent;
}

/**
 * Makes of an exact result what the format can hold, and raises overflow, underflow and precision. After an unmasked
 * overflow or underflow the value means nothing, unless the exponent is to be wrapped; where even that is not enough
 * (FSCALE) the result is infinity or zero.
 */
export function round(value: Value, format: Format, environment: Environment): void {
  if (value.kind !== FINITE) return;
  const dropped = 64 - format.precision;
  let inexact: boolean;
  if (isTiny(value, format, environment)) {
    if ((environment.masks & UE) === 0) {
      environment.flags |= UE;
      environment.roundedUp = false;
      if (!environment.wrapExponent) {
        if (roundAt(value, dropped, environment)) environment.flags |= PE;
        return;
      }
      value.exponent += WRAP;
      if (value.exponent < format.minExponent) {
        environment.flags |= PE;
        setZero(value, value.sign);
        return;
      }
      inexact = roundAt(value, dropped, environment);
    } else if (environment.flushToZero) {
      environment.flags |= UE | PE;
      environment.roundedUp = false;
      setZero(value, value.sign);
      return;
    } else {
      inexact = roundAt(value, dropped + format.minExponent - value.exponent, environment);
      if (inexact) environment.flags |= UE;
    }
  } else {
    const denormalized = Math.max(format.minExponent - value.exponent, 0);
    inexact = roundAt(value, dropped + denormalized, environment);
  }
  if (value.kind === FINITE && value.exponent > format.maxExponent) {
    environment.flags |= OE;
    if ((environment.masks & OE) !== 0) {
      inexact = true;
      overflow(value, format, environment);
    } else if (environment.wrapExponent) {
      value.exponent -= WRAP;
      if (value.exponent > format.maxExponent) {
        inexact = environment.roundedUp = true;
        setInfinity(value, value.sign);
      }
    }
  }
  if (inexact) environment.flags |= PE;
}

/** The masked answer to overflow: infinity, or the largest number where rounding goes towards zero. */
function overflow(value: Value, format: Format, environment: Environment): void {
  const { rounding } = environment;
  environment.roundedUp = rounding === TO_NEAREST || rounding === (value.sign ? DOWN : UP);
  if (environment.roundedUp) {
    setInfinity(value, value.sign);
    return;
  }
  const dropped = 64 - format.precision;
  const low = dropped >= 32 ? 0 : (-1 << dropped) >>> 0;
  const high = dropped > 32 ? (-1 << (dropped - 32)) >>> 0 : 0xffffffff;
  setFinite(value, value.sign, format.maxExponent, high, low, 0);
}

/** Rounds to a whole number by the given RC. Raises precision only when asked to. Other kinds stay as they are. */
export function roundToIntegral(
  value: Value,
  rounding: number,
  raisesPrecision: boolean,
  environment: Environment,
): void {
  if (value.kind !== FINITE || value.exponent >= 63) return;
  const { rounding: before } = environment;
  environment.rounding = rounding;
  if (roundAt(value, 63 - value.exponent, environment) && raisesPrecision) environment.flags |= PE;
  environment.rounding = before;
}

/** The last integer made by toInteger: two's complement, 64 bits. */
export const integer = { high: 0, low: 0 };

/**
 * Converts to a signed integer of 16, 32 or 64 bits into `integer`. What does not fit, and what is not a number, raises
 * invalid and gives the integer indefinite, the most negative number (SDM 1, 4.8.3.7). Destroys value.
 */
export function toInteger(value: Value, size: 16 | 32 | 64, rounding: number, environment: Environment): void {
  environment.roundedUp = false;
  const { flags } = environment;
  roundToIntegral(value, rounding, true, environment);
  if (value.kind === ZERO) {
    integer.high = integer.low = 0;
    return;
  }
  const { sign, exponent } = value;
  const fits =
    value.kind === FINITE &&
    (exponent < size - 1 || (exponent === size - 1 && sign === 1 && value.high === 0x80000000 && value.low === 0));
  if (!fits) {
    environment.flags = flags | IE;
    environment.roundedUp = false;
    integer.high = size === 64 ? 0x80000000 : 0xffffffff;
    integer.low = size === 64 ? 0 : size === 32 ? 0x80000000 : 0xffff8000;
    return;
  }
  shiftRight(value, 63 - exponent);
  const { high, low } = value;
  integer.high = sign ? (~high + (low === 0 ? 1 : 0)) >>> 0 : high;
  integer.low = sign ? -low >>> 0 : low;
}

/** Loads a signed integer. */
export function fromInteger(high: number, low: number, value: Value): void {
  const negative = high >>> 31 !== 0;
  const sign = negative ? 1 : 0;
  setFinite(
    value,
    sign,
    63,
    negative ? (~high + (low === 0 ? 1 : 0)) >>> 0 : high >>> 0,
    negative ? -low >>> 0 : low >>> 0,
    0,
  );
  normalize(value);
  if (value.kind === ZERO) value.sign = 0;
}
