/**
 * What Xen keeps for one virtual processor of a PV guest beyond what all guests have. Kernel and user code both run at
 * CPL 3; which of them runs is this flag here, and it decides which page tables and which GS base are loaded.
 */
import type { Processor, Segment } from '../../paravirt/processor.ts';
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

/** The handlers of set_trap_table, by vector. Entry address 0: none. Selectors are kept and not used, as kernelSs below. */
export class TrapTable {
  readonly address = new BigUint64Array(256);
  readonly selector = new Uint16Array(256);
  /** Bits 0-1: the least privileged ring that INT may come from. Bit 2: entering sets evtchn_upcall_mask. */
  readonly flags = new Uint8Array(256);

  clear(): void {
    this.address.fill(0n);
    this.selector.fill(0);
    this.flags.fill(0);
  }
}

export class PvVcpu {
  readonly vcpu: Vcpu;
  readonly cpu: Processor;
  kernelMode = true;
  /** Frame of the L4 table of the kernel. */
  kernelRoot = 0;
  /** Frame of the L4 table of user code; 0: none, and no way to user mode. */
  userRoot = 0;
  /** HYPERVISOR_stack_switch: where bounces from user mode push. The segment is kept and not used: 64-bit bounces load the flat one. */
  kernelSs: number = FLAT_RING3_SS;
  kernelSp = 0n;
  readonly traps = new TrapTable();
  readonly event = unregistered();
  readonly failsafe = unregistered();
  readonly syscall64 = unregistered();
  readonly syscall32 = unregistered();
  readonly sysenter = unregistered();
  readonly nmi = unregistered();
  /** An NMI was sent, and one is being handled (until the guest's iret). */
  nmiPending = false;
  nmiBlocked = false;
  /** Frames of the guest's GDT, and how many of its entries count. */
  gdtFrames: readonly number[] = [];
  gdtEntries = 0;
  /** The LDT: guest-virtual address and number of entries; the frames that are mapped, by page. */
  ldtBase = 0n;
  ldtEntries = 0;
  readonly ldtFrames = new Map<number, number>();
  /** CR4 bits of the guest's own choice. */
  cr4 = 0n;
  /** Ports that were used and are in the log: a kernel that looks for PCI devices asks one thousands of times. */
  readonly loggedPorts = new Set<number>();
  /** XCR0 bits the processor has, as CPUID leaf 0xd last told; x87 and SSE are always there. */
  xcr0Supported = 3n;

  /** An instruction is being stepped for its store into a page table: a fault of its own on another table goes to the guest. */
  stepping = false;

  constructor(vcpu: Vcpu) {
    this.vcpu = vcpu;
    this.cpu = vcpu.cpu;
  }

  /** From kernel to user mode or back: the other page tables, the other GS base. */
  toggleMode(): void {
    const { cpu } = this;
    this.kernelMode = !this.kernelMode;
    const active = cpu.get('gsBase');
    cpu.set('gsBase', cpu.get('kernelGsBase'));
    cpu.set('kernelGsBase', active);
    cpu.switchRoot(BigInt(this.kernelMode ? this.kernelRoot : this.userRoot) << 12n);
  }
}
