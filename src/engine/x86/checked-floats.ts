/**
 * SSE's float operations in WebAssembly for operands that the rows' fast paths (instructions/float-check.ts) refuse:
 * infinities, NaNs, denormal numbers, exact results. A function answers if MXCSR already holds every exception flag that
 * the operation would set. Otherwise it calls the helper of its name (sse-float.ts), which computes in software.
 *
 * A function takes two v128 (SQRT takes its operand twice) and gives one. All lanes count: a scalar stands in each of
 * them. CMPxx has its predicate in ARGUMENT[0], as its helper has, FMA has a third operand in VECTOR[2]. Afterwards, FAULT is set if the guest has to take an
 * exception, and FLOAT_DENORMAL if an operand was denormal or the result that small.
 */
import type { Value } from '../../wasm/expressions.ts';
import { Body, type Module } from '../../wasm/module.ts';
import { ProcessorCode } from './code.ts';
import { HOLDS_IF_EQUAL, HOLDS_IF_GREATER, HOLDS_IF_LESS, HOLDS_IF_UNORDERED, SIGNALS } from './float-predicates.ts';
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
import { bytes, choose } from './instructions/vector.ts';
import { FUSED_NEGATES_PRODUCT, FUSED_SUBTRACTS_EVEN, FUSED_SUBTRACTS_ODD } from './sse-float/fused-signs.ts';
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

/** A bit of one of the predicates' tables. */
const predicateBit = ({ b }: Lanes, table: number) =>
  b.and(b.shr(b.i32(table), b.narrow(b.state(state.ARGUMENT, 8))), 1);

/** x + y as the nearest number and what is left of it, exactly (Knuth's TwoSum). */
function twoSum(b: ProcessorCode, x: Value, y: Value): { sum: Value; rest: Value } {
  const op = (name: string, p: Value, q: Value) => b.wasm(`f64x2.${name}`, p, q);
  const sum = op('add', x, y);
  const part = op('sub', sum, x);
  return { sum, rest: op('add', op('sub', x, op('sub', sum, part)), op('sub', y, part)) };
}
/**
 * x + y rounded to odd: of the two neighbours of a sum that is no number of 53 bits, the one whose last bit is set. Rounding that to fewer
 * bits is as rounding the exact sum (S. Boldo, G. Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
 */
function oddSum(b: ProcessorCode, x: Value, y: Value): { sum: Value; isExact: Value } {
  const { sum, rest } = twoSum(b, x, y);
  const one = everyLane(b, DOUBLE, 1n);
  const isExact = b.wasm('f64x2.eq', rest, everyLane(b, DOUBLE, 0n));
  const isOdd = b.wasm('i64x2.eq', b.wasm('v128.and', sum, one), one);
  // Away from zero where the rest has the sum's sign, else towards it.
  const step = b.wasm('v128.or', b.wasm('i64x2.shr_s', b.wasm('v128.xor', sum, rest), b.i32(63)), one);
  const moved = b.wasm('v128.andnot', step, b.wasm('v128.or', isExact, isOdd));
  return { sum: b.wasm('i64x2.add', sum, moved), isExact };
}

/** x * y + z of numbers, and in which lanes it is exact: of singles by way of doubles, which hold their products. */
function fusedSingles(b: ProcessorCode, x: Value, y: Value, z: Value): { result: Value; isExact: Value } {
  const upper = (v: Value) => choose(b, v, v, 4, [2, 3, 2, 3]);
  const wide = (v: Value) => b.wasm('f64x2.promote_low_f32x4', v);
  const half = (p: Value, q: Value, r: Value) => {
    const { sum, isExact } = oddSum(b, b.wasm('f64x2.mul', wide(p), wide(q)), wide(r));
    const result = b.wasm('f32x4.demote_f64x2_zero', sum);
    return { result, isExact: b.wasm('v128.and', isExact, b.wasm('f64x2.eq', wide(result), sum)) };
  };
  const [low, high] = [half(x, y, z), half(upper(x), upper(y), upper(z))];
  return {
    result: choose(b, low.result, high.result, 8, [0, 2]),
    isExact: choose(b, low.isExact, high.isExact, 4, [0, 2, 4, 6]),
  };
}

/** The same of doubles: Dekker's product, in halves of 26 bits, and its sum with z as Boldo and Melquiond have it. */
function fusedDoubles(b: ProcessorCode, x: Value, y: Value, z: Value): { result: Value; isExact: Value } {
  const op = (name: string, p: Value, q: Value) => b.wasm(`f64x2.${name}`, p, q);
  const zero = everyLane(b, DOUBLE, 0n);
  const split = (v: Value) => {
    const scaled = op('mul', v, everyLane(b, DOUBLE, SPLITTER));
    const high = op('sub', scaled, op('sub', scaled, v));
    return { high, low: op('sub', v, high) };
  };
  const product = op('mul', x, y);
  const [p, q] = [split(x), split(y)];
  const known = op('sub', op('mul', p.high, q.high), product);
  const mixed = op('add', op('add', known, op('mul', p.high, q.low)), op('mul', p.low, q.high));
  const rest = op('add', mixed, op('mul', p.low, q.low));
  const t = twoSum(b, z, rest);
  const v = twoSum(b, product, t.sum);
  const below = oddSum(b, t.rest, v.rest);
  const noProduct = b.wasm('v128.or', op('eq', x, zero), op('eq', y, zero));
  return {
    result: b.wasm('v128.bitselect', op('add', product, z), op('add', v.sum, below.sum), noProduct),
    isExact: b.wasm('v128.or', noProduct, op('eq', below.sum, zero)),
  };
}
/** 2^27 + 1. */
const SPLITTER = 0x41a0000002000000n;

