/** A hostile driver of a PVSCSI adapter. */
import { Pvscsi } from '../../src/devices/scsi/pvscsi.ts';
import { StrictDisk } from './fake-machine.ts';
import type { RingDriver, TestMachine } from './pci-rings.ts';
import { commandFrom } from './scsi-commands.ts';

const PAGE = 4096;
const [STATE, REQUESTS, COMPLETIONS, LISTS, DATA] = [1, 2, 6, 10, 20];

export function pvscsiDriver(machine: TestMachine): RingDriver {
  const { memory, read, write } = machine;
  const disk = new StrictDisk(512);
  const device = new Pvscsi(machine.slot, disk, 0, machine.place);
  let produced = 0;
  const start = ([a = 0, b = 0, c = 0, d = 0]: readonly number[]) => {
    write(0, 1);
    const data = new Array<number>(132).fill(0);
    const [requests, completions] = [1 << (a % 3), 1 << (b % 3)];
    data.splice(0, 3, requests, completions, STATE);
    for (let page = 0; page < 4; page++) {
      data[4 + 2 * page] = REQUESTS + page;
      data[68 + 2 * page] = COMPLETIONS + page;
    }
    if (c % 3 === 1) data[d % 140 < 132 ? d % 132 : 0] = d;
    memory.fill(STATE * PAGE, PAGE);
    produced = 0;
    write(0, 3);
    for (const word of data) write(4, word);
    write(0x2010, 0xf);
  };
  const ask = ([a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0]: readonly number[]) => {
    const at = REQUESTS * PAGE + 128 * (produced % 32);
    const list = LISTS * PAGE + (a % 8) * 512;
    memory.fill(at, 128);
    memory.write32(at, produced + 1);
    memory.write32(at + 8, a % 2 ? list : DATA * PAGE + (b % PAGE));
    memory.write32(at + 16, c % 3 ? (c % 64) * 512 : c);
    memory.write32(at + 24, d % 5 ? 15 * PAGE : d);
    memory.write32(at + 32, d % 7 ? 96 : d);
    memory.write32(at + 36, a % 2 ? 1 : e % 11 ? 0 : 4);
    memory.copyIn(at + 40, commandFrom(d, e, f));
    for (const [offset, value] of [
      [56, g % 9 ? 16 : g],
      [58, g % 13 ? 0 : g],
      [67, g % 17 ? 0 : g],
    ])
      memory.write8(at + offset, value);
    if (g % 5 === 0) memory.write32(at + 4 * (e % 32), f);
    for (let element = 0; element < 16; element++) {
      memory.write32(list + 16 * element, (DATA + ((b + element) % 100)) * PAGE + (c % 4096));
      memory.write32(list + 16 * element + 4, 0);
      memory.write32(list + 16 * element + 8, element === e % 16 ? f : 512 * (1 + (e % 8)));
      memory.write32(list + 16 * element + 12, 0);
    }
    if (f % 6 === 0) {
      memory.write32(list + 16 * (e % 16), list + 16 * (c % 16));
      memory.write32(list + 16 * (e % 16) + 12, 1);
    }
    produced++;
    memory.write32(STATE * PAGE, g % 31 ? produced : g);
    // Completions are read, or not.
    if (b % 4) memory.write32(STATE * PAGE + 16, memory.read32(STATE * PAGE + 12));
    write(c % 2 ? 0x3014 : 0x4018, 0);
    if (read(0x100c) & 1) write(0x100c, 1);
  };
  return {
    ...{ device, disk, start, ask },
    registers: [0, 4, 4, 8, 0x100c, 0x2010, 0x3014, 0x4018],
    rings: [STATE * PAGE, REQUESTS * PAGE, COMPLETIONS * PAGE, LISTS * PAGE],
    works() {
      const at = REQUESTS * PAGE;
      memory.fill(at, 128);
      memory.write8(at + 56, 6);
      memory.write32(STATE * PAGE, 1);
      write(0x3014, 0);
      return memory.read32(STATE * PAGE + 12) === 1;
    },
  };
}
