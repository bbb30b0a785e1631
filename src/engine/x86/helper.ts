/**
 * The contract of a helper: the meaning of a hard instruction written in TypeScript, called by both tiers. Arguments
 * stand in the state's ARGUMENT slots (64 bits each), a result goes to RESULT. A helper that must fault calls
 * `cpu.raise` before it has changed anything else: that throws a sentinel, which the only caller of helpers (modules.ts)
 * turns into the guest's exception.
 */
import type { Cpu } from './cpu.ts';

export type Helper = (cpu: Cpu) => void;

/**
 * Helpers that translated code calls while it keeps the guest's registers in locals: before the call it writes the
 * general registers in `reads` to the state, after the call it reads those in `writes` back. Such helpers touch no
 * other general register. Register numbers are the manual's (SDM 2A, table 2-2). `rdmsr` and `cpuid` read RSP, because
 * a hypervisor may ask who calls.
 */
export const helperRegisters: Readonly<Record<string, { reads: readonly number[]; writes: readonly number[] }>> = {
  rdtsc: { reads: [], writes: [0, 2] },
  rdtscp: { reads: [], writes: [0, 1, 2] },
  rdmsr: { reads: [1, 4], writes: [0, 2] },
  rdpmc: { reads: [1], writes: [0, 2] },
  cpuid: { reads: [0, 1, 4], writes: [0, 1, 2, 3] },
  read_control: { reads: [], writes: [] },
  random: { reads: [], writes: [] },
};
