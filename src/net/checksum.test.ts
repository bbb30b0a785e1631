import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../conformance/random.ts';
import { fold, sum } from './checksum.ts';

/** As RFC 1071 defines it, word by word. */
function slowly(bytes: Uint8Array): number {
  let total = 0;
  for (let at = 0; at < bytes.length; at += 2) {
    total += bytes[at]! * 256 + (bytes[at + 1] ?? 0);
    if (total > 0xffff) total -= 0xffff;
  }
  return total;
}

test('the sum is the same wherever the bytes lie, and however many they are', () => {
  const random = createRandom(1071n);
  const all = new Uint8Array(70_000);
  for (let round = 0; round < 400; round++) {
    const fill = [0, 0xff, undefined][round % 3];
    for (let at = 0; at < all.length; at += 1 + (round % 5)) all[at] = fill ?? random.below(256);
    const offset = random.below(5);
    const view = all.subarray(offset, offset + random.below(round % 10 === 0 ? 65_535 : 400));
    const start = Math.min(random.below(4), view.length);
    assert.equal(fold(sum(view, start, view.length)) % 0xffff, slowly(view.subarray(start)) % 0xffff);
    assert.equal(
      fold(sum(view, start, view.length, 0x1234)) % 0xffff,
      (slowly(view.subarray(start)) + 0x1234) % 0xffff,
    );
  }
});
