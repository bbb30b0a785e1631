/**
 * What a guest may put into a GDT or LDT (SDM 3A 3.4.5): anything that cannot take it above the ring of its kernel. Xen
 * lifts instead of refusing where it can, so that a kernel which writes DPL 0 descriptors finds them working there.
 */
import {
  DESCRIPTOR_DPL,
  DESCRIPTOR_DPL_SHIFT,
  DESCRIPTOR_P,
  DESCRIPTOR_S,
  TYPE_CALL_GATE,
} from '../../x86/descriptors.ts';
import { SELECTOR_RPL, SELECTOR_TI } from '../../x86/segments.ts';
import { EINVAL } from '../xen/constants.ts';
import type { PvAbi } from './abi.ts';

/** The type field of a descriptor's high half. */
const TYPE_SHIFT = 8;
const TYPE = 0xf << TYPE_SHIFT;

/** Descriptors in one page. */
const DESCRIPTORS = 512;
/** GDT entries that are the guest's; Xen's two pages follow. */
export const FIRST_RESERVED_GDT_ENTRY = 14 * DESCRIPTORS;
/** A descriptor as it may stand in a table. The object is reused by the next check. */
const checked = { low: 0, high: 0 };

/** The descriptor as it may stand in a table, or undefined if it may not. The object is reused by the next call. */
export function checkedDescriptor(
  low: number,
  high: number,
  abi: PvAbi,
): Readonly<{ low: number; high: number }> | undefined {
  checked.low = low;
  checked.high = high;
  if ((high & DESCRIPTOR_P) === 0) return checked;
  const dpl = (high & DESCRIPTOR_DPL) >>> DESCRIPTOR_DPL_SHIFT;
  const lifted = Math.max(dpl, abi.kernelRing);
  checked.high = ((high & ~DESCRIPTOR_DPL) | (lifted << DESCRIPTOR_DPL_SHIFT)) >>> 0;
  if (high & DESCRIPTOR_S) return abi.checkSegment(checked) ? checked : undefined;
  // Type 0 faults when used: it is what the second half of a 16-byte gate looks like.
  if ((high & TYPE) === 0) return checked;
  if ((high & TYPE) >>> TYPE_SHIFT !== TYPE_CALL_GATE || !isGateTarget(low >>> 16, abi)) return undefined;
  // With DPL 0 every use of the gate is a #GP that names it (call-gates.ts). The guest's DPL is kept where a gate needs no bits.
  checked.high = (high & ~DESCRIPTOR_DPL) >>> 0;
  checked.low = ((low & ~(SELECTOR_RPL << 16)) | (lifted << 16)) >>> 0;
  return checked;
}

function isGateTarget(selector: number, abi: PvAbi): boolean {
  const local = (selector & SELECTOR_TI) !== 0;
  return local || selector >>> 3 < FIRST_RESERVED_GDT_ENTRY || selector === abi.kernelCode.selector;
}

/** Checks page `frame` of `words` as a descriptor page, lifting what can be lifted. 0 or -EINVAL. */
export function checkDescriptorPage(words: Uint32Array, frame: number, abi: PvAbi): number {
  for (let at = frame * 1024; at < (frame + 1) * 1024; at += 2) {
    const descriptor = checkedDescriptor(words[at], words[at + 1], abi);
    if (!descriptor) return -EINVAL;
    words[at] = descriptor.low;
    words[at + 1] = descriptor.high;
  }
  return 0;
}
