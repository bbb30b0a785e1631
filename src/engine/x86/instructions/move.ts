/** Data transfer and the stack (SDM 1, 5.1.1 and 5.1.9). */

import { ARITHMETIC_FLAGS, IF, OF, RF, VM } from '../../../x86/flags.ts';
import { CS, GS } from '../../../x86/segments.ts';
import { UD } from '../../../x86/vectors.ts';
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import type { Meaning, Row } from './row.ts';
import { pop, popFrom, push, setPointer, stackOffset, wrapped } from './stack.ts';

const mov: Meaning = (_b, dst, src) => dst.set(src.get());
const movsx: Meaning = (b, dst, src) => dst.set(b.sx(src.get(), src.bits));
/** Memory is written only where RPL rises. */
const arpl: Meaning = (b, dst, src) => {
  b.helper('check_protected');
  const x = dst.get();
  const rpl = b.and(src.get(), b.const(3));
  const lower = b.ltu(b.and(x, b.const(3)), rpl);
  b.when(lower, () => {
    const raised = b.or(b.and(x, b.const(0xfffc)), rpl);
    if (dst.kind === 'memory') b.store(dst.addressForWrite(), 16, raised);
    else dst.set(raised);
  });
  b.flagsFromBits(b.either(b.both(b.arithmeticFlags(), b.i32(~0x40)), b.shl(lower, b.i32(6))));
};
const lea: Meaning = (_b, dst, src) => dst.set(src.offset());
const xchg: Meaning = (_b, dst, src) => {
  const x = dst.get();
  const y = src.get();
  if (dst.kind === 'memory') {
    dst.set(y);
    src.set(x);
  } else {
    src.set(x);
    dst.set(y);
  }
};
const nop: Meaning = () => {};

const cmov =
  (code: number): Meaning =>
  (b, dst, src) => {
    // The source is read, and a 32-bit destination's upper half cleared, whatever the condition says.
    const x = src.get();
    dst.set(b.select(b.condition(code), x, dst.get()));
  };
const setcc =
  (code: number): Meaning =>
  (b, dst) =>
    dst.set(b.wide(b.condition(code)));

const bswap: Meaning = (b, dst) => {
  const x = dst.get();
  const { bits } = dst;
  // A 16-bit BSWAP is undefined; real processors clear the register.
  if (bits === 16) return dst.set(b.const(0));
  const pairs = b.or(
    b.and(b.shr(x, b.const(8)), b.const(0x00ff00ff00ff00ffn)),
    b.shl(b.and(x, b.const(0x00ff00ff00ff00ffn)), b.const(8)),
  );
  const words = b.or(
    b.and(b.shr(pairs, b.const(16)), b.const(0x0000ffff0000ffffn)),
    b.shl(b.and(pairs, b.const(0x0000ffff0000ffffn)), b.const(16)),
  );
  dst.set(bits === 64 ? b.rotl(words, b.const(32)) : words);
};

const pushOperand: Meaning = (b, src) => push(b, src.bits, src.get());
const popOperand: Meaning = (b, dst) => {
  if (dst.kind === 'memory') {
    // RSP is incremented before it is used in the address of the destination; a fault puts it back.
    const value = popFrom(b, dst.bits, 0);
    const address = dst.afterPop(dst.bits / 8);
    b.store(address, dst.bits, value);
    stackOffset(b, dst.bits / 8);
  } else dst.set(pop(b, dst.bits));
};

/** Pushes a selector: the operand size says how far RSP moves; the upper bits are zero. */
const pushSegment =
  (segment: number): Meaning =>
  (b, size) =>
    push(b, size.bits, b.state(state.SELECTOR + 4 * segment, 16));
const popSegment =
  (segment: number): Meaning =>
  (b, size) => {
    const selector = popFrom(b, size.bits, 0);
    b.helper('load_segment', b.const(segment), b.zx(selector, 16));
    stackOffset(b, size.bits / 8);
    b.tier.attend(b);
  };
