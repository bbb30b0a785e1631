/** Control of the unit (SDM 1, 8.3.11), and EMMS (SDM 1, 9.5.1): other MMX instructions switch it inline. */
import type { Helper } from '../helper.ts';
import { ALL_EXCEPTIONS } from '../softfloat/environment.ts';
import { STATE, state } from '../state.ts';
import * as unit from './unit.ts';
import { B, C1, CONDITIONS, ES, OPERAND, TOP_SHIFT } from './unit.ts';

/** FNINIT. Registers keep their contents, but all count as empty. */
export function initialize(view: DataView): void {
  view.setUint16(STATE + state.FPU_CONTROL, 0x037f, true);
  view.setUint16(STATE + state.FPU_STATUS, 0, true);
  view.setUint8(STATE + state.FPU_TAGS, 0);
  view.setUint16(STATE + state.FPU_OPCODE, 0, true);
  view.setBigUint64(STATE + state.FPU_IP, 0n, true);
  view.setBigUint64(STATE + state.FPU_DP, 0n, true);
  view.setUint16(STATE + state.FPU_CS, 0, true);
  view.setUint16(STATE + state.FPU_DS, 0, true);
}

/**
 * Sets the control word; bit 6 reads as 1 and bits 7, 13-15 as 0. Then ES says whether an exception is unmasked now.
 */
export function setControl(view: DataView, value: number): void {
  view.setUint16(STATE + state.FPU_CONTROL, (value & 0x1f3f) | 0x40, true);
  summarize(view);
}

/** ES and B follow from the exceptions and their masks. */
export function summarize(view: DataView): void {
  const control = view.getUint16(STATE + state.FPU_CONTROL, true);
  const status = view.getUint16(STATE + state.FPU_STATUS, true);
  const summary = (status & ~control & ALL_EXCEPTIONS) !== 0 ? ES | B : 0;
  view.setUint16(STATE + state.FPU_STATUS, (status & ~(ES | B)) | summary, true);
}

export const controlHelpers: Record<string, Helper> = {
  /** WAIT, and what other units' instructions do that wait for this one. */
  fwait: unit.wait,
  fnop: unit.wait,
  fninit: ({ view }) => initialize(view),
  fnclex: ({ view }) =>
    view.setUint16(
      STATE + state.FPU_STATUS,
      view.getUint16(STATE + state.FPU_STATUS, true) & (CONDITIONS | (7 << TOP_SHIFT)),
      true,
    ),
  fldcw: cpu => {
    unit.wait(cpu);
    setControl(cpu.view, cpu.view.getUint16(OPERAND, true));
  },
  fnstcw: ({ view }) => unit.setResult(view, 0, view.getUint16(STATE + state.FPU_CONTROL, true), 0),
  fnstsw: ({ view }) => unit.setResult(view, 0, view.getUint16(STATE + state.FPU_STATUS, true), 0),
  ffree: cpu => {
    unit.wait(cpu);
    unit.markEmpty(cpu.view, unit.argument(cpu.view, 0));
    unit.setConditions(cpu.view, C1, 0);
  },
  /** FFREEP, undocumented but everywhere. */
  ffreep: cpu => {
    unit.wait(cpu);
    unit.markEmpty(cpu.view, unit.argument(cpu.view, 0));
    unit.pop(cpu.view);
    unit.setConditions(cpu.view, C1, 0);
  },
  fincstp: cpu => {
    unit.wait(cpu);
    unit.rotate(cpu.view, 1);
    unit.setConditions(cpu.view, C1, 0);
  },
  fdecstp: cpu => {
    unit.wait(cpu);
    unit.rotate(cpu.view, -1);
    unit.setConditions(cpu.view, C1, 0);
  },
  emms: cpu => {
    unit.wait(cpu);
    unit.setConditions(cpu.view, 7 << TOP_SHIFT, 0);
    cpu.view.setUint8(STATE + state.FPU_TAGS, 0);
  },
};
