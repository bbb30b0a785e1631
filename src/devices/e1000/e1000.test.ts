/** The card as Linux's e1000 talks to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkPort, Offload } from '../../host/network.ts';
import { fold, pseudoHeaderSum, sum } from '../../net/checksum.ts';
import { testSlot } from '../test-slot.ts';
import { E1000 } from './e1000.ts';

const RAM = 1 << 20;
const [TX, RX, TX_DATA, RX_DATA] = [0x1000, 0x2000, 0x10000, 0x40000];
const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
const [CTRL, STATUS, EECD, EERD, MDIC, ICR, ICS, IMS, IMC, RCTL, TCTL] = [
  ...[0, 8, 0x10, 0x14, 0x20, 0xc0, 0xc8, 0xd0, 0xd8, 0x100, 0x400],
];
const [RDBAL, RDT, TDBAL, TDH, TDT] = [0x2800, 0x2818, 0x3800, 0x3810, 0x3818];
const ENTRIES = 8;

function setUp() {
  const machine = testSlot(RAM);
  const { memory, write } = machine;
  const sent: { frame: Uint8Array; offload: Offload | undefined }[] = [];
  let port: NetworkPort | undefined;
  const device = new E1000(
    machine.slot,
    {
      ...{ name: 'n', offloads: true },
      connect: given => void (port = given),
      send: (frame, offload) => void sent.push({ frame, offload }),
    },
    '0',
    MAC,
    machine.place,
  );
  const start = (control = 0x8002) => {
    for (const [base, first] of [
      [TDBAL, TX],
      [RDBAL, RX],
    ]) {
      write(base, first);
      write(base + 8, ENTRIES * 16);
    }
    for (let index = 0; index < ENTRIES; index++) {
      memory.fill(RX + 16 * index, 16);
      memory.write32(RX + 16 * index, RX_DATA + 2048 * index);
    }
    write(TCTL, 2);
    write(RCTL, control);
  };
  let tail = 0;
  /** A descriptor of the newer kind is given by its options. */
  const put = (
    address: number,
    length: number,
    command: number,
    rest: { options?: number; start?: number; at?: number } = {},
  ) => {
    const at = TX + 16 * tail;
    memory.fill(at, 16);
    memory.write32(at, address);
    memory.write32(at + 8, length | (command << 24) | (rest.options === undefined ? (rest.at ?? 0) << 16 : 1 << 20));
    memory.write8(at + 13, rest.options ?? rest.start ?? 0);
    tail = (tail + 1) % ENTRIES;
  };
  /** A context: checksums of IP and of TCP, and the segments' size. */
  const context = (segment: number) => {
    const at = TX + 16 * tail;
    memory.copyIn(at, Uint8Array.of(14, 24, 33, 0, 34, 50, 0, 0, 0, 0, 0, 0x27, 0, 54, segment & 255, segment >> 8));
    tail = (tail + 1) % ENTRIES;
  };
  return {
    ...{ ...machine, device, sent, start, put, context },
    go: () => write(TDT, tail),
    arrive: (frame: Uint8Array, offload?: Offload) => port!.receive(frame, offload),
  };
}

