/** FADD FSUB FMUL FDIV in all their forms, FSQRT, FRNDINT, FSCALE, FXTRACT, FABS, FCHS (SDM 1, 8.3.5). */
import type { Cpu } from '../cpu.ts';
import type { Helper } from '../helper.ts';
import {
  add,
  type Binary,
  divide,
  divideReversed,
  multiply,
  squareRoot,
  subtract,
  subtractReversed,
} from '../softfloat/arithmetic.ts';
import { TO_ZERO, ZE } from '../softfloat/environment.ts';
import { answerNan, answerUnaryNan, invalid, raiseDenormal } from '../softfloat/operands.ts';
import { FLOATX80, fromInteger, integer, round, roundToIntegral, toInteger } from '../softfloat/rounding.ts';
import { copy, FINITE, INFINITY, setInfinity, setZero, ZERO } from '../softfloat/value.ts';
import { type Loader, memoryLoaders } from './operand.ts';
import * as unit from './unit.ts';
import { environment, left, result, right } from './unit.ts';

const binaries: Record<string, Binary> = {
  add,
  mul: multiply,
  sub: subtract,
  subr: subtractReversed,
  div: divide,
  divr: divideReversed,
};

/** Computes left with right into ST(destination), rounded by the precision control. */
function compute(view: DataView, operation: Binary, destination: number): boolean {
  operation(left, right, result, environment);
  return deliver(view, destination, true);
}

/** Rounds the result and puts it where it belongs; returns false when an unmasked exception forbids it. */
function deliver(view: DataView, destination: number, byPrecisionControl: boolean): boolean {
  if (unit.isUnmasked()) return false;
  round(result, byPrecisionControl ? unit.registerFormat(view) : FLOATX80, environment);
  unit.storeRegister(view, destination, result);
  return true;
}

/** ST(0) with an operand from memory. */
function withMemory(operation: Binary, load: Loader): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    if (unit.isEmpty(view, 0)) underflow(view, 0);
    else {
      unit.loadRegister(view, 0, left);
      load(view, right);
      compute(view, operation, 0);
    }
    unit.finish(view);
  };
}

/** An empty operand: the destination gets the indefinite when that is masked. Returns whether it did. */
function underflow(view: DataView, destination: number): boolean {
  unit.stackUnderflow();
  if (unit.isUnmasked()) return false;
  unit.storeRegister(view, destination, result);
  return true;
}

/** ST(0) = ST(0) op ST(i). */
function toTop(operation: Binary): Helper {
  return cpu => withRegister(cpu, operation, 0, unit.argument(cpu.view, 0), 0, false);
}

/** ST(i) = ST(i) op ST(0), and pop where asked. */
function toRegister(operation: Binary, pops: boolean): Helper {
  return cpu => {
    const i = unit.argument(cpu.view, 0);
    withRegister(cpu, operation, i, 0, i, pops);
  };
}

function withRegister(
  cpu: Cpu,
  operation: Binary,
  first: number,
  second: number,
  destination: number,
  pops: boolean,
): void {
  const { view } = cpu;
  unit.begin(cpu);
  let done: boolean;
  if (unit.isEmpty(view, first) || unit.isEmpty(view, second)) done = underflow(view, destination);
  else {
    unit.loadRegister(view, first, left);
    unit.loadRegister(view, second, right);
    done = compute(view, operation, destination);
  }
  if (done && pops) unit.pop(view);
  unit.finish(view);
}

export const arithmeticHelpers: Record<string, Helper> = {};
for (const [name, operation] of Object.entries(binaries)) {
  for (const [suffix, load] of Object.entries(memoryLoaders)) {
    const mnemonic = suffix.endsWith('int') ? `fi${name}` : `f${name}`;
    arithmeticHelpers[`${mnemonic}_${suffix}`] = withMemory(operation, load);
  }
  arithmeticHelpers[`f${name}_st0_sti`] = toTop(operation);
  arithmeticHelpers[`f${name}_sti_st0`] = toRegister(operation, false);
  arithmeticHelpers[`f${name}p_sti_st0`] = toRegister(operation, true);
}

