/**
 * npm test: every test. Those beside the sources run in one process, one after the other, since most take less time than a
 * process needs to start; those in tests/ get a process each. Words on the command line choose the files whose path contains
 * one of them: npm test -- kvm conformance
 */
import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const compiled = fileURLToPath(new URL('..', import.meta.url));

/** A test file's limit, in milliseconds: a machine that hangs is a failure, not a wait. */
const LIMIT = 10 * 60_000;
const words = process.argv.slice(2);

/** The compiled test files of `folder` whose source still stands there, as paths below dist/. */
function testsOf(folder: string): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const name = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...testsOf(name));
    else if (name.endsWith('.test.ts')) found.push(name.replace(/ts$/, 'js'));
  }
  return found.sort().filter(file => words.length === 0 || words.some(word => file.includes(word)));
}

const units = testsOf('src');
const files = testsOf('tests');
if (units.length > 0) {
  const all = 'all-unit-tests.mjs';
  writeFileSync(join(compiled, all), units.map(file => `import './${file}';\n`).join(''));
  files.unshift(all);
}
if (files.length === 0) {
  process.stderr.write(`no test file's path contains ${words.map(word => `"${word}"`).join(' or ')}\n`);
  process.exit(1);
}

const options = ['--test', `--test-timeout=${LIMIT}`, '--test-concurrency=2'];
const result = spawnSync(process.execPath, [...options, ...files], { cwd: compiled, stdio: 'inherit' });
process.exit(result.status ?? 1);
