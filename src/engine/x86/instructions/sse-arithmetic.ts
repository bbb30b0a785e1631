/**
 * Floating-point arithmetic of SSE to SSE4.1 (SDM 1, 5.5.1.2, 5.6.1.2, 5.7.3 and 5.10): fast where float-check.ts
 * allows it.
 */
import type { Builder, Value } from '../builder.ts';
import {
  DOUBLE,
  everyLane,
  type Format,
  inSoftware,
  LaneCheck,
  lowest,
  roundingIsSilent,
  SINGLE,
  scalarSource,
  vectorOf,
  withLowest,
} from './float-check.ts';
import { type Basic, packedArithmetic, pairwiseArithmetic, scalarArithmetic, selected } from './float-fast.ts';
import type { Feature, Meaning, Row } from './row.ts';
import { bytes, choose } from './vector.ts';
import { row, sse41, x66 } from './vector-columns.ts';

/** The four forms of an operation: suffix, prefix, operands, format. */
interface Form {
  suffix: string;
  prefix: 'none' | '66' | 'f3' | 'f2';
  operands: string;
  format: Format;
  packed: boolean;
  feature: Feature;
}
const FORMS: readonly Form[] = [
  { suffix: 'ps', prefix: 'none', operands: 'Vx,Wx', format: SINGLE, packed: true, feature: 'sse' },
  { suffix: 'pd', prefix: '66', operands: 'Vx,Wx', format: DOUBLE, packed: true, feature: 'sse2' },
  { suffix: 'ss', prefix: 'f3', operands: 'Vss,Wss', format: SINGLE, packed: false, feature: 'sse' },
  { suffix: 'sd', prefix: 'f2', operands: 'Vsd,Wsd', format: DOUBLE, packed: false, feature: 'sse2' },
];

/** A fast answer and the truth value that allows it. */
interface Attempt {
  result: Value;
  fast: Value;
}
type Attempted = (b: Builder, check: LaneCheck, format: Format, x: Value, y: Value) => Attempt;

/** A result as it goes to the destination: of a scalar one, lane 0. */
const merged = (b: Builder, form: Form, x: Value, result: Value) =>
  form.packed ? result : withLowest(b, form.format, x, lowest(b, form.format, result));

/** The rows of an operation in one form. */
const rowsOf = (form: Form, row: Row): Row[] => (form.packed ? [row] : scalarSource(row));

/** dst = attempt(dst, src), in software where the attempt may not stand. */
const attempted =
  (name: string, form: Form, attempt: Attempted): Meaning =>
  (b, dst, src) => {
    const y = vectorOf(b, src);
    const x = dst.get();
    const { result, fast } = attempt(b, new LaneCheck(b, form.format, form.packed), form.format, x, y);
    b.when(
      fast,
      () => dst.set(merged(b, form, x, result)),
      () => dst.set(merged(b, form, x, inSoftware(b, name, x, y))),
    );
  };

/** `exactZero` tells in which lanes a zero result is exact, given ordinary operands. */
const rounded =
  (
    operation: string,
    exactZero: (b: Builder, check: LaneCheck, x: Value, y: Value, result: Value) => Value,
  ): Attempted =>
  (b, check, format, x, y) => {
    const result = b.wasm(`${format.shape}.${operation}`, x, y);
    const silent = check.isSilent(result, exactZero(b, check, x, y, result));
    const lanes = check.holds(check.isOrdinary(x), check.isOrdinary(y), silent);
    return { result, fast: b.both(roundingIsSilent(b), lanes) };
  };
/** A sum of normal numbers is zero only if it is exactly zero: what is not, is at least the smallest denormal. */
const add = rounded('add', (_b, check, _x, _y, result) => check.isZero(result));
const multiply = rounded('mul', (b, check, x, y) => b.wasm('v128.or', check.isZero(x), check.isZero(y)));

/**
 * MIN and MAX answer with the second operand where neither is smaller: what pmin and pmax do with operands exchanged.
 */
