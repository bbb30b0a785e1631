/**
 * How the page walk fills an entry of the TLB, and notes it for flushes. layout.ts describes entries, tlb.ts the banks.
 */

import type { Value } from '../../wasm/code.ts';
import { Body } from '../../wasm/module.ts';
import {
  type Layout,
  PAGE_CODE,
  PAGE_RAM,
  TLB_ADDEND,
  TLB_BANK,
  TLB_EMPTY,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_EXECUTE,
  TLB_FLAGS,
  TLB_KEYS,
  TLB_NOTES,
  TLB_NOTES_LIST,
  TLB_READ,
  TLB_WRITE,
} from '../layout.ts';
import { ProcessorCode } from './code.ts';
import { state } from './state.ts';
import { entryOf, keyPlace } from './tlb-entry.ts';

/** A page number that no address indexing entry `index` can have, as a tag. */
export function emptyTag(index: number): bigint {
  return index === 0 ? 0x1000n : 0n;
}
/** emptyTag of the entry at an address: banks start at multiples of their size. */
function emptyTagAt(b: ProcessorCode, entry: Value): Value {
  return b.select(b.none(entry, TLB_BANK - 1), emptyTag(0), emptyTag(1));
}
/** Fills the bank that flushes copy from. */
export function writeEmptyBank(view: DataView): void {
  for (let index = 0; index < TLB_ENTRIES; index++)
    for (const tag of [TLB_READ, TLB_WRITE, TLB_EXECUTE])
      view.setBigUint64(TLB_EMPTY + index * TLB_ENTRY + tag, emptyTag(index), true);
}

/** Code's name of the entries as a place. */
const TLB = 'tlb';

/** (from i32, to i32, host i32): takes the write tag of entries [from, to) whose page is at `host` (tlb.ts). */
export function revokeBody(): Body {
  const b = new ProcessorCode(new Body(['i32', 'i32', 'i32'], []));
  const [from, end, host] = b.parameters(3);
  const entry = b.variable(from);
  b.repeat(() => {
    const at = entry.get();
    const page = b.add(b.narrow(b.fetch('i64.load', at, TLB_WRITE, TLB)), b.fetch('i32.load', at, TLB_ADDEND, TLB));
    b.when(b.eq(page, host), () => b.put('i64.store', at, emptyTagAt(b, at), TLB_WRITE, TLB));
    entry.add(TLB_ENTRY);
    return b.ltu(entry.get(), end);
  });
  return b.complete();
}

/** Truth value: a guest-physical address lies in RAM, and in no device's page. */
export function isRam(b: ProcessorCode, layout: Layout, physical: Value): Value {
  return b.choose(
    b.ltu(physical, BigInt(layout.ramSize)),
    () => b.leu(pageKind(b, layout, physical), PAGE_CODE),
    () => b.i32(0),
  );
}
/** What the page of an address in RAM is (layout.ts, PAGE_KIND). */
export function pageKind(b: ProcessorCode, layout: Layout, physical: Value): Value {
  return b.fetch('i32.load8_u', b.narrow(b.shr(physical, 12)), layout.pageKind);
}

/** What a page walk has found: truth values (i32), and the address that the linear one stands for. */
export interface Translation {
  linear: Value;
  physical: Value;
  readable: Value;
  writable: Value;
  executable: Value;
  global: Value;
}
/** Enters a translation in the bank in use, if it leads to RAM and the bank is not the one that stays empty. */
export function fillEntry(b: ProcessorCode, layout: Layout, found: Translation): void {
  const { linear, physical, global } = found;
  const hasBank = b.ne(b.state32(state.TLB_BASE), TLB_EMPTY);
  b.when(b.both(b.ltu(physical, BigInt(layout.ramSize)), hasBank), () => {
    const kind = pageKind(b, layout, physical);
    b.when(b.leu(kind, PAGE_CODE), () => {
      const entry = entryOf(b, linear);
      const page = b.and(linear, -4096n);
      const none = emptyTagAt(b, entry);
      // Data breakpoints see every access: with one armed, none takes the fast path.
      const unwatched = b.eqz(b.state32(state.WATCHING));
      const tag = (allowed: Value) => b.select(allowed, page, none);
      const before = b.fetch('i64.load', entry, TLB_EXECUTE, TLB);
      // An entry that holds something is on a list already: the same page is filled anew with every write to code in it.
      const noted = b.and(
        b.or(b.ne(before, none), b.ne(b.fetch('i64.load', entry, TLB_READ, TLB), none)),
        b.eq(b.fetch('i32.load', entry, TLB_FLAGS, TLB), global),
      );
      b.put('i64.store', entry, tag(b.both(found.readable, unwatched)), TLB_READ, TLB);
      const writable = b.both(b.both(found.writable, b.eq(kind, PAGE_RAM)), unwatched);
      b.put('i64.store', entry, tag(writable), TLB_WRITE, TLB);
      const execute = tag(found.executable);
      b.put('i64.store', entry, execute, TLB_EXECUTE, TLB);
      // A page that was there for execution, and is not now, takes the bank's key with it (layout.ts, TLB_KEYS).
      b.when(b.both(b.ne(before, none), b.ne(before, execute)), () => changeKey(b));
      const addend = b.add(b.narrow(b.sub(physical, linear)), layout.guestOrigin);
      b.put('i32.store', entry, addend, TLB_ADDEND, TLB);
      b.put('i32.store', entry, global, TLB_FLAGS, TLB);
      b.when(b.eqz(noted), () => noteEntry(b, entry, global));
    });
  });
}
function changeKey(b: ProcessorCode): void {
  const key = b.add(b.fetch('i64.load', 0, TLB_KEYS), 1);
  b.put('i64.store', 0, key, TLB_KEYS);
  b.put('i64.store', keyPlace(b), key, TLB_KEYS);
}
/** Notes that an entry has been filled, so that a flush finds it (layout.ts, TLB_NOTES_AREA). */
function noteEntry(b: ProcessorCode, entry: Value, global: Value): void {
  const list = b.add(b.state32(state.NOTES), b.mul(global, TLB_NOTES_LIST));
  const count = b.fetch('i32.load', list);
  b.when(b.leu(count, TLB_NOTES), () => {
    b.put('i32.store', list, b.add(count, 1));
    b.when(b.ne(count, TLB_NOTES), () => b.put('i32.store', b.add(list, b.shl(count, 2)), entry, 4));
  });
}
