/**
 * The waist: the op groups a hypervisor fills. Groups have the names Linux's pv_ops has; members are named after what
 * the machine asks. `bare` answers `native` to all; a hypervisor states only what differs (see derive.ts).
 *
 * An op that one hypervisor alone needs does not enter these tables: Xen's mmu_update lives behind `cpu.hypercall`.
 */

import type { EntryState } from '../boot/entry.ts';
import type { KernelImage } from '../boot/image.ts';
import type { BootEntry } from '../boot/load.ts';
import type { BootModule } from '../boot/placement.ts';
import type { BackEnds } from '../host/back-ends.ts';
import type { Clock } from '../host/clock.ts';
import type { Console } from '../host/console.ts';
import type { Log } from '../host/log.ts';
import type { Bus } from '../memory/bus.ts';
import type { GuestMemory } from '../memory/memory.ts';
import type { Data, States } from '../state/state.ts';
import type { FastPaths } from './fast-paths.ts';
import { type OpsOf, operation, type QuestionsOf } from './operation.ts';
import type { PciCard } from './pci-card.ts';
import type { Processor, RegisterName } from './processor.ts';

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

/** How hypercalls are made, for traces and counts. */
export interface HypercallConvention {
  /** The number of the call about to be made; undefined for what is no hypercall, such as a program's system call. */
  number(cpu: Processor): number | undefined;
  /** Where its arguments stand, in the order of `Hypercall.arguments`. */
  registers(cpu: Processor): readonly RegisterName[];
}

/** What the board and the devices of a platform are made of. */
export type Platform =
  /** A PC: 8259s, 8254, CMOS, I/O APIC, local APIC, UART, PCI, ACPI. */
  | 'pc'
  /** A part of a PC: I/O APIC, local APICs, UART, PCI, the power-management timer. No 8259s, 8254, HPET, CMOS, keyboard controller. */
  | 'partition'
  /** Local APIC only (PVH). */
  | 'local-apic'
  /** No emulated device at all. */
  | 'none';

export interface BootRequest {
  image: KernelImage;
  /** Undefined: no initial ramdisk. */
  initrd: Uint8Array | undefined;
  /** More files for the kernel: only for a table whose `boot.takesModules` says so. */
  modules?: readonly BootModule[] | undefined;
  commandLine: string;
  memory: GuestMemory;
  log: Log;
  /**
   * Does what bare hardware does: firmware tables, a BIOS, and the kernel by the entry that was asked for. Only for a table
   * with `boot.firmwareRam`.
   * @param without entries that there are not
   */
  natively(without?: readonly BootEntry[]): EntryState;
}

/** What a hypervisor may use to build devices of its own. */
export interface HypervisorContext extends States {
  cpus: readonly Processor[];
  memory: GuestMemory;
  clock: Clock;
  console: Console;
  backEnds: BackEnds;
  /** The bus of memory-mapped registers, for interfaces that put pages where the guest has no RAM. */
  mmio: Bus;
  /**
   * The bus of I/O ports, for interfaces that are called by IN and OUT. Reads answer EAX; the others are the
   * processor's.
   */
  ports: Bus;
  /** An edge on an interrupt line of the board, by its global system interrupt; no line, no edge. */
  edge(gsi: number): void;
  /**
   * Takes devices off the board's PCI bus until the machine's reset.
   * @param matches is told each device's class code, 24 bits
   */
  unplug(matches: (classCode: number) => boolean): void;
  log: Log;
  kill(reason: string): void;
  /** @param reason with a crash: what the guest said of it */
  request(what: 'power-off' | 'reset' | 'crash', reason?: string): void;
}

/**
 * The table: every op in its group, with what it is told, what it answers and how its calls are noted, in the words of
 * operation.ts. A new op is a line here, and the place that asks it: the machine binds, counts and traces what this table
 * lists, and documentation, checks, guards and the interface of binary plug-ins are made from it (which gets a new minor
 * version, plugins/abi.ts). Names are unique across the groups, since an op is asked by its name alone (`Questions`).
 */
