/** A hostile driver of an 82540EM, on a network that answers frames with frames. */
import { E1000 } from '../../src/devices/e1000/e1000.ts';
import type { RingDriver, TestMachine } from './pci-rings.ts';
import { echo } from './vmxnet3-driver.ts';

const PAGE = 4096;
const [TX, RX, DATA] = [1, 2, 20];
const ENTRIES = 32;
const [RCTL, TCTL, RDBAL, RDLEN, RDT, TDBAL, TDLEN, TDT] = [
  ...[0x100, 0x400, 0x2800, 0x2808, 0x2818, 0x3800, 0x3808, 0x3818],
];

export function e1000Driver(machine: TestMachine): RingDriver {
  const { memory, read, write, writePort } = machine;
  const received = { frames: 0 };
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const device = new E1000(machine.slot, echo(received), '0', mac, machine.place);
  let tail = 0;
  const start = ([a = 0, b = 0, c = 0]: readonly number[]) => {
    write(0, 0x04000000);
    tail = 0;
    memory.fill(TX * PAGE, 2 * PAGE);
    for (let index = 0; index < ENTRIES; index++) memory.write32(RX * PAGE + 16 * index, (DATA + index) * PAGE);
    const registers = [
      [TDBAL, TX * PAGE],
      [TDLEN, ENTRIES * 16],
      [RDBAL, RX * PAGE],
      [RDLEN, ENTRIES * 16],
      [0xd0, 0xff],
      [0x5000, 0x300],
      [TCTL, 2],
      [RCTL, 2 | ((a % 4) << 16)],
      [RDT, ENTRIES - 1],
    ];
    if (a % 5 === 1) registers[b % registers.length][1] = c;
    for (const [register, value] of registers) write(register, value);
  };
  const ask = ([a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0]: readonly number[]) => {
    const pieces = 1 + (a % 4);
    const put = (low: number, high: number, dword2: number, dword3: number) => {
      const at = TX * PAGE + 16 * tail;
      for (const [index, value] of [low, high, dword2, dword3].entries()) memory.write32(at + 4 * index, value);
      tail = (tail + 1) % ENTRIES;
    };
    const isNew = b % 3 !== 0;
    if (isNew) put(14 | (24 << 8) | (33 << 16), c % 5 ? 34 | (50 << 8) : c, 0x27 << 24, (c % 7 ? 1448 : c) << 16);
    for (let piece = 0; piece < pieces; piece++) {
      const page = (DATA + ((d + piece) % 200)) * PAGE;
      if (piece === 0) memory.copyIn(page, Uint8Array.of(0, 1, 2, 3, 4, 5, 2, 0, 0, 0, 0, 1, 8, 0, 0x45));
      if (piece === 0) memory.write8(page + 23, 6);
      const last = piece === pieces - 1 ? 9 : 0;
      const large = e % 2 ? 4 : 0;
      const length = g % 11 ? (piece === 0 ? 54 + (e % 100) : 1 + (f % 1400)) : g;
      const command = (isNew ? 0x20 | large : f & 4) | last;
      put(
        d % 19 ? page : d,
        d % 37 ? 0 : e,
        (length & 0xfffff) | (isNew ? 1 << 20 : 0) | (command << 24),
        isNew ? (f & 3) << 8 : g & 0xff00,
      );
    }
    write(TDT, f % 23 ? tail : f);
    write(RDT, g % 17 ? (read(0x2810) + ENTRIES - 1) % ENTRIES : g);
    if (g % 3) read(0xc0);
    writePort(a % 2 ? 0 : 4, b);
  };
  return {
    ...{ device, start, ask },
    registers: [
      0x10,
      0x14,
      0x20,
      0xc0,
      0xc8,
      0xd0,
      0xd8,
      RCTL,
      TCTL,
      RDBAL,
      0x2804,
      RDLEN,
      0x2810,
      RDT,
      0x3804,
      0x3810,
      TDT,
    ],
    rings: [TX * PAGE, RX * PAGE],
    works() {
      const before = received.frames;
      put60();
      return received.frames === before + 1;
    },
  };

  function put60(): void {
    memory.write32(TX * PAGE, DATA * PAGE);
    memory.write32(TX * PAGE + 4, 0);
    memory.write32(TX * PAGE + 8, 60 | (9 << 24));
    write(TDT, 1);
  }
}
