/**
 * One processor's registers and its guest's memory, as helpers and the machine see them: typed reads and writes of the state
 * that translated code works on, and accesses to linear addresses through the guest's page tables.
 */

import type { GuestMemory } from '../../memory/memory.ts';
import type { Questions } from '../../paravirt/operations.ts';
import {
  CR0_AM,
  CR0_EM,
  CR0_PE,
  CR0_TS,
  CR4_OSFXSR,
  CR4_OSXSAVE,
  CR4_SMAP,
  EFER_LMA,
  XSTATE_AVX,
  XSTATE_SSE,
} from '../../x86/control.ts';
import {
  DESCRIPTOR_CODE,
  DESCRIPTOR_DB,
  DESCRIPTOR_EXPAND_DOWN,
  DESCRIPTOR_L,
  DESCRIPTOR_P,
  DESCRIPTOR_S,
  DESCRIPTOR_WRITABLE,
} from '../../x86/descriptors.ts';
import { AC, ARITHMETIC_FLAGS, IF, IOPL, IOPL_SHIFT, VM, ZF } from '../../x86/flags.ts';
import { CS, ES, FS, GS, LDTR, SS, TR } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { PAGE_CODE, TLB_EMPTY } from '../layout.ts';
import * as record from '../record.ts';
import { ACCESS_IMPLICIT, ACCESS_PROBE, ACCESS_WRITE } from './access.ts';
import type { CodeSize } from './decode.ts';
import { FAULT_SET, STATE, state } from './state.ts';
import type { Tlb } from './tlb.ts';

/** In a segment's attributes: present, code or data, and for data that it grows upwards and may be written; D/B. */
const CODE = DESCRIPTOR_P | DESCRIPTOR_S | DESCRIPTOR_CODE;
const DATA_MASK = CODE | DESCRIPTOR_EXPAND_DOWN | DESCRIPTOR_WRITABLE;
const DATA = DESCRIPTOR_P | DESCRIPTOR_S | DESCRIPTOR_WRITABLE;

/** What XCR0 must have for AVX. */
const YMM = XSTATE_SSE | XSTATE_AVX;

/** What leaves a helper when the guest faults. One object: nothing is allocated, no stack is recorded. */
export const FAULT = Symbol('guest fault');

/**
 * What the processor asks of whoever runs it. The hypervisor's ops are here by their names (Questions): one that is absent is
 * native, and the engine then does what hardware does. The other members are always there; the machine answers them.
 */
export interface Environment extends Questions {
  portRead(port: number, bytes: 1 | 2 | 4): number;
  portWrite(port: number, bytes: 1 | 2 | 4, value: number): void;
  cpuid(leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number };
  /** undefined: #GP. */
  readMsr(index: number): bigint | undefined;
  /** false: #GP. */
  writeMsr(index: number, value: bigint): boolean;
  /** What the time-stamp counter would be if the guest had never set it: TSC_OFFSET is still to be added. It need not be whole. */
  ticks(): number;
  /** The time-stamp counter. */
  tsc(): bigint;
  /** The guest has set its time-stamp counter. */
  tscMoved(): void;
  /** The local APIC's task priority, as CR8 has it (0-15). */
  taskPriority(): number;
  setTaskPriority(value: number): void;
  /** True if an interrupt waits to be delivered. */
  interruptPending(): boolean;
  mmioRead(address: number, width: 1 | 2 | 4): number;
  mmioWrite(address: number, width: 1 | 2 | 4, value: number): void;
  /**
   * FERR#: with CR0.NE clear an unmasked x87 error waits, or does no more. Absent where nothing is wired to it.
   * @returns what the board does: it has interrupted, or it has the error ignored (IGNNE#)
   */
  coprocessorError?(waits: boolean): 'interrupt' | 'ignore';
  halt(): void;
  random(): bigint;
  kill(reason: string): void;
}

/** What helpers call of the interpreter's module. */
interface Functions {
  walk(linear: bigint, access: number): bigint;
  /** Delivers a vector if that is an ordinary case (traps.ts): 1; otherwise 0, and nothing has changed. */
  deliver(vector: number, code: number): number;
}

