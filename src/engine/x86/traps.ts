/**
 * The ordinary ways into a 64-bit kernel and back, as WebAssembly functions: SYSCALL, SYSRET, IRET, and exceptions and
 * interrupts through the IDT (SDM 3A 5.8.8, 6.12, 6.14; SDM 2, SYSCALL, SYSRET, IRET). A function does the whole of its
 * work and answers 1. Or it finds an unusual case (another mode, a fault on the way, device memory, a single step, a
 * waiting interrupt), answers 0 and has changed nothing: transfers.ts, which knows all cases, does the work then.
 */

import type { Value } from '../../wasm/expressions.ts';
import { Body, type Module } from '../../wasm/module.ts';
import type { ValueType } from '../../wasm/opcodes.ts';
import { CR0_NE, EFER_SCE } from '../../x86/control.ts';
import { FLAT_CODE_64, FLAT_DATA } from '../../x86/descriptors.ts';
import { IF, NT, RF, TF, VM } from '../../x86/flags.ts';
import { CS, DS, ES, FS, GS, SS, TR } from '../../x86/segments.ts';
import { MF, WITH_ERROR_CODE } from '../../x86/vectors.ts';
import { PATH_EXCEPTION, PATH_SYSCALL } from '../layout.ts';
import { ACCESS_IMPLICIT, ACCESS_WRITE } from './access.ts';
import { ProcessorCode } from './code.ts';
import { emitNoteException, NO_CODE, SHOWS_RF } from './exceptions.ts';
import { FastPath, PATH_DEALT_WITH } from './fast-path.ts';
import { NATIVE_EXCEPTIONS, NATIVE_SYSCALLS, PATH_EXCEPTIONS, PATH_SYSCALLS, state } from './state.ts';

const RCX = 1;
const RSP = 4;
const R11 = 11;
const DPL3 = 0x6000;
/** In a descriptor's second word: G, D/B, L, P, S, code, conforming (or expand-down), writable, accessed. */
const G = 1 << 23;
const D = 1 << 22;
const L = 1 << 21;
const P = 1 << 15;
const DPL = 3 << 13;
const S = 1 << 12;
const CODE = 1 << 11;
const CONFORMING = 1 << 10;
const WRITABLE = 1 << 9;
const ACCESSED = 1 << 8;
/** A gate's type (bits 8-12 of its second word): 14, interrupt gate, or with bit 8 set 15, trap gate. */
const GATE_TYPE = 0x1e00;
const GATE = 0x0e00;
/** RFLAGS bits that IRET at CPL 0 and SYSRET take from what they are given (SDM 2A, IRET; 2B, SYSRET). */
const IRET_FLAGS = 0x3d7fd7;
const SYSRET_FLAGS = 0x3c7fd7;

export type TrapName = 'syscall' | 'sysret' | 'iret';
export interface Traps extends Record<TrapName, number> {
  /** (instructions done in the block i32) -> 1: the fault in the state has been delivered to the handler at RIP. */
  fault: number;
}

/** @param reach reachBody's function. Exports `deliver` (vector, error code or NO_CODE) -> 1 or 0. */
export function emitTraps(module: Module, reach: number): Traps {
  const make = (parameters: ValueType[], fill: (f: FastPath) => void, name?: string) => {
    const f = new FastPath(parameters, reach);
    fill(f);
    return module.function(f.complete(), name);
  };
  const deliver = make(['i32', 'i32'], emitDeliver, 'deliver');
  const paths = { syscall: module.type(['i64'], ['i32']), exception: module.type(['i32', 'i32'], ['i32']) };
  return {
    syscall: make(['i64'], f => emitSyscall(f, paths.syscall)),
    sysret: make([], emitSysret),
    iret: make([], emitIret),
    fault: module.function(faultBody(deliver, paths.exception)),
  };
}