const extreme =
  (name: 'min' | 'max', form: Form): Meaning =>
  (b, dst, src) => {
    const result = (x: Value, y: Value) => b.wasm(`${form.format.shape}.p${name}`, y, x);
    selected(b, form.format, form.packed, [dst, src!], { name, result, leavesNumbers: true });
  };

const basic =
  (operation: Basic) =>
  ({ format, packed }: Form): Meaning =>
    packed ? packedArithmetic(operation, format) : scalarArithmetic(operation, format);

const OPERATIONS: [string, number, (form: Form) => Meaning][] = [
  ['sqrt', 0x0f51, basic('sqrt')],
  ['add', 0x0f58, basic('add')],
  ['mul', 0x0f59, basic('mul')],
  ['sub', 0x0f5c, basic('sub')],
  ['min', 0x0f5d, form => extreme('min', form)],
  ['div', 0x0f5e, basic('div')],
  ['max', 0x0f5f, form => extreme('max', form)],
];

/** The low halves or pairs of neighbours: HADD and HSUB work on even and odd numbers. */
const horizontally =
  (operation: 'add' | 'sub') =>
  ({ format }: Form): Meaning =>
  (b, dst, src) => {
    const size = format.bits / 8;
    const even = Array.from({ length: 16 / size }, (_, i) => 2 * i);
    const y = src.get();
    const x = dst.get();
    const odd = even.map(n => n + 1);
    dst.set(pairwiseArithmetic(b, operation, format, choose(b, x, y, size, even), choose(b, x, y, size, odd)));
  };
/** ADDSUB subtracts in even lanes, adds in odd ones: it adds y with the even signs changed. */
const alternating: Attempted = (b, check, format, x, y) => {
  const size = format.bits / 8;
  const signs = bytes(b, i => (i % (2 * size) === size - 1 ? 0x80 : 0));
  return add(b, check, format, x, b.wasm('v128.xor', y, signs));
};

const SSE3_OPERATIONS: [string, number, (form: Form) => Meaning][] = [
  ['hadd', 0x0f7c, horizontally('add')],
  ['hsub', 0x0f7d, horizontally('sub')],
  ['addsub', 0x0fd0, form => attempted(`addsub${form.suffix}`, form, alternating)],
];
const SSE3_FORMS: readonly Form[] = [
  { ...FORMS[1]!, feature: 'sse3' },
  { ...FORMS[0]!, prefix: 'f2', feature: 'sse3' },
];

/** RCPPS and RSQRTPS: approximations in software, too rare to be worth more (sse-float/approximate.ts). */
const approximation =
  (name: string, form: Form): Meaning =>
  (b, dst, src) => {
    const y = vectorOf(b, src);
    dst.set(merged(b, form, form.packed ? y : dst.get(), inSoftware(b, name, undefined, y)));
  };

// ── rounding to integers and dot products (SSE4.1) ────────────────────────────────────────────────────────────────

/** ROUNDPS … : imm bits 0-1 are a rounding mode, bit 2 takes MXCSR's instead, bit 3 keeps PE as it is. */
const roundToInteger =
  (name: string, form: Form): Meaning =>
  (b, dst, src, immediate) => {
    const x = vectorOf(b, src);
    const old = form.packed ? x : dst.get();
    const control = b.narrow(immediate.get());
    const bit = (n: number) => b.both(b.shr(control, b.i32(n)), b.i32(1));
    const way = (operation: string) => b.wasm(`${form.format.shape}.${operation}`, x);
    const upOrTruncated = b.select(bit(0), way('trunc'), way('ceil'));
    const nearestOrDown = b.select(bit(0), way('floor'), way('nearest'));
    const chosen = b.select(bit(1), upOrTruncated, nearestOrDown);
    // A number that is an integer already is the answer whatever the mode, and raises nothing.
    const check = new LaneCheck(b, form.format, form.packed);
    const exact = check.holds(b.wasm(`${form.format.shape}.eq`, chosen, x));
    const quiet = b.both(b.no(bit(2)), b.either(bit(3), roundingIsSilent(b)));
    const fast = b.both(check.holds(check.isOrdinary(x)), b.either(exact, quiet));
    b.when(
      fast,
      () => dst.set(merged(b, form, old, chosen)),
      () => dst.set(merged(b, form, old, inSoftware(b, name, undefined, x, immediate.get()))),
    );
  };

