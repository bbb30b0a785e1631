import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkPages, gatherPages, PAGE, pagesOf, viewPages } from './memory-pages.ts';

test('pages are gathered, copied or where they are: all that are not zeros, in order, in pieces of 512 at most', () => {
  // Runs that end at, before and behind a piece's end, and at the end of RAM.
  for (const runs of [
    [[0, 512]],
    [
      [1, 511],
      [513, 513],
    ],
    [
      [0, 1],
      [2, 1],
      [1000, 600],
    ],
    [[3, 1597]],
    [],
  ] as [number, number][][]) {
    const ram = new Uint8Array(1600 * PAGE);
    for (const [first, count] of runs)
      for (let page = first; page < first + count; page++) ram[page * PAGE + (page % PAGE)] = 1 + (page % 255);
    const pages = runs.flatMap(([first, count]) => Array.from({ length: count }, (_, index) => first + index));
    for (const gather of [gatherPages, viewPages]) {
      const pieces = gather(ram);
      checkPages(pieces, ram.length);
      assert.ok(pieces.every(({ bytes }) => bytes.length <= 512 * PAGE && bytes.length > 0));
      const gathered = pagesOf(pieces);
      assert.deepEqual([...gathered.keys()], pages);
      for (const [page, bytes] of gathered) assert.deepEqual(bytes, ram.subarray(page * PAGE, (page + 1) * PAGE));
    }
  }
});