function descriptorBase(b: ProcessorCode, low: Value, high: Value): Value {
  const middle = b.shl(b.and(high, 0xff), 16);
  return b.wide(b.either(b.either(b.shr(low, 16), middle), b.and(high, 0xff000000 | 0)));
}
function descriptorLimit(b: ProcessorCode, low: Value, high: Value): Value {
  const limit = b.either(b.and(low, 0xffff), b.and(high, 0xf0000));
  const pages = b.or(b.shl(limit, 12), 0xfff);
  return b.select(b.and(high, G), pages, limit);
}
const descriptorDpl = (b: ProcessorCode, high: Value): Value => b.and(b.shr(high, 13), 3);
/** As setFromDescriptor (segments.ts) keeps them. */
const descriptorAttributes = (b: ProcessorCode, high: Value): Value => b.and(high, 0xf0ff00);

/** @param pathType of a hypervisor's path, which does all of it where there is one */
function emitSyscall(f: FastPath, pathType: number): void {
  const { b } = f;
  const native = b.state32(state.NATIVE);
  f.refuseUnless(b.state32(state.EFER), EFER_SCE, EFER_SCE);
  f.refuseUnless(b.state32(state.MODE), -1, 64);
  b.when(b.and(native, PATH_SYSCALLS), () => {
    const path = b.i32(PATH_SYSCALL);
    b.answer(b.invokeIndirect(pathType, path, 'i32', f.parameter(0, 'i64')));
  });
  f.refuseUnless(native, NATIVE_SYSCALLS, NATIVE_SYSCALLS);
  const flags = f.flags();
  b.setGpr(RCX, f.parameter(0, 'i64'));
  b.setGpr(R11, b.wide(b.and(flags, ~RF)));
  f.setFlags(b.both(flags, b.xor(b.or(b.state32(state.FMASK), RF), -1)));
  const selector = b.and(b.state32(state.STAR + 4), 0xfffc);
  setFlat(f, selector, b.add(selector, 8), 0);
  f.setLevel(b.i32(0));
  b.setState(state.RIP, b.state(state.LSTAR));
}

/** To 64-bit code; the row has seen to CPL. */
function emitSysret(f: FastPath): void {
  const { b } = f;
  f.refuseUnless(b.state32(state.EFER), EFER_SCE, EFER_SCE);
  f.refuseUnless(b.state32(state.MODE), -1, 64);
  f.refuseIf(b.state32(state.ATTENTION));
  const target = b.gpr(RCX);
  f.refuseUnlessCanonical(target);
  const flags = b.and(b.narrow(b.gpr(R11)), SYSRET_FLAGS);
  f.refuseIf(b.and(flags, TF));
  f.setFlags(flags);
  const selectors = b.shr(b.state32(state.STAR + 4), 16);
  const above = (bytes: number) => b.or(b.add(selectors, bytes), 3);
  setFlat(f, above(16), above(8), DPL3);
  f.setLevel(b.i32(3));
  b.setState(state.RIP, target);
}
function setFlat(f: FastPath, code: Value, stack: Value, dpl: number): void {
  const { b } = f;
  f.setSegment(CS, code, b.const(0), b.i32(-1), b.i32(FLAT_CODE_64 | dpl));
  f.setSegment(SS, stack, b.const(0), b.i32(-1), b.i32(FLAT_DATA | dpl));
}

