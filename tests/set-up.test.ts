/** When a clone is compiled anew: not while a package is made of it, which puts files into the examples' folders. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { root } from './command.ts';

const clone = mkdtempSync(join(tmpdir(), 'polyvisor-set-up-'));
after(() => rmSync(clone, { recursive: true }));

const FILES = [
  'tsconfig.json',
  'package-lock.json',
  'src/a.ts',
  'examples/acme/b.ts',
  'node_modules/.package-lock.json',
];
const BUILT = ['dist/src/cli/main.js', 'dist/.tsbuildinfo', 'dist/bundle/main.cjs'];
for (const name of [...FILES, ...BUILT]) {
  mkdirSync(dirname(join(clone, name)), { recursive: true });
  writeFileSync(join(clone, name), '');
}

const setAge = (name: string, seconds: number) =>
  utimesSync(join(clone, name), Date.now() / 1000 - seconds, Date.now() / 1000 - seconds);
for (const name of [...FILES, 'src', 'examples', 'examples/acme']) setAge(name, 100);
for (const name of BUILT) setAge(name, 50);

/** What the set-up says; it cannot compile here, for there is no compiler. */
function said(): string {
  const program = `require(${JSON.stringify(join(root, 'bin/set-up.cjs'))}).setUp(${JSON.stringify(clone)})`;
  return spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' }).stderr;
}

test('a source that is new, changed or gone is compiled; what packing puts beside the examples is none', () => {
  assert.equal(said(), '');
  setAge('examples/acme', 0);
  setAge('examples', 0);
  assert.equal(said(), '');
  for (const name of ['examples/acme/b.ts', 'src/a.ts', 'src']) {
    setAge(name, 0);
    assert.match(said(), /compiling/, name);
    setAge(name, 100);
  }
  assert.equal(said(), '');
});