arithmeticHelpers.fsqrt = cpu => {
  const { view } = cpu;
  unit.begin(cpu);
  if (unit.isEmpty(view, 0)) underflow(view, 0);
  else {
    unit.loadRegister(view, 0, left);
    squareRoot(left, result, environment);
    deliver(view, 0, true);
  }
  unit.finish(view);
};

arithmeticHelpers.frndint = cpu => {
  const { view } = cpu;
  unit.begin(cpu);
  if (unit.isEmpty(view, 0)) underflow(view, 0);
  else {
    unit.loadRegister(view, 0, left);
    if (!answerUnaryNan(left, result, environment)) {
      raiseDenormal(left, left, environment);
      copy(left, result);
    }
    if (!unit.isUnmasked()) {
      roundToIntegral(result, environment.rounding, true, environment);
      unit.storeRegister(view, 0, result);
    }
  }
  unit.finish(view);
};

/** Exponents are clamped here: far beyond every overflow and underflow, wrapped ones included. */
const FAR = 0x10000;

/** FSCALE: ST(0) times 2 to the power of ST(1) cut to a whole number. */
arithmeticHelpers.fscale = cpu => {
  const { view } = cpu;
  unit.begin(cpu);
  if (unit.isEmpty(view, 0) || unit.isEmpty(view, 1)) underflow(view, 0);
  else {
    unit.loadRegister(view, 0, left);
    unit.loadRegister(view, 1, right);
    scale();
    deliver(view, 0, false);
  }
  unit.finish(view);
};

function scale(): void {
  if (answerNan(left, right, result, environment)) return;
  if (right.kind === INFINITY) {
    if (left.kind === (right.sign ? INFINITY : ZERO)) {
      invalid(result, environment);
      return;
    }
    raiseDenormal(left, right, environment);
    if (right.sign) setZero(result, left.sign);
    else setInfinity(result, left.sign);
    return;
  }
  raiseDenormal(left, right, environment);
  copy(left, result);
  if (left.kind !== FINITE || right.kind === ZERO || right.exponent < 0) return;
  const { flags } = environment;
  let by = FAR;
  if (right.exponent < 16) {
    const { sign } = right;
    right.sign = 0;
    toInteger(right, 32, TO_ZERO, environment);
    environment.flags = flags;
    right.sign = sign;
    by = integer.low;
  }
  result.exponent += right.sign ? -by : by;
}

/** FXTRACT: the exponent replaces ST(0), the significand is pushed. */
arithmeticHelpers.fxtract = cpu => {
  const { view } = cpu;
  unit.begin(cpu);
  const empty = unit.isEmpty(view, 0);
  if (empty || !unit.isEmpty(view, -1)) {
    if (empty) unit.stackUnderflow();
    else unit.stackOverflow();
    copy(result, right);
  } else {
    unit.loadRegister(view, 0, left);
    extract();
  }
  if (!unit.isUnmasked()) {
    unit.storeRegister(view, 0, right);
    unit.push(view);
    unit.storeRegister(view, 0, result);
  }
  unit.finish(view);
};

/** Significand to result, exponent to right. */
function extract(): void {
  if (answerUnaryNan(left, result, environment)) {
    copy(result, right);
    return;
  }
  copy(left, result);
  if (left.kind === ZERO) {
    environment.flags |= ZE;
    setInfinity(right, 1);
    return;
  }
  if (left.kind === INFINITY) {
    setInfinity(right, 0);
    return;
  }
  raiseDenormal(left, left, environment);
  fromInteger(left.exponent < 0 ? 0xffffffff : 0, left.exponent >>> 0, right);
  result.exponent = 0;
}

/** FABS and FCHS work on the sign bit alone: no NaN is invalid to them. */
function onSign(change: (top: number) => number): Helper {
  return cpu => {
    const { view } = cpu;
    unit.begin(cpu);
    if (unit.isEmpty(view, 0)) underflow(view, 0);
    else {
      const address = unit.registerAddress(view, 0) + 8;
      view.setUint16(address, change(view.getUint16(address, true)), true);
    }
    unit.finish(view);
  };
}

arithmeticHelpers.fabs = onSign(bits => bits & 0x7fff);
arithmeticHelpers.fchs = onSign(bits => bits ^ 0x8000);
