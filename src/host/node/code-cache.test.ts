/** A program starts from compiled code where there is some that is its own, and without where there is none. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';

describe('the cache of compiled code', () => {
  let folder: string;
  let cache: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
    cache = join(folder, 'cache');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** What a program of one function says, in a process of its own. */
  function start(says: string, version: string, options: readonly string[] = []): string {
    // As a program does: what V8 compares with itself is not the same at the end of a run.
    const flags = `require('node:v8').setFlagsFromString('--expose-gc');`;
    const program = `async () => ({ say: async () => (await importModule('node:path')).sep + ${JSON.stringify(says)} + __filename })`;
    writeFileSync(join(folder, 'programs.cjs'), `${flags} exports.programs = new Map([['talker', ${program}]]);`);
    const starter = JSON.stringify(new URL('./code-cache.js', import.meta.url).href);
    const text = `const { startProgram, keepCode } = await import(${starter});
      const { say } = await startProgram(${JSON.stringify(folder)}, 'talker', '${version}');
      process.stdout.write(await say());
      keepCode();`;
    const environment = { ...process.env, POLYVISOR_CACHE: cache };
    const words = [...options, '--input-type=module', '--eval', text];
    const { stdout, stderr } = spawnSync(process.execPath, words, { env: environment, encoding: 'utf8' });
    assert.equal(stderr, '');
    return stdout;
  }
  const kept = (version: string) => {
    const shelf = join(cache, 'code', version);
    return readdirSync(shelf).map(name => join(shelf, name));
  };
  const said = (text: string) => `/${text}${join(folder, 'programs.cjs')}`;

  test('is made at the end of the first run and used by the next', () => {
    assert.equal(start('one', 'v1'), said('one'));
    const [file] = kept('v1');
    const content = readFileSync(file!);
    assert.equal(start('one', 'v1'), said('one'));
    assert.deepEqual(kept('v1'), [file]);
    // Where it is refused, nothing is left of it.
    assert.deepEqual(readFileSync(file!), content);
  });

  test("another version's is not taken, though V8 looks at a source's length alone", () => {
    assert.equal(start('one', 'v1'), said('one'));
    assert.equal(start('two', 'v2'), said('two'));
    assert.equal(start('one', 'v1'), said('one'));
  });

  test('what was damaged is made again', () => {
    start('one', 'v1');
    const [file] = kept('v1');
    const content = readFileSync(file!);
    for (const change of [(bytes: Buffer) => bytes.subarray(0, 100), (bytes: Buffer) => bytes.fill(7, 200, 210)]) {
      const damaged = change(Buffer.from(content));
      writeFileSync(file!, damaged);
      assert.equal(start('one', 'v1'), said('one'));
      const made = readFileSync(file!);
      assert.notDeepEqual(made, damaged);
      assert.equal(start('one', 'v1'), said('one'));
      assert.deepEqual(readFileSync(file!), made, 'it is taken');
    }
  });

  test('a process with other options of V8 has its own', () => {
    start('one', 'v1');
    assert.equal(start('one', 'v1', ['--no-opt']), said('one'));
    assert.equal(kept('v1').length, 2);
  });

  test('a cache that cannot be written does without', () => {
    writeFileSync(cache, '');
    assert.equal(start('one', 'v1'), said('one'));
  });

  test('what has not been used for longest goes', () => {
    for (const [index, version] of ['v1', 'v2', 'v3'].entries()) {
      start('one', version);
      const shelf = join(cache, 'code', version);
      utimesSync(shelf, index, index);
    }
    assert.deepEqual(readdirSync(join(cache, 'code')).sort(), ['v2', 'v3']);
    assert.equal(statSync(join(cache, 'code')).mode & 0o77, 0);
  });
});
