/**
 * The part of the loop that finds the block at a linear address: by the TLB or the page tables, then by the block
 * table.
 */

import type { Value } from '../../wasm/expressions.ts';
import { BLOCK_ENTRY, BLOCK_RECORD, BLOCK_SET, BLOCK_SETS } from '../layout.ts';
import * as record from '../record.ts';
import { ACCESS_EXECUTE } from '../x86/access.ts';
import { state } from '../x86/state.ts';
import { entryOf, hostAddress, missesCode } from '../x86/tlb-entry.ts';
import type { LoopCode } from './loop-code.ts';

/**
 * physical = the guest-physical address of code at `target`, which is below the end of RAM. `faulted` is for where it may not be
 * executed, `elsewhere` for addresses beyond RAM, which may need more than 32 bits; neither returns.
 */
export function lookUpCode(b: LoopCode, faulted: () => void, elsewhere: () => void): void {
  b.entry.set(entryOf(b, b.target.get()));
  b.when(
    missesCode(b, b.entry.get(), b.target.get()),
    () => {
      const found = b.invoke(b.parts.functions.walk, 'i64', b.target.get(), ACCESS_EXECUTE);
      b.when(b.eq(found, -1n), faulted);
      b.when(b.leu(BigInt(b.parts.layout.ramSize), found), elsewhere);
      b.physical.set(b.narrow(found));
    },
    () => setPhysical(b),
  );
}
/** physical = where the TLB entry `entry` has `target`. */
export function setPhysical(b: LoopCode): void {
  b.physical.set(b.sub(hostAddress(b, b.entry.get(), b.target.get()), b.parts.layout.guestOrigin));
}
/** entry = the first of the block table's entries for `physical`. */
export function setBlockEntry(b: LoopCode): void {
  const { physical } = b;
  const set = b.and(b.xor(physical.get(), b.shr(physical.get(), 14)), BLOCK_SETS - 1);
  b.entry.set(b.add(b.shl(set, Math.log2(BLOCK_SET)), b.state32(state.BLOCK_BASE)));
}
/** True if the block table's entry `entry` is not of `physical`. */
export function isOther(b: LoopCode): Value {
  return b.ne(b.fetch('i32.load', b.entry.get()), b.physical.get());
}

/**
 * rec = the block at `target`, to which the link at `slot` leads from now on. Returns from the loop if there is none
 * yet.
 */
export function resolveBlock(b: LoopCode): void {
  const { target, slot, entry, rec, raw } = b;
  const unknown = () => {
    b.saveRip();
    rec.set(0);
    b.exit(record.EXIT_TRANSLATE);
  };
  lookUpCode(
    b,
    () => {
      b.saveRip();
      b.deliverFault(b.i32(0));
      rec.set(0);
      b.exit(record.EXIT_FETCH_FAULT);
    },
    unknown, // the engine tells the machine that no RAM is there
  );
  setBlockEntry(b);
  b.when(isOther(b), () => {
    entry.add(BLOCK_ENTRY);
    b.when(isOther(b), unknown);
  });
  rec.set(b.fetch('i32.load', entry.get(), BLOCK_RECORD));
  b.when(raw.get(), () => {
    raw.set(0);
    b.when(b.eq(b.field('i32.load16_u', record.HANDLER), record.TRANSLATED), () =>
      rec.set(b.field('i32.load', record.NOT_TAKEN)),
    );
  });
  // Within one page the link holds as long as both blocks do; across pages translations may change.
  b.when(slot.get(), () =>
    b.when(b.eq(b.and(target.get(), -4096n), b.state(state.PAGE)), () => b.put('i32.store', slot.get(), rec.get())),
  );
  b.setPage();
}
