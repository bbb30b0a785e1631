/**
 * What Xen keeps for one virtual processor of a PV guest beyond what all guests have. Kernel and user code both run at
 * CPL 3; which of them runs is this flag here, and it decides which page tables and which GS base are loaded.
 */
import type { Processor, Segment } from '../../paravirt/processor.ts';
import type { State } from '../../state/state.ts';
import type { Vcpu } from '../xen/domain.ts';
import { FLAT_RING3_CS32, FLAT_RING3_CS64, FLAT_RING3_SS } from './descriptor-check.ts';

/** A registered entry point: CALLBACKTYPE_*. */
export interface Callback {
  /** Guest-virtual; 0 while not registered. */
  address: bigint;
  /** CALLBACKF_mask_events: entering sets evtchn_upcall_mask. */
  maskEvents: boolean;
}

const unregistered = (): Callback => ({ address: 0n, maskEvents: false });

/** The hidden parts of Xen's flat selectors, as their descriptors give them. */
export const flatCode64: Segment = { selector: FLAT_RING3_CS64, base: 0n, limit: 0xffffffff, attributes: 0x00a0fb00 };
export const flatCode32: Segment = { selector: FLAT_RING3_CS32, base: 0n, limit: 0xffffffff, attributes: 0x00c0fb00 };
export const flatStack: Segment = { selector: FLAT_RING3_SS, base: 0n, limit: 0xffffffff, attributes: 0x00c0f300 };

/**
 * The handlers of set_trap_table, by vector. Entry address 0: none. Selectors are kept and not used, as kernelSs below.
 */
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
  kernelMode: boolean;
  /** Frame of the L4 table of the kernel. */
  kernelRoot: number;
  /** Frame of the L4 table of user code; 0: none, and no way to user mode. */
  userRoot: number;
  /**
   * HYPERVISOR_stack_switch: where bounces from user mode push. The segment is kept and not used: bounces load the flat
   * one.
   */
  kernelSs: number;
  kernelSp: bigint;
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
  readonly state: State<PvVcpuState>;
  /**
   * An instruction is being stepped for its store into a page table: a fault of its own on another table goes to the
   * guest.
   */
  stepping = false;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
    this.cpu = vcpu.cpu;
    this.state = vcpu.domain.states.state(`vcpu/${vcpu.id}/pv`, 1, () => ({
      kernelMode: true,
      kernelRoot: 0,
      userRoot: 0,
      kernelSs: FLAT_RING3_SS,
      kernelSp: 0n,
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
  }

  /** From kernel to user mode or back: the other page tables, the other GS base. */
  toggleMode(): void {
    const { cpu, state } = this;
    state.kernelMode = !state.kernelMode;
    const active = cpu.get('gsBase');
    cpu.set('gsBase', cpu.get('kernelGsBase'));
    cpu.set('kernelGsBase', active);
    cpu.switchRoot(BigInt(state.kernelMode ? state.kernelRoot : state.userRoot) << 12n);
  }
}
