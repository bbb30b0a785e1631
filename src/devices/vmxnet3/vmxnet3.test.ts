/** The adapter as Linux's vmxnet3_drv.c talks to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkPort, Offload } from '../../host/network.ts';
import { fold, pseudoHeaderSum, sum } from '../../net/checksum.ts';
import { testSlot } from '../test-slot.ts';
import { Vmxnet3 } from './vmxnet3.ts';

const RAM = 1 << 20;
const [SHARED, QUEUES, TX, TX_DONE, RX, RX2, RX_DONE] = [0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000, 0x7000];
const [TX_BUFFER, HEADS, BODIES] = [0x10000, 0x40000, 0x80000];
const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
/** BAR 1 stands behind BAR 0, MSI-X behind that. */
const [VRRS, DSAL, DSAH, CMD, MACL, MACH, ICR] = [0x1000, 0x1010, 0x1018, 0x1020, 0x1028, 0x1030, 0x1038];
const [TXPROD, RXPROD] = [0x600, 0x800];
const ENTRIES = 8;
const [HEAD_SIZE, BODY_SIZE] = [1536, 4096];

function setUp({ offloads = true, lro = false } = {}) {
  const machine = testSlot(RAM);
  const { memory, read, write } = machine;
  const sent: { frame: Uint8Array; offload: Offload | undefined }[] = [];
  let port: NetworkPort | undefined;
  const network = {
    ...{ name: 'n', offloads },
    connect: (given: NetworkPort) => void (port = given),
    send: (frame: Uint8Array, offload?: Offload) => void sent.push({ frame, offload }),
  };
  const device = new Vmxnet3(machine.slot, network, '0', MAC, machine.place);
  const positions = { tx: 0, done: 0, rx: [0, 0], received: 0 };
  const command = (number: number) => {
    write(CMD, number);
    return read(CMD);
  };
  const offer = (ring: number, count: number) => {
    for (; count > 0; count--) {
      const index = positions.rx[ring]++;
      const at = (ring ? RX2 : RX) + 16 * (index % ENTRIES);
      memory.write64(at, BigInt(ring ? BODIES + BODY_SIZE * (index % ENTRIES) : HEADS + 2048 * (index % ENTRIES)));
      const generation = Math.floor(index / ENTRIES) % 2 ? 0 : 0x80000000;
      memory.write32(at + 8, (ring ? BODY_SIZE | (1 << 14) : HEAD_SIZE) | generation);
    }
  };
  const activate = () => {
    memory.fill(SHARED, 0x8000 - SHARED);
    Object.assign(positions, { tx: 0, done: 0, rx: [0, 0], received: 0 });
    memory.write32(SHARED, 0xbabefee1);
    memory.write32(SHARED + 24, lro ? 9 : 1);
    memory.write64(SHARED + 40, BigInt(QUEUES));
    for (const [offset, value] of [
      [62, 1],
      [63, 1],
      [80, 1],
      [81, 2],
    ])
      memory.write8(SHARED + offset, value);
    for (const [offset, place] of [
      [16, TX],
      [32, TX_DONE],
      [256 + 16, RX],
      [256 + 24, RX2],
      [256 + 32, RX_DONE],
    ])
      memory.write64(QUEUES + offset, BigInt(place));
    for (const [offset, size] of [
      [56, ENTRIES],
      [64, ENTRIES],
      [256 + 56, ENTRIES],
      [256 + 60, ENTRIES],
      [256 + 64, 2 * ENTRIES],
    ])
      memory.write32(QUEUES + offset, size);
    write(DSAL, SHARED);
    write(DSAH, 0);
    return command(0xcafe0000);
  };
  /** One frame in pieces of these lengths. */
  const transmit = (
    frame: Uint8Array,
    lengths: readonly number[],
    first: [dword2: number, dword3: number] = [0, 0],
  ) => {
    let done = 0;
    for (const [piece, length] of lengths.entries()) {
      const index = positions.tx++;
      const at = TX + 16 * (index % ENTRIES);
      memory.copyIn(TX_BUFFER + done, frame.subarray(done, done + length));
      memory.write64(at, BigInt(TX_BUFFER + done));
      const generation = Math.floor(index / ENTRIES) % 2 ? 0 : 1 << 14;
      memory.write32(at + 8, (length & 0x3fff) | generation | (piece === 0 ? first[0] : 0));
      memory.write32(at + 12, (piece === 0 ? first[1] : 0) | (piece === lengths.length - 1 ? 0x3000 : 0));
      done += length;
    }
    write(TXPROD, positions.tx % ENTRIES);
  };
  const completion = (ring: number, size: number, position: 'done' | 'received') => {
    const index = positions[position];
    const at = ring + 16 * (index % size);
    const words = [0, 4, 8, 12].map(offset => memory.read32(at + offset));
    if (words[3] >>> 31 !== (Math.floor(index / size) % 2 ? 0 : 1)) return undefined;
    positions[position]++;
    return words;
  };
  /** A frame that has come, put together as its completions say. */
  const received = () => {
    let frame = new Uint8Array(0);
    for (let first = true; ; first = false) {
      const words = completion(RX_DONE, 2 * ENTRIES, 'received');
      if (!words) return undefined;
      const [index, ring] = [words[0] & 0xfff, (words[0] >> 16) & 0x3ff];
      assert.equal((words[0] >> 15) & 1, first ? 1 : 0, 'start of packet');
      const piece = memory.copyOut(ring ? BODIES + BODY_SIZE * index : HEADS + 2048 * index, words[2] & 0x3fff);
      frame = Uint8Array.of(...frame, ...piece);
      if (words[0] & (1 << 14)) return { frame, verified: !(words[0] & (1 << 30)), flags: (words[3] >> 16) & 0xff };
    }
  };
  return {
    ...{ ...machine, device, sent, command, activate, transmit, offer, received },
    completed: () => completion(TX_DONE, ENTRIES, 'done')?.[0],
    arrive: (frame: Uint8Array, offload?: Offload) => port!.receive(frame, offload),
  };
}

