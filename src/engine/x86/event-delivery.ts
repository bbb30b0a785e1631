import { DESCRIPTOR_DB, DESCRIPTOR_L, DESCRIPTOR_P, TYPE_TASK_GATE } from '../../x86/descriptors.ts';
import { AC, IF, NT, RF, TF, VM } from '../../x86/flags.ts';
import { CS, DS, ES, FS, GS, SS } from '../../x86/segments.ts';
import * as vectors from '../../x86/vectors.ts';
import { enterCode, farReal } from './code-segment.ts';
import { type Cpu, FAULT, isCanonical } from './cpu.ts';
import { NO_CODE } from './exceptions.ts';
import { descriptor, descriptorDpl, descriptorType, isPresent, setSegment } from './segments.ts';
import { currentStack, innerStack, LONG_STACK, Pusher, RSP, setStackPointer } from './stack-frames.ts';
import { state } from './state.ts';
import { switchTask } from './task-switch.ts';

/**
 * What kind of event goes through the IDT. `software`: INT n, INT3, INTO, which mind the gate's DPL; `privileged software`: INT1.
 */
export type EventKind = 'exception' | 'external' | 'software' | 'privileged software';

/**
 * Delivers a vector through the IDT (SDM 3A 6.12): pushes the frame with the current RIP, loads the handler. Faults on the
 * way raise; nothing has been changed by then but the inner stack's memory, or the task has been switched.
 */
export function deliver(cpu: Cpu, vector: number, code: number | undefined, kind: EventKind): void {
  const external = kind === 'software' ? 0 : 1;
  if (external && cpu.functions.deliver(vector, code ?? NO_CODE)) return;
  if (!cpu.protectedMode) return deliverReal(cpu, vector);
  const long = cpu.longMode;
  const size = long ? 16 : 8;
  const offset = vector * size;
  const bad = (): never => cpu.raise(vectors.GP, vector * 8 + 2 + external);
  if (offset + size - 1 > cpu.get32(state.IDT_LIMIT)) bad();
  const address = cpu.wrap(cpu.get64(state.IDT_BASE) + BigInt(offset));
  const entry = cpu.readLinear(address, 8, true);
  const low = Number(entry & 0xffffffffn);
  const high = Number(entry >> 32n);
  const type = (high >> 8) & 0x1f;
  // 14, 15: 32- or 64-bit interrupt and trap gates; 6, 7: their 16-bit forms.
  const isTaskGate = !long && type === TYPE_TASK_GATE;
  if (type !== 14 && type !== 15 && !(!long && (type === 6 || type === 7)) && !isTaskGate) bad();
  if (kind === 'software' && ((high >> 13) & 3) < cpu.cpl) bad();
  if (!(high & DESCRIPTOR_P)) cpu.raise(vectors.NP, vector * 8 + 2 + external);
  if (isTaskGate) {
    const cause = kind === 'exception' || kind === 'external' ? 'event' : 'software';
    return switchTask(cpu, low >>> 16, { cause, resumeAt: cpu.ip, external, errorCode: code });
  }
  let target = BigInt(((low & 0xffff) | (high & 0xffff0000)) >>> 0);
  if (long) target |= cpu.readLinear(cpu.wrap(address + 8n), 4, true) << 32n;
  const wide = type & 8;
  if (!wide) target &= 0xffffn;
  const selector = low >>> 16;
  if (!(selector & 0xfffc)) cpu.raise(vectors.GP, external);
  const d = descriptor(cpu, selector, vectors.GP, external);
  const codeType = descriptorType(d);
  const dpl = descriptorDpl(d);
  if ((codeType & 0x18) !== 0x18 || dpl > cpu.cpl) cpu.raise(vectors.GP, (selector & 0xfffc) | external);
  if (long && (!(d.high & DESCRIPTOR_L) || d.high & DESCRIPTOR_DB))
    cpu.raise(vectors.GP, (selector & 0xfffc) | external);
  if (!isPresent(d)) cpu.raise(vectors.NP, (selector & 0xfffc) | external);
  const conforming = (codeType & 4) !== 0;
  const inward = !conforming && dpl < cpu.cpl;
  const newCpl = conforming ? cpu.cpl : dpl;
  if (cpu.v86 && newCpl !== 0) cpu.raise(vectors.GP, (selector & 0xfffc) | external);
  const flags = cpu.flags;
  const bytes = long ? 8 : wide ? 4 : 2;
  const ist = long ? high & 7 : 0;
  let stack: Pusher;
  let inner: ReturnType<typeof innerStack> | undefined;
  if (long) {
    if (inward || ist) inner = innerStack(cpu, newCpl, ist, external);
    const sp = (inner ? inner.sp : cpu.gpr(RSP)) & ~15n;
    stack = new Pusher(cpu, { ...LONG_STACK, sp, error: external }, 8, newCpl < 3);
    stack.push(cpu.selector(SS));
    stack.push(cpu.gpr(RSP));
  } else if (inward || cpu.v86) {
    inner = innerStack(cpu, newCpl, 0, external);
    stack = new Pusher(cpu, inner, bytes, true);
    if (cpu.v86) for (const segment of [GS, FS, DS, ES]) stack.push(cpu.selector(segment));
    stack.push(cpu.selector(SS));
    stack.push(cpu.gpr(RSP) & 0xffffffffn);
  } else {
    stack = new Pusher(cpu, currentStack(cpu, external), bytes, newCpl < 3);
  }
  stack.push(flags);
  stack.push(cpu.selector(CS));
  stack.push(cpu.ip);
  if (code !== undefined) stack.push(code);
  if (long && !isCanonical(target)) cpu.raise(vectors.GP, external);
  const { v86 } = cpu;
  let clear = TF | NT | RF | VM;
  if (!(type & 1)) clear |= IF;
  cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~clear);
  const { sp } = stack;
  if (v86) for (const segment of [GS, FS, DS, ES]) setSegment(cpu, segment, 0, 0n, 0, 0);
  enterCode(cpu, selector, d, target, newCpl);
  if (inner && (inward || v86)) inner.load(newCpl);
  cpu.updateMode();
  setStackPointer(cpu, sp);
  cpu.updateBank();
}
function deliverReal(cpu: Cpu, vector: number): void {
  if (vector * 4 + 3 > cpu.get32(state.IDT_LIMIT)) cpu.raise(vectors.GP, 0);
  const entry = Number(cpu.readLinear(cpu.get64(state.IDT_BASE) + BigInt(vector * 4), 4, true));
  const stack = new Pusher(cpu, { ...currentStack(cpu), mask: 0xffffn }, 2, true);
  stack.push(cpu.flags & 0xffff);
  stack.push(cpu.selector(CS));
  stack.push(cpu.ip & 0xffffn);
  cpu.set32(state.FLAGS_REST, cpu.get32(state.FLAGS_REST) & ~(IF | TF | AC | RF));
  cpu.setGpr(RSP, stack.sp);
  farReal(cpu, entry >>> 16, BigInt(entry & 0xffff));
}

