/** FMA and F16C (SDM 1, 14.4 and 14.5). A product is exact and its sum rounded once: checked-floats.ts, sse-float/fused.ts. */
import { FUSED_NEGATES_PRODUCT, FUSED_SUBTRACTS_EVEN, FUSED_SUBTRACTS_ODD } from '../sse-float/fused-signs.ts';
import { state } from '../state.ts';
import { inLanes } from './avx-lanes.ts';
import { DOUBLE, type Format, inSoftware, lowest, SINGLE, scalarSource, vectorOf, withLowest } from './float-check.ts';
import type { Meaning, Row } from './row.ts';
import { doubled, extended, low, pair } from './vector.ts';

const SUBTRACTS = FUSED_SUBTRACTS_EVEN | FUSED_SUBTRACTS_ODD;

/** Which operands are the factors and which is added: 0 is the destination. The opcode's upper half tells. */
const ORDERS = [
  { order: '132', opcode: 0x90, operands: [0, 2, 1] },
  { order: '213', opcode: 0xa0, operands: [1, 0, 2] },
  { order: '231', opcode: 0xb0, operands: [1, 2, 0] },
] as const;
type Order = (typeof ORDERS)[number]['operands'];

/** All lanes of 128 bits. */
const packed =
  (format: Format, order: Order, how: number): Meaning =>
  (b, dst, second, third) => {
    const last = third.get();
    const values = [dst.get(), second.get(), last];
    const [x, y, z] = order.map(n => values[n]!) as [typeof last, typeof last, typeof last];
    b.setState(state.VECTOR + 32, z, 128);
    b.setState(state.ARGUMENT, b.const(how));
    dst.set(b.checkedFloat(format.bits === 64 ? 'fmapd' : 'fmaps', x, y));
  };
/** Lane 0, which all lanes then hold; the rest of the destination stays. */
const scalar =
  (format: Format, order: Order, how: number): Meaning =>
  (b, dst, second, third) => {
    const last = vectorOf(b, third);
    const old = dst.get();
    const values = [old, second.get(), last].map(v => b.wasm(`${format.shape}.splat`, lowest(b, format, v)));
    const [x, y, z] = order.map(n => values[n]!) as [typeof last, typeof last, typeof last];
    b.setState(state.VECTOR + 32, z, 128);
    b.setState(state.ARGUMENT, b.const(how));
    const answer = b.checkedFloat(format.bits === 64 ? 'fmapd' : 'fmaps', x, y);
    dst.set(withLowest(b, format, old, lowest(b, format, answer)));
  };

const OPERATIONS: readonly { name: string; opcode: number; how: number; scalar: boolean }[] = [
  { name: 'vfmaddsub', opcode: 6, how: FUSED_SUBTRACTS_EVEN, scalar: false },
  { name: 'vfmsubadd', opcode: 7, how: FUSED_SUBTRACTS_ODD, scalar: false },
  { name: 'vfmadd', opcode: 8, how: 0, scalar: true },
  { name: 'vfmsub', opcode: 0xa, how: SUBTRACTS, scalar: true },
  { name: 'vfnmadd', opcode: 0xc, how: FUSED_NEGATES_PRODUCT, scalar: true },
  { name: 'vfnmsub', opcode: 0xe, how: FUSED_NEGATES_PRODUCT | SUBTRACTS, scalar: true },
];
const fma = { prefix: '66', feature: 'fma', unit: 'avx', unaligned: true } as const;

const fmaRows: Row[] = ORDERS.flatMap(({ order, opcode, operands }) =>
  OPERATIONS.flatMap(operation =>
    [SINGLE, DOUBLE].flatMap((format): Row[] => {
      const { name, how } = operation;
      const w = format.bits === 64 ? 1 : 0;
      const letter = w ? 'd' : 's';
      const at = 0x0f3800 + opcode + operation.opcode;
      const whole = packed(format, operands, how);
      const wide = inLanes(whole, { first: false, floats: true });
      const single = scalar(format, operands, how);
      return [
        {
          ...fma,
          name: `${name}${order}p${letter}`,
          opcode: at,
          operands: 'Vx,Hx,Wx',
          meaning: whole,
          vex: { l: 0, w },
        },
        {
          ...fma,
          name: `${name}${order}p${letter}`,
          opcode: at,
          operands: 'Vqq,Hqq,Wqq',
          meaning: wide,
          vex: { l: 1, w },
        },
        ...(operation.scalar
          ? scalarSource({
              ...fma,
              ...{ name: `${name}${order}s${letter}`, opcode: at + 1, operands: `Vx,Hx,Ws${letter}` },
              ...{ meaning: single, vex: { w } },
            })
          : []),
      ];
    }),
  ),
);

// ── half precision ────────────────────────────────────────────────────────────────────────────────────────────────

const fromHalves: Meaning = (b, dst, src) => {
  const x = src.get();
  dst.set(inSoftware(b, 'cvtph2ps', undefined, src.bits === 128 ? x : doubled(b, x)));
};
/** Four halves of four singles. */
const toHalves: Meaning = (b, dst, src, immediate) => {
  // It may be written before MXCSR changes.
  if (dst.kind === 'memory') b.drop(b.loadForWrite(dst.address(), 64));
  const halves = inSoftware(b, 'cvtps2ph', undefined, src.get(), immediate.get());
  const value = low(b, halves);
  dst.set(dst.kind === 'memory' ? value : extended(b, value));
};
/** Eight of eight. */
const toHalvesWide: Meaning = (b, dst, src, immediate) => {
  if (dst.kind === 'memory') b.drop(b.loadForWrite(dst.address(), 128));
  const [lower, upper] = src.lanes().map((lane, i) => {
    b.floatLane = i ? 2 : 1;
    const half = b.variable(low(b, inSoftware(b, 'cvtps2ph', undefined, lane, immediate.get())));
    b.floatLane = 0;
    return half.get();
  });
  dst.set(pair(b, lower!, upper!));
};
const f16c = { prefix: '66', feature: 'f16c', unit: 'avx', unaligned: true } as const;
const ps2ph = { ...f16c, name: 'vcvtps2ph', opcode: 0x0f3a1d } as const;
const ph2ps = { ...f16c, name: 'vcvtph2ps', opcode: 0x0f3813 } as const;
const fromHalvesWide = inLanes(fromHalves, { first: false, share: 'half', floats: true });

const halfRows: Row[] = [
  { ...ph2ps, operands: 'Vx,Wq', meaning: fromHalves, vex: { l: 0, w: 0 } },
  { ...ph2ps, operands: 'Vqq,Wx', meaning: fromHalvesWide, vex: { l: 1, w: 0 } },
  { ...ps2ph, operands: 'Ux,Vx,Ib', meaning: toHalves, vex: { l: 0, w: 0 }, form: 'register' },
  { ...ps2ph, operands: 'Mq,Vx,Ib', meaning: toHalves, vex: { l: 0, w: 0 }, form: 'memory' },
  { ...ps2ph, operands: 'Wx,Vqq,Ib', meaning: toHalvesWide, vex: { l: 1, w: 0 } },
];

export const fusedRows: Row[] = [...fmaRows, ...halfRows];