/** TCP over IPv4 with so much payload, all checksums left to others. */
function tcpFrame(payload: number): Uint8Array {
  const frame = new Uint8Array(54 + payload);
  frame.set([...MAC, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 0, 0, 7, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 10, 0, 2, 2]);
  frame.set([0x80, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x18, 1, 0], 34);
  for (let at = 54; at < frame.length; at++) frame[at] = at * 3;
  return frame;
}

const pseudo = (length: number) =>
  fold(pseudoHeaderSum(Uint8Array.of(10, 0, 2, 15), Uint8Array.of(10, 0, 2, 2), 6, length));

test('what a driver asks before it starts', () => {
  const { device, read, write, command, activate, memory } = setUp();
  assert.equal(device.function.readConfig(0, 4), 0x07b015ad);
  assert.deepEqual([read(VRRS), read(VRRS + 8)], [1, 1]);
  assert.deepEqual([read(MACL), read(MACH)], [0x12005452, 0x5634]);
  write(MACL, 0x01020304);
  assert.deepEqual([read(MACL), command(0xf00d0003), command(0xf00d0004)], [0x01020304, 0x12005452, 0x5634]);
  assert.equal(command(0xf00d0002), 0x27100001);
  assert.equal(command(0xf00d0008), 0, 'any kind of interrupts');
  assert.notEqual(command(0xcafe0000), 0, 'nothing is shared yet');
  assert.equal(activate(), 0);
  for (const [offset, value] of [
    [0, 0],
    [62, 9],
    [63, 0],
    [40, RAM],
    [40, 4],
  ]) {
    activate();
    memory.write8(SHARED + offset, value);
    if (offset === 40) memory.write32(SHARED + 40, value);
    assert.notEqual(command(0xcafe0000), 0, `${value} at ${offset}`);
  }
});

test('frames out of the guest: whole, with a checksum left undone, and for several', () => {
  const { activate, transmit, completed, sent } = setUp();
  activate();
  const plain = tcpFrame(100);
  transmit(plain, [plain.length]);
  transmit(plain, [54, 60, 40], [50 << 18, (2 << 10) | 34]);
  assert.deepEqual([completed(), completed(), completed()], [0, 3, undefined]);
  assert.deepEqual(sent[0], { frame: plain, offload: undefined });
  assert.deepEqual(sent[1], { frame: plain, offload: { start: 34, at: 50, segment: 0 } });
  const large = tcpFrame(5000);
  // Headers as Linux leaves them: no checksums, and no length in the pseudo-header's.
  transmit(large, [54, 4096, 904], [1448 << 18, (3 << 10) | 54]);
  assert.deepEqual(sent[2].offload, { start: 34, at: 50, segment: 1448 });
  const view = new DataView(sent[2].frame.buffer);
  assert.equal(view.getUint16(16), 5040);
  assert.equal(fold(sum(sent[2].frame, 14, 34)), 0xffff);
  assert.equal(view.getUint16(50), pseudo(5020));
  // Around the ring's end, again and again.
  for (let count = 0; count < 30; count++) transmit(plain, [100, 54]);
  assert.equal(sent.length, 33);
  transmit(new Uint8Array(1600), [1600]);
  transmit(plain, [plain.length], [40 << 18, (2 << 10) | 200]);
  assert.equal(sent.length, 33, 'too long without being for several; a checksum outside');
});

test('a network that takes complete frames only gets these', () => {
  const { activate, transmit, sent } = setUp({ offloads: false });
  activate();
  transmit(tcpFrame(5000), [54, 5000], [1448 << 18, (3 << 10) | 54]);
  assert.deepEqual(
    sent.map(({ frame }) => frame.length - 54),
    [1448, 1448, 1448, 656],
  );
  for (const { frame } of sent) {
    assert.equal(fold(sum(frame, 14, 34)), 0xffff);
    assert.equal(fold(sum(frame, 34, frame.length, pseudo(frame.length - 34))), 0xffff);
  }
});

