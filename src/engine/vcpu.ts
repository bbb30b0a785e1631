/**
 * A virtual processor: its registers, its TLB, and the loop that runs translated code, has missing code translated,
 * delivers what is pending and stops at exactly the instruction it is asked to stop at.
 */
import { RF } from '../x86/flags.ts';
import { DEBUGCTL_BTF } from '../x86/msrs.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import * as vectors from '../x86/vectors.ts';
import { Blocks } from './blocks.ts';
import { Budget } from './budget.ts';
import { faultBeyondLimit, roomInCode } from './code-limit.ts';
import type { Core } from './core.ts';
import { deliver, deliverFault, takeFault } from './faults.ts';
import { GuestDebug } from './guest-debug.ts';
import { cellsOf } from './hypervisor-paths.ts';
import { REGION_LIMIT } from './layout.ts';
import { type NativeEvents, nativeBits } from './native-events.ts';
import * as record from './record.ts';
import type { LoopState } from './saved-processor.ts';
import { StopRecord } from './stop-record.ts';
import { ACCESS_PROBE, ACCESS_QUIET } from './x86/access.ts';
import { noteDebugException } from './x86/control.ts';
import { Cpu, type Environment } from './x86/cpu.ts';
import { type Executed, nextAtBoundary, resumeFlagAfter, type Shadow, trapsAfter } from './x86/debug-model.ts';
import { initialiseFields, resetFields } from './x86/registers.ts';
import {
  ACTIVE,
  HALTED,
  IDLE,
  INITIALISED,
  PATH_EXCEPTIONS,
  PATH_SYSCALLS,
  STATE,
  STATE_SIZE,
  STOPPED,
  state,
} from './x86/state.ts';
import { Tlb } from './x86/tlb.ts';
import { summarize } from './x86/x87/control.ts';
import { B, ES } from './x86/x87/unit.ts';

/** What the engine asks of the machine, besides what single instructions ask (Environment). */
export interface EngineEnvironment extends Environment {
  /** Between two instructions: deliver what is pending. */
  boundary(): void;
  tripleFault(): void;
}

export type RunExit = 'budget' | 'halt' | 'attention';

/** Instructions after which the JIT is asked for what has been translated meanwhile. */
const POLL_INSTRUCTIONS = 16_000;
/** WRITABLE_PAGE when there is none. */
const NO_PAGE = 0xffffffffffffffffn;
/** Faults at one instruction that a hypervisor may deal with: an instruction has a few operands of two pages each. */
const MOST_HANDLED = 64;
/** Turns of the loop in a row that execute nothing: several times what translating the code at RIP may take. */
const MOST_IDLE = 10_000;
/** More instructions than any budget has. */
const UNLIMITED = 0x3fffffff;

export class Vcpu {
  readonly core: Core;
  /** Its place in `core.vcpus`. 0: the bootstrap processor. */
  readonly index: number;
  readonly cpu: Cpu;
  readonly tlb: Tlb;
  readonly budget: Budget;
  environment!: EngineEnvironment;
  /** It has executed a PAUSE and given the rest of its turn away. Whoever gives it the next turn takes this back. */
  paused = false;
  /** Where its state stands while another processor runs. */
  readonly #parked: number;
  readonly #stop: StopRecord;
  readonly #debug: GuestDebug;
  #exitWanted = false;
  /** The last `run` has ended by `requestExit`, and not for a debugger alone. */
  exitAsked = false;
  /** An INIT has come while it was executing. */
  #initPending = false;
  /** The number of faults in a row that a hypervisor has dealt with, and the instructions executed before them. */
  #handled = 0;
  #handledAt = -1;
  #dead = false;
  /**
   * What the machine has pending may be delivered before the next instruction. False after an exit that the guest did not
   * cause (the end of a budget, translation, a hot block): where those come depends on the tier and on the slices of the
   * run, and the guest must not notice.
   */
  boundary = true;

