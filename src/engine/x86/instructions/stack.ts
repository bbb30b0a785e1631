/** The stack as pushes, pops, calls and returns see it: as wide as SS says, 64 bits in 64-bit mode. */
import type { Builder, Value } from '../builder.ts';
import * as state from '../state.ts';

const RSP = 4;

/** The stack pointer moved by `bytes` (negative: a push), wrapped to the stack's width. */
function moved(b: Builder, bytes: number): Value {
  const next = b.add(b.gpr(RSP), b.const(bytes));
  return b.tier.wide ? next : b.and(next, b.state(state.STACK_MASK));
}
function setPointer(b: Builder, offset: Value): void {
  if (b.tier.wide) return b.setGpr(RSP, offset);
  const mask = b.state(state.STACK_MASK);
  b.setGpr(RSP, b.or(b.and(b.gpr(RSP), b.not(mask)), offset));
}

/** Stores below the stack pointer, then moves it: a fault leaves it where it was. */
export function push(b: Builder, bits: number, value: Value): void {
  const offset = moved(b, -bits / 8);
  b.store(b.tier.linear(b, state.SS, offset, bits / 8, true), bits, value);
  setPointer(b, offset);
}
/** The value `skip` bytes above the stack pointer, which stays. */
export function popFrom(b: Builder, bits: number, skip: number): Value {
  return b.load(b.tier.linear(b, state.SS, moved(b, skip), bits / 8, false), bits);
}
export function pop(b: Builder, bits: number): Value {
  const value = popFrom(b, bits, 0);
  stackOffset(b, bits / 8);
  return value;
}
/** Moves the stack pointer up by `bytes`. */
export function stackOffset(b: Builder, bytes: number): void {
  setPointer(b, moved(b, bytes));
}
/** The same by a number known only at run time (RET n). */
export function stackOffsetBy(b: Builder, bytes: Value): void {
  const next = b.add(b.gpr(RSP), bytes);
  setPointer(b, b.tier.wide ? next : b.and(next, b.state(state.STACK_MASK)));
}
