/**
 * SSE's common arithmetic by WebAssembly's operation, which stands if the exponents of the result and of the operands
 * are ordinary (float-check.ts says why). All other operands go to the functions of checked-floats.ts; so do zeros,
 * because a test for them here would cost more than they do there. Operands known to hold no denormal number
 * (`Operand.isDenormalFree`) are not tested: infinities and NaNs among them show in the result, and a zero shows in the
 * quotient.
 *
 * Scalars are computed as such: junk in the other lanes could be denormal numbers, which are slow.
 */
import type { Builder, Value } from '../builder.ts';
import {
  everyLane,
  type Format,
  LaneCheck,
  lowest,
  roundingIsSilent,
  smallestNormal,
  vectorOf,
  withLowest,
} from './float-check.ts';
import type { Lanes, Meaning, Operand } from './row.ts';

export type Basic = 'add' | 'sub' | 'mul' | 'div' | 'sqrt';

const isDouble = (format: Format) => format.bits === 64;
/** The largest finite number, and the number after the smallest normal one. */
const largest = (format: Format) => (isDouble(format) ? (0x7ffn << 52n) - 1n : (0xffn << 23n) - 1n);
const smallest = (format: Format) => (isDouble(format) ? (1n << 52n) + 1n : (1n << 23n) + 1n);

const checkedName = (name: string, format: Format) => `${name}p${isDouble(format) ? 'd' : 's'}`;
const scalarLanes = (format: Format): Lanes => (isDouble(format) ? 'f64' : 'f32');

// ── all lanes ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** A truth value: lanes of `result` are not normal numbers, or lanes of `operands` are zero or denormal. */
function packedOutOfRange(b: Builder, format: Format, result: Value, operands: readonly Value[]): Value {
  const { integers, shape, bits } = format;
  const op = (name: string, ...parts: Value[]) => b.wasm(`${integers}.${name}`, ...parts);
  const every = (value: bigint) => everyLane(b, format, value);
  const magnitude = (v: Value) => b.wasm('v128.and', v, every((1n << BigInt(bits - 1)) - 1n));
  // One signed comparison tells what is below the smallest (it wraps) and what is above the largest.
  const lowestInteger = -(1n << BigInt(bits - 1));
  const moved = op('add', magnitude(result), every(lowestInteger - smallest(format)));
  const bad = op('gt_s', moved, every(lowestInteger + largest(format) - smallest(format)));
  if (!operands.length) return b.wasm('v128.any_true', bad);
  const least = operands.map(magnitude).reduce((p, q) => b.wasm(`${shape}.pmin`, p, q));
  return b.wasm('v128.any_true', b.wasm('v128.or', bad, b.wasm(`${shape}.le`, least, smallestNormal(b, format))));
}

/** Operands that have to be looked at. */
const wild = (operands: readonly [Operand, Value][], lanes: Lanes) =>
  operands.filter(([operand]) => !operand.isDenormalFree(lanes)).map(([, value]) => value);

/** dst = dst operation src; SQRT takes src alone. */
export const packedArithmetic =
  (operation: Basic, format: Format): Meaning =>
  (b, dst, src) => {
    const lanes = format.shape;
    const y = src.get();
    const root = operation === 'sqrt';
    const x = root ? y : dst.get();
    const result = root ? b.wasm(`${lanes}.sqrt`, y) : b.wasm(`${lanes}.${operation}`, x, y);
    const operands = wild(
      root
        ? [[src, y]]
        : [
            [dst, x],
            [src, y],
          ],
      lanes,
    );
    const bad = packedOutOfRange(b, format, result, operands);
    b.when(
      b.both(roundingIsSilent(b), b.no(bad)),
      () => dst.set(result),
      () => {
        dst.set(b.checkedFloat(checkedName(operation, format), x, y));
        b.leaveAfterDenormal();
      },
    );
    src.setDenormalFree(lanes);
    dst.setDenormalFree(lanes);
  };

/** HADD and HSUB: even and odd numbers of both operands. */
export function pairwiseArithmetic(b: Builder, operation: Basic, format: Format, x: Value, y: Value): Value {
  const answer = b.variable(b.wasm(`${format.shape}.${operation}`, x, y));
  const bad = packedOutOfRange(b, format, answer.get(), [x, y]);
  b.when(b.either(bad, b.no(roundingIsSilent(b))), () =>
    answer.set(b.checkedFloat(checkedName(operation, format), x, y)),
  );
  return answer.get();
}

