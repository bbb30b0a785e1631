/** The rows of SSE to SSE4.2, AES and PCLMULQDQ: those that have a form by VEX, too (avx-derived.ts). */

import { cryptoRows } from './crypto.ts';
import type { Row } from './row.ts';
import { floatArithmeticRows } from './sse-arithmetic.ts';
import { floatCompareRows } from './sse-compare.ts';
import { floatConvertRows } from './sse-convert.ts';
import { bitwiseRows, packedIntegerRows } from './sse-integer.ts';
import { vectorMoveRows } from './sse-move.ts';
import { vectorShiftRows } from './sse-shift.ts';
import { shuffleRows } from './sse-shuffle.ts';
import { sse4Rows } from './sse4.ts';

export const sseRows: readonly Row[] = [
  ...vectorMoveRows,
  ...packedIntegerRows,
  ...bitwiseRows,
  ...vectorShiftRows,
  ...shuffleRows,
  ...floatArithmeticRows,
  ...floatCompareRows,
  ...floatConvertRows,
  ...sse4Rows,
  ...cryptoRows,
];
