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
  XENFEAT_auto_translated_physmap,
  XENFEAT_hvm_callback_vector,
  XENFEAT_hvm_safe_pvclock,
  XENFEAT_memory_op_vnode_supported,
  XENFEAT_not_direct_mapped,
  XENFEAT_writable_page_tables,
} from '../xen/constants.ts';
import { Domain, type DomainKind, type SharedFrame, type Vcpu } from '../xen/domain.ts';
import { writeWallclock } from '../xen/time.ts';

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
const RESERVED_FRAMES = 256;

interface PvhState {
  /** HVMOP_set_param's values, by HVM_PARAM_ number. */
  parameters: Map<number, bigint>;
  /** HVMOP_set_evtchn_upcall_vector, by processor. */
  upcallVectors: Map<number, number>;
  /** HVM_PARAM_CALLBACK_IRQ of the vector kind: delivered past the local APIC. 0: none. */
  callbackVector: number;
  /** RAM pages the balloon gave back, by frame number: 1 where it did. */
  ballooned: Uint8Array;
  /** Which of the domain's shared frames appear outside RAM, by guest frame number. */
  placed: Map<number, number>;
}

export class PvhDomain {
  readonly domain: Domain;
  readonly state: State<PvhState>;
  /** What takes the frames that `state.placed` names off the bus again, by guest frame number. */
  readonly #onBus = new Map<number, () => void>();

  constructor(context: HypervisorContext) {
    this.domain = new Domain(context, { kind: this.#kind(), reservedFrames: RESERVED_FRAMES });
    const { states, pages } = this.domain;
    this.state = states.state('pvh', 1, () => ({
      parameters: new Map(),
      upcallVectors: new Map(),
      callbackVector: 0,
      ballooned: new Uint8Array(pages),
      placed: new Map(),
    }));
  }

  /** The states are about to be replaced: the frames outside RAM leave the bus. */
  restoring(): void {
    for (const unmap of this.#onBus.values()) unmap();
    this.#onBus.clear();
  }

  /** The states have been replaced: the frames outside RAM go where they say. */
  restored(): void {
    for (const [gpfn, index] of this.state.placed) this.#mapOnBus(this.domain.frames[index]!, gpfn);
  }

  of(cpu: Processor): Vcpu {
    return this.domain.vcpus[cpu.id]!;
  }

  /** True if frame number `frame` is guest RAM that the balloon has not taken. */
  isRam(frame: number): boolean {
    return frame >= 0 && frame < this.domain.pages && !this.state.ballooned[frame];
  }

  /**
   * XENMEM_add_to_physmap: lets a frame of the hypervisor's appear at guest frame number `gpfn`. In RAM, that page
   * takes the frame's place; elsewhere the frame is put on the bus. @returns false if there is no room for it.
   */
  place(shared: SharedFrame, gpfn: number): boolean {
    if (this.isRam(gpfn)) {
      this.#move(shared, gpfn * PAGE_SIZE);
      return true;
    }
    if (gpfn < this.domain.memory.size >>> PAGE_SHIFT) return false;
    this.removePlace(gpfn);
    if (!this.#mapOnBus(shared, gpfn)) return false;
    this.state.placed.set(gpfn, shared.index);
    return true;
  }

  /** @returns false if a device of the platform's is there. */
  #mapOnBus(shared: SharedFrame, gpfn: number): boolean {
    const { memory, context } = this.domain;
    const handler: BusHandler = {
      read: (offset, width) =>
        width === 1
          ? memory.read8(shared.address + offset)
          : width === 2
            ? memory.read16(shared.address + offset)
            : memory.read32(shared.address + offset),
      write: (offset, width, value) => {
        if (width === 1) memory.write8(shared.address + offset, value);
        else if (width === 2) memory.write16(shared.address + offset, value);
        else memory.write32(shared.address + offset, value);
      },
    };
    const address = gpfn * PAGE_SIZE;
    if (context.mmio.find(address) || context.mmio.find(address + PAGE_SIZE - 1)) return false;
    this.#onBus.set(gpfn, context.mmio.map(`xen-frame-${gpfn.toString(16)}`, address, PAGE_SIZE, handler));
    return true;
  }

  /** XENMEM_remove_from_physmap. @returns false if nothing of the hypervisor's, nor RAM, is there. */
  removePlace(gpfn: number): boolean {
    this.#onBus.get(gpfn)?.();
    this.#onBus.delete(gpfn);
    const wasPlaced = this.state.placed.delete(gpfn);
    for (const shared of this.domain.frames)
      if (shared.address === gpfn * PAGE_SIZE && shared.address !== shared.home) this.#move(shared, shared.home);
    return wasPlaced || this.isRam(gpfn);
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
      if (this.isRam(frame)) return address;
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
