/**
 * The unit's state as memory holds it: the environment of FNSTENV in its 14- and 28-byte forms, FNSAVE's 94 and 108
 * bytes (SDM 1, 8.1.10), and the first 160 bytes of FXSAVE's 512 (SDM 1, 10.5.1). Images stand in FPU_IMAGE; the row
 * copies them to and from memory. Saving takes two helpers, like a store: the second changes the unit once memory is
 * written.
 */
import { VM } from '../../../x86/flags.ts';
import type { Helper } from '../helper.ts';
import { loadFloatX80 } from '../softfloat/formats.ts';
import { FINITE, Value, ZERO } from '../softfloat/value.ts';
import { STATE, state } from '../state.ts';
import { initialize, setControl, summarize } from './control.ts';
import * as unit from './unit.ts';

const IMAGE = STATE + state.FPU_IMAGE;
const FXSAVE_REGISTERS = 32;

const scratch = new Value();

/** The full tag word: 0 valid, 1 zero, 2 special, 3 empty, two bits a physical register (SDM 1, figure 8-7). */
export function fullTags(view: DataView): number {
  let tags = 0;
  for (let n = 0; n < 8; n++) {
    let tag = 3;
    if ((view.getUint8(STATE + state.FPU_TAGS) >>> n) & 1) {
      loadFloatX80(view, STATE + state.FPU_REGISTERS + 16 * n, scratch);
      if (scratch.kind === ZERO) tag = 1;
      else tag = scratch.kind === FINITE && !scratch.denormal ? 0 : 2;
    }
    tags |= tag << (2 * n);
  }
  return tags;
}

/** Only "empty or not" is kept of a full tag word. */
export function abridgedTags(tags: number): number {
  let bits = 0;
  for (let n = 0; n < 8; n++) if (((tags >>> (2 * n)) & 3) !== 3) bits |= 1 << n;
  return bits;
}

/** Real-address and virtual-8086 mode have linear pointers in the image, not selectors and offsets. */
function hasLinearPointers(view: DataView): boolean {
  const protectedMode = (view.getUint32(STATE + state.CR0, true) & 1) !== 0;
  return !protectedMode || (view.getUint32(STATE + state.FLAGS_REST, true) & VM) !== 0;
}

/** SDM 1, figures 8-9 to 8-12. */
function saveEnvironment(view: DataView, wide: boolean): void {
  const words = [
    view.getUint16(STATE + state.FPU_CONTROL, true),
    view.getUint16(STATE + state.FPU_STATUS, true),
    fullTags(view),
  ];
  const ip = view.getUint32(STATE + state.FPU_IP, true);
  const dp = view.getUint32(STATE + state.FPU_DP, true);
  const cs = view.getUint16(STATE + state.FPU_CS, true);
  const ds = view.getUint16(STATE + state.FPU_DS, true);
  const opcode = view.getUint16(STATE + state.FPU_OPCODE, true) & 0x7ff;
  if (hasLinearPointers(view)) {
    const linearIp = (ip + cs * 16) >>> 0;
    const linearDp = (dp + ds * 16) >>> 0;
    words.push(linearIp & 0xffff, ((linearIp >>> 16) << 12) | opcode, linearDp & 0xffff, (linearDp >>> 16) << 12);
  } else if (wide) words.push(ip, (opcode << 16) | cs, dp, ds);
  else words.push(ip, cs, dp, ds);
  for (const [i, word] of words.entries()) {
    const reserved = i < 3 || i === 6 ? 0xffff0000 : 0;
    if (wide) view.setUint32(IMAGE + 4 * i, (word | reserved) >>> 0, true);
    else view.setUint16(IMAGE + 2 * i, word, true);
  }
}

function loadEnvironmentImage(view: DataView, wide: boolean): void {
  const word = (i: number) => (wide ? view.getUint32(IMAGE + 4 * i, true) : view.getUint16(IMAGE + 2 * i, true));
  view.setUint16(STATE + state.FPU_STATUS, word(1), true);
  view.setUint8(STATE + state.FPU_TAGS, abridgedTags(word(2)));
  if (hasLinearPointers(view)) {
    view.setBigUint64(STATE + state.FPU_IP, BigInt(((word(3) & 0xffff) | ((word(4) & 0xffff000) << 4)) >>> 0), true);
    view.setBigUint64(STATE + state.FPU_DP, BigInt(((word(5) & 0xffff) | ((word(6) & 0xffff000) << 4)) >>> 0), true);
    view.setUint16(STATE + state.FPU_CS, 0, true);
    view.setUint16(STATE + state.FPU_DS, 0, true);
    view.setUint16(STATE + state.FPU_OPCODE, word(4) & 0x7ff, true);
  } else {
    view.setBigUint64(STATE + state.FPU_IP, BigInt(word(3)), true);
    view.setUint16(STATE + state.FPU_CS, word(4), true);
    if (wide) view.setUint16(STATE + state.FPU_OPCODE, (word(4) >>> 16) & 0x7ff, true);
    view.setBigUint64(STATE + state.FPU_DP, BigInt(word(5)), true);
    view.setUint16(STATE + state.FPU_DS, word(6), true);
  }
  setControl(view, word(0));
}

