/** What the operands alone decide: NaNs, unsupported encodings, denormals (SDM 1, 4.8.3.5 and 4.9.2). */
import { DE, type Environment, IE } from './environment.ts';
import { compareSignificands } from './significand.ts';
import { copy, QUIET, SIGNALLING, setIndefinite, UNSUPPORTED, type Value } from './value.ts';

export function quiet(value: Value): void {
  value.kind = QUIET;
  value.high = (value.high | 0x40000000) >>> 0;
}

/** Answers an invalid operation. */
export function invalid(out: Value, environment: Environment): void {
  environment.flags |= IE;
  setIndefinite(out);
}

export function raiseDenormal(a: Value, b: Value, environment: Environment): void {
  if (a.denormal || b.denormal) environment.flags |= DE;
}

/** When one of two operands is not a number, puts the answer into out and returns true. */
export function answerNan(a: Value, b: Value, out: Value, environment: Environment): boolean {
  if (a.kind < QUIET && b.kind < QUIET) return false;
  if (a.kind === UNSUPPORTED || b.kind === UNSUPPORTED) {
    invalid(out, environment);
    return true;
  }
  if (a.kind === SIGNALLING || b.kind === SIGNALLING) environment.flags |= IE;
  copy(environment.largerNan ? largerNan(a, b) : a.kind >= QUIET ? a : b, out);
  quiet(out);
  return true;
}

/** SDM 1, table 4-7, the x87 column. */
function largerNan(a: Value, b: Value): Value {
  if (a.kind < QUIET) return b;
  if (b.kind < QUIET) return a;
  if (a.kind !== b.kind) return a.kind === QUIET ? a : b;
  const order = compareSignificands(a, b);
  if (order !== 0) return order > 0 ? a : b;
  return a.sign === 0 ? a : b;
}

/** The same for an operation of one operand. */
export function answerUnaryNan(a: Value, out: Value, environment: Environment): boolean {
  if (a.kind < QUIET) return false;
  if (a.kind === UNSUPPORTED) {
    invalid(out, environment);
    return true;
  }
  if (a.kind === SIGNALLING) environment.flags |= IE;
  copy(a, out);
  quiet(out);
  return true;
}