/** IRETQ from the kernel to 64-bit code at the same or an outer level. */
function emitIret(f: FastPath): void {
  const { b } = f;
  f.refuseUnless(b.state32(state.MODE), -1, 64);
  f.refuseIf(b.either(b.state32(state.CPL), b.either(b.state32(state.ATTENTION), b.state32(state.NMI_BLOCKED))));
  f.refuseUnless(b.state32(state.FLAGS_REST), NT, 0);
  const frame = f.reach(b.gpr(RSP), 40, 0);
  const target = frame.get64(0);
  const cs = b.and(frame.get32(8), 0xffff);
  const flags = frame.get32(16);
  const ss = b.and(frame.get32(32), 0xffff);
  f.refuseUnless(flags, TF, 0);
  // Only armed breakpoints give RF a meaning (transfers.ts, iret).
  f.refuseUnless(b.state32(state.DR + 40), 0xff, 0);
  f.refuseUnlessCanonical(target);
  const rpl = b.and(cs, 3);
  const code = f.descriptor(cs);
  f.refuseUnless(code.high, P | S | CODE | CONFORMING | ACCESSED | L | D, P | S | CODE | ACCESSED | L);
  f.refuseIf(b.ne(descriptorDpl(b, code.high), rpl));
  // Null is a stack segment to return to below level 3 (SDM 2A, IRET).
  const base = b.variable(b.const(0));
  const limit = b.variable(b.i32(0));
  const attributes = b.variable(b.or(b.shl(rpl, 13), D));
  b.when(
    b.and(ss, 0xfffc),
    () => {
      const data = f.descriptor(ss);
      f.refuseUnless(data.high, P | S | CODE | WRITABLE | ACCESSED, P | S | WRITABLE | ACCESSED);
      f.refuseIf(b.ne(descriptorDpl(b, data.high), rpl));
      f.refuseIf(b.ne(b.and(ss, 3), rpl));
      base.set(descriptorBase(b, data.low, data.high));
      limit.set(descriptorLimit(b, data.low, data.high));
      attributes.set(descriptorAttributes(b, data.high));
    },
    () => f.refuseIf(b.eq(rpl, 3)),
  );
  // Segments of more privilege than where it goes would have to be made null.
  for (const segment of [ES, DS, FS, GS]) {
    const kept = b.state32(state.SEGMENT_ATTRIBUTES + 4 * segment);
    const inner = b.ltu(descriptorDpl(b, kept), rpl);
    f.refuseIf(b.both(b.shr(kept, Math.log2(P)), inner));
  }
  const kept = b.and(b.state32(state.FLAGS_REST), ~IRET_FLAGS);
  f.setFlags(b.either(kept, b.and(flags, IRET_FLAGS & ~RF)));
  f.setSegment(
    CS,
    cs,
    descriptorBase(b, code.low, code.high),
    descriptorLimit(b, code.low, code.high),
    descriptorAttributes(b, code.high),
  );
  f.setSegment(SS, ss, base.get(), limit.get(), attributes.get());
  f.setLevel(rpl);
  b.setState(state.RIP, target);
  b.setGpr(RSP, frame.get64(24));
}

