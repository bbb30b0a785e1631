/**
 * npm test: every test. Those beside the sources share a few processes, since most take less time than a process needs to start; those
 * in tests/ get a process each. Words on the command line choose the files whose path contains one of them: npm test -- kvm conformance
 *
 * A file that fails beside others is run once more, by itself: a real guest may starve on a machine that is busy with other
 * things. It is named before the closing lines, passed or not.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const compiled = fileURLToPath(new URL('..', import.meta.url));

/** A test file's limit, in milliseconds: a machine that hangs is a failure, not a wait. */
const LIMIT = 10 * 60_000;
/** The tests beside the sources are so many files: one would come near its limit on a busy machine. */
const UNIT_PARTS = 3;
/** With more files failing, it is not for want of processor time. */
const MOST_AGAIN = 4;
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
for (let part = UNIT_PARTS; part >= 1; part--) {
  const mine = units.filter((_, index) => index % UNIT_PARTS === part - 1);
  if (mine.length === 0) continue;
  const name = `unit-tests-${part}.mjs`;
  writeFileSync(join(compiled, name), mine.map(file => `import './${file}';\n`).join(''));
  files.unshift(name);
}
if (files.length === 0) {
  process.stderr.write(`no test file's path contains ${words.map(word => `"${word}"`).join(' or ')}\n`);
  process.exit(1);
}

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-tests-'));
const list = join(folder, 'failed');
const reporter = new URL('reporter.js', import.meta.url).href;

/** @returns the exit status, and the files in which a test failed */
function run(names: readonly string[], atOnce: number): { status: number; failed: string[] } {
  writeFileSync(list, '');
  const options = ['--test', `--test-timeout=${LIMIT}`, `--test-concurrency=${atOnce}`, `--test-reporter=${reporter}`];
  const env = { ...process.env, POLYVISOR_FAILED_FILES: list };
  const { status } = spawnSync(process.execPath, [...options, ...names], { cwd: compiled, stdio: 'inherit', env });
  const failed = readFileSync(list, 'utf8').split('\n').filter(Boolean);
  return { status: status ?? 1, failed };
}

let { status, failed } = run(files, 2);
if (status !== 0 && failed.length > 0 && failed.length <= MOST_AGAIN) {
  process.stdout.write(`# failed beside others, and once more by itself: ${failed.join(' ')}\n`);
  ({ status } = run(failed, 1));
}
rmSync(folder, { recursive: true });
process.exit(status);
