/**
 * What Xen keeps for one virtual processor of a PV guest beyond what all guests have. Kernel and user code of a 64-bit
 * guest both run at CPL 3; which of them runs is a flag here, and it decides which page tables and which GS base are
 * loaded. In a 32-bit guest the ring tells them apart, and both see the same page tables.
 */
import type { Processor } from '../../paravirt/processor.ts';
import type { State } from '../../state/state.ts';
import { SELECTOR_RPL } from '../../x86/segments.ts';
import type { Vcpu } from '../xen/domain.ts';
import type { PvAbi } from './abi.ts';
import {
  IN_KERNEL,
  initialCells,
  KERNEL_ROOT,
  KERNEL_SP,
  KERNEL_SS,
  publish,
  publishHandlers,
  setCell64,
  USER_ROOT,
} from './cells.ts';
import type { Roots } from './roots.ts';

/** A registered entry point: CALLBACKTYPE_*. */
export interface Callback {
  /** Guest-virtual; 0 while not registered. */
  address: bigint;
  /** Of its code segment; used in 32-bit guests only. */
  selector: number;
  /** CALLBACKF_mask_events: entering sets evtchn_upcall_mask. */
  maskEvents: boolean;
}

const unregistered = (): Callback => ({ address: 0n, selector: 0, maskEvents: false });

/** The handlers of set_trap_table, by vector. Entry address 0: none. Selectors are used in 32-bit guests only. */
interface TrapTable {
  address: BigUint64Array;
  selector: Uint16Array;
  /** Bits 0-1: the least privileged ring that INT may come from. Bit 2: entering sets evtchn_upcall_mask. */
  flags: Uint8Array;
}

export const emptyTrapTable = (): TrapTable => ({
  address: new BigUint64Array(256),
  selector: new Uint16Array(256),
  flags: new Uint8Array(256),
});

interface PvVcpuState {
  /** What fast paths work on: cells.ts. It is the processor's own cells. */
  cells: Uint32Array;
  traps: TrapTable;
  event: Callback;
  failsafe: Callback;
  syscall64: Callback;
  syscall32: Callback;
  sysenter: Callback;
  nmi: Callback;
  /** An NMI was sent, and one is being handled (until the guest's iret). */
  nmiPending: boolean;
  nmiBlocked: boolean;
  /** Frames of the guest's GDT, and how many of its entries count. */
  gdtFrames: readonly number[];
  gdtEntries: number;
  /** The LDT: guest-virtual address and number of entries; the frames that are mapped, by page. */
  ldtBase: bigint;
  ldtEntries: number;
  ldtFrames: Map<number, number>;
  /** CR4 bits of the guest's own choice. */
  cr4: bigint;
  /** Ports that were used and are in the log: a kernel that looks for PCI devices asks one thousands of times. */
  loggedPorts: Set<number>;
  /** XCR0 bits the processor has, as CPUID leaf 0xd last told; x87 and SSE are always there. */
  xcr0Supported: bigint;
}

export class PvVcpu {
  readonly vcpu: Vcpu;
  readonly cpu: Processor;
  readonly abi: PvAbi;
  readonly #roots: Roots;
  readonly state: State<PvVcpuState>;
  /**
   * An instruction is being stepped for its store into a page table: a fault of its own on another table goes to the
   * guest.
   */
  stepping = false;

  constructor(vcpu: Vcpu, abi: PvAbi, roots: Roots) {
    this.vcpu = vcpu;
    this.cpu = vcpu.cpu;
    this.abi = abi;
    this.#roots = roots;
    this.state = vcpu.domain.states.state(`vcpu/${vcpu.id}/pv`, 4, () => ({
      cells: initialCells(abi),
      traps: emptyTrapTable(),
      event: unregistered(),
      failsafe: unregistered(),
      syscall64: unregistered(),
      syscall32: unregistered(),
      sysenter: unregistered(),
      nmi: unregistered(),
      nmiPending: false,
      nmiBlocked: false,
      gdtFrames: [],
      gdtEntries: 0,
      ldtBase: 0n,
      ldtEntries: 0,
      ldtFrames: new Map(),
      cr4: 0n,
      loggedPorts: new Set(),
      xcr0Supported: 3n,
    }));
    this.attach();
  }

