/** Integer arithmetic and logic (SDM 1, 5.1.2 and 5.1.4). */
import { DE, GP } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import type { Meaning, Operand, Row } from './row.ts';

const add: Meaning = (b, dst, src) => {
  const x = dst.get();
  const y = src.get();
  const r = b.add(x, y);
  b.flagsAdd(dst.bits, x, y, r);
  dst.set(r);
};
const adc: Meaning = (b, dst, src) => {
  const x = dst.get();
  const y = src.get();
  const r = b.add(b.add(x, y), b.wide(b.carry()));
  b.flagsAdd(dst.bits, x, y, r, true);
  dst.set(r);
};
const sub: Meaning = (b, dst, src) => {
  const x = dst.get();
  const y = src.get();
  const r = b.sub(x, y);
  b.flagsSub(dst.bits, x, y, r);
  dst.set(r);
};
const sbb: Meaning = (b, dst, src) => {
  const x = dst.get();
  const y = src.get();
  const r = b.sub(b.sub(x, y), b.wide(b.carry()));
  b.flagsSub(dst.bits, x, y, r, true);
  dst.set(r);
};
const cmp: Meaning = (b, dst, src) => {
  const x = dst.get();
  const y = src.get();
  b.flagsSub(dst.bits, x, y, b.sub(x, y));
};
const logic =
  (combine: (b: Builder, x: Value, y: Value) => Value): Meaning =>
  (b, dst, src) => {
    const r = combine(b, dst.get(), src.get());
    b.flagsLogic(dst.bits, r);
    dst.set(r);
  };
const and = logic((b, x, y) => b.and(x, y));
const or = logic((b, x, y) => b.or(x, y));
const xor = logic((b, x, y) => b.xor(x, y));
const test: Meaning = (b, x, y) => b.flagsLogic(x.bits, b.and(x.get(), y.get()));

/** The eight operations that share one pattern of opcodes. */
const EIGHT: readonly { name: string; meaning: Meaning; hot?: true | 'words'; reads?: true; undefined?: string }[] = [
  { name: 'add', meaning: add, hot: 'words' },
  { name: 'or', meaning: or, hot: true, undefined: 'AF' },
  { name: 'adc', meaning: adc },
  { name: 'sbb', meaning: sbb },
  { name: 'and', meaning: and, hot: true, undefined: 'AF' },
  { name: 'sub', meaning: sub, hot: 'words' },
  { name: 'xor', meaning: xor, hot: 'words', undefined: 'AF' },
  { name: 'cmp', meaning: cmp, hot: true, reads: true },
];

const eightRows: Row[] = EIGHT.flatMap(({ name, meaning, hot, reads, undefined: undef }, index) => {
  const form = (opcode: number, operands: string, more: Partial<Row> = {}): Row => ({
    name,
    opcode,
    operands,
    meaning,
    ...(reads ? { writes: [] } : {}),
    ...(undef ? { undefined: undef } : {}),
    ...more,
  });
  const locks = reads ? {} : ({ lock: true } as const);
  const often = hot ? ({ hot: true } as const) : {};
  const bytesOften = hot === true ? often : {};
  const base = index * 8;
  return [
    form(base, 'Eb,Gb', { ...locks, ...bytesOften }),
    form(base + 1, 'Ev,Gv', { ...locks, ...often }),
    form(base + 2, 'Gb,Eb', bytesOften),
    form(base + 3, 'Gv,Ev', often),
    form(base + 4, 'AL,Ib'),
    form(base + 5, 'rAX,Iz'),
    form(0x80, 'Eb,Ib', { group: index, ...locks, ...bytesOften }),
    form(0x81, 'Ev,Iz', { group: index, ...locks, ...often }),
    form(0x82, 'Eb,Ib', { group: index, mode: 'i64', ...locks }),
    form(0x83, 'Ev,Ibs', { group: index, ...locks, ...often }),
  ];
});

