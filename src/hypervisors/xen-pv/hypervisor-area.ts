/**
 * Xen's part of a PV guest's address space: L4 slots 256 to 271, the same under every root. Two slots are filled. 256
 * maps the machine-to-physical table, readable by the guest. 260 maps each virtual processor's descriptor tables where
 * the guest cannot see them but the processor can: GDT pages 0 to 13 are the guest's, 14 and 15 Xen's, and after them
 * comes room for the LDT, whose pages come in when they are touched.
 */

import type { GuestMemory } from '../../memory/memory.ts';
import { PAGE_SHIFT, PAGE_SIZE, PTE_A, PTE_D, PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';
import { type Domain, SHARED_FRAMES } from '../xen/domain.ts';
import { FIRST_RESERVED_GDT_ENTRY, FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS } from './descriptor-check.ts';
import { FIRST_XEN_SLOT, LAST_XEN_SLOT } from './page-table-entry.ts';

/** RO_MPT_VIRT_START: where the guest reads the machine-to-physical table. */
export const M2P_START = 0xffff800000000000n;
/** Where the descriptor tables of the virtual processors stand (Xen's PERDOMAIN slot). */
const PERDOMAIN_START = 0xffff820000000000n;
const PERDOMAIN_SLOT = 260;
/** Pages of a GDT and of an LDT: 64 KiB each. */
export const TABLE_PAGES = 16;
/** Pages of the GDT that the guest provides. */
export const GUEST_GDT_PAGES = 14;
/** One L1 table holds the descriptor tables of this many processors. */
export const MAXIMUM_VCPUS = 512 / (2 * TABLE_PAGES);

const HYPERVISOR_RW = PTE_P | PTE_RW | PTE_A | PTE_D;
const HYPERVISOR_RO = PTE_P | PTE_A;
const GUEST_RO = PTE_P | PTE_US | PTE_A;

const m2pPages = (frames: number) => Math.ceil((frames * 8) / PAGE_SIZE);
const m2pTables = (frames: number) => Math.ceil(m2pPages(frames) / 512);

/** Frames at the top of memory that are the hypervisor's, in a machine of `frames` in all. */
export function reservedFrames(frames: number): number {
  const perDomain = 3 + 2; // L3, L2 and L1 tables; Xen's GDT page and the page of zeros
  return SHARED_FRAMES + m2pPages(frames) + m2pTables(frames) + 2 + perDomain;
}

export class HypervisorArea {
  /** What every L4 table holds in slots 256 to 271. */
  readonly slots = new Uint32Array(2 * (LAST_XEN_SLOT - FIRST_XEN_SLOT + 1));
  readonly #memory: GuestMemory;
  /** Guest-physical address of the machine-to-physical table: 8 bytes a frame. */
  readonly #m2p: number;
  /** Guest-physical address of the L1 table that maps the descriptor tables. */
  readonly #perDomainL1: number;
  readonly #zeroPage: number;
  /** Guest-physical address of Xen's page of the GDT. */
  readonly #xenGdt: number;

  constructor(domain: Domain) {
    this.#memory = domain.memory;
    const frames = domain.memory.size >>> PAGE_SHIFT;
    this.#m2p = domain.reserveFrame(m2pPages(frames));
    this.#memory.bytes.fill(0xff, this.#m2p, this.#m2p + m2pPages(frames) * PAGE_SIZE);
    this.#mapM2p(domain, m2pPages(frames));
    this.#zeroPage = domain.reserveFrame();
    this.#xenGdt = domain.reserveFrame();
    this.#perDomainL1 = domain.reserveFrame();
    const l2 = domain.reserveFrame();
    const l3 = domain.reserveFrame();
    this.#entry(l2, 0, this.#perDomainL1, HYPERVISOR_RW);
    this.#entry(l3, 0, l2, HYPERVISOR_RW);
    this.#slot(PERDOMAIN_SLOT, l3, HYPERVISOR_RW);
    this.#fillXenGdt();
    for (let vcpu = 0; vcpu < domain.vcpus.length; vcpu++) {
      for (let page = 0; page < GUEST_GDT_PAGES; page++) this.setGdtPage(vcpu, page, undefined);
      this.#entry(this.#perDomainL1, vcpu * 2 * TABLE_PAGES + GUEST_GDT_PAGES, this.#xenGdt, HYPERVISOR_RW);
      this.#entry(this.#perDomainL1, vcpu * 2 * TABLE_PAGES + GUEST_GDT_PAGES + 1, this.#zeroPage, HYPERVISOR_RO);
    }
  }

  setM2p(frame: number, low: number, high: number): void {
    this.#memory.view.setUint32(this.#m2p + frame * 8, low, true);
    this.#memory.view.setUint32(this.#m2p + frame * 8 + 4, high, true);
  }

  /** The frame has no place in the guest's memory: INVALID_M2P_ENTRY. */
  clearM2p(frame: number): void {
    this.setM2p(frame, 0xffffffff, 0xffffffff);
  }

  m2p(frame: number): bigint {
    return this.#memory.read64(this.#m2p + frame * 8);
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
    const l3 = domain.reserveFrame();
    const l2 = domain.reserveFrame();
    this.#slot(FIRST_XEN_SLOT, l3, GUEST_RO);
    this.#entry(l3, 0, l2, GUEST_RO);
    for (let first = 0; first < pages; first += 512) {
      const l1 = domain.reserveFrame();
      this.#entry(l2, first / 512, l1, GUEST_RO);
      for (let i = 0; i < 512 && first + i < pages; i++)
        this.#entry(l1, i, this.#m2p + (first + i) * PAGE_SIZE, GUEST_RO);
    }
  }

  #fillXenGdt(): void {
    const set = (selector: number, descriptor: bigint) => {
      this.#memory.write64(this.#xenGdt + ((selector >>> 3) - FIRST_RESERVED_GDT_ENTRY) * 8, descriptor);
    };
    // Present, DPL 3, accessed already; code with L or D (SDM 3A 3.4.5).
    set(FLAT_RING3_CS32, 0x00cffb000000ffffn);
    set(FLAT_RING3_SS, 0x00cff3000000ffffn);
    set(FLAT_RING3_CS64, 0x00affb000000ffffn);
  }

  #entry(table: number, index: number, address: number, flags: number): void {
    this.#memory.write64(table + index * 8, BigInt(address) | BigInt(flags));
  }

  #slot(slot: number, address: number, flags: number): void {
    this.slots[2 * (slot - FIRST_XEN_SLOT)] = (address | flags) >>> 0;
  }
}
