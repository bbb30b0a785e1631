/** The check of meanings against their rows' operands. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkMeaning, type Meaning } from './row.ts';
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
