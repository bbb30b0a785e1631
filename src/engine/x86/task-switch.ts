/**
 * Task switches through a TSS (SDM 3A 7; AMD APM 2, 12): what JMP, CALL and IRET do with a TSS descriptor, a task gate or a
 * nested task, and what an event does whose gate is a task gate. Not in long mode.
 *
 * Up to the commit point (`saveOldTask`) faults are the old task's, and nothing has changed. After it they are the new
 * task's: its registers are loaded, and its selectors, of which those that could not be loaded have no hidden part.
 */
import { CR0_PG, CR0_TS, DR6_BT, DR7_LOCAL } from '../../x86/control.ts';
import {
  DESCRIPTOR_CODE,
  DESCRIPTOR_CONFORMING,
  DESCRIPTOR_READABLE,
  DESCRIPTOR_S,
  DESCRIPTOR_WRITABLE,
  TSS_32,
  TSS_BUSY,
  TYPE_BUSY_TSS,
  TYPE_BUSY_TSS_16,
  TYPE_LDT,
  TYPE_TASK_GATE,
  TYPE_TSS,
  TYPE_TSS_16,
} from '../../x86/descriptors.ts';
import { FLAGS_FIXED, FLAGS_KNOWN, NT, RF, TF, VM } from '../../x86/flags.ts';
import { CS, DS, ES, FS, GS, LDTR, SELECTOR_INDEX, SELECTOR_RPL, SELECTOR_TI, SS, TR } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { debugOffset, isStepping, setCr3, setDebug } from './control.ts';
import { type Cpu, FAULT } from './cpu.ts';
import {
  type Descriptor,
  descriptor,
  descriptorBase,
  descriptorDpl,
  descriptorLimit,
  descriptorType,
  isPresent,
  setAccessed,
  setFromDescriptor,
  setRealSegment,
  setSegment,
  tryDescriptor,
} from './segments.ts';
import { currentStack, Pusher, setStackPointer } from './stack-frames.ts';
import { state } from './state.ts';

/** What switches. All but `iret` and `jump` nest the new task in the old one. */
export type TaskSwitchCause = 'jump' | 'call' | 'iret' | 'software' | 'event';

export interface TaskSwitch {
  cause: TaskSwitchCause;
  /** EIP that the old task is resumed at. */
  resumeAt: bigint;
  /** EXT of error codes: 1 while an event is delivered that no INT n asked for. */
  external: number;
  /** What the new task finds on its stack. */
  errorCode?: number | undefined;
}

/** The fields of a TSS by their offsets (SDM 3A figures 7-2 and 7-10). */
interface TssLayout {
  bytes: 2 | 4;
  /** A TSS has to hold so much. */
  size: number;
  ip: number;
  flags: number;
  gpr: number;
  segments: number;
  /** ES, CS, SS, DS and, in a 32-bit TSS, FS and GS. */
  segmentCount: number;
  ldt: number;
}
const TSS_LAYOUT_16: TssLayout = {
  ...{ bytes: 2, size: 0x2c, ip: 0x0e, flags: 0x10, gpr: 0x12, segments: 0x22 },
  ...{ segmentCount: 4, ldt: 0x2a },
};
const TSS_LAYOUT_32: TssLayout = {
  ...{ bytes: 4, size: 0x68, ip: 0x20, flags: 0x24, gpr: 0x28, segments: 0x48 },
  ...{ segmentCount: 6, ldt: 0x60 },
};
const PREVIOUS_TASK_LINK = 0;
const CR3_32 = 0x1c;
/** Bit 0, T: a debug trap when the task is switched to. */
const DEBUG_TRAP_32 = 0x64;
const layoutOf = (type: number): TssLayout => (type & TSS_32 ? TSS_LAYOUT_32 : TSS_LAYOUT_16);

export function isTss(type: number): boolean {
  return [TYPE_TSS_16, TYPE_BUSY_TSS_16, TYPE_TSS, TYPE_BUSY_TSS].includes(type);
}
/** An error code that names a selector (SDM 3A 6.13). */
const visible = (selector: number, external = 0): number => (selector & (SELECTOR_INDEX | SELECTOR_TI)) | external;
const isNull = (selector: number): boolean => visible(selector) === 0;
/** A code segment, among what a descriptor's second word says. */
const CODE = DESCRIPTOR_S | DESCRIPTOR_CODE;

