/** What is known of an operation's result when it is built: constants folded, the width of what may be set. */
import type { Expressions, Value } from './expressions.ts';

/** How many of the low bits of an operation's result may be set. */
export function widthOf(name: string, [x, y]: readonly Value[]): number {
  switch (name) {
    case 'i64.and':
      return Math.min(x!.width, y!.width);
    case 'i64.or':
    case 'i64.xor':
      return Math.max(x!.width, y!.width);
    case 'i64.shr_u':
      return y!.kind === 'const' ? Math.max(0, x!.width - Number(y!.literal & 63n)) : x!.width;
    case 'i64.extend_i32_u':
      return 32;
    default:
      return 64;
  }
}

/** Constant folding of what meanings and operands make most often; undefined when there is nothing to fold. */
export function fold(b: Expressions, name: string, parts: readonly Value[]): Value | undefined {
  const [x, y] = parts;
  const known = (value: Value | undefined) => value?.kind === 'const';
  if (y && known(x) && known(y)) {
    const p = x!.literal;
    const q = y.literal;
    const u = (n: bigint) => BigInt.asUintN(64, n);
    switch (name) {
      case 'i64.add':
        return b.const(p + q);
      case 'i64.sub':
        return b.const(p - q);
      case 'i64.and':
        return b.const(p & q);
      case 'i64.or':
        return b.const(p | q);
      case 'i64.xor':
        return b.const(p ^ q);
      case 'i64.shl':
        return b.const(p << (q & 63n));
      case 'i64.shr_u':
        return b.const(u(p) >> (q & 63n));
      case 'i64.shr_s':
        return b.const(p >> (q & 63n));
      case 'i64.mul':
        return b.const(p * q);
      case 'i64.eq':
        return b.i32(p === q ? 1 : 0);
      case 'i64.ne':
        return b.i32(p !== q ? 1 : 0);
      case 'i64.lt_u':
        return b.i32(u(p) < u(q) ? 1 : 0);
      case 'i64.lt_s':
        return b.i32(p < q ? 1 : 0);
      case 'i32.and':
        return b.i32(Number(p & q));
      case 'i32.or':
        return b.i32(Number(p | q));
      case 'i32.xor':
        return b.i32(Number(p ^ q));
      case 'i32.shl':
        return b.i32(Number(p) << Number(q & 31n));
      case 'i32.shr_u':
        return b.i32(Number(p) >>> Number(q & 31n));
    }
    return undefined;
  }
  if (known(x) && !y) {
    const p = x!.literal;
    switch (name) {
      case 'i64.eqz':
        return b.i32(p === 0n ? 1 : 0);
      case 'i32.eqz':
        return b.i32(p === 0n ? 1 : 0);
      case 'i32.wrap_i64':
        return b.i32(Number(BigInt.asIntN(32, p)));
      case 'i64.extend_i32_u':
        return b.const(BigInt.asUintN(32, p));
      case 'i64.extend8_s':
        return b.const(BigInt.asIntN(8, p));
      case 'i64.extend16_s':
        return b.const(BigInt.asIntN(16, p));
      case 'i64.extend32_s':
        return b.const(BigInt.asIntN(32, p));
    }
    return undefined;
  }
  if (y?.kind === 'const') {
    if (y.literal === 0n && /^i(32|64)\.(add|sub|or|xor|shl|shr_u|shr_s)$/.test(name)) return x;
    if (name === 'i64.and' && y.literal === -1n) return x;
  }
  if (x?.kind === 'const' && x.literal === 0n && /^i(32|64)\.(add|or|xor)$/.test(name)) return y;
  return undefined;
}
