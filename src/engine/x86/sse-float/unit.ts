/**
 * How an SSE instruction that works on floats begins and ends (SDM 1, 11.5): its environment comes from MXCSR, its
 * exceptions go there, and an unmasked one faults at once, with the registers as they were.
 */
import { CR4_OSXMMEXCPT } from '../../../x86/control.ts';
import { UD, XM } from '../../../x86/vectors.ts';
import type { Cpu } from '../cpu.ts';
import { BEFORE_COMPUTATION, createEnvironment } from '../softfloat/environment.ts';
import { flushDenormal, loadFloat32, loadFloat64, storeFloat32, storeFloat64 } from '../softfloat/formats.ts';
import { FLOAT32, FLOAT64, type Format } from '../softfloat/rounding.ts';
import type { Value } from '../softfloat/value.ts';
import { STATE, state } from '../state.ts';

/** Of the two operands the first is also the destination; the answer goes to the last of the four vectors. */
export const FIRST = STATE + state.VECTOR;
export const SECOND = STATE + state.VECTOR + 16;
export const ANSWER = STATE + state.VECTOR + 48;
/** An immediate or an integer source; an answer that is an integer or flags. */
export const OPERAND = STATE + state.ARGUMENT;
export const SCALAR_ANSWER = STATE + state.RESULT;

const DAZ = 1 << 6;
const MASKS_SHIFT = 7;
const ROUNDING_SHIFT = 13;
const FTZ = 1 << 15;

export const environment = createEnvironment(false);

/** A float format as an SSE lane has it. */
export interface Lane {
  readonly bytes: 4 | 8;
  readonly format: Format;
  load(view: DataView, address: number, value: Value): void;
  store(view: DataView, address: number, value: Value): void;
}

export const SINGLE: Lane = { bytes: 4, format: FLOAT32, load: loadFloat32, store: storeFloat32 };
export const DOUBLE: Lane = { bytes: 8, format: FLOAT64, load: loadFloat64, store: storeFloat64 };

/** The lane of an instruction on 256 bits: the exceptions of the first one wait for those of the second. 0: there are no lanes. */
let part = 0;

/** Sets the environment as MXCSR says, with no exceptions yet. */
export function begin(view: DataView): void {
  part = view.getUint32(STATE + state.FLOAT_LANE, true);
  if (part) view.setUint32(STATE + state.FLOAT_LANE, 0, true);
  const mxcsr = view.getUint32(STATE + state.MXCSR, true);
  environment.rounding = (mxcsr >>> ROUNDING_SHIFT) & 3;
  environment.masks = (mxcsr >>> MASKS_SHIFT) & 0x3f;
  environment.denormalsAreZero = (mxcsr & DAZ) !== 0;
  environment.flushToZero = (mxcsr & FTZ) !== 0;
  environment.flags = 0;
}

/** Loads a lane as the instruction is to see it. */
export function loadLane(view: DataView, address: number, lane: Lane, value: Value): void {
  lane.load(view, address, value);
  flushDenormal(value, environment);
}

/** When what was found in the operands is unmasked, faults before anything is rounded. */
export function checkOperands(cpu: Cpu): void {
  if (part === 1) return;
  takePending(cpu.view);
  if ((environment.flags & ~environment.masks & BEFORE_COMPUTATION) === 0) return;
  // What other lanes found in rounding does not count then.
  environment.flags &= BEFORE_COMPUTATION;
  finish(cpu);
}

/** Adds what the first lane has found. */
function takePending(view: DataView): void {
  if (part !== 2) return;
  environment.flags |= view.getUint32(STATE + state.FLOAT_PENDING, true);
  view.setUint32(STATE + state.FLOAT_PENDING, 0, true);
}

/** Raises what the first lane has found, where the second one had no need of this. */
export function raisePending(cpu: Cpu): void {
  begin(cpu.view);
  part = 2;
  checkOperands(cpu);
  finish(cpu);
}

/** Notes the exceptions in MXCSR, and faults if one is not masked. */
export function finish(cpu: Cpu): void {
  const { view } = cpu;
  if (part === 1) return view.setUint32(STATE + state.FLOAT_PENDING, environment.flags, true);
  takePending(view);
  const { flags, masks } = environment;
  if (flags === 0) return;
  view.setUint32(STATE + state.MXCSR, view.getUint32(STATE + state.MXCSR, true) | flags, true);
  if ((flags & ~masks) !== 0) {
    cpu.raise((view.getUint32(STATE + state.CR4, true) & CR4_OSXMMEXCPT) !== 0 ? XM : UD);
  }
}

export function clear(view: DataView, address: number, bytes: number): void {
  for (let i = 0; i < bytes; i += 4) view.setUint32(address + i, 0, true);
}
