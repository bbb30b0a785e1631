/**
 * From region to region: the jump cache (layout.ts) says which function goes on at a linear address. The interpreter,
 * which finds regions by physical address, fills it; every region that is left reads it.
 */

import type { Value } from '../../wasm/expressions.ts';
import { hasTailCalls } from '../../wasm/features.ts';
import { Body } from '../../wasm/module.ts';
import { JUMP_CACHE, JUMP_CACHE_BYTES, JUMP_ENTRY, JUMP_SETS, JUMP_TARGET, REGION_LIMIT, TLB_KEYS } from '../layout.ts';
import * as record from '../record.ts';
import { ProcessorCode } from '../x86/code.ts';
import { state } from '../x86/state.ts';
import { keyPlace } from '../x86/tlb-entry.ts';

/** Bits of an entry's target that are the function's index in the table. */
const INDEX_BITS = 16;

export class JumpCache {
  readonly #base: number;

  constructor(wide: boolean) {
    this.#base = JUMP_CACHE + (wide ? JUMP_CACHE_BYTES : 0);
  }

  /** The offset in the cache of the two entries for a linear address: the one that was noted last comes first. */
  #place(b: ProcessorCode, linear: Value): Value {
    const set = b.narrow(b.xor(linear, b.shr(linear, Math.log2(JUMP_SETS))));
    return b.shl(b.and(set, JUMP_SETS - 1), Math.log2(2 * JUMP_ENTRY));
  }
  #key(b: ProcessorCode): Value {
    return b.fetch('i64.load', keyPlace(b), TLB_KEYS);
  }
  /** Notes that a TRANSLATED record is what stands at a linear address, if its index has room in an entry. */
  note(b: ProcessorCode, linear: Value, translated: Value): void {
    const index = b.fetchFixed('i64.load32_u', translated, record.TAKEN);
    // A guest with very many regions has some whose index would reach into the key.
    b.when(b.ltu(index, 1n << BigInt(INDEX_BITS)), () => {
      const place = this.#place(b, linear);
      b.put('v128.store', place, b.fetch('v128.load', place, this.#base), this.#base + JUMP_ENTRY);
      b.put('i64.store', place, linear, this.#base);
      b.put('i64.store', place, b.or(b.shl(this.#key(b), INDEX_BITS), index), this.#base + JUMP_TARGET);
    });
  }
  /**
   * Forgets the region at a linear address, because it may have refused to be entered. The interpreter enters it the next
   * time, and it then checks where all its pages are.
   */
  forget(b: ProcessorCode, linear: Value): void {
    const place = this.#place(b, linear);
    for (const entry of [this.#base, this.#base + JUMP_ENTRY])
      b.when(b.eq(b.fetch('i64.load', place, entry), linear), () => b.put('i64.store', place, 0n, entry + JUMP_TARGET));
  }
  /**
   * (linear i64) -> i32: goes on in the region at the address, which is RIP, if the cache has it and there is fuel for
   * it. Returns what that returns, or 0.
   */
  chainBody(regionType: number): Body {
    const b = new ProcessorCode(new Body(['i64'], ['i32']));
    const linear = b.local('i64', 0);
    if (hasTailCalls) this.#chain(b, linear, regionType);
    b.answer(0);
    return b.complete();
  }
  #chain(b: ProcessorCode, linear: Value, regionType: number): void {
    const entry = b.variable(this.#place(b, linear));
    const found = () => {
      const here = b.eq(b.fetch('i64.load', entry.get(), this.#base), linear);
      const key = b.shr(b.fetch('i64.load', entry.get(), this.#base + JUMP_TARGET), INDEX_BITS);
      return b.both(here, b.eq(key, this.#key(b)));
    };
    b.block(miss => {
      b.when(b.no(found()), () => {
        entry.add(JUMP_ENTRY);
        miss(b.no(found()));
      });
      miss(b.les(b.state32(state.FUEL), REGION_LIMIT));
      b.setState(state.PAGE, b.and(linear, -4096n));
      const index = b.fetch('i32.load16_u', entry.get(), this.#base + JUMP_TARGET);
      b.answerWithIndirect(regionType, index, 0);
    });
  }
}
