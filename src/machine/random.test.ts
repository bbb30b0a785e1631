import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore } from '../state/state.ts';
import { createBoardRandom } from './random.ts';

test("the board's numbers repeat with their seed, go on after a restore, and differ with another seed", () => {
  const states = new StateStore();
  const random = createBoardRandom(states, 5n);
  const first = [random(), random()];
  assert.equal(new Set(first.map(number => number >> 32n)).size, 2);
  const saved = states.save();
  const next = random();

  const again = createBoardRandom(new StateStore(), 5n);
  assert.deepEqual([again(), again(), again()], [...first, next]);
  states.restore(saved);
  assert.equal(random(), next);
  const other = new StateStore();
  const elsewhere = createBoardRandom(other, 6n);
  other.restore(saved);
  assert.notEqual(elsewhere(), next);
});
