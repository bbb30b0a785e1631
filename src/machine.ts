/**
 * One virtual machine: memory, a processor, buses, a hypervisor and devices, and the loop that runs them. Reading order: the
 * options, then `createMachine` (what is plugged into what), then `run`.
 */
import { buildAcpiTables } from './boot/acpi.ts';
import { createBios } from './boot/bios/bios.ts';
import { TRAP_PORT } from './boot/bios/image.ts';
import { pcMemoryMap } from './boot/e820.ts';
import { parseKernel } from './boot/image.ts';
import { ImageError } from './boot/image-error.ts';
import { type BootEntry, type BootModule, loadKernel } from './boot/load.ts';
import { HostTime, MachineClock, VirtualTime } from './clock.ts';
import { type Assembled, compareTiers } from './compare-tiers.ts';
import { createPcBoard, VGA_WINDOW } from './devices/board.ts';
import type { Device, Slot } from './devices/device.ts';
import { createLocalApicBoard } from './devices/local-apic-board.ts';
import { Engine, type EngineEnvironment } from './engine/engine.ts';
import { libraryName, type RegionLibrary } from './engine/jit/library.ts';
import type { TranslatorFactory } from './engine/jit/translator.ts';
import { EngineProcessor } from './engine/processor.ts';
import { cpuid } from './engine/x86/cpuid.ts';
import { nativeMsrs } from './engine/x86/msrs.ts';
import * as state from './engine/x86/state.ts';
import type { Exit } from './exits.ts';
import type { ArtifactCache } from './host/artifact-cache.ts';
import { type BackEnds, backEndsOf } from './host/back-ends.ts';
import type { HostClock } from './host/clock.ts';
import type { Console } from './host/console.ts';
import type { Disk } from './host/disk.ts';
import { createLog } from './host/log.ts';
import { findHypervisor } from './hypervisors/list.ts';
import { Bus, type Width } from './memory/bus.ts';
import { native, nothing } from './paravirt/native.ts';
import type { HypervisorContext, HypervisorModule, Paravirt } from './paravirt/operations.ts';
import type { RegisterName } from './paravirt/processor.ts';
import { StateStore } from './state/state.ts';
import { createTallies } from './tallies.ts';

export interface MachineOptions {
  /** The kernel image: bzImage, vmlinux (ELF), or whatever `parseKernel` knows. */
  kernel: Uint8Array;
  initrd?: Uint8Array;
  /** Appended to what the hypervisor's console needs; `commandLine` replaces the whole line. */
  append?: string;
  commandLine?: string;
  /** Files for a multiboot kernel, behind the initrd. */
  modules?: readonly BootModule[];
  /** By which of its entries the kernel is booted, on a PC; the shortest way when left out. */
  entry?: BootEntry;
  /** RAM in bytes, a multiple of 4096. Default 256 MiB. */
  memory?: number;
  /** A name of `hypervisors/list.ts`, or a module of the embedder's own. Default `bare`. */
  hypervisor?: string | HypervisorModule;
  /** `virtual` counts executed instructions (one is a nanosecond); otherwise a host's clock. Default `virtual`. */
  clock?: 'virtual' | HostClock;
  console?: Console;
  /** Disks; they come before those of `backEnds`. */
  disks?: readonly Disk[];
  /** What stands behind devices on the host. */
  backEnds?: Partial<BackEnds>;
  /** Devices of the embedder's own: called once with the board's slot. Needs a platform with buses. */
  devices?: (slot: Slot) => readonly Device[];
  /** `jit` (default where it is built in), `interpreter`, or `both`: one against the other. */
  engine?: 'jit' | 'interpreter' | 'both';
  /** Where the JIT translates, e.g. `workerTranslator` of `polyvisor/node`. Default: on the guest's own thread. */
  translator?: TranslatorFactory;
  /** Machines that are given the same one, one after the other, share translated code. */
  library?: RegionLibrary;
  /** Where the engine keeps what serves a later start, e.g. `diskCache` of `polyvisor/node`. Default: nowhere. */
  cache?: ArtifactCache;
  /** Called with every line of the log (unknown ports, MSRs, hypercalls: once each). */
  onLog?: (line: string) => void;
}

