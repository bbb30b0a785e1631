/** Moves of SSE to SSSE3 registers (SDM 1, 5.5.1.1, 5.6.1.1, 5.6.3 and 5.7.2). Nothing here looks at what it moves. */
import type { Builder, Value } from '../builder.ts';
import type { Meaning, Row } from './row.ts';
import { choose, doubled, extended, high, low, unary } from './vector.ts';

const move: Meaning = (b, dst, src) => dst!.set(src!.get());
/** A scalar from memory clears the rest of the register. */
const moveExtended: Meaning = (b, dst, src) => dst!.set(extended(b, src!.get()));

/** The low half of dst becomes src, its high half stays. */
const moveToLow: Meaning = (b, dst, src) => dst!.set(b.lane('i64x2.replace_lane', 0, dst!.get(), src!.get()));
/** The high half of dst becomes src, its low half stays. */
const moveToHigh: Meaning = (b, dst, src) => dst!.set(b.lane('i64x2.replace_lane', 1, dst!.get(), src!.get()));
const moveFromHigh: Meaning = (b, dst, src) => dst!.set(high(b, src!.get()));

/** MOVHLPS: the high half of src becomes dst's low half. */
const highToLow: Meaning = (b, dst, src) => dst!.set(choose(b, dst!.get(), src!.get(), 8, [3, 1]));

const duplicate =
  (numbers: readonly number[]) =>
  (b: Builder, x: Value): Value =>
    choose(b, x, x, 4, numbers);

/** A whole register, loaded and stored. */
function wholeMoves(name: string, load: number, store: number, columns: Partial<Row>): Row[] {
  return [
    { name, opcode: load, operands: 'Vx,Wx', meaning: move, unit: 'sse', ...columns },
    { name, opcode: store, operands: 'Wx,Vx', meaning: move, unit: 'sse', ...columns },
  ];
}

/** Lane 0 of src into dst. Registers are written whole (float-check.ts says why). */
const moveLowest =
  (shape: 'f32x4' | 'f64x2'): Meaning =>
  (b, dst, src) =>
    dst!.set(b.lane(`${shape}.replace_lane`, 0, dst!.get(), b.lane(`${shape}.extract_lane`, 0, src!.get())));

/** MOVSS and MOVSD: between registers the rest of the destination stays. */
function scalarMoves(name: string, prefix: 'f3' | 'f2', shape: 'f32x4' | 'f64x2', feature: 'sse' | 'sse2'): Row[] {
  const columns = { name, prefix, feature, unit: 'sse', hot: true } as const;
  const [memory, vector] = shape === 'f32x4' ? ['Md', 'Vss'] : ['Mq', 'Vsd'];
  return [
    { ...columns, opcode: 0x0f10, form: 'register', operands: 'Vx,Ux', meaning: moveLowest(shape) },
    { ...columns, opcode: 0x0f10, form: 'memory', operands: `Vx,${memory}`, meaning: moveExtended },
    { ...columns, opcode: 0x0f11, form: 'register', operands: 'Ux,Vx', meaning: moveLowest(shape) },
    { ...columns, opcode: 0x0f11, form: 'memory', operands: `${memory},${vector}`, meaning: move },
  ];
}

/** MOVLPx and MOVHPx: one half and memory. */
function halfMoves(suffix: 'ps' | 'pd', prefix: 'none' | '66', feature: 'sse' | 'sse2'): Row[] {
  const columns = { prefix, feature, unit: 'sse', form: 'memory' } as const;
  return [
    { ...columns, name: `movl${suffix}`, opcode: 0x0f12, operands: 'Vx,Mq', meaning: moveToLow },
    { ...columns, name: `movl${suffix}`, opcode: 0x0f13, operands: 'Mq,Vq', meaning: move },
    { ...columns, name: `movh${suffix}`, opcode: 0x0f16, operands: 'Vx,Mq', meaning: moveToHigh },
    { ...columns, name: `movh${suffix}`, opcode: 0x0f17, operands: 'Mq,Vx', meaning: moveFromHigh },
  ];
}

const none = { prefix: 'none' } as const;
const x66 = { prefix: '66' } as const;
const f3 = { prefix: 'f3' } as const;
const f2 = { prefix: 'f2' } as const;
const unaligned = { unaligned: true } as const;
const sse = { feature: 'sse', unit: 'sse' } as const;
const sse2 = { feature: 'sse2', unit: 'sse' } as const;
const sse3 = { feature: 'sse3', unit: 'sse' } as const;
const register = { form: 'register' } as const;
const memory = { form: 'memory' } as const;
const hot = { hot: true } as const;

