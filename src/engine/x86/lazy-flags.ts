/**
 * Flags as translated code keeps them: what they follow from (FLAG_X and FLAG_RESULT, zero-extended) and how
 * (FLAG_KIND, whose low 7 bits are the operands' width). The interpreter's form, FLAG_RESULT and FLAG_AUX, is made from
 * these when it is needed.
 */
import type { Value } from '../../wasm/expressions.ts';
import { Body } from '../../wasm/module.ts';
import { ProcessorCode } from './code.ts';
import { state } from './state.ts';

/** FLAG_X is FLAG_AUX, and FLAG_RESULT the result, sign-extended. */
export const KIND_KNOWN = 0;
/** FLAG_X and FLAG_RESULT are two numbers that have been added. */
export const KIND_ADD = 0x80;
/** From FLAG_X that which stands in FLAG_RESULT has been subtracted. */
export const KIND_SUB = 0x100;
/** FLAG_RESULT is a logical operation's. */
export const KIND_LOGIC = 0x200;

/**
 * Before a region: converts the interpreter's form of the flags (FLAG_AUX) to the region's (FLAG_X, with KIND_KNOWN).
 */
export function toRegionFlags(b: ProcessorCode): void {
  b.setState(state.FLAG_X, b.fetchState('i64.load32_u', state.FLAG_AUX));
}

/** After a region: () -> (): from the region's form of the flags to FLAG_RESULT and FLAG_AUX. */
export function computeFlagsBody(): Body {
  const b = new ProcessorCode(new Body([], []));
  const words = { x: b.state(state.FLAG_X), y: b.state(state.FLAG_RESULT), kind: b.state32(state.FLAG_KIND) };
  b.when(
    b.no(words.kind),
    () => b.setState32(state.FLAG_AUX, b.narrow(words.x)),
    () => {
      const { result, aux } = computedFlags(b, words);
      b.setState(state.FLAG_RESULT, result);
      b.setState32(state.FLAG_AUX, aux);
      b.setState32(state.FLAG_KIND, KIND_KNOWN);
    },
  );
  return b.complete();
}

/** FLAG_X, FLAG_RESULT and FLAG_KIND. */
export interface FlagWords {
  x: Value;
  y: Value;
  kind: Value;
}
/** FLAG_RESULT and FLAG_AUX (i32) of flags whose kind is known only at run time, where that is not KIND_KNOWN. */
export function computedFlags(b: ProcessorCode, { x: first, y, kind }: FlagWords): { result: Value; aux: Value } {
  const is = (which: number) => b.and(kind, which);
  // A logical result is the sum of itself and nothing.
  const x = b.select(is(KIND_LOGIC), b.const(0), first);
  const r = b.select(is(KIND_SUB), b.sub(x, y), b.add(x, y));
  // The carry out of each bit; of a subtraction, the borrow.
  const carries = b.select(
    is(KIND_SUB),
    b.or(b.and(b.not(x), b.or(y, r)), b.and(y, r)),
    b.or(b.and(x, y), b.and(b.or(x, y), b.not(r))),
  );
  const unused = b.sub(64, b.wide(is(0x7f)));
  const top = b.narrow(b.shr(b.shl(carries, unused), 32));
  return {
    result: b.sar(b.shl(r, unused), unused),
    aux: b.either(b.and(top, 0xc0000000 | 0), b.and(b.narrow(carries), 8)),
  };
}
