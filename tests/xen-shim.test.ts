/**
 * Xen's shim (Debian's package xen-utils-4.17): a Xen that is a PVH guest and has one PV guest. It takes that guest's kernel and
 * initial RAM disk from the modules of its start info.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nodeClock } from '../src/host/node/clock.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { createMachine } from '../src/machine/machine.ts';
import { packageFiles } from './debian-package.ts';

/** Seconds. */
const TIMEOUT = 900;

test("xen-shim under xen-pvh boots Debian's kernel as its PV guest, with an initial RAM disk", async () => {
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
    clock: nodeClock,
    console: {
      onInput: () => {},
      write(data) {
        text += new TextDecoder().decode(data);
        // Not from within the guest's own write.
        if (!isAsked && text.includes('~ # ')) {
          isAsked = true;
          setImmediate(() => machine.type('cat /proc/cmdline /sys/hypervisor/guest_type; echo do""ne\r'));
        }
        if (isAsked && /\ndone/.test(text)) machine.stop();
      },
    },
  });
  const exit = await machine.run({ timeout: TIMEOUT });
  assert.deepEqual(exit, { kind: 'stopped' }, text.slice(-2000));
  assert.match(text, /Xen version 4\.17/);
  assert.match(text, /console=hvc0 quiet shimmed/);
  assert.match(text, /^PV\r?$/m);
});
