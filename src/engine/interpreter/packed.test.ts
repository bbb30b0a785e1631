import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layout } from '../layout.ts';
import { buildInterpreter } from './loop.ts';
import { pack, unpack } from './packed.ts';

test('an interpreter that has been packed is the same interpreter', () => {
  for (const wide of [true, false]) {
    const built = buildInterpreter(layout(16 << 20), wide);
    const packed = pack(built);
    // At an odd place, as in a file behind something else.
    const file = new Uint8Array(packed.length + 33);
    file.set(packed, 33);
    assert.deepEqual(unpack(file.subarray(33)), built);
  }
});
