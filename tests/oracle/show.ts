/** Prints stored cases in words: `node dist/tests/oracle/show.js WORD [COUNT]` for the rows whose key contains WORD. */
import { rows } from '../../src/engine/x86/instructions/table.ts';
import { disassemble } from './disassemble.ts';
import { differences } from './image-text.ts';
import { createImage, makeInitial } from './initial.ts';
import { advance, applyChanges, RETIRED, readVectors, rowKey, seedOf } from './vectors.ts';

const [word = '', count = '5'] = process.argv.slice(2);
const byKey = new Map(rows.map(row => [rowKey(row), row]));
for (const [key, cases] of readVectors()) {
  if (!key.includes(word)) continue;
  console.log(`${key}: ${cases.length} cases`);
  for (const test of cases.slice(0, Number(count))) {
    const { bytes, view } = createImage();
    makeInitial(bytes, view, test.mode, seedOf(key, test.mode, test.serial), byKey.get(key));
    const before = bytes.slice();
    if (test.vector === RETIRED) advance(view, test.mode, test.code.length);
    const advanced = bytes.slice();
    applyChanges(bytes, test.changes);
    const fault =
      test.vector === RETIRED
        ? ''
        : `  exception ${test.vector} (${test.errorCode.toString(16)}) ${test.cr2.toString(16)}`;
    console.log(`  ${test.mode}-bit  ${disassemble(test.code, test.mode)}${fault}`);
    for (const d of differences(before, bytes, advanced)) console.log(`      ${d.field}: ${d.before} -> ${d.expected}`);
  }
}
