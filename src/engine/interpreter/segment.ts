/** Segments outside 64-bit mode: limits and rights, checked at every access to memory. */

import { Body } from '../../wasm/module.ts';
import {
  DESCRIPTOR_CODE,
  DESCRIPTOR_DB,
  DESCRIPTOR_EXPAND_DOWN,
  DESCRIPTOR_P,
  DESCRIPTOR_READABLE,
  DESCRIPTOR_WRITABLE,
} from '../../x86/descriptors.ts';
import { SS } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { ProcessorCode } from '../x86/code.ts';
import { FAULT_SET, state } from '../x86/state.ts';

/** One bit of the attributes: whether a code segment may be read, or a data segment written. */
const READABLE_OR_WRITABLE = DESCRIPTOR_READABLE | DESCRIPTOR_WRITABLE;

/**
 * (segment, offset, bytes, write) -> linear address, or 0 with FAULT set: limits and rights (SDM 3A, 5.3 and 5.5). A
 * null segment has attributes 0.
 */
export function segmentBody(): Body {
  const b = new ProcessorCode(new Body(['i32', 'i64', 'i32', 'i32'], ['i64']));
  const [segment, offset, bytes, write] = b.parameters(4);
  const word = b.shl(segment, 2);
  const attributes = b.fetchState('i32.load', state.SEGMENT_ATTRIBUTES, word, 'segments');
  const limit = b.fetchState('i64.load32_u', state.SEGMENT_LIMIT, word, 'segments');
  const last = b.add(offset, b.wide(b.sub(bytes, 1)));
  b.block(bad => {
    bad(b.none(attributes, DESCRIPTOR_P));
    const denied = b.none(attributes, READABLE_OR_WRITABLE);
    b.when(
      b.and(attributes, DESCRIPTOR_CODE),
      () => bad(b.or(write, denied)),
      () => bad(b.both(denied, write)),
    );
    b.when(
      b.eq(b.and(attributes, DESCRIPTOR_CODE | DESCRIPTOR_EXPAND_DOWN), DESCRIPTOR_EXPAND_DOWN),
      () => {
        bad(b.leu(offset, limit));
        bad(b.gtu(last, b.select(b.and(attributes, DESCRIPTOR_DB), 0xffffffffn, 0xffffn)));
      },
      () => bad(b.gtu(last, limit)),
    );
    const base = b.fetchState('i64.load', state.SEGMENT_BASE, b.shl(segment, 3), 'segments');
    b.answer(b.and(b.add(base, offset), 0xffffffffn));
  });
  // #SS(0) for the stack segment, #GP(0) for the others.
  b.setState32(state.FAULT, b.select(b.eq(segment, SS), vectors.SS | FAULT_SET, vectors.GP | FAULT_SET));
  b.setState32(state.FAULT_CODE, 0);
  b.answer(0n);
  return b.complete();
}
