/** Comparison: quiet (only a signalling NaN is invalid) and signalling (every NaN is). */
import { type Environment, IE } from './environment.ts';
import { raiseDenormal } from './operands.ts';
import { compareSignificands } from './significand.ts';
import { INFINITY, QUIET, type Value, ZERO } from './value.ts';

export const LESS = -1;
export const EQUAL = 0;
export const GREATER = 1;
export const UNORDERED = 2;
export type Relation = -1 | 0 | 1 | 2;

/** The relation of a to b; raises invalid and denormal. */
export function compare(a: Value, b: Value, signalling: boolean, environment: Environment): Relation {
  if (a.kind >= QUIET || b.kind >= QUIET) {
    if (signalling || a.kind > QUIET || b.kind > QUIET) environment.flags |= IE;
    return UNORDERED;
  }
  raiseDenormal(a, b, environment);
  return order(a, b);
}

/** The order of two values that are numbers; the two zeros are equal. */
export function order(a: Value, b: Value): -1 | 0 | 1 {
  if (a.kind === ZERO && b.kind === ZERO) return EQUAL;
  if (a.kind === ZERO) return b.sign ? GREATER : LESS;
  if (b.kind === ZERO || a.sign !== b.sign) return a.sign ? LESS : GREATER;
  const magnitude = orderMagnitude(a, b);
  if (magnitude === 0) return EQUAL;
  return magnitude > 0 === (a.sign === 0) ? GREATER : LESS;
}

function orderMagnitude(a: Value, b: Value): number {
  if (a.kind === INFINITY || b.kind === INFINITY) return (a.kind === INFINITY ? 1 : 0) - (b.kind === INFINITY ? 1 : 0);
  return a.exponent !== b.exponent ? a.exponent - b.exponent : compareSignificands(a, b);
}