export const operations = {
  boot: {
    /** Why this kernel cannot boot here, known from the image alone; undefined when nothing speaks against it. */
    refuses: operation(['image'], 'refusal'),
    /** Places the image and says how the first processor starts. Native: the PVH or the Linux entry on a PC. */
    load: operation(['request', 'context'], 'entry'),
  },
  cpu: {
    /**
     * Leaves this hypervisor answers itself, before or after asking the processor (`natively`). Undefined: not ours.
     */
    cpuid: operation(['cpu', 'leaf', 'subleaf', 'natively'], 'cpuid'),
    /** VMCALL or VMMCALL was executed; RIP is already past it. Return false for #UD, which is what native does. */
    hypercall: operation(['cpu'], 'boolean', { noted: 'call', nothing: true }),
    /** SYSCALL was executed; RIP is already past it, RCX and R11 are set. Native: SDM 2B, SYSCALL. */
    syscall: operation(['cpu'], 'nothing', { noted: 'call' }),
  },
  mmu: {
    /** A page fault. Return true if it was dealt with and the guest goes on. Native: #PF. */
    pageFault: operation(['cpu', 'fault'], 'boolean'),
  },
  irq: {
    /**
     * An exception is to be delivered; RIP is what its frame shall show. Return true if it was dealt with. Native, or
     * false: through the IDT.
     */
    exception: operation(['cpu', 'exception'], 'boolean', { nothing: true }),
    /** INT n, INT3 and INTO; RIP points at the instruction, `next` past it. Native: through the IDT. */
    softwareInterrupt: operation(['cpu', 'vector', 'next']),
    /**
     * An instruction boundary at which something may be pending: deliver it. Native: an interrupt of the local APIC if
     * IF.
     * @returns true if something was delivered (a halted processor then goes on).
     */
    deliver: operation(['cpu'], 'boolean', { noted: 'never' }),
    /** True if something waits for `deliver`, whether interrupts are open or not. Native: the local APIC has something. */
    pending: operation(['cpu'], 'boolean', { noted: 'never' }),
    /**
     * HLT was executed, with interrupts open or closed; RIP is past it. Native: the processor stops until an interrupt.
     */
    halt: operation(['cpu'], 'nothing', { noted: 'counted' }),
    /** Called after the native `deliver` has delivered an interrupt, and again before the next: a paravirtual EOI. */
    delivered: operation(['cpu', 'vector']),
    /** Called before the interrupt controller is asked: takes back what `delivered` gave out. */
    catchUp: operation(['cpu'], 'nothing', { noted: 'never' }),
  },
  time: {
    /** The machine starts or a processor resumes after having been held up by the host for `stolen` ns. */
    resumed: operation(['cpu', 'stolen']),
    /**
     * The guest has set its time-stamp counter (IA32_TSC, IA32_TSC_ADJUST). What tells it the time by that counter is to
     * be written anew, so that the time does not jump.
     */
    tscMoved: operation(['cpu']),
  },
  smp: {
    /**
     * A start-up message (SDM 3A 9.4.3) has come to a processor that waits for one. Return true if it has been dealt with.
     * Native, or false: the processor starts in real mode at `vector` * 4096.
     */
    startUp: operation(['cpu', 'vector'], 'boolean', { nothing: true }),
    /** The processor gets a turn, and executes from now on: asked where there are several. Native: nobody is told. */
    scheduledIn: operation(['cpu'], 'nothing', { noted: 'never' }),
    /** Its turn is over, because it is halted or because others have theirs: it executes nothing until `scheduledIn`. */
    scheduledOut: operation(['cpu'], 'nothing', { noted: 'never' }),
  },
} as const;

type Groups = typeof operations;

/**
 * The ops as one processor asks them, by name. A question that is not there is native: whoever would ask does what bare
 * hardware does. The machine makes these from a hypervisor's table (machine/questions.ts).
 */
export type Questions = QuestionsOf<Groups['cpu']> &
  QuestionsOf<Groups['mmu']> &
  QuestionsOf<Groups['irq']> &
  QuestionsOf<Groups['time']> &
  QuestionsOf<Groups['smp']>;