/** The far JMP or CALL to a TSS descriptor or a task gate `d`, that `selector` names. */
export function switchByTransfer(
  cpu: Cpu,
  cause: 'jump' | 'call',
  selector: number,
  d: Descriptor,
  resumeAt: bigint,
): void {
  const isGate = descriptorType(d) === TYPE_TASK_GATE;
  if (descriptorDpl(d) < Math.max(cpu.cpl, selector & SELECTOR_RPL)) cpu.raise(vectors.GP, visible(selector));
  const how = { cause, resumeAt, external: 0 };
  if (!isGate) return switchTask(cpu, selector, how);
  if (!isPresent(d)) cpu.raise(vectors.NP, visible(selector));
  switchTask(cpu, d.low >>> 16, how);
}
/** IRET with NT: back to the task that the present one is nested in. */
export function returnToPreviousTask(cpu: Cpu, resumeAt: bigint): void {
  const link = cpu.readLinear(cpu.wrap(cpu.get64(state.TR_BASE) + BigInt(PREVIOUS_TASK_LINK)), 2, true);
  switchTask(cpu, Number(link), { cause: 'iret', resumeAt, external: 0 });
}

/** What a TSS holds: all of it is read before anything is changed. */
interface NewTask {
  selector: number;
  descriptor: Descriptor;
  layout: TssLayout;
  base: bigint;
  cr3: number | undefined;
  ip: number;
  flags: number;
  gpr: number[];
  segments: number[];
  ldt: number;
  debugTrap: boolean;
}

/**
 * Switches to the task whose TSS `selector` names. A fault in the new task's context is delivered here if an instruction
 * switches; it is thrown if an event does, for whoever delivers that deals with a second fault.
 */
export function switchTask(cpu: Cpu, selector: number, how: TaskSwitch): void {
  const task = readNewTask(cpu, selector, how);
  const wasStepping = cpu.get32(state.FLAGS_REST) & TF;
  saveOldTask(cpu, task, how);
  try {
    enterNewTask(cpu, task, how);
    if (task.debugTrap) cpu.set32(state.PENDING_DEBUG, cpu.get32(state.PENDING_DEBUG) | DR6_BT);
  } catch (thrown) {
    if (thrown !== FAULT || how.cause === 'event') throw thrown;
    cpu.deliverFault();
  }
  // RF of the new task's image counts for its first instruction, which clears it where instructions are executed singly.
  if (!isStepping(cpu)) cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~RF);
  if (wasStepping || task.debugTrap || cpu.interruptFlag || cpu.get32(state.FLAGS_REST) & TF) cpu.requestExit();
}

/** The checks of SDM 3A table 7-1 on the TSS, and all that it holds. Raises the old task's faults. */
function readNewTask(cpu: Cpu, selector: number, { cause, external }: TaskSwitch): NewTask {
  const wrong = cause === 'iret' ? vectors.TS : vectors.GP;
  const code = visible(selector, external);
  if (selector & SELECTOR_TI) cpu.raise(wrong, code);
  const d = tryDescriptor(cpu, selector) ?? cpu.raise(wrong, code);
  const type = descriptorType(d);
  const isBusy = (type & TSS_BUSY) !== 0;
  if (!isTss(type) || isBusy !== (cause === 'iret')) cpu.raise(wrong, code);
  if (!isPresent(d)) cpu.raise(vectors.NP, code);
  const layout = layoutOf(type);
  if (descriptorLimit(d) < layout.size - 1) cpu.raise(vectors.TS, code);
  const base = descriptorBase(d);
  const read = (offset: number, bytes: 2 | 4) => Number(cpu.readLinear(cpu.wrap(base + BigInt(offset)), bytes, true));
  const { bytes } = layout;
  const wide = bytes === 4;
  return {
    selector: selector & ~SELECTOR_RPL,
    descriptor: d,
    layout,
    base,
    cr3: wide && cpu.get32(state.CR0) & CR0_PG ? read(CR3_32, 4) : undefined,
    ip: read(layout.ip, bytes),
    flags: (read(layout.flags, bytes) & FLAGS_KNOWN) | FLAGS_FIXED,
    gpr: Array.from({ length: 8 }, (_, i) => read(layout.gpr + i * bytes, bytes)),
    // A 16-bit TSS has no FS and GS: they become null.
    segments: Array.from({ length: 6 }, (_, i) => (i < layout.segmentCount ? read(layout.segments + i * bytes, 2) : 0)),
    ldt: read(layout.ldt, 2),
    debugTrap: wide && (read(DEBUG_TRAP_32, 2) & 1) !== 0,
  };
}

