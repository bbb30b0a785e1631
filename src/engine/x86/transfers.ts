/** Far transfers, returns from interrupts and system calls (SDM 3A 5.8; SDM 2, the instructions). */
import { DR6_BS, DR7_GD, EFER_SCE } from '../../x86/control.ts';
import {
  DESCRIPTOR_DB,
  DESCRIPTOR_DPL,
  DESCRIPTOR_DPL_SHIFT,
  DESCRIPTOR_L,
  DESCRIPTOR_P,
  FLAT_CODE_32,
  FLAT_CODE_64,
  FLAT_DATA,
  TYPE_TASK_GATE,
} from '../../x86/descriptors.ts';
import { IF, IOPL, NT, RF, TF, VIF, VIP, VM } from '../../x86/flags.ts';
import { DEBUGCTL_BTF } from '../../x86/msrs.ts';
import { CS, DS, ES, FS, GS, SS } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { checkOffset, enterCode, farReal } from './code-segment.ts';
import { isStepping } from './control.ts';
import { type Cpu, isCanonical } from './cpu.ts';
import { deliver } from './event-delivery.ts';
import type { Helper } from './helper.ts';
import {
  type Descriptor,
  descriptor,
  descriptorDpl,
  descriptorType,
  isPresent,
  setAccessed,
  setFromDescriptor,
  setRealSegment,
  setSegment,
} from './segments.ts';
import { checkPushes, currentStack, innerStack, Popper, Pusher, RSP, setStackPointer } from './stack-frames.ts';
import { state } from './state.ts';
import { isTss, returnToPreviousTask, switchByTransfer } from './task-switch.ts';
import { checkFlagsAccess, popLimitedFlags, redirectInterrupt } from './virtual-interrupts.ts';

/** Checks a code segment for a direct far transfer (SDM 3A 5.8.1). */
function checkCode(cpu: Cpu, selector: number): Descriptor {
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, 0);
  const d = descriptor(cpu, selector);
  const type = descriptorType(d);
  if ((type & 0x18) !== 0x18) cpu.raise(vectors.GP, selector & 0xfffc);
  if (cpu.longMode && d.high & DESCRIPTOR_L && d.high & DESCRIPTOR_DB) cpu.raise(vectors.GP, selector & 0xfffc);
  const dpl = descriptorDpl(d);
  if (type & 4 ? dpl > cpu.cpl : (selector & 3) > cpu.cpl || dpl !== cpu.cpl) cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
  return d;
}
const isSystem = (d: Descriptor): boolean => !(descriptorType(d) & 0x10);

/** A call gate's target, or undefined if the descriptor is none. */
function gate(
  cpu: Cpu,
  selector: number,
  d: Descriptor,
): { selector: number; offset: bigint; bits: number; count: number } {
  const type = descriptorType(d);
  if (type !== 12 && !(type === 4 && !cpu.longMode)) cpu.raise(vectors.GP, selector & 0xfffc);
  if (descriptorDpl(d) < Math.max(cpu.cpl, selector & 3)) cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
  let offset = BigInt(((d.low & 0xffff) | (d.high & 0xffff0000)) >>> 0);
  if (type === 4) offset &= 0xffffn;
  if (cpu.longMode) offset |= cpu.readLinear(cpu.wrap(d.address + 8n), 4, true) << 32n;
  return { selector: d.low >>> 16, offset, bits: cpu.longMode ? 64 : type === 12 ? 32 : 16, count: d.high & 31 };
}

/** A far transfer to a TSS or a task gate switches tasks, outside long mode. */
function namesTask(cpu: Cpu, d: Descriptor): boolean {
  const type = descriptorType(d);
  return !cpu.longMode && (type === TYPE_TASK_GATE || isTss(type));
}

