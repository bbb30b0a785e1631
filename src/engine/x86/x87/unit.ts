/**
 * The x87 unit's registers as its instructions see them (SDM 1, chapter 8): the stack and its tags, the control and
 * status words, and how an instruction begins and ends.
 */
import { MF } from '../../../x86/vectors.ts';
import type { Cpu } from '../cpu.ts';
import { createEnvironment, IE } from '../softfloat/environment.ts';
import { loadFloatX80, storeFloatX80 } from '../softfloat/formats.ts';
import { FLOATX80, FLOATX80_24, FLOATX80_53, type Format } from '../softfloat/rounding.ts';
import { setIndefinite, Value } from '../softfloat/value.ts';
import { STATE, state } from '../state.ts';

/** Status word (SDM 1, figure 8-4), besides the six exceptions: stack fault, error summary, conditions, top, busy. */
export const SF = 1 << 6;
export const ES = 1 << 7;
export const C0 = 1 << 8;
export const C1 = 1 << 9;
export const C2 = 1 << 10;
export const TOP_SHIFT = 11;
export const C3 = 1 << 14;
export const B = 1 << 15;
export const CONDITIONS = C0 | C1 | C2 | C3;

/** Rounding, masks and exceptions of the instruction being executed; `begin` fills it anew each time. */
export const environment = createEnvironment(true);
environment.wrapExponent = true;

/** This instruction found an empty register that should be full, or the other way round. */
let stackFault = false;

/** Operands and result of the instruction being executed. */
export const left = new Value();
export const right = new Value();
export const result = new Value();

/** RC and masks out of the control word; no exceptions yet. */
export function loadEnvironment(view: DataView): void {
  const control = view.getUint16(STATE + state.FPU_CONTROL, true);
  environment.rounding = (control >>> 10) & 3;
  environment.masks = control & 0x3f;
  environment.flags = 0;
  environment.roundedUp = false;
  stackFault = false;
}

/** For the few that leave C1 alone unless the stack underflows: FCMOVcc, FCOMI. */
export function keepC1(view: DataView): void {
  environment.roundedUp = (view.getUint16(STATE + state.FPU_STATUS, true) & C1) !== 0;
}

/** What every waiting instruction does first: it faults if an earlier one left an unmasked exception (SDM 1, 8.7). */
export function wait(cpu: Cpu): void {
  if ((cpu.view.getUint16(STATE + state.FPU_STATUS, true) & ES) !== 0) cpu.raise(MF);
}

/** Begins an instruction that may raise exceptions. */
export function begin(cpu: Cpu): void {
  wait(cpu);
  loadEnvironment(cpu.view);
}

/**
 * The status word as it will be once the exceptions of this instruction are in it; C1 tells the direction of rounding.
 */
export function nextStatus(view: DataView): number {
  let status = view.getUint16(STATE + state.FPU_STATUS, true) & ~C1;
  status |= environment.flags;
  if (environment.roundedUp) status |= C1;
  if (stackFault) status |= SF;
  if ((environment.flags & ~environment.masks) !== 0) status |= ES | B;
  return status;
}

/** Ends an instruction: its exceptions go to the status word; an unmasked one waits there for the next instruction. */
export function finish(view: DataView): void {
  view.setUint16(STATE + state.FPU_STATUS, nextStatus(view), true);
}

/** True when an exception found so far is not masked. */
export function isUnmasked(): boolean {
  return (environment.flags & ~environment.masks) !== 0;
}

export function setConditions(view: DataView, mask: number, bits: number): void {
  const status = view.getUint16(STATE + state.FPU_STATUS, true);
  view.setUint16(STATE + state.FPU_STATUS, (status & ~mask) | bits, true);
}

/** The precision and range of a register result, by PC (SDM 1, table 8-2); the reserved 01 behaves as 11. */
export function registerFormat(view: DataView): Format {
  const precision = (view.getUint16(STATE + state.FPU_CONTROL, true) >>> 8) & 3;
  return precision === 0 ? FLOATX80_24 : precision === 2 ? FLOATX80_53 : FLOATX80;
}

function top(view: DataView): number {
  return (view.getUint16(STATE + state.FPU_STATUS, true) >>> TOP_SHIFT) & 7;
}

function setTop(view: DataView, value: number): void {
  setConditions(view, 7 << TOP_SHIFT, (value & 7) << TOP_SHIFT);
}

/** Address of ST(i). */
export function registerAddress(view: DataView, i: number): number {
  return STATE + state.FPU_REGISTERS + 16 * ((top(view) + i) & 7);
}

export function isEmpty(view: DataView, i: number): boolean {
  return ((view.getUint8(STATE + state.FPU_TAGS) >>> ((top(view) + i) & 7)) & 1) === 0;
}

export function markFull(view: DataView, i: number): void {
  view.setUint8(STATE + state.FPU_TAGS, view.getUint8(STATE + state.FPU_TAGS) | (1 << ((top(view) + i) & 7)));
}

export function markEmpty(view: DataView, i: number): void {
  view.setUint8(STATE + state.FPU_TAGS, view.getUint8(STATE + state.FPU_TAGS) & ~(1 << ((top(view) + i) & 7)));
}

export function loadRegister(view: DataView, i: number, value: Value): void {
  loadFloatX80(view, registerAddress(view, i), value);
}

/** Writes ST(i), which then is not empty. */
export function storeRegister(view: DataView, i: number, value: Value): void {
  storeFloatX80(view, registerAddress(view, i), value);
  markFull(view, i);
}

export function pop(view: DataView): void {
  markEmpty(view, 0);
  setTop(view, top(view) + 1);
}

/** Makes room for a new ST(0); its contents are for the caller to write. */
export function push(view: DataView): void {
  setTop(view, top(view) - 1);
  markFull(view, 0);
}

/** Moves TOP without touching tags: FINCSTP and FDECSTP. */
export function rotate(view: DataView, by: number): void {
  setTop(view, top(view) + by);
}

/** An operand was empty: invalid operation with SF, C1 = 0 (SDM 1, 8.5.1.1). */
export function stackUnderflow(): void {
  environment.flags |= IE;
  environment.roundedUp = false;
  stackFault = true;
  setIndefinite(result);
}

/** The register that a push would use is not empty: invalid operation with SF, C1 = 1. */
export function stackOverflow(): void {
  environment.flags |= IE;
  environment.roundedUp = true;
  stackFault = true;
  setIndefinite(result);
}

/** Argument n of a helper as a small number, such as a register's. */
export function argument(view: DataView, n: number): number {
  return view.getUint32(STATE + state.ARGUMENT + 8 * n, true);
}

export function setResult(view: DataView, n: number, low: number, high: number): void {
  view.setUint32(STATE + state.RESULT + 8 * n, low, true);
  view.setUint32(STATE + state.RESULT + 8 * n + 4, high, true);
}

export const OPERAND = STATE + state.ARGUMENT;
export const ANSWER = STATE + state.RESULT;