/** Probes all that is written, then writes it: the old task's state, the busy bits and the link. */
function saveOldTask(cpu: Cpu, task: NewTask, { cause, resumeAt }: TaskSwitch): void {
  const old = layoutOf((cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * TR) >> 8) & 0xf);
  const oldSelector = cpu.selector(TR);
  const oldBase = cpu.get64(state.TR_BASE);
  if (cpu.get32(state.SEGMENT_LIMIT + 4 * TR) < old.size - 1) cpu.raise(vectors.TS, visible(oldSelector));
  const { bytes } = old;
  const at = (offset: number) => cpu.wrap(oldBase + BigInt(offset));
  cpu.probeWrite(at(old.ip), old.segments + old.segmentCount * bytes - old.ip, true);
  const nests = cause !== 'jump' && cause !== 'iret';
  const oldDescriptor = cpu.wrap(cpu.get64(state.GDT_BASE) + BigInt(oldSelector & SELECTOR_INDEX) + 4n);
  const newDescriptor = cpu.wrap(task.descriptor.address + 4n);
  if (!nests) cpu.probeWrite(oldDescriptor, 4, true);
  else cpu.probeWrite(cpu.wrap(task.base + BigInt(PREVIOUS_TASK_LINK)), 2, true);
  if (cause !== 'iret') cpu.probeWrite(newDescriptor, 4, true);

  let { flags } = cpu;
  // A fault's image shows RF; an instruction that switches has cleared it.
  if (cause !== 'event') flags &= ~RF;
  if (cause === 'iret') flags &= ~NT;
  const write = (offset: number, size: 2 | 4, value: bigint | number) =>
    cpu.writeLinear(at(offset), size, BigInt.asUintN(8 * size, BigInt(value)), true);
  write(old.ip, bytes, resumeAt);
  write(old.flags, bytes, flags);
  for (let i = 0; i < 8; i++) write(old.gpr + i * bytes, bytes, cpu.gpr32(i));
  for (let i = 0; i < old.segmentCount; i++) write(old.segments + i * bytes, 2, cpu.selector(i));
  if (nests) cpu.writeLinear(cpu.wrap(task.base + BigInt(PREVIOUS_TASK_LINK)), 2, BigInt(oldSelector), true);
  else setBusy(cpu, oldDescriptor, false);
  if (cause !== 'iret') setBusy(cpu, newDescriptor, true);
}
/** @param address of a TSS descriptor's second word */
function setBusy(cpu: Cpu, address: bigint, busy: boolean): void {
  const high = Number(cpu.readLinear(address, 4, true));
  const bit = TSS_BUSY << 8;
  cpu.writeLinear(address, 4, BigInt((busy ? high | bit : high & ~bit) >>> 0), true);
}

/** Loads all registers but the segments, then these. What it raises is the new task's fault. */
function enterNewTask(cpu: Cpu, task: NewTask, { cause, external, errorCode }: TaskSwitch): void {
  const d = { ...task.descriptor, high: task.descriptor.high | (TSS_BUSY << 8) };
  setFromDescriptor(cpu, TR, task.selector, d);
  if (task.cr3 !== undefined) setCr3(cpu, BigInt(task.cr3));
  cpu.set32(state.CR0, cpu.get32(state.CR0) | CR0_TS);
  cpu.updateUnits();
  const dr7 = cpu.get32(debugOffset(7));
  if (dr7 & DR7_LOCAL) setDebug(cpu, 7, BigInt((dr7 & ~DR7_LOCAL) >>> 0));
  const nests = cause !== 'jump' && cause !== 'iret';
  cpu.flags = nests ? task.flags | NT : task.flags;
  task.gpr.forEach((value, i) => {
    cpu.setGpr32(i, value);
  });
  loadSegments(cpu, task, external);
  if (errorCode !== undefined) {
    const stack = new Pusher(cpu, currentStack(cpu, external), task.layout.bytes, true);
    stack.push(errorCode);
    setStackPointer(cpu, stack.sp);
  }
  if (task.ip > cpu.get32(state.SEGMENT_LIMIT + 4 * CS)) cpu.raise(vectors.GP, external);
}

/**
 * LDTR and the six segments, and with CS the privilege level and EIP. After a fault the others are loaded nevertheless, as far
 * as they can be: its handler may need the stack. Where several are wrong, the order is LDTR, CS, SS, DS, ES, FS, GS (that
 * is left to the model: SDM 3A table 7-1).
 */
