/**
 * Flags as translated code keeps them: what they came from, from which FLAG_RESULT and FLAG_AUX are made when somebody wants them.
 * The kind holds the width in its low 7 bits; operands and results are zero-extended.
 */
import type { Body } from '../../wasm/module.ts';
import { Hand } from './hand.ts';
import * as state from './state.ts';

/** FLAG_X is FLAG_AUX, and FLAG_RESULT the result, sign-extended. */
export const KIND_KNOWN = 0;
/** FLAG_X and FLAG_RESULT are two numbers that have been added. */
export const KIND_ADD = 0x80;
/** From FLAG_X that which stands in FLAG_RESULT has been subtracted. */
export const KIND_SUB = 0x100;
/** FLAG_RESULT is a logical operation's. */
export const KIND_LOGIC = 0x200;

/** Before a region: flags that stand in FLAG_AUX are in its terms what they are. */
export function emitKnownFlags(body: Body): void {
  body.i32(0);
  body.i32(0);
  body.memory('i64.load32_u', state.STATE + state.FLAG_AUX);
  body.memory('i64.store', state.STATE + state.FLAG_X);
}

/** After it: () -> (): FLAG_RESULT and FLAG_AUX become known. */
export function settleFlagsBody(): Body {
  const b = new Hand([], []);
  const kind = b.local('i32');
  const isDifference = b.local('i32');
  const [x, y, r, carries, unused] = [b.local('i64'), b.local('i64'), b.local('i64'), b.local('i64'), b.local('i64')];
  b.state64(state.FLAG_X);
  b.set(x);
  b.state32(state.FLAG_KIND);
  b.tee(kind);
  b.op('i32.eqz');
  b.when(() => {
    b.setState32(state.FLAG_AUX, () => {
      b.get(x);
      b.op('i32.wrap_i64');
    });
    b.return();
  });
  b.setState32(state.FLAG_KIND, () => b.i32(KIND_KNOWN));
  b.state64(state.FLAG_RESULT);
  b.set(y);
  b.i64(64n);
  b.get(kind);
  b.i32(0x7f);
  b.op('i32.and');
  b.op('i64.extend_i32_u');
  b.op('i64.sub');
  b.set(unused);
  b.get(kind);
  b.i32(KIND_SUB);
  b.op('i32.and');
  b.set(isDifference);
  // A logical result is the sum of itself and nothing.
  b.get(kind);
  b.i32(KIND_LOGIC);
  b.op('i32.and');
  b.when(() => {
    b.i64(0n);
    b.set(x);
  });

  type Term = () => void;
  const get = (local: number) => () => b.get(local);
  const apply =
    (operation: 'i64.add' | 'i64.and' | 'i64.or' | 'i64.sub') =>
    (left: Term, right: Term): Term =>
    () => {
      left();
      right();
      b.op(operation);
    };
  const [and, or, plus, minus] = [apply('i64.and'), apply('i64.or'), apply('i64.add'), apply('i64.sub')];
  const not = (local: number) => () => {
    b.get(local);
    b.i64(-1n);
    b.op('i64.xor');
  };
  const choose = (difference: Term, sum: Term, into: number) => {
    difference();
    sum();
    b.get(isDifference);
    b.select();
    b.set(into);
  };
  choose(minus(get(x), get(y)), plus(get(x), get(y)), r);
  b.setState64(state.FLAG_RESULT, () => {
    b.get(r);
    b.get(unused);
    b.op('i64.shl');
    b.get(unused);
    b.op('i64.shr_s');
  });
  // The carry out of each bit; of a subtraction, the borrow.
  choose(
    or(and(not(x), or(get(y), get(r))), and(get(y), get(r))),
    or(and(get(x), get(y)), and(or(get(x), get(y)), not(r))),
    carries,
  );
  b.setState32(state.FLAG_AUX, () => {
    b.get(carries);
    b.get(unused);
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
