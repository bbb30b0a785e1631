/** Debian's default kernel under every hypervisor of the list but relatives of others, and its repetition. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hypervisors } from '../src/hypervisors/list.ts';
import { polyvisor } from './command.ts';
import { examineGuest } from './in-guest-list.ts';

for (const { name } of hypervisors.filter(({ isRelative }) => !isRelative))
  examineGuest({ hypervisor: name, architecture: 'amd64', release: /^\d+\.\d+\.\d+-\d+-cloud-amd64$/ });

test('two runs on the virtual clock print the same', { timeout: 400_000 }, async () => {
  const words = [
    'run',
    '--clock',
    'virtual',
    '--timeout',
    '180',
    '-v',
    '--exec',
    'dmesg; cat /proc/uptime /proc/interrupts; date',
  ];
  const [first, second] = [await polyvisor(words), await polyvisor(words)];
  assert.equal(first.status, 0, first.stderr);
  assert.equal(second.stdout, first.stdout);
  assert.equal(second.stderr, first.stderr);
});