function farJump(cpu: Cpu, selector: number, offset: bigint, next: bigint): void {
  if (!cpu.protectedMode || cpu.v86) return farReal(cpu, selector, offset);
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, 0);
  const d = descriptor(cpu, selector);
  if (namesTask(cpu, d)) return switchByTransfer(cpu, 'jump', selector, d, next);
  if (isSystem(d)) {
    const target = gate(cpu, selector, d);
    const code = target.selector & ~3;
    return enterCode(cpu, code, checkCode(cpu, code), target.offset, cpu.cpl);
  }
  enterCode(cpu, selector, checkCode(cpu, selector), offset, cpu.cpl);
}

function farCall(cpu: Cpu, bits: number, selector: number, offset: bigint, next: bigint): void {
  const bytes = (bits / 8) as 2 | 4 | 8;
  if (!cpu.protectedMode || cpu.v86) {
    checkPushes(cpu, 2, bytes);
    const stack = new Pusher(cpu, currentStack(cpu), bytes, false);
    stack.push(cpu.selector(CS));
    stack.push(next);
    farReal(cpu, selector, offset);
    setStackPointer(cpu, stack.sp);
    return;
  }
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, 0);
  const d = descriptor(cpu, selector);
  if (!isSystem(d)) {
    const code = checkCode(cpu, selector);
    checkPushes(cpu, 2, bytes);
    const stack = new Pusher(cpu, currentStack(cpu), bytes, false);
    stack.push(cpu.selector(CS));
    stack.push(next);
    const { sp } = stack;
    enterCode(cpu, selector, code, offset, cpu.cpl);
    cpu.setGpr(RSP, sp);
    return;
  }
  if (namesTask(cpu, d)) return switchByTransfer(cpu, 'call', selector, d, next);
  const target = gate(cpu, selector, d);
  const code = descriptor(cpu, target.selector);
  const type = descriptorType(code);
  const dpl = descriptorDpl(code);
  if ((type & 0x18) !== 0x18 || dpl > cpu.cpl) cpu.raise(vectors.GP, target.selector & 0xfffc);
  if (!isPresent(code)) cpu.raise(vectors.NP, target.selector & 0xfffc);
  const width = (target.bits / 8) as 2 | 4 | 8;
  if (!(type & 4) && dpl < cpu.cpl) {
    const inner = innerStack(cpu, dpl, 0);
    const stack = new Pusher(cpu, inner, width, true);
    const parameters: bigint[] = [];
    if (target.bits !== 64) {
      const popper = new Popper(cpu, target.bits);
      for (let i = 0; i < target.count; i++) parameters.unshift(popper.pop());
    }
    stack.push(cpu.selector(SS));
    stack.push(cpu.gpr(RSP));
    for (const parameter of parameters) stack.push(parameter);
    stack.push(cpu.selector(CS));
    stack.push(next);
    enterCode(cpu, target.selector, code, target.offset, dpl);
    inner.load(dpl);
    setStackPointer(cpu, stack.sp);
    return;
  }
  checkPushes(cpu, 2, width);
  const stack = new Pusher(cpu, currentStack(cpu), width, false);
  stack.push(cpu.selector(CS));
  stack.push(next);
  enterCode(cpu, target.selector, code, target.offset, cpu.cpl);
  cpu.setGpr(RSP, stack.sp);
}