export interface Statistics {
  hypervisor: string;
  /** Executed guest instructions. */
  instructions: number;
  /** Guest time in nanoseconds. */
  guestTime: number;
  /** Host time spent in `run`, in nanoseconds, and how much of it the guest was halted. */
  hostTime: number;
  haltedTime: number;
  /** Counts of what left translated code: 'port in', 'port out', 'mmio read', 'msr read', 'cpuid', 'hypercall', … */
  exits: Record<string, number>;
  /** Counts of ops of the waist that were functions, by `group.op`. */
  operations: Record<string, number>;
  /** Accesses by port: `in 0x3f8`, `out 0x3f8`. */
  ports: Record<string, number>;
  /** Accesses by model-specific register: `read IA32_EFER`, `write 0x830`. */
  msrs: Record<string, number>;
  /** By the hypercall's name. */
  hypercalls: Record<string, number>;
  /** What the second tier has translated, where there is one: regions, guest instructions, modules, milliseconds it took, … */
  translation?: Record<string, number>;
}

export interface Machine {
  /** Runs until the guest ends or `stop` is called; yields to the event loop often. May be called again after `stopped`. */
  run(limits?: { timeout?: number; instructions?: number }): Promise<Exit>;
  /** Ends `run` at the next chance with `{ kind: 'stopped' }`. */
  stop(): void;
  /** Types into the console. */
  type(text: string | Uint8Array): void;
  readonly statistics: Statistics;
  /** As in `statistics`, for who looks often. */
  readonly instructions: number;
  /** Registers, the last instructions' addresses, pending interrupts: for people. */
  describe(): string;
  readonly log: readonly string[];
}

const DEFAULT_MEMORY = 256 << 20;
/** Guest TSC, in Hz: one tick a nanosecond, on every clock. */
const TSC_FREQUENCY = 1_000_000_000;
/** Where firmware tables go: below 1 MiB, where guests look for the root pointer. */
const ACPI_ADDRESS = 0xe0000;
/** With the virtual clock the epoch is fixed, so that runs repeat: 2026-01-01. */
const VIRTUAL_EPOCH = 1_767_225_600_000_000_000n;
/** Instructions between two looks at a host's clock, and host time between two turns of the event loop. */
const SLICE = 200_000;
const TURN = 8_000_000;
/** Guest time until the next alarm, in nanoseconds, in which something that takes the host 20 ms is not noticed. */
const LONG_SLEEP = 100_000_000;

/** @throws ImageError (boot/image.ts) for an image that cannot boot here; Error for misuse. */
export async function createMachine(options: MachineOptions): Promise<Machine> {
  return options.engine === 'both' ? compareTiers(options, assemble) : (await assemble(options)).machine;
}

