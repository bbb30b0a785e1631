/**
 * One Xen domain: what the hypervisor keeps for it, whether it is a PV or a PVH guest. The two kinds differ in two
 * things only: how a frame number becomes memory, and how an upcall reaches the processor. `DomainKind` is those two
 * things.
 *
 * Frames the hypervisor owns (shared_info, grant table, rings, and for PV the m2p) are the topmost pages of guest RAM:
 * the guest's memory map and its nr_pages end below them. They are ordinary RAM to the engine, so guest page tables may
 * map them.
 */

import type { MemoryRange } from '../../boot/e820.ts';
import { Xenstore } from '../../devices/xen/xenstore.ts';
import type { Timer } from '../../host/clock.ts';
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { type State, type States, scoped } from '../../state/state.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/paging.ts';
import { CallFrame } from './call-frame.ts';
import { DOMAIN_ID, DOMID_SELF, RUNSTATE_offline, RUNSTATE_running } from './constants.ts';
import { EventChannels } from './event-channels.ts';
import { statusFramesOf } from './grant-entries.ts';
import { GrantMappings } from './grant-mappings.ts';
import { GrantTable } from './grant-table.ts';
import { layout32, layout64, type SharedInfoLayout, VCPU_INFO_SIZE } from './shared-info.ts';
import { VcpuTime } from './time.ts';

/** What makes a domain a PV or a PVH one. */
export interface DomainKind {
  /** Frame numbers are guest-physical page numbers, which the hypervisor translates (HVM and PVH). */
  translated: boolean;
  /** XENVER_get_features, submap 0. */
  features(domain: Domain): number;
  /**
   * Guest-physical address of the page that a frame number of the guest's names (an MFN in PV, a GFN in PVH), for
   * the hypervisor or a back end to read, or with `write` also to write. Undefined: no such frame, or not this domain's
   * to use so.
   */
  frame(domain: Domain, frame: number, write: boolean): number | undefined;
  /**
   * As `frame`, but for longer: the page stays fit for it until `release`. In PV it keeps a reference, so that a page
   * which somebody writes to cannot become a page table meanwhile.
   */
  hold(domain: Domain, frame: number, write: boolean): number | undefined;
  /** Ends a `hold` of the page at guest-physical `address`. */
  release(domain: Domain, address: number, write: boolean): void;
  /** The frame number under which the guest knows the page at guest-physical `address`. */
  frameNumber(domain: Domain, address: number): number;
  /** vcpu_info.evtchn_upcall_pending has become 1: see that the processor notices (it may be halted). */
  upcall(vcpu: Vcpu): void;
  /** True if an upcall would be taken now: what ends SCHEDOP_block. */
  upcallDeliverable(vcpu: Vcpu): boolean;
  /**
   * Copies from a guest-virtual pointer argument; undefined for -EFAULT. Whatever the guest's rights are in its kernel.
   */
  read(vcpu: Vcpu, address: bigint, length: number): Uint8Array | undefined;
  /** Copies to a guest-virtual pointer argument, all or nothing; false for -EFAULT. */
  write(vcpu: Vcpu, address: bigint, data: Uint8Array): boolean;
  /** As `read`, for 32-bit words: fills the first `count` of `into`; false for -EFAULT. */
  readWords(vcpu: Vcpu, address: bigint, into: Uint32Array, count: number): boolean;
  /** As `write`, for the first `count` words of `from`. */
  writeWords(vcpu: Vcpu, address: bigint, from: Uint32Array, count: number): boolean;
  /** Width of the pointers and longs of a guest that makes a hypercall now. */
  width(vcpu: Vcpu): 32 | 64;
  /** The guest may map the hypervisor's page at guest-physical `address` from now on. */
  share(domain: Domain, address: number): void;
  /** The opposite, of all of `frames` or none. @returns false if the guest has one of them mapped */
  unshare(domain: Domain, frames: readonly SharedFrame[]): boolean;
  /**
   * Maps a page of the domain's that it has granted to itself, and that is held for it, at `hostAddress`, as the
   * GNTMAP_ `flags` say. `first`: nobody else uses the grant.
   * @returns the page's address from now on, or a negative GNTST_
   */
  mapGrant(vcpu: Vcpu, hostAddress: bigint, address: number, flags: number, first: boolean): number;
  /** Ends a `mapGrant`, or lets the page mapped at `newAddress` take its place, unless that is 0. @returns a GNTST_ */
  unmapGrant(vcpu: Vcpu, hostAddress: bigint, address: number, newAddress: bigint, flags: number): number;
  /** Bytes of the instruction that makes a hypercall: what RIP goes back by to repeat one that was not finished. */
  hypercallLength: number;
}

