/**
 * What is plugged into what: the engine and its memory, time, the console, the buses, the hypervisor, the board with its
 * devices, and for each processor what answers its questions.
 */

import { APIC_MSRS } from '../devices/apic-registers.ts';
import type { Board } from '../devices/board.ts';
import { COM2, createPcBoard } from '../devices/board.ts';
import type { LocalApic } from '../devices/local-apic.ts';
import { createLocalApicBoard } from '../devices/local-apic-board.ts';
import { VGA_WINDOW } from '../devices/pc-layout.ts';
import { PCI_DISKS } from '../devices/pci-disks.ts';
import { PCI_NETWORKS, PCI_VSOCK } from '../devices/pci-networks.ts';
import type { Core } from '../engine/core.ts';
import { Engine, type EngineEnvironment } from '../engine/engine.ts';
import { libraryName } from '../engine/jit/library.ts';
import { EngineProcessor } from '../engine/processor.ts';
import type { Vcpu } from '../engine/vcpu.ts';
import { describeExceptions } from '../engine/x86/exceptions.ts';
import { nativeMsrs } from '../engine/x86/msrs.ts';
import { backEndsOf, checkBuses, NoSuchBusError } from '../host/back-ends.ts';
import type { HostClock } from '../host/clock.ts';
import { type Console, MUTE } from '../host/console.ts';
import { createLog, type Log } from '../host/log.ts';
import { Bus } from '../memory/bus.ts';
import { nothing } from '../paravirt/native.ts';
import type { HypervisorContext, HypervisorModule, Paravirt, Questions } from '../paravirt/operations.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { StateStore } from '../state/state.ts';
import { IA32_PRED_CMD, IA32_SPEC_CTRL } from '../x86/msrs.ts';
import { apicId, type Topology } from '../x86/topology.ts';
import { Counts } from './counts.ts';
import { Ending } from './ending.ts';
import { type ConsoleInput, createConsoleInput } from './input.ts';
import { Interrupts } from './interrupts.ts';
import { createNetworkInput, type NetworkInput } from './network-input.ts';
import { type MachineOptions, memorySize, processorCount, scheduleOption, topologyOf } from './options.ts';
import { bindQuestions, busQuestions, cpuidQuestion, msrQuestions, type Tallies } from './questions.ts';
import { createBoardRandom, createRandom, randomSeed } from './random.ts';
import { createSchedule } from './schedule.ts';
import { Scheduler } from './scheduler.ts';
import { createTallies } from './tallies.ts';
import { createTime, createTsc, type GuestTime, type TimeStampCounter } from './time.ts';

/** The width of physical addresses that CPUID reports. */
const PHYSICAL_ADDRESS_BITS = 40;

/** As much of a disk as its boot loader has before a partition begins. */
const FIRST_SECTORS = 1 << 16;

/** One processor with what is its own. */
export interface ProcessorParts {
  readonly vcpu: Vcpu;
  readonly processor: EngineProcessor;
  readonly tsc: TimeStampCounter;
  readonly apic: LocalApic | undefined;
  readonly questions: Questions;
  readonly interrupts: Interrupts;
  /** What it has done, for reports: nothing depends on it, and no snapshot has it. */
  readonly activity: Activity;
}

export interface Activity {
  /** Exits by kind. */
  readonly exits: Counts;
  /** How often it got the turn, where there are several. */
  turns: number;
  /** Nanoseconds of guest time in which it had the turn, where there are several. */
  ran: number;
}

export interface Parts {
  readonly core: Core;
  readonly topology: Topology;
  readonly scheduler: Scheduler;
  readonly states: StateStore;
  readonly log: Log;
  readonly time: GuestTime;
  readonly ending: Ending;
  readonly input: ConsoleInput;
  /** Of the second serial port, where there is one. */
  readonly serial: ConsoleInput | undefined;
  readonly network: NetworkInput;
  readonly context: HypervisorContext;
  readonly table: Paravirt;
  /** Undefined where the platform has no emulated device. */
  readonly board: Board | undefined;
  /** In order of their places: `processors[i]` has `core.vcpus[i]`. */
  readonly processors: readonly ProcessorParts[];
  readonly operations: Counts;
  readonly tallies: Tallies;
}

/** Has V8 compile the engine's modules; it does so while the kernel is unpacked. @throws Error for misuse */
export function createEngine(options: MachineOptions): Engine {
  const ramSize = memorySize(options);
  return new Engine(ramSize, {
    jit: options.engine !== 'interpreter',
    processors: processorCount(options),
    cpu: options.cpu,
    translator: options.translator,
    library: options.library,
    libraryName: codeName(options),
    patient: options.snapshot !== undefined,
    cache: options.cache,
  });
}

/** What a cache calls the translated code of the guest. */
export function codeName(options: MachineOptions): string {
  const { snapshot, kernel } = options;
  return snapshot?.header.code ?? libraryName(kernel ?? firstSectors(options), memorySize(options));
}