/** The outer stack segment of a return to less privilege; `isLong`: to 64-bit code. */
function loadOuterStack(cpu: Cpu, selector: number, cpl: number, isLong: boolean): void {
  if (!(selector & 0xfffc)) {
    // Allowed when returning to 64-bit code below ring 3 (SDM 2A, IRET; SDM 2B, RET).
    if (isLong && cpl < 3) return setSegment(cpu, SS, selector, 0n, 0, (cpl << DESCRIPTOR_DPL_SHIFT) | DESCRIPTOR_DB);
    cpu.raise(vectors.GP, 0);
  }
  const d = descriptor(cpu, selector);
  if ((selector & 3) !== cpl || descriptorDpl(d) !== cpl || (descriptorType(d) & 0x1a) !== 0x12)
    cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.SS, selector & 0xfffc);
  setAccessed(cpu, d);
  setFromDescriptor(cpu, SS, selector, d);
}
/** After a return outwards, data segments more privileged than the new CPL become null. */
function dropInnerSegments(cpu: Cpu, cpl: number): void {
  for (const segment of [ES, DS, FS, GS]) {
    const attributes = cpu.get32(state.SEGMENT_ATTRIBUTES + 4 * segment);
    if ((attributes & 0x1c00) !== 0x1c00 && ((attributes >> 13) & 3) < cpl && attributes & DESCRIPTOR_P)
      setSegment(cpu, segment, 0, segment >= FS && cpu.longMode ? cpu.segmentBase(segment) : 0n, 0, 0);
  }
}
function checkReturnCode(cpu: Cpu, selector: number): Descriptor {
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, 0);
  const d = descriptor(cpu, selector);
  const type = descriptorType(d);
  const rpl = selector & 3;
  const dpl = descriptorDpl(d);
  if ((type & 0x18) !== 0x18 || rpl < cpu.cpl || (type & 4 ? dpl > rpl : dpl !== rpl))
    cpu.raise(vectors.GP, selector & 0xfffc);
  if (!isPresent(d)) cpu.raise(vectors.NP, selector & 0xfffc);
  return d;
}

function farReturn(cpu: Cpu, bits: number, release: number): void {
  const stack = new Popper(cpu, bits);
  const offset = stack.pop();
  const selector = Number(stack.pop() & 0xffffn);
  if (!cpu.protectedMode || cpu.v86) {
    stack.skip(release);
    farReal(cpu, selector, offset);
    setStackPointer(cpu, stack.sp);
    return;
  }
  const rpl = selector & 3;
  stack.skip(release);
  // As AMD's processors do, all that is popped is read before anything is checked.
  const outer = rpl === cpu.cpl ? undefined : stack.popOuter();
  const d = checkReturnCode(cpu, selector);
  if (!outer) {
    const { sp } = stack;
    enterCode(cpu, selector, d, offset, rpl);
    cpu.setGpr(RSP, sp);
    return;
  }
  checkOffset(cpu, d, offset);
  loadOuterStack(cpu, outer.ss, rpl, cpu.longMode && (d.high & DESCRIPTOR_L) !== 0);
  enterCode(cpu, selector, d, offset, rpl);
  setStackPointer(cpu, outer.sp + BigInt(release));
  dropInnerSegments(cpu, rpl);
}

