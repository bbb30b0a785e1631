/**
 * The TLB as code of both tiers reads it: an entry's place, whether it allows an access, and where the guest's memory
 * is then. The entries are described in layout.ts.
 */
import type { Value } from '../../wasm/expressions.ts';
import { TLB_ADDEND, TLB_BANK, TLB_ENTRIES, TLB_ENTRY, TLB_EXECUTE } from '../layout.ts';
import type { ProcessorCode } from './code.ts';
import { state } from './state.ts';

/** The offset in a bank of the entry for a linear address: bits 12 and up of the address are the entry's number. */
export function entryOffset(b: ProcessorCode, linear: Value): Value {
  return b.and(b.shr(b.narrow(linear), 12 - Math.log2(TLB_ENTRY)), (TLB_ENTRIES - 1) * TLB_ENTRY);
}
/** The address of the entry for a linear address, in the bank in use. */
export function entryOf(b: ProcessorCode, linear: Value): Value {
  return b.add(entryOffset(b, linear), b.state32(state.TLB_BASE));
}
/**
 * True if the entry does not allow an access of so many bytes. A tag is the address of a page, so (address ^ tag) is
 * the offset in that page, or larger; an access that crosses the page's end counts as a miss, too.
 */
export function misses(b: ProcessorCode, entry: Value, linear: Value, bytes: number, tag: number): Value {
  return b.gtu(b.xor(b.fetch('i64.load', entry, tag, 'tlb'), linear), BigInt(4096 - bytes));
}
/** True if the entry does not allow code at a linear address to be executed. */
export function missesCode(b: ProcessorCode, entry: Value, linear: Value): Value {
  return misses(b, entry, linear, 1, TLB_EXECUTE);
}
/** Where a linear address is in the WebAssembly memory, if the entry allows the access. */
export function hostAddress(b: ProcessorCode, entry: Value, linear: Value): Value {
  return b.add(b.narrow(linear), b.fetch('i32.load', entry, TLB_ADDEND, 'tlb'));
}
/** The offset in TLB_KEYS of the key of the bank in use. */
export function keyPlace(b: ProcessorCode): Value {
  return b.shr(b.state32(state.TLB_BASE), Math.log2(TLB_BANK / 8));
}
