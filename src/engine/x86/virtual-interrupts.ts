/**
 * Virtual interrupts: RFLAGS.VIF in IF's place for code that may not change IF. CR4.VME has them in virtual-8086 mode, with a
 * map of the software interrupts that stay there; CR4.PVI at CPL 3 for CLI and STI (SDM 3B 20.3, 20.4; AMD APM 2, 8.9).
 */
import { CR4_PVI, CR4_VME } from '../../x86/control.ts';
import { IF, IOPL, RF, TF, VIF, VIP, VM } from '../../x86/flags.ts';
import { CS, TR } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { farReal } from './code-segment.ts';
import type { Cpu } from './cpu.ts';
import { checkPushes, currentStack, Pusher, setStackPointer } from './stack-frames.ts';
import { state } from './state.ts';

/** In a TSS: the address of the I/O map, which the map of redirected interrupts ends at. */
const IO_MAP_BASE = 0x66;
const REDIRECTION_MAP = 32;
/** The smallest limit of a TSS that has these. */
const LEAST_LIMIT = 0x67;

const isLimited = (cpu: Cpu): boolean => cpu.v86 && cpu.iopl < 3;
const hasVme = (cpu: Cpu): boolean => (cpu.get32(state.CR4) & CR4_VME) !== 0;
const change = (cpu: Cpu, set: number, clear: number): void =>
  cpu.set32(state.FLAGS_REST, (cpu.get32(state.FLAGS_REST) & ~clear) | set);

/** True if CLI and STI are about IF here; false: about VIF. #GP(0) where they are about neither. */
export function changesInterruptFlag(cpu: Cpu): boolean {
  if (!cpu.protectedMode || (cpu.v86 ? cpu.iopl === 3 : cpu.cpl <= cpu.iopl)) return true;
  const extension = cpu.v86 ? CR4_VME : cpu.cpl === 3 ? CR4_PVI : 0;
  if (!(cpu.get32(state.CR4) & extension)) cpu.raise(vectors.GP, 0);
  return false;
}
/** CLI and STI with VIF. An interrupt that waits (VIP) lets nobody set VIF: #GP(0). */
export function setVirtualInterruptFlag(cpu: Cpu, enabled: boolean): void {
  if (!enabled) return change(cpu, 0, VIF);
  if (cpu.get32(state.FLAGS_REST) & VIP) cpu.raise(vectors.GP, 0);
  change(cpu, VIF, 0);
}

/** PUSHF, POPF and IRET in virtual-8086 mode: #GP(0) with IOPL below 3, but for 16 bits with VME. */
export function checkFlagsAccess(cpu: Cpu, bits: number): void {
  if (isLimited(cpu) && !(hasVme(cpu) && bits === 16)) cpu.raise(vectors.GP, 0);
}
/** What PUSHF pushes, and INT n where it stays in virtual-8086 mode: IF is VIF there, and IOPL 3. */
export function pushedFlags(cpu: Cpu): number {
  const flags = cpu.flags & ~(VM | RF);
  if (!isLimited(cpu)) return flags;
  return (flags & ~IF) | IOPL | (flags & VIF ? IF : 0);
}
/**
 * POPF and IRET of 16 bits where IF is VIF (after `checkFlagsAccess`): false where it is not, and nothing has been done. #GP(0)
 * for TF, and for IF while an interrupt waits.
 */
export function popLimitedFlags(cpu: Cpu, popped: number, enter = () => {}): boolean {
  if (!isLimited(cpu)) return false;
  if (popped & TF || (popped & IF && cpu.get32(state.FLAGS_REST) & VIP)) cpu.raise(vectors.GP, 0);
  enter();
  const kept = ~0xffff | IF | IOPL;
  cpu.flags = (cpu.flags & kept & ~(VIF | RF)) | (popped & ~kept) | 2 | (popped & IF ? VIF : 0);
  return true;
}

/**
 * INT n in virtual-8086 mode with VME: if the TSS's map says so it goes by the vectors at linear address 0, like in real mode.
 * @returns false if it goes the ordinary way
 */
export function redirectInterrupt(cpu: Cpu, vector: number, next: bigint): boolean {
  if (!cpu.v86 || !hasVme(cpu)) return false;
  const limit = cpu.get32(state.SEGMENT_LIMIT + 4 * TR);
  const tss = cpu.get64(state.TR_BASE);
  if (limit < LEAST_LIMIT) cpu.raise(vectors.GP, 0);
  const map = Number(cpu.readLinear(cpu.wrap(tss + BigInt(IO_MAP_BASE)), 2, true)) - REDIRECTION_MAP;
  const at = map + (vector >> 3);
  if (at < 0 || at > limit) cpu.raise(vectors.GP, 0);
  if (Number(cpu.readLinear(cpu.wrap(tss + BigInt(at)), 1, true)) & (1 << (vector & 7))) return false;

  const entry = Number(cpu.readLinear(BigInt(4 * vector), 4, false));
  checkPushes(cpu, 3, 2);
  const stack = new Pusher(cpu, currentStack(cpu), 2, false);
  stack.push(pushedFlags(cpu));
  stack.push(cpu.selector(CS));
  stack.push(next);
  change(cpu, 0, TF | RF | (cpu.iopl === 3 ? IF : VIF));
  farReal(cpu, entry >>> 16, BigInt(entry & 0xffff));
  setStackPointer(cpu, stack.sp);
  return true;
}
