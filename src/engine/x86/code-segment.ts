import { DESCRIPTOR_DB, DESCRIPTOR_L, REAL_SEGMENT } from '../../x86/descriptors.ts';
import { CS } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { type Cpu, isCanonical } from './cpu.ts';
import { type Descriptor, descriptorLimit, setAccessed, setFromDescriptor, setRealSegment } from './segments.ts';
import { state } from './state.ts';

/** #GP(0) if an offset is none of a code segment's: not canonical in 64-bit code, else beyond the limit. */
export function checkOffset(cpu: Cpu, d: Descriptor, offset: bigint): void {
  const long = cpu.longMode && (d.high & DESCRIPTOR_L) !== 0;
  if (long ? !isCanonical(offset) : offset > BigInt(descriptorLimit(d))) cpu.raise(vectors.GP, 0);
}
/** Loads CS with a checked code descriptor at privilege `cpl` and goes to `offset`. */
export function enterCode(cpu: Cpu, selector: number, d: Descriptor, offset: bigint, cpl: number): void {
  const long = cpu.longMode && (d.high & DESCRIPTOR_L) !== 0;
  checkOffset(cpu, d, offset);
  setAccessed(cpu, d);
  setFromDescriptor(cpu, CS, (selector & ~3) | cpl, d);
  cpu.setCpl(cpl);
  cpu.updateMode();
  cpu.ip = long ? offset : offset & 0xffffffffn;
}

export function farReal(cpu: Cpu, selector: number, offset: bigint): void {
  if (offset > 0xffffn && cpu.get32(state.SEGMENT_LIMIT + 4 * CS) <= 0xffff) cpu.raise(vectors.GP, 0);
  if (cpu.v86) setRealSegment(cpu, CS, selector);
  else {
    cpu.set16(state.SELECTOR + 4 * CS, selector);
    cpu.set64(state.SEGMENT_BASE + 8 * CS, BigInt(selector) << 4n);
    if (!cpu.protectedMode)
      cpu.set32(
        state.SEGMENT_ATTRIBUTES + 4 * CS,
        REAL_SEGMENT | (cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * CS) & DESCRIPTOR_DB),
      );
    cpu.noteSegment(CS);
  }
  cpu.updateMode();
  cpu.ip = offset;
}
