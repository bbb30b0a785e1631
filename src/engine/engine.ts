/**
 * The engine: one processor's WebAssembly memory and modules, and the loop that runs translated code, translates what is
 * missing, delivers faults and stops at exactly the instruction it is asked to stop at.
 */

import type { ArtifactCache } from '../host/artifact-cache.ts';
import { GuestMemory } from '../memory/memory.ts';
import type { Exception } from '../paravirt/processor.ts';
import { DR6_BS, DR7_ENABLED } from '../x86/control.ts';
import { RF, TF } from '../x86/flags.ts';
import { CS, DS, ES, SS } from '../x86/segments.ts';
import * as vectors from '../x86/vectors.ts';
import { Blocks } from './blocks.ts';
import { buildInterpreter, type InterpreterModule } from './interpreter/loop.ts';
import { pack, unpack } from './interpreter/packed.ts';
import * as record from './interpreter/record.ts';
import { HEAT_STEP, Jit } from './jit/jit.ts';
import { RegionLibrary, SAVED_LIMIT } from './jit/library.ts';
import { LocalTranslator, type TranslatorFactory } from './jit/translator.ts';
import { type Layout, layout, PAGE_DEVICE, RECORD_SIZE, REGION_LIMIT } from './layout.ts';
import { ACCESS_EXECUTE, ACCESS_NO_SIDE_EFFECT, ACCESS_PROBE, ACCESS_QUIET } from './x86/access.ts';
import { helpers } from './x86/all-helpers.ts';
import { debugOffset } from './x86/control.ts';
import { Cpu, type Environment, FAULT } from './x86/cpu.ts';
import { writeCrcTables } from './x86/crc32.ts';
import type { CodeSize } from './x86/decode.ts';
import { describeExceptions, noteException, SHOWS_RF } from './x86/exceptions.ts';
import { resetFields } from './x86/registers.ts';
import { NATIVE_EXCEPTIONS, NATIVE_SYSCALLS, STATE, state } from './x86/state.ts';
import { ONE_SPACE, Tlb } from './x86/tlb.ts';
import { writeEmptyBank } from './x86/tlb-fill.ts';
import { deliverException } from './x86/transfers.ts';

/** What the engine asks of the machine, besides what single instructions ask (Environment). */
export interface EngineEnvironment extends Environment {
  mmioRead(address: number, width: 1 | 2 | 4): number;
  mmioWrite(address: number, width: 1 | 2 | 4, value: number): void;
  /** Between two instructions: deliver what is pending. */
  boundary(): void;
  tripleFault(): void;
}

/** ES, CS, SS and DS, as 32-bit code that is worth translating has them. */
const ALL_FLAT = (1 << ES) | (1 << CS) | (1 << SS) | (1 << DS);
/** Instructions between two looks at what has been translated meanwhile. */
const LOOK = 16_000;

/** EB FE. */
const JUMP_TO_ITSELF = [0xeb, 0xfe];
/** Turns of a loop after which V8 is sure to have noticed that it is one. */
const WARM_UP = 500;

export type RunExit = 'budget' | 'halt' | 'attention';

export interface EngineOptions {
  jit: boolean;
  /** Default: on the guest's own thread. */
  translator?: TranslatorFactory | undefined;
  /** Default: one of its own for what is saved, if that is possible. */
  library?: RegionLibrary | undefined;
  /** What the library calls the regions of the machine's kernel. */
  libraryName?: string | undefined;
  /** Where the interpreter's modules and the library are kept. */
  cache?: ArtifactCache | undefined;
}

interface Instance {
  exports: {
    run(record: number): number;
    walk(linear: bigint, access: number): bigint;
    revoke(from: number, to: number, host: number): void;
    /** In the module for 64-bit code. */
    deliver(vector: number, code: number): number;
    /** More of what translated code imports. */
    [name: string]: unknown;
    table: WebAssembly.Table;
  };
  imports: ReturnType<Engine['imports']>;
  module: InterpreterModule;
}

