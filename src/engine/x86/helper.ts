/**
 * The contract of a helper: the meaning of a hard instruction written in TypeScript, called by both tiers. Arguments stand
 * in the state's ARGUMENT slots (64 bits each), a result goes to RESULT. A helper that must fault calls `raise`, which
 * leaves it by throwing a sentinel that the one caller of helpers (processor.ts) turns into the guest's exception: nothing
 * else may have been changed by then.
 */
import type { StateViews } from './state.ts';

export interface HelperContext extends StateViews {
  /**
   * Raises exception `vector` (with `code` where the architecture pushes one). Never returns. The instruction has not
   * happened: RIP points at it.
   */
  raise(vector: number, code?: number): never;
}

/**
 * Helpers that change nothing but the general registers named here, but may ask for the time: translated code, which keeps
 * registers in locals, calls them, too. Numbers as the manual has them; arguments and results are the state's as always. RSP
 * is for those who want to know who asks.
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

export type Helper = (context: HelperContext) => void;
