/**
 * SSE's float operations in WebAssembly for operands that the rows' fast paths (instructions/float-check.ts) refuse:
 * infinities, NaNs, denormal numbers, exact results. A function answers if MXCSR already holds every exception flag that
 * the operation would set. Otherwise it calls the helper of its name (sse-float.ts), which computes in software.
 *
 * A function takes two v128 (SQRT takes its operand twice) and gives one. All lanes count: a scalar stands in each of
 * them. CMPxx has its predicate in ARGUMENT[0], as its helper has. Afterwards, FAULT is set if the guest has to take an
 * exception, and FLOAT_DENORMAL if an operand was denormal or the result that small.
 */
import type { Value } from '../../wasm/expressions.ts';
import { Body, type Module } from '../../wasm/module.ts';
import { ProcessorCode } from './code.ts';
import {
  DOUBLE,
  everyLane,
  type Format,
  infinity,
  LaneCheck,
  roundingIsSilent,
  SINGLE,
  smallestNormal,
} from './instructions/float-check.ts';
import { choose } from './instructions/vector.ts';
import { state } from './state.ts';

/** MXCSR's exception flags (SDM 1, figure 10-3). */
const IE = 1;
const DE = 2;
const ZE = 4;
const OE = 8;
const UE = 0x10;
const PE = 0x20;
const DAZ = 0x40;
const MASKS_SHIFT = 7;
const ROUNDING = 0x6000;
const FTZ = 0x8000;

/** Lanes as the functions see them; masks are v128. */
class Lanes {
  readonly b: ProcessorCode;
  readonly format: Format;
  readonly x: Value;
  readonly y: Value;
  readonly check: LaneCheck;
  constructor(b: ProcessorCode, format: Format) {
    this.b = b;
    this.format = format;
    this.x = b.local('v128', 0);
    this.y = b.local('v128', 1);
    this.check = new LaneCheck(b, format, true);
  }
  float(name: string, ...parts: Value[]): Value {
    return this.b.wasm(`${this.format.shape}.${name}`, ...parts);
  }
  integer(name: string, ...parts: Value[]): Value {
    return this.b.wasm(`${this.format.integers}.${name}`, ...parts);
  }
  and(...masks: Value[]): Value {
    return masks.reduce((p, q) => this.b.wasm('v128.and', p, q));
  }
  or(...masks: Value[]): Value {
    return masks.reduce((p, q) => this.b.wasm('v128.or', p, q));
  }
  /** p where q is not. */
  except(p: Value, q: Value): Value {
    return this.b.wasm('v128.andnot', p, q);
  }
  /** The bit that tells quiet NaNs from signalling ones. */
  quietBit(): Value {
    return everyLane(this.b, this.format, this.format.bits === 64 ? 1n << 51n : 1n << 22n);
  }
  isNan(v: Value): Value {
    return this.float('ne', v, v);
  }
  isSignalling(v: Value): Value {
    const noQuietBit = this.integer('eq', this.and(v, this.quietBit()), everyLane(this.b, this.format, 0n));
    return this.and(this.isNan(v), noQuietBit);
  }
  isInfinite(v: Value): Value {
    return this.float('eq', this.float('abs', v), infinity(this.b, this.format));
  }
  /** Denormal, or the smallest normal number, which may be a rounded denormal one. */
  isTiny(v: Value): Value {
    return this.except(
      this.float('le', this.float('abs', v), smallestNormal(this.b, this.format)),
      this.check.isZero(v),
    );
  }
  isDenormal(v: Value): Value {
    return this.except(
      this.float('lt', this.float('abs', v), smallestNormal(this.b, this.format)),
      this.check.isZero(v),
    );
  }
  any(mask: Value): Value {
    return this.b.wasm('v128.any_true', mask);
  }
  /** `flags` if there is such a lane, otherwise 0. */
  flagged(mask: Value, flags: number): Value {
    return this.b.mul(this.any(mask), flags);
  }
}

