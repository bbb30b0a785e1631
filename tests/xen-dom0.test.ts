/**
 * Xen itself (Debian's package xen-hypervisor-4.17-amd64) as a guest on bare hardware, with Debian's kernel as its dom0. Dom0
 * needs the flavour amd64: the cloud one has no CONFIG_XEN_DOM0.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ensureGuest } from '../src/host/node/guest.ts';
import { createMachine } from '../src/machine/machine.ts';
import { packageFiles } from './debian-package.ts';

/** Seconds. */
const TIMEOUT = 500;

/** Each fits in a line of the terminal, behind the prompt: a longer one would be wrapped. */
const QUESTIONS = [
  '(cd /sys/hypervisor; cat type guest_type version/major version/minor)',
  'cat /proc/xen/capabilities',
  'dmesg | grep -e "Booting kernel on Xen" -e "Hypervisor detected"',
  'poweroff -f',
];

test('Xen boots on bare hardware, and its dom0 answers and powers the machine off', async () => {
  const xen = (await packageFiles('xen-hypervisor-4.17-amd64', 'boot/')).get('xen-4.17-amd64.gz')!;
  const guest = await ensureGuest({ architecture: 'amd64', flavour: 'amd64' });
  let text = '';
  let asked = 0;
  const machine = await createMachine({
    kernel: xen,
    memory: 1 << 30,
    append: 'console=com1 com1=115200,8n1 dom0_mem=512M',
    modules: [
      { data: readFileSync(guest.kernel), commandLine: 'vmlinuz console=hvc0 quiet' },
      { data: readFileSync(guest.initrd), commandLine: 'initrd' },
    ],
    console: {
      onInput: () => {},
      write(data) {
        text += new TextDecoder('latin1').decode(data).replaceAll('\r', '');
        if (text.split('~ # ').length - 1 === asked) return;
        const line = QUESTIONS[asked++];
        // Not from within the guest's own write.
        setImmediate(() => machine.type(`${line}\r`));
      },
    },
  });
  const exit = await machine.run({ timeout: TIMEOUT });
  assert.deepEqual(exit, { kind: 'power-off' }, text.slice(-2000));

  const [xenBoot, ...answers] = text.split('~ # ');
  assert.match(xenBoot!, /\(XEN\) Xen version 4\.17/);
  assert.match(xenBoot!, /\(XEN\) Dom0 has maximum 1 VCPUs/);
  /** What stands below the line that was typed. */
  const answer = (index: number) => answers[index]!.split('\n').slice(1).join('\n');
  assert.equal(answer(0), 'xen\nPV\n4\n17\n');
  assert.equal(answer(1), 'control_d\n');
  assert.match(answer(2), /Hypervisor detected: Xen PV\n.*Booting kernel on Xen/s);
  assert.match(answer(3), /reboot: Power down\n(?:\(XEN\) .*\n)*\(XEN\) Entering ACPI S5 state/);
});
