/** Memory operands of the x87: the row has loaded the bits into ARGUMENT[0] (and [1], for 80-bit formats). */
import { loadFloat32, loadFloat64 } from '../softfloat/formats.ts';
import { fromInteger } from '../softfloat/rounding.ts';
import type { Value } from '../softfloat/value.ts';
import { OPERAND } from './unit.ts';

export type Loader = (view: DataView, value: Value) => void;

export const loadM32: Loader = (view, value) => loadFloat32(view, OPERAND, value);
export const loadM64: Loader = (view, value) => loadFloat64(view, OPERAND, value);

export const loadM16int: Loader = (view, value) => {
  const bits = view.getInt16(OPERAND, true);
  fromInteger(bits >> 31, bits, value);
};

export const loadM32int: Loader = (view, value) => {
  const bits = view.getInt32(OPERAND, true);
  fromInteger(bits >> 31, bits, value);
};

export const loadM64int: Loader = (view, value) => {
  fromInteger(view.getUint32(OPERAND + 4, true), view.getUint32(OPERAND, true), value);
};

/** The operands of arithmetic and comparison, under the manual's names. */
export const memoryLoaders: Record<string, Loader> = {
  m32: loadM32,
  m64: loadM64,
  m16int: loadM16int,
  m32int: loadM32int,
};