/** INC and DEC leave CF alone. */
const step =
  (up: boolean): Meaning =>
  (b, dst) => {
    const x = dst.get();
    const one = b.const(1);
    const r = up ? b.add(x, one) : b.sub(x, one);
    const limit = b.const(up ? 1n << BigInt(dst.bits - 1) : (1n << BigInt(dst.bits - 1)) - 1n);
    const overflow = b.eq(b.zx(r, dst.bits), b.zx(limit, dst.bits));
    const nibble = b.and(x, b.const(15));
    const adjust = b.eq(nibble, b.const(up ? 15 : 0));
    b.flagsFrom(dst.bits, r, b.carry(), overflow, adjust);
    dst.set(r);
  };

const neg: Meaning = (b, dst) => {
  const x = dst.get();
  const r = b.sub(b.const(0), x);
  b.flagsSub(dst.bits, b.const(0), x, r);
  dst.set(r);
};
const not: Meaning = (b, dst) => dst.set(b.not(dst.get()));

/** High 64 bits of the unsigned product of two 64-bit numbers, from four 32-bit ones. */
export function highProduct(b: Builder, x: Value, y: Value): Value {
  const half = b.const(32);
  const low = (v: Value) => b.zx(v, 32);
  const xl = low(x);
  const xh = b.shr(x, half);
  const yl = low(y);
  const yh = b.shr(y, half);
  const middle = b.add(b.mul(xh, yl), b.shr(b.mul(xl, yl), half));
  const other = b.add(b.mul(xl, yh), low(middle));
  return b.add(b.add(b.mul(xh, yh), b.shr(middle, half)), b.shr(other, half));
}
export function highSignedProduct(b: Builder, x: Value, y: Value): Value {
  const correction = (p: Value, q: Value) => b.and(b.sar(p, b.const(63)), q);
  return b.sub(b.sub(highProduct(b, x, y), correction(x, y)), correction(y, x));
}

const multiply =
  (signed: boolean): Meaning =>
  (b, src) => {
    const { bits } = src;
    const widen = (v: Value) => (signed ? b.sx(v, bits) : v);
    const x = widen(b.gpr(0, bits));
    const y = widen(src.get());
    const product = b.mul(x, y);
    let high: Value;
    if (bits === 64) high = signed ? highSignedProduct(b, x, y) : highProduct(b, x, y);
    else high = b.zx(b.shr(product, b.const(bits)), bits);
    const low = b.zx(product, bits);
    const fits = signed ? b.eq(high, b.zx(b.sar(b.sx(low, bits), b.const(63)), bits)) : b.eqz(high);
    const over = b.no(fits);
    b.flagsFrom(bits, low, over, over);
    if (bits === 8) b.setGpr(0, product, 16);
    else {
      b.setGpr(0, low, bits);
      b.setGpr(2, high, bits);
    }
  };

const imul: Meaning = (b, dst, src) => multiplyInto(b, dst, dst, src);
const imulOfThree: Meaning = (b, dst, src, immediate) => multiplyInto(b, dst, src, immediate);
function multiplyInto(b: Builder, dst: Operand, first: Operand, second: Operand): void {
  const { bits } = dst;
  const x = b.sx(first.get(), bits);
  const y = b.sx(second.get(), bits);
  const r = b.mul(x, y);
  const over = bits === 64 ? b.ne(highSignedProduct(b, x, y), b.sar(r, b.const(63))) : b.ne(b.sx(r, bits), r);
  b.flagsFrom(bits, r, over, over);
  dst.set(r);
}

