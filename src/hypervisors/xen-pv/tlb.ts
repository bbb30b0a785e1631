/**
 * What page-table changes mean to the TLB. Xen sees every change of a page table, so nothing here waits for the guest
 * to ask: the addresses that a changed entry translated are dropped at once, under every root, and a root that goes
 * away takes its translations with it. What is held is therefore always true, a context switch drops nothing, and the
 * guest's own requests to flush have nothing left to do.
 */
import type { Processor } from '../../paravirt/processor.ts';
import type { Roots } from './roots.ts';

export interface Tlb {
  /** One linear page (address >> 12, 36 bits) is translated differently from now on, under whatever root. */
  page(pageNumber: number): void;
  /** The table `frame` is no longer a root. */
  root(frame: number): void;
  /** More has changed than can be told. */
  all(): void;
}

export function processorTlb(cpus: readonly Processor[], roots: Roots): Tlb {
  return {
    page(pageNumber) {
      const linear = BigInt.asUintN(64, BigInt.asIntN(48, BigInt(pageNumber) << 12n));
      for (const cpu of cpus) cpu.invalidatePage(linear);
    },
    root(frame) {
      roots.drop(frame);
    },
    all() {
      for (const cpu of cpus) cpu.flush(true);
    },
  };
}
