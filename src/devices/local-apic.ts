/**
 * The local APIC of one processor (SDM 3A chapter 11): xAPIC registers in memory, x2APIC registers as MSRs, the same
 * chip behind both. It decides which interrupt the processor takes next; the 8259s' INTR comes in at LINT0.
 */

import type { Clock } from '../host/clock.ts';
import type { Log } from '../host/log.ts';
import type { BusHandler, Width } from '../memory/bus.ts';
import type { InterruptSource } from '../paravirt/processor.ts';
import type { State, States } from '../state/state.ts';
import type { ApicBus, BusAgent } from './apic-bus.ts';
import {
  BROADCAST,
  EXTINT,
  FIXED,
  INIT,
  LOWEST_PRIORITY,
  longDestination,
  NMI,
  SMI,
  START_UP,
  TO_SELF,
} from './apic-bus.ts';
import {
  APR,
  BSP,
  CURRENT_COUNT,
  DFR,
  DIVIDE,
  ENABLED,
  EOI,
  ERROR,
  ESR,
  EXTENDED,
  IA32_APIC_BASE,
  IA32_TSC_DEADLINE,
  ICR_HIGH,
  ICR_LOW,
  ID,
  ILLEGAL_REGISTER,
  INITIAL_COUNT,
  IRR,
  ISR,
  initialRegisters,
  LDR,
  LINT0,
  LINT1,
  LVT_ERROR,
  LVT_LEVEL,
  LVT_MASKED,
  LVT_REMOTE_IRR,
  LVT_TIMER,
  LVT_WRITABLE,
  PPR,
  RECEIVE_ILLEGAL_VECTOR,
  SELF_IPI,
  SEND_ILLEGAL_VECTOR,
  SOFTWARE_ENABLED,
  SVR,
  TIMER,
  TMR,
  TPR,
  VERSION,
  VERSION_VALUE,
  writableInX2,
  X2APIC_FIRST,
  X2APIC_LAST,
} from './apic-registers.ts';
import type { TimeStampCounter } from './apic-timer.ts';
import { ApicTimer } from './apic-timer.ts';
import type { Device } from './device.ts';
import type { ExternalInterrupts } from './pic-8259.ts';
import { VectorSet } from './vector-set.ts';

/** Where the registers stand after reset (SDM 3A 11.4.1). */
export const LOCAL_APIC_BASE = 0xfee00000;

/** What the APIC does to its processor, besides raising maskable interrupts. Set by the machine. */
export interface ProcessorPins {
  /** `pending()` may have become true. */
  onChange(): void;
  nmi(): void;
  /** @returns false if the processor is as an INIT leaves it already: then its APIC is, too, and keeps what came since. */
  init(): boolean;
  /** Start-up IPI: real mode at `vector` * 4096. */
  startUp(vector: number): void;
  /** A processor's message has come. */
  ipi(): void;
}

export interface LocalApicOptions {
  /** The APIC id: 0 for the bootstrap processor. */
  id: number;
  states: States;
  clock: Clock;
  tsc: TimeStampCounter;
  bus: ApicBus;
  external: ExternalInterrupts;
  log: Log;
  /** The width of physical addresses, which bounds IA32_APIC_BASE. */
  physicalAddressBits?: number;
}

/** What an INIT leaves alone. */
const initialKept = () => ({
  /** IA32_APIC_BASE: the address, and the bits EXTENDED and ENABLED. */
  base: LOCAL_APIC_BASE,
  mode: ENABLED,
  /** The levels of LINT0 and LINT1. */
  lint: [false, false],
});

export class LocalApic implements Device, BusHandler, BusAgent, InterruptSource {
  readonly name: string;
  readonly id: number;
  readonly timer: ApicTimer;
  pins: ProcessorPins = { onChange: () => {}, nmi: () => {}, init: () => true, startUp: () => {}, ipi: () => {} };
  /** Called when `page` may have changed. */
  onMove: () => void = () => {};
  /** What follows from `page` is to be undone before a restore, and done again after it. */
  onRestoring: () => void = () => {};
  onRestored: () => void = () => {};

