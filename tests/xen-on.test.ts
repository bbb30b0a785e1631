/**
 * Xen's interface on other hypervisors': Debian's kernel as its PV guest, on two processors, and what a trace shows of
 * both layers.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findHypervisor } from '../src/hypervisors/list.ts';
import { createMachine } from '../src/machine/machine.ts';
import { traced } from '../src/paravirt/trace.ts';
import { polyvisor } from './command.ts';
import { buildKit, missingTools } from './kit.ts';

/** What Debian's kernel is asked for; the marks are for what is looked at. */
const COMMANDS = `
nproc; cat /sys/devices/system/clocksource/clocksource0/current_clocksource
cat /sys/hypervisor/guest_type
i=0; while [ $i -lt 50 ]; do /bin/busybox true || exit; i=$((i + 1)); done; echo forked
gzip -c /bin/busybox | gunzip -c | cmp - /bin/busybox && echo same
sleep 1; echo slept
dmesg | grep -iE 'warning|bug:|oops|unchecked MSR|call trace|soft lockup'
grep -E 'timer1|resched1|callfuncsingle1' /proc/interrupts
exit 42`;

// Guest time counts instructions: how busy the host is does not matter to two processors that wait for each other.
for (const hypervisor of ['xen-on-bare', 'xen-on-kvm', 'xen-on-hyperv'])
  test(`Debian's kernel under ${hypervisor}, with two processors`, async () => {
    const words = [
      'run',
      '-H',
      hypervisor,
      '--cpus',
      '2',
      '--clock',
      'virtual',
      '--timeout',
      '600',
      '--exec',
      COMMANDS,
    ];
    const { status, stdout, stderr } = await polyvisor(words, { limit: 660 });
    assert.equal(status, 42, stderr);
    const lines = stdout.trim().split('\n');
    assert.deepEqual(lines.slice(0, 6), ['2', 'xen', 'PV', 'forked', 'same', 'slept']);
    const interrupts = lines.slice(6).map(line => line.trim().split(/\s+/));
    assert.deepEqual(
      interrupts.map(words => words.at(-1)),
      ['timer1', 'resched1', 'callfuncsingle1'],
    );
    for (const [, , second] of interrupts) assert.ok(Number(second) > 0, stdout);
  });

describe('a trace shows both layers', { skip: missingTools() ?? false }, () => {
  let built: ReturnType<typeof buildKit>;
  before(() => void (built = buildKit()));
  after(() => built?.remove());

  /** What the kit's example has crossed, by name, and what it has said. */
  async function run(name: string) {
    const names = new Map<string, number>();
    let text = '';
    const count = (what: string) => void names.set(what, (names.get(what) ?? 0) + 1);
    const hypervisor = traced(findHypervisor(name)!, ({ name: what, operation }) => count(what ?? operation));
    const console = {
      onInput: () => {},
      write: (data: Uint8Array) => void (text += new TextDecoder('latin1').decode(data)),
    };
    const kernel = readFileSync(join(built.folder, 'example.elf'));
    const machine = await createMachine({ kernel, hypervisor, cpus: 2, memory: 64 << 20, console });
    const exit = await machine.run({ timeout: 300 });
    assert.deepEqual(exit, { kind: 'power-off' });
    assert.match(text, /example: all is well/);
    return names;
  }

  const BELOW: Readonly<Record<string, readonly string[]>> = {
    'xen-on-bare': [],
    'xen-on-kvm': [
      'MSR_KVM_SYSTEM_TIME_NEW',
      'MSR_KVM_PV_EOI_EN',
      'MSR_KVM_WALL_CLOCK_NEW',
      'KVM_HC_SEND_IPI',
      'KVM_HC_SCHED_YIELD',
    ],
    'xen-on-hyperv': [
      'HV_X64_MSR_REFERENCE_TSC',
      'HV_X64_MSR_VP_ASSIST_PAGE',
      'HV_X64_MSR_STIMER0_COUNT',
      'HvCallSendSyntheticClusterIpi',
      'HvCallNotifyLongSpinWait',
    ],
  };
  for (const [name, below] of Object.entries(BELOW))
    test(name, async () => {
      const names = await run(name);
      for (const call of [
        'HYPERVISOR_vcpu_op',
        'HYPERVISOR_event_channel_op',
        'HYPERVISOR_sched_op',
        'HYPERVISOR_iret',
        ...below,
      ])
        assert.ok(names.has(call), `${call} in ${[...names.keys()]}`);
      // Each interrupt that ends there has come from there: its end is the lower interface's.
      if (below.length > 0) assert.ok(names.get('irq.delivered')! > 100);
    });
});
