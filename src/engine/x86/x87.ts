/**
 * All helpers of the x87 under their names. A name is the manual's mnemonic and, behind an underscore, the operand in
 * the manual's notation where there are several forms: `fadd_m32`, `fadd_st0_sti`, `fist_m16int`. Memory operands stand
 * in ARGUMENT[0] (an 80-bit one's sign and exponent in ARGUMENT[1]), a register's number i likewise.
 */
import { CR0_NE } from '../../x86/control.ts';
import type { Helper } from './helper.ts';
import { state } from './state.ts';
import { arithmeticHelpers } from './x87/arithmetic.ts';
import { compareHelpers } from './x87/compare.ts';
import { controlHelpers } from './x87/control.ts';
import { imageHelpers } from './x87/image.ts';
import { remainderHelpers } from './x87/remainder.ts';
import { transcendentalHelpers } from './x87/transcendental.ts';
import { transferHelpers } from './x87/transfer.ts';
import { ES } from './x87/unit.ts';

export const x87Helpers: Record<string, Helper> = {
  ...transferHelpers,
  ...arithmeticHelpers,
  ...remainderHelpers,
  ...compareHelpers,
  ...transcendentalHelpers,
  ...controlHelpers,
  ...imageHelpers,
};

/** Helpers after which an unmasked error may wait no more: with CR0.NE clear the board hears of it. */
const CLEARING = /^(fninit|fnclex|fldcw|fldenv|frstor|fnsave)/;
function clearing(helper: Helper): Helper {
  return cpu => {
    const before = cpu.get16(state.FPU_STATUS);
    helper(cpu);
    const cleared = before & ~cpu.get16(state.FPU_STATUS) & ES;
    if (cleared && !(cpu.get32(state.CR0) & CR0_NE)) cpu.environment.coprocessorError?.(false);
  };
}
/** The same helpers, which tell the board. */
export const x87HelpersOnBoard: Readonly<Record<string, Helper>> = Object.fromEntries(
  Object.entries(x87Helpers).map(([name, helper]) => [name, CLEARING.test(name) ? clearing(helper) : helper]),
);
