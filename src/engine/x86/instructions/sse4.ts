/**
 * SSE4.1 and SSE4.2 on integers, and the single instructions of their time: POPCNT, CRC32, MOVBE (SDM 1, 5.10 and
 * 5.11).
 */
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import { FIRST_ENDS, IMPLICIT, SECOND_ENDS } from '../string-compare.ts';
import type { Meaning, Operand, Row } from './row.ts';
import { multiplyEven } from './sse-integer.ts';
import { extract, insert } from './sse-shuffle.ts';
import {
  bytes,
  choose,
  counting,
  doubled,
  extended,
  high,
  low,
  type Operation,
  splat,
  unary,
  whole,
  zero,
} from './vector.ts';
import { f2, f3, memory, reads, register, row, sse41, sse42, unaligned, x66 } from './vector-columns.ts';

// ── blending ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** x, or y in the lanes whose sign bit is set in the mask. */
export function blendByMask(b: Builder, shape: string, bits: number, x: Value, y: Value, mask: Value): Value {
  return b.wasm('v128.bitselect', y, x, b.wasm(`${shape}.shr_s`, mask, b.i32(bits - 1)));
}
/** The mask is XMM0. */
const blendByXmm0 =
  (shape: string, bits: number): Meaning =>
  (b, dst, src) => {
    const y = src.get();
    dst.set(blendByMask(b, shape, bits, dst.get(), y, b.state(state.XMM, 128)));
  };
/** Chosen by the bits of an immediate. */
export const blendByImmediate =
  (size: 2 | 4 | 8): Meaning =>
  (b, dst, src, immediate) => {
    const y = src.get();
    const own = bytes(b, i => 1 << Math.floor(i / size));
    const set = b.wasm('v128.and', splat(b, 'i8x16', immediate.get()), own);
    dst.set(b.wasm('v128.bitselect', y, dst.get(), b.wasm('i8x16.eq', set, own)));
  };

// ── lanes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

const pextr =
  (bits: 8 | 16): Meaning =>
  (b, dst, src, number) =>
    dst.set(extract(b, src.get(), number.get(), bits));
/** PEXTRD, PEXTRQ. */
const pextrdq: Meaning = (b, dst, src, number) => {
  const x = src.get();
  if (dst.bits === 32) return dst.set(extract(b, x, number.get(), 32));
  dst.set(b.select(b.narrow(b.and(number.get(), b.const(1))), high(b, x), low(b, x)));
};
const pinsr: Meaning = (b, dst, src, number) => {
  const bits = src.bits as 8 | 32 | 64;
  dst.set(insert(b, dst.get(), number.get(), src.get(), bits));
};
const pinsrbOfRegister: Meaning = (b, dst, src, number) =>
  dst.set(insert(b, dst.get(), number.get(), b.zx(src.get(), 8), 8));

/** INSERTPS: imm bits 7-6 name the source lane (a register's), 5-4 the destination's, 3-0 lanes to clear. */
const insertps: Meaning = (b, dst, src, immediate) => {
  const control = immediate.get();
  const field = (n: number) => b.and(b.shr(control, b.const(n)), b.const(3));
  const value = src.bits === 128 ? extract(b, src.get(), field(6), 32) : src.get();
  const inserted = insert(b, dst.get(), field(4), value, 32);
  const own = bytes(b, i => 1 << (i >> 2));
  const kept = b.wasm('i8x16.ne', b.wasm('v128.and', splat(b, 'i8x16', control), own), own);
  dst.set(b.wasm('v128.and', inserted, kept));
};

/** PMOVSX and PMOVZX: one or more doublings of the lanes' width. */
const widen =
  (steps: readonly string[], sign: 's' | 'u'): Meaning =>
  (b, dst, src) =>
    dst.set(steps.reduce((x, step) => b.wasm(`${step}_${sign}`, x), doubled(b, src.get())));