/** An operation as it goes in all lanes. */
interface Operation {
  /** Of the helpers that do it in software: name + 'ps' or 'pd'. */
  name: string;
  /** Exceptions that lanes can raise at most, if no number in them is tiny or rounded to zero. */
  ordinaryFlags: number;
  /** What WebAssembly makes of the operands. */
  result(l: Lanes): Value;
  /** Exceptions that the lanes raise at least those of, PE for inexact results aside. */
  flags(l: Lanes, result: Value): Value;
  /** The answer, with NaNs as SSE chooses them. */
  answer(l: Lanes, result: Value): Value;
  /** Results are rounded: a truth value (i32) that is 1 only if none had to be. */
  exact?(l: Lanes, result: Value): Value;
  /** Lanes where a zero result of ordinary operands is exact; without it, the function has no short way. */
  exactZero?(l: Lanes, result: Value): Value;
}

const either = (b: ProcessorCode, ...flags: Value[]) => flags.reduce((p, q) => b.either(p, q));
const eitherNan = (l: Lanes) => l.or(l.isNan(l.x), l.isNan(l.y));
const denormalFlag = (l: Lanes) => l.flagged(l.except(l.or(l.isDenormal(l.x), l.isDenormal(l.y)), eitherNan(l)), DE);

/** Of an operation that rounds. A NaN operand is the answer, made quiet, the first before the second. */
function arithmetic(
  name: string,
  result: (l: Lanes) => Value,
  exactZero: (l: Lanes, result: Value) => Value,
  exact: (l: Lanes, result: Value) => Value,
): Operation {
  const made = (l: Lanes, r: Value) => l.except(l.isNan(r), eitherNan(l));
  return {
    name,
    ordinaryFlags: IE | OE | PE | (name === 'div' ? ZE : 0),
    result,
    exactZero,
    exact,
    flags(l, r) {
      const fromFinite = l.except(l.isInfinite(r), l.or(l.isInfinite(l.x), l.isInfinite(l.y)));
      const byZero = name === 'div' ? l.check.isZero(l.y) : undefined;
      const small = l.except(l.or(l.isTiny(r), l.except(l.check.isZero(r), exactZero(l, r))), eitherNan(l));
      return either(
        l.b,
        l.flagged(l.or(l.isSignalling(l.x), l.isSignalling(l.y), made(l, r)), IE),
        denormalFlag(l),
        byZero ? l.flagged(l.and(fromFinite, byZero), ZE) : l.b.i32(0),
        l.flagged(byZero ? l.except(fromFinite, byZero) : fromFinite, OE | PE),
        l.flagged(small, UE | PE),
      );
    },
    answer(l, r) {
      const { b, x, y, format } = l;
      const quiet = (v: Value) => l.or(v, l.quietBit());
      // The default NaN: negative, quiet, nothing else (SDM 1, table 4-3).
      const indefinite = everyLane(b, format, format.bits === 64 ? 0xfff8n << 48n : 0xffc00000n);
      const own = b.wasm('v128.bitselect', indefinite, r, made(l, r));
      const second = b.wasm('v128.bitselect', quiet(y), own, l.isNan(y));
      return b.wasm('v128.bitselect', quiet(x), second, l.isNan(x));
    },
  };
}

