/**
 * Helpers for SSE's float instructions, exact in every case: for MXCSR other than at reset, denormals, exceptions not
 * yet noted. The tables' fast paths in WebAssembly come here when they cannot be sure of their answer.
 *
 * Helpers bear the instruction's own name. Operands stand in VECTOR[0] (the destination, where it is read) and
 * VECTOR[1] (the source), an immediate in ARGUMENT[0]. The answer goes to VECTOR[3]; of a scalar instruction's only the
 * low lane means anything. With general registers the size is part of the name: `cvtsi2sd_64` takes its integer,
 * sign-extended, from ARGUMENT[0]; `cvttss2si_32` puts its answer, zero-extended, into RESULT[0]. `comiss` and its kin
 * put flags there, as RFLAGS has them. Conversions with MMX operands are those with XMM ones.
 */
import type { Helper } from './helper.ts';
import { approximateHelpers } from './sse-float/approximate.ts';
import { arithmeticHelpers } from './sse-float/arithmetic.ts';
import { compareHelpers } from './sse-float/compare.ts';
import { convertHelpers } from './sse-float/convert.ts';
import { fusedHelpers } from './sse-float/fused.ts';
import { raisePending } from './sse-float/unit.ts';

export * as lanes from './sse-float/lanes.ts';

export const sseFloatHelpers: Record<string, Helper> = {
  float_pending: raisePending,
  ...arithmeticHelpers,
  ...compareHelpers,
  ...convertHelpers,
  ...approximateHelpers,
  ...fusedHelpers,
};
