/**
 * What a guest may put into a GDT or LDT (SDM 3A 3.4.5): anything that cannot take it above CPL 3. Xen lifts instead of
 * refusing where it can, so that a kernel which writes DPL 0 descriptors finds them working at CPL 3.
 */
import { DESCRIPTOR_DPL, DESCRIPTOR_P, DESCRIPTOR_S, TYPE_CALL_GATE } from '../../x86/descriptors.ts';
import { SELECTOR_TI } from '../../x86/segments.ts';
import { EINVAL } from '../xen/constants.ts';

/** The type field of a descriptor's high half. */
const TYPE_SHIFT = 8;
const TYPE = 0xf << TYPE_SHIFT;

/** Descriptors in one page. */
const DESCRIPTORS = 512;
/** GDT entries that are the guest's; Xen's two pages follow. */
export const FIRST_RESERVED_GDT_ENTRY = 14 * DESCRIPTORS;
/** Xen's flat selectors, all with RPL 3 (public/arch-x86/xen-x86_64.h). */
export const FLAT_RING3_CS32 = 0xe023;
export const FLAT_RING3_SS = 0xe02b;
export const FLAT_RING3_CS64 = 0xe033;

/**
 * The high half as it may stand in a table, or undefined if the descriptor may not. The low half never changes.
 */
export function checkedDescriptor(low: number, high: number): number | undefined {
  if ((high & DESCRIPTOR_P) === 0) return high;
  const lifted = (high | DESCRIPTOR_DPL) >>> 0;
  if (high & DESCRIPTOR_S) return lifted;
  // Type 0 faults when used: it is what the second half of a 16-byte gate looks like.
  if ((high & TYPE) === 0) return lifted;
  if ((high & TYPE) >>> TYPE_SHIFT !== TYPE_CALL_GATE || !isGateTarget(low >>> 16)) return undefined;
  // With DPL 0 every use of the gate is a #GP that names it.
  return (high & ~DESCRIPTOR_DPL) >>> 0;
}

function isGateTarget(selector: number): boolean {
  const local = (selector & SELECTOR_TI) !== 0;
  return local || selector >>> 3 < FIRST_RESERVED_GDT_ENTRY || selector === FLAT_RING3_CS64;
}

/** Checks page `frame` of `words` as a descriptor page, lifting what can be lifted. 0 or -EINVAL. */
export function checkDescriptorPage(words: Uint32Array, frame: number): number {
  for (let at = frame * 1024; at < (frame + 1) * 1024; at += 2) {
    const high = checkedDescriptor(words[at], words[at + 1]);
    if (high === undefined) return -EINVAL;
    if (high !== words[at + 1]) words[at + 1] = high;
  }
  return 0;
}