function iret(cpu: Cpu, bits: number): void {
  const stack = new Popper(cpu, bits);
  cpu.nmiBlocked = false;
  if (!cpu.protectedMode || cpu.v86) {
    checkFlagsAccess(cpu, bits);
    const offset = stack.pop();
    const selector = Number(stack.pop() & 0xffffn);
    const flags = Number(stack.pop() & 0xffffffffn);
    const enter = () => {
      farReal(cpu, selector, offset);
      setStackPointer(cpu, stack.sp);
    };
    if (popLimitedFlags(cpu, flags, enter)) return;
    enter();
    const keep = VM | (cpu.v86 ? IOPL : 0) | (bits === 16 ? 0xffff0000 & ~RF : VIF | VIP);
    cpu.flags = (cpu.flags & keep) | (flags & ~keep & 0x277fd7) | 2;
    return;
  }
  if (cpu.get32(state.FLAGS_REST) & NT) {
    if (cpu.longMode) cpu.raise(vectors.GP, 0);
    return returnToPreviousTask(cpu, nextIp(cpu));
  }
  const offset = stack.pop();
  const selector = Number(stack.pop() & 0xffffn);
  const flags = Number(stack.pop() & 0xffffffffn);
  if (flags & VM && cpu.cpl === 0 && !cpu.longMode && bits === 32)
    return returnToV86(cpu, stack, offset, selector, flags);
  const rpl = selector & 3;
  const outward = rpl !== cpu.cpl;
  const outer = outward || cpu.mode === 64 ? stack.popOuter() : undefined;
  const d = checkReturnCode(cpu, selector);
  const oldCpl = cpu.cpl;
  const { iopl } = cpu;
  if (outer) {
    checkOffset(cpu, d, offset);
    loadOuterStack(cpu, outer.ss, rpl, cpu.longMode && (d.high & DESCRIPTOR_L) !== 0);
    enterCode(cpu, selector, d, offset, rpl);
    setStackPointer(cpu, outer.sp);
    if (outward) dropInnerSegments(cpu, rpl);
  } else {
    const { sp } = stack;
    enterCode(cpu, selector, d, offset, rpl);
    cpu.setGpr(RSP, sp);
  }
  // IOPL only at CPL 0, IF only if CPL <= IOPL; VM, VIF, VIP only from CPL 0 (SDM 2A, IRET).
  let change = 0x3f7fd7 & ~(VM | IOPL | IF | VIF | VIP);
  if (bits === 16) change &= 0xffff;
  if (oldCpl === 0) change |= IOPL | (bits === 16 ? 0 : VIF | VIP);
  if (oldCpl <= iopl) change |= IF;
  cpu.flags = (cpu.flags & ~change) | (flags & change) | 2;
  cpu.updateBank();
}
function returnToV86(cpu: Cpu, stack: Popper, offset: bigint, selector: number, flags: number): void {
  const [sp, ss, es, ds, fs, gs] = Array.from({ length: 6 }, () => stack.pop());
  // The limit of all segments there (SDM 2A, IRET, RETURN-TO-VIRTUAL-8086-MODE).
  if (offset > 0xffffn) cpu.raise(vectors.GP, 0);
  cpu.flags = flags;
  cpu.setCpl(3);
  const segments: [number, bigint | number][] = [
    [CS, selector],
    [SS, ss!],
    [ES, es!],
    [DS, ds!],
    [FS, fs!],
    [GS, gs!],
  ];
  for (const [segment, value] of segments) setRealSegment(cpu, segment, Number(value) & 0xffff);
  cpu.updateMode();
  cpu.setGpr(RSP, sp!);
  cpu.ip = offset;
}

/** What instructions that may load RF, since they may switch tasks, do where they do not. */
function clearResumeFlag(cpu: Cpu): void {
  cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~RF);
}
/** Offset in CS of the instruction after the one being executed. */
function nextIp(cpu: Cpu): bigint {
  const next = cpu.next();
  return cpu.mode === 64 ? next : (next - cpu.segmentBase(CS)) & 0xffffffffn;
}

/**
 * A hypervisor has been entered. A trap that MOV SS held off until now comes there and is dropped, as Xen drops it
 * (CVE-2018-8897): the guest never sees it.
 */
function dropHeldTraps(cpu: Cpu): void {
  cpu.set32(state.PENDING_DEBUG, 0);
}