const FROM_BYTE = 'i16x8.extend_low_i8x16';
const FROM_WORD = 'i32x4.extend_low_i16x8';
const FROM_DOUBLEWORD = 'i64x2.extend_low_i32x4';
const WIDENINGS: [string, string, string[]][] = [
  ['bw', 'Wq', [FROM_BYTE]],
  ['bd', 'Wd', [FROM_BYTE, FROM_WORD]],
  ['bq', 'Ww', [FROM_BYTE, FROM_WORD, FROM_DOUBLEWORD]],
  ['wd', 'Wq', [FROM_WORD]],
  ['wq', 'Wd', [FROM_WORD, FROM_DOUBLEWORD]],
  ['dq', 'Wq', [FROM_DOUBLEWORD]],
];

// ── arithmetic ────────────────────────────────────────────────────────────────────────────────────────────────────

/** The smallest of eight words and, in the next word, its number; zeros above. */
const horizontalMinimum = (b: Builder, x: Value): Value => {
  const fold = (v: Value, numbers: number[]) => b.wasm('i16x8.min_u', v, choose(b, v, v, 2, numbers));
  const halves = fold(x, [4, 5, 6, 7, 0, 1, 2, 3]);
  const pairs = fold(halves, [2, 3, 0, 1, 6, 7, 4, 5]);
  const minimum = fold(pairs, [1, 0, 3, 2, 5, 4, 7, 6]);
  const where = b.wasm('i32.ctz', b.wasm('i16x8.bitmask', b.wasm('i16x8.eq', x, minimum)));
  const first = b.lane('i16x8.replace_lane', 0, zero(b), b.lane('i16x8.extract_lane_u', 0, minimum));
  return b.lane('i16x8.replace_lane', 1, first, where);
};

/**
 * MPSADBW: eight sums of four absolute differences; imm bit 2 moves along dst by 4 bytes, bits 1-0 along src by 4 each.
 */
const mpsadbw: Meaning = (b, dst, src, immediate) => {
  const y = src.get();
  const x = dst.get();
  const control = immediate.get();
  const own = counting(b);
  const along = (v: Value, distance: Value) =>
    b.wasm('i8x16.swizzle', v, b.wasm('i8x16.add', own, splat(b, 'i8x16', distance)));
  const window = along(x, b.and(control, b.const(4)));
  const block = along(y, b.shl(b.and(control, b.const(3)), b.const(2)));
  const sums = [0, 1, 2, 3].map(i => {
    const run = b.shuffle(
      window,
      window,
      Array.from({ length: 16 }, (_, n) => (n + i) & 15),
    );
    const repeated = b.shuffle(block, block, Array(16).fill(i));
    const difference = b.wasm(
      'v128.or',
      b.wasm('i8x16.sub_sat_u', run, repeated),
      b.wasm('i8x16.sub_sat_u', repeated, run),
    );
    return b.wasm('i16x8.extend_low_i8x16_u', difference);
  });
  dst.set(sums.reduce((p, q) => b.wasm('i16x8.add', p, q)));
};

/** PTEST: ZF if no bit of src is in dst, CF if all are. */
const ptest: Meaning = (b, dst, src) => {
  const y = src.get();
  const x = dst.get();
  const none = b.no(b.wasm('v128.any_true', b.wasm('v128.and', x, y)));
  const all = b.no(b.wasm('v128.any_true', b.wasm('v128.andnot', y, x)));
  b.flagsFromBits(b.either(all, b.shl(none, b.i32(6))));
};

// ── strings ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Where PCMPxSTRy leaves its answer: an index in ECX or a mask in XMM0. */
type Answer = 'index' | 'mask';

/** PCMPISTRy: strings end at their first null character. */
const compareImplicit =
  (answer: Answer): Meaning =>
  (b, first, second, immediate) =>
    compareStrings(b, answer, [first, second, immediate], () => b.i32(IMPLICIT));
/** PCMPESTRy: EAX and EDX, or RAX and RDX, hold the lengths. */
const compareExplicit =
  (answer: Answer): Meaning =>
  (b, first, second, immediate, { bits }) =>
    compareStrings(b, answer, [first, second, immediate], (register, count) => {
      // The length is the register's magnitude, at most `count`.
      const signed = b.sx(b.gpr(register, bits), bits);
      const magnitude = b.select(b.lts(signed, b.const(0)), b.sub(b.const(0), signed), signed);
      return b.narrow(b.select(b.ltu(magnitude, b.wide(count)), magnitude, b.wide(count)));
    });