  readonly #bus: ApicBus;
  readonly #external: ExternalInterrupts;
  readonly #log: Log;
  readonly #addressLimit: number;

  /** Requested, in service, and which of them are level-triggered. */
  readonly #irr: VectorSet;
  readonly #isr: VectorSet;
  readonly #tmr: VectorSet;
  readonly #kept: State<ReturnType<typeof initialKept>>;
  readonly #state: State<ReturnType<typeof initialRegisters>>;

  constructor(options: LocalApicOptions) {
    this.id = options.id;
    this.name = `local-apic-${options.id}`;
    this.#bus = options.bus;
    this.#external = options.external;
    this.#log = options.log;
    this.#addressLimit = 2 ** (options.physicalAddressBits ?? 40);
    const { states } = options;
    this.#irr = new VectorSet(states, `${this.name}/irr`);
    this.#isr = new VectorSet(states, `${this.name}/isr`);
    this.#tmr = new VectorSet(states, `${this.name}/tmr`);
    this.#kept = states.state(this.name, 1, initialKept);
    this.#state = states.state(`${this.name}/registers`, 1, initialRegisters);
    this.timer = new ApicTimer(states, `${this.name}/timer`, options.clock, options.tsc, () => this.#local(TIMER));
    this.#bus.addLocal(this);
  }

  /** Power-on, and the disabling of the APIC through IA32_APIC_BASE (SDM 3A 11.4.7.1). */
  reset(): void {
    this.#clear();
    const moved = this.#kept.base !== LOCAL_APIC_BASE || this.#kept.mode !== ENABLED;
    this.#kept.base = LOCAL_APIC_BASE;
    this.#kept.mode = ENABLED;
    if (moved) this.onMove();
  }

  restoring(): void {
    this.onRestoring();
  }

  restored(): void {
    this.onRestored();
    this.pins.onChange();
  }

  /** What an INIT does: everything but IA32_APIC_BASE and the id. */
  #clear(): void {
    this.#irr.clear();
    this.#isr.clear();
    this.#tmr.clear();
    this.#state.initialise();
    this.timer.reset();
  }

  /**
   * Leaves the APIC as firmware does on the bootstrap processor: enabled, the 8259s passed through at LINT0, NMI at
   * LINT1 (virtual wire mode, SDM 3A 11.8 and the MultiProcessor specification 3.6.2.2).
   */
  setVirtualWire(): void {
    this.#state.svr = SOFTWARE_ENABLED | 0xff;
    this.#state.lvt[LINT0] = EXTINT << 8;
    this.#state.lvt[LINT1] = NMI << 8;
  }

