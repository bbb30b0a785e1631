/**
 * What one lane of an SSE float instruction does, where SSE differs from the common arithmetic (SDM 2, the
 * instructions' own pages): minimum and maximum, predicates, rounding to whole numbers, conversions between formats.
 * Pure but for the exceptions, which go to the environment.
 */
import { compare, EQUAL, GREATER, LESS, UNORDERED } from '../softfloat/compare.ts';
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

/** CMPPS's eight predicates: EQ LT LE UNORD NEQ NLT NLE ORD (SDM 2A, table 3-1). LT, LE and their opposites signal. */
export function predicate(a: Value, b: Value, code: number, environment: Environment): boolean {
  const kind = code & 3;
  const relation = compare(a, b, kind === 1 || kind === 2, environment);
  let holds: boolean;
  if (kind === 0) holds = relation === EQUAL;
  else if (kind === 1) holds = relation === LESS;
  else if (kind === 2) holds = relation === LESS || relation === EQUAL;
  else holds = relation === UNORDERED;
  return holds !== ((code & 4) !== 0);
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
