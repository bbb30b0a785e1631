import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { openDiskFile } from './disk-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-disk-'));
// Hooks of one file: at the top they would be every file's, since these tests share a process.
describe('disk file', () => {
  after(() => rmSync(folder, { recursive: true }));

  function image(name: string, size: number): string {
    const path = join(folder, name);
    writeFileSync(path, '');
    truncateSync(path, size);
    return path;
  }

  test('what is written is in the file and reads back', () => {
    const path = image('plain', 8192);
    const disk = openDiskFile(path);
    disk.write(512, new Uint8Array([1, 2, 3]));
    disk.flush();
    const back = new Uint8Array(4);
    disk.read(511, back);
    assert.deepEqual([...back], [0, 1, 2, 3]);
    assert.deepEqual([...readFileSync(path).subarray(511, 515)], [0, 1, 2, 3]);
    disk.close();
    disk.close();
  });

  test('nothing outside the disk is read or written', () => {
    const disk = openDiskFile(image('range', 1024));
    for (const offset of [-1, 1024, 1023.5, 2 ** 53, Number.NaN]) {
      assert.throws(() => disk.read(offset, new Uint8Array(1)), RangeError);
      assert.throws(() => disk.write(offset, new Uint8Array(1)), RangeError);
      assert.throws(() => disk.discard(offset, 1), RangeError);
    }
    assert.throws(() => disk.write(1023, new Uint8Array(2)), RangeError);
    disk.read(1024, new Uint8Array(0));
    disk.close();
  });

  test('a discarded range reads as zeros, small or large', () => {
    const size = 16 << 20;
    const path = join(folder, 'discard');
    writeFileSync(path, new Uint8Array(size).fill(0xaa));
    const disk = openDiskFile(path);
    disk.discard(1000, 24);
    disk.discard(1 << 20, 8 << 20);
    const bytes = new Uint8Array(size);
    disk.read(0, bytes);
    const expected = new Uint8Array(size).fill(0xaa);
    expected.fill(0, 1000, 1024);
    expected.fill(0, 1 << 20, 9 << 20);
    assert.equal(Buffer.compare(bytes, expected), 0);
    assert.equal(statSync(path).size, size);
    disk.close();
  });

  test('a read-only disk refuses writes', () => {
    const disk = openDiskFile(image('read-only', 1024), { readOnly: true });
    assert.throws(() => disk.write(0, new Uint8Array(1)), /read-only/);
    assert.throws(() => disk.discard(0, 512), /read-only/);
    disk.flush();
    disk.close();
  });

  test('what is no disk image is refused with what to do', () => {
    assert.throws(() => openDiskFile(image('odd', 1000)), /truncate -s 1024/);
    assert.throws(() => openDiskFile(image('empty', 0)), /empty/);
    assert.throws(() => openDiskFile(folder, { readOnly: true }), /a file or a block device/);
    assert.throws(() => openDiskFile(join(folder, 'absent')), { code: 'ENOENT' });
  });
});
