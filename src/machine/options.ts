/** What a machine is made of and what it shows: the options, their defaults and checks, `Machine` and `Statistics`. */
import { ImageError } from '../boot/image-error.ts';
import type { BootEntry, BootModule } from '../boot/load.ts';
import type { Target } from '../debug/target.ts';
import type { Device, Slot } from '../devices/device.ts';
import type { RegionLibrary } from '../engine/jit/library.ts';
import type { TranslatorFactory } from '../engine/jit/translator.ts';
import type { Exit } from '../exits.ts';
import type { ArtifactCache } from '../host/artifact-cache.ts';
import { type BackEnds, backEndsOf } from '../host/back-ends.ts';
import type { HostClock } from '../host/clock.ts';
import type { Console } from '../host/console.ts';
import type { Disk } from '../host/disk.ts';
import { findHypervisor } from '../hypervisors/list.ts';
import type { HypervisorModule, Paravirt } from '../paravirt/operations.ts';
import type { Door } from '../replay/door.ts';
import type { Snapshot } from '../snapshot/snapshot.ts';
import type { CpuModel } from '../x86/cpu-models.ts';
import { arrange, type Topology } from '../x86/topology.ts';
import type { NetworkStatistics } from './network-input.ts';
import { LARGEST_SEED, type ScheduleOption } from './schedule.ts';

export interface MachineOptions {
  /**
   * The kernel image: bzImage, vmlinux (ELF), or whatever `parseKernel` knows. Without one, a PC boots its first disk that
   * has a boot loader.
   */
  kernel?: Uint8Array;
  initrd?: Uint8Array;
  /** More words for the kernel's command line, after those that the hypervisor's console needs. */
  append?: string;
  /**
   * A machine at rest that goes on here: `machine.snapshot()` made it, or `Snapshot.decode`. Any number of machines can be made of
   * one. It has the guest, so what is for a guest's start cannot be given besides; memory, hypervisor and clock are the snapshot's
   * unless they are given, and must then be the same. Disks must have the contents that they had.
   */
  snapshot?: Snapshot;
  /** The kernel's whole command line, instead. */
  commandLine?: string;
  /** Files for a multiboot kernel, placed after the initrd. */
  modules?: readonly BootModule[];
  /** Which of the kernel's entries a PC takes. Default: the shortest way. */
  entry?: BootEntry;
  /** RAM in bytes, a multiple of 4096. Default 256 MiB. */
  memory?: number;
  /** What kind its processors are: those of `x86-64-v3` have AVX2, FMA and F16C besides. Default x86-64-v3; a snapshot has its own. */
  cpu?: CpuModel;
  /** Processors: their number, or how they are arranged. Default 1. */
  cpus?: number | Partial<Topology>;
  /** How several processors take turns: `fair` (default), or the seed of a schedule that is drawn (schedule.ts). */
  schedule?: ScheduleOption;
  /** A name of `hypervisors/list.ts`, or the embedder's own module. Default `bare`. */
  hypervisor?: string | HypervisorModule;
  /** `virtual` counts executed instructions (one is a nanosecond); otherwise a host's clock. Default `virtual`. */
  clock?: 'virtual' | HostClock;
  console?: Console;
  /**
   * What a second serial port is joined to: COM2 of a PC (ports 0x2f8 to 0x2ff, IRQ 3; Linux's ttyS1), which is there if this is, or if the
   * snapshot's machine has it. The same contract as the console's. Machines without a PC's serial ports, such as those of xen-pv and
   * xen-pvh, take none (NoSuchBusError).
   */
  serial?: Console;
  /** Disks; they come before those of `backEnds`. */
  disks?: readonly Disk[];
  /** What stands behind devices on the host. */
  backEnds?: Partial<BackEnds>;
  /** Makes the embedder's own devices: called once with the board's slot. Needs a platform with buses. */
  devices?: (slot: Slot) => readonly Device[];
  /** `jit` (default where it is built in), `interpreter`, or `both`: one against the other. */
  engine?: 'jit' | 'interpreter' | 'both';
  /** Where the JIT translates, e.g. `workerTranslator` of `polyvisor/node`. Default: on the guest's own thread. */
  translator?: TranslatorFactory;
  /** Machines with the same library, run one after the other, share translated code. */
  library?: RegionLibrary;
  /** Where the engine keeps what serves a later start, e.g. `diskCache` of `polyvisor/node`. Default: nowhere. */
  cache?: ArtifactCache;
  /**
   * Whatever enters the machine does so by it: a `Recorder` notes it, a `Player` gives it once more (replay/door.ts). The machine goes
   * on from a snapshot, and has no folders, and no disk that can be written to.
   */
  door?: Door;
  /** Takes every line of the log: unknown ports, MSRs and hypercalls, once each. */
  onLog?: (line: string) => void;
}

