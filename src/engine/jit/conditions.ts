/** Condition codes of flags whose origin translation knows: one comparison of the operands, instead of single flags. */

import type { Value } from '../x86/builder.ts';
import type { ProcessorCode } from '../x86/code.ts';
import type { FlagSource } from '../x86/tier.ts';
import type { FlagOrigin } from './registers.ts';

/** @param code 0-15 (SDM 2A, B.1.4.7) @returns undefined where single flags are the shorter way */
export function conditionOf(
  b: ProcessorCode,
  { kind, bits }: FlagOrigin,
  { x, y }: { x: Value; y: Value },
  code: number,
): Value | undefined {
  const zero = b.const(0);
  const less = (p: Value, q: Value) =>
    bits === 32 ? b.lts(b.narrow(p), b.narrow(q)) : b.lts(b.sx(p, bits), b.sx(q, bits));
  const notMore = (p: Value, q: Value) =>
    bits === 32 ? b.les(b.narrow(p), b.narrow(q)) : b.les(b.sx(p, bits), b.sx(q, bits));
  // By code / 2; an odd code is the opposite of the even one before it.
  const tables: Record<FlagSource['kind'], Record<number, () => Value>> = {
    sub: {
      1: () => b.ltu(x, y),
      2: () => b.eq(x, y),
      3: () => b.leu(x, y),
      4: () => less(b.sub(x, y), zero),
      6: () => less(x, y),
      7: () => notMore(x, y),
    },
    add: {
      1: () => b.ltu(b.zx(b.add(x, y), bits), x),
      2: () => b.eqz(b.zx(b.add(x, y), bits)),
      4: () => less(b.add(x, y), zero),
    },
    logic: {
      0: () => b.i32(0),
      1: () => b.i32(0),
      2: () => b.eqz(y),
      3: () => b.eqz(y),
      4: () => less(y, zero),
      6: () => less(y, zero),
      7: () => notMore(y, zero),
    },
    // Flags from POPF and the like set a result, too: ZF is always "the result is 0".
    raw: { 2: () => b.eqz(y) },
  };
  const value = tables[kind][code >> 1]?.();
  return value && (code & 1) === 1 ? b.no(value) : value;
}
