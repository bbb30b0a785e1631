/** Packed integer arithmetic, comparison and logic of MMX, SSE, SSE2 and SSSE3 (SDM 1, 5.4, 5.5.2, 5.6.3 and 5.8). */
import type { Value } from '../builder.ts';
import type { Row } from './row.ts';
import {
  choose,
  EXTENDED,
  folding,
  lanes,
  lanewise,
  mapping,
  type Operation,
  SSE2_ONLY,
  SSSE3,
  whole,
  zero,
} from './vector.ts';
import { hot, none, row, sse, sse2, x66 } from './vector-columns.ts';

/** The high halves of 16-bit products. */
const multiplyHigh =
  (sign: 's' | 'u'): Operation =>
  (b, x, y) => {
    const lower = b.wasm(`i32x4.extmul_low_i16x8_${sign}`, x, y);
    const upper = b.wasm(`i32x4.extmul_high_i16x8_${sign}`, x, y);
    return choose(b, lower, upper, 2, [1, 3, 5, 7, 9, 11, 13, 15]);
  };

/** PMULHRSW wraps -1 * -1 to -1, where WebAssembly's instruction saturates. */
const multiplyRounded: Operation = (b, x, y) => {
  const minimum = lanes(b, 16, 0x8000);
  const wraps = b.wasm('v128.and', b.wasm('i16x8.eq', x, minimum), b.wasm('i16x8.eq', y, minimum));
  return b.wasm('v128.xor', b.wasm('i16x8.q15mulr_sat_s', x, y), wraps);
};

/** PMADDUBSW: bytes of x unsigned, of y signed; sums of neighbours saturate. */
const multiplyAddBytes: Operation = (b, x, y) => {
  const eight = b.i32(8);
  const even = b.wasm(
    'i16x8.mul',
    b.wasm('v128.and', x, lanes(b, 16, 0x00ff)),
    b.wasm('i16x8.shr_s', b.wasm('i16x8.shl', y, eight), eight),
  );
  const odd = b.wasm('i16x8.mul', b.wasm('i16x8.shr_u', x, eight), b.wasm('i16x8.shr_s', y, eight));
  return b.wasm('i16x8.add_sat_s', even, odd);
};

/** Products of the even 32-bit lanes, 64 bits each. */
export const multiplyEven =
  (sign: 's' | 'u'): Operation =>
  (b, x, y) => {
    const even = (v: Value) => choose(b, v, v, 4, [0, 2, 0, 2]);
    return b.wasm(`i64x2.extmul_low_i32x4_${sign}`, even(x), even(y));
  };

/** PSADBW: the sum of eight absolute differences in each half. */
const sumOfDifferences: Operation = (b, x, y) => {
  const difference = b.wasm('v128.or', b.wasm('i8x16.sub_sat_u', x, y), b.wasm('i8x16.sub_sat_u', y, x));
  const words = b.wasm('i16x8.extadd_pairwise_i8x16_u', difference);
  const doublewords = b.wasm('i32x4.extadd_pairwise_i16x8_u', words);
  const upper = b.wasm('i64x2.shr_u', doublewords, b.i32(32));
  return b.wasm('v128.and', b.wasm('i32x4.add', doublewords, upper), lanes(b, 64, 0xffffffffn));
};

/** PSIGN: y decides whether x is negated, cleared or kept. */
const withSignOf =
  (shape: string): Operation =>
  (b, x, y) => {
    const none = zero(b);
    const negative = b.wasm(`${shape}.lt_s`, y, none);
    const negated = b.wasm(`${shape}.sub`, b.wasm('v128.xor', x, negative), negative);
    return b.wasm('v128.and', negated, b.wasm(`${shape}.ne`, y, none));
  };

/** Even lanes with odd ones, the pairs of x below those of y. */
const horizontal =
  (size: 2 | 4, operation: string): Operation =>
  (b, x, y) => {
    const numbers = Array.from({ length: 16 / size }, (_, i) => 2 * i);
    const even = choose(b, x, y, size, numbers);
    const odd = choose(
      b,
      x,
      y,
      size,
      numbers.map(n => n + 1),
    );
    return b.wasm(operation, even, odd);
  };

const andNot: Operation = (b, x, y) => b.wasm('v128.andnot', y, x);

const often = (rows: Row[]): Row[] => rows.map(row => (row.unit === 'sse' ? { ...row, hot: true } : row));

