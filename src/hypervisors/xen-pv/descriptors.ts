/**
 * Segments of a PV guest: its GDT and LDT, whose pages are typed so that nothing gets into them unchecked, and the
 * loading of selectors that the guest names in hypercalls and frames (SDM 3A 5.8, 3.4).
 */

import type { Segment } from '../../paravirt/processor.ts';
import {
  DESCRIPTOR_ATTRIBUTES,
  DESCRIPTOR_CODE,
  DESCRIPTOR_CONFORMING,
  DESCRIPTOR_DB,
  DESCRIPTOR_DPL,
  DESCRIPTOR_DPL_SHIFT,
  DESCRIPTOR_G,
  DESCRIPTOR_L,
  DESCRIPTOR_P,
  DESCRIPTOR_READABLE,
  DESCRIPTOR_S,
  DESCRIPTOR_WRITABLE,
  LDT,
} from '../../x86/descriptors.ts';
import { PAGE_SHIFT, PAGE_SIZE, PTE_P } from '../../x86/paging.ts';
import { SELECTOR_RPL, SELECTOR_TI } from '../../x86/segments.ts';
import { EFAULT, EINVAL } from '../xen/constants.ts';
import { longs } from '../xen/structures.ts';
import { publish } from './cells.ts';
import { checkedDescriptor, FIRST_RESERVED_GDT_ENTRY } from './descriptor-check.ts';
import { GUEST_GDT_PAGES, TABLE_PAGES } from './hypervisor-area.ts';
import { PGT_seg_desc_page, PGT_writable_page } from './page-info.ts';
import { pageNumberOf } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

const DESCRIPTORS_PER_PAGE = 512;
const PRESENT_SEGMENT = DESCRIPTOR_P | DESCRIPTOR_S;
/** No code segment is both 64- and 32-bit. */
const LONG_AND_BIG = DESCRIPTOR_L | DESCRIPTOR_DB;
/** Entries of an LDT at most (SDM 3A 3.5.1). */
export const MAX_LDT_ENTRIES = 8192;

/**
 * HYPERVISOR_set_gdt: `frames` become the GDT, of which `entries` count. 0 or -errno; on an error nothing has changed.
 */
export function setGdt(pv: PvDomain, v: PvVcpu, frames: readonly number[], entries: number): number {
  for (let i = 0; i < frames.length; i++) {
    if (pv.types.get(frames[i]!, PGT_seg_desc_page) === 0) continue;
    for (const taken of frames.slice(0, i)) pv.types.put(taken);
    return -EINVAL;
  }
  const old = v.state.gdtFrames;
  v.state.gdtFrames = frames;
  v.state.gdtEntries = entries;
  publish(v);
  for (let page = 0; page < GUEST_GDT_PAGES; page++) {
    pv.area.setGdtPage(v.vcpu.id, page, frames[page]);
    v.cpu.invalidatePage(pv.area.gdtBase(v.vcpu.id) + BigInt(page * PAGE_SIZE));
  }
  for (const frame of old) pv.types.put(frame);
  return 0;
}

/** HYPERVISOR_update_descriptor: one descriptor, given by machine address, in a descriptor page or an ordinary one. */
export function updateDescriptor(pv: PvDomain, address: bigint, low: number, high: number): number {
  const { info, types } = pv;
  if (address & 7n || address >> BigInt(PAGE_SHIFT) >= BigInt(info.frames)) return -EINVAL;
  const accepted = checkedDescriptor(low, high, pv.abi);
  if (!accepted) return -EINVAL;
  const checked = { ...accepted };
  const at = Number(address);
  const frame = Math.floor(at / PAGE_SIZE);
  const described = info.typeCount[frame] !== 0 && info.type[frame] === PGT_seg_desc_page;
  if (types.get(frame, described ? PGT_seg_desc_page : PGT_writable_page) !== 0) return -EINVAL;
  info.memory.view.setUint32(at, checked.low, true);
  info.memory.view.setUint32(at + 4, checked.high, true);
  info.memory.onWrite(at, 8);
  types.put(frame);
  return 0;
}

/** MMUEXT_SET_LDT: an LDT at guest-virtual `base`, whose pages are looked up and typed when they are first touched. */
export function setLdt(pv: PvDomain, v: PvVcpu, base: bigint, entries: number): number {
  if (entries > MAX_LDT_ENTRIES || base & 0xfffn) return -EINVAL;
  const { isGuestAddress } = pv.abi;
  if (entries !== 0 && !(isGuestAddress(base) && isGuestAddress(base + BigInt(entries * 8 - 1)))) return -EINVAL;
  if (v.state.ldtBase === base && v.state.ldtEntries === entries) return 0;
  dropLdtPages(pv, v);
  v.state.ldtBase = base;
  v.state.ldtEntries = entries;
  v.cpu.setSegment(
    'ldtr',
    entries === 0
      ? { selector: 0, base: 0n, limit: 0, attributes: 0 }
      : { selector: 0xe050, base: pv.area.ldtBase(v.vcpu.id), limit: entries * 8 - 1, attributes: LDT },
  );
  return 0;
}

/** Forgets the LDT pages looked up so far: the guest may have other things in mind with them. */
export function dropLdtPages(pv: PvDomain, v: PvVcpu): void {
  for (const [page, frame] of v.state.ldtFrames) {
    pv.area.setLdtPage(v.vcpu.id, page, undefined);
    v.cpu.invalidatePage(pv.area.ldtBase(v.vcpu.id) + BigInt(page * PAGE_SIZE));
    pv.types.put(frame);
  }
  v.state.ldtFrames.clear();
}

