/** The check of meanings against their rows' operands; which rows there are beside vectors, and VEX. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { offered } from '../cpuid.ts';
import { type CodeSize, decode, Instruction } from '../decode.ts';
import { checkMeaning, type Feature, type Meaning } from './row.ts';
import { rows } from './table.ts';

test('a meaning may not take operands that its row does not have', () => {
  const binary: Meaning = (_b, dst, src) => dst.set(src.get());
  const row = { name: 'mov', opcode: 0x89, meaning: binary };
  assert.equal(checkMeaning({ ...row, operands: 'Ev,Gv' }).meaning, binary);
  assert.equal(checkMeaning({ ...row, operands: 'Ev,Gv,Ib' }).meaning, binary);
  assert.throws(() => checkMeaning({ ...row, operands: 'Ev' }), /mov takes 2 operands, its row has 1: "Ev"/);
  assert.throws(() => checkMeaning({ ...row, operands: '' }), /mov takes 2 operands, its row has 0/);
  for (const each of rows) checkMeaning(each);
});

test('what CPUID says of bits and bytes in general registers is whole', () => {
  const mnemonics: Partial<Record<Feature, string>> = {
    bmi1: 'andn bextr blsi blsmsk blsr tzcnt',
    bmi2: 'bzhi mulx pdep pext rorx sarx shlx shrx',
    lzcnt: 'lzcnt',
    movbe: 'movbe movbe',
  };
  for (const [feature, names] of Object.entries(mnemonics)) {
    assert.ok(offered.has(feature as Feature), feature);
    const found = rows.filter(row => row.feature === feature).map(({ name }) => name);
    assert.deepEqual(found.sort(), names.split(' '), feature);
  }
});

test('VEX takes no prefix that it replaces, its L, and vvvv where the row has a register there', () => {
  const lengthOf = (code: CodeSize, ...bytes: number[]) =>
    decode(Uint8Array.from(bytes), 0, bytes.length, code, new Instruction());
  const andn = [0xc4, 0xe2, 0x60, 0xf2, 0xc8]; // ANDN ECX, EBX, EAX
  const rorx = [0xc4, 0xe3, 0x7b, 0xf0, 0xc8, 7]; // RORX ECX, EAX, 7
  for (const code of [16, 32, 64] as const) {
    assert.equal(lengthOf(code, ...andn), 5);
    assert.equal(lengthOf(code, ...rorx), 6);
    for (const prefix of [0x66, 0xf2, 0xf3, 0xf0]) assert.equal(lengthOf(code, prefix, ...andn), 'undefined');
    assert.equal(lengthOf(code, 0xc4, 0xe2, 0x64, 0xf2, 0xc8), 'undefined', 'L');
    assert.equal(lengthOf(code, 0xc4, 0xe3, 0x73, 0xf0, 0xc8, 7), 'undefined', 'vvvv');
    assert.equal(lengthOf(code, 0xc4, 0xe0, 0x60, 0xf2, 0xc8), 'undefined', 'a map that is not there');
    for (let length = 1; length < andn.length; length++)
      assert.equal(lengthOf(code, ...andn.slice(0, length)), 'short');
  }
  assert.equal(lengthOf(64, 0x48, ...andn), 'undefined', 'REX');
  assert.equal(lengthOf(32, 0xc4, 0x01), 2, 'LES EAX, [ECX]');
  assert.equal(lengthOf(32, 0xc5, 0x01), 2, 'LDS EAX, [ECX]');
});