/** An exception or external interrupt in 64-bit mode, through a gate to 64-bit code at level 0. */
function emitDeliver(f: FastPath): void {
  const { b } = f;
  const code = f.parameter(1, 'i32');
  f.refuseUnless(b.state32(state.MODE), -1, 64);
  const offset = b.shl(f.parameter(0, 'i32'), 4);
  f.refuseIf(b.gtu(b.add(offset, 15), b.state32(state.IDT_LIMIT)));
  const gate = f.reach(b.add(b.state(state.IDT_BASE), b.wide(offset)), 16, ACCESS_IMPLICIT);
  const low = gate.get32(0);
  const high = gate.get32(4);
  f.refuseUnless(high, P | GATE_TYPE, P | GATE);
  const entry = b.either(b.and(low, 0xffff), b.and(high, 0xffff0000 | 0));
  const target = b.or(b.wide(entry), b.shl(b.wide(gate.get32(8)), 32));
  f.refuseUnlessCanonical(target);
  const selector = b.shr(low, 16);
  const segment = f.descriptor(selector);
  const wanted = P | S | CODE | ACCESSED | L;
  f.refuseUnless(segment.high, P | DPL | S | CODE | CONFORMING | ACCESSED | L | D, wanted);

  // The stack: another one from the TSS if the gate names one or the level changes (SDM 3A 6.14.4, 6.14.5).
  const cpl = b.state32(state.CPL);
  const ist = b.and(high, 7);
  const sp = b.variable(b.gpr(RSP));
  b.when(b.either(ist, cpl), () => {
    const place = b.select(ist, b.add(b.shl(ist, 3), 0x1c), b.i32(4));
    const limit = b.state32(state.SEGMENT_LIMIT + 4 * TR);
    f.refuseIf(b.gtu(b.add(place, 7), limit));
    const stack = f.reach(b.add(b.state(state.TR_BASE), b.wide(place)), 8, ACCESS_IMPLICIT).get64(0);
    f.refuseUnlessCanonical(stack);
    sp.set(stack);
  });
  const top = b.and(sp.get(), -16);
  const frame = f.reach(b.sub(top, 48), 48, ACCESS_IMPLICIT | ACCESS_WRITE);
  const hasCode = b.ges(code, 0);

  frame.set64(40, b.state(state.SELECTOR + 4 * SS, 16));
  frame.set64(32, b.gpr(RSP));
  frame.set64(24, b.wide(f.flags()));
  frame.set64(16, b.state(state.SELECTOR + 4 * CS, 16));
  frame.set64(8, b.state(state.RIP));
  b.when(hasCode, () => frame.set64(0, b.wide(code)));
  b.setGpr(RSP, b.sub(top, b.select(hasCode, b.const(48), b.const(40))));
  const always = TF | NT | RF | VM;
  const kept = b.select(b.and(high, 1 << 8), b.i32(~always), b.i32(~(always | IF)));
  b.setState32(state.FLAGS_REST, b.both(b.state32(state.FLAGS_REST), kept));
  b.when(cpl, () => f.setSegment(SS, b.i32(0), b.const(0), b.i32(0), b.i32(D)));
  f.setSegment(
    CS,
    b.and(selector, ~3),
    descriptorBase(b, segment.low, segment.high),
    descriptorLimit(b, segment.low, segment.high),
    descriptorAttributes(b, segment.high),
  );
  f.setLevel(b.i32(0));
  b.setState(state.RIP, target);
}

/** The fault that the state holds, at RIP: what faults.ts does for it, where nobody else wants to see it. */
function faultBody(deliver: number, pathType: number): Body {
  const b = new ProcessorCode(new Body(['i32'], ['i32']));
  const [done] = b.parameters(1);
  const vector = b.and(b.state32(state.FAULT), 0xff);
  const isAmong = (vectors: number) => b.and(b.shr(vectors, vector), 1);
  const native = b.state32(state.NATIVE);
  b.when(b.none(native, NATIVE_EXCEPTIONS | PATH_EXCEPTIONS), () => b.answer(0));
  b.when(b.both(b.eq(vector, MF), b.none(b.state32(state.CR0), CR0_NE)), () => b.answer(0));
  const code = b.select(isAmong(WITH_ERROR_CODE), b.state32(state.FAULT_CODE), NO_CODE);
  const cpl = b.state32(state.CPL);
  const rip = b.state(state.RIP);
  const rest = b.state32(state.FLAGS_REST);
  b.when(isAmong(SHOWS_RF), () => b.setState32(state.FLAGS_REST, b.or(rest, RF)));
  const delivered = b.unset('i32');
  b.when(
    b.and(native, PATH_EXCEPTIONS),
    () => delivered.set(b.invokeIndirect(pathType, b.i32(PATH_EXCEPTION), 'i32', vector, code)),
    () => delivered.set(b.invoke(deliver, 'i32', vector, code)),
  );
  b.when(b.no(delivered.get()), () => {
    b.setState32(state.FLAGS_REST, rest);
    b.answer(0);
  });
  b.setState32(state.FAULT, 0);
  // The fault counts as an instruction, so that a guest that only faults still gets through its budget.
  b.setState32(state.FUEL, b.sub(b.sub(b.state32(state.FUEL), done), 1));
  b.when(b.eq(delivered.get(), PATH_DEALT_WITH), () => b.answer(1));
  b.setState32(state.DELIVERIES, b.add(b.state32(state.DELIVERIES), 1));
  emitNoteException(b, { vector, code, rip, cpl });
  b.answer(1);
  return b.complete();
}