  constructor(core: Core, index: number) {
    this.core = core;
    this.index = index;
    const area = core.layout.processors[index]!;
    this.#parked = area.parked;
    this.tlb = new Tlb(core.memory.bytes.buffer as ArrayBuffer, area);
    this.cpu = new Cpu(core.memory.bytes.buffer as ArrayBuffer, core.memory, this.tlb, core.layout.pageKind);
    this.budget = new Budget(this.cpu);
    this.#stop = new StopRecord(this.cpu);
    this.#debug = new GuestDebug(this.cpu);
    this.cpu.requestExit = () => this.requestExit();
    this.cpu.watch = (linear, bytes, write) => this.watch(linear, bytes, write);
    this.cpu.watchPort = (port, bytes) => this.watchPort(port, bytes);
    this.cpu.deliverFault = () => deliver(this, takeFault(this.cpu));
    this.cpu.codeWritten = (address, length) => core.codeWritten(address, length);
    this.cpu.pause = () => this.giveAway();
    if (index > 0) this.cpu.base = this.tlb.base = this.#parked;
  }
  /** Called once: the interpreter's functions exist. */
  connect(): void {
    const { walk, deliver, revoke } = this.core.wide.exports;
    this.cpu.functions = { walk, deliver };
    this.tlb.revoke = revoke;
    this.tlb.begin();
    this.cpu.set32(state.CELLS, cellsOf(this.index));
  }