  /** IA32_APIC_BASE.EN. */
  get enabled(): boolean {
    return (this.#kept.mode & ENABLED) !== 0;
  }

  /** Where the registers are in memory; undefined when they are not. */
  get page(): number | undefined {
    return this.#kept.mode === ENABLED ? this.#kept.base : undefined;
  }

  // ---- What the processor asks -----------------------------------------------------------------

  /** True if there is a maskable interrupt to take, should RFLAGS.IF allow it. */
  pending(): boolean {
    if (this.#irr.top >= 0 && this.#irr.top >> 4 > this.#processorPriority() >> 4) return true;
    return this.#external.output && this.#passesExternal();
  }

  /** Takes the interrupt. @returns its vector, or -1 if it is gone. */
  acknowledge(): number {
    if (this.#external.output && this.#passesExternal()) return this.#external.acknowledge();
    const vector = this.#irr.top;
    if (vector < 0 || vector >> 4 <= this.#processorPriority() >> 4) return -1;
    this.#irr.remove(vector);
    this.#isr.add(vector);
    return vector;
  }

  /** CR8: the task priority's upper half, 0-15. */
  get cr8(): number {
    return this.#state.tpr >> 4;
  }

  set cr8(value: number) {
    this.#setTaskPriority((value & 15) << 4);
  }

  get taskPriority(): number {
    return this.#state.tpr;
  }

  set taskPriority(value: number) {
    this.#setTaskPriority(value & 0xff);
  }

  get interruptCommand(): bigint {
    return BigInt(this.#state.icrLow >>> 0) | (BigInt(this.#state.icrHigh >>> 0) << 32n);
  }

  /** What is written is taken as WRMSR and memory writes are: reserved bits vanish. */
  set interruptCommand(value: bigint) {
    const low = Number(value & 0xffffffffn) | 0;
    const high = Number((value >> 32n) & 0xffffffffn);
    const extended = (this.#kept.mode & EXTENDED) !== 0;
    this.#state.icrHigh = extended ? high : high & 0xff000000;
    this.#command(low, extended ? high : longDestination(high));
  }

  /**
   * A fixed, edge-triggered interrupt from a hypervisor. It does not come over the bus, so one that arrives before the
   * guest has enabled the APIC by software is not lost.
   */
  request(vector: number): void {
    if (this.#kept.mode & ENABLED) this.#insert(vector, false);
  }

  /**
   * True if the end of the interrupt in service would be broadcast to no I/O APIC and let no other interrupt in, so
   * that it may be done later: before `pending` is next asked, since whatever arrives in between waits behind it.
   */
  canDeferEndOfInterrupt(): boolean {
    return this.#isr.top >= 0 && this.#irr.top < 0 && !this.#tmr.has(this.#isr.top);
  }

  /** What writing the EOI register does. */
  endOfInterrupt(): void {
    const vector = this.#isr.top;
    if (vector < 0) return;
    this.#isr.remove(vector);
    if (this.#tmr.has(vector)) {
      this.#bus.endOfInterrupt(vector);
      this.#endLint(0, vector);
      this.#endLint(1, vector);
    }
    if (this.#irr.top >= 0) this.pins.onChange();
  }

  #passesExternal(): boolean {
    if (!(this.#kept.mode & ENABLED)) return true;
    return (this.#state.lvt[LINT0] & (LVT_MASKED | 0x700)) === EXTINT << 8;
  }

  #processorPriority(): number {
    const serving = this.#isr.top < 0 ? 0 : this.#isr.top & 0xf0;
    return Math.max(this.#state.tpr, serving);
  }

  #setTaskPriority(value: number): void {
    const lower = value < this.#state.tpr;
    this.#state.tpr = value;
    if (lower && this.#irr.top >= 0) this.pins.onChange();
  }

  // ---- What comes in ---------------------------------------------------------------------------

  get priority(): number {
    return this.#processorPriority();
  }

  matches(destination: number, logical: boolean): boolean {
    if (!(this.#kept.mode & ENABLED)) return false;
    if (destination === BROADCAST) return true;
    if (!logical) return destination === this.id;
    if (this.#kept.mode & EXTENDED) {
      const own = this.#logicalX2();
      return destination >>> 16 === own >>> 16 && (destination & own & 0xffff) !== 0;
    }
    const own = this.#state.ldr >>> 24;
    if (this.#state.dfr >>> 28 === 0xf) return (destination & own) !== 0;
    return destination >> 4 === own >> 4 && (destination & own & 0xf) !== 0;
  }

  accept(mode: number, vector: number, level: boolean): boolean {
    switch (mode) {
      case FIXED:
      case LOWEST_PRIORITY:
        return this.#acceptFixed(vector, level);
      case NMI:
        this.pins.nmi();
        return true;
      case INIT:
        if (this.pins.init()) this.#clear();
        return true;
      case START_UP:
        this.pins.startUp(vector);
        return true;
      case SMI:
        this.#log.once('apic-smi', 'local APIC: system management interrupts do not exist here');
        return false;
      default:
        this.#log.once(`apic-mode-${mode}`, `local APIC: message with delivery mode ${mode} dropped`);
        return false;
    }
  }

  #acceptFixed(vector: number, level: boolean): boolean {
    if (!(this.#kept.mode & ENABLED) || !(this.#state.svr & SOFTWARE_ENABLED)) return false;
    if (vector < 16) this.#error(RECEIVE_ILLEGAL_VECTOR);
    else this.#insert(vector, level);
    return true;
  }

  #insert(vector: number, level: boolean): void {
    this.#irr.add(vector);
    if (level) this.#tmr.add(vector);
    else this.#tmr.remove(vector);
    this.pins.onChange();
  }

  /** Drives a local interrupt pin. LINT0 carries the 8259s' INTR on a PC, LINT1 NMI. */
  setLint(pin: 0 | 1, high: boolean): void {
    const was = this.#kept.lint[pin];
    this.#kept.lint[pin] = high;
    if (!high || was) return;
    if (!(this.#kept.mode & ENABLED)) {
      // Without the APIC the pins are the old INTR and NMI.
      if (pin === 1) this.pins.nmi();
      else this.pins.onChange();
      return;
    }
    this.#local(LINT0 + pin);
  }

  /** An event of the local vector table. */
  #local(entry: number): void {
    const value = this.#state.lvt[entry];
    if (value & LVT_MASKED) return;
    const mode = entry === TIMER || entry === ERROR ? FIXED : (value >> 8) & 7;
    if (mode === EXTINT) return this.pins.onChange();
    const level = mode === FIXED && (entry === LINT0 || entry === LINT1) && (value & LVT_LEVEL) !== 0;
    if (level) {
      if (value & LVT_REMOTE_IRR) return;
      this.#state.lvt[entry] |= LVT_REMOTE_IRR;
    }
    this.accept(mode, value & 0xff, level);
  }

  #endLint(pin: 0 | 1, vector: number): void {
    const entry = LINT0 + pin;
    const value = this.#state.lvt[entry];
    if (!(value & LVT_REMOTE_IRR) || (value & 0xff) !== vector) return;
    this.#state.lvt[entry] = value & ~LVT_REMOTE_IRR;
    if (this.#kept.lint[pin]) this.#local(entry);
  }

  #error(bit: number): void {
    // The error interrupt's own vector may be the illegal one: then there is nothing more to say.
    const first = !(this.#state.errors & bit);
    this.#state.errors |= bit;
    if (first) this.#local(ERROR);
  }

  // ---- Registers in memory (xAPIC) -------------------------------------------------------------

  read(offset: number, width: Width): number {
    const value = this.#readRegister(offset & 0xff0);
    if (value === undefined) {
      this.#error(ILLEGAL_REGISTER);
      return 0;
    }
    if (width === 4 && (offset & 0xf) === 0) return value >>> 0;
    const shifted = (offset & 0xc) === 0 ? value >>> (8 * (offset & 3)) : 0;
    return width === 1 ? shifted & 0xff : width === 2 ? shifted & 0xffff : shifted;
  }

  write(offset: number, width: Width, value: number): void {
    if (width !== 4 || offset & 0xf) {
      this.#log.once('apic-width', `local APIC: ${width}-byte write at offset 0x${offset.toString(16)} ignored`);
      return;
    }
    if (offset === ICR_HIGH) this.#state.icrHigh = value & 0xff000000;
    else if (offset === LDR) this.#state.ldr = value & 0xff000000;
    else if (offset === DFR) this.#state.dfr = value | 0x0fffffff;
    else if (offset === ICR_LOW) this.#command(value, longDestination(this.#state.icrHigh));
    else if (!this.#writeRegister(offset, value)) this.#error(ILLEGAL_REGISTER);
  }

  /** @returns undefined where there is no register. */
  #readRegister(offset: number): number | undefined {
    const x2 = (this.#kept.mode & EXTENDED) !== 0;
    switch (offset) {
      case ID:
        return x2 ? this.id : this.id << 24;
      case VERSION:
        return VERSION_VALUE;
      case TPR:
        return this.#state.tpr;
      case APR:
        return x2 ? undefined : this.#arbitrationPriority();
      case PPR:
        return this.#processorPriority();
      case EOI:
        return x2 ? undefined : 0;
      case LDR:
        return x2 ? this.#logicalX2() : this.#state.ldr;
      case DFR:
        return x2 ? undefined : this.#state.dfr;
      case SVR:
        return this.#state.svr;
      case ESR:
        return this.#state.esr;
      case ICR_LOW:
        return this.#state.icrLow;
      case ICR_HIGH:
        return x2 ? undefined : this.#state.icrHigh;
      case INITIAL_COUNT:
        return this.timer.initialCount;
      case CURRENT_COUNT:
        return this.timer.currentCount;
      case DIVIDE:
        return this.timer.divide;
    }
    if (offset >= ISR && offset < ESR) {
      const word = ((offset - ISR) >> 4) & 7;
      return (offset < TMR ? this.#isr : offset < IRR ? this.#tmr : this.#irr).word(word);
    }
    if (offset >= LVT_TIMER && offset <= LVT_ERROR) return this.#state.lvt[(offset - LVT_TIMER) >> 4];
    return undefined;
  }

  /** The registers that both modes write alike. @returns false where there is no register or a read-only one. */
  #writeRegister(offset: number, value: number): boolean {
    switch (offset) {
      case ID:
        // Writable in old chips; the id is soldered here, as in x2APIC-capable ones.
        return !(this.#kept.mode & EXTENDED);
      case TPR:
        this.#setTaskPriority(value & 0xff);
        return true;
      case EOI:
        this.endOfInterrupt();
        return true;
      case SVR:
        this.#writeSpurious(value);
        return true;
      case ESR:
        this.#state.esr = this.#state.errors;
        this.#state.errors = 0;
        return true;
      case INITIAL_COUNT:
        this.timer.initialCount = value;
        return true;
      case DIVIDE:
        this.timer.divide = value;
        return true;
    }
    if (offset < LVT_TIMER || offset > LVT_ERROR) return false;
    this.#writeLvt((offset - LVT_TIMER) >> 4, value);
    return true;
  }

  #writeSpurious(value: number): void {
    this.#state.svr = value & 0x3ff;
    if (value & SOFTWARE_ENABLED) return;
    for (let entry = 0; entry < this.#state.lvt.length; entry++) this.#state.lvt[entry] |= LVT_MASKED;
  }

  #writeLvt(entry: number, value: number): void {
    if (!(this.#state.svr & SOFTWARE_ENABLED)) value |= LVT_MASKED;
    let kept = value & LVT_WRITABLE[entry];
    if (kept & LVT_LEVEL) kept |= this.#state.lvt[entry] & LVT_REMOTE_IRR;
    this.#state.lvt[entry] = kept;
    if (entry === TIMER) {
      const mode = (value >> 17) & 3;
      this.timer.setMode(mode === 2 ? 'tsc-deadline' : mode === 1 ? 'periodic' : 'one-shot');
    } else if ((entry === LINT0 || entry === LINT1) && this.#kept.lint[entry - LINT0]) {
      // A line that is high already counts as a level and lets the 8259s through, but makes no edge.
      const mode = (kept >> 8) & 7;
      if (mode === EXTINT || (mode === FIXED && kept & LVT_LEVEL)) this.#local(entry);
    }
  }

  #arbitrationPriority(): number {
    const waiting = this.#irr.top < 0 ? 0 : this.#irr.top & 0xf0;
    const serving = this.#isr.top < 0 ? 0 : this.#isr.top & 0xf0;
    return this.#state.tpr >> 4 >= waiting >> 4 && this.#state.tpr >> 4 > serving >> 4
      ? this.#state.tpr
      : Math.max(this.#state.tpr & 0xf0, waiting, serving);
  }

  /** The logical id of x2APIC mode follows from the id (SDM 3A 11.12.10.2). */
  #logicalX2(): number {
    return (((this.id >>> 4) << 16) | (1 << (this.id & 15))) >>> 0;
  }

  /** The interrupt command register was written: sends an interprocessor interrupt (SDM 3A 11.6.1). */
  #command(low: number, destination: number): void {
    this.#state.icrLow = low & 0xccfff;
    const vector = low & 0xff;
    const mode = (low >> 8) & 7;
    // An INIT with its level de-asserted only synchronised arbitration ids in chips of the last century.
    if (mode === INIT && !(low & (1 << 14))) return;
    if ((mode === FIXED || mode === LOWEST_PRIORITY) && vector < 16) return this.#error(SEND_ILLEGAL_VECTOR);
    this.#bus.command(this, low, destination);
  }

  noteIpi(): void {
    this.pins.ipi();
  }

  // ---- Registers as MSRs (x2APIC) --------------------------------------------------------------

  /**
   * @returns undefined where the processor must raise #GP(0): not a register of the local APIC, or not readable now.
   */
  readMsr(index: number): bigint | undefined {
    if (index === IA32_APIC_BASE) return BigInt(this.#kept.base) | BigInt(this.#kept.mode | (this.id === 0 ? BSP : 0));
    if (index === IA32_TSC_DEADLINE) return this.timer.deadline;
    if (index < X2APIC_FIRST || index > X2APIC_LAST || !(this.#kept.mode & EXTENDED)) return undefined;
    const offset = (index - X2APIC_FIRST) << 4;
    if (offset === ICR_LOW) return BigInt(this.#state.icrLow >>> 0) | (BigInt(this.#state.icrHigh >>> 0) << 32n);
    const value = this.#readRegister(offset);
    return value === undefined ? undefined : BigInt(value >>> 0);
  }

  /** @returns false where the processor must raise #GP(0). */
  writeMsr(index: number, value: bigint): boolean {
    if (index === IA32_APIC_BASE) return this.#writeBase(value);
    if (index === IA32_TSC_DEADLINE) {
      this.timer.deadline = value;
      return true;
    }
    if (index < X2APIC_FIRST || index > X2APIC_LAST || !(this.#kept.mode & EXTENDED)) return false;
    const offset = (index - X2APIC_FIRST) << 4;
    const low = Number(value & 0xffffffffn);
    const high = Number((value >> 32n) & 0xffffffffn);
    if (offset === ICR_LOW) {
      if (low & ~0xccfff) return false;
      this.#state.icrHigh = high;
      this.#command(low, high);
      return true;
    }
    if (high !== 0 || low & ~writableInX2(offset)) return false;
    if (offset === SELF_IPI) {
      if (low < 16) this.#error(SEND_ILLEGAL_VECTOR);
      else this.#bus.command(this, TO_SELF | low, 0);
      return true;
    }
    return this.#writeRegister(offset, low);
  }

  /** The transitions of SDM 3A 11.12.5: x2APIC mode is entered from xAPIC mode and left through disabling. */
  #writeBase(value: bigint): boolean {
    const mode = Number(value & BigInt(EXTENDED | ENABLED));
    const base = Number(value & ~0xfffn);
    if (value & BigInt(0xfff & ~(EXTENDED | ENABLED | BSP)) || base >= this.#addressLimit) return false;
    const was = this.#kept.mode;
    if (mode === EXTENDED) return false;
    if (was === 0 && mode & EXTENDED) return false;
    if (was & EXTENDED && mode === ENABLED) return false;
    this.#kept.mode = mode;
    this.#kept.base = base;
    if (mode === 0) this.#clear();
    if (mode & EXTENDED && !(was & EXTENDED)) this.#state.icrHigh = 0;
    this.onMove();
    this.pins.onChange();
    return true;
  }
}
