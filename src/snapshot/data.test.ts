import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Data } from '../state/state.ts';
import { decodeData, encodeData } from './data.ts';
import { SnapshotError } from './snapshot-error.ts';

const EVERYTHING: Data = {
  nothing: undefined,
  flags: [true, false],
  numbers: [0, 1, 127, 128, 2 ** 32 - 1, 2 ** 32, -1, -0, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53],
  integers: [0n, 1n, -1n, 2n ** 64n - 1n, -(2n ** 128n)],
  texts: ['', 'ä€😀', '\ufeffmark'],
  arrays: [Int8Array.of(-1), new Uint16Array([1, 65535]), Float64Array.of(0.1), BigUint64Array.of(2n ** 63n)],
  map: new Map<Data, Data>([[1, { deep: new Set([1n, 'x']) }]]),
};

test('what is encoded is decoded alike, every kind of value', () => {
  assert.deepEqual(decodeData(encodeData(EVERYTHING)), EVERYTHING);
});

test('no prefix of an encoding is one, and nothing may follow it', () => {
  const bytes = encodeData(EVERYTHING);
  for (let length = 0; length < bytes.length; length++)
    assert.throws(() => decodeData(bytes.subarray(0, length)), SnapshotError, `${length} bytes`);
  assert.throws(() => decodeData(Uint8Array.of(...bytes, 0)), /more after the last state/);
});

test('whatever bytes come, they are refused or decoded: nothing else is thrown, and little is allocated', () => {
  const bytes = encodeData(EVERYTHING);
  for (let at = 0; at < bytes.length; at++)
    for (const value of [0, 1, 3, 5, 7, 8, 10, 16, 26, 27, 0x7f, 0x80, 0xff]) {
      const changed = bytes.slice();
      changed[at] = value;
      try {
        decodeData(changed);
      } catch (error) {
        assert.ok(error instanceof SnapshotError, String(error));
      }
    }
});

test('a tower of arrays, a member __proto__ and counts beyond the input are refused', () => {
  const tower = new Uint8Array(4096).map((_, index) => (index % 2 ? 1 : 7));
  assert.throws(() => decodeData(tower), /nested more than 40 deep/);
  const proto = encodeData({ __xxxxx__: 1 });
  proto.set(new TextEncoder().encode('__proto__'), 3);
  assert.throws(() => decodeData(proto), /__proto__/);
  assert.throws(() => decodeData(Uint8Array.of(26, 0xff, 0xff, 0xff, 0xff, 0x0f)), /ends too early/);
  assert.throws(() => decodeData(Uint8Array.of(7, 0xff, 0xff, 0xff, 0x7f)), /fewer members/);
  assert.throws(() => decodeData(Uint8Array.of(4, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01)), /no number of 32 bits/);
});
