/**
 * Packing, unpacking, shuffling, inserting and extracting (SDM 1, 5.4.2, 5.5.1.4, 5.6.1.5, 5.6.3, 5.8.5 and 5.8.6).
 * Where an immediate chooses lanes, translation usually knows it and writes a plain shuffle; the interpreter computes
 * the choice.
 */
import type { Builder, Value } from '../builder.ts';
import type { Meaning, Operand, Row } from './row.ts';
import {
  bothForms,
  bytes,
  choose,
  counting,
  doubled,
  everyByte,
  extended,
  folding,
  high,
  known,
  lanes,
  lanewise,
  low,
  pair,
  SSSE3,
  splat,
  switchToMmx,
} from './vector.ts';
import { f2, f3, none, register, row, sse, sse2, sseMmx, ssse3, ssse3Mmx, unaligned, x66 } from './vector-columns.ts';

// ── packing and unpacking ─────────────────────────────────────────────────────────────────────────────────────────

/** Lanes of the two registers in turn, from their low or their high halves. */
function unpack(name: string, opcode: number, size: 1 | 2 | 4 | 8, half: 'low' | 'high'): Row[] {
  const count = 16 / size;
  const inTurn = (from: number) => Array.from({ length: count }, (_, i) => from + (i >> 1) + (i & 1 ? count : 0));
  const wide: Meaning = (b, dst, src) =>
    dst.set(choose(b, dst.get(), src.get(), size, inTurn(half === 'low' ? 0 : count / 2)));
  // Of MMX registers, eight bytes each, all lanes in turn fill 16 bytes: the low ones first.
  const narrow: Meaning = (b, dst, src) => {
    const all = choose(b, doubled(b, dst.get()), doubled(b, src.get()), size, inTurn(0));
    dst.set(half === 'low' ? low(b, all) : high(b, all));
  };
  const rows = bothForms(name, opcode, { mmx: 'mmx', sse: 'sse2' }, narrow, wide);
  // The low unpacks of MMX read only 32 bits of memory (SDM 2B, PUNPCKL).
  if (half === 'low') rows[0] = { ...rows[0]!, operands: 'Pq,Qd' };
  return size === 8 ? rows.slice(1) : rows;
}

const packRows: Row[] = [
  ...unpack('punpcklbw', 0x0f60, 1, 'low'),
  ...unpack('punpcklwd', 0x0f61, 2, 'low'),
  ...unpack('punpckldq', 0x0f62, 4, 'low'),
  ...unpack('punpcklqdq', 0x0f6c, 8, 'low'),
  ...unpack('punpckhbw', 0x0f68, 1, 'high'),
  ...unpack('punpckhwd', 0x0f69, 2, 'high'),
  ...unpack('punpckhdq', 0x0f6a, 4, 'high'),
  ...unpack('punpckhqdq', 0x0f6d, 8, 'high'),
  ...folding('packsswb', 0x0f63, 'i8x16.narrow_i16x8_s'),
  ...folding('packuswb', 0x0f67, 'i8x16.narrow_i16x8_u'),
  ...folding('packssdw', 0x0f6b, 'i16x8.narrow_i32x4_s'),
];

// ── shuffles ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** The four 2-bit fields of an immediate. */
const fields = (immediate: number): [number, number, number, number] => [
  immediate & 3,
  (immediate >> 2) & 3,
  (immediate >> 4) & 3,
  (immediate >> 6) & 3,
];

/** Byte numbers for i8x16.swizzle: lane i (of four, 32 bits) gets the bytes of lane field i. */
function doublewordChoice(b: Builder, immediate: Value): Value {
  // Multiplying moves field i of each lane's copy to bits 6 and 7.
  const weights = bytes(b, i => (i % 4 === 0 ? 64 >> (2 * (i / 4)) : 0));
  const moved = b.wasm('i32x4.mul', splat(b, 'i32x4', immediate), weights);
  const field = b.wasm('v128.and', b.wasm('i32x4.shr_u', moved, b.i32(6)), lanes(b, 32, 3));
  return b.wasm('i32x4.add', b.wasm('i32x4.mul', field, lanes(b, 32, 0x04040404)), lanes(b, 32, 0x03020100));
}

/** The same for 16-bit lanes; in lanes 4-7 the fields count from lane 4. */
function wordChoice(b: Builder, immediate: Value): Value {
  const weights = bytes(b, i => (i % 2 === 0 ? 64 >> (2 * ((i / 2) % 4)) : 0));
  const moved = b.wasm('i16x8.mul', splat(b, 'i16x8', immediate), weights);
  const field = b.wasm('v128.and', b.wasm('i16x8.shr_u', moved, b.i32(6)), lanes(b, 16, 3));
  const first = bytes(b, i => (i & 1) + (i < 8 ? 0 : 8));
  return b.wasm('i16x8.add', b.wasm('i16x8.mul', field, lanes(b, 16, 0x0202)), first);
}

const pshufd: Meaning = (b, dst, src, selector) => {
  const x = src.get();
  const immediate = selector.get();
  const number = known(immediate);
  if (number !== undefined) dst.set(choose(b, x, x, 4, fields(number)));
  else dst.set(b.wasm('i8x16.swizzle', x, doublewordChoice(b, immediate)));
};

