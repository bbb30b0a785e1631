/** Debugging by the guest: single steps by TF, breakpoints by DR0-DR3 (SDM 3B 17.2, 17.3). */
import { DR7_ENABLED } from '../x86/control.ts';
import { RF, TF } from '../x86/flags.ts';
import { debugOffset } from './x86/control.ts';
import type { Cpu } from './x86/cpu.ts';
import { state } from './x86/state.ts';

/** The R/W field of a breakpoint in DR7: of instructions; of writes. Bit 0 is set in those of data. */
const ON_EXECUTION = 0;
const ON_WRITES = 1;
const BREAKPOINTS = [0, 1, 2, 3];

export class GuestDebug {
  readonly #cpu: Cpu;
  /** DR6 bits of the data breakpoints that the present instruction has hit. */
  #hits = 0;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  get hasHits(): boolean {
    return this.#hits !== 0;
  }
  /** Instructions have to be executed one by one: TF is set, or an instruction breakpoint is armed. */
  get stepping(): boolean {
    if (this.#cpu.get32(state.FLAGS_REST) & TF) return true;
    const dr7 = this.#cpu.get32(debugOffset(7));
    if (!(dr7 & DR7_ENABLED)) return false;
    return BREAKPOINTS.some(i => isEnabled(dr7, i) && kindOf(dr7, i) === ON_EXECUTION);
  }
  /** Notes in DR6 the instruction breakpoints at RIP. @returns false if there is none, or RF says to pass it */
  hitInstruction(): boolean {
    const cpu = this.#cpu;
    if (cpu.get32(state.FLAGS_REST) & RF) return false;
    const dr7 = cpu.get32(debugOffset(7));
    let hits = 0;
    for (const i of BREAKPOINTS)
      if (isEnabled(dr7, i) && kindOf(dr7, i) === ON_EXECUTION && cpu.get64(debugOffset(i)) === cpu.rip) hits |= 1 << i;
    if (!hits) return false;
    cpu.set64(debugOffset(6), (cpu.get64(debugOffset(6)) & ~15n) | BigInt(hits));
    cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) | RF);
    return true;
  }
  /** Memory is accessed. @returns true if a data breakpoint has been hit by this instruction */
  access(linear: bigint, size: number, write: boolean): boolean {
    const dr7 = this.#cpu.get32(debugOffset(7));
    for (const i of BREAKPOINTS) {
      const kind = kindOf(dr7, i);
      if (!isEnabled(dr7, i) || !(kind & 1) || (kind === ON_WRITES && !write)) continue;
      const length = [1n, 2n, 8n, 4n][(dr7 >> (18 + 4 * i)) & 3]!;
      const start = this.#cpu.get64(debugOffset(i)) & ~(length - 1n);
      if (linear < start + length && start < linear + BigInt(size)) this.#hits |= 1 << i;
    }
    return this.hasHits;
  }
  /** A debug trap after an instruction is due: DR6 gets `bits` and the data breakpoints that were hit. */
  noteTrap(bits: number): void {
    const cpu = this.#cpu;
    cpu.set64(debugOffset(6), cpu.get64(debugOffset(6)) | BigInt(bits | this.#hits));
    this.#hits = 0;
  }
}

const isEnabled = (dr7: number, index: number): boolean => ((dr7 >> (2 * index)) & 3) !== 0;
const kindOf = (dr7: number, index: number): number => (dr7 >> (16 + 4 * index)) & 3;
