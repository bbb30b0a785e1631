/**
 * The waist: the op groups a hypervisor fills. Groups have the names Linux's pv_ops has; members are named after what the
 * machine asks. `bare` answers `native` to all; a hypervisor states only what differs (see derive.ts).
 *
 * An op that one hypervisor alone needs does not enter these tables: Xen's mmu_update lives behind `cpu.hypercall`.
 */

import type { EntryState } from '../boot/entry.ts';
import type { KernelImage } from '../boot/image.ts';
import type { Clock } from '../host/clock.ts';
import type { Console } from '../host/console.ts';
import type { Disk } from '../host/disk.ts';
import type { Log } from '../host/log.ts';
import type { Bus } from '../memory/bus.ts';
import type { GuestMemory } from '../memory/memory.ts';
import type { Op } from './native.ts';
import type { Exception, Processor } from './processor.ts';

/** CPUID's answer (SDM 2A, CPUID): four unsigned 32-bit registers. */
export interface CpuidResult {
  eax: number;
  ebx: number;
  ecx: number;
  edx: number;
}

/** One model-specific register. An absent half means #GP, as for a register that is not there. */
export interface Msr {
  /** The manual's name, e.g. MSR_KVM_SYSTEM_TIME_NEW. */
  name: string;
  read?(cpu: Processor): bigint;
  /** @returns false for #GP. */
  write?(cpu: Processor, value: bigint): boolean;
}

/** One hypercall, for the table that documentation and traces are made from. */
export interface Hypercall {
  /** The specification's name, e.g. HYPERVISOR_mmu_update. */
  name: string;
  /** Argument names, for traces. */
  arguments: readonly string[];
  /** 'done' where all of it works; 'partly' where some of it does (say what in `note`). */
  status: 'done' | 'partly';
  note?: string;
}

/** What the board and the devices of a platform are made of. */
export type Platform =
  /** A PC: 8259s, 8254, CMOS, I/O APIC, local APIC, UART, PCI, ACPI. */
  | 'pc'
  /** Local APIC only (PVH). */
  | 'local-apic'
  /** No emulated device at all. */
  | 'none';

export interface BootRequest {
  image: KernelImage;
  /** Undefined: no initial ramdisk. */
  initrd: Uint8Array | undefined;
  commandLine: string;
  memory: GuestMemory;
  log: Log;
}

/** What a hypervisor may use to build devices of its own. */
export interface HypervisorContext {
  cpus: readonly Processor[];
  memory: GuestMemory;
  clock: Clock;
  console: Console;
  disks: readonly Disk[];
  /** The bus of memory-mapped registers, for interfaces that put pages where the guest has no RAM. */
  mmio: Bus;
  log: Log;
  kill(reason: string): void;
  request(what: 'power-off' | 'reset' | 'crash'): void;
}

export interface BootOps {
  platform: Platform;
  /** The console the kernel is told to use: `console=` on the default command line. */
  console: string;
  /** Why this kernel cannot boot here, known from the image alone; undefined when nothing speaks against it. */
  refuses: Op<(image: KernelImage) => string | undefined>;
  /** Places the image and says how the first processor starts. Native: the PVH or the Linux entry on a PC. */
  load: Op<(request: BootRequest, context: HypervisorContext) => EntryState>;
}

export interface CpuOps {
  /** Leaves this hypervisor answers itself, before or after asking the processor (`natively`). Undefined: not ours. */
  cpuid: Op<(cpu: Processor, leaf: number, subleaf: number, natively: () => CpuidResult) => CpuidResult | undefined>;
  /** Registers this hypervisor adds or changes, by index. */
  msrs: Readonly<Record<number, Msr>>;
  /** VMCALL or VMMCALL was executed. Native: #UD. RIP is already past it. */
  hypercall: Op<(cpu: Processor) => void>;
  /** SYSCALL was executed; RIP is already past it, RCX and R11 are set. Native: SDM 2B, SYSCALL. */
  syscall: Op<(cpu: Processor) => void>;
  /** What `hypercall` or `syscall` dispatches on, for documentation and traces. */
  hypercalls: Readonly<Record<number, Hypercall>>;
}

export interface MmuOps {
  /** A page fault. Return true if it was dealt with and the guest goes on. Native: #PF. */
  pageFault: Op<(cpu: Processor, exception: Exception & { address: bigint }) => boolean>;
  /** CR3 was written by MOV. Native: SDM 3A 4.10.4. */
  setRoot: Op<(cpu: Processor, value: bigint) => void>;
}

export interface IrqOps {
  /** An exception or software interrupt is to be delivered; RIP is what its frame shall show. Native: through the IDT. */
  exception: Op<(cpu: Processor, exception: Exception) => void>;
  /** INT n, INT3 and INTO; RIP points at the instruction, `next` past it. Native: through the IDT. */
  softwareInterrupt: Op<(cpu: Processor, vector: number, next: bigint) => void>;
  /**
   * An instruction boundary at which something may be pending: deliver it. Native: an interrupt of the local APIC if IF.
   * @returns true if something was delivered (a halted processor then goes on).
   */
  deliver: Op<(cpu: Processor) => boolean>;
  /** True if `deliver` would deliver: asked of a halted processor. Native: the local APIC has one. */
  pending: Op<(cpu: Processor) => boolean>;
  /** HLT was executed, with interrupts open or closed; RIP is past it. Native: the processor stops until an interrupt. */
  halt: Op<(cpu: Processor) => void>;
  /** Called after the native `deliver` has delivered an interrupt, and again before the next: a paravirtual EOI. */
  delivered: Op<(cpu: Processor, vector: number) => void>;
  /** Called before the interrupt controller is asked: takes back what `delivered` gave out. */
  settle: Op<(cpu: Processor) => void>;
}

export interface TimeOps {
  /** The machine starts or a processor resumes after having been held up by the host for `stolen` ns. */
  resumed: Op<(cpu: Processor, stolen: number) => void>;
}

export interface SmpOps {
  /** How many processors this hypervisor's interface can start. */
  maximum: number;
}

/** A hypervisor: all op groups, complete. Folders under hypervisors/ make these with `derive`. */
export interface Paravirt {
  /** What `--hypervisor` takes. */
  name: string;
  /** One line for `polyvisor list`. */
  title: string;
  boot: BootOps;
  cpu: CpuOps;
  mmu: MmuOps;
  irq: IrqOps;
  time: TimeOps;
  smp: SmpOps;
  /** Conformance cases that do not apply, with the reason. */
  skip: Readonly<Record<string, string>>;
}

/**
 * A hypervisor as the list has it: a function that makes one instance, with state of its own, for one machine. Two machines
 * never share an instance. `context` is complete only after `make` has returned: keep it, use it in ops.
 */
export interface HypervisorModule {
  name: string;
  title: string;
  make(context: HypervisorContext): Paravirt;
}
