/**
 * Debian's default kernel under every hypervisor of the list but relatives of others, and its repetition. What takes too long to be done
 * every time is asked for: GUEST_CPUS=1,2,4 are the numbers of processors (1), GUEST_HYPERVISORS=kvm,xen-on-kvm the hypervisors, relatives
 * included.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hypervisors } from '../src/hypervisors/list.ts';
import { polyvisor } from './command.ts';
import { examineGuest } from './in-guest-list.ts';

const numbers = process.env.GUEST_CPUS?.split(',').map(Number) ?? [1];
const chosen = process.env.GUEST_HYPERVISORS?.split(',');

for (const { name } of hypervisors.filter(({ isRelative, name }) => chosen?.includes(name) ?? !isRelative))
  for (const cpus of numbers)
    examineGuest({ hypervisor: name, architecture: 'amd64', release: /^\d+\.\d+\.\d+-\d+-cloud-amd64$/, cpus });

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
