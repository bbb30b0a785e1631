/**
 * Xen's shim (Debian's package xen-utils-4.17): a Xen that is a PVH guest and has one PV guest. It takes that guest's kernel and
 * initial RAM disk from the modules of its start info, and passes its own console's ring on to it.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ensureGuest } from '../src/host/node/guest.ts';
import { createMachine } from '../src/machine/machine.ts';
import { packageFiles } from './debian-package.ts';

/** Seconds. */
const TIMEOUT = 300;

test("xen-shim under xen-pvh boots Debian's kernel as its PV guest, which answers at its prompt", async () => {
  const shim = (await packageFiles('xen-utils-4.17', 'usr/lib/xen-4.17/boot/')).get('xen-shim')!;
  const guest = await ensureGuest({ architecture: 'amd64' });
  let text = '';
  let isAsked = false;
  const machine = await createMachine({
    kernel: shim,
    hypervisor: 'xen-pvh',
    memory: 512 << 20,
    commandLine: 'console=pv',
    modules: [
      { data: readFileSync(guest.kernel), commandLine: 'vmlinuz console=hvc0 quiet shimmed' },
      { data: readFileSync(guest.initrd), commandLine: 'initrd' },
    ],
    console: {
      onInput: () => {},
      write(data) {
        // The shim sends a carriage return after each line feed, too.
        text += new TextDecoder('latin1').decode(data).replaceAll('\r', '');
        if (isAsked && /\ndone\n/.test(text)) machine.stop();
        if (isAsked || !text.includes('~ # ')) return;
        isAsked = true;
        // Not from within the guest's own write.
        setImmediate(() => machine.type('cat /proc/cmdline /sys/hypervisor/guest_type; echo do""ne\r'));
      },
    },
  });
  const exit = await machine.run({ timeout: TIMEOUT });
  assert.deepEqual(exit, { kind: 'stopped' }, text.slice(-2000));
  assert.match(text, /Xen version 4\.17/);
  assert.match(text, /\nconsole=hvc0 quiet shimmed\nPV\ndone\n/);
});
