/** Moves of SSE to SSSE3 registers (SDM 1, 5.5.1.1, 5.6.1.1, 5.6.3 and 5.7.2). Nothing here looks at what it moves. */
import type { Builder, Value } from '../builder.ts';
import type { Meaning, Row } from './row.ts';
import { choose, doubled, extended, high, low, unary } from './vector.ts';
import {
  f2,
  f3,
  hot,
  memory,
  mmx,
  none,
  register,
  row,
  sse,
  sse2,
  sse2Mmx,
  sse3,
  sse41,
  sseMmx,
  unaligned,
  x66,
} from './vector-columns.ts';

const move: Meaning = (_b, dst, src) => dst.set(src.get());
/** A scalar from memory clears the rest of the register. */
const moveExtended: Meaning = (b, dst, src) => dst.set(src.getAs('v128') ?? extended(b, src.get()));

/** The low half of dst becomes src, its high half stays. */
const moveToLow: Meaning = (b, dst, src) => dst.set(b.lane('i64x2.replace_lane', 0, dst.get(), src.get()));
/** The high half of dst becomes src, its low half stays. */
const moveToHigh: Meaning = (b, dst, src) => dst.set(b.lane('i64x2.replace_lane', 1, dst.get(), src.get()));
const moveFromHigh: Meaning = (b, dst, src) => dst.set(high(b, src.get()));

/** MOVHLPS: the high half of src becomes dst's low half. */
const highToLow: Meaning = (b, dst, src) => dst.set(choose(b, dst.get(), src.get(), 8, [3, 1]));

const duplicate =
  (numbers: readonly number[]) =>
  (b: Builder, x: Value): Value =>
    choose(b, x, x, 4, numbers);

/** A whole register, loaded and stored. */
function wholeMoves(name: string, load: number, store: number, ...columns: Partial<Row>[]): Row[] {
  return [row(name, load, 'Vx,Wx', move, ...columns), row(name, store, 'Wx,Vx', move, ...columns)];
}

/** Lane 0 of src into dst. Registers are written whole (float-check.ts says why). */
const moveLowest =
  (shape: 'f32x4' | 'f64x2'): Meaning =>
  (b, dst, src) =>
    dst.set(b.lane(`${shape}.replace_lane`, 0, dst.get(), b.lane(`${shape}.extract_lane`, 0, src.get())));

/** MOVSS and MOVSD: between registers the rest of the destination stays. */
function scalarMoves(name: string, shape: 'f32x4' | 'f64x2', ...columns: Partial<Row>[]): Row[] {
  const [place, lane] = shape === 'f32x4' ? ['Md', 'Vss'] : ['Mq', 'Vsd'];
  return [
    row(name, 0x0f10, 'Vx,Ux', moveLowest(shape), register, ...columns),
    row(name, 0x0f10, `Vx,${place}`, moveExtended, memory, ...columns),
    row(name, 0x0f11, 'Ux,Vx', moveLowest(shape), register, ...columns),
    row(name, 0x0f11, `${place},${lane}`, move, memory, ...columns),
  ];
}

/** MOVLPx and MOVHPx: one half and memory. */
function halfMoves(suffix: 'ps' | 'pd', ...columns: Partial<Row>[]): Row[] {
  return [
    row(`movl${suffix}`, 0x0f12, 'Vx,Mq', moveToLow, memory, ...columns),
    row(`movl${suffix}`, 0x0f13, 'Mq,Vq', move, memory, ...columns),
    row(`movh${suffix}`, 0x0f16, 'Vx,Mq', moveToHigh, memory, ...columns),
    row(`movh${suffix}`, 0x0f17, 'Mq,Vx', moveFromHigh, memory, ...columns),
  ];
}

/** Lanes of both registers in turn. */
const interleave =
  (size: number, numbers: readonly number[]): Meaning =>
  (b, dst, src) =>
    dst.set(choose(b, dst.get(), src.get(), size, numbers));