  /** Puts the cells where fast paths find them: at the start, and after the states have been replaced. */
  attach(): void {
    const { cells } = this.cpu;
    if (cells === this.state.cells) return;
    cells.set(this.state.cells);
    this.state.cells = cells;
    publish(this);
    publishHandlers(this);
  }

  /** The kernel of a 64-bit guest runs, not its user code. */
  get inKernel(): boolean {
    return this.state.cells[IN_KERNEL] !== 0;
  }
  set inKernel(on: boolean) {
    this.state.cells[IN_KERNEL] = on ? 1 : 0;
  }
  /**
   * HYPERVISOR_stack_switch: where bounces from user mode push. Those of a 64-bit guest load the flat segment instead.
   */
  get kernelSs(): number {
    return this.state.cells[KERNEL_SS]!;
  }
  set kernelSs(selector: number) {
    this.state.cells[KERNEL_SS] = selector;
  }
  get kernelSp(): bigint {
    return (BigInt(this.state.cells[KERNEL_SP + 1]!) << 32n) | BigInt(this.state.cells[KERNEL_SP]!);
  }
  set kernelSp(address: bigint) {
    setCell64(this.state.cells, KERNEL_SP, address);
  }

  /** The frames of the two roots: cells.ts. */
  get kernelRoot(): number {
    return this.state.cells[KERNEL_ROOT]!;
  }
  set kernelRoot(frame: number) {
    this.state.cells[KERNEL_ROOT] = frame;
  }
  get userRoot(): number {
    return this.state.cells[USER_ROOT]!;
  }
  set userRoot(frame: number) {
    this.state.cells[USER_ROOT] = frame;
  }

  /** The guest's kernel runs, not its user code. */
  get kernelMode(): boolean {
    return this.abi.kernelRing === 3 ? this.inKernel : this.cpu.cpl === this.abi.kernelRing;
  }

  /** The frame of the root that the guest's code runs with. */
  get root(): number {
    return this.inKernel ? this.kernelRoot : this.userRoot;
  }

  /** `selector` as the guest may have it: for no ring inside that of its kernel. */
  guestSelector(selector: number): number {
    return (selector & SELECTOR_RPL) >= this.abi.kernelRing
      ? selector
      : (selector & ~SELECTOR_RPL) | this.abi.kernelRing;
  }

  /** vcpu_info.arch.cr2: where the guest looks for the address of a page fault. */
  writeCr2(address: bigint): void {
    const { memory, layout } = this.vcpu.domain;
    if (this.abi.long === 8) memory.write64(this.vcpu.info + layout.cr2, address);
    else memory.write32(this.vcpu.info + layout.cr2, Number(address));
  }

  /** SYSCALL into Xen loses CS and SS: the guest goes on with the flat ones (Xen's lstar_enter). */
  loadKernelSegments(): void {
    const { cpu } = this;
    const { kernelCode, kernelStack } = this.abi;
    if (cpu.segment('cs').selector !== kernelCode.selector) cpu.setSegment('cs', kernelCode);
    if (cpu.segment('ss').selector !== kernelStack.selector) cpu.setSegment('ss', kernelStack);
  }

  /** The kernel's root, or the user's, is the processor's from now on. */
  loadRoot(): void {
    this.cpu.switchRoot(this.#roots.cr3(this.root));
  }

  /** From kernel to user mode of a 64-bit guest or back: the other page tables, the other GS base. */
  toggleMode(): void {
    const { cpu } = this;
    this.inKernel = !this.inKernel;
    const active = cpu.get('gsBase');
    cpu.set('gsBase', cpu.get('kernelGsBase'));
    cpu.set('kernelGsBase', active);
    this.loadRoot();
  }
}
