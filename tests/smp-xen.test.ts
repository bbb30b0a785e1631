/**
 * Debian's kernel on several processors under both kinds of Xen: it starts them by hypercalls or by the local APIC, they
 * interrupt one another by event channels, wait for locks in the hypervisor, and go off and come back.
 */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { polyvisor } from './command.ts';

/** What a kernel says when processors, or their clocks, do not do what it expects. */
const COMPLAINTS =
  /warp|soft lockup|hard LOCKUP|rcu.*stall|Call Trace|BUG:|WARNING:|do_boot_cpu failed|Failed to|can't|CPU\d failed/i;

/** Forks and pipes on all processors at once; the sums that come out of the pipes. */
const LOAD = `
load() { for job in 1 2 3 4 5 6 7 8; do (for i in 1 2 3; do seq 1 200 | while read n; do echo $n; done | wc -l; done) & done; wait; }
load | sort | uniq -c
`;
/** Processor 1 goes off and comes back, twice, while the others work. */
const UNPLUG = `
online=/sys/devices/system/cpu/cpu1/online
load > /dev/null & 
for i in 1 2; do echo 0 > $online; nproc; echo 1 > $online; nproc; done
wait
`;
// The counts of a processor that comes back begin anew.
const COMMAND = `nproc; ${LOAD} grep -E 'resched|callfunc|spinlock|timer' /proc/interrupts > /tmp/i; ${UNPLUG} cat /tmp/i; dmesg`;

/** Interrupts of a name on each processor, of those that the guest lists as its own. */
function interrupts(shown: string, name: string): number[] {
  return [0, 1, 2, 3].map(cpu => {
    const line = shown.split('\n').find(each => each.trimEnd().endsWith(` ${name}${cpu}`));
    assert.ok(line, `${name}${cpu} in /proc/interrupts`);
    return Number(line.trim().split(/\s+/)[1 + cpu]);
  });
}

for (const hypervisor of ['xen-pv', 'xen-pvh'])
  describe(`${hypervisor}, four processors`, () => {
    test('all are there, work together, go off and come back', async () => {
      const words = ['run', '-H', hypervisor, '--clock', 'virtual', '--timeout', '200', '--cpus', '4'];
      const { status, stdout: shown, stderr } = await polyvisor([...words, '--exec', COMMAND]);
      assert.equal(status, 0, stderr + shown);
      assert.match(shown, /^4\n +24 200\n3\n4\n3\n4\n/);
      assert.match(shown, /smp: Brought up 1 node, 4 CPUs/);
      assert.match(shown, /xen: PV spinlocks enabled/);
      assert.match(shown, /xen:events: Using FIFO-based ABI/);
      assert.match(shown, /cpu 3 spinlock event irq \d+/);
      assert.match(shown, /Switched to clocksource xen/);
      for (const name of ['timer', 'resched', 'callfuncsingle'])
        for (const [cpu, count] of interrupts(shown, name).entries()) assert.ok(count > 0, `${name}${cpu}: ${count}`);
      const complaints = shown.split('\n').filter(line => COMPLAINTS.test(line));
      assert.deepEqual(complaints, []);
    });
  });