/** MOVD out of a register; with REX.W MOVQ. */
const moveOut: Meaning = (b, dst, src) => {
  const x = src.get();
  dst.set(b.zx(src.bits === 128 ? low(b, x) : x, dst.bits));
};

export const vectorMoveRows: Row[] = [
  ...wholeMoves('movups', 0x0f10, 0x0f11, none, sse, unaligned, hot),
  ...wholeMoves('movupd', 0x0f10, 0x0f11, x66, sse2, unaligned),
  ...wholeMoves('movaps', 0x0f28, 0x0f29, none, sse, hot),
  ...wholeMoves('movapd', 0x0f28, 0x0f29, x66, sse2),
  ...wholeMoves('movdqa', 0x0f6f, 0x0f7f, x66, sse2, hot),
  ...wholeMoves('movdqu', 0x0f6f, 0x0f7f, f3, sse2, unaligned, hot),
  ...scalarMoves('movss', 'f32x4', f3, sse),
  ...scalarMoves('movsd', 'f64x2', f2, sse2),
  ...halfMoves('ps', none, sse),
  ...halfMoves('pd', x66, sse2),
  row('movhlps', 0x0f12, 'Vx,Ux', highToLow, none, register, sse),
  row('movlhps', 0x0f16, 'Vx,Uq', moveToHigh, none, register, sse),
  row('movsldup', 0x0f12, 'Vx,Wx', unary(duplicate([0, 0, 2, 2])), f3, sse3),
  row('movshdup', 0x0f16, 'Vx,Wx', unary(duplicate([1, 1, 3, 3])), f3, sse3),
  row('movddup', 0x0f12, 'Vx,Wq', unary(doubled), f2, sse3),
  row('lddqu', 0x0ff0, 'Vx,Mx', move, f2, memory, sse3, unaligned),

  row('movd', 0x0f6e, 'Vx,Ey', moveExtended, x66, sse2, hot),
  row('movd', 0x0f7e, 'Ey,Vx', moveOut, x66, sse2, hot),
  row('movq', 0x0f7e, 'Vx,Wq', moveExtended, f3, sse2, hot),
  row('movq', 0x0fd6, 'Ux,Vq', moveExtended, x66, register, sse2),
  row('movq', 0x0fd6, 'Mq,Vq', move, x66, memory, sse2, hot),
  row('movq2dq', 0x0fd6, 'Vx,Nq', moveExtended, f3, register, sse2Mmx),
  row('movdq2q', 0x0fd6, 'Pq,Uq', move, f2, register, sse2Mmx),
  row('movd', 0x0f6e, 'Pq,Ey', move, none, mmx),
  row('movd', 0x0f7e, 'Ey,Pq', moveOut, none, mmx),
  row('movq', 0x0f6f, 'Pq,Qq', move, none, mmx),
  row('movq', 0x0f7f, 'Qq,Pq', move, none, mmx),

  // Non-temporal: how a cache is used is nothing that a program could see.
  row('movntps', 0x0f2b, 'Mx,Vx', move, none, memory, sse),
  row('movntpd', 0x0f2b, 'Mx,Vx', move, x66, memory, sse2),
  row('movntdq', 0x0fe7, 'Mx,Vx', move, x66, memory, sse2),
  row('movntdqa', 0x0f382a, 'Vx,Mx', move, x66, memory, sse41),
  row('movntq', 0x0fe7, 'Mq,Pq', move, none, memory, sseMmx),
  row('movnti', 0x0fc3, 'My,Gy', move, none, memory, { feature: 'sse2' }),

  row('unpcklps', 0x0f14, 'Vx,Wx', interleave(4, [0, 4, 1, 5]), none, sse),
  row('unpckhps', 0x0f15, 'Vx,Wx', interleave(4, [2, 6, 3, 7]), none, sse),
  row('unpcklpd', 0x0f14, 'Vx,Wx', interleave(8, [0, 2]), x66, sse2),
  row('unpckhpd', 0x0f15, 'Vx,Wx', interleave(8, [1, 3]), x66, sse2),
];
