/**
 * What processors share: the WebAssembly memory with the guest's RAM in it, the interpreter's modules, decoded blocks and
 * translated regions. Processors run in turn on one thread; the state of the one that runs (`running`) stands at STATE.
 */
import type { ArtifactCache } from '../host/artifact-cache.ts';
import { GuestMemory, NOTES_A_PAGE } from '../memory/memory.ts';
import type { FastPaths } from '../paravirt/fast-paths.ts';
import { CPU_COMPONENTS, type CpuModel, DEFAULT_CPU_MODEL } from '../x86/cpu-models.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../x86/paging.ts';
import { CS, DS, ES, SS } from '../x86/segments.ts';
import { Blocks, type CodeSource } from './blocks.ts';
import { Breakpoints, type Watchpoint } from './breakpoints.ts';
import { installPaths, type Paths } from './hypervisor-paths.ts';
import { Jit, VISITS_STEP } from './jit/jit.ts';
import { RegionLibrary, SAVED_LIMIT } from './jit/library.ts';
import { LocalTranslator, type TranslatorFactory } from './jit/translator.ts';
import { type Layout, layout, PAGE_DEVICE } from './layout.ts';
import { compileInterpreter, type Instance, instantiate } from './modules.ts';
import { Vcpu } from './vcpu.ts';
import { warmUp } from './warm-up.ts';
import { ACCESS_EXECUTE, ACCESS_NO_SIDE_EFFECT, ACCESS_PROBE, ACCESS_QUIET } from './x86/access.ts';
import { updateWatching } from './x86/control.ts';
import { writeCrcTables } from './x86/crc32.ts';
import type { CodeSize } from './x86/decode.ts';
import type { Row } from './x86/instructions/row.ts';
import { state } from './x86/state.ts';
import { writeEmptyBank } from './x86/tlb-fill.ts';

export interface CoreOptions {
  jit: boolean;
  /** Processors: 1 (default) to MAXIMUM_PROCESSORS. The first one runs after a reset, the others wait to be started. */
  processors?: number;
  /** Default: DEFAULT_CPU_MODEL. */
  cpu?: CpuModel | undefined;
  /** Default: on the guest's own thread. */
  translator?: TranslatorFactory | undefined;
  /** Default: one of its own for what is saved, if that is possible. */
  library?: RegionLibrary | undefined;
  /** What the library calls the regions of the machine's kernel. */
  libraryName?: string | undefined;
  /** Where the interpreter's modules and the library are kept. */
  cache?: ArtifactCache | undefined;
  /** The machine may end at once: what pays only later is put off. */
  patient?: boolean;
}

/** ES, CS, SS and DS, as 32-bit code that is worth translating has them. */
const ALL_FLAT = (1 << ES) | (1 << CS) | (1 << SS) | (1 << DS);
/** VISITS_MASK with which no block is ever hot. */
const NEVER_HOT = -1;

export class Core {
  readonly layout: Layout;
  readonly memory: GuestMemory;
  readonly blocks: Blocks;
  /** Undefined with the interpreter alone. */
  readonly jit: Jit | undefined;
  readonly vcpus: readonly Vcpu[];
  /** A debugger's. */
  readonly breakpoints = new Breakpoints();
  /** The processor whose state stands at STATE. */
  running: Vcpu;
  /** The interpreter for 64-bit code, and the one for all other code. */
  readonly wide: Instance;
  readonly narrow: Instance;
  paths: Paths | undefined;
  readonly #bytes: Uint8Array;
  readonly #wasmMemory: WebAssembly.Memory;