const movFromSegment: Meaning = (b, dst, src) => {
  const selector = b.helper('read_selector', src.number());
  dst.set(selector);
};
const movToSegment: Meaning = (b, dst, src) => {
  // CS and what is no segment register: #UD before the source is looked at.
  const segment = dst.number();
  b.raiseIf(b.either(b.eq(segment, b.const(CS)), b.ltu(b.const(GS), segment)), UD);
  b.helper('load_segment', segment, b.zx(src.get(), 16));
  b.tier.attend(b);
};
const loadFarPointer =
  (segment: number): Meaning =>
  (b, dst, src) => {
    // AMD has no m16:64: with REX.W the offset is 32 bits, zero-extended (APM 3, LxS). We are an AMD.
    const bits = Math.min(dst.bits, 32);
    const offset = b.load(src.address(), bits);
    const selector = b.load(src.displaced(b.const(bits / 8)), 16);
    b.helper('load_far_segment', b.const(segment), selector);
    dst.set(offset);
    b.tier.attend(b);
  };

/** All of RFLAGS. */
export function rflags(b: Builder): Value {
  return b.wide(b.either(b.arithmeticFlags(), b.state32(state.FLAGS_REST)));
}
const pushf: Meaning = (b, size) => {
  // Code that is not flat may be virtual-8086 code.
  const flags = b.tier.flat ? b.and(rflags(b), b.const(~(VM | RF))) : b.helper('pushed_flags', b.const(size.bits));
  push(b, size.bits, flags);
};
const popf: Meaning = (b, size) => {
  if (!b.tier.flat) b.helper('check_flags_access', b.const(size.bits));
  const value = popFrom(b, size.bits, 0);
  // What may change depends on CPL, IOPL and operand size: SDM 2B, POPF. What kernels do all day is short: arithmetic
  // flags and IF at CPL 0, with no interrupt waiting for it.
  const wanted = b.narrow(value);
  const rest = b.state32(state.FLAGS_REST);
  const others = POPF_BITS & ~(ARITHMETIC_FLAGS | IF | 2);
  const changed = b.both(b.xor(wanted, rest), b.i32(others));
  const waiting = b.both(b.state32(state.ATTENTION), b.no(b.both(rest, b.i32(IF))));
  const rare = b.either(b.either(changed, waiting), b.state32(state.CPL));
  b.when(
    b.no(rare),
    () => {
      b.setState32(state.FLAGS_REST, b.either(b.both(rest, b.i32(~IF)), b.both(wanted, b.i32(IF))));
      b.flagsFromBits(wanted);
    },
    () => b.helper('popf', value, b.const(size.bits)),
  );
  stackOffset(b, size.bits / 8);
  b.tier.attend(b);
};
/** All of RFLAGS' bits that are flags. */
const POPF_BITS = 0x3f7fd7;
const AH_FLAGS = 0xd5;
const lahf: Meaning = b => b.setGprHigh(0, b.wide(b.either(b.both(b.arithmeticFlags(), b.i32(AH_FLAGS)), b.i32(2))));
const sahf: Meaning = b => {
  const ah = b.narrow(b.gprHigh(0));
  const overflow = b.both(b.arithmeticFlags(), b.i32(OF));
  b.flagsFromBits(b.either(b.both(ah, b.i32(AH_FLAGS)), overflow));
};

const enter: Meaning = (b, size, allocation, level) =>
  void b.helper('enter', b.const(size.bits), allocation.get(), level.get());
const leave: Meaning = (b, size) => {
  const { bits } = size;
  // The new stack pointer is taken from RBP, by the stack's own width.
  const frame = wrapped(b, b.gpr(5));
  const value = b.loadStack(frame, bits);
  setPointer(b, wrapped(b, b.add(frame, b.const(bits / 8))));
  b.setGpr(5, value, bits);
};
const pusha: Meaning = (b, size) => void b.helper('pusha', b.const(size.bits));
const popa: Meaning = (b, size) => void b.helper('popa', b.const(size.bits));

const xlat: Meaning = (b, table) => {
  const address = table.displaced(b.const(0));
  b.setGpr(0, b.load(address, 8), 8);
};

const CONDITIONS = ['o', 'no', 'b', 'nb', 'z', 'nz', 'be', 'nbe', 's', 'ns', 'p', 'np', 'l', 'nl', 'le', 'nle'];