export const packedIntegerRows: Row[] = [
  ...lanewise('paddb', 0x0ffc, 'i8x16.add'),
  ...lanewise('paddw', 0x0ffd, 'i16x8.add'),
  ...lanewise('paddd', 0x0ffe, 'i32x4.add'),
  ...lanewise('paddq', 0x0fd4, 'i64x2.add', SSE2_ONLY),
  ...lanewise('paddsb', 0x0fec, 'i8x16.add_sat_s'),
  ...lanewise('paddsw', 0x0fed, 'i16x8.add_sat_s'),
  ...lanewise('paddusb', 0x0fdc, 'i8x16.add_sat_u'),
  ...lanewise('paddusw', 0x0fdd, 'i16x8.add_sat_u'),
  ...lanewise('psubb', 0x0ff8, 'i8x16.sub'),
  ...lanewise('psubw', 0x0ff9, 'i16x8.sub'),
  ...lanewise('psubd', 0x0ffa, 'i32x4.sub'),
  ...lanewise('psubq', 0x0ffb, 'i64x2.sub', SSE2_ONLY),
  ...lanewise('psubsb', 0x0fe8, 'i8x16.sub_sat_s'),
  ...lanewise('psubsw', 0x0fe9, 'i16x8.sub_sat_s'),
  ...lanewise('psubusb', 0x0fd8, 'i8x16.sub_sat_u'),
  ...lanewise('psubusw', 0x0fd9, 'i16x8.sub_sat_u'),
  ...lanewise('pmullw', 0x0fd5, 'i16x8.mul'),
  ...lanewise('pmulhw', 0x0fe5, multiplyHigh('s')),
  ...lanewise('pmulhuw', 0x0fe4, multiplyHigh('u'), EXTENDED),
  ...lanewise('pmuludq', 0x0ff4, multiplyEven('u'), SSE2_ONLY),
  ...lanewise('pmaddwd', 0x0ff5, 'i32x4.dot_i16x8_s'),
  ...lanewise('psadbw', 0x0ff6, sumOfDifferences, EXTENDED),
  ...lanewise('pavgb', 0x0fe0, 'i8x16.avgr_u', EXTENDED),
  ...lanewise('pavgw', 0x0fe3, 'i16x8.avgr_u', EXTENDED),
  ...lanewise('pminub', 0x0fda, 'i8x16.min_u', EXTENDED),
  ...lanewise('pmaxub', 0x0fde, 'i8x16.max_u', EXTENDED),
  ...lanewise('pminsw', 0x0fea, 'i16x8.min_s', EXTENDED),
  ...lanewise('pmaxsw', 0x0fee, 'i16x8.max_s', EXTENDED),
  ...lanewise('pcmpeqb', 0x0f74, 'i8x16.eq'),
  ...lanewise('pcmpeqw', 0x0f75, 'i16x8.eq'),
  ...lanewise('pcmpeqd', 0x0f76, 'i32x4.eq'),
  ...lanewise('pcmpgtb', 0x0f64, 'i8x16.gt_s'),
  ...lanewise('pcmpgtw', 0x0f65, 'i16x8.gt_s'),
  ...lanewise('pcmpgtd', 0x0f66, 'i32x4.gt_s'),
  ...lanewise('pand', 0x0fdb, 'v128.and'),
  ...lanewise('pandn', 0x0fdf, andNot),
  ...lanewise('por', 0x0feb, 'v128.or'),
  ...often(lanewise('pxor', 0x0fef, 'v128.xor')),
  ...folding('phaddw', 0x0f3801, horizontal(2, 'i16x8.add'), SSSE3),
  ...folding('phaddd', 0x0f3802, horizontal(4, 'i32x4.add'), SSSE3),
  ...folding('phaddsw', 0x0f3803, horizontal(2, 'i16x8.add_sat_s'), SSSE3),
  ...lanewise('pmaddubsw', 0x0f3804, multiplyAddBytes, SSSE3),
  ...folding('phsubw', 0x0f3805, horizontal(2, 'i16x8.sub'), SSSE3),
  ...folding('phsubd', 0x0f3806, horizontal(4, 'i32x4.sub'), SSSE3),
  ...folding('phsubsw', 0x0f3807, horizontal(2, 'i16x8.sub_sat_s'), SSSE3),
  ...lanewise('psignb', 0x0f3808, withSignOf('i8x16'), SSSE3),
  ...lanewise('psignw', 0x0f3809, withSignOf('i16x8'), SSSE3),
  ...lanewise('psignd', 0x0f380a, withSignOf('i32x4'), SSSE3),
  ...lanewise('pmulhrsw', 0x0f380b, multiplyRounded, SSSE3),
  ...mapping('pabsb', 0x0f381c, 'i8x16.abs', SSSE3),
  ...mapping('pabsw', 0x0f381d, 'i16x8.abs', SSSE3),
  ...mapping('pabsd', 0x0f381e, 'i32x4.abs', SSSE3),
];

/** The bitwise operations on floating-point registers: the same, under other names. */
export const bitwiseRows: Row[] = [
  row('andps', 0x0f54, 'Vx,Wx', whole('v128.and'), none, sse),
  row('andpd', 0x0f54, 'Vx,Wx', whole('v128.and'), x66, sse2),
  row('andnps', 0x0f55, 'Vx,Wx', whole(andNot), none, sse),
  row('andnpd', 0x0f55, 'Vx,Wx', whole(andNot), x66, sse2),
  row('orps', 0x0f56, 'Vx,Wx', whole('v128.or'), none, sse),
  row('orpd', 0x0f56, 'Vx,Wx', whole('v128.or'), x66, sse2),
  row('xorps', 0x0f57, 'Vx,Wx', whole('v128.xor'), none, sse, hot),
  row('xorpd', 0x0f57, 'Vx,Wx', whole('v128.xor'), x66, sse2, hot),
];
