import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createArtifactCache } from './artifact-cache.ts';
import { distrust } from './cache.ts';

describe('the cache of artifacts', () => {
  let folder: string;
  let cache: string;
  let code: string;
  const data = Uint8Array.of(1, 2, 3, 250);
  const write = (text: string) => writeFileSync(join(code, `table${extname(fileURLToPath(import.meta.url))}`), text);
  const open = () => createArtifactCache(cache, [code]);
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
    cache = join(folder, 'cache');
    code = join(folder, 'code');
    mkdirSync(code);
    write('one');
  });
  afterEach(() => rmSync(folder, { recursive: true }));
  const versions = () => readdirSync(join(cache, 'engine'));

  test('gives back what was saved, to another process as well', () => {
    assert.equal(open().load('a'), undefined);
    open().save('a', data);
    assert.deepEqual(open().load('a'), data);
    assert.equal(open().load('b'), undefined);
    assert.deepEqual(readdirSync(join(cache, 'engine', versions()[0]!)), ['a']);
  });

  test('keeps what is made piece by piece, and opens it: damage shows when all of it is read', async () => {
    const files = open();
    assert.equal(files.open('a'), undefined);
    async function* parts() {
      for (const byte of data) yield Uint8Array.of(byte);
    }
    await files.saveParts('a', parts());
    assert.deepEqual(files.load('a'), data);
    const artifact = files.open('a')!;
    const { descriptor, start, size } = artifact;
    const read = new Uint8Array(size);
    assert.equal(readSync(descriptor, read, 0, size, start), data.length);
    assert.deepEqual([read, artifact.isSound()], [data, true]);
    const file = join(cache, 'engine', versions()[0]!, 'a');
    const whole = readFileSync(file);
    for (const damaged of [whole.subarray(0, whole.length - 1), whole.subarray(0, 3), whole.map(byte => byte ^ 1)]) {
      writeFileSync(file, damaged);
      assert.equal(artifact.isSound(), false);
    }
    artifact.close();
  });

  test('knows nothing of what other code has made', () => {
    open().save('a', data);
    write('two');
    assert.equal(open().load('a'), undefined);
    write('one');
    assert.deepEqual(open().load('a'), data);
  });

  test('takes no file that is not what was written', () => {
    open().save('a', data);
    const file = join(cache, 'engine', versions()[0]!, 'a');
    const whole = readFileSync(file);
    for (const damaged of [whole.subarray(0, whole.length - 1), whole.subarray(0, 3), whole.map(byte => byte ^ 1)]) {
      writeFileSync(file, damaged);
      assert.equal(open().load('a'), undefined);
    }
  });

  test('forgets the versions of the code that were used longest ago', () => {
    for (let version = 0; version < 6; version++) {
      write(`version ${version}`);
      const before = existsSync(cache) ? versions() : [];
      open().save('a', data);
      const made = versions().find(name => !before.includes(name))!;
      utimesSync(join(cache, 'engine', made), version, version);
    }
    assert.equal(versions().length, 4);
    assert.deepEqual(open().load('a'), data);
  });

  test('forgets the files that were used longest ago', () => {
    const files = () => readdirSync(join(cache, 'engine', versions()[0]!));
    for (let number = 0; number < 40; number++) {
      open().save(`file ${number}`, data);
      for (const name of files()) utimesSync(join(cache, 'engine', versions()[0]!, name), 1, 1 + Number(name.slice(5)));
      assert.deepEqual(open().load('file 0'), data, 'it has just been used');
    }
    assert.equal(files().length, 24);
    assert.ok(files().includes('file 39') && !files().includes('file 1'), files().join());
  });

  test('a folder that others may write to is neither read nor written; one that they may only read becomes ours alone', () => {
    open().save('a', data);
    chmodSync(cache, 0o755);
    assert.deepEqual(open().load('a'), data);
    assert.equal(statSync(cache).mode & 0o777, 0o700);
    chmodSync(cache, 0o770);
    assert.equal(open().load('a'), undefined);
    open().save('b', data);
    assert.deepEqual(readdirSync(join(cache, 'engine', versions()[0]!)), ['a']);
    assert.match(distrust(cache)!, /others may write/);
  });

  test('a folder below one where everybody may rename is not used, unless only owners may', () => {
    open().save('a', data);
    chmodSync(folder, 0o777);
    assert.match(distrust(cache)!, /everybody may rename/);
    assert.equal(open().load('a'), undefined);
    chmodSync(folder, 0o1777);
    assert.deepEqual(open().load('a'), data);
  });

  test("somebody else's folder is not used", {
    skip: process.getuid?.() !== 0 && 'only root gives folders away',
  }, () => {
    open().save('a', data);
    chownSync(cache, 12345, 12345);
    assert.match(distrust(cache)!, /belongs to the user with number 12345/);
    assert.equal(open().load('a'), undefined);
  });

  test('nothing half-written stays where a file cannot be published', () => {
    open().save('a', data);
    const place = join(cache, 'engine', versions()[0]!);
    mkdirSync(join(place, 'b')); // Nothing can be renamed onto a folder.
    open().save('b', data);
    assert.deepEqual(readdirSync(place).sort(), ['a', 'b']);
  });

  test('does without a folder that cannot be written to', () => {
    writeFileSync(cache, 'a file');
    open().save('a', data);
    assert.equal(open().load('a'), undefined);
  });
});
