/** Floating-point comparisons of SSE and SSE2 (SDM 1, 5.5.1.3 and 5.6.1.3). */
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import {
  DOUBLE,
  everyLane,
  type Format,
  inSoftware,
  LaneCheck,
  lowest,
  SINGLE,
  scalarSource,
  vectorOf,
} from './float-check.ts';
import { selected } from './float-fast.ts';
import type { Meaning, Row } from './row.ts';
import { f2, f3, none, reads, row, sse, sse2, x66 } from './vector-columns.ts';

/**
 * CMPxx: predicates 0 EQ, 1 LT, 2 LE, 3 UNORD; with bit 2 their opposites (SDM 2A, table 3-1). Higher bits of the
 * immediate are ignored. Without NaNs, UNORD is never.
 */
const compare =
  (format: Format, packed: boolean): Meaning =>
  (b, dst, src, immediate) => {
    const predicate = b.narrow(immediate.get());
    b.setState(state.ARGUMENT, immediate.get());
    const bit = (n: number) => b.both(b.shr(predicate, b.i32(n)), b.i32(1));
    const result = (x: Value, y: Value) => {
      const is = (operation: string) => b.wasm(`${format.shape}.${operation}`, x, y);
      const never = everyLane(b, format, 0n);
      const lessOrEqual = b.select(bit(0), never, is('le'));
      const straight = b.select(bit(1), lessOrEqual, b.select(bit(0), is('lt'), is('eq')));
      return b.wasm('v128.xor', straight, b.select(bit(2), everyLane(b, format, -1n), never));
    };
    selected(b, format, packed, [dst, src!], { name: 'cmp', result, leavesNumbers: false });
  };

/**
 * Sets ZF, PF and CF as `flags` (i32, laid out as RFLAGS) has them; OF, SF and AF clear. Shorter than flagsFromBits.
 */
function setComparison(b: Builder, flags: Value): void {
  const shifted = (n: number) => b.shl(flags, b.i32(n));
  const notZero = b.no(b.both(flags, b.i32(0x40)));
  const aux = () => {
    // CF to bit 31, and to bit 30, which is CF^OF. The result is 0 or 1: its parity alone gives PF = ZF.
    const carry = b.mul(b.both(flags, b.i32(1)), b.i32(0xc0000000 | 0));
    const parity = b.both(b.xor(shifted(2), shifted(6)), b.i32(0x100));
    return b.either(carry, parity);
  };
  b.tier.setFlags(b, { kind: 'raw', bits: 64, r: b.wide(notZero), aux });
}

/** COMISx and UCOMISx: less CF, equal ZF, unordered all three of ZF, PF and CF. */
const compareToFlags =
  (name: string, format: Format): Meaning =>
  (b, left, right) => {
    const y = vectorOf(b, right);
    const x = left.get();
    const is = (operation: string) =>
      b.wasm(`f${format.bits}.${operation}`, lowest(b, format, x), lowest(b, format, y));
    const check = new LaneCheck(b, format, false);
    // Both numbers side by side in one vector.
    const side = b.lane(`${format.shape}.replace_lane`, 1, x, lowest(b, format, y));
    const ordinary = b.both(b.wasm(`${format.integers}.bitmask`, check.isOrdinary(side)), b.i32(3));
    const flags = b.variable(b.either(is('lt'), b.shl(is('eq'), b.i32(6))));
    b.when(b.ne(ordinary, b.i32(3)), () => {
      inSoftware(b, name, x, y);
      flags.set(b.state32(state.RESULT));
    });
    setComparison(b, flags.get());
  };

export const floatCompareRows: Row[] = [
  row('cmpps', 0x0fc2, 'Vx,Wx,Ib', compare(SINGLE, true), none, sse),
  row('cmppd', 0x0fc2, 'Vx,Wx,Ib', compare(DOUBLE, true), x66, sse2),
  ...scalarSource(row('cmpss', 0x0fc2, 'Vss,Wss,Ib', compare(SINGLE, false), f3, sse)),
  ...scalarSource(row('cmpsd', 0x0fc2, 'Vsd,Wsd,Ib', compare(DOUBLE, false), f2, sse2)),
  ...scalarSource(row('ucomiss', 0x0f2e, 'Vss,Wss', compareToFlags('ucomiss', SINGLE), none, sse, reads)),
  ...scalarSource(row('ucomisd', 0x0f2e, 'Vsd,Wsd', compareToFlags('ucomisd', DOUBLE), x66, sse2, reads)),
  ...scalarSource(row('comiss', 0x0f2f, 'Vss,Wss', compareToFlags('comiss', SINGLE), none, sse, reads)),
  ...scalarSource(row('comisd', 0x0f2f, 'Vsd,Wsd', compareToFlags('comisd', DOUBLE), x66, sse2, reads)),
];
