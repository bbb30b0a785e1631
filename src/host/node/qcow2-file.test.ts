/** qcow2 images in files: chains and what they may name; and, where it is installed, QEMU's own word on what we have written. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createRandom } from '../../conformance/random.ts';
import { emptyImage } from '../../qcow2/testing.ts';
import type { Disk } from '../disk.ts';
import { openQcow2File } from './qcow2-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-qcow2-'));
after(() => rmSync(folder, { recursive: true }));
const SIZE = 1 << 20;
const shape = { version: 3, clusterBits: 12, size: SIZE, refcountOrder: 4 } as const;

function image(name: string, backing?: { path: string; format?: string }): string {
  const path = join(folder, name);
  writeFileSync(path, emptyImage({ ...shape, ...(backing && { backing }) }));
  return path;
}

function sector(disk: Disk, at = 0): string {
  const bytes = new Uint8Array(512);
  disk.read(at, bytes);
  return Buffer.from(bytes).toString().replace(/\0+$/, '');
}

const padded = (text: string) => Buffer.from(text.padEnd(512, '\0'));

test('images above one another: each read goes down to the one that has it', () => {
  const raw = join(folder, 'raw.img');
  writeFileSync(raw, Buffer.concat([padded('raw 0'), padded('raw 1')]));
  const middle = openQcow2File(image('middle.qcow2', { path: 'raw.img', format: 'raw' }));
  middle.write(512, padded('middle 1'));
  middle.close();
  const disk = openQcow2File(image('top.qcow2', { path: 'middle.qcow2', format: 'qcow2' }));
  disk.write(1024, padded('top 2'));
  disk.flush();
  assert.deepEqual(
    [0, 512, 1024, 1536].map(at => sector(disk, at)),
    ['raw 0', 'middle 1', 'top 2', ''],
  );
  disk.discard(0, 4096);
  assert.deepEqual(
    [0, 512, 1024].map(at => sector(disk, at)),
    ['', '', ''],
  );
  disk.close();
  assert.equal(readFileSync(raw).toString('latin1', 0, 5), 'raw 0');
});

describe('what an image may not name', () => {
  const inside = join(folder, 'inside');
  mkdirSync(inside);
  const outside = join(folder, 'secret');
  writeFileSync(outside, padded('secret'));
  symlinkSync(outside, join(inside, 'link'));
  const cases: readonly [what: string, path: string, format: string | undefined, reason: RegExp][] = [
    ['a file elsewhere', '../secret', 'raw', /elsewhere, at ".*secret": "backing=any" allows that/],
    ['a file elsewhere, by its whole name', outside, 'raw', /elsewhere/],
    ['a file elsewhere, by a link', 'link', 'raw', /elsewhere/],
    ['a file that is not there', 'nothing', 'raw', /cannot be read: ENOENT/],
    ['something that is no file', 'nbd://localhost/x', 'raw', /"nbd:\/\/localhost\/x", which is no file's name/],
    ['QEMU’s own language', 'json:{"driver":"file"}', 'raw', /no file's name/],
    ['a file without its format', 'a.qcow2', undefined, /does not say what kind of image/],
    ['another format', 'a.qcow2', 'vmdk', /the format "vmdk"/],
    ['itself', 'a.qcow2', 'qcow2', /is above itself/],
  ];
  for (const [what, path, format, reason] of cases)
    test(what, () => {
      const top = image('inside/a.qcow2', { path, ...(format !== undefined && { format }) });
      assert.throws(() => openQcow2File(top), reason);
      // It is closed again: the lock is gone.
      writeFileSync(top, emptyImage(shape));
      openQcow2File(top).close();
    });
  test('but for those who say so', () => {
    const disk = openQcow2File(image('inside/a.qcow2', { path: '../secret', format: 'raw' }), {
      backingAnywhere: true,
    });
    assert.equal(sector(disk), 'secret');
    disk.close();
  });
});

test('an image is locked, and one that is only read is not written to', () => {
  const path = image('locked.qcow2');
  const disk = openQcow2File(path);
  assert.throws(() => openQcow2File(path), /in use/);
  disk.close();
  const reader = openQcow2File(path, { readOnly: true });
  assert.throws(() => reader.write(0, new Uint8Array(512)), /read-only/);
  reader.close();
});

const qemu = spawnSync('qemu-img', ['--version']).error ? 'qemu-img (Debian: qemu-utils) is not installed' : false;
const run = (...words: string[]) => execFileSync('qemu-img', words, { cwd: folder, encoding: 'utf8' });

describe("QEMU's tool agrees", { skip: qemu }, () => {
  const kinds: readonly (readonly string[])[] = [
    ['compat=1.1'],
    ['compat=0.10'],
    ['cluster_size=512'],
    ['cluster_size=2M'],
    ['refcount_bits=1'],
    ['refcount_bits=64', 'cluster_size=4k'],
    ['lazy_refcounts=on'],
    ['preallocation=metadata'],
  ];
  for (const options of kinds)
    for (const snapshots of [false, true])
      test(`${options.join()}${snapshots ? ', with snapshots in it' : ''}`, t => {
        const size = 8 << 20;
        const random = createRandom(7n);
        const base = Buffer.alloc(size / 2, 'under ');
        writeFileSync(join(folder, 'base.img'), base);
        const above = options[0] === 'preallocation=metadata' || snapshots ? [] : ['-b', 'base.img', '-F', 'raw'];
        run('create', '-q', '-f', 'qcow2', ...above, '-o', options.join(), 'q.qcow2', `${size}`);
        const model = Buffer.alloc(size);
        if (above.length > 0) base.copy(model);
        for (let round = 0; round < 3; round++) {
          if (snapshots && round > 0) {
            const taken = spawnSync('qemu-img', ['snapshot', '-c', `s${round}`, 'q.qcow2'], { cwd: folder });
            if (taken.status !== 0) return t.skip('an image of this kind takes no snapshots');
          }
          const disk = openQcow2File(join(folder, 'q.qcow2'));
          for (let step = 0; step < 40; step++) {
            const length = 512 * (1 + random.below(random.of([4, 300])));
            const offset = 512 * random.below((size - length) / 512);
            if (random.below(4) === 0) {
              disk.discard(offset, length);
              model.fill(0, offset, offset + length);
            } else {
              const data = Buffer.alloc(length, `${round} ${step} `);
              disk.write(offset, data);
              data.copy(model, offset);
            }
          }
          disk.close();
          assert.match(run('check', 'q.qcow2'), /No errors were found/);
        }
        run('convert', '-O', 'raw', 'q.qcow2', 'q.raw');
        assert.ok(readFileSync(join(folder, 'q.raw')).equals(model));
        if (snapshots) {
          run('snapshot', '-d', 's1', 'q.qcow2');
          assert.match(run('check', 'q.qcow2'), /No errors were found/);
        }
      });

  test('compressed clusters', () => {
    const text = Buffer.from('what can be packed\n'.repeat(60_000)).subarray(0, 1 << 20);
    writeFileSync(join(folder, 'text.raw'), text);
    run('convert', '-q', '-c', '-O', 'qcow2', 'text.raw', 'packed.qcow2');
    const disk = openQcow2File(join(folder, 'packed.qcow2'));
    const bytes = new Uint8Array(disk.size);
    disk.read(0, bytes);
    assert.ok(Buffer.from(bytes).equals(text));
    disk.write(100 * 512, padded('plain'));
    disk.discard(1 << 18, 1 << 17);
    disk.close();
    assert.match(run('check', 'packed.qcow2'), /No errors were found/);
    run('convert', '-q', '-c', '-o', 'compression_type=zstd', '-O', 'qcow2', 'text.raw', 'zstd.qcow2');
    assert.throws(() => openQcow2File(join(folder, 'zstd.qcow2')), /compressed by Zstandard/);
  });
});