/** All ones in the lanes whose bit, counted from `first`, is set in the immediate. */
function laneMask(b: Builder, format: Format, immediate: Value, first: number): Value {
  const own =
    format.bits === 64
      ? bytes(b, i => (i % 8 === 0 ? 1 << (i / 8 + first) : 0))
      : bytes(b, i => (i % 4 === 0 ? 1 << (i / 4 + first) : 0));
  const set = b.wasm('v128.and', everyLane(b, format, immediate), own);
  return b.wasm(`${format.integers}.eq`, set, own);
}

/** DPPS and DPPD: chosen products, summed pair by pair, to the chosen lanes. Fast if every step is. */
const dotProduct =
  (name: string, format: Format): Meaning =>
  (b, dst, src, immediate) => {
    const y = src.get();
    const x = dst.get();
    const control = immediate.get();
    const wanted = laneMask(b, format, control, 4);
    const masked = (v: Value) => b.wasm('v128.and', v, wanted);
    const check = new LaneCheck(b, format, true);
    // Lanes not wanted are zero times zero: +0, and nothing raised.
    const products = multiply(b, check, format, masked(x), masked(y));
    const swapped = (v: Value, numbers: number[]) => choose(b, v, v, 4, numbers);
    const pairs = add(
      b,
      check,
      format,
      products.result,
      swapped(products.result, format.bits === 64 ? [2, 3, 0, 1] : [1, 0, 3, 2]),
    );
    const sum = format.bits === 64 ? pairs : add(b, check, format, pairs.result, swapped(pairs.result, [2, 3, 0, 1]));
    b.when(
      b.both(b.both(products.fast, pairs.fast), sum.fast),
      () => dst.set(b.wasm('v128.and', sum.result, laneMask(b, format, control, 0))),
      () => dst.set(inSoftware(b, name, x, y, control)),
    );
  };

export const floatArithmeticRows: Row[] = [
  ...OPERATIONS.flatMap(([operation, opcode, meaning]) =>
    FORMS.flatMap(form => {
      const name = operation + form.suffix;
      const { prefix, operands, feature } = form;
      return rowsOf(form, { name, opcode, prefix, operands, meaning: meaning(form), feature, unit: 'sse' });
    }),
  ),
  ...SSE3_OPERATIONS.flatMap(([operation, opcode, meaning]) =>
    SSE3_FORMS.map((form): Row => {
      const name = operation + form.suffix;
      const { prefix, operands, feature } = form;
      return { name, opcode, prefix, operands, meaning: meaning(form), feature, unit: 'sse' };
    }),
  ),
  ...(['rsqrt', 'rcp'] as const).flatMap((operation, i) =>
    [FORMS[0]!, FORMS[2]!].flatMap(form => {
      const name = operation + form.suffix;
      const { prefix, operands, feature } = form;
      const meaning = approximation(name, form);
      return rowsOf(form, { name, opcode: 0x0f52 + i, prefix, operands, meaning, feature, unit: 'sse' });
    }),
  ),
  ...FORMS.flatMap((form, i) => {
    const name = `round${form.suffix}`;
    const operands = `${form.operands},Ib`;
    const meaning = roundToInteger(name, form);
    return rowsOf(form, {
      name,
      opcode: 0x0f3a08 + i,
      prefix: '66',
      operands,
      meaning,
      feature: 'sse4_1',
      unit: 'sse',
    });
  }),
  row('dpps', 0x0f3a40, 'Vx,Wx,Ib', dotProduct('dpps', SINGLE), x66, sse41),
  row('dppd', 0x0f3a41, 'Vx,Wx,Ib', dotProduct('dppd', DOUBLE), x66, sse41),
];