/** A machine, and its engine for those who look inside. */
export async function assemble(options: MachineOptions): Promise<Assembled> {
  const module =
    typeof options.hypervisor === 'object' ? options.hypervisor : findHypervisor(options.hypervisor ?? 'bare');
  if (!module) throw new Error(`no hypervisor ${options.hypervisor}`);
  const ramSize = options.memory ?? DEFAULT_MEMORY;
  if (!Number.isInteger(ramSize) || ramSize % 4096 || ramSize < 1 << 20 || ramSize > 0xc0000000)
    throw new Error(`memory: ${ramSize} bytes is not a multiple of 4096 from 1 MiB to 3 GiB`);
  // Nothing that outlives this function may hold on to the images: closures see `outside`, never `options`.
  const outside = options.console;
  // Before the kernel is unpacked: V8 compiles meanwhile.
  const engine = new Engine(ramSize, {
    jit: options.engine !== 'interpreter',
    translator: options.translator,
    library: options.library,
    libraryName: libraryName(options.kernel, ramSize),
    cache: options.cache,
  });
  const image = await parseKernel(options.kernel).catch(error => {
    engine.close();
    throw error;
  });
  const log = createLog(options.onLog);
  const { cpu, memory } = engine;

  // ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────
  const host = typeof options.clock === 'object' ? options.clock : undefined;
  const states = new StateStore();
  const virtual = host ? undefined : new VirtualTime(() => engine.instructions, states);
  const following = host && new HostTime(host, () => engine.instructions);
  const clock = new MachineClock((virtual ?? following!).now, host ? host.wall() : VIRTUAL_EPOCH, states);
  clock.onEarlier = () => engine.requestExit();
  let tscOffset = 0n;
  const tsc = {
    frequency: TSC_FREQUENCY,
    read: () => BigInt(Math.floor(clock.now())) + tscOffset,
  };

  // ── how a run ends ────────────────────────────────────────────────────────────────────────────────────────────────
  let ended: Exit | undefined;
  const end = (exit: Exit): void => {
    ended ??= exit; // the first reason wins
    engine.requestExit();
  };
  const kill = (reason: string): void => end({ kind: 'killed', reason });
  const request = (what: 'power-off' | 'reset' | 'crash', detail?: number | string): void =>
    end(
      what === 'crash'
        ? { kind: 'panic', reason: typeof detail === 'string' ? detail : 'the guest reported a crash' }
        : what === 'reset'
          ? { kind: 'reset' }
          : { kind: 'power-off', ...(typeof detail === 'number' ? { status: detail } : {}) },
    );

  /** Ends the sleep of a halted machine. */
  let wakeUp: (() => void) | undefined;

  // ── console, buses, board, hypervisor ─────────────────────────────────────────────────────────────────────────────
  const takers: ((data: Uint8Array) => void)[] = [];
  const console: Console = {
    write: data => outside?.write(data),
    onInput: take => takers.push(take),
  };
  const type = (data: Uint8Array): void => {
    if (engine.halted) idled();
    for (const take of takers) take(data);
    engine.requestExit();
    wakeUp?.();
  };
  outside?.onInput(type);
  const backEnds: BackEnds = backEndsOf(options);
  if (backEnds.networks.length) throw new Error('networks: this version has no device that takes one');
  const ports = new Bus('port', log);
  const mmio = new Bus('mmio', log);
  const processor = new EngineProcessor(0, engine, { clock, log, tsc, kill, request });
  const context: HypervisorContext = {
    cpus: [processor],
    memory,
    clock,
    state: (name, version, initial) => states.state(name, version, initial),
    console,
    backEnds,
    mmio,
    ports,
    edge: gsi => board?.edge(gsi),
    log,
    kill,
    request,
  };
  const pv: Paravirt = module.make(context);
  const { platform } = pv.boot;
  const common = { ports, mmio, clock, states, memory, log, tsc, physicalAddressBits: 40, kill, request };
  const board =
    platform === 'pc'
      ? createPcBoard({ ...common, console, backEnds })
      : platform === 'local-apic'
        ? createLocalApicBoard(common)
        : undefined;
  const apic = board?.localApics[0];
  processor.interrupts = apic;
  if (platform === 'pc') engine.mapDevice(VGA_WINDOW.start, VGA_WINDOW.end);
  if (options.devices) {
    if (!board) throw new Error(`${pv.name} has no buses to attach devices to`);
    for (const device of options.devices(board.slot)) board.add(device);
  }
  if (apic)
    apic.pins = {
      onChange: () => engine.requestExit(),
      nmi: () => {
        nmiPending = true;
        engine.requestExit();
      },
      init: () => {},
      startUp: () => {},
    };
  let nmiPending = false;

  // ── what the processor asks ───────────────────────────────────────────────────────────────────────────────────────
  const exits: Record<string, number> = {};
  const operations: Record<string, number> = {};
  const tallies = createTallies(pv.cpu, nativeMsrs);
  const count = (table: Record<string, number>, key: string): void => void (table[key] = (table[key] ?? 0) + 1);
  const natively = (leaf: number, subleaf: number) =>
    cpuid(leaf, subleaf, { apicId: 0, osxsave: (cpu.get32(state.CR4) & (1 << 18)) !== 0, apic: board !== undefined });
  const splitBytes = (width: number, read: (index: number) => number): number => {
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = value * 256 + read(i);
    return value;
  };
  const environment: EngineEnvironment = {
    portRead(port, bytes) {
      count(exits, 'port in');
      tallies.in.add(port);
      if (port + bytes > 0x10000) return splitBytes(bytes, i => ports.read((port + i) & 0xffff, 1));
      return ports.read(port, bytes as Width) >>> 0;
    },
    portWrite(port, bytes, value) {
      count(exits, 'port out');
      tallies.out.add(port);
      ports.write(port, bytes as Width, value >>> 0);
    },
    mmioRead(address, width) {
      count(exits, 'mmio read');
      return mmio.read(address, width);
    },
    mmioWrite(address, width, value) {
      count(exits, 'mmio write');
      mmio.write(address, width, value);
    },
    cpuid(leaf, subleaf) {
      count(exits, 'cpuid');
      const { cpuid: op } = pv.cpu;
      if (typeof op === 'function') {
        count(operations, 'cpu.cpuid');
        const answer = op(processor, leaf, subleaf, () => natively(leaf, subleaf));
        if (answer) return answer;
      }
      return natively(leaf, subleaf);
    },
    readMsr(index) {
      count(exits, 'msr read');
      tallies.read.add(index);
      const own = pv.cpu.msrs[index];
      if (own) return own.read?.(processor);
      const found = nativeMsrs[index];
      if (found) return found.read?.(cpu);
      const value = apic?.readMsr(index);
      if (value === undefined) log.once(`rdmsr ${index}`, `read of MSR 0x${index.toString(16)}: not there, #GP`);
      return value;
    },
    writeMsr(index, value) {
      count(exits, 'msr write');
      tallies.write.add(index);
      const own = pv.cpu.msrs[index];
      if (own) return own.write?.(processor, value) ?? false;
      const found = nativeMsrs[index];
      const taken = found ? (found.write?.(cpu, value) ?? false) : (apic?.writeMsr(index, value) ?? false);
      if (!taken)
        log.once(`wrmsr ${index}`, `write of 0x${value.toString(16)} to MSR 0x${index.toString(16)}: refused, #GP`);
      return taken;
    },
    hypercall() {
      count(exits, 'hypercall');
      if (pv.cpu.hypercall === native) return false;
      count(operations, 'cpu.hypercall');
      tallies.hypercall(processor);
      if (pv.cpu.hypercall !== nothing) pv.cpu.hypercall(processor);
      return true;
    },
    syscall() {
      if (pv.cpu.syscall === native) return false;
      count(operations, 'cpu.syscall');
      tallies.hypercall(processor);
      if (pv.cpu.syscall !== nothing) pv.cpu.syscall(processor);
      return true;
    },
    setRoot(value) {
      if (pv.mmu.setRoot === native) return false;
      count(operations, 'mmu.setRoot');
      if (pv.mmu.setRoot !== nothing) pv.mmu.setRoot(processor, value);
      return true;
    },
    softwareInterrupt(vector, next) {
      if (pv.irq.softwareInterrupt === native) return false;
      count(operations, 'irq.softwareInterrupt');
      if (pv.irq.softwareInterrupt !== nothing) pv.irq.softwareInterrupt(processor, vector, next);
      return true;
    },
    exception(exception) {
      if (pv.irq.exception === native) return false;
      count(operations, 'irq.exception');
      return pv.irq.exception === nothing || pv.irq.exception(processor, exception);
    },
    pageFault(exception) {
      if (pv.mmu.pageFault === native || pv.mmu.pageFault === nothing) return false;
      count(operations, 'mmu.pageFault');
      return pv.mmu.pageFault(processor, exception);
    },
    interruptPending: () => interruptWaits(),
    boundary,
    tsc: tsc.read,
    setTsc: value => void (tscOffset += value - tsc.read()),
    taskPriority: () => apic?.cr8 ?? 0,
    setTaskPriority(value) {
      if (apic) apic.cr8 = value;
    },
    halt() {
      count(exits, 'halt');
      if (typeof pv.irq.halt === 'function') {
        count(operations, 'irq.halt');
        pv.irq.halt(processor);
      } else engine.halt();
    },
    random: () => random(),
    kill,
    tripleFault: () => end({ kind: 'triple-fault', reason: engine.recent.slice(-3).join('; ') }),
  };
  engine.environment = environment;
  engine.native = {
    exceptions: pv.irq.exception === native && (pv.mmu.pageFault === native || pv.mmu.pageFault === nothing),
    syscalls: pv.cpu.syscall === native,
  };
  cpu.environment = environment;
  /** SplitMix64: a run repeats exactly with the virtual clock; with a host's it starts elsewhere each time. */
  let seed = host ? BigInt(Math.floor(Math.random() * 2 ** 53)) : 0n;
  function random(): bigint {
    seed = BigInt.asUintN(64, seed + 0x9e3779b97f4a7c15n);
    let z = seed;
    z = BigInt.asUintN(64, (z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = BigInt.asUintN(64, (z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }
  function interruptWaits(): boolean {
    if (nmiPending && !cpu.nmiBlocked) return true;
    if (pv.irq.settle !== native && pv.irq.settle !== nothing) pv.irq.settle(processor);
    if (pv.irq.pending !== native) return pv.irq.pending !== nothing && pv.irq.pending(processor);
    return apic?.pending() ?? false;
  }
  /** Between two instructions: deliver what is pending (SDM 3A 6.9). */
  function boundary(): void {
    if (nmiPending && !cpu.nmiBlocked) {
      nmiPending = false;
      cpu.nmiBlocked = true;
      engine.wake();
      processor.interrupt(2);
      return;
    }
    const { deliver, delivered } = pv.irq;
    if (deliver !== native) {
      cpu.set32(state.ATTENTION, pv.irq.pending === nothing || interruptWaits() ? 1 : 0);
      if (deliver !== nothing && deliver(processor)) engine.wake();
      return;
    }
    // ATTENTION: something may be pending. It stays set while an interrupt waits for IF.
    if (!cpu.get32(state.ATTENTION)) return;
    if (!interruptWaits()) {
      cpu.set32(state.ATTENTION, 0);
      return;
    }
    if (!cpu.interruptFlag) return;
    const vector = apic!.acknowledge();
    if (vector < 0) return;
    count(exits, 'interrupt');
    engine.wake();
    processor.interrupt(vector);
    cpu.set32(state.ATTENTION, interruptWaits() ? 1 : 0);
    if (delivered !== native && delivered !== nothing) delivered(processor, vector);
  }

  // ── boot ──────────────────────────────────────────────────────────────────────────────────────────────────────────
  const commandLine = options.commandLine ?? `console=${pv.boot.console}${options.append ? ` ${options.append}` : ''}`;
  const boot = { image, initrd: options.initrd, commandLine, memory, log };
  let entry: import('./boot/entry.ts').EntryState;
  if (typeof pv.boot.load === 'function') {
    if (options.entry)
      throw new ImageError(`${pv.name} has an entry of its own; leave out which of the kernel's to take`);
    entry = pv.boot.load(boot, context);
  } else {
    const tables = buildAcpiTables(board!.description, ACPI_ADDRESS, pv.boot.devices);
    memory.copyIn(tables.address, tables.bytes);
    const memoryMap = pcMemoryMap(ramSize);
    const bios = createBios({ processor, memory, memoryMap, clock, console, log, request });
    board!.slot.ports('bios', TRAP_PORT, 1, bios);
    const { initrd, modules } = options;
    const load = { initrd, modules, commandLine, rsdp: tables.address, memoryMap };
    entry = loadKernel(memory, image, load, options.entry);
  }
  // EFER and CR4 before CR0: paging is turned on in one step.
  const order: RegisterName[] = ['efer', 'cr4', 'cr3', 'cr0'];
  for (const name of order) if (entry.registers[name] !== undefined) processor.set(name, entry.registers[name]);
  for (const [name, segment] of Object.entries(entry.segments))
    if (name !== 'cs') processor.setSegment(name as keyof typeof entry.segments, segment);
  if (entry.segments.cs) processor.setSegment('cs', entry.segments.cs);
  for (const [name, value] of Object.entries(entry.registers))
    if (!order.includes(name as RegisterName)) processor.set(name as RegisterName, value);

  // ── the loop ──────────────────────────────────────────────────────────────────────────────────────────────────────
  let stopping = false;
  let hostNanoseconds = 0;
  let haltedNanoseconds = 0;
  const hostNow = host ? () => host.now() : () => performance.now() * 1e6;
  const turn = () => new Promise<void>(resolve => setImmediate(resolve));
  /** Sleeps until the next alarm, or until somebody types or stops. */
  const sleep = (nanoseconds: number) =>
    new Promise<void>(resolve => {
      const timer = setTimeout(done, Math.min(Math.ceil(nanoseconds / 1e6), 1000));
      function done() {
        clearTimeout(timer);
        wakeUp = undefined;
        resolve();
      }
      wakeUp = done;
    });

  /** The guest wakes; a hypervisor may tell it how long the host had held it up before. */
  function idled(): void {
    const stolen = following?.idled() ?? 0;
    const { resumed } = pv.time;
    if (stolen > 0 && resumed !== native && resumed !== nothing) {
      count(operations, 'time.resumed');
      resumed(processor, stolen);
    }
  }

  async function run(limits: { timeout?: number; instructions?: number } = {}): Promise<Exit> {
    const started = hostNow();
    const deadline = limits.timeout === undefined ? Number.POSITIVE_INFINITY : started + limits.timeout * 1e9;
    const lastInstruction = engine.instructions + (limits.instructions ?? Number.POSITIVE_INFINITY);
    stopping = false;
    let turned = started;
    const finish = (exit: Exit): Exit => {
      board?.flush();
      hostNanoseconds += hostNow() - started;
      if (exit.kind !== 'stopped') engine.close();
      return exit;
    };
    for (;;) {
      clock.run();
      if (ended) return finish(ended);
      if (stopping) return finish({ kind: 'stopped' });
      const slice = Math.min(virtual ? clock.next - clock.now() : SLICE, SLICE * 50);
      const left = lastInstruction - engine.instructions;
      const until = engine.instructions + Math.ceil(Math.min(slice, left));
      following?.slice();
      // On the host's clock, no instruction is awaited.
      const why = until > engine.instructions ? engine.run(until, virtual !== undefined || left <= slice) : 'budget';
      if (ended) return finish(ended);
      if (engine.instructions >= lastInstruction) return finish({ kind: 'stopped' });
      if (why === 'halt') {
        if (interruptWaits() && (cpu.interruptFlag || pv.irq.deliver !== native)) {
          engine.wake();
          continue;
        }
        if (clock.next === Number.POSITIVE_INFINITY && takers.length === 0) return finish({ kind: 'dead-halt' });
        if (!cpu.interruptFlag && pv.irq.deliver === native && !nmiPending) return finish({ kind: 'dead-halt' });
        const before = hostNow();
        if (virtual) {
          if (clock.next < Number.POSITIVE_INFINITY) virtual.skipTo(clock.next);
          else await sleep(1e9);
        } else {
          if (clock.next - clock.now() > LONG_SLEEP) engine.jit?.save();
          if (clock.next - clock.now() > 50_000) await sleep(clock.next - clock.now());
        }
        haltedNanoseconds += hostNow() - before;
        idled();
      }
      const now = hostNow();
      if (now > deadline) return finish({ kind: 'timeout' });
      if (now - turned > TURN) {
        await turn();
        turned = hostNow();
      }
    }
  }

  const machine: Machine = {
    run,
    stop() {
      stopping = true;
      engine.requestExit();
      wakeUp?.();
    },
    type(text) {
      type(typeof text === 'string' ? new TextEncoder().encode(text) : text);
    },
    get statistics() {
      return {
        hypervisor: pv.name,
        instructions: engine.instructions,
        guestTime: clock.now(),
        hostTime: hostNanoseconds,
        haltedTime: haltedNanoseconds,
        exits: { ...exits },
        operations: { ...operations },
        ...tallies.named(),
        ...(engine.jit && { translation: { ...engine.jit.statistics } }),
      };
    },
    get instructions() {
      return engine.instructions;
    },
    describe: () => describe(processor, engine),
    log: log.lines,
  };
  return { machine, engine };
}

function describe(processor: EngineProcessor, engine: Engine): string {
  const hex = (value: bigint) => value.toString(16).padStart(16, '0');
  const row = (...names: RegisterName[]) =>
    names.map(name => `${name.padStart(4)} ${hex(processor.get(name))}`).join('  ');
  return [
    row('rax', 'rbx', 'rcx', 'rdx'),
    row('rsi', 'rdi', 'rbp', 'rsp'),
    row('r8', 'r9', 'r10', 'r11'),
    row('r12', 'r13', 'r14', 'r15'),
    row('rip', 'flags', 'cr0', 'cr2'),
    row('cr3', 'cr4', 'efer'),
    `cpl ${processor.cpl}, ${processor.mode}-bit code, ${engine.instructions} instructions${engine.halted ? ', halted' : ''}`,
    'last exceptions:',
    ...engine.recent.map(line => `  ${line}`),
  ].join('\n');
}
