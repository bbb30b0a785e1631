/** Runs stored cases in the engine and says where it differs from the processor they were made on. */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { type Deviation, deviations } from './deviations.ts';
import type { OracleGuest } from './guest.ts';
import { type Difference, differences } from './image-text.ts';
import { createImage, makeInitial } from './initial.ts';
import { mask } from './masks.ts';
import { advance, applyChanges, type Case, RETIRED, rowKey, seedOf } from './vectors.ts';

const PAGE_FAULT = 14;
/** Linux sets the present bit in what it reports for addresses of the kernel's half, whatever is there. */
const KERNEL_HALF = 1n << 47n;

export interface Mismatch {
  test: Case;
  differences: Difference[];
  /** Why that is known and left so; undefined: an error. */
  deviation: Deviation | undefined;
}

const initial = createImage();
const expected = createImage();
const actual = createImage();

/** undefined where the engine did as the processor did. */
export function runCase(guest: OracleGuest, row: Row, test: Case): Mismatch | undefined {
  makeInitial(initial.bytes, initial.view, test.mode, seedOf(rowKey(row), test.mode, test.serial));
  actual.bytes.set(initial.bytes);
  expected.bytes.set(initial.bytes);
  if (test.vector === RETIRED) advance(expected.view, test.mode, test.code.length);
  applyChanges(expected.bytes, test.changes);

  const answer = guest.run(actual.bytes, actual.view, test.mode, test.code);
  const found: Difference[] = [];
  const outcome = (field: string, want: number | bigint, got: number | bigint) => {
    if (want !== got) found.push({ field, before: '', expected: want.toString(16), actual: got.toString(16) });
  };
  if (answer.trouble) found.push({ field: answer.trouble, before: '', expected: '', actual: '' });
  outcome('exception', test.vector, answer.vector);
  if (test.vector === answer.vector && test.vector !== RETIRED) {
    const hidden = test.vector === PAGE_FAULT && test.cr2 >= KERNEL_HALF ? 1 : 0;
    outcome('error code', test.errorCode & ~hidden, answer.errorCode & ~hidden);
    if (test.vector === PAGE_FAULT) outcome('cr2', test.cr2, answer.cr2);
  }
  mask(row, test, initial.bytes, expected.view, actual.view);
  found.push(...differences(initial.bytes, expected.bytes, actual.bytes));
  if (!found.length) return undefined;
  return { test, differences: found, deviation: deviations.find(known => known.covers(row, test, found)) };
}