/** The words of x in one half rearranged, the other half as it is. */
function shuffleWords(b: Builder, x: Value, immediate: Value, half: 'low' | 'high'): Value {
  const number = known(immediate);
  const upper = half === 'high';
  if (number !== undefined) {
    const chosen = fields(number).map(field => field + (upper ? 4 : 0));
    return choose(b, x, x, 2, upper ? [0, 1, 2, 3, ...chosen] : [...chosen, 4, 5, 6, 7]);
  }
  const identity = counting(b);
  const changes = bytes(b, i => (i < 8 === upper ? 0 : 0xff));
  return b.wasm('i8x16.swizzle', x, b.wasm('v128.bitselect', wordChoice(b, immediate), identity, changes));
}
const pshufw =
  (half: 'low' | 'high'): Meaning =>
  (b, dst, src, selector) =>
    dst.set(shuffleWords(b, src.get(), selector.get(), half));
const pshufwOfMmx: Meaning = (b, dst, src, selector) =>
  dst.set(low(b, shuffleWords(b, doubled(b, src.get()), selector.get(), 'low')));

/** Two lanes of dst below two of src. */
const shufps: Meaning = (b, dst, src, selector) => {
  const x = dst.get();
  const y = src.get();
  const immediate = selector.get();
  const number = known(immediate);
  if (number !== undefined) {
    const [first, second, third, fourth] = fields(number);
    return dst.set(choose(b, x, y, 4, [first, second, third + 4, fourth + 4]));
  }
  const choice = doublewordChoice(b, immediate);
  const lower = b.wasm('i8x16.swizzle', x, choice);
  const upper = b.wasm('i8x16.swizzle', y, choice);
  dst.set(choose(b, lower, upper, 8, [0, 3]));
};
const shufpd: Meaning = (b, dst, src, selector) => {
  const x = dst.get();
  const y = src.get();
  const bit = (n: number) => b.narrow(b.and(b.shr(selector.get(), b.const(n)), b.const(1)));
  dst.set(pair(b, b.select(bit(0), high(b, x), low(b, x)), b.select(bit(1), high(b, y), low(b, y))));
};

/** PSHUFB: bit 7 of a control byte clears the byte; else its low bits choose. */
const shuffleBytes =
  (bits: number) =>
  (b: Builder, x: Value, control: Value): Value =>
    b.wasm('i8x16.swizzle', x, b.wasm('v128.and', control, everyByte(b, bits)));

/** Bytes of dst:src, a number of bytes further down. */
const palignr: Meaning = (b, dst, src, count) => {
  const x = dst.get();
  const y = src.get();
  const immediate = count.get();
  const number = known(immediate);
  if (number !== undefined && number <= 16)
    return dst.set(
      b.shuffle(
        y,
        x,
        Array.from({ length: 16 }, (_, i) => i + number),
      ),
    );
  const numbers = splat(b, 'i8x16', immediate);
  const fromLow = b.wasm('i8x16.add_sat_u', counting(b), numbers);
  // Below 16 the sum wraps to 240 and more, which swizzle answers with zeros, as it does from 16 on.
  const fromHigh = b.wasm('i8x16.add', counting(b, -16), numbers);
  dst.set(b.wasm('v128.or', b.wasm('i8x16.swizzle', y, fromLow), b.wasm('i8x16.swizzle', x, fromHigh)));
};
const palignrOfMmx: Meaning = (b, dst, src, count) => {
  const both = pair(b, src.get(), dst.get());
  const from = b.wasm('i8x16.add_sat_u', counting(b), splat(b, 'i8x16', count.get()));
  dst.set(low(b, b.wasm('i8x16.swizzle', both, from)));
};

// ── single lanes ──────────────────────────────────────────────────────────────────────────────────────────────────

/** The lane of x that `number` names, zero-extended to i64. */
export function extract(b: Builder, x: Value, number: Value, bits: 8 | 16 | 32): Value {
  const perHalf = 64 / bits;
  const upper = b.narrow(b.and(number, b.const(perHalf)));
  const half = b.select(upper, high(b, x), low(b, x));
  const shift = b.mul(b.and(number, b.const(perHalf - 1)), b.const(bits));
  return b.zx(b.shr(half, shift), bits);
}