test('frames into the guest, and those that it has no buffers for yet', () => {
  const { activate, arrive, offer, received, memory, write, command } = setUp();
  arrive(tcpFrame(10));
  activate();
  offer(0, 2);
  const frame = tcpFrame(100);
  for (let count = 0; count < 3; count++) arrive(frame.slice());
  assert.deepEqual(received(), { frame, verified: false, flags: 0x80 });
  received();
  assert.equal(received(), undefined);
  assert.equal(memory.read8(QUEUES + 256), 1, 'the driver is to say when it has more');
  offer(0, 2);
  write(RXPROD, 4);
  assert.deepEqual(received()?.frame, frame);
  assert.equal(memory.read8(QUEUES + 256), 0);
  // What is left undone is done here, and need not be checked again.
  const partial = frame.slice();
  new DataView(partial.buffer).setUint16(50, pseudo(120));
  arrive(partial, { start: 34, at: 50, segment: 0 });
  const complete = received()!;
  assert.deepEqual([complete.verified, complete.flags], [true, 0xad]);
  assert.equal(fold(sum(complete.frame, 34, complete.frame.length, pseudo(120))), 0xffff);
  command(0xf00d0001);
  assert.equal(Number(memory.read64(QUEUES + 256 + 88 + 16)), 4, 'unicast frames');
});

test('frames for several are cut, or put into many buffers where the driver takes that', () => {
  for (const lro of [false, true]) {
    const { activate, arrive, offer, received } = setUp({ lro });
    activate();
    offer(0, 8);
    offer(1, 8);
    const frame = tcpFrame(9000);
    arrive(frame.slice(), { start: 34, at: 50, segment: 1448 });
    const lengths: number[] = [];
    for (let next = received(); next; next = received()) {
      assert.ok(next.verified);
      lengths.push(next.frame.length);
      if (lro) assert.deepEqual(next.frame, frame);
    }
    assert.deepEqual(lengths, lro ? [9054] : [1502, 1502, 1502, 1502, 1502, 1502, 366]);
  }
});

test('interrupts: by messages that mask themselves, and by the line', () => {
  const { activate, transmit, write, messages, enableMessages, device, memory, line, read } = setUp();
  activate();
  memory.write8(QUEUES + 72, 1);
  assert.equal(write(CMD, 0xcafe0000), undefined);
  const frame = tcpFrame(10);
  enableMessages(device, 0x2000, 25);
  transmit(frame, [frame.length]);
  assert.deepEqual(messages, [], 'masked');
  write(8, 0);
  assert.deepEqual(messages, [101]);
  transmit(frame, [frame.length]);
  assert.deepEqual(messages, [101], 'masked by itself');
  memory.write32(SHARED + 108, 1);
  write(8, 0);
  assert.deepEqual(messages, [101], 'all are off');
  memory.write32(SHARED + 108, 0);
  write(8, 0);
  assert.deepEqual(messages, [101, 101]);

  const other = setUp();
  other.activate();
  other.write(0, 0);
  other.transmit(frame, [frame.length]);
  assert.ok(other.line.high);
  assert.deepEqual([other.read(ICR), other.read(ICR)], [1, 0]);
  assert.ok(!other.line.high && !line.high && read(ICR) === 0);
});

test('rings that make no sense end nothing but themselves', () => {
  const { activate, memory, write, read, sent, command, transmit, arrive, offer } = setUp();
  activate();
  // No descriptor ends a frame.
  for (let index = 0; index < ENTRIES; index++) memory.write32(TX + 16 * index + 8, 100 | (1 << 14));
  write(TXPROD, 0);
  assert.equal(sent.length, 0);
  activate();
  for (const address of [RAM - 10, 2 ** 40]) {
    memory.write64(TX, BigInt(address));
    memory.write32(TX + 8, 100 | (1 << 14));
    memory.write32(TX + 12, 0x3000);
    write(TXPROD, 1);
    assert.equal(sent.length, 0);
    activate();
  }
  offer(0, 1);
  memory.write64(RX, BigInt(RAM));
  arrive(tcpFrame(10));
  assert.equal(memory.read32(RX_DONE + 8), 64, 'lost where the driver said');
  write(DSAH, 0x1000);
  write(0, 0);
  assert.equal(read(ICR), 0, 'nothing is left of an interrupt whose memory is gone');
  activate();
  command(0xcafe0001);
  transmit(tcpFrame(10), [64]);
  assert.equal(sent.length, 0, 'it has been quiesced');
});

test('a state that is saved goes on', () => {
  const { activate, transmit, states, device, sent, completed, clock } = setUp();
  activate();
  const frame = tcpFrame(10);
  for (let count = 0; count < 11; count++) transmit(frame, [frame.length]);
  const saved = states.save();
  device.reset();
  transmit(frame, [frame.length]);
  assert.equal(sent.length, 11);
  states.restore(saved);
  clock.restored();
  transmit(frame, [frame.length]);
  assert.equal(sent.length, 13);
  assert.equal(completed(), undefined, 'twice around the ring');
});
