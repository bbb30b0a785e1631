/**
 * The handlers of the interpreter: which there are, in which order, and which of them are part of the loop's function.
 */

import { FIRST_INSTRUCTION } from '../record.ts';
import { type Form, forms } from '../x86/decode.ts';
import type { Variant } from './handler.ts';

const SIZES = [16, 32, 64];
/** The place of a handler's number in `Variants.numbers`. */
export function handlerKey(form: number, operandSize: number, addressSize: number, memory: boolean): number {
  return ((form * 3 + SIZES.indexOf(operandSize)) * 3 + SIZES.indexOf(addressSize)) * 2 + (memory ? 1 : 0);
}

export interface Variants {
  /** The hot ones come first. */
  all: readonly Variant[];
  hotCount: number;
  /** By `handlerKey`: the handler's number, or 0 where there is none. */
  numbers: Uint16Array;
}

/** @param wide the handlers of 64-bit mode, or those of all other modes */
export function variantsOf(wide: boolean): Variants {
  const list: Variant[] = [];
  for (const form of forms) {
    if (form.row.mode === (wide ? 'i64' : 'o64')) continue;
    const operandSizes = form.operandSized ? (wide ? [16, 32, 64] : [16, 32]) : [32];
    const addressSizes = form.addressSized ? (wide ? [32, 64] : [16, 32]) : [wide ? 64 : 32];
    for (const operandSize of operandSizes)
      for (const addressSize of addressSizes)
        for (const memory of kinds(form)) list.push({ form, operandSize, addressSize, memory, wide });
  }
  const all = list.sort((x, y) => Number(isHot(y)) - Number(isHot(x)));
  return { all, hotCount: all.findIndex(variant => !isHot(variant)), numbers: numbersOf(all) };
}

/** A form's r/m operand as a register (false), as memory (true), or both. */
function kinds(form: Form): boolean[] {
  if (form.memory < 0) return [false];
  const { place } = form.operands[form.memory]!;
  if (place === 'M' || place === 'O') return [true];
  if (place === 'R' || place === 'U' || place === 'N') return [false];
  return form.row.form ? [form.row.form === 'memory'] : [false, true];
}

/** True for a row that is marked as hot, at the sizes that are executed often. */
function isHot(variant: Variant): boolean {
  const { form, operandSize, addressSize, memory, wide } = variant;
  const { hot, size, opcode, operands } = form.row;
  if (!hot || (hot === 'register' && memory)) return false;
  if (form.operandSized && operandSize === 16) return false;
  // In 64-bit mode there are no branches and stack operations of 32 bits.
  if (form.operandSized && operandSize === 32 && size && wide) return false;
  // From register to register, assemblers take the encoding that could store.
  if (!memory && ((opcode < 0x100 && /^G[bv],E[bv]$/.test(operands)) || operands === 'Wx,Vx')) return false;
  if (form.addressSized && addressSize !== (wide ? 64 : 32)) return false;
  return true;
}

function numbersOf(all: readonly Variant[]): Uint16Array {
  const numbers = new Uint16Array(forms.length * 18);
  all.forEach(({ form, operandSize, addressSize, memory }, i) => {
    for (const size of form.operandSized ? [operandSize] : SIZES)
      for (const address of form.addressSized ? [addressSize] : SIZES)
        numbers[handlerKey(form.index, size, address, memory)] = FIRST_INSTRUCTION + i;
  });
  return numbers;
}

/** For messages. */
export function nameOf({ form, operandSize, memory }: Variant): string {
  return `${form.row.name} ${form.row.operands} ${operandSize}${memory ? ' memory' : ''}`;
}
