/** The end of code: CS's limit, which straight code meets as jumps do (SDM 3A 5.3). Flat code has none. */
import { CS } from '../x86/segments.ts';
import * as vectors from '../x86/vectors.ts';
import type { Cpu } from './x86/cpu.ts';
import { FAULT_SET, state } from './x86/state.ts';

/** Bytes of code from RIP to CS's limit, the last included; Infinity in flat code. */
export function roomInCode(cpu: Cpu): number {
  if (cpu.mode === 64 || cpu.get32(state.FLAT) & (1 << CS)) return Number.POSITIVE_INFINITY;
  return cpu.get32(state.SEGMENT_LIMIT + 4 * CS) - Number(cpu.ip) + 1;
}

/** The instruction at RIP lies beyond the limit, or reaches there: #GP(0) before it. */
export function faultBeyondLimit(cpu: Cpu): void {
  cpu.set32(state.FAULT, vectors.GP | FAULT_SET);
  cpu.set32(state.FAULT_CODE, 0);
}