/** What tells one disk's boot loader from another's. */
function firstSectors(options: MachineOptions): Uint8Array {
  const [disk] = backEndsOf(options).disks;
  const bytes = new Uint8Array(Math.min(disk?.size ?? 0, FIRST_SECTORS));
  disk?.read(0, bytes);
  return bytes;
}

/** The clock that guest time follows, as the machine reads it; undefined: it counts instructions. */
export function hostClockOf({ clock, door }: MachineOptions): HostClock | undefined {
  if (typeof clock !== 'object') return undefined;
  return door ? door.clock(clock) : clock;
}

/** What the loop that runs the machine hears from the parts. */
export interface Listener {
  /** Somebody is about to type, or a network has a frame. */
  onTyping(): void;
  /** What was typed has arrived, or a timer is set for the frame. */
  onTyped(): void;
}

/**
 * Connects everything but the guest. What is made here outlives the images in `options`, so it keeps no hold of `options`.
 * @throws Error for misuse
 */
export function connect(core: Core, options: MachineOptions, module: HypervisorModule, listener: Listener): Parts {
  const { memory } = core;
  const log = createLog(options.onLog);
  const states = new StateStore();
  const { door } = options;
  const host = hostClockOf(options);
  const scheduler = new Scheduler(core, createSchedule(scheduleOption(options), states), states);
  const time = createTime(host, scheduler.progress, states);
  const { clock } = time;
  const stop = () => core.running.requestExit();
  clock.onEarlier = stop;
  const ending = new Ending(stop);
  const { kill, request } = ending;
  const input = createConsoleInput(options.console, listener.onTyping, listener.onTyped, door?.inputs.type);
  const { console } = input;
  const outside = backEndsOf(options);
  const links = [...outside.networks, ...(outside.vsock ? [outside.vsock] : [])];
  const network = createNetworkInput(links, clock, listener.onTyping, listener.onTyped, door);
  const networks = network.networks.slice(0, outside.networks.length);
  const vsock = outside.vsock && { ...network.networks.at(-1)!, cid: outside.vsock.cid };
  const end = secondSerial(options);
  const serial = end && createConsoleInput(end, listener.onTyping, listener.onTyped, door?.inputs.serial);
  const given = { ...outside, networks, vsock, serial: serial?.console };
  const ports = new Bus('port', log);
  const mmio = new Bus('mmio', log);

  const tscs = core.vcpus.map(({ cpu }) => createTsc(clock, cpu));
  const cpus = core.vcpus.map(
    (vcpu, index) =>
      new EngineProcessor(vcpu, { clock, log, tsc: tscs[index]!, kill: reason => kill(named(vcpu, reason)), request }),
  );
  let board: Board | undefined;
  const context: HypervisorContext = {
    cpus,
    memory,
    clock,
    state: (name, version, initial) => states.state(name, version, initial),
    console,
    backEnds: given,
    mmio,
    ports,
    edge: gsi => board?.edge(gsi),
    unplug: matches => board?.unplug(matches),
    log,
    kill,
    request,
  };
  const table = module.make(context);
  const topology = topologyOf(options, table);
  const apicIds = cpus.map(({ id }) => apicId(topology, id));
  const physicalAddressBits = PHYSICAL_ADDRESS_BITS;
  const common = { ports, mmio, clock, states, memory, log, tscs, apicIds, physicalAddressBits, kill, request };
  const { platform, cards } = table.boot;
  const isPartition = platform === 'partition';
  const isPc = platform === 'pc' || isPartition;
  // Where a hypervisor stands on another one, the board is the lower one's: its guests see nothing of it.
  const ownsPc = isPc && !module.under;
  const diskBuses = busesOf(table.boot.diskBuses, ownsPc ? [...PCI_DISKS.keys()] : []);
  checkBuses('disk', given.disks, diskBuses, table.name);
  const networkBuses = busesOf(table.boot.networkBuses, ownsPc ? [...PCI_NETWORKS.keys()] : []);
  const wanted = given.networks.filter(({ optional = false }) => !optional);
  checkBuses('net', wanted, networkBuses, table.name);
  const vsockBuses = busesOf(table.boot.vsockBuses, ownsPc ? [PCI_VSOCK] : []);
  checkBuses('vsock', vsock ? [vsock] : [], vsockBuses, table.name);
  const [[diskBus], [networkBus], [vsockBus]] = [diskBuses, networkBuses, vsockBuses];
  if (serial && !ownsPc) throw new NoSuchBusError('serial', `${NO_SECOND_SERIAL} under ${table.name}`);
  const seeds = cpus.map(() => {
    const seed = host === undefined ? 0n : randomSeed();
    return door ? door.seed(seed) : seed;
  });
  if (isPc) {
    const random = createBoardRandom(states, seeds[0]!);
    const buses = { diskBus, networkBus, vsockBus };
    board = createPcBoard({ ...common, console, backEnds: given, ...buses, cards, isPartition, random });
  } else if (platform === 'local-apic') board = createLocalApicBoard(common);
  if (isPc) core.mapDevice(VGA_WINDOW.start, VGA_WINDOW.end);
  addDevices(board, options, table);

  const operations = new Counts();
  const tallies = createTallies(table.cpu, { ...nativeMsrs, ...APIC_MSRS });
  const machine = { core, topology, scheduler, states, log, time, ending, input, serial, network };
  if (table.fastPaths) core.installPaths(table.fastPaths);
  const shared = { ...machine, context, table, board, operations, tallies };
  const processors = cpus.map((processor, index) => {
    return connectProcessor(shared, core.vcpus[index]!, processor, tscs[index]!, seeds[index]!);
  });
  scheduler.connect(processors, time);
  return { ...shared, processors };
}