/** FMA: the third operand is in VECTOR[2], FUSED_ bits in ARGUMENT[0]. */
function fusedBody(format: Format, helper: number, id: number): Body {
  const b = new ProcessorCode(new Body(['v128', 'v128'], ['v128']));
  const l = new Lanes(b, format);
  const how = b.narrow(b.state(state.ARGUMENT, 8));
  const sign = 1n << BigInt(format.bits - 1);
  const negated = (bit: number) => everyLane(b, format, b.select(b.and(how, bit), b.const(sign), b.const(0)));
  const odds = bytes(b, i => ((i / (format.bits / 8)) & 1 ? 0xff : 0));
  const addendSigns = b.wasm('v128.bitselect', negated(FUSED_SUBTRACTS_ODD), negated(FUSED_SUBTRACTS_EVEN), odds);
  const x = b.wasm('v128.xor', l.x, negated(FUSED_NEGATES_PRODUCT));
  const z = b.wasm('v128.xor', b.state(state.VECTOR + 32, 128), addendSigns);
  const { result, isExact } = format.bits === 64 ? fusedDoubles(b, x, l.y, z) : fusedSingles(b, x, l.y, z);
  const { check } = l;
  // Of doubles no part may be lost to either end of the exponents.
  const near = (v: Value) => {
    const magnitude = l.float('abs', v);
    const inside = l.and(
      l.float('lt', magnitude, everyLane(b, format, 0x5df0000000000000n)),
      l.float('gt', magnitude, everyLane(b, format, 0x21f0000000000000n)),
    );
    return l.or(inside, check.isZero(v));
  };
  const isFactor = (v: Value) => (format.bits === 64 ? near(v) : check.isOrdinary(v));
  const isAddend = l.and(
    check.isOrdinary(z),
    format.bits === 64 ? check.isBelow(z, everyLane(b, format, 0x7e70000000000000n)) : check.isFinite(z),
  );
  const silent = check.isSilent(result, l.and(check.isZero(result), isExact));
  const lanes = check.holds(isFactor(x), isFactor(l.y), isAddend, silent);
  const mxcsr = b.state32(state.MXCSR);
  const nearest = b.no(b.and(mxcsr, ROUNDING));
  const quiet = b.either(roundingIsSilent(b), b.both(nearest, l.integer('all_true', isExact)));
  b.when(b.both(lanes, quiet), () => b.answer(result));
  b.setState(state.VECTOR, l.x, 128);
  b.setState(state.VECTOR + 16, l.y, 128);
  b.when(b.invoke(helper, 'i32', id), () => b.answer(l.x));
  b.answer(b.state(state.VECTOR + 48, 128));
  return b.complete();
}

/** CMPxx: some predicates take any NaN to be invalid, the others signalling ones. */
const comparison: Operation = {
  name: 'cmp',
  ordinaryFlags: IE,
  result(l) {
    const { b, x, y } = l;
    const holding = (table: number, relation: Value) =>
      l.and(relation, b.wasm('i32x4.splat', b.sub(0, predicateBit(l, table))));
    return l.or(
      holding(HOLDS_IF_LESS, l.float('lt', x, y)),
      holding(HOLDS_IF_EQUAL, l.float('eq', x, y)),
      holding(HOLDS_IF_GREATER, l.float('gt', x, y)),
      holding(HOLDS_IF_UNORDERED, eitherNan(l)),
    );
  },
  flags(l) {
    const { b } = l;
    return either(
      b,
      l.flagged(l.or(l.isSignalling(l.x), l.isSignalling(l.y)), IE),
      b.both(predicateBit(l, SIGNALS), l.flagged(eitherNan(l), IE)),
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

/** The functions by name: `addps`, `addpd`, … `fmapd`. */
const FUNCTIONS: ReadonlyMap<string, (helper: number, id: number) => Body> = new Map(
  [SINGLE, DOUBLE].flatMap(format => {
    const named = (name: string) => `${name}p${format.bits === 64 ? 'd' : 's'}`;
    const bodies = OPERATIONS.map(
      operation =>
        [
          named(operation.name),
          (helper: number, id: number) => checkedFloatBody(operation, format, helper, id),
        ] as const,
    );
    return [...bodies, [named('fma'), (helper: number, id: number) => fusedBody(format, helper, id)] as const];
  }),
);
/** Names of the functions, in the order of their numbers. */
export const CHECKED_FLOATS: readonly string[] = [...FUNCTIONS.keys()];

/**
 * Adds the functions to the interpreter's module, and one that chooses among them by number, for translated code:
 * `checkedFloat`.
 */
export function defineCheckedFloats(
  module: Module,
  helper: number,
  number: (name: string) => number,
): readonly number[] {
  const functions = [...FUNCTIONS].map(([name, body]) => module.function(body(helper, number(name))));
  const b = new ProcessorCode(new Body(['i32', 'v128', 'v128'], ['v128']));
  const [which, x, y] = b.parameters(3);
  const [last, ...others] = functions.map(fn => () => b.answer(b.invoke(fn, 'v128', x, y))).reverse();
  b.switch(which, others.reverse(), last!);
  module.function(b.complete(), 'checkedFloat');
  return functions;
}
