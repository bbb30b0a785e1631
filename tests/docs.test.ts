/** The documents that are made from tables are those that stand in docs/. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { interfaceDocument } from '../tools/interface-document.ts';

test('docs/interface.md is what the tables say', () => {
  const text = readFileSync(new URL('../../docs/interface.md', import.meta.url), 'utf8');
  assert.equal(text, interfaceDocument(), 'npm run docs makes it anew');
});
