/**
 * Grants that a PV guest maps of its own: Xen writes the entry of the guest's L1 table itself (GNTTABOP_map_grant_ref),
 * and with it goes the reference to the page that the mapping holds.
 */
import { PTE_A, PTE_D, PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';
import {
  _GNTMAP_guest_avail0,
  GNTMAP_application_map,
  GNTMAP_contains_pte,
  GNTMAP_readonly,
} from '../xen/grant-mappings.ts';
import { GNTST_general_error, GNTST_okay } from '../xen/grant-status.ts';
import { PGT_l1_page_table } from './page-info.ts';
import { frameOf, pageNumberOf } from './page-table-entry.ts';
import type { L1Place } from './page-updates.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';

/** The three bits of an entry that are the system's (SDM 3A 4.5.4). */
const AVAILABLE_SHIFT = 9;
const AVAILABLE = 7;
const PTE_HIGH_NX = 0x80000000;

/** The entry that the flags of a mapping ask for, of the page at `address`, as halves. */
function entryOf({ types }: PvDomain, address: number, flags: number): { low: number; high: number } {
  const low =
    (address |
      PTE_P |
      PTE_A |
      PTE_D |
      (flags & GNTMAP_application_map ? PTE_US : 0) |
      (flags & GNTMAP_readonly ? 0 : PTE_RW) |
      (((flags >>> _GNTMAP_guest_avail0) & AVAILABLE) << AVAILABLE_SHIFT)) >>>
    0;
  return { low: types.adjustedL1(low, PTE_HIGH_NX), high: types.adjustedL1High(low, PTE_HIGH_NX) };
}

/** The L1 entry that `hostAddress` means: a machine address of one, or a linear address that it translates. */
function placeOf(pv: PvDomain, v: PvVcpu, hostAddress: bigint, isEntry: boolean): L1Place | undefined {
  const { info, updates } = pv;
  let place: L1Place | undefined;
  if (isEntry) {
    const frame = hostAddress >> 12n;
    if (hostAddress % 8n !== 0n || frame >= BigInt(info.frames)) return undefined;
    place = { table: Number(frame), index: Number(hostAddress & 0xfffn) / 8 };
  } else {
    const pageNumber = hostAddress >> BigInt(pv.abi.width) === 0n ? pageNumberOf(hostAddress) : undefined;
    const found = pageNumber === undefined ? undefined : updates.walk(v.kernelRoot, pageNumber);
    place = found && { ...found };
  }
  if (!place || !info.isOwned(place.table)) return undefined;
  return info.typeCount[place.table] !== 0 && info.type[place.table] === PGT_l1_page_table ? place : undefined;
}

/** As DomainKind.mapGrant. */
export function mapGrant(pv: PvDomain, v: PvVcpu, hostAddress: bigint, address: number, flags: number): number {
  const place = placeOf(pv, v, hostAddress, (flags & GNTMAP_contains_pte) !== 0);
  if (!place) return GNTST_general_error;
  const { low, high } = entryOf(pv, address, flags);
  const old = pv.updates.exchangeL1(place.table, place.index, low, high);
  // What was mapped there before is given back.
  if (old.low & PTE_P) pv.types.putL1(old.low, old.high);
  return address;
}

/** As DomainKind.unmapGrant. */
export function unmapGrant(
  pv: PvDomain,
  v: PvVcpu,
  hostAddress: bigint,
  address: number,
  newAddress: bigint,
  flags: number,
): number {
  const isEntry = (flags & GNTMAP_contains_pte) !== 0;
  if (isEntry && newAddress !== 0n) return GNTST_general_error;
  let replacement = { low: 0, high: 0 };
  if (newAddress !== 0n) {
    const other = placeOf(pv, v, newAddress, false);
    if (!other) return GNTST_general_error;
    replacement = pv.updates.exchangeL1(other.table, other.index, 0, 0);
  }
  const place = placeOf(pv, v, hostAddress, isEntry);
  if (place && isMapping(pv, place, address, flags)) {
    pv.updates.exchangeL1(place.table, place.index, replacement.low, replacement.high);
    return GNTST_okay;
  }
  // The entry that was taken from its place is lost.
  if (replacement.low & PTE_P) pv.types.putL1(replacement.low, replacement.high);
  return GNTST_general_error;
}

/** True if the entry still maps the page as the flags say. */
function isMapping(pv: PvDomain, { table, index }: L1Place, address: number, flags: number): boolean {
  const low = pv.info.words[table * 1024 + 2 * index];
  const high = pv.info.words[table * 1024 + 2 * index + 1];
  const rights = PTE_P | (flags & GNTMAP_readonly ? 0 : PTE_RW);
  return (low & (PTE_P | PTE_RW)) === rights && frameOf(low, high) === address / 4096;
}
