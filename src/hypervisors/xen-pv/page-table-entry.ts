/**
 * A page-table entry (SDM 3A 4.5.4) as Xen sees it in a PV guest. Entries are handled as two 32-bit halves,
 * `low` and `high`: a fork changes thousands of them, and a bigint each would cost more than the check itself.
 */

import { PTE_A, PTE_D, PTE_G, PTE_PCD, PTE_PS, PTE_PWT, PTE_US } from '../../x86/paging.ts';

/** The bits of the low half that are the guest's to use. */
export const PTE_AVAIL = 0xe00;

/** Bits of the high half: 52 to 62 are the guest's to use but for 52, which Xen marks kernel pages with; 63 is NX. */
export const PTE_HIGH_GUEST_KERNEL = 1 << 20;
/** The frame's bits above the low half's 20. No frame of this machine has one set. */
export const PTE_HIGH_FRAME = 0x000fffff;

/**
 * What the guest may not set, by level: a domain without devices gets no cache attributes and no large pages. In an L1
 * entry PTE_PS is the PAT bit.
 */
export const L1_DISALLOWED = PTE_PWT | PTE_PCD | PTE_PS;
export const L234_DISALLOWED = PTE_PWT | PTE_PCD | PTE_PS | PTE_G;

/**
 * Bits of the low half whose change neither takes nor gives a reference. The high half's flags are all of that kind.
 */
export const PTE_HARMLESS = PTE_US | PTE_A | PTE_D | PTE_G | PTE_AVAIL;

export const ENTRIES = 512;

/** No frame: what `frameOf` gives for an entry that points above 4 GiB. */
export const NO_FRAME = 0xffffffff;

/** The frame an entry points to, or NO_FRAME if it is above all memory a machine here can have. */
export function frameOf(low: number, high: number): number {
  return (high & PTE_HIGH_FRAME) === 0 ? low >>> 12 : NO_FRAME;
}

/**
 * The page number (bits 12 to 47) of a linear address, as a number; undefined if the address is not canonical. Its four
 * 9-bit fields are the indices into L4, L3, L2 and L1.
 */
export function pageNumberOf(linear: bigint): number | undefined {
  if (BigInt.asUintN(64, BigInt.asIntN(48, linear)) !== BigInt.asUintN(64, linear)) return undefined;
  return Number(BigInt.asUintN(36, linear >> 12n));
}

/** As `pageNumberOf`, of an address in two halves; -1 if it is not canonical. */
export function pageNumberOfHalves(low: number, high: number): number {
  // Bits 47 to 63 are all alike.
  const sign = high >>> 15;
  return sign === 0 || sign === 0x1ffff ? (high & 0xffff) * 2 ** 20 + (low >>> 12) : -1;
}

/** The linear address that the four indices make. */
export function linearOf(l4: number, l3: number, l2: number, l1: number): bigint {
  const pageNumber = l4 * 2 ** 27 + l3 * 2 ** 18 + l2 * 2 ** 9 + l1;
  return BigInt.asUintN(64, BigInt.asIntN(48, BigInt(pageNumber) << 12n));
}

/** The first canonical address above the hole. */
const UPPER_HALF = 0xffff800000000000n;

/** True for an address that is canonical in 48 bits. */
export function isCanonical(linear: bigint): boolean {
  return linear < 0x0000800000000000n || (linear >= UPPER_HALF && linear <= 0xffffffffffffffffn);
}