/** DIV and IDIV: #DE if the divisor is zero or the quotient does not fit. */
const divide =
  (signed: boolean): Meaning =>
  (b, src) => {
    const { bits } = src;
    const divisor = signed ? b.sx(src.get(), bits) : src.get();
    b.raiseIf(b.eqz(divisor), DE);
    if (bits === 64) {
      // Nearly always the dividend is a plain 64-bit number; the rest is rare enough for a helper.
      const low = b.gpr(0);
      const high = b.gpr(2);
      const plain = signed ? b.both(b.eq(high, b.sar(low, b.const(63))), b.ne(divisor, b.const(-1))) : b.eqz(high);
      b.when(
        plain,
        () => {
          const kind = signed ? 's' : 'u';
          const quotient = b.wasm(`i64.div_${kind}`, low, divisor);
          const remainder = b.wasm(`i64.rem_${kind}`, low, divisor);
          b.setGpr(0, quotient);
          b.setGpr(2, remainder);
        },
        () => b.helper(signed ? 'idiv128' : 'div128', divisor),
      );
      return;
    }
    const dividend = bits === 8 ? b.gpr(0, 16) : b.or(b.shl(b.gpr(2, bits), b.const(bits)), b.gpr(0, bits));
    const x = signed ? b.sx(dividend, bits * 2) : dividend;
    if (signed && bits === 32)
      // The one 64-bit quotient that WebAssembly traps on.
      b.raiseIf(b.both(b.eq(x, b.const(-(1n << 63n))), b.eq(divisor, b.const(-1))), DE);
    const quotient = b.wasm(signed ? 'i64.div_s' : 'i64.div_u', x, divisor);
    const fits = signed ? b.eq(b.sx(quotient, bits), quotient) : b.eq(b.zx(quotient, bits), quotient);
    b.raiseIf(b.no(fits), DE);
    const remainder = b.wasm(signed ? 'i64.rem_s' : 'i64.rem_u', x, divisor);
    if (bits === 8) b.setGpr(0, b.or(b.zx(quotient, 8), b.shl(b.zx(remainder, 8), b.const(8))), 16);
    else {
      b.setGpr(0, b.zx(quotient, bits), bits);
      b.setGpr(2, b.zx(remainder, bits), bits);
    }
  };

const cmpxchg: Meaning = (b, dst, src) => {
  const { bits } = dst;
  const old = dst.get();
  const expected = b.gpr(0, bits);
  const replacement = src.get();
  const equal = b.eq(old, expected);
  b.flagsSub(bits, expected, old, b.sub(expected, old));
  // A memory destination is written either way (SDM 2A, CMPXCHG).
  if (dst.kind === 'memory') dst.set(b.select(equal, replacement, old));
  else b.when(equal, () => dst.set(replacement));
  b.when(b.no(equal), () => b.setGpr(0, old, bits));
};
const xadd: Meaning = (b, dst, src) => {
  const x = dst.get();
  const y = src.get();
  const r = b.add(x, y);
  b.flagsAdd(dst.bits, x, y, r);
  if (dst.kind === 'memory') {
    dst.set(r);
    src.set(x);
  } else {
    src.set(x);
    dst.set(r);
  }
};

/** ZF alone changes. */
function setZero(b: Builder, zero: Value): void {
  const others = b.both(b.arithmeticFlags(), b.i32(~0x40));
  b.flagsFromBits(b.either(others, b.shl(zero, b.i32(6))));
}
const cmpxchg8b: Meaning = (b, dst) => {
  const old = dst.get();
  const expected = b.or(b.gpr(0, 32), b.shl(b.gpr(2, 32), b.const(32)));
  const replacement = b.or(b.gpr(3, 32), b.shl(b.gpr(1, 32), b.const(32)));
  const equal = b.eq(old, expected);
  dst.set(b.select(equal, replacement, old));
  b.when(b.no(equal), () => {
    b.setGpr(0, b.zx(old, 32), 32);
    b.setGpr(2, b.shr(old, b.const(32)), 32);
  });
  setZero(b, equal);
};
const cmpxchg16b: Meaning = (b, dst) => {
  const address = dst.address();
  b.raiseIf(b.no(b.eqz(b.and(address, b.const(15)))), GP, 0);
  const old = b.loadForWrite(address, 128);
  const low = b.lane('i64x2.extract_lane', 0, old);
  const high = b.lane('i64x2.extract_lane', 1, old);
  const equal = b.both(b.eq(low, b.gpr(0)), b.eq(high, b.gpr(2)));
  const replacement = b.lane('i64x2.replace_lane', 1, b.wasm('i64x2.splat', b.gpr(3)), b.gpr(1));
  b.store(address, 128, b.select(equal, replacement, old));
  b.when(b.no(equal), () => {
    b.setGpr(0, low);
    b.setGpr(2, high);
  });
  setZero(b, equal);
};

