/** PCMPxSTRx on the uses it was made for, and CRC-32C's check value. Random cases are in the vectors from a real processor. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HelperContext } from './helper.ts';
import { ARGUMENT, CF, OF, RESULT, SF, STATE, VECTOR, ZF } from './state.ts';
import { stringCompareHelpers } from './string-compare.ts';

const buffer = new ArrayBuffer(0x2000);
const view = new DataView(buffer);
const bytes = new Uint8Array(buffer);

function compare(name: string, first: string, second: string, immediate: number, lengths: bigint[] = []) {
  for (const [i, text] of [first, second].entries()) {
    bytes.fill(0, STATE + VECTOR + 16 * i, STATE + VECTOR + 16 * i + 16);
    bytes.set(new TextEncoder().encode(text), STATE + VECTOR + 16 * i);
  }
  view.setUint32(STATE + ARGUMENT, immediate, true);
  lengths.forEach((length, i) => view.setBigInt64(STATE + ARGUMENT + 8 * (i + 1), length, true));
  stringCompareHelpers[name]!({ view, bytes } as HelperContext);
  return {
    index: view.getUint32(STATE + RESULT, true),
    flags: view.getUint32(STATE + RESULT + 8, true),
    mask: view.getUint32(STATE + VECTOR + 48, true),
  };
}

const EQUAL_ANY = 0 << 2;
const RANGES = 1 << 2;
const EQUAL_EACH = 2 << 2;
const EQUAL_ORDERED = 3 << 2;
const NEGATIVE = 1 << 4;
const MASKED = 1 << 5;
const HIGHEST = 1 << 6;

test('strcspn: the first character out of a set', () => {
  assert.equal(compare('pcmpistri', 'xyz', 'abcydefz', EQUAL_ANY).index, 3);
  assert.equal(compare('pcmpistri', 'xyz', 'abcydefz', EQUAL_ANY | HIGHEST).index, 7);
  assert.equal(compare('pcmpistri', 'xyz', 'abc', EQUAL_ANY).index, 16);
});

test('ranges: the first character that is no digit', () => {
  assert.equal(compare('pcmpistri', '09', '2024-11', RANGES | NEGATIVE | MASKED).index, 4);
});

test('strcmp: the first difference, and equality', () => {
  assert.equal(compare('pcmpistri', 'polyvisor', 'polygon', EQUAL_EACH | NEGATIVE).index, 4);
  const equal = compare('pcmpistri', 'same', 'same', EQUAL_EACH | NEGATIVE);
  assert.equal(equal.flags, ZF | SF);
  assert.equal(equal.index, 16);
  // What is behind both strings counts as equal, and masked polarity leaves it so: the index is then the strings' end.
  assert.equal(compare('pcmpistri', 'same', 'same', EQUAL_EACH | NEGATIVE | MASKED).index, 4);
});

test('strstr: a needle, whole or cut by the end of the register', () => {
  const found = compare('pcmpistri', 'need', 'find the needle.', EQUAL_ORDERED);
  assert.equal(found.index, 9);
  assert.equal(found.flags, CF | SF);
  assert.equal(compare('pcmpistri', 'need', 'a haystack of ne', EQUAL_ORDERED).index, 14);
});

test('explicit lengths count, with either sign, up to the register', () => {
  assert.equal(compare('pcmpestrm', 'aaaa', 'aaaa', EQUAL_EACH, [2n, -3n]).mask, 0xfffb);
  const full = compare('pcmpestri', '', '', EQUAL_EACH, [1n << 40n, -(1n << 63n)]);
  assert.equal(full.flags, CF | OF);
});

test('CRC-32C of the check string', () => {
  let crc = 0xffffffff;
  for (const character of new TextEncoder().encode('123456789')) {
    view.setBigUint64(STATE + ARGUMENT, BigInt(crc), true);
    view.setBigUint64(STATE + ARGUMENT + 8, BigInt(character), true);
    view.setBigUint64(STATE + ARGUMENT + 16, 1n, true);
    stringCompareHelpers.crc32!({ view, bytes } as HelperContext);
    crc = view.getUint32(STATE + RESULT, true);
  }
  assert.equal((crc ^ 0xffffffff) >>> 0, 0xe3069283);
});
