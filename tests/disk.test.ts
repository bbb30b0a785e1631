/**
 * Disks under every hypervisor: what the guest synced is in the host's file, even if the process is killed the next moment, and
 * the next boot reads it back. An ext4 made by the host is on it, so both sides look at the same file system.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { hypervisors } from '../src/hypervisors/list.ts';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-disk-'));
after(() => rmSync(folder, { recursive: true }));

const MEBIBYTE = 2 ** 20;
const LENGTH = 64 * MEBIBYTE;
const LINE = 'written in the guest\n';
const content = Buffer.from(LINE.repeat(Math.ceil(LENGTH / LINE.length)).slice(0, LENGTH));
const digest = createHash('md5').update(content).digest('hex');

/** e2fsprogs stands in a folder that only root has in its path. */
const env = { ...process.env, PATH: `${process.env.PATH}:/sbin:/usr/sbin` };
const missing = spawnSync('mkfs.ext4', ['-V'], { env }).error
  ? 'mkfs.ext4 (Debian: e2fsprogs) is not installed'
  : false;

/** The disk has another name under every interface. */
const mount =
  'for disk in /dev/vda /dev/xvda /dev/sda; do [ -b $disk ] && break; done; mount -t ext4 $disk /mnt || exit 9';

for (const { name } of hypervisors)
  describe(`a disk under ${name}`, { skip: missing }, () => {
    const image = join(folder, `${name}.img`);
    writeFileSync(image, '');
    truncateSync(image, 128 * MEBIBYTE);
    if (!missing) execFileSync('mkfs.ext4', ['-q', '-F', image], { env });

    test('what was synced survives kill -9', { timeout: 400_000 }, async () => {
      const write = `yes '${LINE.trim()}' | head -c ${LENGTH} >/mnt/file && sync && echo synced; sleep 1000`;
      const result = await polyvisor(
        ['run', '-H', name, '--disk', image, '--timeout', '240', '--exec', `${mount}; ${write}`],
        {
          limit: 300,
          signal: { after: 'synced', name: 'SIGKILL' },
        },
      );
      assert.equal(result.stdout, 'synced\n', result.stderr);
      assert.ok(!result.expired);
      // The file system was left in the middle of things: its journal is replayed first, as a mount would.
      assert.ok(
        (spawnSync('e2fsck', ['-f', '-p', image], { env }).status ?? 8) <= 1,
        'e2fsck finds nothing it cannot mend',
      );
      const out = join(folder, `${name}.out`);
      execFileSync('debugfs', ['-R', `dump /file ${out}`, image], { env, stdio: 'pipe' });
      assert.equal(Buffer.compare(readFileSync(out), content), 0, 'the host finds the same bytes');
    });

    test('the next boot reads it back', { timeout: 400_000 }, async () => {
      const words = ['run', '-H', name, '--disk', `${image},ro`, '--timeout', '240', '--exec'];
      const readOnly = 'cat /sys/block/$(basename $disk)/ro; md5sum </mnt/file';
      const result = await polyvisor([...words, `${mount.replace('mount', 'mount -o ro,noload')}; ${readOnly}`], {
        limit: 300,
      });
      assert.equal(result.stdout, `1\n${digest}  -\n`, result.stderr);
      assert.equal(result.status, 0);
    });
  });
