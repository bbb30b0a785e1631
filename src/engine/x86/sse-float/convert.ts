/**
 * Conversions. The source stands in the second vector, or in ARGUMENT[0] where it is a general register; an answer for
 * a general register goes to RESULT[0], all others to the last vector, zeros above them.
 */
import type { Helper } from '../helper.ts';
import { TO_ZERO } from '../softfloat/environment.ts';
import { fromInteger, integer, round, toInteger } from '../softfloat/rounding.ts';
import { Value } from '../softfloat/value.ts';
import { convert } from './lanes.ts';
import * as unit from './unit.ts';
import { ANSWER, DOUBLE, environment, type Lane, OPERAND, SCALAR_ANSWER, SECOND, SINGLE } from './unit.ts';

const source = new Value();
const results = [new Value(), new Value(), new Value(), new Value()];

/** Floats to floats of the other format. */
function betweenFloats(from: Lane, to: Lane, count: number): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    for (let i = 0; i < count; i++) {
      unit.loadLane(view, SECOND + i * from.bytes, from, source);
      convert(source, results[i]!, environment);
    }
    unit.checkOperands(cpu);
    for (let i = 0; i < count; i++) round(results[i]!, to.format, environment);
    unit.finish(cpu);
    unit.clear(view, ANSWER, 16);
    for (let i = 0; i < count; i++) to.store(view, ANSWER + i * to.bytes, results[i]!);
  };
}

/** Signed integers of 32 bits to floats. */
function fromIntegers(to: Lane, count: number): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    for (let i = 0; i < count; i++) {
      const low = view.getInt32(SECOND + 4 * i, true);
      fromInteger(low >> 31, low, results[i]!);
      round(results[i]!, to.format, environment);
    }
    unit.finish(cpu);
    unit.clear(view, ANSWER, 16);
    for (let i = 0; i < count; i++) to.store(view, ANSWER + i * to.bytes, results[i]!);
  };
}

/** Floats to integers of 32 bits. */
function toIntegers(from: Lane, count: number, truncates: boolean): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    unit.clear(view, ANSWER, 16);
    for (let i = 0; i < count; i++) {
      unit.loadLane(view, SECOND + i * from.bytes, from, source);
      toInteger(source, 32, truncates ? TO_ZERO : environment.rounding, environment);
      view.setUint32(ANSWER + 4 * i, integer.low, true);
    }
    unit.checkOperands(cpu);
    unit.finish(cpu);
  };
}

/** A general register, sign-extended to 64 bits, to a float. */
function fromRegister(to: Lane): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    fromInteger(view.getUint32(OPERAND + 4, true), view.getUint32(OPERAND, true), results[0]!);
    round(results[0]!, to.format, environment);
    unit.finish(cpu);
    unit.clear(view, ANSWER, 16);
    to.store(view, ANSWER, results[0]!);
  };
}

/** A float to a general register. */
function toRegister(from: Lane, size: 32 | 64, truncates: boolean): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(view);
    unit.loadLane(view, SECOND, from, source);
    toInteger(source, size, truncates ? TO_ZERO : environment.rounding, environment);
    unit.finish(cpu);
    view.setUint32(SCALAR_ANSWER, integer.low, true);
    view.setUint32(SCALAR_ANSWER + 4, size === 64 ? integer.high : 0, true);
  };
}

export const convertHelpers: Record<string, Helper> = {
  cvtps2pd: betweenFloats(SINGLE, DOUBLE, 2),
  cvtpd2ps: betweenFloats(DOUBLE, SINGLE, 2),
  cvtss2sd: betweenFloats(SINGLE, DOUBLE, 1),
  cvtsd2ss: betweenFloats(DOUBLE, SINGLE, 1),
  cvtdq2ps: fromIntegers(SINGLE, 4),
  cvtdq2pd: fromIntegers(DOUBLE, 2),
};
for (const [suffix, lane] of [
  ['ss', SINGLE],
  ['sd', DOUBLE],
] as const) {
  convertHelpers[`cvtsi2${suffix}_32`] = convertHelpers[`cvtsi2${suffix}_64`] = fromRegister(lane);
  for (const size of [32, 64] as const) {
    convertHelpers[`cvt${suffix}2si_${size}`] = toRegister(lane, size, false);
    convertHelpers[`cvtt${suffix}2si_${size}`] = toRegister(lane, size, true);
  }
}
for (const truncates of [false, true]) {
  const t = truncates ? 't' : '';
  convertHelpers[`cvt${t}ps2dq`] = toIntegers(SINGLE, 4, truncates);
  convertHelpers[`cvt${t}pd2dq`] = toIntegers(DOUBLE, 2, truncates);
}
