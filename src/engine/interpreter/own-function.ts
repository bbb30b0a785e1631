/**
 * A handler in a function of its own: (record) -> 0 to go on with the next record, FAULTED, or AT_RIP to go on at RIP,
 * through the link at offset result - AT_RIP of the record if that is not 0.
 */

import { Body } from '../../wasm/module.ts';
import { AT_RIP, FAULTED } from '../record.ts';
import { state } from '../x86/state.ts';
import { emitHandler, type Functions, type Leaving, type Variant } from './handler.ts';
import { nameOf } from './variants.ts';

const LEAVING: Leaving = {
  record: 0,
  fault: b => b.answer(FAULTED),
  go(b, target, link = 0) {
    b.setState(state.RIP, target);
    b.answer(AT_RIP + link);
  },
  resume: b => b.answer(AT_RIP),
};

export function ownFunctionBody(variant: Variant, functions: Functions): Body {
  const body = new Body(['i32'], ['i32']);
  try {
    emitHandler(body, variant, LEAVING, functions);
  } catch (error) {
    throw new Error(`${nameOf(variant)}: ${(error as Error).message}`, { cause: error });
  }
  body.i32(0);
  return body;
}
