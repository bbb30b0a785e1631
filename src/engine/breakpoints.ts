/**
 * What a debugger on the host's side wants the processors to stop for: breakpoints, watchpoints, single steps. The guest sees
 * nothing of it: its memory and its debug registers stay as they are.
 *
 * A block's address in the guest is physical and a breakpoint's is linear, so the two are told apart late: every decoded
 * instruction with the page offset of a breakpoint gets a STOP record before its own (blocks.ts), and where that stops a
 * processor (`Vcpu.run`), RIP says whether the breakpoint is meant. If not, the one instruction is executed by itself.
 *
 * Without breakpoints and watchpoints nothing is different, and nothing is slower. With them the interpreter alone executes;
 * with watchpoints, besides, every access to memory takes the slow path.
 */
import type { Vcpu } from './vcpu.ts';

/** Accesses that a watchpoint is for. */
export type Watched = 'write' | 'read' | 'access';

/** An area of linear memory whose accesses stop the processor that makes them: after the instruction. */
export interface Watchpoint {
  readonly kind: Watched;
  readonly address: bigint;
  /** Bytes. */
  readonly length: number;
}

/** Why a processor has stopped, and which. A watchpoint's `address` is the first watched byte of the access. */
export type DebugStop =
  | { readonly kind: 'breakpoint' | 'step'; readonly processor: number }
  | { readonly kind: 'watchpoint'; readonly processor: number; readonly watched: Watched; readonly address: bigint };

export class Breakpoints {
  /** Why the guest has stopped; undefined: not for a debugger. Whoever has seen it takes it away. */
  stop: DebugStop | undefined;
  /** Takes what would stop the guest, which goes on: before the instruction, or in the midst of one that accesses what is watched. */
  onPass: ((stop: DebugStop) => void) | undefined;
  /** The processor that stops after its next instruction. */
  stepping: Vcpu | undefined;
  /** No interrupt comes before the instruction that is stepped. */
  holdsInterrupts = false;
  #addresses: ReadonlySet<bigint> = new Set();
  #watchpoints: readonly Watchpoint[] = [];
  /** By offset in a page: not 0 where a breakpoint is. */
  readonly #near = new Uint8Array(4096);
  /** By processor: where and when a breakpoint was last told, so that the next run goes on. */
  readonly #told: { rip: bigint; executed: number }[] = [];

  /** True if there is anything that the interpreter must stop for. */
  get any(): boolean {
    return this.#addresses.size > 0 || this.#watchpoints.length > 0;
  }
  get watches(): boolean {
    return this.#watchpoints.length > 0;
  }
  /** @returns false if everything is so already */
  set(addresses: ReadonlySet<bigint>, watchpoints: readonly Watchpoint[]): boolean {
    const before = this.#addresses;
    const same = before.size === addresses.size && [...addresses].every(address => before.has(address));
    const sameWatched =
      this.#watchpoints.length === watchpoints.length && watchpoints.every((one, i) => one === this.#watchpoints[i]);
    this.#addresses = new Set(addresses);
    this.#watchpoints = [...watchpoints];
    this.#near.fill(0);
    for (const address of addresses) this.#near[Number(address & 4095n)] = 1;
    return !same || !sameWatched;
  }

  /** True if an instruction there, by its offset in the page, has a STOP record before it. */
  isNear(offset: number): boolean {
    return this.#near[offset] !== 0;
  }
  /** True if the processor must not execute the instruction at RIP: there is a breakpoint, which it has not told of yet. */
  stopsBefore({ cpu, budget, index }: Vcpu): boolean {
    if (!this.isNear(cpu.pageOffset)) return false;
    const { rip } = cpu;
    if (!this.#addresses.has(rip)) return false;
    const told = this.#told[index];
    if (told?.rip === rip && told.executed === budget.executed) return false;
    this.#told[index] = { rip, executed: budget.executed };
    return this.#stops({ kind: 'breakpoint', processor: index });
  }
  /** @returns true unless the guest goes on */
  #stops(stop: DebugStop): boolean {
    if (this.onPass) this.onPass(stop);
    else this.stop ??= stop;
    return !this.onPass;
  }
  /** The processor has executed the instruction that it was to. */
  stepped({ index }: Vcpu): void {
    this.stepping = undefined;
    this.stop ??= { kind: 'step', processor: index };
  }
  /** Memory is accessed. @returns true if the processor is to stop after this instruction */
  accessed({ index }: Vcpu, linear: bigint, size: number, write: boolean): boolean {
    for (const { kind, address, length } of this.#watchpoints) {
      if (kind !== 'access' && (kind === 'write') !== write) continue;
      if (linear >= address + BigInt(length) || address >= linear + BigInt(size)) continue;
      const first = linear > address ? linear : address;
      return this.#stops({ kind: 'watchpoint', processor: index, watched: kind, address: first });
    }
    return false;
  }
}
