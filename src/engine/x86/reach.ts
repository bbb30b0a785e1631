/** Where a linear address lies in the WebAssembly memory, for code that works on the guest's memory a structure at a time. */

import type { Body } from '../../wasm/module.ts';
import { type Layout, PAGE_CODE, PAGE_RAM, TLB_ADDEND, TLB_READ, TLB_WRITE } from '../layout.ts';
import { Hand } from './hand.ts';
import { ACCESS_IMPLICIT, ACCESS_QUIET, ACCESS_WRITE, crosses, emitEntry } from './paging.ts';
import * as state from './state.ts';

/**
 * (linear i64, size i32, access i32) -> address, or 0: what spans two pages, faults, or is not plain RAM (for writes: RAM that
 * code was translated from) is not for here. ACCESS_IMPLICIT is what the processor does at supervisor rights, whatever CPL is.
 */
export function reachBody(layout: Layout, walk: number): Body {
  const b = new Hand(['i64', 'i32', 'i32'], ['i32']);
  const [linear, size, access] = [0, 1, 2];
  const bank = b.local('i32');
  const entry = b.local('i32');
  const physical = b.local('i64');
  const restore = () => b.setState32(state.TLB_BASE, () => b.get(bank));
  const is = (bit: number) => {
    b.get(access);
    b.i32(bit);
    b.op('i32.and');
  };
  const refuse = () =>
    b.when(() => {
      b.i32(0);
      b.return();
    });

  crosses(b, linear, size);
  refuse();
  // Implicit accesses have the rights of the kernel without RFLAGS.AC, and so its translations (SDM 3A 4.6.1).
  b.state32(state.TLB_BASE);
  b.set(bank);
  is(ACCESS_IMPLICIT);
  b.when(() => b.setState32(state.TLB_BASE, () => b.state32(state.CLASS_BASE + 4)));
  emitEntry(b, linear, entry);
  b.get(entry);
  b.i32(TLB_WRITE);
  b.i32(TLB_READ);
  is(ACCESS_WRITE);
  b.select();
  b.op('i32.add');
  b.memory('i64.load', 0);
  b.get(linear);
  b.op('i64.xor');
  b.i64(4095n);
  b.op('i64.le_u');
  b.when(() => {
    restore();
    b.get(linear);
    b.op('i32.wrap_i64');
    b.get(entry);
    b.memory('i32.load', TLB_ADDEND);
    b.op('i32.add');
    b.return();
  });
  b.get(linear);
  b.get(access);
  b.i32(ACCESS_QUIET);
  b.op('i32.or');
  b.call(walk);
  b.set(physical);
  restore();
  b.get(physical);
  b.i64(BigInt(layout.ramSize));
  b.op('i64.ge_u'); // -1, a fault, too
  refuse();
  b.get(physical);
  b.i64(12n);
  b.op('i64.shr_u');
  b.op('i32.wrap_i64');
  b.memory('i32.load8_u', layout.pageKind);
  b.i32(PAGE_RAM);
  b.i32(PAGE_CODE);
  is(ACCESS_WRITE);
  b.select();
  b.op('i32.gt_u');
  refuse();
  b.get(physical);
  b.op('i32.wrap_i64');
  b.i32(layout.guestOrigin);
  b.op('i32.add');
  return b;
}
