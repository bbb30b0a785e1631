/**
 * Debugging by the guest: TF, and the breakpoints of DR0-DR3 on instructions, data and ports (SDM 3B 17.2, 17.3). Which
 * events follow from these, and when, is in x86/debug-model.ts.
 */
import { CR4_DE } from '../x86/control.ts';
import { RF } from '../x86/flags.ts';
import { debugOffset, isStepping } from './x86/control.ts';
import type { Cpu } from './x86/cpu.ts';
import { state } from './x86/state.ts';

/** The R/W field of a breakpoint in DR7: what it is on. Bit 0 is set in those on data. */
const ON_EXECUTION = 0;
const ON_WRITES = 1;
const ON_PORTS = 2;
const BREAKPOINTS = [0, 1, 2, 3];

export class GuestDebug {
  readonly #cpu: Cpu;
  /** DR6 bits of the data and I/O breakpoints that the present instruction has hit. */
  #hits = 0;
  /** Its linear address. */
  #address = 0n;
  /** Events delivered before the hit: an event since then says that the instruction has faulted. */
  #deliveries = 0;

  constructor(cpu: Cpu) {
    this.#cpu = cpu;
  }

  get hasHits(): boolean {
    return this.#hits !== 0;
  }
  /** Instructions have to be executed one by one: TF is set, or an instruction breakpoint is armed. */
  get stepping(): boolean {
    return isStepping(this.#cpu);
  }
  /** DR6 bits of the breakpoints on the instruction at RIP; 0 if there is none, or RF says to pass it. */
  atInstruction(): number {
    const cpu = this.#cpu;
    if (cpu.get32(state.FLAGS_REST) & RF) return 0;
    const dr7 = cpu.get32(debugOffset(7));
    let hits = 0;
    for (const i of BREAKPOINTS)
      if (isEnabled(dr7, i) && kindOf(dr7, i) === ON_EXECUTION && cpu.get64(debugOffset(i)) === cpu.rip) hits |= 1 << i;
    return hits;
  }
  /** Memory is accessed. @returns true if a data breakpoint has been hit by this instruction */
  access(linear: bigint, size: number, write: boolean): boolean {
    return this.#hit(linear, size, kind => (kind & 1) !== 0 && (write || kind !== ON_WRITES));
  }
  /** A port is accessed. Without CR4.DE there are no breakpoints on ports. @returns as `access` */
  portAccess(port: number, size: number): boolean {
    if (!(this.#cpu.get32(state.CR4) & CR4_DE)) return false;
    return this.#hit(BigInt(port), size, kind => kind === ON_PORTS);
  }
  #hit(address: bigint, size: number, concerns: (kind: number) => boolean): boolean {
    const dr7 = this.#cpu.get32(debugOffset(7));
    for (const i of BREAKPOINTS) {
      if (!isEnabled(dr7, i) || !concerns(kindOf(dr7, i))) continue;
      const length = [1n, 2n, 8n, 4n][(dr7 >> (18 + 4 * i)) & 3]!;
      const start = this.#cpu.get64(debugOffset(i)) & ~(length - 1n);
      if (address < start + length && start < address + BigInt(size)) this.#hits |= 1 << i;
    }
    if (!this.#hits) return false;
    this.#deliveries = this.#cpu.get32(state.DELIVERIES);
    this.#address = this.#cpu.here();
    return true;
  }
  /** The instruction that has hit them is at RIP: a string of which elements are left, or one that has jumped to itself. */
  get hitStays(): boolean {
    return this.hasHits && this.#address === this.#cpu.rip;
  }
  /** Traps, bits of DR6, that are due with those that wait already. */
  addPending(traps: number): void {
    this.#cpu.set32(state.PENDING_DEBUG, this.#cpu.get32(state.PENDING_DEBUG) | traps);
  }
  /** The hits of the instruction that has ended; none if it has faulted, for it will be executed again. */
  takeHits(): number {
    const hits = this.#deliveries === this.#cpu.get32(state.DELIVERIES) ? this.#hits : 0;
    this.#hits = 0;
    return hits;
  }
}

const isEnabled = (dr7: number, index: number): boolean => ((dr7 >> (2 * index)) & 3) !== 0;
const kindOf = (dr7: number, index: number): number => (dr7 >> (16 + 4 * index)) & 3;
