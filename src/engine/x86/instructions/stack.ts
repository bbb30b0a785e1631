/** The stack as pushes, pops, calls and returns see it: as wide as SS says, 64 bits in 64-bit mode. */
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';

const RSP = 4;

/** The stack pointer moved by `bytes` (negative: a push), wrapped to the stack's width. */
function moved(b: Builder, bytes: number): Value {
  return wrapped(b, b.add(b.gpr(RSP), b.const(bytes)));
}
/** An offset in the stack segment, wrapped to the stack's width. */
export function wrapped(b: Builder, offset: Value): Value {
  if (b.tier.wide) return offset;
  return b.tier.flat ? b.zx(offset, 32) : b.and(offset, b.state(state.STACK_MASK));
}
/** Sets the stack pointer, or SP alone, to an offset that is wrapped. Outside 64-bit mode the upper half becomes 0. */
export function setPointer(b: Builder, offset: Value): void {
  if (b.tier.flat) return b.setGpr(RSP, offset, b.tier.wide ? 64 : 32);
  b.setGpr(RSP, b.or(b.and(b.gpr(RSP, 32), b.not(b.state(state.STACK_MASK))), offset), 32);
}

/** Stores below the stack pointer, then moves it: a fault leaves it where it was. */
export function push(b: Builder, bits: number, value: Value): void {
  const offset = moved(b, -bits / 8);
  b.storeStack(offset, bits, value);
  setPointer(b, offset);
}
/** Raises what a push would raise. */
export function probePush(b: Builder, bits: number): void {
  b.use(b.loadStack(moved(b, -bits / 8), bits, true));
}
/** The value `skip` bytes above the stack pointer, which stays. */
export function popFrom(b: Builder, bits: number, skip: number): Value {
  return b.loadStack(moved(b, skip), bits);
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
  setPointer(b, wrapped(b, b.add(b.gpr(RSP), bytes)));
}
