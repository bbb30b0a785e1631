/**
 * From region to region: the jump cache (layout.ts) says which function goes on at a linear address. It is filled by the
 * interpreter, which finds regions by physical address, and read by every region that is left.
 */

import { hasTailCalls } from '../../wasm/features.ts';
import type { Body } from '../../wasm/module.ts';
import { JUMP_CACHE, JUMP_CACHE_BYTES, JUMP_ENTRY, JUMP_SETS, JUMP_TARGET, REGION_LIMIT, TLB_KEYS } from '../layout.ts';
import { Hand } from '../x86/hand.ts';
import { emitKeyPlace } from '../x86/paging.ts';
import * as state from '../x86/state.ts';
import * as record from './record.ts';

/** Bits of an entry's target that are the function's index in the table. */
const INDEX_BITS = 16n;

export class JumpCache {
  readonly #base: number;

  constructor(wide: boolean) {
    this.#base = JUMP_CACHE + (wide ? JUMP_CACHE_BYTES : 0);
  }

  /** Leaves the place in the cache of the entries for `linear` (local): the one that was noted last comes first. */
  #place(body: Body, linear: number): void {
    body.get(linear);
    body.get(linear);
    body.i64(BigInt(Math.log2(JUMP_SETS)));
    body.op('i64.shr_u');
    body.op('i64.xor');
    body.op('i32.wrap_i64');
    body.i32(JUMP_SETS - 1);
    body.op('i32.and');
    body.i32(Math.log2(2 * JUMP_ENTRY));
    body.op('i32.shl');
  }
  /** Notes that the TRANSLATED record in `rec` (local) is what stands at `linear`. */
  note(body: Body, linear: number, rec: number): void {
    this.#place(body, linear);
    this.#place(body, linear);
    body.memory('v128.load', this.#base);
    body.memory('v128.store', this.#base + JUMP_ENTRY);
    this.#place(body, linear);
    body.get(linear);
    body.memory('i64.store', this.#base);
    this.#place(body, linear);
    emitKeyPlace(body);
    body.memory('i64.load', TLB_KEYS);
    body.i64(INDEX_BITS);
    body.op('i64.shl');
    body.get(rec);
    body.memory('i64.load32_u', record.TAKEN);
    body.op('i64.or');
    body.memory('i64.store', this.#base + JUMP_TARGET);
  }
  /** A region at `linear` may have refused to be entered: it has to look at all its pages the next time. */
  forget(body: Body, linear: number): void {
    for (const entry of [this.#base, this.#base + JUMP_ENTRY]) {
      this.#place(body, linear);
      body.memory('i64.load', entry);
      body.get(linear);
      body.op('i64.eq');
      body.if();
      this.#place(body, linear);
      body.i64(0n);
      body.memory('i64.store', entry + JUMP_TARGET);
      body.end();
    }
  }
  /**
   * (linear i64) -> i32: goes on in the region at the address, which is RIP, if the cache has it and there is fuel for it.
   * Returns what that returns, or 0.
   */
  chainBody(regionType: number): Body {
    const b = new Hand(['i64'], ['i32']);
    const linear = 0;
    if (!hasTailCalls) {
      b.i32(0);
      return b;
    }
    const entry = b.local('i32');
    const look = () => {
      b.get(entry);
      b.memory('i64.load', this.#base);
      b.get(linear);
      b.op('i64.eq');
      b.get(entry);
      b.memory('i64.load', this.#base + JUMP_TARGET);
      b.i64(INDEX_BITS);
      b.op('i64.shr_u');
      emitKeyPlace(b);
      b.memory('i64.load', TLB_KEYS);
      b.op('i64.eq');
      b.op('i32.and');
    };
    const miss = b.block();
    this.#place(b, linear);
    b.set(entry);
    look();
    b.op('i32.eqz');
    b.when(() => {
      b.get(entry);
      b.i32(JUMP_ENTRY);
      b.op('i32.add');
      b.set(entry);
      look();
      b.op('i32.eqz');
      b.brIf(miss);
    });
    b.state32(state.FUEL);
    b.i32(REGION_LIMIT);
    b.op('i32.le_s');
    b.brIf(miss);
    b.setState64(state.PAGE, () => {
      b.get(linear);
      b.i64(-4096n);
      b.op('i64.and');
    });
    b.i32(0);
    b.get(entry);
    b.memory('i32.load16_u', this.#base + JUMP_TARGET);
    b.returnCallIndirect(regionType);
    b.end();
    b.i32(0);
    return b;
  }
}