const decimal =
  (name: string): Meaning =>
  b =>
    void b.helper(name);
const decimalBase =
  (name: string): Meaning =>
  (b, base) =>
    void b.helper(name, base.get());

/** CBW, CWDE, CDQE and CWD, CDQ, CQO: by operand size. */
const extendAccumulator: Meaning = (b, accumulator) => {
  const { bits } = accumulator;
  b.setGpr(0, b.zx(b.sx(b.gpr(0, bits / 2), bits / 2), bits), bits);
};
const extendIntoD: Meaning = (b, accumulator) => {
  const { bits } = accumulator;
  b.setGpr(2, b.zx(b.sar(b.sx(b.gpr(0, bits), bits), b.const(63)), bits), bits);
};

export const arithmeticRows: Row[] = [
  ...eightRows,
  { name: 'test', opcode: 0x84, operands: 'Eb,Gb', writes: [], meaning: test, hot: 'register', undefined: 'AF' },
  { name: 'test', opcode: 0x85, operands: 'Ev,Gv', writes: [], meaning: test, hot: 'register', undefined: 'AF' },
  { name: 'test', opcode: 0xa8, operands: 'AL,Ib', writes: [], meaning: test, hot: true, undefined: 'AF' },
  { name: 'test', opcode: 0xa9, operands: 'rAX,Iz', writes: [], meaning: test, undefined: 'AF' },
  { name: 'test', opcode: 0xf6, group: 0, operands: 'Eb,Ib', writes: [], meaning: test, hot: true, undefined: 'AF' },
  { name: 'test', opcode: 0xf6, group: 1, operands: 'Eb,Ib', writes: [], meaning: test, undefined: 'AF' },
  { name: 'test', opcode: 0xf7, group: 0, operands: 'Ev,Iz', writes: [], meaning: test, hot: true, undefined: 'AF' },
  { name: 'test', opcode: 0xf7, group: 1, operands: 'Ev,Iz', writes: [], meaning: test, undefined: 'AF' },
  { name: 'inc', opcode: 0x40, operands: 'Zv', meaning: step(true), mode: 'i64' },
  { name: 'dec', opcode: 0x48, operands: 'Zv', meaning: step(false), mode: 'i64' },
  { name: 'inc', opcode: 0xfe, group: 0, operands: 'Eb', meaning: step(true), lock: true },
  { name: 'dec', opcode: 0xfe, group: 1, operands: 'Eb', meaning: step(false), lock: true },
  { name: 'inc', opcode: 0xff, group: 0, operands: 'Ev', meaning: step(true), lock: true, hot: true },
  { name: 'dec', opcode: 0xff, group: 1, operands: 'Ev', meaning: step(false), lock: true, hot: true },
  { name: 'not', opcode: 0xf6, group: 2, operands: 'Eb', meaning: not, lock: true },
  { name: 'not', opcode: 0xf7, group: 2, operands: 'Ev', meaning: not, lock: true, hot: 'register' },
  { name: 'neg', opcode: 0xf6, group: 3, operands: 'Eb', meaning: neg, lock: true },
  { name: 'neg', opcode: 0xf7, group: 3, operands: 'Ev', meaning: neg, lock: true, hot: 'register' },
  {
    name: 'mul',
    opcode: 0xf6,
    group: 4,
    operands: 'Eb',
    writes: [],
    meaning: multiply(false),
    undefined: 'SF ZF AF PF',
  },
  {
    name: 'mul',
    opcode: 0xf7,
    group: 4,
    operands: 'Ev',
    writes: [],
    meaning: multiply(false),
    undefined: 'SF ZF AF PF',
  },
  {
    name: 'imul',
    opcode: 0xf6,
    group: 5,
    operands: 'Eb',
    writes: [],
    meaning: multiply(true),
    undefined: 'SF ZF AF PF',
  },
  {
    name: 'imul',
    opcode: 0xf7,
    group: 5,
    operands: 'Ev',
    writes: [],
    meaning: multiply(true),
    undefined: 'SF ZF AF PF',
  },
  { name: 'imul', opcode: 0x0faf, operands: 'Gv,Ev', meaning: imul, undefined: 'SF ZF AF PF', hot: 'register' },
  { name: 'imul', opcode: 0x69, operands: 'Gv,Ev,Iz', meaning: imulOfThree, undefined: 'SF ZF AF PF' },
  {
    name: 'imul',
    opcode: 0x6b,
    operands: 'Gv,Ev,Ibs',
    meaning: imulOfThree,
    undefined: 'SF ZF AF PF',
    hot: 'register',
  },
  {
    name: 'div',
    opcode: 0xf6,
    group: 6,
    operands: 'Eb',
    writes: [],
    meaning: divide(false),
    undefined: 'CF PF AF ZF SF OF',
  },
  {
    name: 'div',
    opcode: 0xf7,
    group: 6,
    operands: 'Ev',
    writes: [],
    meaning: divide(false),
    undefined: 'CF PF AF ZF SF OF',
  },
  {
    name: 'idiv',
    opcode: 0xf6,
    group: 7,
    operands: 'Eb',
    writes: [],
    meaning: divide(true),
    undefined: 'CF PF AF ZF SF OF',
  },
  {
    name: 'idiv',
    opcode: 0xf7,
    group: 7,
    operands: 'Ev',
    writes: [],
    meaning: divide(true),
    undefined: 'CF PF AF ZF SF OF',
  },
  { name: 'cmpxchg', opcode: 0x0fb0, operands: 'Eb,Gb', meaning: cmpxchg, lock: true },
  { name: 'cmpxchg', opcode: 0x0fb1, operands: 'Ev,Gv', meaning: cmpxchg, lock: true, hot: true },
  { name: 'xadd', opcode: 0x0fc0, operands: 'Eb,Gb', writes: [0, 1], meaning: xadd, lock: true },
  { name: 'xadd', opcode: 0x0fc1, operands: 'Ev,Gv', writes: [0, 1], meaning: xadd, lock: true },
  { name: 'cmpxchg8b', opcode: 0x0fc7, group: 1, operands: 'Mq', meaning: cmpxchg8b, lock: true, feature: 'cx8' },
  {
    name: 'cmpxchg16b',
    opcode: 0x0fc7,
    group: 1,
    operands: 'Mdq',
    meaning: cmpxchg16b,
    lock: true,
    feature: 'cx16',
    mode: 'o64',
    rexW: true,
  },
  { name: 'cbw', opcode: 0x98, operands: 'rAX', writes: [], meaning: extendAccumulator, hot: true },
  { name: 'cwd', opcode: 0x99, operands: 'rAX', writes: [], meaning: extendIntoD },
  { name: 'daa', opcode: 0x27, operands: '', meaning: decimal('daa'), mode: 'i64', undefined: 'OF' },
  { name: 'das', opcode: 0x2f, operands: '', meaning: decimal('das'), mode: 'i64', undefined: 'OF' },
  { name: 'aaa', opcode: 0x37, operands: '', meaning: decimal('aaa'), mode: 'i64', undefined: 'OF SF ZF PF' },
  { name: 'aas', opcode: 0x3f, operands: '', meaning: decimal('aas'), mode: 'i64', undefined: 'OF SF ZF PF' },
  {
    name: 'aam',
    opcode: 0xd4,
    operands: 'Ib',
    writes: [],
    meaning: decimalBase('aam'),
    mode: 'i64',
    undefined: 'OF AF CF',
  },
  {
    name: 'aad',
    opcode: 0xd5,
    operands: 'Ib',
    writes: [],
    meaning: decimalBase('aad'),
    mode: 'i64',
    undefined: 'OF AF CF',
  },
];