/** What one processor has done. */
export interface ProcessorStatistics {
  instructions: number;
  /** Guest time in nanoseconds in which it executed; a PAUSE takes some with the virtual clock. */
  ranTime: number;
  /** Guest time in nanoseconds in which it could have executed and did not: others had their turn, or the host did other things. */
  waitedTime: number;
  /** How often it got the turn; 0 for a processor alone, which always has it. */
  turns: number;
  /** Interrupts and messages that processors have sent to it, by its local APIC, a hypercall or an event channel. */
  ipis: number;
  /** As in `Statistics`, its own, without hypercalls that were answered within translated code (paravirt/fast-paths.ts). */
  exits: Record<string, number>;
}

export interface Statistics {
  hypervisor: string;
  /** Executed guest instructions. */
  instructions: number;
  /** Guest time in nanoseconds. */
  guestTime: number;
  /** Host time spent in `run`, in nanoseconds. */
  hostTime: number;
  /** The part of `hostTime` in which the guest was halted. */
  haltedTime: number;
  /** Host time in nanoseconds that the host took while the guest wanted to execute, as far as that was noticed. */
  stolenTime: number;
  /** Counts of what left translated code: 'port in', 'port out', 'mmio read', 'msr read', 'cpuid', 'hypercall' (wherever it was answered), … */
  exits: Record<string, number>;
  /** Counts of ops of the waist that were functions, by `group.op`. */
  operations: Record<string, number>;
  /** Accesses by port: `in 0x3f8`, `out 0x3f8`. */
  ports: Record<string, number>;
  /** Accesses by model-specific register: `read IA32_EFER`, `write 0x830`. */
  msrs: Record<string, number>;
  /** Hypercalls by name. */
  hypercalls: Record<string, number>;
  /** One for each processor, by its place. */
  processors: ProcessorStatistics[];
  /** One for each network. */
  networks: NetworkStatistics[];
  /** What the JIT has translated, with the milliseconds it took. Undefined without a JIT. */
  translation?: Record<string, number>;
}

/** What a guest can be asked for: */
export type MachineRequest =
  /** To switch itself off in an orderly way. Where the hypervisor has no way of its own, the power button is pressed. */
  | 'shutdown'
  /**
   * To make do with so many bytes of RAM, as by a balloon. With as much as the machine has, or more, it gets all back. Where it
   * cannot be asked, nothing happens.
   */
  | { readonly memory: number };

/** What ends a call of `run` though the guest would go on. */
export interface RunLimits {
  /** Seconds of host time; the exit is `timeout`. */
  timeout?: number;
  /** Guest instructions; the exit is `stopped`. */
  instructions?: number;
}

export interface SnapshotOptions {
  /** The engine forgets what it knows of the guest's code, for `learned` to tell what is executed from here on. */
  learns?: boolean;
  /** A snapshot of the same memory at another time: pages that are alike are shared with it, not copied. */
  like?: Snapshot | undefined;
  /** Its memory is the machine's, and not copied: it is to be used before the machine runs on. */
  passing?: boolean;
}

export interface Machine {
  /** Runs until the guest ends or `stop` is called; yields to the event loop often. May be called again after `stopped`. */
  run(limits?: RunLimits): Promise<Exit>;
  /** Ends `run` at the next chance with `{ kind: 'stopped' }`. */
  stop(): void;
  /**
   * Asks the guest for something by the means of its hypervisor, or else by those of the board. Whether and when it does so is the
   * guest's affair.
   * @throws Error for an amount of memory that is none
   */
  request(what: MachineRequest): void;
  /** Types into the console. */
  type(text: string | Uint8Array): void;
  readonly statistics: Statistics;
  /** Executed guest instructions, as in `statistics`; cheap to read often. */
  readonly instructions: number;
  /** Registers, the last instructions' addresses, pending interrupts: for people. */
  describe(): string;
  readonly log: readonly string[];
  /**
   * What the wall's clock shows at guest time 0, in nanoseconds since the Unix epoch: with guest time, it is what the guest finds in its
   * board's clock or its hypervisor's. Undefined for machines that stand for another one, or for two.
   */
  readonly epoch: bigint | undefined;
  /**
   * The machine as it is now: call it when `run` has returned, or from a timer while it runs, not from within a device or the
   * console. The guest does not notice.
   * @throws Error if the guest has ended, or this kind of machine cannot tell
   */
  snapshot(options?: SnapshotOptions): Snapshot;
  /**
   * Memory and processors as an ELF core for gdb, in pieces. The guest may have ended. RAM is not copied: use it before the machine runs on.
   * @throws Error if this kind of machine cannot tell
   */
  core(): Uint8Array[];
  /**
   * For `Snapshot.decoded`: what the engine has decoded since the last snapshot that was taken with `learns`. It is for this version
   * alone.
   */
  learned(): Uint8Array;
  /**
   * What a debugger needs: to be used while the machine does not run. While it has breakpoints, `run` also ends with `stopped` at one.
   * @throws Error if this kind of machine cannot be debugged
   */
  debug(): Target;
}

