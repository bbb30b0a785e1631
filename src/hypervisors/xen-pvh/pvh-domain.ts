/**
 * A PVH domain: frame numbers are guest-physical page numbers, and events arrive as interrupts of the local APIC or,
 * for guests that ask for it the older way, past it.
 */

import type { BusHandler } from '../../memory/bus.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/paging.ts';
import {
  EINVAL,
  EPERM,
  XENFEAT_auto_translated_physmap,
  XENFEAT_hvm_callback_vector,
  XENFEAT_hvm_safe_pvclock,
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_not_direct_mapped,
  XENFEAT_writable_page_tables,
} from '../xen/constants.ts';
import { Domain, type DomainKind, MAX_FRAME, type SharedFrame, type Vcpu } from '../xen/domain.ts';
import { GNTMAP_contains_pte, GNTMAP_host_map, GNTMAP_readonly } from '../xen/grant-mappings.ts';
import { GNTST_general_error, GNTST_okay } from '../xen/grant-status.ts';
import { writeWallclock } from '../xen/time.ts';
import { Balloon } from './balloon.ts';

/** The features Xen 4.17 reports to a PVH guest. */
const FEATURES = [
  XENFEAT_writable_page_tables,
  XENFEAT_auto_translated_physmap,
  XENFEAT_hvm_callback_vector,
  XENFEAT_hvm_safe_pvclock,
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_not_direct_mapped,
].reduce((bits, feature) => bits | (1 << feature), 0);

/** Bytes of VMCALL and VMMCALL. */
const VMCALL_LENGTH = 3;

/**
 * Pages kept from the guest's RAM: the shared frames, and the ACPI tables. 1 MiB, so that RAM ends at a round number.
 */
export const RESERVED_FRAMES = 256;

interface PvhState {
  /** HVMOP_set_param's values, by HVM_PARAM_ number. */
  parameters: Map<number, bigint>;
  /** HVMOP_set_evtchn_upcall_vector, by processor. */
  upcallVectors: Map<number, number>;
  /** HVM_PARAM_CALLBACK_IRQ of the vector kind: delivered past the local APIC. 0: none. */
  callbackVector: number;
  /** Which of the domain's shared frames appear outside RAM, by guest frame number. */
  placed: Map<number, number>;
  /** Pages that the guest has granted to itself and mapped, by guest frame number. */
  granted: Map<number, GrantedPlace>;
}

interface GrantedPlace {
  /** Guest-physical address of the page's memory. */
  address: number;
  readOnly: boolean;
}

export class PvhDomain {
  readonly domain: Domain;
  readonly state: State<PvhState>;
  readonly balloon: Balloon;
  /** What takes the frames that `state.placed` names off the bus again, by guest frame number. */
  readonly #onBus = new Map<number, () => void>();

