/** A handler: the WebAssembly code that executes a record, made from the meaning of a row of the table. */

import type { Value } from '../../wasm/expressions.ts';
import type { Body } from '../../wasm/module.ts';
import { UD } from '../../x86/vectors.ts';
import { Builder } from '../x86/builder.ts';
import type { Form } from '../x86/decode.ts';
import { lacksVex } from '../x86/instructions/bits.ts';
import { checkPrivilege } from '../x86/instructions/privilege.ts';
import { type ListMeaning, UNITS } from '../x86/instructions/row.ts';
import { raiseWaiting, switchToMmx } from '../x86/instructions/vector.ts';
import type { Paging } from '../x86/paging.ts';
import type { PureIndices } from '../x86/pure-functions.ts';
import { state } from '../x86/state.ts';
import type { Traps } from '../x86/traps.ts';
import { operandOf } from './operands.ts';
import { InterpreterTier } from './tier.ts';

/** What a handler is for: a form with one operand size, one address size and one kind of r/m operand. */
export interface Variant {
  form: Form;
  operandSize: number;
  addressSize: number;
  memory: boolean;
  /** 64-bit mode, or all others. */
  wide: boolean;
}

/** How a handler leaves: by branching in the loop's function, or by returning from its own. */
export interface Leaving {
  /** The local that holds the record's address. */
  record: number;
  /** With a fault in the state. */
  fault(b: Builder): void;
  /** To a linear address, through the link at offset `link` of the record; without one, the block is looked up. */
  go(b: Builder, target: Value, link: number | undefined): void;
  /** To the address in the state's RIP. */
  resume(b: Builder): void;
}

/** The functions of the interpreter's module that handlers call, by their index. */
export interface Functions extends Paging {
  /** helper(id) -> 1 if it faulted. */
  helper: number;
  /** The number of a helper: what `helper` is called with. */
  helperNumber(name: string): number;
  pure: PureIndices;
  /** By number (checked-floats.ts). */
  checkedFloat: readonly number[];
  bulk: Record<'movs' | 'stos', number>;
  /** Of the module for 64-bit code. */
  traps: Traps | undefined;
  /** segment(number, offset i64, bytes, write) -> linear i64; FAULT on a violation. */
  segment: number;
}

/** Makes a handler's code. @returns true if it goes on with the next record, false if it has left */
export function emitHandler(body: Body, variant: Variant, leaving: Leaving, functions: Functions): boolean {
  const { form } = variant;
  const tier = new InterpreterTier(variant, leaving, functions);
  const b = new Builder(body, tier);
  check(b, form, variant.wide);
  const operands = form.operands.map((spec, index) => operandOf(b, tier.memory, variant, spec, index));
  const meaning: ListMeaning = form.row.meaning;
  meaning(b, ...operands);
  if (form.row.unit === 'mmx') switchToMmx(b);
  tier.finish(b);
  b.finish();
  return !tier.left && !form.row.ends;
}

/** What an instruction does before its meaning: it checks privilege, and that its unit may be used. */
function check(b: Builder, { row }: Form, wide: boolean): void {
  if (row.vex && !wide) b.raiseIf(lacksVex(b), UD);
  checkPrivilege(b, row);
  if (row.unit) {
    const trap = b.state32(state.UNIT_TRAP + 4 * UNITS.indexOf(row.unit));
    b.when(trap, () => b.tier.raise(b, trap, undefined));
  }
  if (row.unit === 'mmx') raiseWaiting(b);
}
