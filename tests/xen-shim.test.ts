/**
 * Xen's shim (Debian's package xen-utils-4.17): a Xen that is a PVH guest and has one PV guest. It takes that guest's kernel and
 * initial RAM disk from the modules of its start info, and passes its own console's ring on to it.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { S_IFREG, writeCpio } from '../src/boot/cpio.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { createMachine } from '../src/machine/machine.ts';
import { packageFiles } from './debian-package.ts';
import { ANSWERS, LIST, resultsIn, scriptOf } from './in-guest-list.ts';

/** Seconds: until all has been typed and answered. */
const TIMEOUT = 300;
/** A switch of processes takes many instructions of Xen's, and the list has half a million of them. */
const LONG_TIMEOUT = 1500;

/**
 * Boots Debian's kernel in the shim, and has it execute a script at its prompt.
 * @returns what the script has printed, and all that the consoles have said
 */
async function inShim(script: string, cpus: number, timeout: number) {
  const shim = (await packageFiles('xen-utils-4.17', 'usr/lib/xen-4.17/boot/')).get('xen-shim')!;
  const guest = await ensureGuest({ architecture: 'amd64' });
  const more = writeCpio([{ name: 'script', mode: S_IFREG | 0o644, data: script }]);
  let text = '';
  let isAsked = false;
  const machine = await createMachine({
    kernel: shim,
    hypervisor: 'xen-pvh',
    memory: 512 << 20,
    cpus,
    commandLine: 'console=pv',
    modules: [
      { data: readFileSync(guest.kernel), commandLine: 'vmlinuz console=hvc0 quiet shimmed' },
      { data: Buffer.concat([readFileSync(guest.initrd), more]), commandLine: 'initrd' },
    ],
    console: {
      onInput: () => {},
      write(data) {
        // The shim sends a carriage return after each line feed, too.
        text += new TextDecoder('latin1').decode(data).replaceAll('\r', '');
        if (isAsked && text.includes('\ndone\n')) machine.stop();
        if (isAsked || !text.includes('~ # ')) return;
        isAsked = true;
        // Not from within the guest's own write.
        setImmediate(() => machine.type('sh /script; echo do""ne\r'));
      },
    },
  });
  const exit = await machine.run({ timeout });
  assert.deepEqual(exit, { kind: 'stopped' }, text.slice(-2000));
  // What Xen says meanwhile is on the same console.
  const said = text.replaceAll(/^\(XEN\).*\n/gm, '');
  return { text, output: said.slice(said.indexOf('~ # '), said.lastIndexOf('\ndone\n')) };
}

test("xen-shim under xen-pvh boots Debian's kernel as its PV guest, which answers at its prompt", async () => {
  const { text, output } = await inShim('cat /proc/cmdline /sys/hypervisor/guest_type', 1, TIMEOUT);
  assert.match(text, /Xen version 4\.17/);
  assert.match(output, /\nconsole=hvc0 quiet shimmed\nPV$/);
});

/** XEN_SHIM_LIST=1,2 has the guest do the whole list with so many processors; that takes some minutes each. */
for (const cpus of process.env.XEN_SHIM_LIST?.split(',').map(Number) ?? [])
  test(`xen-shim's guest does the list with --cpus ${cpus}`, async () => {
    const found = resultsIn((await inShim(scriptOf(LIST), cpus, LONG_TIMEOUT)).output);
    assert.deepEqual(found, { ...found, ...ANSWERS, processors: `${cpus}`, clocksource: 'xen' });
  });
