/**
 * What CR3 holds while a root of the guest's is loaded. A 64-bit guest's root is what the processor walks. That of a
 * 32-bit guest is a level too low for a processor in long mode (Xen 4.17 runs such guests in compatibility mode): it
 * hangs in the first entry of an L4 table of Xen's, which has Xen's own entries besides. There are several of those, so
 * that the TLB keeps the translations of the roots that were loaded last.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import type { Processor } from '../../paravirt/processor.ts';
import type { State, States } from '../../state/state.ts';
import { PAGE_SIZE, PTE_A, PTE_D, PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';

export interface Roots {
  /** The value of CR3 for the root in `frame`. */
  cr3(frame: number): bigint;
  /** The table in `frame` is no root any more, or another one now: its translations go. */
  drop(frame: number): void;
}

/** Roots that the processor can walk. */
export class FullRoots implements Roots {
  readonly #cpus: readonly Processor[];

  constructor(cpus: readonly Processor[]) {
    this.#cpus = cpus;
  }

  cr3(frame: number): bigint {
    return BigInt(frame) << 12n;
  }

  drop(frame: number): void {
    for (const cpu of this.#cpus) cpu.flushRoot(this.cr3(frame));
  }
}

/** L4 tables of Xen's that lead to PAE roots. */
export const PAE_ROOT_TABLES = 32;
const NO_ROOT = -1;
const LINK = PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D;

/** Roots of a 32-bit guest. */
export class PaeRoots implements Roots {
  readonly #cpus: readonly Processor[];
  readonly #memory: GuestMemory;
  /** Guest-physical addresses of the L4 tables. */
  readonly #tables: readonly number[];
  /** The root that each table leads to, and when that was last asked for. */
  readonly #state: State<{ roots: number[]; used: number[]; time: number }>;

  constructor(states: States, memory: GuestMemory, cpus: readonly Processor[], tables: readonly number[]) {
    this.#cpus = cpus;
    this.#memory = memory;
    this.#tables = tables;
    this.#state = states.state('roots', 1, () => ({
      roots: tables.map(() => NO_ROOT),
      used: tables.map(() => 0),
      time: 0,
    }));
  }

  cr3(frame: number): bigint {
    const { roots, used } = this.#state;
    let index = roots.indexOf(frame);
    if (index < 0) {
      index = used.indexOf(Math.min(...used));
      this.#lead(index, frame);
    }
    used[index] = ++this.#state.time;
    return BigInt(this.#tables[index]!);
  }

  drop(frame: number): void {
    const index = this.#state.roots.indexOf(frame);
    if (index >= 0) this.#lead(index, NO_ROOT);
  }

  #lead(index: number, frame: number): void {
    this.#state.roots[index] = frame;
    this.#state.used[index] = 0;
    const table = this.#tables[index]!;
    this.#memory.write64(table, frame === NO_ROOT ? 0n : BigInt(frame * PAGE_SIZE) | BigInt(LINK));
    for (const cpu of this.#cpus) cpu.flushRoot(BigInt(table));
  }
}
