/**
 * What is compiled without the types of Node.js and of the DOM knows neither: everything but host/node, cli/ and tests. The page is
 * compiled with the DOM's and without Node's.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { root } from './sources.ts';

/** @returns what the compiler says; '' if nothing */
function compile(project: string): string {
  try {
    return execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', project], {
      encoding: 'utf8',
      cwd: root,
    });
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

test("shared code needs neither Node.js's types nor the DOM's", () => {
  assert.equal(compile('tsconfig.portable.json'), '');
});

test('the page compiles with what a browser has', () => {
  assert.equal(compile('web'), '');
});

test('these tests would notice what they forbid', () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-types-'));
  try {
    writeFileSync(join(folder, 'a.ts'), 'export const a = [process, document, Buffer, setImmediate, fetch];\n');
    const project = {
      extends: join(root, 'tsconfig.portable.json'),
      compilerOptions: { rootDir: '/', outDir: folder },
      include: ['a.ts', join(root, 'types/portable.d.ts')],
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(project));
    const said = compile(folder);
    for (const name of ['process', 'document', 'Buffer', 'setImmediate', 'fetch']) assert.match(said, RegExp(name));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
