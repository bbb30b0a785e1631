/** The loaders on Debian's own kernels, for whichever of them are in the cache; nothing is fetched here. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { readCpio } from '../../boot/cpio.ts';
import { pcMemoryMap } from '../../boot/e820.ts';
import { parseKernel } from '../../boot/image.ts';
import { loadKernel } from '../../boot/load.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { cachedGuest, GUEST_KERNELS, type GuestArchitecture } from './guest.ts';

const RAM = 128 << 20;

for (const architecture of Object.keys(GUEST_KERNELS) as GuestArchitecture[]) {
  for (const { flavour } of GUEST_KERNELS[architecture]) {
    const guest = cachedGuest({ architecture, flavour });
    const skip = guest ? false : 'not in the cache: `polyvisor guest` fetches it';

    test(`Debian's ${flavour} kernel is understood and loads`, { skip }, async () => {
      const image = await parseKernel(new Uint8Array(readFileSync(guest!.kernel)));
      assert.equal(image.bits, architecture === 'amd64' ? 64 : 32);
      assert.match(image.description, new RegExp(`Linux ${guest!.release} `));
      assert.equal(image.elf!.entry, 0x1000000n);
      const initrd = new Uint8Array(readFileSync(guest!.initrd));
      for (const entry of ['linux', 'packed'] as const) {
        const memory = new GuestMemory(new ArrayBuffer(RAM), 0, RAM);
        const options = { initrd, commandLine: 'quiet', rsdp: 0, memoryMap: pcMemoryMap(RAM) };
        const { registers } = loadKernel(memory, image, options, entry);
        const address = memory.read32(Number(registers.rsi) + 0x218);
        assert.deepEqual(memory.copyOut(address, 6), new TextEncoder().encode('070701'));
      }
      if (!/^(cloud-amd64|686-pae)$/.test(flavour)) return;
      assert.equal(image.xen.guestOs, 'linux');
      assert.ok(image.xen.phys32Entry! > 0x1000000);
      assert.ok(image.xen.features.includes('!writable_page_tables'));
    });

    test(`the initramfs for ${flavour} holds a shell, /init and the drivers`, { skip }, () => {
      const names = new Set(readCpio(new Uint8Array(readFileSync(guest!.initrd))).map(({ name }) => name));
      for (const name of ['init', 'bin/busybox', 'bin/sh', 'bin/poweroff', 'dev/console', 'etc/profile'])
        assert.ok(names.has(name), name);
      const modules = [...names].filter(name => name.endsWith('.ko'));
      assert.equal(modules.length, guest!.modules.length);
      for (const name of ['virtio_pci', 'virtio_blk', 'virtio_net', 'virtio_console'])
        assert.ok(guest!.modules.includes(name), name);
    });
  }
}
