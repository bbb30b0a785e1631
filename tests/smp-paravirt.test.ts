/**
 * Debian's kernel with four processors under the hypervisors whose interfaces have something for several: it uses that, and
 * processors that work at once, and come and go, go on well.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { commandArchive, joinArchives } from '../src/boot/exec-protocol.ts';
import { ensureGuest } from '../src/host/node/index.ts';
import { createMachine } from '../src/index.ts';
import { THREADS_PROGRAM } from '../src/matrix/threads-program.ts';

const CPUS = 4;
/** Stands before each of the marks around a command's output (src/boot/exec-protocol.ts). */
const RECORD_SEPARATOR = '\x1e';

/** What a kernel says when processors, or their clocks, do not do what it expects. */
const COMPLAINTS =
  /warp|soft lockup|hard LOCKUP|rcu.*stall|Call Trace|BUG:|WARNING:|Firmware Bug|failed to send PV IPI|do_boot_cpu failed/i;

/** Forks, pipes and waiting on all processors at once; each line of a pipe's is counted. */
const LOAD = `
for cpu in 0 1 2 3; do
  taskset -c $cpu sh -c 'for i in 1 2 3; do yes polyvisor | head -n 2000 | wc -l; done' >/tmp/work.$cpu &
done
wait
cat /tmp/work.* | sort | uniq -c`;

const online = '/sys/devices/system/cpu/cpu1/online';
/** Threads on all processors, one of which maps a page anew: an address space that several use is changed by a page. */
const UNMAP = `
base64 -d >/tmp/threads <<'END'
${THREADS_PROGRAM}
END
chmod +x /tmp/threads
/tmp/threads t 50 ${CPUS}; echo $?`;

const COMMAND = `
mkdir -p /tmp
nproc
${LOAD}
${UNMAP}
for i in 1 2; do echo 0 >${online}; nproc; echo 1 >${online}; nproc; done
taskset -c 1 echo on the one that has come back
echo "the kernel's messages:"
dmesg`;

/** Runs COMMAND. @returns its output, the kernel's messages, and how often the guest has made each hypercall */
async function run(hypervisor: string) {
  const guest = await ensureGuest({ architecture: 'amd64' });
  let console = '';
  const machine = await createMachine({
    hypervisor,
    kernel: readFileSync(guest.kernel),
    initrd: joinArchives(readFileSync(guest.initrd), commandArchive(COMMAND)),
    cpus: CPUS,
    console: { write: data => void (console += Buffer.from(data)), onInput: () => {} },
  });
  const exit = await machine.run({ timeout: 300 });
  assert.equal(exit.kind, 'power-off', console);
  const [, marked = ''] = console.replaceAll('\r', '').split(RECORD_SEPARATOR);
  const [output = '', messages = ''] = marked.replace(/^polyvisor .* start\n/, '').split("the kernel's messages:\n");
  assert.deepEqual(
    messages.split('\n').filter(line => COMPLAINTS.test(line)),
    [],
  );
  return { output, messages, hypercalls: machine.statistics.hypercalls };
}

const EXPECTED = `${CPUS}
     12 2000
0
3
4
3
4
on the one that has come back
`;

describe('four processors', () => {
  test('kvm: IPIs, TLB flushes, spinlocks and yields', async () => {
    const { output, messages, hypercalls } = await run('kvm');
    assert.equal(output, EXPECTED);
    for (const line of [
      'kvm-guest: setup PV IPIs',
      'kvm-guest: KVM setup pv remote TLB flush',
      'kvm-guest: setup PV sched yield',
      'kvm-guest: PV spinlocks enabled',
      'smp: Brought up 1 node, 4 CPUs',
    ])
      assert.ok(messages.includes(line), `${line}\n${messages}`);
    assert.match(messages, /clocksource: Switched to clocksource kvm-clock/);
    // Few sets of processors are neither one nor all; TLBs of those that are preempted need no interrupt.
    for (const name of ['KVM_HC_SEND_IPI', 'KVM_HC_SCHED_YIELD'])
      assert.ok(hypercalls[name]! > 0, JSON.stringify(hypercalls));
  });

  test('hyperv: IPIs, TLB flushes and spinlocks', async () => {
    const { output, messages, hypercalls } = await run('hyperv');
    assert.equal(output, EXPECTED);
    for (const line of [
      'Hyper-V: Using hypercall for remote TLB flush',
      'Hyper-V: Using IPI hypercalls',
      'Hyper-V: PV spinlocks enabled',
      'smp: Brought up 1 node, 4 CPUs',
    ])
      assert.ok(messages.includes(line), `${line}\n${messages}`);
    assert.match(messages, /clocksource: Switched to clocksource hyperv_clocksource_tsc_page/);
    // Linux flushes a few pages by a list, and by the call for all of a space if they are many. Threads that unmap a page have it
    // make a list; of processes of one thread each, only those that had moved have anything flushed elsewhere.
    for (const name of ['HvCallSendSyntheticClusterIpi', 'HvCallFlushVirtualAddressList'])
      assert.ok(hypercalls[name]! > 0, JSON.stringify(hypercalls));
  });
});
