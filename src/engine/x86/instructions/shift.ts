/** Shifts, rotates, bit tests and scans (SDM 1, 5.1.5 and 5.1.6). */
import type { Builder, Value } from '../builder.ts';
import type { Meaning, Operand, Row } from './row.ts';

/** A shift or a rotation of an operand by a count that `by` reads. */
type Shift = (b: Builder, dst: Operand, by: () => Value) => void;
const byCount =
  (shift: Shift): Meaning =>
  (b, dst, by) =>
    shift(b, dst, () => by.get());
const byOne =
  (shift: Shift): Meaning =>
  (b, dst) =>
    shift(b, dst, () => b.const(1));

/** The count as the processor takes it: modulo 32, or 64 for 64-bit operands. */
function masked(b: Builder, count: Value, bits: number): Value {
  return b.and(count, b.const(bits === 64 ? 63 : 31));
}
const bitAt = (b: Builder, x: Value, index: Value): Value => b.narrow(b.and(b.shr(x, index), b.const(1)));

/** A count of 0 changes neither flags nor destination (but the destination is still written to memory, unseen). */
const shift =
  (kind: 'shl' | 'shr' | 'sar'): Shift =>
  (b, dst, by) => {
    const { bits } = dst;
    const x = dst.get();
    const n = masked(b, by(), bits);
    const from = kind === 'sar' ? b.sx(x, bits) : x;
    const r = b[kind](from, n);
    b.when(b.no(b.eqz(n)), () => {
      const before = b.sub(n, b.const(1));
      // The last bit shifted out. For 8 and 16 bits the count may pass the width.
      const carry =
        kind === 'shl'
          ? bits === 64
            ? bitAt(b, x, b.sub(b.const(64), n))
            : bitAt(b, b.shl(x, before), b.const(bits - 1))
          : bitAt(b, from, before);
      const top = b.sign(r, bits);
      const overflow = kind === 'shl' ? b.xor(top, carry) : kind === 'shr' ? b.sign(x, bits) : b.i32(0);
      b.flagsFrom(bits, r, carry, overflow);
    });
    dst.set(r);
  };

/** CF and OF change, the others stay. */
function setCarryOverflow(b: Builder, carry: Value, overflow: Value): void {
  const others = b.both(b.arithmeticFlags(), b.i32(~0x801));
  b.flagsFromBits(b.either(b.either(others, carry), b.shl(overflow, b.i32(11))));
}

const rotate =
  (left: boolean): Shift =>
  (b, dst, by) => {
    const { bits } = dst;
    const x = dst.get();
    const count = masked(b, by(), bits);
    const n = bits < 32 ? b.and(count, b.const(bits - 1)) : count;
    let r: Value;
    if (bits === 64) r = b.wasm(left ? 'i64.rotl' : 'i64.rotr', x, n);
    else {
      const back = b.sub(b.const(bits), n);
      r = b.zx(left ? b.or(b.shl(x, n), b.shr(x, back)) : b.or(b.shr(x, n), b.shl(x, back)), bits);
    }
    b.when(b.no(b.eqz(count)), () => {
      const top = b.sign(r, bits);
      const carry = left ? b.narrow(b.and(r, b.const(1))) : top;
      const overflow = left ? b.xor(top, carry) : b.xor(top, b.sign(b.shl(r, b.const(1)), bits));
      setCarryOverflow(b, carry, overflow);
    });
    dst.set(r);
  };

/** RCL and RCR turn bits + 1 bits. */
const rotateThroughCarry =
  (left: boolean): Shift =>
  (b, dst, by) => {
    const { bits } = dst;
    const x = dst.get();
    const count = masked(b, by(), bits);
    const n = bits < 32 ? b.wasm('i64.rem_u', count, b.const(bits + 1)) : count;
    const carryIn = b.wide(b.carry());
    const result = b.variable(x);
    b.when(b.no(b.eqz(n)), () => {
      const before = b.sub(n, b.const(1));
      // The shift back by bits + 1 - n is done in two steps, because it may be by 64.
      const back = b.sub(b.const(bits), n);
      const far = left ? b.shr(b.shr(x, back), b.const(1)) : b.shl(b.shl(x, back), b.const(1));
      const near = left ? b.shl(x, n) : b.shr(x, n);
      const inserted = b.shl(carryIn, left ? before : back);
      const r = b.zx(b.or(b.or(near, far), inserted), bits);
      const carry = left ? bitAt(b, x, back) : bitAt(b, x, before);
      const top = b.sign(r, bits);
      const overflow = left ? b.xor(top, carry) : b.xor(top, b.sign(b.shl(r, b.const(1)), bits));
      setCarryOverflow(b, carry, overflow);
      result.set(r);
    });
    dst.set(result.get());
  };

