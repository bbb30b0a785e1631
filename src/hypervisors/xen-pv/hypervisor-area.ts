/**
 * Xen's part of a PV guest's address space, the same under every root. The machine-to-physical table stands in it,
 * readable by the guest: in L4 slot 256 of a 64-bit guest, and in the last slots of the last level 2 table of a 32-bit
 * one. L4 slot 260 maps each virtual processor's descriptor tables where the guest cannot see them but the processor can:
 * GDT pages 0 to 13 are the guest's, 14 and 15 Xen's, and after them comes room for the LDT, whose pages come in when they
 * are touched.
 */

import type { GuestMemory } from '../../memory/memory.ts';
import { PAGE_SHIFT, PAGE_SIZE, PTE_A, PTE_D, PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';
import { type Domain, hiddenFrames, SHARED_FRAMES } from '../xen/domain.ts';
import type { PvAbi } from './abi.ts';
import { FIRST_RESERVED_GDT_ENTRY } from './descriptor-check.ts';
import { PAE_ROOT_TABLES } from './roots.ts';

/** Where the descriptor tables of the virtual processors stand (Xen's PERDOMAIN slot). */
const PERDOMAIN_START = 0xffff820000000000n;
const PERDOMAIN_SLOT = 260;
/** Pages of a GDT and of an LDT: 64 KiB each. */
export const TABLE_PAGES = 16;
/** Pages of the GDT that the guest provides. */
export const GUEST_GDT_PAGES = 14;
/** One L1 table holds the descriptor tables of this many processors. */
const VCPUS_A_TABLE = 512 / (2 * TABLE_PAGES);
/** As many as a machine here has at most: their descriptor tables are in one L2 table with room for more. */
export const MAXIMUM_VCPUS = 64;

const HYPERVISOR_RW = PTE_P | PTE_RW | PTE_A | PTE_D;
const HYPERVISOR_RO = PTE_P | PTE_A;
const GUEST_RO = PTE_P | PTE_US | PTE_A;

const m2pPages = (frames: number, abi: PvAbi) => Math.ceil((frames * abi.long) / PAGE_SIZE);
const m2pTables = (frames: number, abi: PvAbi) => Math.ceil(m2pPages(frames, abi) / 512);
/** L4 tables of Xen's. */
const rootTables = (abi: PvAbi) => (abi.levels === 4 ? 0 : PAE_ROOT_TABLES);

/** L1 tables for the descriptor tables of so many processors. */
const perDomainTables = (cpus: number) => Math.ceil(cpus / VCPUS_A_TABLE);

/** Frames at the top of memory that are the hypervisor's, in a machine of `frames` in all. */
export function reservedFrames(frames: number, cpus: number, abi: PvAbi): number {
  const perDomain = 2 + perDomainTables(cpus) + 2; // L3, L2 and L1 tables; Xen's GDT page and the page of zeros
  return (
    SHARED_FRAMES +
    hiddenFrames(cpus) +
    m2pPages(frames, abi) +
    m2pTables(frames, abi) +
    2 +
    perDomain +
    rootTables(abi)
  );
}

export class HypervisorArea {
  /** What every table of the type that has entries of Xen's holds there. */
  readonly slots: Uint32Array;
  /** Guest-physical addresses of Xen's L4 tables, to which the roots of a 32-bit guest are linked. */
  readonly rootTables: readonly number[];
  readonly #abi: PvAbi;
  readonly #memory: GuestMemory;
  /** Guest-physical address of the machine-to-physical table: a long for each frame. */
  readonly #m2p: number;
  /** Guest-physical address of the L1 tables that map the descriptor tables: they follow one another. */
  readonly #perDomainL1: number;
  readonly #zeroPage: number;
  /** Guest-physical address of Xen's page of the GDT. */
  readonly #xenGdt: number;

  constructor(domain: Domain, abi: PvAbi) {
    this.#abi = abi;
    this.#memory = domain.memory;
    this.slots = new Uint32Array(2 * (abi.xenSlots.last - abi.xenSlots.first + 1));
    const frames = domain.memory.size >>> PAGE_SHIFT;
    const pages = m2pPages(frames, abi);
    this.#m2p = domain.reserveFrame(pages);
    this.#memory.fill(this.#m2p, pages * PAGE_SIZE, 0xff);
    this.#mapM2p(domain, pages);
    this.rootTables = Array.from({ length: rootTables(abi) }, () => domain.reserveFrame());
    this.#zeroPage = domain.reserveFrame();
    this.#xenGdt = domain.reserveFrame();
    const l1s = perDomainTables(domain.vcpus.length);
    this.#perDomainL1 = domain.reserveFrame(l1s);
    const l2 = domain.reserveFrame();
    const l3 = domain.reserveFrame();
    for (let i = 0; i < l1s; i++) this.#entry(l2, i, this.#perDomainL1 + i * PAGE_SIZE, HYPERVISOR_RW);
    this.#entry(l3, 0, l2, HYPERVISOR_RW);
    if (abi.levels === 4) this.#slot(PERDOMAIN_SLOT - abi.xenSlots.first, l3, HYPERVISOR_RW);
    for (const table of this.rootTables) this.#entry(table, PERDOMAIN_SLOT, l3, HYPERVISOR_RW);
    this.#fillXenGdt();
    for (let vcpu = 0; vcpu < domain.vcpus.length; vcpu++) {
      for (let page = 0; page < GUEST_GDT_PAGES; page++) this.setGdtPage(vcpu, page, undefined);
      this.#entry(this.#perDomainL1, vcpu * 2 * TABLE_PAGES + GUEST_GDT_PAGES, this.#xenGdt, HYPERVISOR_RW);
      this.#entry(this.#perDomainL1, vcpu * 2 * TABLE_PAGES + GUEST_GDT_PAGES + 1, this.#zeroPage, HYPERVISOR_RO);
    }
  }

  /** The page of `frame`; its upper half counts for what is longer than a 32-bit guest's entry. */
  setM2p(frame: number, low: number, high: number): void {
    const at = this.#m2p + frame * this.#abi.long;
    this.#memory.view.setUint32(at, low, true);
    if (this.#abi.long === 8) this.#memory.view.setUint32(at + 4, high, true);
  }

  /** The frame has no place in the guest's memory: INVALID_M2P_ENTRY. */
  clearM2p(frame: number): void {
    this.setM2p(frame, 0xffffffff, 0xffffffff);
  }

  m2p(frame: number): bigint {
    const at = this.#m2p + frame * this.#abi.long;
    return this.#abi.long === 8 ? this.#memory.read64(at) : BigInt(this.#memory.read32(at));
  }

  gdtBase(vcpu: number): bigint {
    return PERDOMAIN_START + BigInt(vcpu * 2 * TABLE_PAGES * PAGE_SIZE);
  }

  ldtBase(vcpu: number): bigint {
    return this.gdtBase(vcpu) + BigInt(TABLE_PAGES * PAGE_SIZE);
  }

  /** Page `page` of a processor's GDT is `frame`, or all zeros. The processor marks descriptors as accessed there. */
  setGdtPage(vcpu: number, page: number, frame: number | undefined): void {
    const index = vcpu * 2 * TABLE_PAGES + page;
    if (frame === undefined) this.#entry(this.#perDomainL1, index, this.#zeroPage, HYPERVISOR_RO);
    else this.#entry(this.#perDomainL1, index, frame * PAGE_SIZE, HYPERVISOR_RW);
  }

  /** Page `page` of a processor's LDT is `frame`, or not there. */
  setLdtPage(vcpu: number, page: number, frame: number | undefined): void {
    const index = vcpu * 2 * TABLE_PAGES + TABLE_PAGES + page;
    if (frame === undefined) this.#entry(this.#perDomainL1, index, 0, 0);
    else this.#entry(this.#perDomainL1, index, frame * PAGE_SIZE, HYPERVISOR_RW);
  }

  /** The frame of page `page` (0 to 31: GDT, then LDT) of a processor's tables; undefined where nothing is mapped. */
  tablePage(vcpu: number, page: number): number | undefined {
    const low = this.#memory.read32(this.#perDomainL1 + (vcpu * 2 * TABLE_PAGES + page) * 8);
    return low & PTE_P ? low >>> PAGE_SHIFT : undefined;
  }

  #mapM2p(domain: Domain, pages: number): void {
    const l1s: number[] = [];
    for (let first = 0; first < pages; first += 512) {
      const l1 = domain.reserveFrame();
      for (let i = 0; i < 512 && first + i < pages; i++)
        this.#entry(l1, i, this.#m2p + (first + i) * PAGE_SIZE, GUEST_RO);
      l1s.push(l1);
    }
    if (this.#abi.levels === 3) {
      for (const [i, l1] of l1s.entries()) this.#slot(i, l1, GUEST_RO);
      return;
    }
    const l3 = domain.reserveFrame();
    const l2 = domain.reserveFrame();
    this.#slot(0, l3, GUEST_RO);
    this.#entry(l3, 0, l2, GUEST_RO);
    for (const [i, l1] of l1s.entries()) this.#entry(l2, i, l1, GUEST_RO);
  }

  #fillXenGdt(): void {
    for (const [selector, descriptor] of this.#abi.descriptors)
      this.#memory.write64(this.#xenGdt + ((selector >>> 3) - FIRST_RESERVED_GDT_ENTRY) * 8, descriptor);
  }

  #entry(table: number, index: number, address: number, flags: number): void {
    this.#memory.write64(table + index * 8, BigInt(address) | BigInt(flags));
  }

  /** Entry `index` of those that are Xen's. */
  #slot(index: number, address: number, flags: number): void {
    this.slots[2 * index] = (address | flags) >>> 0;
  }
}