/**
 * The processor found nothing at `linear` in the place of the LDT: brings in the guest's page.
 * @returns true if it is there now; false with nothing changed if the guest has no valid descriptor page there.
 */
export function faultInLdt(pv: PvDomain, v: PvVcpu, linear: bigint): boolean {
  const offset = linear - pv.area.ldtBase(v.vcpu.id);
  if (offset < 0n || offset >= BigInt(v.state.ldtEntries * 8)) return false;
  const page = Number(offset >> BigInt(PAGE_SHIFT));
  if (v.state.ldtFrames.has(page)) return false;
  const pageNumber = pageNumberOf(v.state.ldtBase + BigInt(page * PAGE_SIZE));
  const place = pageNumber === undefined ? undefined : pv.updates.walk(v.kernelRoot, pageNumber);
  if (!place) return false;
  const low = pv.info.words[place.table * 1024 + 2 * place.index];
  if ((low & PTE_P) === 0) return false;
  const frame = low >>> PAGE_SHIFT;
  if (pv.types.get(frame, PGT_seg_desc_page) !== 0) return false;
  v.state.ldtFrames.set(page, frame);
  pv.area.setLdtPage(v.vcpu.id, page, frame);
  v.cpu.invalidatePage(pv.area.ldtBase(v.vcpu.id) + BigInt(page * PAGE_SIZE));
  return true;
}

/** True if `address` is where the processor looks for the LDT. */
export function isLdtAddress(pv: PvDomain, v: PvVcpu, address: bigint): boolean {
  const base = pv.area.ldtBase(v.vcpu.id);
  return address >= base && address < base + BigInt(TABLE_PAGES * PAGE_SIZE);
}

/** The two halves of the descriptor that `selector` names; undefined if its table has none there. */
export function descriptorOf(pv: PvDomain, v: PvVcpu, selector: number): { low: number; high: number } | undefined {
  const index = selector >>> 3;
  const local = (selector & SELECTOR_TI) !== 0;
  if (local ? index >= v.state.ldtEntries : index >= v.state.gdtEntries && index < FIRST_RESERVED_GDT_ENTRY)
    return undefined;
  const page = Math.floor(index / DESCRIPTORS_PER_PAGE);
  if (local && !v.state.ldtFrames.has(page)) faultInLdt(pv, v, pv.area.ldtBase(v.vcpu.id) + BigInt(page * PAGE_SIZE));
  const frame = pv.area.tablePage(v.vcpu.id, (local ? TABLE_PAGES : 0) + page);
  if (frame === undefined) return undefined;
  const at = frame * 1024 + (index % DESCRIPTORS_PER_PAGE) * 2;
  return { low: pv.info.words[at], high: pv.info.words[at + 1] };
}

/**
 * A selector with its hidden part, for code that runs in `ring` afterwards; undefined if loading it would fault. `what` is
 * what it is loaded for: code that runs in the ring of its selector, a stack is writable data of the ring, data may be
 * read from it (SDM 3A 5.5 to 5.7).
 */
export function loadSegment(
  pv: PvDomain,
  v: PvVcpu,
  selector: number,
  what: 'code' | 'stack' | 'data',
  ring = 3,
): Segment | undefined {
  if (selector >>> 2 === 0) {
    // Null is fine for data and never for a stack outside ring 0 (in 64-bit code, outside rings 0 to 2).
    return what === 'data' ? { selector, base: 0n, limit: 0, attributes: 0 } : undefined;
  }
  const descriptor = descriptorOf(pv, v, selector);
  if (!descriptor) return undefined;
  const { high } = descriptor;
  if ((high & PRESENT_SEGMENT) !== PRESENT_SEGMENT) return undefined;
  const dpl = (high & DESCRIPTOR_DPL) >>> DESCRIPTOR_DPL_SHIFT;
  const code = (high & DESCRIPTOR_CODE) !== 0;
  if (what === 'code') {
    if (!code || (high & DESCRIPTOR_CONFORMING ? dpl > ring : dpl !== ring) || (high & LONG_AND_BIG) === LONG_AND_BIG)
      return undefined;
  } else if (what === 'stack') {
    if (code || (high & DESCRIPTOR_WRITABLE) === 0 || dpl !== ring || (selector & SELECTOR_RPL) !== ring)
      return undefined;
  } else {
    if (code && (high & DESCRIPTOR_READABLE) === 0) return undefined;
    const least = Math.max(ring, selector & SELECTOR_RPL);
    if (!(code && high & DESCRIPTOR_CONFORMING) && dpl < least) return undefined;
  }
  return hiddenPart(selector, descriptor);
}

/** A selector with what its descriptor says, unchecked. */
export function hiddenPart(selector: number, { low, high }: { low: number; high: number }): Segment {
  const raw = (high & 0xf0000) | (low & 0xffff);
  return {
    selector,
    base: BigInt(((high & 0xff000000) | ((high & 0xff) << 16) | (low >>> 16)) >>> 0),
    limit: high & DESCRIPTOR_G ? ((raw << 12) | 0xfff) >>> 0 : raw,
    attributes: high & DESCRIPTOR_ATTRIBUTES,
  };
}

/** HYPERVISOR_set_gdt as it is called. */
export function setGdtCall(pv: PvDomain, v: PvVcpu, list: bigint, entries: number): number {
  if (entries > FIRST_RESERVED_GDT_ENTRY) return -EINVAL;
  const count = Math.ceil(entries / DESCRIPTORS_PER_PAGE);
  const bytes = new Uint8Array(count * pv.abi.long);
  if (!pv.copy.read(v.kernelRoot, list, bytes)) return -EFAULT;
  return setGdt(pv, v, longs(bytes, pv.abi.width), entries);
}
