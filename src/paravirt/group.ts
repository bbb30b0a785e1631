/**
 * The contract of a hypervisor's group files. A hypervisor's folder has a file for each group of the waist that it
 * changes (boot.ts, cpu.ts, mmu.ts, irq.ts, time.ts, smp.ts), and each of these exports one thing, a function:
 *
 *     export function createCpu(context: HypervisorContext, parts: …): Group<'cpu'>
 *
 * Its answer holds the ops that differ, and the registers and hypercalls that the file implements. `parts` is what
 * several groups of this hypervisor share, where there is such a thing. `derive` merges the groups, so index.ts is a
 * list of them. tests/fences-groups.test.ts holds every folder to this.
 */
import type { Hypercall, Msr, Paravirt } from './operations.ts';
import { operations } from './operations.ts';

export type GroupName = keyof typeof operations;
export const GROUPS = Object.keys(operations) as readonly GroupName[];

/** What every group may add to the processor's tables, whichever group it is. */
export interface Tables {
  /** By the register's number. */
  msrs?: Readonly<Record<number, Msr>>;
  /** By the hypercall's number. */
  hypercalls?: Readonly<Record<number, Hypercall>>;
}

/** A group's differences: some of its ops, and its own registers and hypercalls. */
export type Group<Name extends GroupName> = Partial<Paravirt[Name]> & Tables;