/** A page of the hypervisor's that the guest sees somewhere. In PVH the guest says where, so the address may change. */
export class SharedFrame {
  /** Its number among the domain's shared frames. */
  readonly index: number;
  /** The reserved page where it stands from the beginning. */
  readonly home: number;
  readonly #state: State<{ addresses: number[] }>;

  constructor(state: State<{ addresses: number[] }>, index: number) {
    this.#state = state;
    this.index = index;
    this.home = this.address;
  }

  /** Guest-physical address, 4096-aligned. */
  get address(): number {
    return this.#state.addresses[this.index]!;
  }

  set address(address: number) {
    this.#state.addresses[this.index] = address;
  }
}

export interface DomainOptions {
  kind: DomainKind;
  /** Pages at the top of RAM that are the hypervisor's. At least `SHARED_FRAMES`. */
  reservedFrames: number;
}

/** Grant table frames at most (Xen's default gnttab_max_frames). */
export const MAX_GRANT_FRAMES = 64;
/**
 * What `Domain` itself takes from the reserved frames: shared_info, xenstore ring, console ring, grant table, and what
 * version 2 of that needs for status.
 */
export const SHARED_FRAMES = 3 + MAX_GRANT_FRAMES + statusFramesOf(MAX_GRANT_FRAMES);

/** Reserved frames that a domain of so many processors needs besides `SHARED_FRAMES`. */
export const hiddenFrames = (cpus: number): number => (cpus > VCPUS_IN_SHARED_INFO ? 1 : 0);

/** Frame numbers end where 52-bit physical addresses do. */
export const MAX_FRAME = 1n << 40n;

interface DomainState {
  /** Pages the guest has at the moment: `pages` less what its balloon has given back. */
  reservation: number;
  /** XENMEM_memory_map. Empty: -ENOSYS, and the guest takes RAM to be 0 to nr_pages. */
  memoryMap: readonly MemoryRange[];
  /** Assists the guest switched on, by VMASST_TYPE number. */
  assists: Set<number>;
  /** What the guest asked for and we do not have. */
  unknown: Set<string>;
  /** Event ports of the xenstore and the console ring, for start_info or the HVM parameters. 0 until connected. */
  xenstorePort: number;
  consolePort: number;
  /** The width of shared_info's layout: 32 after a 32-bit PVH guest has shown itself. */
  width: 32 | 64;
  /** The next page that `reserveFrame` hands out. */
  nextReserved: number;
  /** PHYSDEVOP_pirq_eoi_gmfn: guest-physical address of the page that is kept for it (PV). */
  pirqEoiMap: number | undefined;
}

export class Domain {
  readonly id: number;
  readonly context: HypervisorContext;
  readonly kind: DomainKind;
  readonly memory: HypervisorContext['memory'];
  readonly vcpus: readonly Vcpu[];
  /** Pages that are the guest's own: its memory map is RAM from 0 to here. */
  readonly pages: number;
  /** Where the domain's parts get their states. */
  readonly states: States;
  readonly state: State<DomainState>;
  /** Guest-physical address of a page that the guest does not see, with the struct vcpu_info of those that have none in
   * shared_info; 0 where all have one. */
  readonly hiddenInfo: number;
  /** All frames that the guest may see: the three that follow, then the grant table's, then those of its status. */
  readonly frames: readonly SharedFrame[];
  readonly sharedInfo: SharedFrame;
  readonly xenstoreRing: SharedFrame;
  readonly consoleRing: SharedFrame;
  readonly events: EventChannels;
  readonly grants: GrantTable;
  readonly grantMappings: GrantMappings;
  readonly store: Xenstore;