export class Cpu {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly longs: BigUint64Array;
  readonly memory: GuestMemory;
  readonly tlb: Tlb;
  readonly pageKind: number;
  /** Absolute address of this processor's state: STATE while it runs. */
  base = STATE;
  environment!: Environment;
  functions!: Functions;
  /** Stop at the end of the block: interrupts, mode changes. Set by vcpu.ts. */
  requestExit: () => void = () => {};
  /** PAUSE, while PAUSE_ENDS asks for this. Set by vcpu.ts. */
  pause: () => void = () => {};
  /** Memory and ports that helpers access while breakpoints are armed. Set by vcpu.ts. */
  watch: (linear: bigint, bytes: number, write: boolean) => void = () => {};
  watchPort: (port: number, bytes: number) => void = () => {};
  /** A debugger on the host's side watches memory, whatever DR7 says. */
  watchedByHost = false;
  /** Deliver the fault that the state holds at RIP, within the instruction that raised it. Set by vcpu.ts. */
  deliverFault: () => void = () => {};
  /** Drop translations of code in the page. */
  codeWritten: (address: number, length: number) => void = () => {};

  constructor(buffer: ArrayBuffer, memory: GuestMemory, tlb: Tlb, pageKind: number) {
    this.view = new DataView(buffer);
    this.bytes = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
    this.longs = new BigUint64Array(buffer);
    this.memory = memory;
    this.tlb = tlb;
    this.pageKind = pageKind;
  }

  // Fields of the state, by their offsets (fields.ts).

  get64(offset: number): bigint {
    return this.longs[(this.base + offset) >> 3]!;
  }
  set64(offset: number, value: bigint): void {
    this.longs[(this.base + offset) >> 3] = value;
  }
  get32(offset: number): number {
    return this.words[(this.base + offset) >> 2]!;
  }
  set32(offset: number, value: number): void {
    this.words[(this.base + offset) >> 2] = value;
  }
  get16(offset: number): number {
    return this.view.getUint16(this.base + offset, true);
  }
  set16(offset: number, value: number): void {
    this.view.setUint16(this.base + offset, value, true);
  }
  setFloat64(offset: number, value: number): void {
    this.view.setFloat64(this.base + offset, value, true);
  }
  get8(offset: number): number {
    return this.bytes[this.base + offset]!;
  }
  set8(offset: number, value: number): void {
    this.bytes[this.base + offset] = value;
  }
  gpr(index: number): bigint {
    return this.get64(state.GPR + 8 * index);
  }
  setGpr(index: number, value: bigint): void {
    this.set64(state.GPR + 8 * index, value);
  }
  /** Low half of a general register; setting clears the upper half. */
  gpr32(index: number): number {
    return this.words[(this.base + state.GPR + 8 * index) >> 2]!;
  }
  setGpr32(index: number, value: number): void {
    const at = (this.base + state.GPR + 8 * index) >> 2;
    this.words[at] = value;
    this.words[at + 1] = 0;
  }
  argument(index: number): bigint {
    return this.get64(state.ARGUMENT + 8 * index);
  }
  argument32(index: number): number {
    return this.words[(this.base + state.ARGUMENT + 8 * index) >> 2]!;
  }
  setResult(value: bigint, index = 0): void {
    this.set64(state.RESULT + 8 * index, value);
  }
  setResult32(value: number, index = 0): void {
    const at = (this.base + state.RESULT + 8 * index) >> 2;
    this.words[at] = value;
    this.words[at + 1] = 0;
  }