/** True (i32) if p * q == r without rounding, in all lanes; false if that is not sure. */
function isProduct(l: Lanes, p: Value, q: Value, r: Value): Value {
  const { b, format } = l;
  if (format.bits === 32) {
    // The product of two singles fits a double.
    const upper = (v: Value) => choose(b, v, v, 4, [2, 3, 2, 3]);
    const wide = (v: Value) => b.wasm('f64x2.promote_low_f32x4', v);
    const same = (u: Value, v: Value, w: Value) =>
      b.wasm('i64x2.all_true', b.wasm('f64x2.eq', b.wasm('f64x2.mul', wide(u), wide(v)), wide(w)));
    return b.both(same(p, q, r), same(upper(p), upper(q), upper(r)));
  }
  // Significant bits: of both together no more than fit, or one has a single one.
  const top = b.const(1n << 52n);
  const zeros = (v: Value, lane: number) => b.wasm('i64.ctz', b.or(b.lane('i64x2.extract_lane', lane, v), top));
  const fits = [0, 1].map(lane => {
    const [u, v] = [zeros(p, lane), zeros(q, lane)];
    const single = b.either(b.eq(u, 52), b.eq(v, 52));
    return b.either(single, b.geu(b.add(u, v), 53));
  });
  const equal = b.wasm('i64x2.all_true', l.float('eq', l.float('mul', p, q), r));
  return b.both(equal, b.both(fits[0]!, fits[1]!));
}
/** r = p + q without rounding: taking either away from r leaves the other. */
const isSum = (l: Lanes, p: Value, q: Value, r: Value) =>
  l.integer('all_true', l.and(l.float('eq', l.float('sub', r, p), q), l.float('eq', l.float('sub', r, q), p)));

const isDifference = (l: Lanes, r: Value) =>
  l.integer('all_true', l.and(l.float('eq', l.float('sub', l.x, r), l.y), l.float('eq', l.float('add', r, l.y), l.x)));

/** MIN and MAX: the second operand unless the first is less or greater. Any NaN is invalid. */
const selection = (name: string, operation: string): Operation => ({
  name,
  ordinaryFlags: IE,
  result: l => l.float(operation, l.y, l.x),
  flags: l => either(l.b, l.flagged(eitherNan(l), IE), denormalFlag(l)),
  answer: (_l, result) => result,
});

/** CMPxx: predicates 1 and 2 and their opposites take any NaN to be invalid, the others signalling ones. */
const comparison: Operation = {
  name: 'cmp',
  ordinaryFlags: IE,
  result(l) {
    const { b, x, y, format } = l;
    const predicate = b.narrow(b.state(state.ARGUMENT, 8));
    const bit = (n: number) => b.and(b.shr(predicate, n), 1);
    const lessOrEqual = b.select(bit(0), eitherNan(l), l.float('le', x, y));
    const straight = b.select(bit(1), lessOrEqual, b.select(bit(0), l.float('lt', x, y), l.float('eq', x, y)));
    return b.wasm('v128.xor', straight, b.select(bit(2), everyLane(b, format, -1n), everyLane(b, format, 0n)));
  },
  flags(l) {
    const { b } = l;
    const kind = b.and(b.narrow(b.state(state.ARGUMENT, 8)), 3);
    const signals = b.ltu(b.sub(kind, 1), 2);
    return either(
      b,
      l.flagged(l.or(l.isSignalling(l.x), l.isSignalling(l.y)), IE),
      b.both(signals, l.flagged(eitherNan(l), IE)),
      denormalFlag(l),
    );
  },
  answer: (_l, result) => result,
};

const OPERATIONS: readonly Operation[] = [
  arithmetic(
    'add',
    l => l.float('add', l.x, l.y),
    (l, r) => l.check.isZero(r),
    (l, r) => isSum(l, l.x, l.y, r),
  ),
  arithmetic(
    'sub',
    l => l.float('sub', l.x, l.y),
    (l, r) => l.check.isZero(r),
    (l, r) => isDifference(l, r),
  ),
  arithmetic(
    'mul',
    l => l.float('mul', l.x, l.y),
    l => l.or(l.check.isZero(l.x), l.check.isZero(l.y)),
    (l, r) => isProduct(l, l.x, l.y, r),
  ),
  arithmetic(
    'div',
    l => l.float('div', l.x, l.y),
    l => l.or(l.check.isZero(l.x), l.isInfinite(l.y)),
    (l, r) => isProduct(l, r, l.y, l.x),
  ),
  arithmetic(
    'sqrt',
    l => l.float('sqrt', l.y),
    l => l.check.isZero(l.y),
    (l, r) => isProduct(l, r, r, l.y),
  ),
  selection('min', 'pmin'),
  selection('max', 'pmax'),
  comparison,
];

