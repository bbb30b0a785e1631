/**
 * GRUB's ready-made images for Xen guests (Debian's package grub-xen-host), the second operating system we know that speaks
 * these interfaces: x86_64-xen and i386-xen (PAE) as PV guests, i386-xen_pvh as a PVH guest. Each comes to its prompt and answers.
 */
import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';
import { createMachine } from '../src/machine/machine.ts';
import { packageFiles } from './debian-package.ts';

/** Seconds. GRUB waits for its timers busily, and they follow the virtual clock. */
const TIMEOUT = 240;

/** Boots `kernel`, types each of `lines` at a prompt, and gives what the console showed. */
async function talk(kernel: Uint8Array, hypervisor: string, lines: readonly string[]): Promise<string> {
  let text = '';
  let prompts = 0;
  const console = {
    onInput: () => {},
    write(data: Uint8Array) {
      text += new TextDecoder('latin1').decode(data);
      if (text.split('grub> ').length - 1 === prompts) return;
      const line = lines[prompts++];
      // Not from within the guest's own write.
      setImmediate(() => (line === undefined ? machine.stop() : machine.type(`${line}\r`)));
    },
  };
  const machine = await createMachine({ kernel, hypervisor, memory: 64 << 20, commandLine: '', console });
  const exit = await machine.run({ timeout: TIMEOUT });
  assert.deepEqual(exit, { kind: 'stopped' }, text);
  return text;
}

describe('GRUB for Xen', () => {
  let found: Map<string, Uint8Array>;
  before(async () => {
    found = await packageFiles('grub-xen-host', 'usr/lib/grub-xen/');
  });

  for (const [file, hypervisor] of [
    ['grub-x86_64-xen.bin', 'xen-pv'],
    ['grub-i386-xen_pvh.bin', 'xen-pvh'],
    ['grub-i386-xen.bin', 'xen-pv'],
  ] as const) {
    test(`${file} answers under ${hypervisor}`, async () => {
      const text = await talk(found.get(file)!, hypervisor, ['ls', 'echo $grub_platform on $grub_cpu']);
      assert.match(text, /\(memdisk\) \(proc\)/);
      const [cpu, platform] = file.match(/grub-([^-]+)-(\w+)\.bin/)!.slice(1);
      assert.ok(text.includes(`${platform} on ${cpu}`), text);
    });
  }
});
