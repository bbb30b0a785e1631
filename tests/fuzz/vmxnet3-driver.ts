/** A hostile driver of a VMXNET3 adapter, on a network that answers frames with frames. */
import { Vmxnet3 } from '../../src/devices/vmxnet3/vmxnet3.ts';
import type { Network, NetworkPort } from '../../src/host/network.ts';
import type { RingDriver, TestMachine } from './pci-rings.ts';

const PAGE = 4096;
const [SHARED, QUEUES, TX, TX_DONE, RX, RX2, RX_DONE, DATA] = [1, 2, 3, 4, 5, 6, 7, 20];
const ENTRIES = 32;

/** A network that sends every frame back, and some of them as large ones. */
export function echo(received: { frames: number }): Network {
  let port: NetworkPort | undefined;
  return {
    ...{ name: 'echo', offloads: true },
    connect: given => void (port = given),
    send(frame, offload) {
      received.frames++;
      port?.receive(frame.slice(), offload);
      if (frame.length > 100) port?.receive(new Uint8Array(frame.length * 5), { start: 34, at: 50, segment: 1448 });
    },
  };
}

export function vmxnet3Driver(machine: TestMachine): RingDriver {
  const { memory, read, write } = machine;
  const received = { frames: 0 };
  const mac = Uint8Array.of(2, 0, 0, 0, 0, 1);
  const device = new Vmxnet3(machine.slot, echo(received), '0', mac, machine.place);
  const produced = { tx: 0, rx: 0, rx2: 0 };
  const start = ([a = 0, b = 0, c = 0, d = 0]: readonly number[]) => {
    memory.fill(SHARED * PAGE, 7 * PAGE);
    Object.assign(produced, { tx: 0, rx: 0, rx2: 0 });
    const shared = SHARED * PAGE;
    memory.write32(shared, 0xbabefee1);
    memory.write32(shared + 24, a % 2 ? 8 : 0);
    memory.write32(shared + 40, QUEUES * PAGE);
    for (const offset of [62, 63, 80]) memory.write8(shared + offset, 1);
    for (const [offset, page] of [
      [16, TX],
      [32, TX_DONE],
      [256 + 16, RX],
      [256 + 24, RX2],
      [256 + 32, RX_DONE],
    ])
      memory.write32(QUEUES * PAGE + offset, page * PAGE);
    for (const offset of [56, 64, 256 + 56, 256 + 60, 256 + 64]) memory.write32(QUEUES * PAGE + offset, ENTRIES);
    if (b % 3 === 1) memory.write32((c % 2 ? SHARED : QUEUES) * PAGE + (c & 0x3fc), d);
    write(0x1010, shared);
    write(0x1018, 0);
    write(0x1020, 0xcafe0000);
    for (let index = 0; index < 3; index++) write(8 * index, 0);
  };
  const buffer = (ring: number, index: number, length: number, generation: number, kind: number) => {
    const at = ring * PAGE + 16 * (index % ENTRIES);
    memory.write32(at, (DATA + (index % 200)) * PAGE);
    memory.write32(at + 4, 0);
    memory.write32(at + 8, (length & 0x3fff) | kind | generation);
  };
  const ask = ([a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0]: readonly number[]) => {
    for (let count = a % 8; count > 0; count--, produced.rx++, produced.rx2++) {
      const generation = (produced.rx / ENTRIES) & 1 ? 0 : 0x80000000;
      buffer(RX, produced.rx, b % 11 ? 1536 : b, generation, 0);
      buffer(RX2, produced.rx2, b % 13 ? 4096 : b, generation, 1 << 14);
    }
    const pieces = 1 + (c % 4);
    for (let piece = 0; piece < pieces; piece++, produced.tx++) {
      const at = TX * PAGE + 16 * (produced.tx % ENTRIES);
      const generation = (produced.tx / ENTRIES) & 1 ? 0 : 1 << 14;
      const source = d % 19 ? (DATA + (d % 200)) * PAGE : d;
      memory.write32(at, source);
      memory.write32(at + 4, d % 37 ? 0 : e);
      const length = piece === 0 ? 54 + (e % 60) : f % 3 ? 4096 : 200;
      const header = e % 3 === 0 ? [1448 << 18, (3 << 10) | 54] : e % 3 === 1 ? [50 << 18, (2 << 10) | 34] : [0, 0];
      memory.write32(at + 8, length | generation | (piece === 0 ? (g % 7 ? header[0] : g << 14) : 0));
      memory.write32(at + 12, (piece === 0 ? (g % 5 ? header[1] : g) : 0) | (piece === pieces - 1 ? 0x3000 : 0));
      if (piece === 0 && memory.has(source, 54))
        memory.copyIn(source, Uint8Array.of(0, 1, 2, 3, 4, 5, 2, 0, 0, 0, 0, 1, 8, 0, f % 5 ? 0x45 : f & 255));
      if (piece === 0 && memory.has(source, 54)) memory.write8(source + 23, 6);
    }
    if (f % 23 === 0) memory.write32((TX + (g % 5)) * PAGE + 4 * (a % 128), b);
    write(0x600, produced.tx % ENTRIES);
    write(g % 2 ? 0x800 : 0xa00, produced.rx % ENTRIES);
    read(0x1038);
    for (let index = 0; index < 3; index++) write(8 * index, 0);
    if (g % 9 === 0) write(0x1020, [0xf00d0001, 0xcafe0001, 0xcafe0000, 0xf00d0002, g][a % 5]);
  };
  return {
    ...{ device, start, ask },
    registers: [0, 8, 0x600, 0x800, 0xa00, 0x1010, 0x1018, 0x1020, 0x1020, 0x1028, 0x1030, 0x1038, 0x1040],
    rings: [SHARED, QUEUES, TX, TX_DONE, RX, RX2, RX_DONE].map(page => page * PAGE),
    works() {
      const before = received.frames;
      memory.write32(TX * PAGE, DATA * PAGE);
      memory.write32(TX * PAGE + 8, 60 | (1 << 14));
      memory.write32(TX * PAGE + 12, 0x3000);
      write(0x600, 1);
      return received.frames === before + 1;
    },
  };
}