/** Names of buses: those that the hypervisor's guests prefer come first. */
const busesOf = (preferred: readonly string[] = [], board: readonly string[]): string[] => [
  ...new Set([...preferred, ...board]),
];

const NO_SECOND_SERIAL = 'the guest has no second serial port';

/**
 * What the second serial port is joined to. A snapshot's machine keeps the port that it had, also where nobody looks any more.
 * @throws SnapshotError for a snapshot whose machine has none
 */
function secondSerial(options: MachineOptions): Console | undefined {
  const { serial } = backEndsOf(options);
  const { snapshot } = options;
  if (!snapshot) return serial;
  const hasPort = Object.hasOwn(snapshot.states, COM2);
  if (serial && !hasPort) throw new SnapshotError('its machine has no second serial port: leave --serial out');
  return hasPort ? (serial ?? MUTE) : undefined;
}

/** The embedder's devices. */
function addDevices(board: Board | undefined, { devices }: MachineOptions, { name }: Paravirt): void {
  if (!devices) return;
  if (!board) throw new Error(`${name} has no buses to attach devices to`);
  for (const device of devices(board.slot)) board.add(device);
}

/**
 * Connects one processor to its local APIC, and to all that answers its questions.
 * @param seed of its random numbers
 */
function connectProcessor(
  parts: Omit<Parts, 'processors'>,
  vcpu: Vcpu,
  processor: EngineProcessor,
  tsc: TimeStampCounter,
  seed: bigint,
): ProcessorParts {
  const { core, table, context, topology, board, operations, tallies, ending } = parts;
  const exits = new Counts();
  const { cpu } = vcpu;
  const apic = board?.localApics[processor.id];
  processor.interrupts = apic;
  const questions = bindQuestions(table, processor, operations, tallies, exits);
  const interrupts = new Interrupts({
    vcpu,
    processor,
    questions,
    apic,
    delivered: exits.of('interrupt'),
    alwaysAttentive: table.irq.pending === nothing,
  });
  const { clock, ports, mmio } = context;
  const answerers = { table, questions, processor, cpu, ports, mmio, apic, exits, tallies };
  const { halt } = questions;
  const halts = exits.of('halt');
  const environment: EngineEnvironment = {
    ...questions,
    ...busQuestions(answerers),
    ...msrQuestions(answerers),
    ...cpuidQuestion(answerers, topology),
    halt() {
      halts.value++;
      if (halt) halt();
      else vcpu.halted = true;
    },
    interruptPending: () => interrupts.wait(),
    boundary: () => interrupts.deliver(),
    ticks: clock.now,
    tsc: tsc.read,
    tscMoved() {
      apic?.timer.tscMoved();
      questions.tscMoved?.();
    },
    taskPriority: () => apic?.cr8 ?? 0,
    setTaskPriority(value) {
      if (apic) apic.cr8 = value;
    },
    random: createRandom(cpu, processor.id, seed),
    ...(board?.coprocessorError && processor.id === 0 ? { coprocessorError: board.coprocessorError } : {}),
    kill: reason => ending.kill(named(vcpu, reason)),
    tripleFault: () => ending.end({ kind: 'triple-fault', reason: tripleFaultOf(vcpu) }),
  };
  vcpu.environment = environment;
  cpu.environment = environment;
  vcpu.native = {
    exceptions: !questions.exception && !questions.pageFault,
    syscalls: !questions.syscall,
    speculation: !table.cpu.msrs[IA32_SPEC_CTRL] && !table.cpu.msrs[IA32_PRED_CMD],
  };
  if (core.paths) vcpu.paths = core.paths.answers;
  return { vcpu, processor, tsc, apic, questions, interrupts, activity: { exits, turns: 0, ran: 0 } };
}

/** A processor that shuts down takes the others with it: a board starts anew then (SDM 3A 6.15, interrupt 8). */
const tripleFaultOf = (vcpu: Vcpu) => named(vcpu, describeExceptions(vcpu.cpu).slice(-3).join('; '));

/** Where there are several, a reason says whose it is. */
const named = ({ core, index }: Vcpu, reason: string) =>
  core.vcpus.length > 1 ? `processor ${index}: ${reason}` : reason;
