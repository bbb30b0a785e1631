/** Runs stored cases in the engine and says where it differs from the processor they were made on. */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { type Deviation, deviations } from './deviations.ts';
import type { Answer, OracleGuest } from './guest.ts';
import { type Difference, differences } from './image-text.ts';
import { createImage, makeInitial } from './initial.ts';
import { PAGE_SIZE, RIP } from './layout.ts';
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

/** The tiers of the engine, and how each runs a case. undefined: this tier does not run such code. */
export type Tier = 'interpreter' | 'jit';
function execute(guest: OracleGuest, tier: Tier, test: Case): Answer | undefined {
  const { bytes, view } = actual;
  if (tier === 'interpreter') return guest.run(bytes, view, test.mode, test.code);
  // The JIT needs room for what marks the end behind the instruction; what it does not translate, the guest finds out.
  const room = (view.getUint32(RIP, true) & (PAGE_SIZE - 1)) + test.code.length + 2 < PAGE_SIZE;
  if (!room) return undefined;
  const end = test.vector === RETIRED ? expected.view.getBigUint64(RIP, true) : undefined;
  // A jump into itself would go round and round.
  const start = view.getBigUint64(RIP, true);
  if (end !== undefined && end >= start && end < start + BigInt(test.code.length)) return undefined;
  return guest.runTranslated(bytes, view, test.mode, test.code, end);
}

/** undefined where the engine did as the processor did; 'not run' where the tier does not run it. */
export function runCase(
  guest: OracleGuest,
  row: Row,
  test: Case,
  tier: Tier = 'interpreter',
): Mismatch | 'not run' | undefined {
  makeInitial(initial.bytes, initial.view, test.mode, seedOf(rowKey(row), test.mode, test.serial), row);
  actual.bytes.set(initial.bytes);
  expected.bytes.set(initial.bytes);
  if (test.vector === RETIRED) advance(expected.view, test.mode, test.code.length);
  applyChanges(expected.bytes, test.changes);

  const answer = execute(guest, tier, test);
  if (!answer) return 'not run';
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
