/**
 * All helpers of the x87 under their names. A name is the manual's mnemonic and, behind an underscore, the operand in
 * the manual's notation where there are several forms: `fadd_m32`, `fadd_st0_sti`, `fist_m16int`. Memory operands stand
 * in ARGUMENT[0] (an 80-bit one's sign and exponent in ARGUMENT[1]), a register's number i likewise.
 */
import type { Helper } from './helper.ts';
import { arithmeticHelpers } from './x87/arithmetic.ts';
import { compareHelpers } from './x87/compare.ts';
import { controlHelpers } from './x87/control.ts';
import { imageHelpers } from './x87/image.ts';
import { remainderHelpers } from './x87/remainder.ts';
import { transcendentalHelpers } from './x87/transcendental.ts';
import { transferHelpers } from './x87/transfer.ts';

export const x87Helpers: Record<string, Helper> = {
  ...transferHelpers,
  ...arithmeticHelpers,
  ...remainderHelpers,
  ...compareHelpers,
  ...transcendentalHelpers,
  ...controlHelpers,
  ...imageHelpers,
};