/** x with one lane replaced. */
export function insert(b: Builder, x: Value, number: Value, value: Value, bits: 8 | 16 | 32 | 64): Value {
  const shape = { 8: 'i8x16', 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' }[bits];
  const own = bytes(b, i => (i % (bits / 8) === 0 ? i / (bits / 8) : 0));
  const masked = b.and(number, b.const(128 / bits - 1));
  const wanted = b.wasm(`${shape}.splat`, bits === 64 ? masked : b.narrow(masked));
  const replacement = b.wasm(`${shape}.splat`, bits === 64 ? value : b.narrow(value));
  return b.wasm('v128.bitselect', replacement, x, b.wasm(`${shape}.eq`, own, wanted));
}

const pextrw: Meaning = (b, dst, src, number) => dst.set(extract(b, src.get(), number.get(), 16));
const pextrwOfMmx: Meaning = (b, dst, src, number) =>
  dst.set(b.zx(b.shr(src.get(), b.mul(b.and(number.get(), b.const(3)), b.const(16))), 16));
const pinsrw: Meaning = (b, dst, src, number) => dst.set(insert(b, dst.get(), number.get(), src.get(), 16));
const pinsrwOfMmx: Meaning = (b, dst, src, number) => {
  const shift = b.mul(b.and(number.get(), b.const(3)), b.const(16));
  const rest = b.and(dst.get(), b.not(b.shl(b.const(0xffff), shift)));
  dst.set(b.or(rest, b.shl(b.zx(src.get(), 16), shift)));
};

/** Sign bits into a general register. */
const mask =
  (shape: string): Meaning =>
  (b, dst, src) =>
    dst.set(b.wide(b.wasm(`${shape}.bitmask`, src.get())));
const maskOfMmx: Meaning = (b, dst, src) => dst.set(b.wide(b.wasm('i8x16.bitmask', extended(b, src.get()))));

// ── masked stores ─────────────────────────────────────────────────────────────────────────────────────────────────

/** MASKMOVQ and MASKMOVDQU: bytes of the register whose mask byte has bit 7 set go to [rDI]. */
function storeMasked(b: Builder, memory: Operand, data: Value, control: Value): void {
  const chosen = b.wasm('i8x16.shr_s', control, b.i32(7));
  const address = memory.address();
  const old = b.loadForWrite(address, memory.bits);
  const wide = memory.bits === 128;
  const merged = b.wasm('v128.bitselect', data, wide ? old : extended(b, old), chosen);
  b.store(address, memory.bits, wide ? merged : low(b, merged));
}
/** With no byte to be stored MASKMOVDQU does not look at memory; MASKMOVQ and VMASKMOVDQU do (all may: SDM 2B). */
const maskmovdqu: Meaning = (b, memory, src, control) => {
  const mask = control.get();
  const data = src.get();
  b.when(b.wasm('i8x16.bitmask', mask), () => storeMasked(b, memory, data, mask));
};
export const vmaskmovdqu: Meaning = (b, memory, src, control) => storeMasked(b, memory, src.get(), control.get());
const maskmovq: Meaning = (b, memory, src, control) => {
  switchToMmx(b);
  storeMasked(b, memory, extended(b, src.get()), extended(b, control.get()));
};

export const shuffleRows: Row[] = [
  ...packRows,
  row('pshufd', 0x0f70, 'Vx,Wx,Ib', pshufd, x66, sse2),
  row('pshuflw', 0x0f70, 'Vx,Wx,Ib', pshufw('low'), f2, sse2),
  row('pshufhw', 0x0f70, 'Vx,Wx,Ib', pshufw('high'), f3, sse2),
  row('pshufw', 0x0f70, 'Pq,Qq,Ib', pshufwOfMmx, none, sseMmx),
  row('shufps', 0x0fc6, 'Vx,Wx,Ib', shufps, none, sse),
  row('shufpd', 0x0fc6, 'Vx,Wx,Ib', shufpd, x66, sse2),
  ...lanewise('pshufb', 0x0f3800, shuffleBytes(0x8f), SSSE3).map((row): Row => {
    if (row.unit !== 'mmx') return row;
    const narrow = shuffleBytes(0x87);
    return {
      ...row,
      meaning: (b, dst, src) => dst.set(low(b, narrow(b, doubled(b, dst.get()), doubled(b, src.get())))),
    };
  }),
  row('palignr', 0x0f3a0f, 'Vx,Wx,Ib', palignr, x66, ssse3),
  row('palignr', 0x0f3a0f, 'Pq,Qq,Ib', palignrOfMmx, none, ssse3Mmx),
  row('pextrw', 0x0fc5, 'Gd,Ux,Ib', pextrw, x66, register, sse2),
  row('pextrw', 0x0fc5, 'Gd,Nq,Ib', pextrwOfMmx, none, register, sseMmx),
  row('pinsrw', 0x0fc4, 'Vx,Ew,Ib', pinsrw, x66, sse2),
  row('pinsrw', 0x0fc4, 'Pq,Ew,Ib', pinsrwOfMmx, none, sseMmx),
  row('pmovmskb', 0x0fd7, 'Gd,Ux', mask('i8x16'), x66, register, sse2),
  row('pmovmskb', 0x0fd7, 'Gd,Nq', maskOfMmx, none, register, sseMmx),
  row('movmskps', 0x0f50, 'Gd,Ux', mask('i32x4'), none, register, sse),
  row('movmskpd', 0x0f50, 'Gd,Ux', mask('i64x2'), x66, register, sse2),
  row('maskmovdqu', 0x0ff7, 'DIx,Vx,Ux', maskmovdqu, x66, register, sse2, unaligned),
  row('maskmovq', 0x0ff7, 'DIq,Pq,Nq', maskmovq, none, register, sseMmx),
];
