/** The devices of a VMBus, met by Debian's kernel: a disk that is written to, a network, and what drives them. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { polyvisor } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-vmbus-'));
after(() => rmSync(folder, { recursive: true }));

test('hv_storvsc and hv_netvsc drive a disk and a network card', { timeout: 300_000 }, async () => {
  const image = join(folder, 'disk.img');
  writeFileSync(image, '');
  truncateSync(image, 4 << 20);
  const script = [
    'basename $(readlink /sys/class/net/eth0/device/driver)',
    'basename $(readlink /sys/block/sda/device/../../../driver)',
    'printf "written in the guest" | dd of=/dev/sda bs=512 seek=100 conv=notrunc,fsync 2>/dev/null',
    'ping -c 1 10.0.2.2 >/dev/null && echo the gateway answers',
    'cat /sys/class/net/eth0/statistics/rx_errors',
  ].join('; ');
  const words = ['run', '-H', 'hyperv', '--net', 'user', '--disk', image, '--timeout', '240', '--exec', script];
  const { stdout, stderr, status } = await polyvisor(words, { limit: 280 });
  assert.equal(stdout, 'hv_netvsc\nhv_storvsc\nthe gateway answers\n0\n', stderr);
  assert.equal(status, 0);
  assert.match(readFileSync(image).subarray(51_200, 51_300).toString('latin1'), /^written in the guest/);
});
