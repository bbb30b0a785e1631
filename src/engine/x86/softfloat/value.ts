/**
 * A floating-point number taken apart, the one form in which the soft-float computes, whatever format it came from (SDM
 * 1, 4.8): a significand of 64 bits, normalised, and 32 bits more below it while a result is not rounded yet.
 */

/** What a value is. From QUIET on it is not a number. */
export const ZERO = 0;
export const FINITE = 1;
export const INFINITY = 2;
export const QUIET = 3;
export const SIGNALLING = 4;
/** An 80-bit encoding that no processor since the 387 accepts: unnormal, pseudo-infinity, pseudo-NaN (SDM 1, 8.2.2). */
export const UNSUPPORTED = 5;
export type Kind = 0 | 1 | 2 | 3 | 4 | 5;

/**
 * Where kind is FINITE, it stands for (-1)^sign * (high * 2^32 + low + rest / 2^32) / 2^63 * 2^exponent, with bit 31 of
 * high set. Bit 0 of rest is sticky: set when anything further down was not zero. A NaN carries its significand
 * left-aligned in high and low, as the 80-bit format has it, integer bit included.
 */
export class Value {
  kind: Kind = ZERO;
  sign: 0 | 1 = 0;
  exponent = 0;
  high = 0;
  low = 0;
  rest = 0;
  /** It was loaded from a denormal (or pseudo-denormal) encoding. */
  denormal = false;
}

export function setZero(value: Value, sign: 0 | 1): void {
  value.kind = ZERO;
  value.sign = sign;
  value.exponent = value.high = value.low = value.rest = 0;
  value.denormal = false;
}

export function setInfinity(value: Value, sign: 0 | 1): void {
  value.kind = INFINITY;
  value.sign = sign;
  value.exponent = value.low = value.rest = 0;
  value.high = 0x80000000;
  value.denormal = false;
}

/** The quiet NaN that answers an invalid operation: "real indefinite" (SDM 1, 4.8.3.7). */
export function setIndefinite(value: Value): void {
  value.kind = QUIET;
  value.sign = 1;
  value.exponent = value.low = value.rest = 0;
  value.high = 0xc0000000;
  value.denormal = false;
}

/** A finite value of the given parts; the significand must be normalised. */
export function setFinite(value: Value, sign: 0 | 1, exponent: number, high: number, low: number, rest: number): void {
  value.kind = FINITE;
  value.sign = sign;
  value.exponent = exponent;
  value.high = high;
  value.low = low;
  value.rest = rest;
  value.denormal = false;
}

export function copy(from: Value, to: Value): void {
  to.kind = from.kind;
  to.sign = from.sign;
  to.exponent = from.exponent;
  to.high = from.high;
  to.low = from.low;
  to.rest = from.rest;
  to.denormal = from.denormal;
}