  /** Copies the state out of STATE, for another processor to have it. From now on registers are read and written there. */
  park(): void {
    this.#move(this.#parked);
  }
  /** Copies the state back to STATE: this processor runs. */
  resume(): void {
    this.#move(STATE);
  }
  #move(to: number): void {
    const { cpu } = this;
    cpu.bytes.copyWithin(to, cpu.base, cpu.base + STATE_SIZE);
    cpu.base = this.tlb.base = to;
  }

  /** It executes nothing until an interrupt comes (HLT), or until it is started. */
  get halted(): boolean {
    return this.cpu.get32(state.ACTIVITY) !== ACTIVE;
  }
  /** HLT, and its end. A processor that waits to be started goes on waiting. */
  set halted(on: boolean) {
    if (!this.waitsForStart) this.cpu.set32(state.ACTIVITY, on ? HALTED : ACTIVE);
  }
  /** @param untilPending an interrupt that RFLAGS.IF keeps out ends the halt, too */
  halt(untilPending: boolean): void {
    if (!this.waitsForStart) this.cpu.set32(state.ACTIVITY, untilPending ? IDLE : HALTED);
  }
  /** Halted, but not deaf to interrupts that RFLAGS.IF keeps out. */
  get idle(): boolean {
    return this.cpu.get32(state.ACTIVITY) === IDLE;
  }
  /** It executes nothing until `start`, whatever interrupts come: after an INIT, or stopped by a hypervisor. */
  get waitsForStart(): boolean {
    return this.cpu.get32(state.ACTIVITY) >= INITIALISED;
  }
  /** It executes from its registers on, as they are. */
  start(): void {
    this.cpu.set32(state.ACTIVITY, ACTIVE);
    this.stir();
  }
  /** It executes nothing from the next instruction on, until it is started. */
  stop(): void {
    this.cpu.set32(state.ACTIVITY, STOPPED);
    this.requestExit();
  }
  /**
   * INIT (SDM 3A 9.1, table 9-1): most registers are as after a reset, and the processor waits to be started. One that
   * executes does so after its present instruction.
   * @returns false if it is as an INIT leaves it already: nothing changes
   */
  init(): boolean {
    if (this.cpu.get32(state.ACTIVITY) === INITIALISED) return false;
    if (this.budget.inside) {
      this.#initPending = true;
      this.requestExit();
      return true;
    }
    this.#initPending = false;
    this.#initialise(initialiseFields);
    this.cpu.set32(state.ACTIVITY, INITIALISED);
    return true;
  }
  /**
   * Something has happened to this processor, which may not be executing: whoever gives out the turns is to look. Only
   * a processor without a turn to come needs that.
   */
  stir(): void {
    const { running } = this.core;
    if (running !== this) running.requestExit();
  }
  /** Ends its turn after the present block: it has nothing to do but to wait for other processors. */
  giveAway(): void {
    this.paused = true;
    this.requestExit();
  }

  /** What the loop (`run`) knows between two instructions, for saved-processor.ts. */
  get loop(): LoopState {
    return {
      halted: this.halted,
      boundary: this.boundary,
      attention: this.cpu.get32(state.ATTENTION) !== 0,
      paused: this.paused,
      executed: this.budget.executed,
      handled: this.#handled,
      handledAt: this.#handledAt,
    };
  }
  set loop({ halted, boundary, attention, paused, executed, handled, handledAt }: LoopState) {
    if (this.halted !== halted) this.halted = halted;
    this.boundary = boundary;
    this.cpu.set32(state.ATTENTION, attention ? 1 : 0);
    this.paused = paused;
    this.budget.executed = executed;
    this.#handled = handled;
    this.#handledAt = handledAt;
  }
  /** True while the guest executes: what has called us is asked by it. */
  get inside(): boolean {
    return this.budget.inside;
  }

  /** Executed instructions, exact even while one of them asks. */
  get instructions(): number {
    return this.budget.instructions;
  }
  /** Events delivered so far: tells a step that faulted from one that retired. */
  get deliveries(): number {
    return this.cpu.get32(state.DELIVERIES);
  }
  countDelivery(): void {
    this.cpu.set32(state.DELIVERIES, this.deliveries + 1);
  }
  /** What `environment` does not want to see first. Until this is said it is asked about everything. */
  set native(events: NativeEvents) {
    this.cpu.set32(state.NATIVE, nativeBits(events));
  }
  /** Which events the hypervisor's fast paths are asked about before `environment` is: after `native`. */
  set paths(events: { exceptions: boolean; syscalls: boolean }) {
    const paths = (events.exceptions ? PATH_EXCEPTIONS : 0) | (events.syscalls ? PATH_SYSCALLS : 0);
    this.cpu.set32(state.NATIVE, (this.cpu.get32(state.NATIVE) & ~(PATH_EXCEPTIONS | PATH_SYSCALLS)) | paths);
  }
  /** Ends a halt. */
  wake(): void {
    this.halted = false;
    this.boundary = true;
  }
  /** The guest is beyond help: `run` returns and does nothing any more. */
  stopForGood(): void {
    this.#dead = true;
    this.requestExit();
  }
  /** Ends the present run in WebAssembly at the end of the block; in an access to a device, after the instruction. */
  requestExit(): void {
    this.exitAsked = true;
    this.boundary = true;
    this.#leave();
    if (this.halted) this.stir();
  }
  #leave(): void {
    this.#exitWanted = true;
    this.cpu.set32(state.ATTENTION, 1);
    this.budget.forfeit();
  }

  /** The state after a reset (SDM 3A 9.1.1), but with segments and RIP as loaders set them afterwards. */
  reset(): void {
    this.#initialise(resetFields);
    if (this.index > 0) this.cpu.set32(state.ACTIVITY, INITIALISED);
  }
  #initialise(fields: (cpu: Cpu) => void): void {
    const { cpu } = this;
    fields(cpu);
    this.tlb.flushAll();
    cpu.updateMode();
    cpu.updateUnits();
    cpu.updateBank();
  }

  /**
   * Runs until `until` instructions have been executed in all, or something else wants to be looked at.
   *
   * It returns, whatever the guest, the hypervisor and the devices do, because every turn of its loop either returns,
   * executes an instruction, or counts as one: a fault does (faults.ts), and a debug exception does (`#deliverDebug`), for
   * a breakpoint on the first instruction of its own handler would go on for ever. A fault that a hypervisor has dealt
   * with counts when it comes again and again at one instruction (`faultHandled`). Interrupts and what a hypervisor
   * delivers come once a turn, before an instruction. The remaining turns make or find a translation of the instruction
   * at RIP, which the next turn executes: MOST_IDLE in a row are a mistake of the engine's. Delivery itself ends:
   * see `deliverException`. The caller looks at the clock and at whoever wants to stop the machine after each return.
   * @param exactly if not, up to REGION_LIMIT instructions may be left over: only the interpreter could execute those
   */
  run(until: number, exactly = true): RunExit {
    const { cpu, environment, budget } = this;
    const { jit, breakpoints } = this.core;
    const most = exactly ? 0 : REGION_LIMIT;
    let idle = 0;
    for (;;) {
      this.#exitWanted = this.exitAsked = false;
      if (this.#dead) return 'attention';
      if (this.#initPending) this.init();
      const shadow = this.#shadow();
      const pending = cpu.get32(state.PENDING_DEBUG);
      const next = nextAtBoundary(pending, shadow);
      const before = budget.executed;
      const isStep = breakpoints.stepping === this;
      if (next === 'trap') {
        if (until - before <= most) return 'budget';
        cpu.set32(state.PENDING_DEBUG, 0);
        this.#deliverDebug(pending);
      } else {
        const held = isStep && breakpoints.holdsInterrupts && !this.halted;
        if (next === 'interrupts' && this.boundary && !this.waitsForStart && !held) {
          environment.boundary();
          this.boundary = false;
        }
        if (this.#dead) return 'attention';
        if (this.halted) return 'halt';
        const left = until - before;
        if (left <= most) return 'budget';
        if (!isStep && breakpoints.stopsBefore(this)) return 'budget';
        const single = isStep || breakpoints.isNear(cpu.pageOffset);
        const boundary = this.boundary; // Still to come, where it was held.
        if (shadow !== 'none' || this.#debug.stepping) this.boundary = this.#oneByOne();
        else if (single) this.boundary = this.#exactly(1);
        else if (left < record.BLOCK_LIMIT) this.boundary = this.#exactly(left);
        else {
          const slice = jit ? POLL_INSTRUCTIONS : UNLIMITED;
          cpu.set32(state.EXACT, exactly && left <= slice ? 1 : 0);
          this.boundary = this.enter(0, Math.min(left, slice));
          jit?.poll();
        }
        if (held && boundary) this.boundary = true;
        if (this.#debug.hasHits) this.#settleHits();
      }
      idle = budget.executed === before ? idle + 1 : 0;
      if (idle > MOST_IDLE) throw new Error(`engine: nothing is executed at 0x${cpu.rip.toString(16)}`);
      const stepped = isStep && budget.executed !== before;
      if (stepped) breakpoints.stepped(this);
      if (this.#exitWanted || stepped) {
        if (this.exitAsked) this.boundary = true;
        this.#shadow();
        return 'attention';
      }
    }
  }
  /** What is held off at RIP: it is the instruction after an STI or a MOV SS. Forgets those that are long past. */
  #shadow(): Shadow {
    const { cpu } = this;
    // Looked at thousands of times a second: no bigint where there is nothing.
    if ((cpu.get32(state.INTERRUPT_SHADOW) | cpu.get32(state.INTERRUPT_SHADOW + 4)) === 0) return 'none';
    const address = cpu.get64(state.INTERRUPT_SHADOW);
    if (address === cpu.rip) return cpu.get64(state.TRAP_SHADOW) === address ? 'interrupts and traps' : 'interrupts';
    this.#endShadow();
    return 'none';
  }
  #endShadow(): void {
    this.cpu.set64(state.INTERRUPT_SHADOW, 0n);
    this.cpu.set64(state.TRAP_SHADOW, 0n);
  }

  /** As `#runOne`. @returns true if something may be delivered after it, as after an instruction that the guest ended a run by */
  #oneByOne(): boolean {
    const { deliveries } = this;
    const { stepping } = this.#debug;
    this.#runOne();
    return stepping || deliveries !== this.deliveries || this.cpu.get32(state.ATTENTION) !== 0;
  }
  /** Executes one instruction, with the breakpoint on it and what debugging has to know of it (x86/debug-model.ts). */
  #runOne(): void {
    const { cpu, budget } = this;
    const inTrapShadow = cpu.get64(state.TRAP_SHADOW) === cpu.rip;
    this.#endShadow();
    const held = cpu.get32(state.PENDING_DEBUG);
    const breakpoints = this.#debug.atInstruction();
    if (breakpoints) {
      cpu.set32(state.PENDING_DEBUG, 0);
      return this.#deliverDebug(breakpoints | held);
    }
    const instruction = this.core.instructionAt(cpu.rip, cpu.mode);
    const traits = instruction?.row.debug ?? {};
    const flagsBefore = cpu.get32(state.FLAGS_REST);
    const { deliveries, instructions } = this;
    const from = cpu.rip;
    this.#exactly(1);
    const faulted = deliveries !== this.deliveries;
    if (!faulted && instructions === budget.executed) return; // nothing has been executed
    // Of several instructions in a row that load SS the first alone holds something off.
    if (inTrapShadow && cpu.get64(state.TRAP_SHADOW) !== 0n) this.#endShadow();
    const flagsAfter = cpu.get32(state.FLAGS_REST);
    const executed: Executed = {
      traits,
      flagsBefore,
      flagsAfter,
      faulted,
      stays: from === cpu.rip,
      goesOn: cpu.rip === cpu.wrap(from + BigInt(instruction?.length ?? 0)),
      stepsBranches: (cpu.get32(state.IA32_DEBUGCTL) & DEBUGCTL_BTF) !== 0,
      loadedStack: cpu.get64(state.TRAP_SHADOW) === cpu.rip,
      hits: this.#debug.takeHits(),
      held: held & cpu.get32(state.PENDING_DEBUG),
    };
    cpu.set32(state.FLAGS_REST, (flagsAfter & ~RF) | resumeFlagAfter(executed));
    this.#debug.addPending(trapsAfter(executed));
  }
  /** After a run that a breakpoint on data or a port has ended; RF is as `resumeFlagAfter` has it. */
  #settleHits(): void {
    const { cpu } = this;
    const traits = this.#debug.hitStays ? this.core.instructionAt(cpu.rip, cpu.mode)?.row.debug : undefined;
    const hits = this.#debug.takeHits();
    if (hits && traits?.repeats) cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) | RF);
    this.#debug.addPending(hits);
  }
  /** #DB for `causes`, bits of DR6. It ends a halt, and counts as an instruction (`run`). */
  #deliverDebug(causes: number): void {
    noteDebugException(this.cpu, causes);
    this.wake();
    this.budget.executed++;
    deliver(this, { vector: vectors.DB });
  }
  /**
   * A hypervisor says that it has dealt with a fault, and the instruction is to be executed again. If that happens too
   * often in a row the fault counts as an instruction.
   */
  faultHandled(): void {
    const { budget } = this;
    if (this.#handledAt !== budget.executed) this.#handled = 0;
    this.#handledAt = budget.executed;
    if (++this.#handled < MOST_HANDLED) return;
    budget.executed++;
    this.countDelivery();
  }

  /** Executes exactly one instruction (or delivers the fault it raises). */
  step(): void {
    this.#exactly(1);
  }
  /**
   * Executes one instruction whose write to the last faulting address reaches guest page `page` (guest-physical,
   * 4096-aligned) although the guest's page table has it read-only: for hypervisors that complete such writes
   * themselves.
   */
  stepWithWritable(page: number): void {
    const { cpu } = this;
    const linear = cpu.get64(state.CR2);
    const physical = Number(cpu.functions.walk(linear, ACCESS_PROBE | ACCESS_QUIET));
    if (physical < 0 || physical - (physical % PAGE_SIZE) !== page)
      throw new Error(`stepWithWritable: 0x${linear.toString(16)} does not map 0x${page.toString(16)}`);
    cpu.set64(state.WRITABLE_PAGE, linear & BigInt(-PAGE_SIZE));
    this.#exactly(1);
    cpu.set64(state.WRITABLE_PAGE, NO_PAGE);
    this.tlb.invalidate(linear);
  }

  /** Executes one instruction for which an x87 error that waits does not count (IGNNE#). */
  stepIgnoringError(): void {
    const { cpu } = this;
    cpu.set16(state.FPU_STATUS, cpu.get16(state.FPU_STATUS) & ~(ES | B));
    this.#exactly(1);
    summarize(cpu.view);
  }

  /** A device has been accessed by the present instruction: whoever wants the processor to stop gets that after it. */
  afterDevice(): void {
    if (this.#exitWanted) this.#stop.plantAfterThis();
  }
  /** Memory is accessed while data breakpoints are armed. */
  watch(linear: bigint, size: number, write: boolean): void {
    const watched = this.core.breakpoints.accessed(this, linear, size, write);
    this.#stopAfterThis(this.#debug.access(linear, size, write), watched);
  }
  /** A port is accessed while breakpoints are armed. */
  watchPort(port: number, size: number): void {
    this.#stopAfterThis(this.#debug.portAccess(port, size), false);
  }
  /** For the guest's own breakpoint, or for a debugger, which the guest must not notice. */
  #stopAfterThis(guests: boolean, debuggers: boolean): void {
    if (guests) this.requestExit();
    else if (debuggers) this.#leave();
    else return;
    this.#stop.plantAfterThis();
  }

  /**
   * Runs from RIP with `fuel` instructions at most; `block` 0 looks it up. Deals with whatever ended it.
   * @returns true if that was something the guest did
   */
  enter(block: number, fuel: number): boolean {
    const { cpu, core, budget } = this;
    if (cpu.mode !== 64) cpu.noteSegments();
    cpu.set32(state.BLOCK_BASE, Blocks.tableBase(cpu.mode));
    cpu.set32(state.RECORD, 0);
    budget.enter(fuel);
    const why = core.instance(cpu.mode).exports.run(block);
    budget.leave();
    this.#stop.remove();
    switch (why) {
      case record.EXIT_BUDGET:
        return false;
      case record.EXIT_STOP:
        // At the end of a budget; or whoever had it planted wants an exit, which is a boundary in any case.
        this.#settleAtRecord();
        return false;
      case record.EXIT_FAULT:
        this.#settleAtRecord();
        deliverFault(this);
        return true;
      case record.EXIT_FETCH_FAULT:
        if (roomInCode(cpu) <= 0) faultBeyondLimit(cpu);
        deliverFault(this);
        return true;
      case record.EXIT_CROSSING:
        this.#settleAtRecord();
        return !this.#retranslate();
      case record.EXIT_TRANSLATE: {
        const before = this.deliveries;
        this.#translate();
        return this.deliveries !== before;
      }
      case record.EXIT_LIMIT:
        return this.#exactly(1);
      case record.EXIT_HOT:
        core.jit!.request(cpu.rip, cpu.mode);
        return false;
    }
    throw new Error(`engine: the interpreter has ended with ${why}`);
  }
  /** WebAssembly was left before the instruction of the state's record: counts those before it, and sets RIP. */
  #settleAtRecord(): void {
    const { cpu } = this;
    const at = cpu.get32(state.RECORD);
    this.budget.executed += cpu.bytes[at + record.POSITION]!;
    cpu.rip = cpu.wrap(cpu.get64(state.PAGE) + BigInt(cpu.view.getUint16(at + record.OFFSET, true)));
  }

  /** The page that the instruction at RIP reaches into has changed: its own page is translated anew. False: it faults. */
  #retranslate(): boolean {
    const physical = this.core.code(this.cpu.rip);
    if (physical >= 0) this.core.blocks.invalidate(physical >>> 12);
    else deliverFault(this);
    return physical >= 0;
  }
  /** The block at RIP; 0 if a fault was delivered instead or the machine is done for. */
  #translate(): number {
    const { cpu, core } = this;
    const { rip, mode } = cpu;
    const physical = core.code(rip);
    if (physical < 0) {
      deliverFault(this);
      return 0;
    }
    if (!core.isRam(physical)) {
      this.environment.kill(`execution at 0x${physical.toString(16)} (linear 0x${rip.toString(16)}), where no RAM is`);
      this.stopForGood();
      return 0;
    }
    const known = core.blocks.find(physical, mode);
    if (known) return known;
    if (!core.breakpoints.any && core.jit?.recall(rip, physical, mode)) return core.blocks.find(physical, mode);
    const translate = () => core.blocks.translate(rip, physical, mode, core.source);
    const block = translate();
    if (block) return block;
    // The first instruction reaches into a page that nobody has come to yet, or that cannot be fetched: its fault.
    if (core.code(core.nextPage(rip)) < 0) {
      deliverFault(this);
      return 0;
    }
    const crossing = translate();
    if (crossing) return crossing;
    this.environment.kill(`an instruction at linear 0x${rip.toString(16)} runs into device memory`);
    this.stopForGood();
    return 0;
  }

  /**
   * Executes exactly `count` (< BLOCK_LIMIT) instructions, less if a fault or an exit request comes between.
   * @returns as `enter`
   */
  #exactly(count: number): boolean {
    const { cpu, budget } = this;
    const { blocks, breakpoints } = this.core;
    const goal = budget.executed + count;
    let guests = false;
    for (let guard = 0; budget.executed < goal && guard < 4 * record.BLOCK_LIMIT; guard++) {
      const before = this.deliveries;
      const room = roomInCode(cpu);
      const block = room > 0 ? this.#translate() : 0;
      if (room > 0 && !block) return true;
      const most = Math.min(goal - budget.executed, block && blocks.instructionsWithin(block, room));
      if (most === 0) {
        faultBeyondLimit(cpu);
        deliverFault(this);
        return true;
      }
      const stop = blocks.recordAt(block, most);
      if (stop) this.#stop.plant(stop);
      cpu.set64(state.PAGE, cpu.rip & ~4095n);
      guests = this.enter(blocks.past(block), most);
      if (this.#exitWanted || before !== this.deliveries || this.halted || this.#dead) break;
      if (breakpoints.isNear(cpu.pageOffset)) break;
    }
    return guests;
  }
}