export const vectorMoveRows: Row[] = [
  ...wholeMoves('movups', 0x0f10, 0x0f11, { ...none, ...sse, ...unaligned, ...hot }),
  ...wholeMoves('movupd', 0x0f10, 0x0f11, { ...x66, ...sse2, ...unaligned }),
  ...wholeMoves('movaps', 0x0f28, 0x0f29, { ...none, ...sse, ...hot }),
  ...wholeMoves('movapd', 0x0f28, 0x0f29, { ...x66, ...sse2 }),
  ...wholeMoves('movdqa', 0x0f6f, 0x0f7f, { ...x66, ...sse2, ...hot }),
  ...wholeMoves('movdqu', 0x0f6f, 0x0f7f, { ...f3, ...sse2, ...unaligned, ...hot }),
  ...scalarMoves('movss', 'f3', 'f32x4', 'sse'),
  ...scalarMoves('movsd', 'f2', 'f64x2', 'sse2'),
  ...halfMoves('ps', 'none', 'sse'),
  ...halfMoves('pd', '66', 'sse2'),
  { name: 'movhlps', opcode: 0x0f12, operands: 'Vx,Ux', meaning: highToLow, ...none, ...register, ...sse },
  { name: 'movlhps', opcode: 0x0f16, operands: 'Vx,Uq', meaning: moveToHigh, ...none, ...register, ...sse },
  { name: 'movsldup', opcode: 0x0f12, operands: 'Vx,Wx', meaning: unary(duplicate([0, 0, 2, 2])), ...f3, ...sse3 },
  { name: 'movshdup', opcode: 0x0f16, operands: 'Vx,Wx', meaning: unary(duplicate([1, 1, 3, 3])), ...f3, ...sse3 },
  { name: 'movddup', opcode: 0x0f12, operands: 'Vx,Wq', meaning: unary(doubled), ...f2, ...sse3 },
  { name: 'lddqu', opcode: 0x0ff0, operands: 'Vx,Mx', meaning: move, ...f2, ...memory, ...sse3, ...unaligned },

  { name: 'movd', opcode: 0x0f6e, operands: 'Vx,Ey', meaning: moveExtended, ...x66, ...sse2, ...hot },
  { name: 'movd', opcode: 0x0f7e, operands: 'Ey,Vx', meaning: (b, dst, src) => dst!.set(b.zx(low(b, src!.get()), dst!.bits)), ...x66, ...sse2, ...hot },
  { name: 'movq', opcode: 0x0f7e, operands: 'Vx,Wq', meaning: moveExtended, ...f3, ...sse2, ...hot },
  { name: 'movq', opcode: 0x0fd6, operands: 'Ux,Vq', meaning: moveExtended, ...x66, ...register, ...sse2 },
  { name: 'movq', opcode: 0x0fd6, operands: 'Mq,Vq', meaning: move, ...x66, ...memory, ...sse2, ...hot },
  { name: 'movq2dq', opcode: 0x0fd6, operands: 'Vx,Nq', meaning: moveExtended, ...f3, ...register, feature: 'sse2', unit: 'mmx' },
  { name: 'movdq2q', opcode: 0x0fd6, operands: 'Pq,Uq', meaning: move, ...f2, ...register, feature: 'sse2', unit: 'mmx' },
  { name: 'movd', opcode: 0x0f6e, operands: 'Pq,Ey', meaning: move, ...none, feature: 'mmx', unit: 'mmx' },
  { name: 'movd', opcode: 0x0f7e, operands: 'Ey,Pq', meaning: (b, dst, src) => dst!.set(b.zx(src!.get(), dst!.bits)), ...none, feature: 'mmx', unit: 'mmx' },
  { name: 'movq', opcode: 0x0f6f, operands: 'Pq,Qq', meaning: move, ...none, feature: 'mmx', unit: 'mmx' },
  { name: 'movq', opcode: 0x0f7f, operands: 'Qq,Pq', meaning: move, ...none, feature: 'mmx', unit: 'mmx' },

  // Non-temporal: how a cache is used is nothing that a program could see.
  { name: 'movntps', opcode: 0x0f2b, operands: 'Mx,Vx', meaning: move, ...none, ...memory, ...sse },
  { name: 'movntpd', opcode: 0x0f2b, operands: 'Mx,Vx', meaning: move, ...x66, ...memory, ...sse2 },
  { name: 'movntdq', opcode: 0x0fe7, operands: 'Mx,Vx', meaning: move, ...x66, ...memory, ...sse2 },
  { name: 'movntdqa', opcode: 0x0f382a, operands: 'Vx,Mx', meaning: move, ...x66, ...memory, feature: 'sse4_1', unit: 'sse' },
  { name: 'movntq', opcode: 0x0fe7, operands: 'Mq,Pq', meaning: move, ...none, ...memory, feature: 'sse', unit: 'mmx' },
  { name: 'movnti', opcode: 0x0fc3, operands: 'My,Gy', meaning: move, ...none, ...memory, feature: 'sse2' },

  { name: 'unpcklps', opcode: 0x0f14, operands: 'Vx,Wx', meaning: (b, dst, src) => dst!.set(choose(b, dst!.get(), src!.get(), 4, [0, 4, 1, 5])), ...none, ...sse },
  { name: 'unpckhps', opcode: 0x0f15, operands: 'Vx,Wx', meaning: (b, dst, src) => dst!.set(choose(b, dst!.get(), src!.get(), 4, [2, 6, 3, 7])), ...none, ...sse },
  { name: 'unpcklpd', opcode: 0x0f14, operands: 'Vx,Wx', meaning: (b, dst, src) => dst!.set(choose(b, dst!.get(), src!.get(), 8, [0, 2])), ...x66, ...sse2 },
  { name: 'unpckhpd', opcode: 0x0f15, operands: 'Vx,Wx', meaning: (b, dst, src) => dst!.set(choose(b, dst!.get(), src!.get(), 8, [1, 3])), ...x66, ...sse2 },
];