  /** Linear address of the instruction whose helper runs. Translated code has left it in RIP. */
  here(): bigint {
    const at = this.get32(state.RECORD);
    if (!at) return this.rip;
    return this.wrap(this.get64(state.PAGE) + BigInt(this.view.getUint16(at + record.OFFSET, true)));
  }
  /** … of the instruction after it; for helpers that translated code does not call. */
  next(): bigint {
    const at = this.get32(state.RECORD);
    return this.wrap(
      this.get64(state.PAGE) + BigInt(this.view.getUint16(at + record.OFFSET, true) + this.bytes[at + record.LENGTH]!),
    );
  }
  /** The offset of RIP in its page. */
  get pageOffset(): number {
    return this.get32(state.RIP) & 4095;
  }
  get rip(): bigint {
    return this.get64(state.RIP);
  }
  /** RIP in 64-bit mode; elsewhere the linear address CS base + EIP, as translated code has it. */
  set rip(value: bigint) {
    this.set64(state.RIP, value);
  }
  /** The instruction pointer as the architecture shows it. */
  get ip(): bigint {
    return this.mode === 64 ? this.rip : (this.rip - this.segmentBase(CS)) & 0xffffffffn;
  }
  set ip(value: bigint) {
    this.rip = this.mode === 64 ? value : (value + this.segmentBase(CS)) & 0xffffffffn;
  }
  get cpl(): number {
    return this.get32(state.CPL);
  }
  get mode(): CodeSize {
    return this.get32(state.MODE) as CodeSize;
  }
  get longMode(): boolean {
    return (this.get32(state.EFER) & EFER_LMA) !== 0;
  }
  get protectedMode(): boolean {
    return (this.get32(state.CR0) & CR0_PE) !== 0;
  }
  get v86(): boolean {
    return (this.get32(state.FLAGS_REST) & VM) !== 0;
  }
  get iopl(): number {
    return (this.get32(state.FLAGS_REST) & IOPL) >> IOPL_SHIFT;
  }
  /** NMI is held off until IRET. */
  get nmiBlocked(): boolean {
    return this.get32(state.NMI_BLOCKED) !== 0;
  }
  set nmiBlocked(value: boolean) {
    this.set32(state.NMI_BLOCKED, value ? 1 : 0);
  }
  get interruptFlag(): boolean {
    return (this.get32(state.FLAGS_REST) & IF) !== 0;
  }

  /** RFLAGS, put together from the lazy fields. */
  get flags(): number {
    const aux = this.get32(state.FLAG_AUX);
    const low = this.words[(this.base + state.FLAG_RESULT) >> 2]!;
    const high = this.words[((this.base + state.FLAG_RESULT) >> 2) + 1]!;
    let parity = (low ^ (aux >>> 8)) & 0xff;
    parity ^= parity >> 4;
    const even = (0x9669 >> (parity & 15)) & 1; // bit n set: n has an even number of ones
    const carry = aux >>> 31;
    return (
      this.get32(state.FLAGS_REST) |
      carry |
      (even << 2) |
      (((aux >>> 3) & 1) << 4) |
      ((low | high) === 0 ? ZF : 0) |
      (((high >>> 31) ^ (aux & 1)) << 7) |
      ((carry ^ ((aux >>> 30) & 1)) << 11)
    );
  }
  set flags(value: number) {
    this.set32(state.FLAGS_REST, (value & ~ARITHMETIC_FLAGS) | 2);
    const zero = (value >> 6) & 1;
    const carry = value & 1;
    const at = (this.base + state.FLAG_RESULT) >> 2;
    this.words[at] = zero ^ 1;
    this.words[at + 1] = 0;
    // See builder.ts, flagsFromBits: the same encoding.
    this.set32(
      state.FLAG_AUX,
      (carry << 31) |
        ((carry ^ ((value >> 11) & 1)) << 30) |
        (((value >> 4) & 1) << 3) |
        ((((value >> 2) & 1) ^ zero) << 8) |
        ((value >> 7) & 1),
    );
  }

  segmentBase(segment: number): bigint {
    return this.get64(segmentBaseOffset(segment));
  }
  selector(segment: number): number {
    return this.get16(state.SELECTOR + 4 * segment);
  }

  // Faults.

  raise(vector: number, code = 0): never {
    this.set32(state.FAULT, vector | FAULT_SET);
    this.set32(state.FAULT_CODE, code);
    throw FAULT;
  }

  // Linear memory. Faults raise.

