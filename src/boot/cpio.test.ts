import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CpioEntry, readCpio, S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG, writeCpio } from './cpio.ts';
import { joinArchives } from './exec-protocol.ts';
import { ImageError } from './image-error.ts';
import { randomNumbers, text } from './testing.ts';

const ENTRIES: CpioEntry[] = [
  { name: 'dev', mode: S_IFDIR | 0o755 },
  { name: 'dev/console', mode: S_IFCHR | 0o600, device: [5, 1] },
  { name: 'bin/sh', mode: S_IFLNK | 0o777, data: 'busybox' },
  { name: 'empty', mode: S_IFREG | 0o644, data: new Uint8Array() },
  { name: 'größe', mode: S_IFREG | 0o644, data: text('ümlaut') },
  ...[1, 2, 3, 4, 5].map(length => ({
    name: 'x'.repeat(length),
    mode: S_IFREG | 0o600,
    data: new Uint8Array(length).fill(length),
  })),
];

const normal = (entry: CpioEntry) => ({
  ...entry,
  data: typeof entry.data === 'string' ? text(entry.data) : (entry.data ?? new Uint8Array()),
});

test('what is written is read back', () => {
  const archive = writeCpio(ENTRIES);
  assert.equal(archive.length % 512, 0);
  assert.deepEqual(readCpio(archive).map(normal), ENTRIES.map(normal));
});

test('the header is the one the kernel reads', () => {
  const header = new TextDecoder().decode(
    writeCpio([{ name: 'a', mode: S_IFREG | 0o644, data: text('hello') }]).subarray(0, 117),
  );
  // magic, inode, mode, uid, gid, nlink, mtime, size, 4 × device, name's length, checksum, name, padding, data
  const fields = ['00000001', '000081a4', '00000000', '00000000', '00000001', '00000000', '00000005'];
  assert.equal(header, `070701${fields.join('')}${'00000000'.repeat(4)}0000000200000000a\0hello`);
});

test('the same entries give the same bytes', () => {
  assert.deepEqual(writeCpio(ENTRIES), writeCpio(ENTRIES));
});

test('archives in a row are read as one', () => {
  const joined = joinArchives(writeCpio(ENTRIES), writeCpio([{ name: 'more', mode: S_IFREG, data: text('1') }]));
  assert.deepEqual(
    readCpio(joined).map(({ name }) => name),
    [...ENTRIES.map(({ name }) => name), 'more'],
  );
});

test('damaged archives are errors', () => {
  const archive = writeCpio(ENTRIES);
  assert.throws(() => readCpio(archive.subarray(0, 200)), ImageError);
  assert.throws(() => readCpio(text('not a cpio archive at all')), ImageError);
  const random = randomNumbers(3);
  for (let round = 0; round < 2000; round++) {
    const damaged = archive.slice(0, 1 + random(archive.length));
    for (let flips = 0; flips < 3; flips++) damaged[random(damaged.length)] = random(256);
    try {
      readCpio(damaged);
    } catch (error) {
      assert.ok(error instanceof ImageError, `${error instanceof Error ? error.stack : error}`);
    }
  }
});
