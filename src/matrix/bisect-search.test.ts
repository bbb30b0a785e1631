import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findTurn } from './bisect-search.ts';

test('the first bad one is found in ceil(log2 n) boots, wherever it is', async () => {
  for (let count = 2; count <= 70; count++)
    for (let first = 1; first < count; first++) {
      const asked = new Set<number>();
      const { good, bad, skipped, judged } = await findTurn(count, async place => {
        assert.ok(!asked.has(place) && place > 0 && place < count - 1);
        asked.add(place);
        return place >= first ? 'bad' : 'good';
      });
      assert.deepEqual({ good, bad, skipped }, { good: first - 1, bad: first, skipped: [] });
      assert.ok(judged <= Math.ceil(Math.log2(count - 1)), `${judged} boots for ${count - 1} that it may be`);
    }
});

test('what cannot be judged is gone round, and named where the turn may be there', async () => {
  const judge = (bad: number, skip: number[]) => async (place: number) =>
    skip.includes(place) ? ('skip' as const) : place >= bad ? ('bad' as const) : ('good' as const);
  const round = await findTurn(20, judge(7, [9, 10, 15]));
  assert.deepEqual([round.good, round.bad, round.skipped], [6, 7, []]);
  const unsure = await findTurn(20, judge(7, [6, 7]));
  assert.deepEqual([unsure.good, unsure.bad, unsure.skipped], [5, 8, [6, 7]]);
  const nothing = await findTurn(5, judge(1, [1, 2, 3]));
  assert.deepEqual([nothing.good, nothing.bad, nothing.skipped], [0, 4, [1, 2, 3]]);
});
