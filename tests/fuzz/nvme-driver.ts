/** A hostile driver of an NVMe controller. */
import { Nvme } from '../../src/devices/nvme/nvme.ts';
import { StrictDisk } from './fake-machine.ts';
import type { RingDriver, TestMachine } from './pci-rings.ts';

const PAGE = 4096;
const [ASQ, ACQ, SQ, CQ, LIST, DATA] = [1, 2, 3, 4, 5, 20];
const ENTRIES = 16;
const DOORBELLS = 0x1000;
const ADMIN = [0, 1, 1, 2, 4, 5, 5, 6, 6, 6, 8, 9, 10, 12, 99];
const IO = [0, 1, 1, 1, 2, 2, 2, 8, 9, 9, 77];

export function nvmeDriver(machine: TestMachine): RingDriver {
  const { memory, write, read } = machine;
  const disk = new StrictDisk(512);
  const device = new Nvme(machine.slot, disk, 0, machine.place);
  const tails = [0, 0];
  let id = 0;
  const put = (queue: number, words: readonly (readonly [word: number, value: number])[]) => {
    const at = (queue ? SQ : ASQ) * PAGE + 64 * tails[queue];
    memory.fill(at, 64);
    for (const [word, value] of words) memory.write32(at + 4 * word, value);
    memory.write16(at + 2, ++id & 0xffff);
    tails[queue] = (tails[queue] + 1) % ENTRIES;
    write(DOORBELLS + 8 * queue, tails[queue]);
  };
  const drain = () => {
    // The heads of both queues of answers: where they stand.
    for (const queue of [0, 1])
      for (let head = 0; head < ENTRIES; head++) write(DOORBELLS + 8 * queue + 4, (tails[queue] + head) % ENTRIES);
  };
  const start = ([a = 0, b = 0, c = 0, d = 0]: readonly number[]) => {
    write(0x14, 0);
    memory.fill(ASQ * PAGE, 4 * PAGE);
    tails.fill(0);
    const registers = [
      [0x24, ((ENTRIES - 1) << 16) | (ENTRIES - 1)],
      [0x28, ASQ * PAGE],
      [0x2c, 0],
      [0x30, ACQ * PAGE],
      [0x34, 0],
    ];
    if (a % 5 === 1) registers[b % 5][1] = c;
    for (const [offset, value] of registers) write(offset, value);
    write(0x14, a % 7 === 1 ? d : 0x00460001);
    const size = 1 | ((ENTRIES - 1) << 16);
    put(0, [
      [0, 5],
      [6, CQ * PAGE],
      [10, size],
      [11, 3],
    ]);
    put(0, [
      [0, 1],
      [6, SQ * PAGE],
      [10, size],
      [11, 1 | (1 << 16)],
    ]);
    write(DOORBELLS + 4, tails[0]);
  };
  const ask = ([a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0]: readonly number[]) => {
    const queue = a % 4 === 0 ? 0 : 1;
    const list = LIST * PAGE + (d % 2 ? 0 : PAGE - 8 * (1 + (d % 9)));
    for (let entry = 0; entry < 12; entry++)
      memory.write64(list + 8 * entry, BigInt((DATA + ((e + entry) % 200)) * PAGE));
    if (d % 3 === 0) memory.write32(list + 8 * (e % 12), f);
    for (let range = 0; range < 8; range++) {
      memory.write32(DATA * PAGE + 16 * range + 4, range === b % 8 ? f : 1 + (f % 8));
      memory.write32(DATA * PAGE + 16 * range + 8, (range * f) % (b % 5 ? 500 : 2 ** 32));
    }
    const words: [number, number][] = [
      [0, (queue ? IO : ADMIN)[b % (queue ? IO : ADMIN).length]],
      [1, c % 9 ? 1 : c],
      [6, c % 11 ? (DATA + (c % 100)) * PAGE + (c % 3 ? 0 : c % PAGE) : c],
      [8, d % 4 ? list : (DATA + (e % 100)) * PAGE],
      [10, queue ? f % (g % 5 ? 500 : 65536) : (g % 4) | ((f % 40) << 16)],
      [11, queue ? (b % 13 ? (IO[b % IO.length] === 9 ? 4 : 0) : g) : g % 2 ? 3 | ((f % 3) << 16) : g],
      [12, g % 7 ? e % 80 : g],
    ];
    if (f % 17 === 0) words.push([g % 16, e]);
    put(queue, words);
    if (g % 3) drain();
    if (read(0x1c) !== 1) start([]);
  };
  return {
    ...{ device, disk, start, ask },
    registers: [0x0c, 0x10, 0x14, 0x14, 0x20, 0x24, 0x28, 0x30, 0x1000, 0x1004, 0x1008, 0x100c, 0x1010],
    rings: [ASQ, ACQ, SQ, CQ, LIST].map(page => page * PAGE),
    works() {
      put(1, [
        [0, 0],
        [1, 1],
      ]);
      return read(0x1c) === 1 && memory.read32(CQ * PAGE + 12) >>> 16 === 1;
    },
  };
}