/** SHLD and SHRD: the bits shifted in come from the second operand. */
const doubleShift =
  (left: boolean): Meaning =>
  (b, dst, src, by) => {
    const { bits } = dst;
    const x = dst.get();
    const y = src.get();
    const n = masked(b, by.get(), bits);
    const result = b.variable(x);
    b.when(b.no(b.eqz(n)), () => {
      const before = b.sub(n, b.const(1));
      let r: Value;
      let carry: Value;
      if (bits === 16) {
        // Counts above 16 are undefined; real processors go on with the first operand again.
        const wide = left
          ? b.or(b.or(b.shl(x, b.const(32)), b.shl(y, b.const(16))), x)
          : b.or(b.or(x, b.shl(y, b.const(16))), b.shl(x, b.const(32)));
        r = left ? b.shr(b.shl(wide, n), b.const(32)) : b.shr(wide, n);
        carry = left ? bitAt(b, b.shl(wide, before), b.const(47)) : bitAt(b, wide, before);
      } else {
        const back = b.sub(b.const(bits), n);
        r = left ? b.or(b.shl(x, n), b.shr(y, back)) : b.or(b.shr(x, n), b.shl(y, back));
        carry = left ? bitAt(b, x, back) : bitAt(b, x, before);
      }
      r = b.zx(r, bits);
      b.flagsFrom(bits, r, carry, b.xor(b.sign(r, bits), b.sign(x, bits)));
      result.set(r);
    });
    dst.set(result.get());
  };

/** CF alone changes. */
function setCarry(b: Builder, carry: Value): void {
  b.flagsFromBits(b.either(b.both(b.arithmeticFlags(), b.i32(~1)), carry));
}
const bitTest =
  (change: 'none' | 'set' | 'reset' | 'complement'): Meaning =>
  (b, dst, index) => {
    const { bits } = dst;
    const n = index.get();
    const bit = b.and(n, b.const(bits - 1));
    const apply = (x: Value): Value => {
      const mask = b.shl(b.const(1), bit);
      if (change === 'set') return b.or(x, mask);
      if (change === 'reset') return b.and(x, b.not(mask));
      return b.xor(x, mask);
    };
    if (dst.kind === 'memory' && index.kind === 'register') {
      // A register index reaches beyond the operand: a bit string in memory (SDM 2A, BT).
      const words = b.sar(b.sx(n, bits), b.const(bits === 64 ? 6 : bits === 32 ? 5 : 4));
      const address = dst.element(b.mul(words, b.const(bits / 8)));
      const x = change === 'none' ? b.load(address, bits) : b.loadForWrite(address, bits);
      if (change !== 'none') b.store(address, bits, apply(x));
      setCarry(b, bitAt(b, x, bit));
      return;
    }
    const x = dst.get();
    setCarry(b, bitAt(b, x, bit));
    if (change !== 'none') dst.set(apply(x));
  };

/** A zero source sets ZF and leaves the destination (undefined by Intel, kept by both makers; AMD documents it). */
const scan =
  (forward: boolean): Meaning =>
  (b, dst, src) => {
    const x = src.get();
    const empty = b.eqz(x);
    const found = forward ? b.wasm('i64.ctz', x) : b.sub(b.const(63), b.wasm('i64.clz', x));
    const others = b.both(b.arithmeticFlags(), b.i32(~0x40));
    b.flagsFromBits(b.either(others, b.shl(empty, b.i32(6))));
    b.when(b.no(empty), () => dst.set(found));
  };