function loadSegments(cpu: Cpu, { segments, ldt, ip, flags }: NewTask, external: number): void {
  const v86 = (flags & VM) !== 0;
  const cpl = v86 ? 3 : segments[CS]! & SELECTOR_RPL;
  setSegment(cpu, LDTR, ldt, 0n, 0, 0);
  segments.forEach((selector, segment) => {
    if (v86) setRealSegment(cpu, segment, selector);
    else setSegment(cpu, segment, selector, 0n, 0, 0);
  });
  cpu.setCpl(cpl);
  let fault: { vector: number; code: number; address: bigint } | undefined;
  const attempt = (load: () => void) => {
    try {
      load();
    } catch (thrown) {
      if (thrown !== FAULT) throw thrown;
      fault ??= { vector: cpu.get32(state.FAULT), code: cpu.get32(state.FAULT_CODE), address: cpu.get64(state.CR2) };
    }
  };
  const loader = new SegmentLoader(cpu, cpl, external);
  attempt(() => loader.ldt(ldt));
  if (!v86) {
    attempt(() => loader.code(segments[CS]!));
    attempt(() => loader.stack(segments[SS]!));
    for (const segment of [DS, ES, FS, GS]) attempt(() => loader.data(segment, segments[segment]!));
  }
  cpu.updateMode();
  cpu.ip = BigInt(ip);
  if (!fault) return;
  cpu.set32(state.FAULT, fault.vector);
  cpu.set32(state.FAULT_CODE, fault.code);
  cpu.set64(state.CR2, fault.address);
  throw FAULT;
}

/** A new task's segments, one by one; #TS, #NP or #SS with the selector. */
class SegmentLoader {
  readonly #cpu: Cpu;
  readonly #cpl: number;
  readonly #external: number;
  constructor(cpu: Cpu, cpl: number, external: number) {
    this.#cpu = cpu;
    this.#cpl = cpl;
    this.#external = external;
  }
  ldt(selector: number): void {
    if (isNull(selector)) return;
    if (selector & SELECTOR_TI) this.#raise(vectors.TS, selector);
    const d = this.#descriptor(selector);
    if (descriptorType(d) !== TYPE_LDT || !isPresent(d)) this.#raise(vectors.TS, selector);
    setFromDescriptor(this.#cpu, LDTR, selector, d);
  }
  code(selector: number): void {
    const d = this.#descriptor(selector);
    const dpl = descriptorDpl(d);
    const isCode = (d.high & CODE) === CODE;
    if (!isCode || (d.high & DESCRIPTOR_CONFORMING ? dpl > this.#cpl : dpl !== this.#cpl))
      this.#raise(vectors.TS, selector);
    if (!isPresent(d)) this.#raise(vectors.NP, selector);
    this.#load(CS, selector, d);
  }
  stack(selector: number): void {
    const d = this.#descriptor(selector);
    const isData = (d.high & (CODE | DESCRIPTOR_WRITABLE)) === (DESCRIPTOR_S | DESCRIPTOR_WRITABLE);
    if (!isData || descriptorDpl(d) !== this.#cpl || (selector & SELECTOR_RPL) !== this.#cpl)
      this.#raise(vectors.TS, selector);
    if (!isPresent(d)) this.#raise(vectors.SS, selector);
    this.#load(SS, selector, d);
  }
  data(segment: number, selector: number): void {
    if (isNull(selector)) return;
    const d = this.#descriptor(selector);
    const isCode = (d.high & CODE) === CODE;
    const isReadable = (d.high & DESCRIPTOR_S) !== 0 && (!isCode || (d.high & DESCRIPTOR_READABLE) !== 0);
    const isConforming = isCode && (d.high & DESCRIPTOR_CONFORMING) !== 0;
    const mayUse = isConforming || descriptorDpl(d) >= Math.max(this.#cpl, selector & SELECTOR_RPL);
    if (!isReadable || !mayUse) this.#raise(vectors.TS, selector);
    if (!isPresent(d)) this.#raise(vectors.NP, selector);
    this.#load(segment, selector, d);
  }

  #descriptor(selector: number): Descriptor {
    if (isNull(selector)) this.#raise(vectors.TS, selector);
    return descriptor(this.#cpu, selector, vectors.TS, this.#external);
  }
  #load(segment: number, selector: number, d: Descriptor): void {
    setAccessed(this.#cpu, d);
    setFromDescriptor(this.#cpu, segment, selector, d);
  }
  #raise(vector: number, selector: number): never {
    return this.#cpu.raise(vector, visible(selector, this.#external));
  }
}
