/** A product and a sum with one rounding (SDM 1, 14.5.2). The exact sum is an integer of as many bits as that takes. */
import { DE, DOWN, type Environment, IE } from './environment.ts';
import { invalid, quiet } from './operands.ts';
import {
  copy,
  FINITE,
  INFINITY,
  QUIET,
  SIGNALLING,
  setFinite,
  setInfinity,
  setZero,
  type Value,
  ZERO,
} from './value.ts';

/** What becomes of the signs: NaNs keep theirs. */
export interface Signs {
  negateProduct: boolean;
  negateAddend: boolean;
}

const significand = ({ high, low }: Value): bigint => (BigInt(high) << 32n) | BigInt(low);
const signed = (magnitude: bigint, sign: number): bigint => (sign ? -magnitude : magnitude);

/** out = ±(a * b) ± c, exactly but for a sticky bit; `round` then makes it fit. */
export function multiplyAdd(a: Value, b: Value, c: Value, signs: Signs, out: Value, environment: Environment): void {
  if (answerNan(a, b, c, out, environment)) return;
  const sign = (a.sign ^ b.sign ^ (signs.negateProduct ? 1 : 0)) as 0 | 1;
  const addendSign = (c.sign ^ (signs.negateAddend ? 1 : 0)) as 0 | 1;
  const isInfinite = a.kind === INFINITY || b.kind === INFINITY;
  if (isInfinite && (a.kind === ZERO || b.kind === ZERO)) return invalid(out, environment);
  if (isInfinite && c.kind === INFINITY && sign !== addendSign) return invalid(out, environment);
  if (a.denormal || b.denormal || c.denormal) environment.flags |= DE;
  if (isInfinite) return setInfinity(out, sign);
  if (c.kind === INFINITY) return setInfinity(out, addendSign);
  const product = a.kind === FINITE && b.kind === FINITE ? significand(a) * significand(b) : 0n;
  const addend = c.kind === FINITE ? significand(c) : 0n;
  // The weights of their last bits.
  const weights = [a.exponent + b.exponent - 126, c.exponent - 63] as const;
  const weight = product && addend ? Math.min(...weights) : product ? weights[0] : weights[1];
  const aligned = (value: bigint, own: number) => (value ? value << BigInt(own - weight) : 0n);
  const sum = signed(aligned(product, weights[0]), sign) + signed(aligned(addend, weights[1]), addendSign);
  if (sum === 0n) {
    const bothZero = !product && !addend && sign === addendSign;
    return setZero(out, bothZero ? sign : environment.rounding === DOWN ? 1 : 0);
  }
  setSum(out, sum, weight);
}

/** 96 bits of a number that is not 0, and whether there are more. */
function setSum(out: Value, sum: bigint, weight: number): void {
  const magnitude = sum < 0n ? -sum : sum;
  const length = magnitude.toString(2).length;
  const dropped = length - 96;
  const kept = dropped > 0 ? magnitude >> BigInt(dropped) : magnitude << BigInt(-dropped);
  const isSticky = dropped > 0 && kept << BigInt(dropped) !== magnitude;
  const word = (n: number) => Number((kept >> BigInt(32 * n)) & 0xffffffffn);
  setFinite(out, sum < 0n ? 1 : 0, weight + length - 1, word(2), word(1), (word(0) | (isSticky ? 1 : 0)) >>> 0);
}

/** The first of the operands that is no number is the answer (SDM 1, table 14-18). */
function answerNan(a: Value, b: Value, c: Value, out: Value, environment: Environment): boolean {
  const operands = [a, b, c];
  const found = operands.find(({ kind }) => kind >= QUIET);
  if (!found) return false;
  if (operands.some(({ kind }) => kind === SIGNALLING)) environment.flags |= IE;
  copy(found, out);
  quiet(out);
  return true;
}
