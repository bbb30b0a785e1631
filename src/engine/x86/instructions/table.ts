/** THE TABLE: every row, in one list. */
import { arithmeticRows } from './arithmetic.ts';
import { bitRows } from './bits.ts';
import { branchRows } from './branch.ts';
import { moveRows } from './move.ts';
import { checkMeaning, type Row } from './row.ts';
import { shiftRows } from './shift.ts';
import { flagRows, stringRows } from './string.ts';
import { systemRows } from './system.ts';
import { vectorRows } from './vector-rows.ts';
import { x87Rows } from './x87.ts';

export const rows: readonly Row[] = [
  ...arithmeticRows,
  ...shiftRows,
  ...bitRows,
  ...moveRows,
  ...branchRows,
  ...stringRows,
  ...flagRows,
  ...systemRows,
  ...vectorRows,
  ...x87Rows,
].map(checkMeaning);
