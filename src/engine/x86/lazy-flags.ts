/**
 * Flags as translated code keeps them: what they came from, from which FLAG_AUX is made when somebody wants it. The kind holds
 * the operands' width in its low 7 bits.
 */
import type { Body } from '../wasm/module.ts';
import { Hand } from './hand.ts';
import * as state from './state.ts';

/** FLAG_AUX is as it stands. */
export const KIND_KNOWN = 0;
/** FLAG_AUX follows from FLAG_X + FLAG_Y = FLAG_RESULT, with or without a carry in. */
export const KIND_ADD = 0x80;
/** … from FLAG_X - FLAG_Y = FLAG_RESULT. */
export const KIND_SUB = 0x100;

/** () -> (): FLAG_AUX becomes known. */
export function settleFlagsBody(): Body {
  const b = new Hand([], []);
  const kind = b.local('i32');
  const [x, y, r, carries] = [b.local('i64'), b.local('i64'), b.local('i64'), b.local('i64')];
  b.state32(state.FLAG_KIND);
  b.tee(kind);
  b.op('i32.eqz');
  b.when(() => b.return());
  b.setState32(state.FLAG_KIND, () => b.i32(KIND_KNOWN));
  for (const [local, from] of [
    [x, state.FLAG_X],
    [y, state.FLAG_Y],
    [r, state.FLAG_RESULT],
  ] as const) {
    b.state64(from);
    b.set(local);
  }
  const not = (local: number) => {
    b.get(local);
    b.i64(-1n);
    b.op('i64.xor');
  };
  const join = (left: () => void, right: () => void, how: 'i64.and' | 'i64.or') => {
    left();
    right();
    b.op(how);
  };
  const get = (local: number) => () => b.get(local);
  const either = (left: () => void, right: () => void) => () => join(left, right, 'i64.or');
  const both = (left: () => void, right: () => void) => () => join(left, right, 'i64.and');
  // The carry out of each bit; for a subtraction, the borrow.
  either(
    both(get(x), get(y)),
    both(either(get(x), get(y)), () => not(r)),
  )();
  either(
    both(() => not(x), either(get(y), get(r))),
    both(get(y), get(r)),
  )();
  b.get(kind);
  b.i32(KIND_ADD);
  b.op('i32.and');
  b.select();
  b.set(carries);
  b.setState32(state.FLAG_AUX, () => {
    b.get(carries);
    b.i64(64n);
    b.get(kind);
    b.i32(0x7f);
    b.op('i32.and');
    b.op('i64.extend_i32_u');
    b.op('i64.sub');
    b.op('i64.shl');
    b.i64(32n);
    b.op('i64.shr_u');
    b.op('i32.wrap_i64');
    b.i32(0xc0000000 | 0);
    b.op('i32.and');
    b.get(carries);
    b.op('i32.wrap_i64');
    b.i32(8);
    b.op('i32.and');
    b.op('i32.or');
  });
  return b;
}
