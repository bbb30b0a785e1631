/** Floating-point comparisons of SSE and SSE2 (SDM 1, 5.5.1.3 and 5.6.1.3). */
import type { Builder, Value } from '../builder.ts';
import { HOLDS_IF_EQUAL, HOLDS_IF_GREATER, HOLDS_IF_LESS, SSE_PREDICATES } from '../float-predicates.ts';
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
import { known } from './vector.ts';
import { f2, f3, none, reads, row, sse, sse2, x66 } from './vector-columns.ts';

/** x and y, which are no NaNs, are in one of the relations for which a predicate (i32) holds. */
function related(b: Builder, format: Format, x: Value, y: Value, predicate: Value): Value {
  const is = (operation: string) => b.wasm(`${format.shape}.${operation}`, x, y);
  const relations: [number, string][] = [
    [HOLDS_IF_LESS, 'lt'],
    [HOLDS_IF_EQUAL, 'eq'],
    [HOLDS_IF_GREATER, 'gt'],
  ];
  const number = known(predicate);
  if (number !== undefined) {
    const held = relations.reduce((bits, [holds], i) => bits | (((holds >>> number) & 1) << i), 0);
    const operation = ['', 'lt', 'eq', 'le', 'gt', 'ne', 'ge', ''][held]!;
    return operation ? is(operation) : everyLane(b, format, held ? -1n : 0n);
  }
  const chosen = relations.map(([holds, operation]) => {
    const bit = b.both(b.shr(b.i32(holds), predicate), b.i32(1));
    return b.wasm('v128.and', is(operation), b.wasm('i32x4.splat', b.sub(b.i32(0), bit)));
  });
  return chosen.reduce((some, more) => b.wasm('v128.or', some, more));
}

/** CMPxx. Higher bits of the immediate than those of `predicates` are ignored. */
const compare =
  (format: Format, packed: boolean, predicates: number): Meaning =>
  (b, dst, src, immediate) => {
    const number = b.and(immediate.get(), b.const(predicates));
    b.setState(state.ARGUMENT, number);
    const result = (x: Value, y: Value) => related(b, format, x, y, b.narrow(number));
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

/** @param predicates the bits of the immediate that count */
export function compareRows(predicates: number): Row[] {
  const packed = (format: Format) => compare(format, true, predicates);
  const scalar = (format: Format) => compare(format, false, predicates);
  return [
    row('cmpps', 0x0fc2, 'Vx,Wx,Ib', packed(SINGLE), none, sse),
    row('cmppd', 0x0fc2, 'Vx,Wx,Ib', packed(DOUBLE), x66, sse2),
    ...scalarSource(row('cmpss', 0x0fc2, 'Vss,Wss,Ib', scalar(SINGLE), f3, sse)),
    ...scalarSource(row('cmpsd', 0x0fc2, 'Vsd,Wsd,Ib', scalar(DOUBLE), f2, sse2)),
  ];
}

export const floatCompareRows: Row[] = [
  ...compareRows(SSE_PREDICATES),
  ...scalarSource(row('ucomiss', 0x0f2e, 'Vss,Wss', compareToFlags('ucomiss', SINGLE), none, sse, reads)),
  ...scalarSource(row('ucomisd', 0x0f2e, 'Vsd,Wsd', compareToFlags('ucomisd', DOUBLE), x66, sse2, reads)),
  ...scalarSource(row('comiss', 0x0f2f, 'Vss,Wss', compareToFlags('comiss', SINGLE), none, sse, reads)),
  ...scalarSource(row('comisd', 0x0f2f, 'Vsd,Wsd', compareToFlags('comisd', DOUBLE), x66, sse2, reads)),
];