const DEFAULT_MEMORY = 256 << 20;
const LEAST_MEMORY = 1 << 20;
/** A PC's devices begin above. */
const MOST_MEMORY = 3 * 2 ** 30;

/** RAM in bytes. @throws Error for a size that no machine here can have */
export function memorySize({ snapshot, memory = snapshot?.header.memory ?? DEFAULT_MEMORY }: MachineOptions): number {
  if (!Number.isInteger(memory) || memory % 4096 || memory < LEAST_MEMORY || memory > MOST_MEMORY)
    throw new Error(`memory: ${memory} bytes is not a multiple of 4096 from 1 MiB to 3 GiB`);
  return memory;
}

/** @throws Error for a request that cannot be meant */
export function checkRequest(what: MachineRequest): void {
  if (what === 'shutdown') return;
  const { memory } = what;
  if (!Number.isSafeInteger(memory) || memory < LEAST_MEMORY)
    throw new Error(`request: memory of ${memory} bytes is not a whole number of 1 MiB or more`);
}

/** What is for the start of a guest. */
const FOR_A_START = ['kernel', 'initrd', 'append', 'commandLine', 'modules', 'entry'] as const;

/** @throws Error for what a machine that goes on from a snapshot has no use for */
export function checkSnapshotOptions(options: MachineOptions): void {
  const given = options.snapshot && FOR_A_START.find(name => options[name] !== undefined);
  if (given) throw new Error(`${given}: the guest is the snapshot's`);
  if (!options.door) return;
  const { disks, folders } = backEndsOf(options);
  if (!options.snapshot) throw new Error('a machine with a door goes on from a snapshot');
  if (folders.length > 0 || disks.some(({ readOnly, memory }) => !readOnly && !memory))
    throw new Error('what is recorded has no folders, and no disk that can be written to');
}

/** @throws Error for processors that no machine here can have, or that the hypervisor cannot start */
export function topologyOf({ cpus = 1 }: MachineOptions, { name, smp }: Paravirt): Topology {
  const topology = arrange(typeof cpus === 'number' ? { cpus } : cpus);
  if (typeof topology === 'string') throw new Error(`cpus: ${topology}`);
  if (topology.cpus > smp.maximum)
    throw new ImageError(
      `${name} has ${smp.maximum === 1 ? 'one processor' : `at most ${smp.maximum} processors`} here, so --cpus ${topology.cpus} is too many`,
    );
  return topology;
}

/** How many processors there are to be. @throws Error for what cannot be */
export function processorCount({ cpus = 1 }: MachineOptions): number {
  const topology = arrange(typeof cpus === 'number' ? { cpus } : cpus);
  if (typeof topology === 'string') throw new Error(`cpus: ${topology}`);
  return topology.cpus;
}

/** @throws Error for a schedule that is none */
export function scheduleOption({ schedule = 'fair' }: MachineOptions): ScheduleOption {
  if (schedule !== 'fair' && !(Number.isInteger(schedule) && schedule >= 0 && schedule <= LARGEST_SEED))
    throw new Error(`schedule: ${schedule} is neither "fair" nor a seed from 0 to ${LARGEST_SEED}`);
  return schedule;
}

/** @throws Error for a name that is not in the list */
export function hypervisorModule({
  snapshot,
  hypervisor = snapshot?.header.hypervisor ?? 'bare',
}: MachineOptions): HypervisorModule {
  const module = typeof hypervisor === 'object' ? hypervisor : findHypervisor(hypervisor);
  if (!module) throw new Error(`no hypervisor ${hypervisor}`);
  return module;
}
