/** A PV domain: the shared `Domain` with page types, page-table updates and what each virtual processor adds. */

import type { HypervisorContext } from '../../paravirt/operations.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/paging.ts';
import {
  VMASST_TYPE_pae_extended_cr3,
  XENFEAT_direct_mapped,
  XENFEAT_gnttab_map_avail_bits,
  XENFEAT_highmem_assist,
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_mmu_pt_update_preserve_ad,
  XENFEAT_pae_pgdir_above_4gb,
} from '../xen/constants.ts';
import { Domain, type DomainKind, type Vcpu } from '../xen/domain.ts';
import type { HypercallTable } from '../xen/hypercall.ts';
import type { PvAbi } from './abi.ts';
import { LINEAR_ENTRIES } from './cells.ts';
import { mapGrant, unmapGrant } from './grant-entries.ts';
import { GuestCopy } from './guest-copy.ts';
import { pvHypercalls } from './hypercalls.ts';
import { HypervisorArea, reservedFrames } from './hypervisor-area.ts';
import { PageInfo, PGT_writable_page } from './page-info.ts';
import { PageTypes } from './page-types.ts';
import { PageUpdates } from './page-updates.ts';
import { PvVcpu } from './pv-vcpu.ts';
import { FullRoots, PaeRoots, type Roots } from './roots.ts';
import { processorTlb } from './tlb.ts';

/** The features Xen 4.17 reports to a PV guest. */
const FEATURES = [
  XENFEAT_mmu_pt_update_preserve_ad,
  XENFEAT_highmem_assist,
  XENFEAT_gnttab_map_avail_bits,
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_direct_mapped,
].reduce((bits, feature) => bits | (1 << feature), 0);

/** Bytes of SYSCALL and of INT n. */
const HYPERCALL_LENGTH = 2;

export class PvDomain {
  readonly abi: PvAbi;
  readonly domain: Domain;
  readonly roots: Roots;
  readonly area: HypervisorArea;
  readonly info: PageInfo;
  readonly types: PageTypes;
  readonly updates: PageUpdates;
  readonly copy: GuestCopy;
  readonly vcpus: readonly PvVcpu[];
  readonly hypercalls: HypercallTable;

  constructor(context: HypervisorContext, abi: PvAbi) {
    this.abi = abi;
    this.hypercalls = pvHypercalls(
      () => this,
      abi.hypercalls(() => this),
    );
    const kind = this.#kind();
    const frames = context.memory.size >>> PAGE_SHIFT;
    this.domain = new Domain(context, { kind, reservedFrames: reservedFrames(frames, context.cpus.length, abi) });
    const { domain } = this;
    domain.state.width = abi.width;
    this.area = new HypervisorArea(domain, abi);
    const { rootTables } = this.area;
    this.roots =
      rootTables.length === 0
        ? new FullRoots(context.cpus)
        : new PaeRoots(domain.states, context.memory, context.cpus, rootTables);
    this.info = new PageInfo(domain.states, context.memory, domain.pages);
    const tlb = processorTlb(context.cpus, this.roots);
    this.types = new PageTypes(domain.states, this.info, tlb, this.area.slots, abi);
    this.updates = new PageUpdates(this.types);
    this.copy = new GuestCopy(context.memory, this.info.words, abi);
    this.vcpus = domain.vcpus.map(vcpu => new PvVcpu(vcpu, abi, this.roots));
    this.types.onLinearEntries = count => {
      for (const { state } of this.vcpus) state.cells[LINEAR_ENTRIES] = count;
    };
    for (const { address } of [domain.sharedInfo, ...domain.grants.frames])
      this.info.shareWithGuest(address >>> PAGE_SHIFT);
  }

  /** The states have been replaced: puts what fast paths use where they find it. */
  attach(): void {
    this.info.attach();
    this.types.links.attach();
    for (const v of this.vcpus) v.attach();
  }

  of(vcpu: Vcpu): PvVcpu {
    return this.vcpus[vcpu.id]!;
  }

  #kind(): DomainKind {
    return {
      translated: false,
      hypercallLength: HYPERCALL_LENGTH,
      features: domain =>
        domain.state.assists.has(VMASST_TYPE_pae_extended_cr3)
          ? FEATURES | (1 << XENFEAT_pae_pgdir_above_4gb)
          : FEATURES,
      frame: (_, frame, write) => {
        const { info } = this;
        if (!info.isOwned(frame)) return undefined;
        if (write && info.typeCount[frame] !== 0 && info.type[frame] !== PGT_writable_page) return undefined;
        return frame * PAGE_SIZE;
      },
      hold: (_, frame, write) => {
        const held = write ? this.types.get(frame, PGT_writable_page) === 0 : this.info.get(frame);
        return held ? frame * PAGE_SIZE : undefined;
      },
      release: (_, address, write) => {
        if (write) this.types.put(address >>> PAGE_SHIFT);
        else this.info.put(address >>> PAGE_SHIFT);
      },
      frameNumber: (_, address) => address >>> PAGE_SHIFT,
      upcall: vcpu => vcpu.cpu.attention(),
      upcallDeliverable: vcpu => vcpu.upcallPending && !vcpu.upcallMask,
      read: (vcpu, address, length) => {
        const bytes = new Uint8Array(length);
        return this.copy.read(this.of(vcpu).kernelRoot, address, bytes) ? bytes : undefined;
      },
      write: (vcpu, address, data) => this.copy.write(this.of(vcpu).kernelRoot, address, data),
      readWords: (vcpu, address, into, count) => this.copy.readWords(this.of(vcpu).kernelRoot, address, into, count),
      writeWords: (vcpu, address, from, count) => this.copy.writeWords(this.of(vcpu).kernelRoot, address, from, count),
      width: () => this.abi.width,
      share: (_, address) => this.info.shareWithGuest(address >>> PAGE_SHIFT),
      unshare: (_, frames) => this.info.unshare(frames.map(({ address }) => address >>> PAGE_SHIFT)),
      mapGrant: (vcpu, hostAddress, address, flags) => mapGrant(this, this.of(vcpu), hostAddress, address, flags),
      unmapGrant: (vcpu, hostAddress, address, newAddress, flags) =>
        unmapGrant(this, this.of(vcpu), hostAddress, address, newAddress, flags),
    };
  }
}