/** INT n, INT3 and INTO. Only the first minds IOPL in virtual-8086 mode. */
function softwareInterrupt(cpu: Cpu, vector: number, mindsIopl: boolean): void {
  const next = nextIp(cpu);
  const ask = cpu.environment.softwareInterrupt;
  if (ask) {
    // The hypervisor finds RIP at the instruction, as it does when one has faulted.
    cpu.rip = cpu.here();
    dropHeldTraps(cpu);
    clearResumeFlag(cpu);
    return ask(vector, next);
  }
  if (mindsIopl && redirectInterrupt(cpu, vector, next)) return;
  if (mindsIopl && cpu.v86 && cpu.iopl < 3) cpu.raise(vectors.GP, 0);
  deliverAfter(cpu, next, () => deliver(cpu, vector, undefined, 'software'));
}
/** INT1 is a debug exception with RIP after it: no gate's DPL is checked, and errors on the way show EXT (APM 3, INT1). */
function debugInterrupt(cpu: Cpu): void {
  deliverAfter(cpu, nextIp(cpu), () => {
    if (cpu.environment.exception?.({ vector: vectors.DB })) return;
    deliver(cpu, vectors.DB, undefined, 'privileged software');
    cpu.set32(state.IA32_DEBUGCTL, cpu.get32(state.IA32_DEBUGCTL) & ~DEBUGCTL_BTF);
    cpu.set64(state.DR + 40, cpu.get64(state.DR + 40) & ~BigInt(DR7_GD));
  });
}
/** Delivers an event with RIP at `next`, and RF clear as software interrupts push it; a fault on the way is at RIP. */
function deliverAfter(cpu: Cpu, next: bigint, event: () => void): void {
  const here = cpu.rip;
  cpu.ip = next;
  clearResumeFlag(cpu);
  try {
    event();
  } catch (thrown) {
    cpu.rip = here;
    throw thrown;
  }
}

function loadFlat(cpu: Cpu, code: number, stack: number, codeAttributes: number, dpl: number): void {
  setSegment(cpu, CS, code, 0n, 0xffffffff, codeAttributes | dpl);
  setSegment(cpu, SS, stack, 0n, 0xffffffff, FLAT_DATA | dpl);
}