  /** Guest-physical address of a byte at `linear`; raises the fault. */
  translate(linear: bigint, access: number): number {
    const physical = this.functions.walk(linear, access);
    if (physical < 0n) throw FAULT; // walk has set FAULT
    return Number(physical);
  }
  /** Reads `bytes` (1-8) at a linear address. With `implicit`, as the processor itself does, at supervisor rights. */
  readLinear(linear: bigint, bytes: 1 | 2 | 4 | 8, implicit: boolean): bigint {
    if (!implicit) this.#align(linear, bytes);
    const access = implicit ? ACCESS_IMPLICIT | ACCESS_PROBE : 0;
    const offset = Number(linear & 4095n);
    if (offset + bytes > 4096) {
      // The first page's fault comes before the second's, and CR2 says where it begins.
      this.translate(linear, access);
      this.translate(this.wrap((linear & ~4095n) + 4096n), access);
      let value = 0n;
      for (let i = bytes - 1; i >= 0; i--)
        value = (value << 8n) | this.readLinear(this.wrap(linear + BigInt(i)), 1, implicit);
      return value;
    }
    const physical = this.translate(linear, access);
    if (!implicit && this.get32(state.WATCHING)) this.watch(linear, bytes, false);
    if (!this.memory.has(physical, bytes)) return this.#deviceRead(physical, bytes);
    switch (bytes) {
      case 1:
        return BigInt(this.memory.read8(physical));
      case 2:
        return BigInt(this.memory.read16(physical));
      case 4:
        return BigInt(this.memory.read32(physical));
      case 8:
        return this.memory.read64(physical);
    }
  }
  /** Raises what writing `bytes` at `linear` would raise. */
  probeWrite(linear: bigint, bytes: number, implicit: boolean): void {
    const access = ACCESS_WRITE | (implicit ? ACCESS_IMPLICIT | ACCESS_PROBE : 0);
    this.translate(linear, access);
    const last = linear + BigInt(bytes - 1);
    if (linear >> 12n !== last >> 12n) this.translate(this.wrap(last & ~4095n), access);
  }
  writeLinear(linear: bigint, bytes: 1 | 2 | 4 | 8, value: bigint, implicit: boolean): void {
    if (!implicit) this.#align(linear, bytes);
    const access = ACCESS_WRITE | (implicit ? ACCESS_IMPLICIT | ACCESS_PROBE : 0);
    const offset = Number(linear & 4095n);
    if (offset + bytes > 4096) {
      this.probeWrite(linear, bytes, implicit);
      for (let i = 0; i < bytes; i++)
        this.writeLinear(this.wrap(linear + BigInt(i)), 1, (value >> BigInt(8 * i)) & 0xffn, implicit);
      return;
    }
    const physical = this.translate(linear, access);
    if (!implicit && this.get32(state.WATCHING)) this.watch(linear, bytes, true);
    if (!this.memory.has(physical, bytes)) return this.#deviceWrite(physical, bytes, value);
    const at = this.memory.origin + physical;
    switch (bytes) {
      case 1:
        this.bytes[at] = Number(value);
        break;
      case 2:
        this.view.setUint16(at, Number(value & 0xffffn), true);
        break;
      case 4:
        this.view.setUint32(at, Number(value & 0xffffffffn), true);
        break;
      case 8:
        this.view.setBigUint64(at, value, true);
        break;
    }
    if (this.bytes[this.pageKind + (physical >>> 12)] === PAGE_CODE) this.codeWritten(physical, bytes);
  }
  /** Memory of devices: they take 32 bits at most, the lower half of 64 first. */
  #deviceRead(physical: number, bytes: 1 | 2 | 4 | 8): bigint {
    const { environment } = this;
    if (bytes < 8) return BigInt(environment.mmioRead(physical, bytes as 1 | 2 | 4) >>> 0);
    const low = BigInt(environment.mmioRead(physical, 4) >>> 0);
    return low | (BigInt(environment.mmioRead(physical + 4, 4) >>> 0) << 32n);
  }
  #deviceWrite(physical: number, bytes: 1 | 2 | 4 | 8, value: bigint): void {
    const { environment } = this;
    environment.mmioWrite(physical, bytes === 8 ? 4 : bytes, Number(value & 0xffffffffn));
    if (bytes === 8) environment.mmioWrite(physical + 4, 4, Number(value >> 32n));
  }
  /** Linear addresses are 32 bits outside long mode. */
  wrap(linear: bigint): bigint {
    return this.longMode ? linear & 0xffffffffffffffffn : linear & 0xffffffffn;
  }

  // What follows from changed registers.

  /**
   * Whether every offset in the segment may be read and written, in CS executed, and is, but for FS and GS, the linear address
   * itself: FLAT says so. Called whenever the segment's hidden part has changed.
   */
  noteSegment(segment: number): void {
    const attributes = this.get32(state.SEGMENT_ATTRIBUTES + 4 * segment);
    const base = segmentBaseOffset(segment);
    const flat =
      (segment === CS ? (attributes & CODE) === CODE : (attributes & DATA_MASK) === DATA) &&
      this.get32(state.SEGMENT_LIMIT + 4 * segment) === 0xffffffff &&
      (segment >= FS || (this.get32(base) | this.get32(base + 4)) === 0) &&
      (segment !== SS || (attributes & DESCRIPTOR_DB) !== 0);
    const others = this.get32(state.FLAT) & ~(1 << segment);
    this.set32(state.FLAT, flat ? others | (1 << segment) : others);
  }
  /** The same for all: 64-bit code's own ways into the kernel and back (traps.ts) do not keep FLAT. */
  noteSegments(): void {
    for (let segment = ES; segment <= GS; segment++) this.noteSegment(segment);
  }

  /** Accesses have to be aligned to their size, else #AC(0) (SDM 3A 6.15, interrupt 17). */
  get #checksAlignment(): boolean {
    return this.get32(state.TLB_BASE) === TLB_EMPTY;
  }
  #align(linear: bigint, bytes: number): void {
    if (this.#checksAlignment && Number(linear & 15n) & (bytes - 1)) this.raise(vectors.AC, 0);
  }
  /** The TLB bank for the current CPL and AC. */
  updateBank(): void {
    const checks = this.cpl === 3 && this.get32(state.FLAGS_REST) & AC && this.get32(state.CR0) & CR0_AM;
    if (checks) return this.set32(state.TLB_BASE, TLB_EMPTY);
    const kind = this.cpl === 3 ? 0 : this.get32(state.FLAGS_REST) & AC ? 2 : 1;
    this.set32(
      state.TLB_BASE,
      this.get32(state.CLASS_BASE + 4 * (kind === 2 && !(this.get32(state.CR4) & CR4_SMAP) ? 1 : kind)),
    );
  }
  setCpl(cpl: number): void {
    this.set32(state.CPL, cpl);
    this.updateBank();
  }
  /** Code size and stack width from CS, SS, EFER.LMA. */
  updateMode(): void {
    const cs = this.get32(state.SEGMENT_ATTRIBUTES + 4 * CS);
    const long = this.longMode && (cs & DESCRIPTOR_L) !== 0;
    const mode = long ? 64 : cs & DESCRIPTOR_DB ? 32 : 16;
    if (mode !== this.mode) {
      this.set32(state.MODE, mode);
      this.requestExit();
    }
    const big = (this.get32(state.SEGMENT_ATTRIBUTES + 4 * SS) & DESCRIPTOR_DB) !== 0;
    this.set64(state.STACK_MASK, long ? 0xffffffffffffffffn : big ? 0xffffffffn : 0xffffn);
  }
  /** Which instructions CR0, CR4 and XCR0 forbid (SDM 3A 2.5; SDM 2A 2.4.4). */
  updateUnits(): void {
    const cr0 = this.get32(state.CR0);
    const em = cr0 & CR0_EM;
    const ts = cr0 & CR0_TS;
    this.set32(state.UNIT_TRAP, em || ts ? vectors.NM : 0);
    this.set32(state.UNIT_TRAP + 4, em ? vectors.UD : ts ? vectors.NM : 0);
    this.set32(state.UNIT_TRAP + 8, em || !(this.get32(state.CR4) & CR4_OSFXSR) ? vectors.UD : ts ? vectors.NM : 0);
    const avx = this.get32(state.CR4) & CR4_OSXSAVE && (this.get32(state.XCR0) & YMM) === YMM;
    this.set32(state.UNIT_TRAP + 12, avx ? (ts ? vectors.NM : 0) : vectors.UD);
  }
}

export function segmentBaseOffset(segment: number): number {
  return segment === LDTR ? state.LDT_BASE : segment === TR ? state.TR_BASE : state.SEGMENT_BASE + 8 * segment;
}

/** Sign-extended from bit 47: what 64-bit mode accepts as an address. */
export function isCanonical(address: bigint): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(48, address)) === BigInt.asUintN(64, address);
}
