/**
 * RCPPS and RSQRTPS: approximations with a relative error of at most 1.5 * 2^-12, for which no processor follows
 * another. Ours, as theirs, depend on the leading 12 bits of the fraction only: the middle of what has these bits,
 * inverted, to 12 bits after the leading one. No exceptions, no rounding control; denormals count as zero, and a
 * result that would be denormal is zero (SDM 2B, RCPPS).
 */
import type { Helper } from '../helper.ts';
import { quiet } from '../softfloat/operands.ts';
import {
  copy,
  INFINITY,
  QUIET,
  setFinite,
  setIndefinite,
  setInfinity,
  setZero,
  Value,
  ZERO,
} from '../softfloat/value.ts';
import { FORMS } from './arithmetic.ts';
import { ANSWER, SECOND, SINGLE } from './unit.ts';

const source = new Value();
const answer = new Value();

/** 2^126 and more have denormal reciprocals. */
const TOO_LARGE = 126;

function reciprocal(x: Value, out: Value): void {
  const { sign, exponent } = x;
  if (x.kind >= QUIET) passNan(x, out);
  else if (x.kind === ZERO || x.denormal) setInfinity(out, sign);
  else if (x.kind === INFINITY || exponent >= TOO_LARGE) setZero(out, sign);
  else fromNumber(1 / middle(x.high), -exponent, sign, out);
}

function reciprocalSquareRoot(x: Value, out: Value): void {
  const { sign, exponent } = x;
  if (x.kind >= QUIET) passNan(x, out);
  else if (x.kind === ZERO || x.denormal) setInfinity(out, sign);
  else if (sign) setIndefinite(out);
  else if (x.kind === INFINITY) setZero(out, 0);
  else {
    const odd = exponent & 1;
    fromNumber(1 / Math.sqrt(middle(x.high) * (odd ? 2 : 1)), -(exponent - odd) / 2, 0, out);
  }
}

/** Even a signalling NaN is not invalid here. */
function passNan(x: Value, out: Value): void {
  copy(x, out);
  quiet(out);
}

/** The middle of the interval, 2^-12 wide, in which the significand lies; in [1, 2). */
function middle(high: number): number {
  return ((high >>> 19) + 0.5) / 4096;
}

/** A number in (1/2, 1), times 2^exponent, to 12 bits after the leading one. */
function fromNumber(number: number, exponent: number, sign: 0 | 1, out: Value): void {
  const bits = Math.min(Math.round(number * 8192), 8191);
  setFinite(out, sign, exponent - 1, (bits << 19) >>> 0, 0, 0);
}

export const approximateHelpers: Record<string, Helper> = {};
for (const [suffix, lane, count] of FORMS) {
  if (lane !== SINGLE) continue;
  for (const [name, operation] of [
    ['rcp', reciprocal],
    ['rsqrt', reciprocalSquareRoot],
  ] as const) {
    approximateHelpers[name + suffix] = ({ view }) => {
      for (let i = 0; i < count; i++) {
        lane.load(view, SECOND + lane.bytes * i, source);
        operation(source, answer);
        lane.store(view, ANSWER + lane.bytes * i, answer);
      }
    };
  }
}
