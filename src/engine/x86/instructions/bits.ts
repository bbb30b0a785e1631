/** LZCNT, BMI1 and BMI2 (SDM 1, 5.1.16): bits counted and moved. Those under VEX work on general registers alone. */
import { CR0_PE } from '../../../x86/control.ts';
import { VM } from '../../../x86/flags.ts';
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import { highProduct } from './arithmetic.ts';
import type { Feature, Meaning, Row } from './row.ts';

/** Outside of 64-bit mode: VEX means nothing in real and in virtual-8086 mode (SDM 2A 2.3.2). */
export function lacksVex(b: Builder): Value {
  return b.either(b.no(b.flag(state.CR0, CR0_PE)), b.flag(state.FLAGS_REST, VM));
}

/** CF: there is no bit; then the count is the operand's width. */
const count =
  (leading: boolean): Meaning =>
  (b, dst, src) => {
    const { bits } = dst;
    const x = src.get();
    const found = leading
      ? b.sub(b.wasm('i64.clz', x), BigInt(64 - bits))
      : b.wasm('i64.ctz', bits === 64 ? x : b.or(x, 1n << BigInt(bits)));
    b.flagsFrom(bits, found, b.eqz(x), b.i32(0));
    dst.set(found);
  };

const andNot: Meaning = (b, dst, first, second) => {
  const r = b.zx(b.and(b.not(first.get()), second.get()), dst.bits);
  b.flagsLogic(dst.bits, r);
  dst.set(r);
};
/** BLSR, BLSMSK and BLSI. @param carriesZero CF: the source is 0; otherwise it says the opposite */
const lowest =
  (compute: (b: Builder, x: Value) => Value, carriesZero: boolean): Meaning =>
  (b, dst, src) => {
    const x = src.get();
    const r = b.zx(compute(b, x), dst.bits);
    const isZero = b.eqz(x);
    b.flagsFrom(dst.bits, r, carriesZero ? isZero : b.no(isZero), b.i32(0));
    dst.set(r);
  };
const lessOne = (b: Builder, x: Value): Value => b.sub(x, 1n);

/** The low `count` (i64) bits of x. */
const lowBits = (b: Builder, x: Value, n: Value): Value =>
  b.select(b.gtu(n, 63n), x, b.and(x, b.sub(b.shl(b.const(1), n), 1n)));
/** Byte 0 of the control: where the field starts; byte 1: its length. */
const bextr: Meaning = (b, dst, src, control) => {
  const start = b.and(control.get(), 0xffn);
  const length = b.and(b.shr(control.get(), 8n), 0xffn);
  const shifted = b.select(b.gtu(start, 63n), 0n, b.shr(src.get(), start));
  const r = lowBits(b, shifted, length);
  b.flagsLogic(dst.bits, r);
  dst.set(r);
};
const bzhi: Meaning = (b, dst, src, index) => {
  const { bits } = dst;
  const n = b.and(index.get(), 0xffn);
  const r = lowBits(b, src.get(), n);
  b.flagsFrom(bits, r, b.gtu(n, BigInt(bits - 1)), b.i32(0));
  dst.set(r);
};
const deposit: Meaning = (b, dst, src, mask) => dst.set(b.call('deposit', src.get(), mask.get()));
const extract: Meaning = (b, dst, src, mask) => dst.set(b.call('extract', src.get(), mask.get()));

/** Of two destinations that are one register, the upper half stays. */
const mulx: Meaning = (b, upper, lower, src) => {
  const { bits } = src;
  const [x, y] = [b.gpr(2, bits), src.get()];
  const low = b.mul(x, y);
  const high = bits === 64 ? highProduct(b, x, y) : b.shr(low, 32n);
  lower.set(b.zx(low, bits));
  upper.set(high);
};
const rorx: Meaning = (b, dst, src, by) => dst.set(rotatedRight(b, src.get(), by.get(), dst.bits));
function rotatedRight(b: Builder, x: Value, by: Value, bits: number): Value {
  const n = b.and(by, BigInt(bits - 1));
  if (bits === 64) return b.rotr(x, n);
  return b.zx(b.or(b.shr(x, n), b.shl(x, b.sub(32n, n))), 32);
}
const shift =
  (kind: 'shl' | 'shr' | 'sar'): Meaning =>
  (b, dst, src, by) => {
    const { bits } = dst;
    const x = kind === 'sar' ? b.sx(src.get(), bits) : src.get();
    dst.set(b.zx(b[kind](x, b.and(by.get(), BigInt(bits - 1))), bits));
  };

const vex = (name: string, opcode: number, operands: string, meaning: Meaning, columns: Partial<Row>): Row => ({
  name,
  opcode,
  operands,
  meaning,
  vex: { l: 0 },
  prefix: 'none',
  ...columns,
});
const bmi1: Partial<Row> & { feature: Feature } = { feature: 'bmi1' };
const bmi2: Partial<Row> & { feature: Feature } = { feature: 'bmi2' };

export const bitRows: readonly Row[] = [
  {
    name: 'tzcnt',
    opcode: 0x0fbc,
    prefix: 'f3',
    operands: 'Gv,Ev',
    meaning: count(false),
    undefined: 'OF SF AF PF',
    feature: 'bmi1',
  },
  {
    name: 'lzcnt',
    opcode: 0x0fbd,
    prefix: 'f3',
    operands: 'Gv,Ev',
    meaning: count(true),
    undefined: 'OF SF AF PF',
    feature: 'lzcnt',
  },
  vex('andn', 0x0f38f2, 'Gy,By,Ey', andNot, { ...bmi1, undefined: 'AF PF' }),
  vex(
    'blsr',
    0x0f38f3,
    'By,Ey',
    lowest((b, x) => b.and(x, lessOne(b, x)), true),
    {
      ...bmi1,
      group: 1,
      undefined: 'AF PF',
    },
  ),
  vex(
    'blsmsk',
    0x0f38f3,
    'By,Ey',
    lowest((b, x) => b.xor(x, lessOne(b, x)), true),
    {
      ...bmi1,
      group: 2,
      undefined: 'AF PF',
    },
  ),
  vex(
    'blsi',
    0x0f38f3,
    'By,Ey',
    lowest((b, x) => b.and(x, b.sub(0n, x)), false),
    {
      ...bmi1,
      group: 3,
      undefined: 'AF PF',
    },
  ),
  vex('bextr', 0x0f38f7, 'Gy,Ey,By', bextr, { ...bmi1, undefined: 'SF AF PF' }),
  vex('bzhi', 0x0f38f5, 'Gy,Ey,By', bzhi, { ...bmi2, undefined: 'AF PF' }),
  vex('pdep', 0x0f38f5, 'Gy,By,Ey', deposit, { ...bmi2, prefix: 'f2' }),
  vex('pext', 0x0f38f5, 'Gy,By,Ey', extract, { ...bmi2, prefix: 'f3' }),
  vex('mulx', 0x0f38f6, 'Gy,By,Ey', mulx, { ...bmi2, prefix: 'f2', writes: [0, 1] }),
  vex('rorx', 0x0f3af0, 'Gy,Ey,Ib', rorx, { ...bmi2, prefix: 'f2' }),
  vex('shlx', 0x0f38f7, 'Gy,Ey,By', shift('shl'), { ...bmi2, prefix: '66' }),
  vex('shrx', 0x0f38f7, 'Gy,Ey,By', shift('shr'), { ...bmi2, prefix: 'f2' }),
  vex('sarx', 0x0f38f7, 'Gy,Ey,By', shift('sar'), { ...bmi2, prefix: 'f3' }),
];