export interface BootOps extends OpsOf<typeof operations.boot> {
  platform: Platform;
  /** The console the kernel is told to use: `console=` on the default command line. */
  console: string;
  /**
   * Its own `load` boots by `request.natively`: disks, BIOS and every entry of a kernel are there as on bare hardware, with as much
   * of `memory` as this says.
   */
  firmwareRam?(memory: GuestMemory): GuestMemory;
  /** Cards of its own on the board's PCI bus, behind the board's. */
  cards?: readonly PciCard[];
  /** Its own `load` hands the kernel the modules of the request. */
  takesModules?: boolean;
  /**
   * Buses at which its guests look for disks, for networks, and for a vsock, before those of the board. What is plugged into a bus that is
   * not the board's is the hypervisor's to serve.
   */
  diskBuses?: readonly string[];
  networkBuses?: readonly string[];
  vsockBuses?: readonly string[];
  /**
   * Hardware ids (_HID) that the ACPI tables name besides the board's: Linux binds drivers of virtual devices to them.
   */
  devices: readonly string[];
  /**
   * For a machine that is restored instead of started, where `load` makes more than the guest's memory and registers: makes the
   * same states and timers as `load` did. What is in them, in memory and in registers is replaced afterwards.
   * @param saved the content of a state that is about to be restored; it may come from anywhere
   */
  rebuild?(context: HypervisorContext, saved: (name: string) => Data): void;
}

export interface CpuOps extends OpsOf<typeof operations.cpu> {
  /** Registers this hypervisor adds or changes, by index. */
  msrs: Readonly<Record<number, Msr>>;
  /** What `hypercall` or `syscall` dispatches on, for documentation and traces. */
  hypercalls: Readonly<Record<number, Hypercall>>;
  /** Undefined: the number is in EAX. */
  convention?: HypercallConvention;
}

export interface MmuOps extends OpsOf<typeof operations.mmu> {}

export interface IrqOps extends OpsOf<typeof operations.irq> {}

export interface TimeOps extends OpsOf<typeof operations.time> {}

export interface SmpOps extends OpsOf<typeof operations.smp> {
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
  /** What of its ops is also answered in WebAssembly. Who replaces one of these ops leaves this out. */
  fastPaths?: FastPaths | undefined;
  /** The states of the machine are about to be replaced: gives back what follows from them, as a device does. */
  restoring?(): void;
  /** The states of the machine have been replaced: derives anew what `restoring` gave back. */
  restored?(): void;
  /**
   * The host wants the guest to switch itself off in an orderly way, as by a power button. Asks it by this hypervisor's own
   * means. @returns false if the guest does not listen to those: a board's power button is pressed then
   */
  requestShutdown?(): boolean;
  /**
   * The host wants the guest to make do with `bytes` of RAM, as by a balloon; with as much as the machine has, or more, it gets all
   * back. Asks it by this hypervisor's own means. @returns false if the guest does not listen to those: a board's device asks then
   */
  requestMemory?(bytes: number): boolean;
  /** Conformance cases that do not apply, with the reason. */
  skip: Readonly<Record<string, string>>;
}

/** The traces that a hypervisor's guest half leaves in a kernel image. */
export interface GuestHalf {
  /** The option of Linux's configuration: CONFIG_…. */
  option: string;
  /** Functions of it: a kernel with a symbol table and none of these was built without. */
  symbols: readonly string[];
  /**
   * Functions of it, as regular expressions, that ask the hypervisor on behalf of their caller: a trace names the
   * caller.
   */
  stubs?: readonly string[];
}

/**
 * A hypervisor as the list has it: a function that makes one instance, with state of its own, for one machine. Two
 * machines never share an instance. `context` is complete only after `make` has returned: keep it, use it in ops.
 */
export interface HypervisorModule {
  name: string;
  title: string;
  /** How a kernel shows that it knows this interface; undefined where every kernel does. */
  guestHalf?: GuestHalf;
  /** A listing of the code that it puts before its guests as a ROM; undefined where it has none. */
  rom?(): string;
  /** The hypervisor whose interface it stands on; `make` gets its table as the base. */
  under?: HypervisorModule;
  /** It differs little from another one: whoever goes through all of them at length leaves it out. */
  isRelative?: boolean;
  /** What can be asked of it beside its interface, as after a comma of its name: a line for each. */
  options?: Readonly<Record<string, string>>;
  /**
   * @param base what it differs from; bare hardware's table when left out
   * @param options those of `options` that were asked for
   */
  make(context: HypervisorContext, base?: Paravirt, options?: ReadonlySet<string>): Paravirt;
}