/** One function: (x, y) -> answer. */
function checkedFloatBody(operation: Operation, format: Format, helper: number, id: number): Body {
  const b = new ProcessorCode(new Body(['v128', 'v128'], ['v128']));
  const l = new Lanes(b, format);
  const { x, y, check } = l;
  const result = operation.result(l);
  if (operation.exactZero) {
    // The commonest: a zero, which the fast path does not take.
    b.setState32(state.FLOAT_DENORMAL, 0);
    const silent = check.isSilent(result, operation.exactZero(l, result));
    const lanes = check.holds(check.isOrdinary(x), check.isOrdinary(y), silent);
    b.when(b.both(lanes, roundingIsSilent(b)), () => b.answer(result));
  }
  const small = l.any(l.or(l.isTiny(x), l.isTiny(y), l.isTiny(result)));
  b.setState32(state.FLOAT_DENORMAL, small);
  const mxcsr = b.state32(state.MXCSR);
  const silent = b.both(mxcsr, b.shr(mxcsr, MASKS_SHIFT));
  const nearest = b.no(b.and(mxcsr, ROUNDING));
  const { exact, exactZero, ordinaryFlags } = operation;
  // Infinities and NaNs where such have been before.
  const vanished = exactZero ? l.any(l.except(check.isZero(result), exactZero(l, result))) : b.i32(0);
  const noted = b.eq(b.and(silent, ordinaryFlags), ordinaryFlags);
  b.when(b.both(b.both(noted, nearest), b.no(b.either(small, vanished))), () => b.answer(operation.answer(l, result)));
  // With DAZ and FTZ denormal numbers are not what WebAssembly takes them for.
  const flushes = b.ne(b.and(mxcsr, DAZ | FTZ), 0);
  const allowed = b.select(b.both(small, flushes), b.i32(0), silent);
  const needed = operation.flags(l, result);
  const missing = b.both(needed, b.xor(allowed, -1));
  // MXCSR's rounding does not matter where nothing is rounded.
  b.when(b.both(b.no(missing), exact ? nearest : b.i32(1)), () => {
    if (!exact) return b.answer(operation.answer(l, result));
    b.when(b.and(allowed, PE), () => b.answer(operation.answer(l, result)));
    b.when(exact(l, result), () => b.answer(operation.answer(l, result)));
  });
  b.setState(state.VECTOR, x, 128);
  b.setState(state.VECTOR + 16, y, 128);
  b.when(b.invoke(helper, 'i32', id), () => b.answer(x));
  const answer = b.state(state.VECTOR + 48, 128);
  b.setState32(state.FLOAT_DENORMAL, b.either(small, l.any(l.isTiny(answer))));
  b.answer(answer);
  return b.complete();
}

const FUNCTIONS = OPERATIONS.flatMap(operation => [SINGLE, DOUBLE].map(format => ({ operation, format })));
const nameOf = ({ name }: Operation, format: Format) => `${name}p${format.bits === 64 ? 'd' : 's'}`;
/** Names of the functions: `addps`, `addpd`, … in the order of their numbers. */
export const CHECKED_FLOATS: readonly string[] = FUNCTIONS.map(({ operation, format }) => nameOf(operation, format));

/**
 * Adds the functions to the interpreter's module, and one that chooses among them by number, for translated code:
 * `checkedFloat`.
 */
export function defineCheckedFloats(
  module: Module,
  helper: number,
  number: (name: string) => number,
): readonly number[] {
  const functions = FUNCTIONS.map(({ operation, format }) =>
    module.function(checkedFloatBody(operation, format, helper, number(nameOf(operation, format)))),
  );
  const b = new ProcessorCode(new Body(['i32', 'v128', 'v128'], ['v128']));
  const [which, x, y] = b.parameters(3);
  const [last, ...others] = functions.map(fn => () => b.answer(b.invoke(fn, 'v128', x, y))).reverse();
  b.switch(which, others.reverse(), last!);
  module.function(b.complete(), 'checkedFloat');
  return functions;
}