  constructor(context: HypervisorContext, options: DomainOptions) {
    if (options.reservedFrames < SHARED_FRAMES) throw new Error(`a domain needs ${SHARED_FRAMES} reserved frames`);
    this.id = DOMAIN_ID;
    this.context = context;
    this.kind = options.kind;
    this.memory = context.memory;
    this.pages = Math.max(0, (context.memory.size >>> PAGE_SHIFT) - options.reservedFrames);
    this.states = scoped(context, 'xen');
    this.state = this.states.state('domain', 2, () => ({
      reservation: this.pages,
      memoryMap: [],
      assists: new Set(),
      unknown: new Set(),
      xenstorePort: 0,
      consolePort: 0,
      width: 64,
      nextReserved: this.pages,
      pirqEoiMap: undefined,
    }));
    const homes = Array.from({ length: SHARED_FRAMES }, () => this.reserveFrame());
    const addresses = this.states.state('frames', 1, () => ({ addresses: [...homes] }));
    this.frames = homes.map((_, index) => new SharedFrame(addresses, index));
    const [sharedInfo, xenstoreRing, consoleRing, ...grantFrames] = this.frames;
    this.sharedInfo = sharedInfo!;
    this.xenstoreRing = xenstoreRing!;
    this.consoleRing = consoleRing!;
    this.hiddenInfo = context.cpus.length > VCPUS_IN_SHARED_INFO ? this.reserveFrame() : 0;
    this.vcpus = context.cpus.map((cpu, id) => new Vcpu(this, id, cpu));
    this.events = new EventChannels(this);
    this.grants = new GrantTable(this, grantFrames.slice(0, MAX_GRANT_FRAMES), grantFrames.slice(MAX_GRANT_FRAMES));
    this.grantMappings = new GrantMappings(this);
    this.store = new Xenstore(this.states);
    // The toolstack leaves every upcall masked (PV); evtchn_mask stays all zero.
    for (const vcpu of this.vcpus) this.memory.write8(vcpu.info + 1, 1);
  }

  /**
   * Takes the next `count` reserved frames, zeroed and contiguous. @returns the guest-physical address of the first.
   */
  reserveFrame(count = 1): number {
    const address = this.state.nextReserved * PAGE_SIZE;
    if (!this.memory.has(address, count * PAGE_SIZE)) throw new Error('out of reserved frames');
    this.state.nextReserved += count;
    this.memory.fill(address, count * PAGE_SIZE);
    return address;
  }

  /** First frame past those handed out by `reserveFrame`. Frames from `pages` to here are the hypervisor's, in use. */
  get reservedEnd(): number {
    return this.state.nextReserved;
  }

  /** True for the two ways a guest may name itself in a hypercall. */
  isSelf(domid: number): boolean {
    return domid === DOMID_SELF || domid === this.id;
  }

  /** True if a domain of that id is there: the guest itself, by either name, and domain 0. */
  exists(domid: number): boolean {
    return domid === 0 || this.isSelf(domid);
  }

  /** As `kind.hold` for writing, of a frame number as a hypercall has it: any 64-bit number. */
  hold(frame: bigint): number | undefined {
    return frame < MAX_FRAME ? this.kind.hold(this, Number(frame), true) : undefined;
  }

  /** Where things stand in shared_info. */
  get layout(): SharedInfoLayout {
    return this.state.width === 32 ? layout32 : layout64;
  }

  kill(reason: string): void {
    this.context.kill(reason);
  }
}

/** Processors that have a struct vcpu_info in shared_info (XEN_LEGACY_MAX_VCPUS); the others must register theirs. */
const VCPUS_IN_SHARED_INFO = 32;

