/** The flat segments that every boot protocol of a PC asks for, and the registers that go with them. */
import type { Segment } from '../paravirt/processor.ts';
import type { EntryState } from './entry.ts';

/** Linux's __BOOT_CS and __BOOT_DS, which its boot protocol names. */
export const BOOT_CS = 0x10;
export const BOOT_DS = 0x18;

/** A descriptor's second word without base and limit: present, ring 0, accessed (SDM 3A 3.4.5), 4 KiB granular. */
const CODE_32 = 0xc09b00;
const CODE_64 = 0xa09b00;
const DATA = 0xc09300;
const BUSY_TSS = 0x008b00;

/** What SDM 3A calls them (2.5): CR0.PE, ET, PG; CR4.PAE; EFER.LME, LMA. */
export const CR0_PE = 1n << 0n;
export const CR0_ET = 1n << 4n;
export const CR0_PG = 1n << 31n;
export const CR4_PAE = 1n << 5n;
export const EFER_LME = 1n << 8n;
export const EFER_LMA = 1n << 10n;

/** RFLAGS with nothing set but bit 1, which always is. */
export const FLAGS_CLEAR = 2n;

function flat(selector: number, attributes: number): Segment {
  return { selector, base: 0n, limit: 0xffffffff, attributes };
}

export function flatSegments(mode: 32 | 64): EntryState['segments'] {
  const data = flat(BOOT_DS, DATA);
  return {
    cs: flat(BOOT_CS, mode === 64 ? CODE_64 : CODE_32),
    ...{ ds: data, es: data, ss: data, fs: data, gs: data },
    tr: { selector: 0, base: 0n, limit: 0x67, attributes: BUSY_TSS },
  };
}

/** The same segments as a table in memory: null, unused, code, data. */
export function flatDescriptorTable(mode: 32 | 64): BigUint64Array {
  const descriptor = (attributes: number) => (BigInt(attributes | 0xf0000) << 32n) | 0xffffn;
  return BigUint64Array.of(0n, 0n, descriptor(mode === 64 ? CODE_64 : CODE_32), descriptor(DATA));
}