const SHIFTS: readonly { name: string; shift: Shift; undefined: string; undefinedByOne: string; hot?: true }[] = [
  { name: 'rol', shift: rotate(true), undefined: 'OF', undefinedByOne: '' },
  { name: 'ror', shift: rotate(false), undefined: 'OF', undefinedByOne: '' },
  { name: 'rcl', shift: rotateThroughCarry(true), undefined: 'OF', undefinedByOne: '' },
  { name: 'rcr', shift: rotateThroughCarry(false), undefined: 'OF', undefinedByOne: '' },
  { name: 'shl', shift: shift('shl'), undefined: 'AF OF CF', undefinedByOne: 'AF', hot: true },
  { name: 'shr', shift: shift('shr'), undefined: 'AF OF CF', undefinedByOne: 'AF', hot: true },
  { name: 'shl', shift: shift('shl'), undefined: 'AF OF CF', undefinedByOne: 'AF' },
  { name: 'sar', shift: shift('sar'), undefined: 'AF OF', undefinedByOne: 'AF', hot: true },
];

const shiftForms: Row[] = SHIFTS.flatMap(({ name, shift, undefined: undef, undefinedByOne, hot }, group) => {
  const row = (
    opcode: number,
    operands: string,
    meaning: Meaning,
    undefinedFlags: string,
    more: Partial<Row> = {},
  ): Row => ({
    name,
    opcode,
    group,
    operands,
    meaning,
    ...(undefinedFlags ? { undefined: undefinedFlags } : {}),
    ...more,
  });
  const often = hot ? ({ hot: 'register' } as const) : {};
  return [
    row(0xc0, 'Eb,Ib', byCount(shift), undef),
    row(0xc1, 'Ev,Ib', byCount(shift), undef, often),
    row(0xd0, 'Eb', byOne(shift), undefinedByOne),
    row(0xd1, 'Ev', byOne(shift), undefinedByOne, often),
    row(0xd2, 'Eb,CL', byCount(shift), undef),
    row(0xd3, 'Ev,CL', byCount(shift), undef, often),
  ];
});

const BIT_TESTS = [
  { name: 'bt', change: 'none', opcode: 0x0fa3, group: 4 },
  { name: 'bts', change: 'set', opcode: 0x0fab, group: 5 },
  { name: 'btr', change: 'reset', opcode: 0x0fb3, group: 6 },
  { name: 'btc', change: 'complement', opcode: 0x0fbb, group: 7 },
] as const;
const bitTestRows: Row[] = BIT_TESTS.flatMap(({ name, change, opcode, group }) => {
  const more: Partial<Row> = {
    undefined: 'OF SF AF PF',
    ...(change === 'none' ? { writes: [], hot: true } : { lock: true }),
  };
  return [
    { name, opcode, operands: 'Ev,Gv', meaning: bitTest(change), ...more },
    { name, opcode: 0x0fba, group, operands: 'Ev,Ib', meaning: bitTest(change), ...more },
  ];
});

export const shiftRows: Row[] = [
  ...shiftForms,
  { name: 'shld', opcode: 0x0fa4, operands: 'Ev,Gv,Ib', meaning: doubleShift(true), undefined: 'AF OF' },
  { name: 'shld', opcode: 0x0fa5, operands: 'Ev,Gv,CL', meaning: doubleShift(true), undefined: 'AF OF' },
  { name: 'shrd', opcode: 0x0fac, operands: 'Ev,Gv,Ib', meaning: doubleShift(false), undefined: 'AF OF' },
  { name: 'shrd', opcode: 0x0fad, operands: 'Ev,Gv,CL', meaning: doubleShift(false), undefined: 'AF OF' },
  ...bitTestRows,
  { name: 'bsf', opcode: 0x0fbc, operands: 'Gv,Ev', meaning: scan(true), undefined: 'CF OF SF AF PF' },
  { name: 'bsr', opcode: 0x0fbd, operands: 'Gv,Ev', meaning: scan(false), undefined: 'CF OF SF AF PF' },
];
