/** PCMPxSTRx on the uses it was made for, and CRC-32C's check value. Random cases are in the vectors from a real processor. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Body, Module } from '../../wasm/module.ts';
import { crc32Body, writeCrcTables } from './crc32.ts';
import { compareStringsBody, FIRST_ENDS, IMPLICIT, SECOND_ENDS } from './string-compare.ts';

const memory = new WebAssembly.Memory({ initial: 1 });
const bytes = new Uint8Array(memory.buffer);
writeCrcTables(new DataView(memory.buffer));

/** The functions, with strings taken from the memory's first 32 bytes. */
function instantiate() {
  const module = new Module(1);
  const compareStrings = module.function(compareStringsBody());
  module.function(crc32Body(), 'crc32');
  const caller = new Body(['i32', 'i32', 'i32'], ['i32']);
  for (const at of [0, 16]) {
    caller.i32(at);
    caller.memory('v128.load', 0);
  }
  for (const parameter of [0, 1, 2]) caller.get(parameter);
  caller.call(compareStrings);
  module.function(caller, 'compare');
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.encode()), { env: { memory } });
  return exports as {
    compare(immediate: number, first: number, second: number): number;
    crc32(crc: number, source: bigint, size: number): number;
  };
}
const functions = instantiate();

function compare(first: string, second: string, immediate: number, lengths = [IMPLICIT, IMPLICIT]) {
  for (const [i, text] of [first, second].entries()) {
    bytes.fill(0, 16 * i, 16 * i + 16);
    bytes.set(new TextEncoder().encode(text), 16 * i);
  }
  const answer = functions.compare(immediate, lengths[0]!, lengths[1]!);
  const bits = answer & 0xffff;
  return { bits, index: bits ? Math.log2(bits & -bits) : 16, ends: answer >>> 16 };
}
const FIRST = 1 << (FIRST_ENDS - 16);
const SECOND = 1 << (SECOND_ENDS - 16);

const EQUAL_ANY = 0 << 2;
const RANGES = 1 << 2;
const EQUAL_EACH = 2 << 2;
const EQUAL_ORDERED = 3 << 2;
const NEGATIVE = 1 << 4;
const MASKED = 1 << 5;

test('strcspn: the first character out of a set', () => {
  assert.equal(compare('xyz', 'abcydefz', EQUAL_ANY).bits, (1 << 3) | (1 << 7));
  assert.equal(compare('xyz', 'abc', EQUAL_ANY).index, 16);
});

test('ranges: the first character that is no digit', () => {
  assert.equal(compare('09', '2024-11', RANGES | NEGATIVE | MASKED).index, 4);
});

test('strcmp: the first difference, and equality', () => {
  assert.equal(compare('polyvisor', 'polygon', EQUAL_EACH | NEGATIVE).index, 4);
  const equal = compare('same', 'same', EQUAL_EACH | NEGATIVE);
  assert.equal(equal.ends, FIRST | SECOND);
  assert.equal(equal.index, 16);
  // What is behind both strings counts as equal, and masked polarity leaves it so: the index is then the strings' end.
  assert.equal(compare('same', 'same', EQUAL_EACH | NEGATIVE | MASKED).index, 4);
});

test('strstr: a needle, whole or cut by the end of the register', () => {
  const found = compare('need', 'find the needle.', EQUAL_ORDERED);
  assert.equal(found.index, 9);
  assert.equal(found.ends, FIRST);
  assert.equal(compare('need', 'a haystack of ne', EQUAL_ORDERED).index, 14);
});

test('explicit lengths count', () => {
  assert.equal(compare('aaaa', 'aaaa', EQUAL_EACH, [2, 3]).bits, 0xfffb);
  const full = compare('', '', EQUAL_EACH, [16, 16]);
  assert.deepEqual(full, { bits: 0xffff, index: 0, ends: 0 });
});

test('CRC-32C of the check string, in steps of every size', () => {
  const text = new TextEncoder().encode('123456789');
  for (const sizes of [
    [1, 1, 1, 1, 1, 1, 1, 1, 1],
    [8, 1],
    [1, 8],
    [4, 4, 1],
    [2, 2, 4, 1],
  ]) {
    let crc = -1;
    let at = 0;
    for (const size of sizes) {
      const part = text.slice(at, at + size).reduceRight((all, byte) => (all << 8n) | BigInt(byte), 0n);
      crc = functions.crc32(crc, part, size);
      at += size;
    }
    assert.equal((crc ^ -1) >>> 0, 0xe3069283, `${sizes}`);
  }
});