/** Exceptions that, on top of one another, make a double fault (SDM 3A table 6-5). */
function contributory(vector: number): boolean {
  return vector === vectors.DE || (vector >= vectors.TS && vector <= vectors.GP);
}
/**
 * Delivers an exception with what may go wrong on the way: a second fault is delivered instead, or as a double fault.
 * This ends, for each exception after the first is worse than the one before (any other, contributory, page fault, double
 * fault; SDM 3A table 6-5), and after a double fault comes nothing. #AC is an exception to that: where its delivery raises
 * #AC again, processors go on for ever (CVE-2015-5307). Here nothing is delivered then, and the guest goes on where it was.
 * @returns false for a triple fault.
 */
export function deliverException(cpu: Cpu, vector: number, code: number | undefined, kind: EventKind): boolean {
  let current = vector;
  let error = code;
  for (;;) {
    try {
      deliver(cpu, current, error, kind);
      return true;
    } catch (thrown) {
      if (thrown !== FAULT) throw thrown;
      const second = cpu.get32(state.FAULT) & 0xff;
      const secondCode = cpu.get32(state.FAULT_CODE);
      cpu.set32(state.FAULT, 0);
      if (current === vectors.DF) return false;
      if (current === vectors.AC && second === vectors.AC) return true;
      const first = kind === 'exception' ? current : -1;
      const double =
        (contributory(first) && contributory(second)) ||
        (first === vectors.PF && (second === vectors.PF || contributory(second)));
      kind = 'exception';
      current = double ? vectors.DF : second;
      error = double ? 0 : vectors.hasErrorCode(second) ? secondCode : undefined;
    }
  }
}