// ── lane 0 ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The exponent and sign of a number, as i32. */
function exponent(b: Builder, format: Format, number: Value): Value {
  if (isDouble(format)) return b.narrow(b.shr(b.wasm('i64.reinterpret_f64', number), b.const(52)));
  return b.shr(b.wasm('i32.reinterpret_f32', number), b.i32(23));
}
const exponentMask = (format: Format) => (isDouble(format) ? 0x7ff : 0xff);

/** The number that a scalar operand gives: lane 0 of a whole register, or memory. */
function scalarOf(b: Builder, format: Format, operand: Operand): Value {
  const loaded = operand.getAs(isDouble(format) ? 'f64' : 'f32');
  if (loaded) return loaded;
  const value = operand.get();
  if (operand.bits === 128) return lowest(b, format, value);
  return isDouble(format) ? b.wasm('f64.reinterpret_i64', value) : b.wasm('f32.reinterpret_i32', b.narrow(value));
}

/** The same, of ADDSS and its kin (operands as scalarSource gives them). */
export const scalarArithmetic =
  (operation: Basic, format: Format): Meaning =>
  (b, dst, src) => {
    const lanes = scalarLanes(format);
    const mask = exponentMask(format);
    const y = scalarOf(b, format, src);
    const old = dst.get();
    const root = operation === 'sqrt';
    const x = root ? y : lowest(b, format, old);
    const result = root ? b.wasm(`${lanes}.sqrt`, y) : b.wasm(`${lanes}.${operation}`, x, y);
    // Exponents 2 to the largest: the smallest normal number has 1, and so have some that do not matter.
    const normal = b.wasm(
      'i32.lt_u',
      b.both(b.sub(exponent(b, format, result), b.i32(2)), b.i32(mask)),
      b.i32(mask - 2),
    );
    const operands = wild(
      root
        ? [[src, y]]
        : [
            [dst, x],
            [src, y],
          ],
      lanes,
    );
    const fast = operands.reduce(
      (all, number) => b.both(all, b.ne(b.both(exponent(b, format, number), b.i32(mask)), b.i32(0))),
      b.both(roundingIsSilent(b), normal),
    );
    const splat = (number: Value) => b.wasm(`${format.shape}.splat`, number);
    b.when(
      fast,
      () => dst.set(withLowest(b, format, old, result)),
      () => {
        const answer = b.checkedFloat(checkedName(operation, format), splat(x), splat(y));
        dst.set(withLowest(b, format, old, lowest(b, format, answer)));
        b.leaveAfterDenormal();
      },
    );
    if (src.bits === 128) src.setDenormalFree(lanes);
    dst.setDenormalFree(lanes);
  };

// ── minimum, maximum, comparisons ─────────────────────────────────────────────────────────────────────────────────

/**
 * A truth value: the numbers that count are ordinary. Those known to be free of denormal numbers are, unless they are
 * NaNs.
 */
export function areOrdinary(
  b: Builder,
  format: Format,
  packed: boolean,
  operands: readonly (readonly [Operand, Value])[],
): Value {
  const check = new LaneCheck(b, format, packed);
  const lanes = packed ? format.shape : scalarLanes(format);
  const masks = operands.map(([operand, value]) =>
    operand.isDenormalFree(lanes) ? b.wasm(`${format.shape}.eq`, value, value) : check.isOrdinary(value),
  );
  return check.holds(...masks);
}

/**
 * dst = `result` of (dst, src) if their numbers are ordinary. `checkedFloat` names the function that answers otherwise;
 * MIN and MAX then leave lanes without denormal numbers, comparisons leave masks.
 */
export function selected(
  b: Builder,
  format: Format,
  packed: boolean,
  [dst, src]: readonly [Operand, Operand],
  { name, result, leavesNumbers }: { name: string; result: (x: Value, y: Value) => Value; leavesNumbers: boolean },
): void {
  const y = vectorOf(b, src);
  const x = dst.get();
  const merged = (answer: Value) => (packed ? answer : withLowest(b, format, x, lowest(b, format, answer)));
  const every = (v: Value) => (packed ? v : b.wasm(`${format.shape}.splat`, lowest(b, format, v)));
  b.when(
    areOrdinary(b, format, packed, [
      [dst, x],
      [src, y],
    ]),
    () => dst.set(merged(result(x, y))),
    () => {
      dst.set(merged(b.checkedFloat(checkedName(name, format), every(x), every(y))));
      b.leaveAfterDenormal();
    },
  );
  const lanes = packed ? format.shape : scalarLanes(format);
  if (src.bits === 128) src.setDenormalFree(lanes);
  if (leavesNumbers) dst.setDenormalFree(lanes);
}