export const transferHelpers: Record<string, Helper> = {
  far_jump: cpu => {
    clearResumeFlag(cpu);
    farJump(cpu, cpu.argument32(2) & 0xffff, cpu.argument(1), nextIp(cpu));
  },
  far_call: cpu => {
    clearResumeFlag(cpu);
    farCall(cpu, cpu.argument32(0), cpu.argument32(2) & 0xffff, cpu.argument(1), nextIp(cpu));
  },
  far_return: cpu => {
    farReturn(cpu, cpu.argument32(0), cpu.argument32(1));
  },
  iret: cpu => {
    const unblocks = cpu.nmiBlocked;
    iret(cpu, cpu.argument32(0));
    // The instruction that follows clears RF again: where it is not executed by itself (Vcpu.run), RF is clear at once.
    if (!isStepping(cpu)) cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~RF);
    // An NMI may have waited for this, whatever IF is.
    if (unblocks) cpu.requestExit();
    if (cpu.interruptFlag && cpu.environment.interruptPending()) cpu.requestExit();
    if (cpu.get32(state.FLAGS_REST) & TF) cpu.requestExit();
  },
  software_interrupt: cpu => {
    softwareInterrupt(cpu, cpu.argument32(0) & 0xff, true);
  },
  breakpoint: cpu => softwareInterrupt(cpu, vectors.BP, false),
  int1: debugInterrupt,
  into: cpu => {
    if (cpu.argument32(0)) softwareInterrupt(cpu, vectors.OF, false);
    else {
      cpu.ip = nextIp(cpu);
      clearResumeFlag(cpu);
    }
  },
  syscall: cpu => {
    if (!(cpu.get32(state.EFER) & EFER_SCE)) cpu.raise(vectors.UD);
    const next = nextIp(cpu);
    if (cpu.longMode) {
      cpu.setGpr(1, next);
      cpu.setGpr(11, BigInt(cpu.flags & ~RF));
      cpu.ip = next;
      const ask = cpu.environment.syscall;
      if (ask) {
        dropHeldTraps(cpu);
        return ask();
      }
      const target = cpu.get64(cpu.mode === 64 ? state.LSTAR : state.CSTAR);
      const selector = Number((cpu.get64(state.STAR) >> 32n) & 0xfffcn);
      const flags = cpu.flags & ~Number(cpu.get64(state.FMASK) & 0xffffffffn) & ~RF;
      loadFlat(cpu, selector, selector + 8, FLAT_CODE_64, 0);
      cpu.flags = flags;
      cpu.setCpl(0);
      cpu.updateMode();
      cpu.rip = target;
      return;
    }
    // Legacy mode (AMD): EIP from STAR.
    const star = cpu.get64(state.STAR);
    cpu.setGpr(1, next);
    const selector = Number((star >> 32n) & 0xfffcn);
    loadFlat(cpu, selector, selector + 8, FLAT_CODE_32, 0);
    cpu.flags &= ~(VM | IF | RF);
    cpu.setCpl(0);
    cpu.updateMode();
    cpu.ip = star & 0xffffffffn;
  },
  sysret: cpu => {
    if (!(cpu.get32(state.EFER) & EFER_SCE)) cpu.raise(vectors.UD);
    const base = Number((cpu.get64(state.STAR) >> 48n) & 0xffffn);
    const wide = cpu.mode === 64 && cpu.argument32(0) === 64;
    const target = wide ? cpu.gpr(1) : cpu.gpr(1) & 0xffffffffn;
    if (wide && !isCanonical(target)) cpu.raise(vectors.GP, 0);
    const flags = cpu.longMode ? (Number(cpu.gpr(11) & 0x3c7fd7n) & 0x3c7fd7) | 2 : cpu.flags | IF;
    loadFlat(cpu, (base + (wide ? 16 : 0)) | 3, (base + 8) | 3, wide ? FLAT_CODE_64 : FLAT_CODE_32, DESCRIPTOR_DPL);
    cpu.flags = flags;
    cpu.setCpl(3);
    cpu.updateMode();
    cpu.ip = target;
    if (cpu.interruptFlag && cpu.environment.interruptPending()) cpu.requestExit();
    // The single-step trap comes at once (debug-model.ts): the kernel that executes this is not stepped over.
    if (flags & TF) {
      cpu.set32(state.PENDING_DEBUG, cpu.get32(state.PENDING_DEBUG) | DR6_BS);
      cpu.requestExit();
    }
  },
  sysenter: cpu => {
    const cs = cpu.get32(state.SYSENTER_CS) & 0xfffc;
    if (!cpu.protectedMode || !cs) cpu.raise(vectors.GP, 0);
    const long = cpu.longMode;
    cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~(VM | IF | RF));
    loadFlat(cpu, cs, cs + 8, long ? FLAT_CODE_64 : FLAT_CODE_32, 0);
    cpu.setCpl(0);
    cpu.updateMode();
    const mask = long ? 0xffffffffffffffffn : 0xffffffffn;
    cpu.setGpr(RSP, cpu.get64(state.SYSENTER_ESP) & mask);
    cpu.ip = cpu.get64(state.SYSENTER_EIP) & mask;
  },
  sysexit: cpu => {
    const cs = cpu.get32(state.SYSENTER_CS) & 0xfffc;
    if (!cpu.protectedMode || !cs) cpu.raise(vectors.GP, 0);
    const wide = cpu.mode === 64 && cpu.argument32(0) === 64;
    if (wide && !(isCanonical(cpu.gpr(2)) && isCanonical(cpu.gpr(1)))) cpu.raise(vectors.GP, 0);
    loadFlat(
      cpu,
      (cs + (wide ? 32 : 16)) | 3,
      (cs + (wide ? 40 : 24)) | 3,
      wide ? FLAT_CODE_64 : FLAT_CODE_32,
      DESCRIPTOR_DPL,
    );
    cpu.setCpl(3);
    cpu.updateMode();
    cpu.setGpr(RSP, wide ? cpu.gpr(1) : cpu.gpr(1) & 0xffffffffn);
    cpu.ip = wide ? cpu.gpr(2) : cpu.gpr(2) & 0xffffffffn;
  },
  hypercall: cpu => {
    // RIP is past the instruction when the hypervisor is asked; the fault puts it back.
    cpu.ip = nextIp(cpu);
    if (!cpu.environment.hypercall?.()) cpu.raise(vectors.UD);
  },
};