export const moveRows: Row[] = [
  { name: 'mov', opcode: 0x88, operands: 'Eb,Gb', meaning: mov, hot: true },
  { name: 'mov', opcode: 0x89, operands: 'Ev,Gv', meaning: mov, hot: true },
  { name: 'mov', opcode: 0x8a, operands: 'Gb,Eb', meaning: mov, hot: true },
  { name: 'mov', opcode: 0x8b, operands: 'Gv,Ev', meaning: mov, hot: true },
  { name: 'mov', opcode: 0x8c, operands: 'Ev,Sw', form: 'register', meaning: movFromSegment },
  // Memory gets 16 bits whatever the operand size.
  { name: 'mov', opcode: 0x8c, operands: 'Ew,Sw', form: 'memory', meaning: movFromSegment },
  { name: 'mov', opcode: 0x8e, operands: 'Sw,Ew', meaning: movToSegment, ends: true },
  { name: 'mov', opcode: 0xa0, operands: 'AL,Ob', meaning: mov },
  { name: 'mov', opcode: 0xa1, operands: 'rAX,Ov', meaning: mov },
  { name: 'mov', opcode: 0xa2, operands: 'Ob,AL', meaning: mov },
  { name: 'mov', opcode: 0xa3, operands: 'Ov,rAX', meaning: mov },
  { name: 'mov', opcode: 0xb0, operands: 'Zb,Ib', meaning: mov, hot: true },
  { name: 'mov', opcode: 0xb8, operands: 'Zv,Iv', meaning: mov, hot: true },
  { name: 'mov', opcode: 0xc6, group: 0, operands: 'Eb,Ib', meaning: mov, hot: true },
  { name: 'mov', opcode: 0xc7, group: 0, operands: 'Ev,Iz', meaning: mov, hot: true },
  { name: 'movzx', opcode: 0x0fb6, operands: 'Gv,Eb', meaning: mov, hot: true },
  { name: 'movzx', opcode: 0x0fb7, operands: 'Gv,Ew', meaning: mov, hot: true },
  { name: 'movsx', opcode: 0x0fbe, operands: 'Gv,Eb', meaning: movsx, hot: true },
  { name: 'movsx', opcode: 0x0fbf, operands: 'Gv,Ew', meaning: movsx, hot: true },
  { name: 'movsxd', opcode: 0x63, operands: 'Gv,Ez', meaning: movsx, mode: 'o64', hot: true },
  {
    name: 'arpl',
    opcode: 0x63,
    operands: 'Ew,Gw',
    writes: [],
    meaning: arpl,
    mode: 'i64',
  },
  { name: 'lea', opcode: 0x8d, operands: 'Gv,M', meaning: lea, hot: true },
  { name: 'xchg', opcode: 0x86, operands: 'Eb,Gb', writes: [0, 1], meaning: xchg, lock: true },
  { name: 'xchg', opcode: 0x87, operands: 'Ev,Gv', writes: [0, 1], meaning: xchg, lock: true, hot: true },
  // 0x90 itself is NOP, except with REX.B, when it exchanges with R8.
  { name: 'xchg', opcode: 0x90, operands: 'Zv,rAX', writes: [0, 1], meaning: xchg },
  { name: 'nop', opcode: 0x90, operands: '', meaning: nop, hot: true },
  { name: 'nop', opcode: 0x0f18, operands: 'Ev', writes: [], meaning: nop, form: 'memory' },
  { name: 'nop', opcode: 0x0f19, operands: 'Mv', writes: [], meaning: nop },
  { name: 'nop', opcode: 0x0f1c, operands: 'Ev', writes: [], meaning: nop },
  { name: 'nop', opcode: 0x0f1d, operands: 'Ev', writes: [], meaning: nop },
  { name: 'nop', opcode: 0x0f1e, operands: 'Ev', writes: [], meaning: nop },
  { name: 'nop', opcode: 0x0f1f, operands: 'Ev', writes: [], meaning: nop, hot: true },
  ...CONDITIONS.map(
    (cc, code): Row => ({
      name: `cmov${cc}`,
      opcode: 0x0f40 + code,
      operands: 'Gv,Ev',
      meaning: cmov(code),
      feature: 'cmov',
      ...(/[op]$/.test(cc) ? {} : { hot: 'register' }),
    }),
  ),
  ...CONDITIONS.map(
    (cc, code): Row => ({
      name: `set${cc}`,
      opcode: 0x0f90 + code,
      operands: 'Eb',
      meaning: setcc(code),
      ...(/^n?z$/.test(cc) ? { hot: 'register' } : {}),
    }),
  ),
  { name: 'bswap', opcode: 0x0fc8, operands: 'Zv', meaning: bswap },
  { name: 'push', opcode: 0x50, operands: 'Zv', writes: [], meaning: pushOperand, size: 'd64', hot: true },
  { name: 'pop', opcode: 0x58, operands: 'Zv', meaning: popOperand, size: 'd64', hot: true },
  { name: 'push', opcode: 0x68, operands: 'Iz', writes: [], meaning: pushOperand, size: 'd64', hot: true },
  { name: 'push', opcode: 0x6a, operands: 'Ibs', writes: [], meaning: pushOperand, size: 'd64', hot: true },
  { name: 'push', opcode: 0xff, group: 6, operands: 'Ev', writes: [], meaning: pushOperand, size: 'd64', hot: true },
  { name: 'pop', opcode: 0x8f, group: 0, operands: 'Ev', meaning: popOperand, size: 'd64' },
  ...[0, 1, 2, 3].map(
    (segment): Row => ({
      name: 'push',
      opcode: 0x06 + 8 * segment,
      operands: 'Sz',
      writes: [],
      meaning: pushSegment(segment),
      mode: 'i64',
    }),
  ),
  ...[0, 2, 3].map(
    (segment): Row => ({
      name: 'pop',
      opcode: 0x07 + 8 * segment,
      operands: 'Sz',
      writes: [],
      meaning: popSegment(segment),
      mode: 'i64',
      ends: true,
    }),
  ),
  ...[4, 5].map(
    (segment): Row => ({
      name: 'push',
      opcode: 0x0fa0 + 8 * (segment - 4),
      operands: 'Sv',
      writes: [],
      meaning: pushSegment(segment),
      size: 'd64',
    }),
  ),
  ...[4, 5].map(
    (segment): Row => ({
      name: 'pop',
      opcode: 0x0fa1 + 8 * (segment - 4),
      operands: 'Sv',
      writes: [],
      meaning: popSegment(segment),
      size: 'd64',
      ends: true,
    }),
  ),
  { name: 'les', opcode: 0xc4, operands: 'Gz,M', meaning: loadFarPointer(0), mode: 'i64', ends: true },
  { name: 'lds', opcode: 0xc5, operands: 'Gz,M', meaning: loadFarPointer(3), mode: 'i64', ends: true },
  { name: 'lss', opcode: 0x0fb2, operands: 'Gv,M', meaning: loadFarPointer(2), ends: true },
  { name: 'lfs', opcode: 0x0fb4, operands: 'Gv,M', meaning: loadFarPointer(4), ends: true },
  { name: 'lgs', opcode: 0x0fb5, operands: 'Gv,M', meaning: loadFarPointer(5), ends: true },
  { name: 'pushf', opcode: 0x9c, operands: 'Fv', writes: [], meaning: pushf, size: 'd64', hot: true },
  { name: 'popf', opcode: 0x9d, operands: 'Fv', writes: [], meaning: popf, size: 'd64', ends: true, straight: true },
  { name: 'lahf', opcode: 0x9f, operands: '', meaning: lahf },
  { name: 'sahf', opcode: 0x9e, operands: '', meaning: sahf },
  { name: 'enter', opcode: 0xc8, operands: 'Fv,Iw,Ib', writes: [], meaning: enter, size: 'd64' },
  { name: 'leave', opcode: 0xc9, operands: 'Fv', writes: [], meaning: leave, size: 'd64', hot: true },
  { name: 'pusha', opcode: 0x60, operands: 'Fv', writes: [], meaning: pusha, mode: 'i64' },
  { name: 'popa', opcode: 0x61, operands: 'Fv', writes: [], meaning: popa, mode: 'i64' },
  { name: 'xlat', opcode: 0xd7, operands: 'BX', writes: [], meaning: xlat },
];