  constructor(context: HypervisorContext) {
    this.domain = new Domain(context, { kind: this.#kind(), reservedFrames: RESERVED_FRAMES });
    this.balloon = new Balloon(this.domain, {
      isFree: gpfn => !this.#isMemory(gpfn) && !this.domain.context.mmio.find(gpfn * PAGE_SIZE),
      appear: (gpfn, at) => void this.#mapOnBus(gpfn, at, false),
      disappear: gpfn => this.#leaveBus(gpfn),
    });
    const { states } = this.domain;
    this.state = states.state('pvh', 2, () => ({
      parameters: new Map(),
      upcallVectors: new Map(),
      callbackVector: 0,
      placed: new Map(),
      granted: new Map(),
    }));
  }

  /** The states are about to be replaced: the frames outside RAM leave the bus. */
  restoring(): void {
    for (const unmap of this.#onBus.values()) unmap();
    this.#onBus.clear();
  }

  /** The states have been replaced: the frames outside RAM go where they say. */
  restored(): void {
    for (const [gpfn, index] of this.state.placed) this.#mapShared(this.domain.frames[index]!, gpfn);
    for (const [gpfn, { address, readOnly }] of this.state.granted)
      if (!this.#isMemory(gpfn)) this.#mapOnBus(gpfn, () => address, readOnly);
    this.balloon.restored();
  }

  of(cpu: Processor): Vcpu {
    return this.domain.vcpus[cpu.id]!;
  }

  /** True if frame number `frame` is guest RAM that the balloon has not taken. */
  isRam(frame: number): boolean {
    return frame < this.domain.pages && this.balloon.address(frame) !== undefined;
  }

  /**
   * XENMEM_add_to_physmap: lets a frame of the hypervisor's appear at guest frame number `gpfn`. In RAM, that page
   * takes the frame's place; elsewhere the frame is put on the bus. @returns false if there is no room for it.
   */
  place(shared: SharedFrame, gpfn: number): boolean {
    if (gpfn < this.domain.pages) {
      if (!this.balloon.reclaim(gpfn)) return false;
      this.#move(shared, gpfn * PAGE_SIZE);
      return true;
    }
    if (this.#isMemory(gpfn) || this.state.granted.has(gpfn)) return false;
    this.removePlace(gpfn);
    if (!this.#mapShared(shared, gpfn)) return false;
    this.state.placed.set(gpfn, shared.index);
    return true;
  }

  #isMemory(gpfn: number): boolean {
    return gpfn < this.domain.memory.size >>> PAGE_SHIFT;
  }

  /** @returns false if a device of the platform's is there. */
  #mapShared(shared: SharedFrame, gpfn: number): boolean {
    return this.#mapOnBus(gpfn, () => shared.address, false);
  }

  /** Lets the page at `at` appear outside RAM. @returns false if a device of the platform's is there */
  #mapOnBus(gpfn: number, at: () => number, readOnly: boolean): boolean {
    const { memory, context } = this.domain;
    const handler: BusHandler = {
      read: (offset, width) =>
        width === 1
          ? memory.read8(at() + offset)
          : width === 2
            ? memory.read16(at() + offset)
            : memory.read32(at() + offset),
      write: (offset, width, value) => {
        if (readOnly) return;
        if (width === 1) memory.write8(at() + offset, value);
        else if (width === 2) memory.write16(at() + offset, value);
        else memory.write32(at() + offset, value);
      },
    };
    const address = gpfn * PAGE_SIZE;
    if (context.mmio.find(address) || context.mmio.find(address + PAGE_SIZE - 1)) return false;
    this.#onBus.set(gpfn, context.mmio.map(`xen-frame-${gpfn.toString(16)}`, address, PAGE_SIZE, handler));
    return true;
  }

  /**
   * GNTTABOP_map_grant_ref of one's own grant. A page has one place among a guest's frames: in RAM, it moves to the new
   * one, and the old one is a hole. Outside RAM it appears on the bus, and the old place stays, too.
   */
  #mapGrant(hostAddress: bigint, address: number, flags: number, first: boolean): number {
    const gpfn = hostAddress >> BigInt(PAGE_SHIFT);
    const { state, domain } = this;
    if ((flags & ~GNTMAP_readonly) !== GNTMAP_host_map || gpfn >= MAX_FRAME) return GNTST_general_error;
    const target = Number(gpfn);
    if (state.granted.has(target)) return GNTST_general_error;
    const readOnly = (flags & GNTMAP_readonly) !== 0;
    if (!this.#isMemory(target)) {
      this.removePlace(target);
      if (!this.#mapOnBus(target, () => address, readOnly)) return GNTST_general_error;
      state.granted.set(target, { address, readOnly });
      return address;
    }
    if (!first || target >= domain.pages) return GNTST_general_error;
    const place = target * PAGE_SIZE;
    if (place !== address) {
      domain.memory.copyIn(place, domain.memory.copyOut(address, PAGE_SIZE));
      if (address < domain.pages * PAGE_SIZE) this.balloon.setHole(address >>> PAGE_SHIFT, true);
      this.balloon.setHole(target, false);
    }
    state.granted.set(target, { address: place, readOnly });
    return place;
  }

  #unmapGrant(hostAddress: bigint, address: number, newAddress: bigint, flags: number): number {
    const gpfn = Number(hostAddress >> BigInt(PAGE_SHIFT));
    const { granted } = this.state;
    if (newAddress !== 0n || flags & GNTMAP_contains_pte || granted.get(gpfn)?.address !== address)
      return GNTST_general_error;
    granted.delete(gpfn);
    if (this.#isMemory(gpfn)) this.balloon.setHole(gpfn, true);
    else this.#leaveBus(gpfn);
    return GNTST_okay;
  }

  #leaveBus(gpfn: number): void {
    this.#onBus.get(gpfn)?.();
    this.#onBus.delete(gpfn);
  }

  /**
   * XENMEM_add_to_physmap of the guest's own page at `from`: it moves to `to`, whose page is given back. 0 or a negated
   * error.
   */
  movePage(from: bigint, to: bigint): number {
    const { domain, balloon } = this;
    const source = from < MAX_FRAME ? balloon.address(Number(from)) : undefined;
    const isShared = domain.frames.some(({ address }) => address === source);
    if (source === undefined || isShared || to >= MAX_FRAME) return -EINVAL;
    if (from === to) return 0;
    const target = Number(to);
    const page = domain.memory.copyOut(source, PAGE_SIZE);
    balloon.giveBack(Number(from));
    if (balloon.address(target) !== undefined) balloon.giveBack(target);
    if (!balloon.populate(target)) {
      balloon.populate(Number(from));
      domain.memory.copyIn(balloon.address(Number(from))!, page);
      return -EPERM;
    }
    domain.memory.copyIn(balloon.address(target)!, page);
    return 0;
  }

  /** XENMEM_remove_from_physmap. @returns false if nothing of the hypervisor's, nor RAM, is there. */
  removePlace(gpfn: number): boolean {
    if (this.state.granted.has(gpfn)) return false;
    if (!this.#isMemory(gpfn) && this.balloon.giveBack(gpfn)) return true;
    this.#leaveBus(gpfn);
    const wasPlaced = this.state.placed.delete(gpfn);
    for (const shared of this.domain.frames)
      if (shared.address === gpfn * PAGE_SIZE && shared.address !== shared.home) this.#move(shared, shared.home);
    return wasPlaced || this.balloon.address(gpfn) !== undefined;
  }

  /** A shared frame appears nowhere any more. */
  #unplace(shared: SharedFrame): void {
    for (const [gpfn, index] of [...this.state.placed]) if (index === shared.index) this.removePlace(gpfn);
    if (shared.address !== shared.home) this.#move(shared, shared.home);
  }

  #move(shared: SharedFrame, address: number): void {
    const { memory } = this.domain;
    memory.copyIn(address, memory.copyOut(shared.address, PAGE_SIZE));
    shared.address = address;
  }

  /** The points at which Xen looks whether the guest is a 32- or a 64-bit one, and lays shared_info out accordingly. */
  latchWidth(cpu: Processor): void {
    this.domain.state.width = cpu.mode === 64 ? 64 : 32;
    writeWallclock(this.domain);
  }

  #kind(): DomainKind {
    const frame: DomainKind['frame'] = (domain, frame) => {
      const address = frame * PAGE_SIZE;
      const page = this.balloon.address(frame);
      if (page !== undefined) return page;
      const index = this.state.placed.get(frame);
      if (index !== undefined) return domain.frames[index]!.address;
      return address === domain.consoleRing.address || address === domain.xenstoreRing.address ? address : undefined;
    };
    return {
      frame,
      // A guest's page tables do not change what a frame is.
      hold: frame,
      release: () => {},
      translated: true,
      hypercallLength: VMCALL_LENGTH,
      features: () => FEATURES,
      frameNumber: (_, address) => {
        for (const [gpfn, index] of this.state.placed) if (this.domain.frames[index]!.address === address) return gpfn;
        return address >>> PAGE_SHIFT;
      },
      upcall: vcpu => {
        const vector = this.state.upcallVectors.get(vcpu.id);
        if (vector !== undefined) vcpu.cpu.interrupts?.request(vector);
        else vcpu.cpu.attention();
      },
      upcallDeliverable: vcpu => vcpu.upcallPending || (vcpu.cpu.interrupts?.pending() ?? false),
      width: vcpu => (vcpu.cpu.mode === 64 ? 64 : 32),
      // The guest says itself where it wants to see a page: see `place`.
      share: () => {},
      unshare: (_, frames) => {
        for (const frame of frames) this.#unplace(frame);
        return true;
      },
      mapGrant: (_, hostAddress, address, flags, first) => this.#mapGrant(hostAddress, address, flags, first),
      unmapGrant: (_, hostAddress, address, newAddress, flags) =>
        this.#unmapGrant(hostAddress, address, newAddress, flags),
      read: (vcpu, address, length) => vcpu.cpu.read(address, length),
      write: (vcpu, address, data) => vcpu.cpu.write(address, data),
      readWords: (vcpu, address, into, count) => {
        const bytes = vcpu.cpu.read(address, 4 * count);
        if (bytes) new Uint8Array(into.buffer, into.byteOffset).set(bytes);
        return bytes !== undefined;
      },
      writeWords: (vcpu, address, from, count) =>
        vcpu.cpu.write(address, new Uint8Array(from.buffer, from.byteOffset, 4 * count)),
    };
  }
}