  constructor(ramSize: number, options: CoreOptions) {
    const shape = layout(ramSize, options.processors);
    this.layout = shape;
    const wasmMemory = new WebAssembly.Memory({ initial: shape.wasmPages });
    this.#wasmMemory = wasmMemory;
    const { buffer } = wasmMemory;
    const view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    writeEmptyBank(view);
    writeCrcTables(view);
    const notes = new Uint8Array(buffer, shape.notes, NOTES_A_PAGE * (ramSize / PAGE_SIZE));
    this.memory = new GuestMemory(buffer, shape.guestOrigin, ramSize, notes);
    this.vcpus = shape.processors.map((_, index) => new Vcpu(this, index));
    this.running = this.vcpus[0]!;
    const wide = compileInterpreter(shape, true, options.cache);
    const narrow = compileInterpreter(shape, false, options.cache);
    this.blocks = new Blocks(shape, buffer, { 16: narrow.module, 32: narrow.module, 64: wide.module });
    this.wide = instantiate(wide, wasmMemory, () => this.running);
    this.narrow = instantiate(narrow, wasmMemory, () => this.running);
    this.memory.onWrite = (address, length) => {
      if (this.blocks.holdsCode(address, length)) this.codeWritten(address, length);
    };
    this.blocks.stopsAt = offset => this.breakpoints.isNear(offset);
    this.blocks.onCodePage = page => {
      for (const { tlb } of this.vcpus) tlb.revokeWrites(shape.guestOrigin + page * PAGE_SIZE);
    };
    for (const vcpu of this.vcpus) vcpu.connect();
    this.#setVisitsMask(NEVER_HOT);
    if (!wide.warm) warmUp(this.running);
    wide.warm = true;
    if (options.jit) {
      this.#setVisitsMask(VISITS_STEP - 1);
      this.jit = this.#createJit(wasmMemory, wide.module.helpers, options);
    }
    const components = BigInt(CPU_COMPONENTS[options.cpu ?? DEFAULT_CPU_MODEL]);
    for (const vcpu of this.vcpus) {
      vcpu.cpu.set64(state.XCR0_SUPPORTED, components);
      vcpu.reset();
    }
  }
  /** Drops what has been decoded and translated: `blocks` then has what is executed from now on. Never while a processor is inside WebAssembly. */
  startAfresh(): void {
    this.blocks.flush();
    this.jit?.becomePatient();
  }
  /**
   * What the processors stop for from now on. While there is anything, the interpreter executes alone. Nothing happens if all
   * is so already; otherwise all code is decoded anew. Never while a processor is inside WebAssembly.
   */
  setBreakpoints(addresses: ReadonlySet<bigint>, watchpoints: readonly Watchpoint[]): void {
    if (!this.breakpoints.set(addresses, watchpoints)) return;
    this.blocks.flush();
    this.jit?.forgive();
    this.#setVisitsMask(this.jit && !this.breakpoints.any ? VISITS_STEP - 1 : NEVER_HOT);
    for (const { cpu, tlb } of this.vcpus) {
      cpu.watchedByHost = this.breakpoints.watches;
      updateWatching(cpu);
      tlb.flushAll();
    }
  }
  #setVisitsMask(mask: number): void {
    for (const { cpu } of this.vcpus) cpu.set32(state.VISITS_MASK, mask);
  }
  #createJit(wasmMemory: WebAssembly.Memory, helpers: readonly string[], options: CoreOptions): Jit {
    const createTranslator = options.translator ?? (setup => new LocalTranslator(setup));
    return new Jit({
      layout: this.layout,
      bytes: this.#bytes,
      memory: wasmMemory,
      blocks: this.blocks,
      source: this.source,
      library: options.library ?? (options.cache && new RegionLibrary(SAVED_LIMIT)),
      libraryName: options.libraryName ?? 'regions',
      cache: options.cache,
      patient: options.patient ?? false,
      forgetJumps: () => {
        for (const { tlb } of this.vcpus) tlb.forgetJumps();
      },
      instructions: () => this.vcpus.reduce((sum, { budget }) => sum + budget.executed, 0),
      translator: createTranslator({ ramSize: this.layout.ramSize, helpers }),
      code: linear => this.#executable(linear),
      translates: code => code === 64 || (code === 32 && (this.running.cpu.get32(state.FLAT) & ALL_FLAT) === ALL_FLAT),
      table: code => this.instance(code).exports.table,
      // The same for both sizes of code, but for the way on: nothing else depends on the mode but through the state.
      functions: { ...this.narrow.exports, ...this.wide.exports, helper: this.wide.imports.helper },
    });
  }

  /** Hands the engine a hypervisor's fast paths. Which events they are asked about: `Vcpu.paths`. */
  installPaths(paths: FastPaths): void {
    this.paths = installPaths(paths, this.layout, this.#wasmMemory, this.wide.exports.table);
  }
  /** What they have answered so far. */
  get pathCounts(): ReturnType<Paths['counts']> {
    return this.paths?.counts() ?? [];
  }

  /** Instructions executed so far by all processors, exact even while one of them asks. */
  get instructions(): number {
    let sum = 0;
    for (const vcpu of this.vcpus) sum += vcpu.instructions;
    return sum;
  }
  /** Gives `vcpu` the place in which a processor executes. Never while another one is inside WebAssembly. */
  switchTo(vcpu: Vcpu): void {
    if (vcpu === this.running) return;
    this.running.park();
    vcpu.resume();
    this.running = vcpu;
  }
  /**
   * Does `work` with what only the running processor can: walks through page tables, deliveries. The processor that
   * executes, if another one does, finds everything as it was.
   */
  as<T>(vcpu: Vcpu, work: () => T): T {
    const before = this.running;
    if (vcpu === before) return work();
    this.switchTo(vcpu);
    try {
      return work();
    } finally {
      this.switchTo(before);
    }
  }

  instance(code: CodeSize): Instance {
    return code === 64 ? this.wide : this.narrow;
  }
  /** The guest has ended: gives back what runs on other threads. */
  close(): void {
    this.jit?.close();
  }

  /** Marks guest pages as devices': [from, to) in guest-physical bytes. */
  mapDevice(from: number, to: number): void {
    for (let page = from >>> PAGE_SHIFT; page < to >>> PAGE_SHIFT; page++)
      if (page * PAGE_SIZE < this.memory.size) this.#bytes[this.layout.pageKind + page] = PAGE_DEVICE;
  }
  isRam(physical: number): boolean {
    return (
      this.memory.has(physical, 1) && this.#bytes[this.layout.pageKind + (physical >>> PAGE_SHIFT)] !== PAGE_DEVICE
    );
  }
  /** Guest RAM that may hold translated code has been written: drops the code there. */
  codeWritten(address: number, length: number): void {
    const end = address + length;
    for (let page = address >>> PAGE_SHIFT; page * PAGE_SIZE < end; page++) {
      const start = page * PAGE_SIZE;
      this.blocks.invalidate(page, Math.max(address - start, 0), Math.min(end - start, PAGE_SIZE));
    }
  }

  /** Guest-physical address of code at `linear` of the running processor; -1 after raising a fault in its state. */
  code(linear: bigint): number {
    return Number(this.wide.exports.walk(linear, ACCESS_EXECUTE));
  }
  /** Guest-physical address of executable RAM at `linear`, without faulting; -1 where there is none. */
  #executable(linear: bigint): number {
    const found = Number(
      this.wide.exports.walk(linear, ACCESS_EXECUTE | ACCESS_PROBE | ACCESS_QUIET | ACCESS_NO_SIDE_EFFECT),
    );
    return found >= 0 && this.isRam(found) ? found : -1;
  }
  /** The instruction at `linear`: its row, and its length in bytes; undefined where there is none. */
  instructionAt(linear: bigint, code: CodeSize): { row: Row; length: number } | undefined {
    const physical = this.#executable(linear);
    return physical < 0 ? undefined : this.blocks.instructionAt(physical, code, () => this.source.nextPage(linear));
  }
  readonly source: CodeSource = { nextPage: linear => this.#executable(this.nextPage(linear)) };
  nextPage(linear: bigint): bigint {
    return this.running.cpu.wrap((linear & ~4095n) + 4096n);
  }
}