/** PCMPxSTRy by the function of string-compare.ts. `length` gives the length that a register holds, at most `count`. */
function compareStrings(
  b: Builder,
  answer: Answer,
  [first, second, immediate]: [Operand, Operand, Operand],
  length: (register: number, count: Value) => Value,
): void {
  const y = second.get();
  const x = first.get();
  const control = b.narrow(immediate.get());
  const bit = (of: Value, n: number) => b.both(b.shr(of, b.i32(n)), b.i32(1));
  const words = bit(control, 0);
  const count = b.shr(b.i32(16), words);
  const result = b.call('compareStrings', x, y, control, length(0, count), length(2, count));
  const bits = b.both(result, b.i32(0xffff));
  const any = b.ne(bits, b.i32(0));
  const flags: [Value, number][] = [
    [bit(result, SECOND_ENDS), 6],
    [bit(result, FIRST_ENDS), 7],
    [bit(result, 0), 11],
  ];
  b.flagsFromBits(flags.reduce((all, [flag, n]) => b.either(all, b.shl(flag, b.i32(n))), any));
  // Immediate bit 6: the highest rather than the lowest; whole characters of ones rather than bits.
  if (answer === 'index') {
    const highest = b.sub(b.i32(31), b.wasm('i32.clz', bits));
    const index = b.select(bit(control, 6), highest, b.wasm('i32.ctz', bits));
    b.setGpr(1, b.wide(b.select(any, index, count)), 32);
    return;
  }
  const own = (mask: Value, shape: string, constant: Value) =>
    b.wasm(`${shape}.eq`, b.wasm('v128.and', mask, constant), constant);
  const spread = b.wasm('i16x8.splat', bits);
  const inBytes = choose(b, spread, spread, 1, [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
  const characters = b.select(
    words,
    own(
      spread,
      'i16x8',
      bytes(b, i => (i & 1 ? 0 : 1 << (i >> 1))),
    ),
    own(
      inBytes,
      'i8x16',
      bytes(b, i => 1 << (i & 7)),
    ),
  );
  b.setState(state.XMM, b.select(bit(control, 6), characters, extended(b, b.wide(bits))), 128);
}

// ── general registers ─────────────────────────────────────────────────────────────────────────────────────────────

const popcnt: Meaning = (b, dst, src) => {
  const x = src.get();
  b.flagsFromBits(b.shl(b.eqz(x), b.i32(6)));
  dst.set(b.wasm('i64.popcnt', x));
};
const crc32: Meaning = (b, dst, src) =>
  dst.set(b.wide(b.call('crc32', b.narrow(dst.get()), src.get(), b.i32(src.bits / 8))));

/** The bytes of x in reverse. */
function reversed(b: Builder, x: Value, bits: number): Value {
  const vector = b.wasm('i64x2.splat', x);
  const bytesOfLane = bits / 8;
  const numbers = Array.from({ length: 16 }, (_, i) => (i < bytesOfLane ? bytesOfLane - 1 - i : 15));
  return b.zx(low(b, b.shuffle(vector, vector, numbers)), bits);
}
const movbe: Meaning = (b, dst, src) => dst.set(reversed(b, src.get(), src.bits));

/** A row that is one operation on whole registers. */
const vector = (name: string, opcode: number, operation: Operation, columns: Partial<Row> = sse41): Row =>
  row(name, opcode, 'Vx,Wx', whole(operation), x66, columns);

export const sse4Rows: Row[] = [
  row('pblendvb', 0x0f3810, 'Vx,Wx', blendByXmm0('i8x16', 8), x66, sse41),
  row('blendvps', 0x0f3814, 'Vx,Wx', blendByXmm0('i32x4', 32), x66, sse41),
  row('blendvpd', 0x0f3815, 'Vx,Wx', blendByXmm0('i64x2', 64), x66, sse41),
  row('blendps', 0x0f3a0c, 'Vx,Wx,Ib', blendByImmediate(4), x66, sse41),
  row('blendpd', 0x0f3a0d, 'Vx,Wx,Ib', blendByImmediate(8), x66, sse41),
  row('pblendw', 0x0f3a0e, 'Vx,Wx,Ib', blendByImmediate(2), x66, sse41),
  row('ptest', 0x0f3817, 'Vx,Wx', ptest, x66, sse41, reads),
  ...(['s', 'u'] as const).flatMap(sign =>
    WIDENINGS.map(([suffix, source, steps], i): Row => {
      const name = `pmov${sign === 's' ? 's' : 'z'}x${suffix}`;
      const opcode = (sign === 's' ? 0x0f3820 : 0x0f3830) + i;
      return row(name, opcode, `Vx,${source}`, widen(steps, sign), x66, sse41);
    }),
  ),
  vector('pmuldq', 0x0f3828, multiplyEven('s')),
  vector('pcmpeqq', 0x0f3829, 'i64x2.eq'),
  vector('packusdw', 0x0f382b, 'i16x8.narrow_i32x4_u'),
  vector('pcmpgtq', 0x0f3837, 'i64x2.gt_s', sse42),
  vector('pminsb', 0x0f3838, 'i8x16.min_s'),
  vector('pminsd', 0x0f3839, 'i32x4.min_s'),
  vector('pminuw', 0x0f383a, 'i16x8.min_u'),
  vector('pminud', 0x0f383b, 'i32x4.min_u'),
  vector('pmaxsb', 0x0f383c, 'i8x16.max_s'),
  vector('pmaxsd', 0x0f383d, 'i32x4.max_s'),
  vector('pmaxuw', 0x0f383e, 'i16x8.max_u'),
  vector('pmaxud', 0x0f383f, 'i32x4.max_u'),
  vector('pmulld', 0x0f3840, 'i32x4.mul'),
  row('phminposuw', 0x0f3841, 'Vx,Wx', unary(horizontalMinimum), x66, sse41),
  row('mpsadbw', 0x0f3a42, 'Vx,Wx,Ib', mpsadbw, x66, sse41),
  row('pextrb', 0x0f3a14, 'Rd,Vx,Ib', pextr(8), register, x66, sse41),
  row('pextrb', 0x0f3a14, 'Mb,Vx,Ib', pextr(8), memory, x66, sse41),
  row('pextrw', 0x0f3a15, 'Rd,Vx,Ib', pextr(16), register, x66, sse41),
  row('pextrw', 0x0f3a15, 'Mw,Vx,Ib', pextr(16), memory, x66, sse41),
  row('pextrd', 0x0f3a16, 'Ey,Vx,Ib', pextrdq, x66, sse41),
  row('extractps', 0x0f3a17, 'Ed,Vx,Ib', pextrdq, x66, sse41),
  row('pinsrb', 0x0f3a20, 'Vx,Rd,Ib', pinsrbOfRegister, register, x66, sse41),
  row('pinsrb', 0x0f3a20, 'Vx,Mb,Ib', pinsr, memory, x66, sse41),
  row('insertps', 0x0f3a21, 'Vx,Ux,Ib', insertps, register, x66, sse41),
  row('insertps', 0x0f3a21, 'Vx,Md,Ib', insertps, memory, x66, sse41),
  row('pinsrd', 0x0f3a22, 'Vx,Ey,Ib', pinsr, x66, sse41),

  // Fy is no operand: it gives the width of the lengths in EAX and EDX.
  row('pcmpestrm', 0x0f3a60, 'Vx,Wx,Ib,Fy', compareExplicit('mask'), x66, sse42, unaligned, reads),
  row('pcmpestri', 0x0f3a61, 'Vx,Wx,Ib,Fy', compareExplicit('index'), x66, sse42, unaligned, reads),
  row('pcmpistrm', 0x0f3a62, 'Vx,Wx,Ib', compareImplicit('mask'), x66, sse42, unaligned, reads),
  row('pcmpistri', 0x0f3a63, 'Vx,Wx,Ib', compareImplicit('index'), x66, sse42, unaligned, reads),

  row('popcnt', 0x0fb8, 'Gv,Ev', popcnt, f3, { feature: 'popcnt' }),
  row('crc32', 0x0f38f0, 'Gy,Eb', crc32, f2, { feature: 'sse4_2' }),
  row('crc32', 0x0f38f1, 'Gy,Ev', crc32, f2, { feature: 'sse4_2' }),
  row('movbe', 0x0f38f0, 'Gv,Mv', movbe, { feature: 'movbe' }),
  row('movbe', 0x0f38f1, 'Mv,Gv', movbe, { feature: 'movbe' }),
];
