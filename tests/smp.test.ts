/** Debian's kernel on several processors: it brings them all up, says nothing bad of them, and does so again. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { ensureGuest } from '../src/host/node/index.ts';
import { createMachine } from '../src/index.ts';
import { polyvisor } from './command.ts';

/** What a kernel says when processors, or their clocks, do not do what it expects. */
const COMPLAINTS =
  /warp|unsynchronized|TSC unstable|soft lockup|hard LOCKUP|rcu.*stall|Call Trace|BUG:|WARNING:|Firmware Bug|APIC ID mismatch|do_boot_cpu failed/i;

async function boot(words: readonly string[], command: string) {
  const result = await polyvisor(['run', '--clock', 'virtual', '--timeout', '150', ...words, '--exec', command]);
  assert.equal(result.status, 0, result.stderr + result.stdout);
  return result.stdout;
}

test('bare, four processors: all are there, and the kernel complains of nothing', async () => {
  const shown = await boot(['-H', 'bare', '--cpus', '4'], 'nproc; dmesg');
  assert.match(shown, /^4\n/);
  assert.match(shown, /smp: Brought up 1 node, 4 CPUs/);
  assert.match(shown, /Switched to clocksource tsc/);
  assert.deepEqual(
    shown.split('\n').filter(line => COMPLAINTS.test(line)),
    [],
  );
});

test('a processor is taken off and comes back', async () => {
  const online = '/sys/devices/system/cpu/cpu1/online';
  const shown = await boot(
    ['-H', 'kvm', '--cpus', '2'],
    `for i in 1 2 3; do echo 0 > ${online}; nproc; echo 1 > ${online}; nproc; done; dmesg | grep -ciE 'lockup|Call Trace|failed'; true`,
  );
  assert.match(shown, /1\n2\n1\n2\n1\n2\n0\n/);
});

test('a summary says what each processor did', async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'polyvisor-smp-')), 'run.json');
  await boot(['-H', 'xen-pv', '--cpus', '2', '--json', file], 'true');
  const { processors, instructions, guestTime, hypercalls } = JSON.parse(readFileSync(file, 'utf8'));
  rmSync(dirname(file), { recursive: true });
  assert.equal(processors.length, 2);
  assert.equal(processors[0].instructions + processors[1].instructions, instructions);
  for (const { ranTime, turns, ipis, exits } of processors) {
    assert.ok(ranTime > 0.001 && ranTime <= guestTime, `${ranTime}`);
    assert.ok(turns > 10 && ipis > 10 && exits.hypercall > 100, JSON.stringify({ turns, ipis, exits }));
  }
  // What fast paths answer has not left translated code, and stands among the machine's hypercalls alone.
  const made = Object.values<number>(hypercalls).reduce((sum, count) => sum + count, 0);
  const left = processors[0].exits.hypercall + processors[1].exits.hypercall;
  assert.ok(hypercalls.HYPERVISOR_event_channel_op > 10 && made >= left, JSON.stringify(hypercalls));
});

test('a run that hangs says where each processor is', async () => {
  const words = ['-H', 'bare', '--cpus', '2', '--clock', 'virtual', '--timeout', '15', '--exec', 'sleep 100000'];
  const { stderr } = await polyvisor(['run', ...words]);
  assert.match(stderr, /the time limit has passed/);
  // In the kernel it is said by name; a program's place has none.
  assert.equal(stderr.match(/^ rip (f[0-9a-f]{15} <\w+|0[0-9a-f]{15})/gm)?.length, 2, stderr);
});

describe('runs repeat', () => {
  /** The console and the instructions that each of three processors has executed in a part of the boot. */
  async function part(schedule: 'fair' | number) {
    const guest = await ensureGuest({ architecture: 'amd64' });
    let shown = '';
    const machine = await createMachine({
      kernel: readFileSync(guest.kernel),
      initrd: readFileSync(guest.initrd),
      cpus: 3,
      schedule,
      console: { write: data => void (shown += Buffer.from(data)), onInput: () => {} },
    });
    assert.deepEqual(await machine.run({ instructions: 170_000_000 }), { kind: 'stopped' });
    assert.match(shown, /Brought up 1 node, 3 CPUs/);
    return `${shown}\n${machine.describe()}`;
  }

  test('with a seed, to the instruction; another seed is another run', async () => {
    const [first, again, other] = [await part(7), await part(7), await part(8)];
    assert.equal(again, first);
    assert.notEqual(other, first);
  });
});

test('interpreter and JIT agree with two processors', async () => {
  const guest = await ensureGuest({ architecture: 'amd64' });
  const machine = await createMachine({
    kernel: readFileSync(guest.kernel),
    initrd: readFileSync(guest.initrd),
    cpus: 2,
    schedule: 3,
    engine: 'both',
  });
  assert.deepEqual(await machine.run({ instructions: 180_000_000 }), { kind: 'stopped' });
  assert.match(machine.describe(), /processor 1:/);
});
