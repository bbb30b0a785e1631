/** The flat segments that every boot protocol of a PC asks for, and the registers that go with them. */

import type { Segment } from '../paravirt/processor.ts';
import { BUSY_TSS, FLAT_CODE_32, FLAT_CODE_64, FLAT_DATA } from '../x86/descriptors.ts';
import type { EntryState } from './entry.ts';

/** Linux's __BOOT_CS and __BOOT_DS, which its boot protocol names. */
export const BOOT_CS = 0x10;
export const BOOT_DS = 0x18;

/** RFLAGS with nothing set but bit 1, which always is. */
export const FLAGS_CLEAR = 2n;

function flat(selector: number, attributes: number): Segment {
  return { selector, base: 0n, limit: 0xffffffff, attributes };
}

export function flatSegments(mode: 32 | 64): EntryState['segments'] {
  const data = flat(BOOT_DS, FLAT_DATA);
  return {
    cs: flat(BOOT_CS, mode === 64 ? FLAT_CODE_64 : FLAT_CODE_32),
    ...{ ds: data, es: data, ss: data, fs: data, gs: data },
    tr: { selector: 0, base: 0n, limit: 0x67, attributes: BUSY_TSS },
  };
}

/** The same segments as a table in memory: null, unused, code, data. */
export function flatDescriptorTable(mode: 32 | 64): BigUint64Array {
  const descriptor = (attributes: number) => (BigInt(attributes | 0xf0000) << 32n) | 0xffffn;
  return BigUint64Array.of(0n, 0n, descriptor(mode === 64 ? FLAT_CODE_64 : FLAT_CODE_32), descriptor(FLAT_DATA));
}
