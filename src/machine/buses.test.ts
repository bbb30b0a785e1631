/** Where back ends can be plugged in: on the buses that the guest of a hypervisor has, and nowhere else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { type BackEnds, NoSuchBusError } from '../host/back-ends.ts';
import type { Disk } from '../host/disk.ts';
import type { Network } from '../host/network.ts';
import { createMachine } from './machine.ts';

const KERNEL = tinyKernel([0xf4]);
const nothing = () => {};
const disk = (bus?: string): Disk => ({
  ...{ name: 'disk', size: 1 << 20, readOnly: false, bus },
  ...{ read: nothing, write: nothing, flush: nothing, discard: nothing, close: nothing },
});
const network = (bus?: string): Network => ({ name: 'net', bus, connect: nothing, send: nothing });

const plugged = (hypervisor: string, backEnds: Partial<BackEnds>) =>
  createMachine({ memory: 64 << 20, engine: 'interpreter', kernel: KERNEL, hypervisor, backEnds });
const refused = (kind: NoSuchBusError['kind'], message: RegExp) => (error: Error) =>
  error instanceof NoSuchBusError && error.kind === kind && message.test(error.message);

test('a PC has the disks and networks of a PC', async () => {
  for (const bus of ['virtio', 'nvme', 'pvscsi']) await plugged('bare', { disks: [disk(bus)] });
  await plugged('bare', { networks: [network('virtio')], vsock: { ...network(), cid: 3 } });
  await assert.rejects(plugged('bare', { disks: [disk('xen')] }), refused('disk', /no bus xen under bare: there are/));
});

test('a guest of Xen on another hypervisor has none of the buses of the board that Xen stands on', async () => {
  for (const hypervisor of ['xen-on-bare', 'xen-on-kvm', 'xen-on-hyperv']) {
    await plugged(hypervisor, { disks: [disk()], networks: [network()] });
    for (const bus of ['virtio', 'nvme'])
      await assert.rejects(plugged(hypervisor, { disks: [disk(bus)] }), refused('disk', /there is xen$/));
    await assert.rejects(plugged(hypervisor, { networks: [network('e1000')] }), refused('net', /there is xen$/));
    await assert.rejects(plugged(hypervisor, { vsock: { ...network(), cid: 3 } }), refused('vsock', /there is none$/));
  }
});
