/**
 * Where a linear address lies in the WebAssembly memory, for code that works on the guest's memory a structure at a
 * time.
 */

import type { Value } from '../../wasm/code.ts';
import { Body } from '../../wasm/module.ts';
import { type Layout, PAGE_CODE, PAGE_RAM, TLB_EMPTY, TLB_READ, TLB_WRITE } from '../layout.ts';
import { ACCESS_CODE, ACCESS_IMPLICIT, ACCESS_QUIET, ACCESS_WRITE } from './access.ts';
import { ProcessorCode } from './code.ts';
import { crosses } from './slow-access.ts';
import { state } from './state.ts';
import { entryOf, hostAddress } from './tlb-entry.ts';
import { pageKind } from './tlb-fill.ts';

/**
 * (linear i64, size i32, access i32) -> address, or 0 for what it refuses: structures that span two pages, faults, and
 * all that is not plain RAM (for writes: RAM that code was translated from, unless ACCESS_CODE says that the caller, who must not be translated code itself,
 * looks at what it executes next). ACCESS_IMPLICIT is what the processor does
 * at supervisor rights, whatever CPL is.
 */
/** @param codeWritten import codeWritten */
export function reachBody(layout: Layout, walk: number, codeWritten: number): Body {
  const b = new ProcessorCode(new Body(['i64', 'i32', 'i32'], ['i32']));
  const [linear, size, access] = b.parameters(3);
  const refuseIf = (condition: Value) => b.when(condition, () => b.answer(0));
  refuseIf(crosses(b, linear, size));
  const writes = b.and(access, ACCESS_WRITE);
  // Implicit accesses have the rights of the kernel without RFLAGS.AC, and so its translations (SDM 3A 4.6.1).
  const bank = b.state32(state.TLB_BASE);
  b.when(
    b.and(access, ACCESS_IMPLICIT),
    () => b.setState32(state.TLB_BASE, b.state32(state.CLASS_BASE + 4)),
    () => refuseIf(b.eq(bank, TLB_EMPTY)), // the slow path checks alignment
  );
  const entry = entryOf(b, linear);
  const tag = b.fetch('i64.load', b.add(entry, b.select(writes, TLB_WRITE, TLB_READ)));
  b.when(b.leu(b.xor(tag, linear), 4095), () => {
    b.setState32(state.TLB_BASE, bank);
    b.answer(hostAddress(b, entry, linear));
  });
  const physical = b.invoke(walk, 'i64', linear, b.or(b.and(access, ~ACCESS_CODE), ACCESS_QUIET));
  b.setState32(state.TLB_BASE, bank);
  refuseIf(b.geu(physical, BigInt(layout.ramSize))); // -1, a fault, too
  const kind = pageKind(b, layout, physical);
  const spares = b.eq(b.and(access, ACCESS_WRITE | ACCESS_CODE), ACCESS_WRITE);
  refuseIf(b.gtu(kind, b.select(spares, PAGE_RAM, PAGE_CODE)));
  b.when(b.select(writes, b.eq(kind, PAGE_CODE), 0), () => {
    const chunks = b.fetch('i64.load', b.shl(b.narrow(b.shr(physical, 12)), 3), layout.codeChunks);
    // The chunks, 64 of 64 bytes, from the first to the last: a shift's count is taken modulo 64.
    const from = b.shl(b.const(-1), b.shr(physical, 6));
    const to = b.shr(b.const(-1), b.xor(b.shr(b.add(physical, b.wide(b.sub(size, 1))), 6), 63));
    b.when(b.any(chunks, b.and(from, to)), () => b.perform(codeWritten, b.narrow(physical), size));
  });
  b.answer(b.add(b.narrow(physical), layout.guestOrigin));
  return b.complete();
}