function tcpFrame(payload: number): Uint8Array {
  const frame = new Uint8Array(54 + payload);
  frame.set([...MAC, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 7, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
  frame.set([0x80, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0], 34);
  for (let at = 54; at < frame.length; at++) frame[at] = at * 3;
  return frame;
}

test('a driver finds a card with a link, an address in its EEPROM, and a PHY', () => {
  const { device, read, write, readPort, writePort } = setUp();
  assert.equal(device.function.readConfig(0, 4), 0x100e8086);
  assert.equal(device.function.readConfig(0x14, 4) & 1, 1, 'ports');
  assert.equal(read(STATUS) & 0x83, 0x83);
  // By wires: chip select, a start bit, a read, six bits of an address; then sixteen bits come.
  const word = (index: number) => {
    let value = 0x40;
    const wires = (next: number) => {
      value = next;
      write(EECD, value);
    };
    const bit = (high: number) => {
      wires(0x42 | (high << 2));
      wires(0x43 | (high << 2));
      wires(0x42 | (high << 2));
    };
    wires(0x40);
    assert.ok(read(EECD) & 0x80, 'granted');
    wires(0x42);
    for (let at = 8; at >= 0; at--) bit((((6 << 6) | index) >> at) & 1);
    let read16 = 0;
    for (let at = 0; at < 16; at++) {
      wires(0x43);
      read16 = (read16 << 1) | (read(EECD) & 8 ? 1 : 0);
      wires(0x42);
    }
    wires(0x40);
    return read16;
  };
  const words = Array.from({ length: 64 }, (_, index) => word(index));
  assert.deepEqual(words.slice(0, 3), [0x5452, 0x1200, 0x5634]);
  assert.equal(words.reduce((all, each) => all + each) & 0xffff, 0xbaba);
  write(EERD, 1 | (2 << 8));
  assert.equal(read(EERD) >>> 16, 0x5634);
  assert.deepEqual([read(0x5400), read(0x5404)], [0x12005452, 0x80005634]);
  write(MDIC, 0x08000000 | (1 << 21) | (2 << 16));
  assert.equal(read(MDIC) & 0x1000ffff, 0x10000141);
  write(MDIC, 0x08000000 | (2 << 21) | (2 << 16));
  assert.ok(read(MDIC) & 0x40000000, 'nobody there');
  write(0x5200, 7);
  writePort(0, CTRL);
  writePort(4, read(CTRL) | 0x04000000);
  assert.equal(read(0x5200), 0, 'a reset by the ports');
  writePort(0, STATUS);
  assert.equal(readPort(4), read(STATUS));
});

test('frames out of the guest, with checksums left undone, and for several', () => {
  const { start, put, go, sent, memory, read } = setUp();
  start();
  const frame = tcpFrame(200);
  memory.copyIn(TX_DATA, frame);
  put(TX_DATA, 254, 9);
  go();
  assert.deepEqual(sent.pop(), { frame, offload: undefined });
  assert.equal(memory.read8(TX + 12), 1, 'done');
  assert.equal(read(TDH), 1);
  put(TX_DATA, 54, 0);
  put(TX_DATA + 54, 200, 13, { start: 34, at: 50 });
  go();
  assert.deepEqual(sent.pop(), { frame, offload: { start: 34, at: 50, segment: 0 } });
});

test('descriptors of the newer kind', () => {
  const { start, put, context, go, sent, memory } = setUp();
  start();
  const frame = tcpFrame(5000);
  memory.copyIn(TX_DATA, frame);
  context(0);
  put(TX_DATA, 54, 0x20, { options: 3 });
  put(TX_DATA + 54, 100, 0x29, { options: 3 });
  go();
  const small = sent.pop()!;
  assert.deepEqual(small.offload, { start: 34, at: 50, segment: 0 });
  assert.equal(fold(sum(small.frame, 14, 34)), 0xffff, "IP's checksum");
  context(1448);
  put(TX_DATA, 54, 0x24, { options: 3 });
  put(TX_DATA + 54, 5000, 0x2d, { options: 3 });
  go();
  const large = sent.pop()!;
  assert.deepEqual(large.offload, { start: 34, at: 50, segment: 1448 });
  assert.equal(new DataView(large.frame.buffer).getUint16(16), 5040);
  const pseudo = fold(pseudoHeaderSum(Uint8Array.of(10, 0, 2, 15), Uint8Array.of(10, 0, 2, 2), 6, 5020));
  assert.equal(new DataView(large.frame.buffer).getUint16(50), pseudo);
  put(TX_DATA, 5000, 0x29, { options: 0 });
  put(RAM, 60, 9);
  go();
  assert.equal(sent.length, 0, 'too long, and nowhere');
});

test('frames into the guest, those that it has no buffers for yet, and interrupts', () => {
  const { start, arrive, memory, write, read, line } = setUp();
  const frame = tcpFrame(100);
  arrive(frame);
  start();
  write(IMS, 0x80);
  arrive(frame.slice());
  assert.ok(!line.high, 'no buffers');
  write(RDT, 2);
  assert.ok(line.high);
  assert.deepEqual([memory.read16(RX + 8), memory.read8(RX + 12)], [158, 7]);
  assert.deepEqual(memory.copyOut(RX_DATA, 154), frame);
  write(IMC, 0xffffffff);
  assert.ok(!line.high);
  assert.equal(read(ICR), 0x80);
  write(IMS, 0x80);
  assert.ok(!line.high, 'reading clears');
  write(ICS, 4);
  assert.equal(read(ICR), 4);
  // Completed here: right. A runt is padded.
  write(0x5000, 0x300);
  const pseudo = fold(pseudoHeaderSum(Uint8Array.of(10, 0, 2, 15), Uint8Array.of(10, 0, 2, 2), 6, 120));
  new DataView(frame.buffer).setUint16(50, pseudo);
  arrive(frame, { start: 34, at: 50, segment: 0 });
  assert.equal(memory.read8(RX + 16 + 12), 0x63);
  write(RDT, 4);
  arrive(new Uint8Array(14));
  assert.deepEqual([memory.read16(RX + 32 + 8), memory.read8(RX + 32 + 12)], [64, 7]);
});

test('a frame over several buffers, without its check sequence', () => {
  const { start, arrive, memory, write } = setUp();
  start(0x8002 | (3 << 16) | 0x04000000);
  write(RDT, 7);
  arrive(tcpFrame(500));
  assert.deepEqual(
    [0, 1, 2].map(index => [memory.read16(RX + 16 * index + 8), memory.read8(RX + 16 * index + 12)]),
    [
      [256, 5],
      [256, 5],
      [42, 7],
    ],
  );
});

test('a state that is saved goes on, a frame begun included', () => {
  const { start, put, go, states, device, sent, memory, clock } = setUp();
  start();
  const frame = tcpFrame(200);
  memory.copyIn(TX_DATA, frame);
  put(TX_DATA, 54, 0);
  go();
  const saved = states.save();
  device.reset();
  states.restore(saved);
  clock.restored();
  put(TX_DATA + 54, 200, 9);
  go();
  assert.deepEqual(sent[0].frame, frame);
});
