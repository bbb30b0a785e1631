/**
 * What one lane of an SSE float instruction does, where SSE differs from the common arithmetic (SDM 2, the
 * instructions' own pages): minimum and maximum, predicates, rounding to whole numbers, conversions between formats.
 * Pure but for the exceptions, which go to the environment.
 */
import { HOLDS_IF_EQUAL, HOLDS_IF_GREATER, HOLDS_IF_LESS, HOLDS_IF_UNORDERED, SIGNALS } from '../float-predicates.ts';
import { compare, EQUAL, GREATER, LESS } from '../softfloat/compare.ts';
import type { Environment } from '../softfloat/environment.ts';
import { answerUnaryNan, raiseDenormal } from '../softfloat/operands.ts';
import { roundToIntegral } from '../softfloat/rounding.ts';
import { copy, type Value } from '../softfloat/value.ts';

/**
 * MINPS and its kin: the second operand unless the first is less. A NaN of either kind is invalid, and comes through.
 */
export function minimum(a: Value, b: Value, out: Value, environment: Environment): void {
  copy(compare(a, b, true, environment) === LESS ? a : b, out);
}

export function maximum(a: Value, b: Value, out: Value, environment: Environment): void {
  copy(compare(a, b, true, environment) === GREATER ? a : b, out);
}

/** CMPPS and its kin, by the number of the predicate. */
export function predicate(a: Value, b: Value, code: number, environment: Environment): boolean {
  const relation = compare(a, b, ((SIGNALS >>> code) & 1) !== 0, environment);
  let holds = HOLDS_IF_UNORDERED;
  if (relation === LESS) holds = HOLDS_IF_LESS;
  else if (relation === EQUAL) holds = HOLDS_IF_EQUAL;
  else if (relation === GREATER) holds = HOLDS_IF_GREATER;
  return ((holds >>> code) & 1) !== 0;
}

/** A format becomes another: rounding follows. */
export function convert(a: Value, out: Value, environment: Environment): void {
  if (answerUnaryNan(a, out, environment)) return;
  raiseDenormal(a, a, environment);
  copy(a, out);
  out.denormal = false;
}

/** ROUNDPS's immediate: RC in bits 0-1, "RC of MXCSR" in bit 2, "no precision exception" in bit 3. */
export function roundLane(a: Value, immediate: number, out: Value, environment: Environment): void {
  if (answerUnaryNan(a, out, environment)) return;
  copy(a, out);
  const rounding = (immediate & 4) !== 0 ? environment.rounding : immediate & 3;
  roundToIntegral(out, rounding, (immediate & 8) === 0, environment);
}