interface VcpuState {
  /** It has registers to start from: it is the first one, or VCPUOP_initialise or a start-up message gave it some. */
  initialised: boolean;
  /** Where VCPUOP_register_vcpu_info put vcpu_info; undefined while it is in shared_info. */
  registeredInfo: number | undefined;
  /** PHYSDEVOP_set_iopl: the virtual I/O privilege level (PV). */
  iopl: number;
  /** PHYSDEVOP_set_iobitmap: guest-virtual address and number of ports (PV). */
  ioBitmap: { address: bigint; ports: number };
  /**
   * Waiting in SCHEDOP_poll for one of these ports; empty: only for an upcall or the time-out. Undefined: not polling.
   */
  polling: readonly number[] | undefined;
}

export class Vcpu {
  readonly id: number;
  readonly domain: Domain;
  readonly cpu: Processor;
  readonly time: VcpuTime;
  /** The hypercall under way, and the entry of a multicall under way. Both are empty between hypercalls. */
  readonly call = new CallFrame();
  readonly multicallEntry = new CallFrame();
  readonly state: State<VcpuState>;
  /** The end of a SCHEDOP_poll with a time-out. */
  readonly pollTimeout: Timer;

  constructor(domain: Domain, id: number, cpu: Processor) {
    this.domain = domain;
    this.id = id;
    this.cpu = cpu;
    const states = scoped(domain.states, `vcpu/${id}`);
    this.state = states.state('vcpu', 2, () => ({
      initialised: id === 0,
      registeredInfo: undefined,
      iopl: 0,
      ioBitmap: { address: 0n, ports: 0 },
      polling: undefined,
    }));
    this.pollTimeout = domain.context.clock.timer(`xen-poll-${id}`, () => this.wake());
    this.time = new VcpuTime(states, this, id === 0 ? RUNSTATE_running : RUNSTATE_offline);
  }

  /** Guest-physical address of this processor's struct vcpu_info (64 bytes). */
  get info(): number {
    const { registeredInfo } = this.state;
    if (registeredInfo !== undefined) return registeredInfo;
    const { sharedInfo, hiddenInfo } = this.domain;
    return this.hasInfo ? sharedInfo.address + this.id * VCPU_INFO_SIZE : hiddenInfo + this.id * VCPU_INFO_SIZE;
  }

  /** The guest can see its struct vcpu_info. One without may not be started. */
  get hasInfo(): boolean {
    return this.id < VCPUS_IN_SHARED_INFO || this.state.registeredInfo !== undefined;
  }

  /** VCPUOP_up, or a start-up message of the local APIC: it executes, from the registers it has. */
  start(): void {
    this.cpu.start();
    this.time.setRunning();
  }

  /** VCPUOP_down, or HLT with interrupts closed: it executes nothing more. With the last one the domain ends. */
  stop(): void {
    if (this.domain.vcpus.some(other => other !== this && other.cpu.started)) {
      this.state.polling = undefined;
      this.pollTimeout.off();
      this.time.setRunstate(RUNSTATE_offline);
      this.cpu.stop();
    } else this.cpu.request('power-off');
  }

  get upcallPending(): boolean {
    return this.domain.memory.read8(this.info) !== 0;
  }

  get upcallMask(): boolean {
    return this.domain.memory.read8(this.info + 1) !== 0;
  }

  set upcallMask(masked: boolean) {
    this.domain.memory.write8(this.info + 1, masked ? 1 : 0);
  }

  /** Sets evtchn_upcall_pending and, if that is news, tells the processor. */
  markEventsPending(): void {
    if (this.upcallPending) return;
    this.domain.memory.write8(this.info, 1);
    this.wake();
    this.domain.kind.upcall(this);
  }

  /** Ends SCHEDOP_block or SCHEDOP_poll, if in one. A processor that is not up stays so. */
  wake(): void {
    this.state.polling = undefined;
    this.pollTimeout.off();
    if (!this.cpu.started) return;
    this.cpu.wake();
    this.time.setRunning();
  }
}
