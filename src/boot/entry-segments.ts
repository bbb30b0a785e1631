/**
 * Segments for the entries of a PC: the flat ones that every boot protocol of protected mode asks for, and those of real
 * mode, with the registers that go with them.
 */

import type { Segment } from '../paravirt/processor.ts';
import { CR0_ET } from '../x86/control.ts';
import { BUSY_TSS, FLAT_CODE_32, FLAT_CODE_64, FLAT_DATA, REAL_SEGMENT } from '../x86/descriptors.ts';
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

/** Real mode's 256 vectors. */
const VECTOR_TABLE_LIMIT = 0x3ffn;

/** Real mode at CS:IP, with interrupts off; `segment` is in the other segment registers. */
export function enterRealMode(at: {
  cs: number;
  ip: number;
  segment: number;
  sp: number;
  registers?: EntryState['registers'];
}): EntryState {
  const real = (selector: number): Segment => ({
    ...{ selector, base: BigInt(selector << 4), limit: 0xffff, attributes: REAL_SEGMENT },
  });
  const data = real(at.segment);
  return {
    registers: {
      rip: BigInt(at.ip),
      rsp: BigInt(at.sp),
      flags: FLAGS_CLEAR,
      cr0: BigInt(CR0_ET),
      idtBase: 0n,
      idtLimit: VECTOR_TABLE_LIMIT,
      dr6: 0xffff0ff0n,
      dr7: 0x400n,
      ...at.registers,
    },
    segments: { cs: real(at.cs), ds: data, es: data, ss: data, fs: data, gs: data },
  };
}

/** The flat segments as a table in memory: null, unused, code, data. */
export function flatDescriptorTable(mode: 32 | 64): BigUint64Array {
  const descriptor = (attributes: number) => (BigInt(attributes | 0xf0000) << 32n) | 0xffffn;
  return BigUint64Array.of(0n, 0n, descriptor(mode === 64 ? FLAT_CODE_64 : FLAT_CODE_32), descriptor(FLAT_DATA));
}
