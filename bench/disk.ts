/** Disks, past the guest's page cache: 256 KiB in a row and 4 KiB anywhere, read and written, on each bus. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../src/host/node/cache.ts';
import type { Bench } from './bench.ts';
import { compiled, type DeviceCase, hexadecimal, measureDevices, randomNumbers, type Task } from './devices.ts';

const MEBIBYTE = 2 ** 20;
const SIZE = 64 * MEBIBYTE;
const LARGE = 256 * 1024;
const SMALL = 4096;
const IN_A_ROW = 256;
const ANYWHERE = 2000;

export const disk: Bench = {
  name: 'disk',
  title: 'disks on each bus, past the page cache: sequential, and 4 KiB anywhere',
  usual: false,
  async run(context) {
    const folder = mkdtempSync(join(cacheFolder(), 'bench-disk-'));
    try {
      const path = join(folder, 'disk.img');
      writeFileSync(path, new Uint8Array(SIZE));
      const on = (bus: string, hypervisor: string): DeviceCase => ({
        name: `${bus} under ${hypervisor}`,
        hypervisor,
        plugged: { disk: { path, bus } },
      });
      const drive = ['-drive', `file=${path},format=raw,if=none,id=disk`, '-device', 'virtio-blk-pci,drive=disk'];
      const cases = [
        { ...on('virtio', 'kvm'), qemu: drive },
        on('nvme', 'bare'),
        on('pvscsi', 'vmware'),
        on('vmbus', 'hyperv'),
        on('xen', 'xen-pvh'),
        on('xen', 'xen-pv'),
      ];
      return await measureDevices(context, compiled(context, 'disk'), cases, tasks());
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};

function tasks(): Task[] {
  return ['write', 'read'].flatMap(how => [
    {
      title: `${how}s in a row`,
      line: `disk ${how} sequential ${IN_A_ROW}`,
      expected: hexadecimal(
        sumOfPlaces(
          SIZE / LARGE,
          IN_A_ROW,
          Array.from({ length: IN_A_ROW }, (_, index) => index),
        ),
      ),
      amount: (IN_A_ROW * LARGE) / MEBIBYTE,
      unit: 'MiB',
    },
    {
      title: `${how}s of 4 KiB anywhere`,
      line: `disk ${how} random ${ANYWHERE}`,
      expected: hexadecimal(sumOfPlaces(SIZE / SMALL, ANYWHERE, randomNumbers())),
      amount: ANYWHERE,
      unit: `${how}s`,
    },
  ]);
}

/** What the program prints: the sum of the places that it has been to, as if there were no more numbers than `count`. */
function sumOfPlaces(blocks: number, count: number, numbers: Iterable<number>): number {
  let sum = 0;
  let left = count;
  for (const number of numbers) {
    if (left-- === 0) break;
    sum += number % blocks;
  }
  return sum;
}
