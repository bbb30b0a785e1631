/** The documents that are made from tables are those that stand in docs/. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { operations } from '../src/paravirt/operations.ts';
import { assemblyScriptDeclarations, cHeader, hypervisorGuide } from '../tools/binary-interface.ts';
import { interfaceDocument } from '../tools/interface-document.ts';
import { kitHeader } from '../tools/kit-header.ts';
import { threadsProgram } from '../tools/threads-program.ts';

const MADE: Readonly<Record<string, () => string>> = {
  'docs/interface.md': interfaceDocument,
  'docs/write-a-hypervisor.md': hypervisorGuide,
  'docs/polyvisor_1.h': cHeader,
  'kit/include/interface.h': kitHeader,
  'examples/acme-binary/polyvisor_1.ts': assemblyScriptDeclarations,
  'src/matrix/threads-program.ts': threadsProgram,
};

for (const [file, make] of Object.entries(MADE))
  test(`${file} is what the tables say`, () => {
    const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
    assert.equal(text, make(), 'npm run docs makes it anew');
  });

test("every op has its comment in the guide's table", () => {
  const rows = hypervisorGuide().match(/^\| `\w+\.\w+` \|.*$/gm) ?? [];
  const ops = Object.values(operations).flatMap(group => Object.keys(group));
  assert.equal(rows.length, ops.length);
  for (const row of rows) assert.match(row, /\| [A-Z][^|]{20,} \|$/);
});