/** Compiled interpreters by RAM size and mode: the module depends on nothing else, so machines share it. */
interface Compiled {
  module: InterpreterModule;
  code: WebAssembly.Module;
  /** V8 knows that its loop is hot. */
  warm: boolean;
}
const compiled = new Map<string, Compiled>();
function compile(shape: Layout, wide: boolean, cache: ArtifactCache | undefined): Compiled {
  const key = `interpreter-${wide ? 64 : 32}-${shape.ramSize}`;
  let found = compiled.get(key);
  if (!found) {
    const kept = cache?.load(key);
    const module = kept ? unpack(kept) : buildInterpreter(shape, wide);
    if (!kept) cache?.save(key, pack(module));
    compiled.set(key, (found = { module, code: new WebAssembly.Module(module.bytes), warm: false }));
  }
  return found;
}

export class Engine {
  readonly cpu: Cpu;
  readonly memory: GuestMemory;
  readonly blocks: Blocks;
  readonly tlb: Tlb;
  readonly layout: Layout;
  environment!: EngineEnvironment;

  /** Undefined with the interpreter alone. */
  readonly jit: Jit | undefined;
  readonly #wide: Instance;
  readonly #narrow: Instance;
  readonly #view: DataView;
  /** Instructions executed before the current call of `run` in WebAssembly. */
  #done = 0;
  /** FUEL given to it, and what requestExit took out of it. */
  #slice = 0;
  #debt = 0;
  #inside = false;
  #exitWanted = false;
  #halted = false;
  #dead = false;
  /** A record whose handler was replaced by STOP, and that handler. */
  #planted = 0;
  #plantedHandler = 0;
  /** DR6 bits of data breakpoints hit by the current instruction. */
  #watchHits = 0;