/** Ten bytes a register, in stack order, after an environment of `start` bytes. */
function copyRegisters(view: DataView, start: number, stride: number, save: boolean): void {
  for (let i = 0; i < 8; i++) {
    const inUnit = unit.registerAddress(view, i);
    const inImage = IMAGE + start + stride * i;
    for (let byte = 0; byte < 10; byte += 2) {
      if (save) view.setUint16(inImage + byte, view.getUint16(inUnit + byte, true), true);
      else view.setUint16(inUnit + byte, view.getUint16(inImage + byte, true), true);
    }
    if (save) for (let byte = 10; byte < stride; byte += 2) view.setUint16(inImage + byte, 0, true);
  }
}

/** The x87 part of FXSAVE: offsets 0-23 and 32-159 of the image; `wide` with REX.W (64-bit pointers). */
function saveExtended(view: DataView, wide: boolean): void {
  view.setUint16(IMAGE, view.getUint16(STATE + state.FPU_CONTROL, true), true);
  view.setUint16(IMAGE + 2, view.getUint16(STATE + state.FPU_STATUS, true), true);
  view.setUint16(IMAGE + 4, view.getUint8(STATE + state.FPU_TAGS), true);
  view.setUint16(IMAGE + 6, view.getUint16(STATE + state.FPU_OPCODE, true), true);
  view.setBigUint64(IMAGE + 8, view.getBigUint64(STATE + state.FPU_IP, true), true);
  view.setBigUint64(IMAGE + 16, view.getBigUint64(STATE + state.FPU_DP, true), true);
  if (!wide) {
    view.setUint32(IMAGE + 12, view.getUint16(STATE + state.FPU_CS, true), true);
    view.setUint32(IMAGE + 20, view.getUint16(STATE + state.FPU_DS, true), true);
  }
  copyRegisters(view, FXSAVE_REGISTERS, 16, true);
}

function loadExtended(view: DataView, wide: boolean): void {
  view.setUint16(STATE + state.FPU_STATUS, view.getUint16(IMAGE + 2, true), true);
  view.setUint8(STATE + state.FPU_TAGS, view.getUint8(IMAGE + 4));
  view.setUint16(STATE + state.FPU_OPCODE, view.getUint16(IMAGE + 6, true) & 0x7ff, true);
  view.setBigUint64(STATE + state.FPU_IP, view.getBigUint64(IMAGE + 8, true), true);
  view.setBigUint64(STATE + state.FPU_DP, view.getBigUint64(IMAGE + 16, true), true);
  if (!wide) {
    view.setUint16(STATE + state.FPU_CS, view.getUint16(IMAGE + 12, true), true);
    view.setUint16(STATE + state.FPU_DS, view.getUint16(IMAGE + 20, true), true);
    view.setUint32(STATE + state.FPU_IP + 4, 0, true);
    view.setUint32(STATE + state.FPU_DP + 4, 0, true);
  }
  setControl(view, view.getUint16(IMAGE, true));
  copyRegisters(view, FXSAVE_REGISTERS, 16, false);
}

export const imageHelpers: Record<string, Helper> = {
  fnstenv_14: ({ view }) => saveEnvironment(view, false),
  fnstenv_28: ({ view }) => saveEnvironment(view, true),
  /** After FNSTENV all exceptions are masked. */
  fnstenv_commit: ({ view }) => {
    view.setUint16(STATE + state.FPU_CONTROL, view.getUint16(STATE + state.FPU_CONTROL, true) | 0x3f, true);
    summarize(view);
  },
  fnsave_94: ({ view }) => {
    saveEnvironment(view, false);
    copyRegisters(view, 14, 10, true);
  },
  fnsave_108: ({ view }) => {
    saveEnvironment(view, true);
    copyRegisters(view, 28, 10, true);
  },
  fnsave_commit: ({ view }) => initialize(view),
  fldenv_14: cpu => {
    unit.wait(cpu);
    loadEnvironmentImage(cpu.view, false);
  },
  fldenv_28: cpu => {
    unit.wait(cpu);
    loadEnvironmentImage(cpu.view, true);
  },
  frstor_94: cpu => {
    unit.wait(cpu);
    const { view } = cpu;
    loadEnvironmentImage(view, false);
    copyRegisters(view, 14, 10, false);
  },
  frstor_108: cpu => {
    unit.wait(cpu);
    const { view } = cpu;
    loadEnvironmentImage(view, true);
    copyRegisters(view, 28, 10, false);
  },
  fxsave_x87: ({ view }) => saveExtended(view, false),
  fxsave64_x87: ({ view }) => saveExtended(view, true),
  fxrstor_x87: ({ view }) => loadExtended(view, false),
  fxrstor64_x87: ({ view }) => loadExtended(view, true),
};