  constructor(ramSize: number, options: EngineOptions = { jit: true }) {
    const shape = layout(ramSize);
    this.layout = shape;
    const wasmMemory = new WebAssembly.Memory({ initial: shape.wasmPages });
    const { buffer } = wasmMemory;
    this.#view = new DataView(buffer);
    writeEmptyBank(this.#view);
    writeCrcTables(this.#view);
    this.memory = new GuestMemory(buffer, shape.guestOrigin, ramSize);
    this.tlb = new Tlb(buffer);
    this.cpu = new Cpu(buffer, this.memory, this.tlb, shape.pageKind);
    const wide = compile(shape, true, options.cache);
    const narrow = compile(shape, false, options.cache);
    this.blocks = new Blocks(shape, buffer, { 16: narrow.module, 32: narrow.module, 64: wide.module });
    const instantiate = ({ module, code }: Compiled): Instance => {
      const imports = this.imports(module);
      const instance = new WebAssembly.Instance(code, { env: { memory: wasmMemory, ...imports } });
      return { module, imports, exports: instance.exports as unknown as Instance['exports'] };
    };
    this.#wide = instantiate(wide);
    this.#narrow = instantiate(narrow);
    const { walk, deliver, revoke } = this.#wide.exports;
    this.cpu.functions = { walk, deliver };
    this.tlb.revoke = revoke;
    this.cpu.requestExit = () => this.requestExit();
    this.cpu.codeWritten = (address, length) => this.#codeWritten(address, length);
    this.memory.onWrite = (address, length) => {
      if (this.blocks.holdsCode(address, length)) this.#codeWritten(address, length);
    };
    this.blocks.onCodePage = page => this.tlb.revokeWrites(shape.guestOrigin + page * 4096);
    this.tlb.select(ONE_SPACE);
    this.cpu.set32(state.HEAT_MASK, -1);
    if (!wide.warm) this.#warmUp();
    wide.warm = true;
    if (options.jit) {
      this.cpu.set32(state.HEAT_MASK, HEAT_STEP - 1);
      const of = (code: CodeSize) => (code === 64 ? this.#wide : this.#narrow);
      this.jit = new Jit({
        layout: shape,
        bytes: this.cpu.bytes,
        memory: wasmMemory,
        blocks: this.blocks,
        source: this.#source,
        library: options.library ?? (options.cache && new RegionLibrary(SAVED_LIMIT)),
        libraryName: options.libraryName ?? 'regions',
        cache: options.cache,
        forgetJumps: () => this.tlb.forgetJumps(),
        instructions: () => this.#done,
        translator: (options.translator ?? (setup => new LocalTranslator(setup)))({
          ramSize,
          helpers: wide.module.helpers,
        }),
        code: linear => this.#executable(linear),
        translates: code => code === 64 || (code === 32 && (this.cpu.get32(state.FLAT) & ALL_FLAT) === ALL_FLAT),
        table: code => of(code).exports.table,
        // The same for both sizes of code, but for the way on: nothing else depends on the mode but through the state.
        functions: { ...this.#narrow.exports, ...this.#wide.exports, helper: this.#wide.imports.helper },
      });
    }
    this.reset();
  }

  /**
   * Has V8 begin to optimise the interpreter's loop, beside this thread, while the machine is still being put together: until
   * that is done, a loop so large runs at a tenth of its speed. Nothing of it is left but in V8.
   */
  #warmUp(): void {
    this.cpu.set32(state.MODE, 64);
    this.memory.bytes.set(JUMP_TO_ITSELF);
    for (let turn = 0; turn < 2; turn++) this.#enter(0, WARM_UP); // The first time the block is not there yet.
    this.memory.bytes.fill(0, 0, JUMP_TO_ITSELF.length);
    this.blocks.flush();
    this.#done = 0;
  }

  /** Executed instructions, exact even while one of them asks. */
  get instructions(): number {
    if (!this.#inside) return this.#done;
    const spent = this.#slice - this.#debt - this.#view.getInt32(STATE + state.FUEL, true);
    const at = this.cpu.get32(state.RECORD);
    return this.#done + spent + (at ? this.cpu.bytes[at + record.POSITION]! : 0);
  }
  /** The last exceptions delivered, newest last, for people. */
  get recent(): string[] {
    return describeExceptions(this.cpu);
  }
  /** Events delivered so far: tells a step that faulted from one that retired. */
  get deliveries(): number {
    return this.cpu.get32(state.DELIVERIES);
  }
  countDelivery(): void {
    this.cpu.set32(state.DELIVERIES, this.deliveries + 1);
  }
  /** What `environment` does not want to see first. Until this is said it is asked about everything. */
  set native(events: { exceptions: boolean; syscalls: boolean }) {
    const exceptions = events.exceptions ? NATIVE_EXCEPTIONS : 0;
    this.cpu.set32(state.NATIVE, exceptions | (events.syscalls ? NATIVE_SYSCALLS : 0));
  }
  get halted(): boolean {
    return this.#halted;
  }
  halt(): void {
    this.#halted = true;
  }
  wake(): void {
    this.#halted = false;
  }
  /** The guest is beyond help: `run` returns and does nothing any more. */
  stopForGood(): void {
    this.#dead = true;
    this.requestExit();
  }

  /** The guest has ended: gives back what runs beside it. */
  close(): void {
    this.jit?.close();
  }

  /** Ends the current `run` in WebAssembly at the end of the block, or after the instruction where that is in device memory. */
  requestExit(): void {
    this.#exitWanted = true;
    this.cpu.set32(state.ATTENTION, 1);
    if (!this.#inside) return;
    const fuel = this.#view.getInt32(STATE + state.FUEL, true);
    this.#debt += fuel;
    this.#setFuel(0);
  }

  #setFuel(fuel: number): void {
    this.#view.setInt32(STATE + state.FUEL, fuel, true);
    this.#view.setFloat64(STATE + state.GOAL, this.#done + this.#slice - this.#debt, true);
  }

  /** Marks guest pages as devices': [from, to) in guest-physical bytes. */
  mapDevice(from: number, to: number): void {
    for (let page = from >>> 12; page < to >>> 12; page++)
      if (page * 4096 < this.memory.size) this.cpu.bytes[this.layout.pageKind + page] = PAGE_DEVICE;
  }

  /** The state after a reset (SDM 3A 9.1.1), but with segments and RIP as loaders set them afterwards. */
  reset(): void {
    const { cpu } = this;
    resetFields(cpu);
    this.tlb.flushAll();
    cpu.updateMode();
    cpu.updateUnits();
    cpu.updateBank();
    this.#halted = false;
  }

  /**
   * Runs until `until` instructions have been executed in all, or something else wants to be looked at.
   * @param exactly if not, a region's worth of them may be left: those would be the interpreter's, one by one
   */
  run(until: number, exactly = true): RunExit {
    const { cpu, environment } = this;
    const most = exactly ? 0 : REGION_LIMIT;
    /** What is ours alone, and another in each tier, must not decide when an interrupt comes. */
    let boundary = true;
    for (;;) {
      this.#exitWanted = false;
      if (this.#dead) return 'attention';
      const shadow = this.#shadow();
      if (boundary && !shadow) environment.boundary();
      boundary = true;
      if (this.#dead) return 'attention';
      if (this.#halted) return 'halt';
      const left = until - this.#done;
      if (left <= most) return 'budget';
      const stepping = this.#stepping();
      if (stepping || shadow) {
        const trap = (cpu.get32(state.FLAGS_REST) & TF) !== 0;
        cpu.set64(state.INTERRUPT_SHADOW, 0n);
        if (stepping && this.#codeBreakpoint()) continue;
        const before = this.deliveries;
        this.#exactly(1);
        cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~RF);
        // An instruction that faulted has not been stepped over.
        if (trap && before === this.deliveries) this.#debugTrap(DR6_BS);
      } else if (left < record.BLOCK_LIMIT) this.#exactly(left);
      else {
        const slice = this.jit ? LOOK : 0x3fffffff;
        cpu.set32(state.EXACT, exactly && left <= slice ? 1 : 0);
        boundary = this.#enter(0, Math.min(left, slice));
        this.jit?.poll();
      }
      if (this.#watchHits) this.#debugTrap(0);
      if (this.#exitWanted) {
        this.#shadow();
        return 'attention';
      }
    }
  }

  /** RIP is at the instruction after an STI or a MOV SS: no interrupt comes before it. Forgets those that are long past. */
  #shadow(): boolean {
    const { cpu } = this;
    const address = cpu.get64(state.INTERRUPT_SHADOW);
    if (address === 0n) return false;
    if (address === cpu.rip) return true;
    cpu.set64(state.INTERRUPT_SHADOW, 0n);
    return false;
  }

  /** Executes exactly one instruction (or delivers the fault it raises). */
  step(): void {
    this.#exactly(1);
  }
  /**
   * Executes one instruction whose write to the last faulting address reaches guest page `page` (guest-physical, 4096-aligned)
   * although the guest's page table has it read-only: for hypervisors that complete such writes themselves.
   */
  stepWithWritable(page: number): void {
    const linear = this.cpu.get64(state.CR2);
    let table = Number(this.cpu.get64(state.CR3) & 0xffffffff000n);
    for (let shift = 39; shift > 12; shift -= 9) {
      const entry = table + Number((linear >> BigInt(shift)) & 511n) * 8;
      table = this.memory.has(entry, 8) ? Number(this.memory.read64(entry) & 0xffffffff000n) : -1;
    }
    const entry = table + Number((linear >> 12n) & 511n) * 8;
    if (!this.memory.has(entry, 8) || Number(this.memory.read64(entry) & 0xffffffff000n) !== page)
      throw new Error(`stepWithWritable: 0x${linear.toString(16)} does not map 0x${page.toString(16)}`);
    const { bytes } = this.memory;
    bytes[entry]! |= 2;
    this.tlb.invalidate(linear);
    this.#exactly(1);
    bytes[entry]! &= ~2;
    this.tlb.invalidate(linear);
  }

  /** What the interpreter's modules import. */
  imports(module: InterpreterModule) {
    const functions = module.helpers.map(name => {
      const helper = helpers[name];
      if (!helper) throw new Error(`no helper ${name}`);
      return helper;
    });
    const after = () => {
      if (this.#exitWanted) this.#stopAfterThis();
    };
    return {
      helper: (id: number): number => {
        try {
          functions[id]!(this.cpu);
          return 0;
        } catch (thrown) {
          if (thrown === FAULT) return 1;
          throw thrown;
        }
      },
      mmioRead: (low: number, high: number, size: number): number => {
        const address = (low >>> 0) + (high >>> 0) * 2 ** 32;
        const value = this.environment.mmioRead(address, size === 8 ? 4 : (size as 1 | 2 | 4));
        if (size === 8) this.cpu.set32(state.RESULT + 4, this.environment.mmioRead(address + 4, 4));
        after();
        return value;
      },
      mmioWrite: (low: number, high: number, size: number, valueLow: number, valueHigh: number): void => {
        const address = (low >>> 0) + (high >>> 0) * 2 ** 32;
        const mask = size === 1 ? 0xff : size === 2 ? 0xffff : 0xffffffff;
        this.environment.mmioWrite(address, size === 8 ? 4 : (size as 1 | 2 | 4), (valueLow & mask) >>> 0);
        if (size === 8) this.environment.mmioWrite(address + 4, 4, valueHigh >>> 0);
        after();
      },
      codeWritten: (address: number, size: number): void => this.#codeWritten(address >>> 0, size),
      watch: (low: number, high: number, size: number, write: number): void => {
        const linear = (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
        this.#watch(linear, size, write !== 0);
      },
    };
  }

  #codeWritten(address: number, length: number): void {
    for (let page = address >>> 12; page <= (address + length - 1) >>> 12; page++) this.blocks.invalidate(page);
  }

  /**
   * Runs from RIP with `fuel` instructions at most; `block` 0 looks it up. Deals with whatever ended it.
   * @returns true if that was something the guest did
   */
  #enter(block: number, fuel: number): boolean {
    const { cpu } = this;
    const instance = cpu.mode === 64 ? this.#wide : this.#narrow;
    if (instance === this.#narrow) cpu.noteSegments();
    cpu.set32(state.BLOCK_BASE, Blocks.tableBase(cpu.mode));
    cpu.set32(state.RECORD, 0);
    this.#slice = fuel;
    this.#debt = 0;
    this.#setFuel(fuel);
    this.#inside = true;
    const why = instance.exports.run(block);
    this.#inside = false;
    if (this.#planted) {
      // Still STOP unless the block was invalidated meanwhile.
      if (this.#view.getUint16(this.#planted, true) === record.STOP)
        this.#view.setUint16(this.#planted, this.#plantedHandler, true);
      this.#planted = 0;
    }
    this.#done += this.#slice - this.#debt - this.#view.getInt32(STATE + state.FUEL, true);
    const at = cpu.get32(state.RECORD);
    switch (why) {
      case record.EXIT_BUDGET:
        return false;
      case record.EXIT_STOP:
      case record.EXIT_FAULT:
        this.#done += cpu.bytes[at + record.POSITION]!;
        cpu.rip = cpu.wrap(cpu.get64(state.PAGE) + BigInt(this.#view.getUint16(at + record.OFFSET, true)));
        if (why === record.EXIT_FAULT) this.#fault();
        return true;
      case record.EXIT_FETCH_FAULT:
        this.#fault();
        return true;
      case record.EXIT_CROSSING:
        this.#done += cpu.bytes[at + record.POSITION]!;
        cpu.rip = cpu.wrap(cpu.get64(state.PAGE) + BigInt(this.#view.getUint16(at + record.OFFSET, true)));
        // The page behind it has changed: translate anew.
        this.blocks.invalidate(this.#code(cpu.rip) >>> 12);
        return false;
      case record.EXIT_TRANSLATE: {
        const before = this.deliveries;
        this.#translate();
        return this.deliveries !== before;
      }
      case record.EXIT_HOT:
        this.jit!.request(cpu.rip, cpu.mode);
        return false;
    }
    throw new Error(`engine: the interpreter has ended with ${why}`);
  }

  /** Guest-physical address of code at `linear`; -1 after raising a fault in the state. */
  #code(linear: bigint): number {
    return Number(this.#wide.exports.walk(linear, ACCESS_EXECUTE));
  }
  /** The block at RIP; 0 if a fault was delivered instead or the machine is done for. */
  #translate(): number {
    const { cpu } = this;
    const { rip } = cpu;
    const physical = this.#code(rip);
    if (physical < 0) {
      this.#fault();
      return 0;
    }
    if (!this.memory.has(physical, 1) || cpu.bytes[this.layout.pageKind + (physical >>> 12)] === PAGE_DEVICE) {
      this.environment.kill(`execution at 0x${physical.toString(16)} (linear 0x${rip.toString(16)}), where no RAM is`);
      this.stopForGood();
      return 0;
    }
    const known = this.blocks.find(physical, cpu.mode);
    if (known) return known;
    if (this.jit?.recall(rip, physical, cpu.mode)) return this.blocks.find(physical, cpu.mode);
    const translate = () => this.blocks.translate(rip, physical, cpu.mode, this.#source);
    const block = translate();
    if (block) return block;
    // The first instruction reaches into a page that nobody has come to yet, or that cannot be fetched: its fault.
    if (this.#code(this.#nextPage(rip)) < 0) {
      this.#fault();
      return 0;
    }
    const crossing = translate();
    if (crossing) return crossing;
    this.environment.kill(`an instruction at linear 0x${rip.toString(16)} runs into device memory`);
    this.stopForGood();
    return 0;
  }
  /** Guest-physical address of executable RAM at `linear`, without faulting; -1 where there is none. */
  #executable(linear: bigint): number {
    const found = Number(
      this.#wide.exports.walk(linear, ACCESS_EXECUTE | ACCESS_PROBE | ACCESS_QUIET | ACCESS_NO_SIDE_EFFECT),
    );
    if (found < 0 || !this.memory.has(found, 1)) return -1;
    return this.cpu.bytes[this.layout.pageKind + (found >>> 12)] === PAGE_DEVICE ? -1 : found;
  }
  readonly #source = { nextPage: (linear: bigint): number => this.#executable(this.#nextPage(linear)) };
  #nextPage(linear: bigint): bigint {
    return this.cpu.wrap((linear & ~4095n) + 4096n);
  }

  /** Executes exactly `count` (< record.BLOCK_LIMIT) instructions, less if a fault or an exit request comes between. */
  #exactly(count: number): void {
    const { cpu } = this;
    const goal = this.#done + count;
    for (let guard = 0; this.#done < goal && guard < 4 * record.BLOCK_LIMIT; guard++) {
      const faults = this.deliveries;
      const block = this.#translate();
      if (!block) return;
      const stop = this.blocks.recordAt(block, goal - this.#done);
      if (stop) this.#plant(stop);
      cpu.set64(state.PAGE, cpu.rip & ~4095n);
      this.#enter(block, goal - this.#done);
      if (this.#exitWanted || faults !== this.deliveries || this.#halted || this.#dead) return;
    }
  }
  #plant(at: number): void {
    if (this.#planted) return;
    this.#planted = at;
    this.#plantedHandler = this.#view.getUint16(at, true);
    this.#view.setUint16(at, record.STOP, true);
  }
  /** Stops before the instruction after the one being executed (a block's last one ends the run by itself). */
  #stopAfterThis(): void {
    const next = this.cpu.get32(state.RECORD) + RECORD_SIZE;
    const { bytes } = this.cpu;
    if (bytes[next + record.POSITION] === bytes[next - RECORD_SIZE + record.POSITION]! + 1) this.#plant(next);
  }

  /** Delivers the fault that the state holds. */
  #fault(): void {
    const { cpu } = this;
    const vector = cpu.get32(state.FAULT) & 0xff;
    const code = vectors.hasErrorCode(vector) ? cpu.get32(state.FAULT_CODE) : undefined;
    cpu.set32(state.FAULT, 0);
    const exception: Exception = { vector, ...(code === undefined ? {} : { code }) };
    if (vector === vectors.PF) {
      exception.address = cpu.get64(state.CR2);
      if (this.environment.pageFault?.(exception as Exception & { address: bigint })) return;
    }
    this.#done++; // so that a guest that only faults still gets through its budget
    this.deliver(exception);
  }
  /** Delivers an exception at RIP. */
  deliver(exception: Exception): void {
    const { cpu } = this;
    this.countDelivery();
    const { vector, code, address } = exception;
    const { rip, cpl } = cpu;
    noteException(cpu, { vector, code, address, rip, cpl, instructions: this.#done });
    if ((SHOWS_RF >>> vector) & 1) cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) | RF);
    if (this.environment.exception?.(exception)) return;
    if (vector === vectors.PF && address !== undefined) cpu.set64(state.CR2, address);
    if (!deliverException(cpu, vector, code, 'exception')) {
      this.environment.tripleFault();
      this.stopForGood();
    }
  }

  // Debugging by the guest: TF and DR0-DR7 (SDM 3B 17.2, 17.3).

  #stepping(): boolean {
    const { cpu } = this;
    if (cpu.get32(state.FLAGS_REST) & TF) return true;
    const dr7 = cpu.get32(debugOffset(7));
    if (!(dr7 & DR7_ENABLED)) return false;
    for (let i = 0; i < 4; i++) if ((dr7 >> (2 * i)) & 3 && !((dr7 >> (16 + 4 * i)) & 3)) return true;
    return false;
  }
  /** An enabled instruction breakpoint at RIP: delivers #DB and returns true. */
  #codeBreakpoint(): boolean {
    const { cpu } = this;
    if (cpu.get32(state.FLAGS_REST) & RF) return false;
    const dr7 = cpu.get32(debugOffset(7));
    let hits = 0;
    for (let i = 0; i < 4; i++)
      if ((dr7 >> (2 * i)) & 3 && !((dr7 >> (16 + 4 * i)) & 3) && cpu.get64(debugOffset(i)) === cpu.rip) hits |= 1 << i;
    if (!hits) return false;
    cpu.set64(debugOffset(6), (cpu.get64(debugOffset(6)) & ~15n) | BigInt(hits));
    cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) | RF);
    this.deliver({ vector: vectors.DB });
    return true;
  }
  #watch(linear: bigint, size: number, write: boolean): void {
    const { cpu } = this;
    const dr7 = cpu.get32(debugOffset(7));
    for (let i = 0; i < 4; i++) {
      const kind = (dr7 >> (16 + 4 * i)) & 3;
      if (!((dr7 >> (2 * i)) & 3) || !(kind & 1) || (kind === 1 && !write)) continue;
      const length = [1n, 2n, 8n, 4n][(dr7 >> (18 + 4 * i)) & 3]!;
      const start = cpu.get64(debugOffset(i)) & ~(length - 1n);
      if (linear < start + length && start < linear + BigInt(size)) this.#watchHits |= 1 << i;
    }
    if (this.#watchHits) {
      this.requestExit();
      this.#stopAfterThis();
    }
  }
  /** A debug trap after an instruction: DR6 gets `bits` and the data breakpoints that hit. */
  #debugTrap(bits: number): void {
    const { cpu } = this;
    const all = bits | this.#watchHits;
    this.#watchHits = 0;
    cpu.set64(debugOffset(6), cpu.get64(debugOffset(6)) | BigInt(all));
    this.deliver({ vector: vectors.DB });
  }
}
