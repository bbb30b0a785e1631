/** A network adapter on the VMBus, as Linux's netvsc.c and rndis_filter.c talk to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Network, NetworkPort, Offload } from '../../host/network.ts';
import { fakeDriver, words } from './fake-vmbus-driver.ts';

const PAGE = 4096;
const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
/** A frame of `length` bytes to `to`. */
const frameTo = (to: readonly number[], length = 60) => {
  const frame = Uint8Array.from({ length }, (_, index) => index);
  frame.set(to);
  return frame;
};

function setUp() {
  const sent: { frame: Uint8Array; offload: Offload | undefined }[] = [];
  const ports: NetworkPort[] = [];
  const network: Network = {
    name: 'n',
    offloads: true,
    connect: port => void ports.push(port),
    send: (frame, offload) => void sent.push({ frame, offload }),
  };
  const driver = fakeDriver({ networks: [network] });
  const offer = driver.connect()[0];
  const channel = driver.open(offer, 8);
  const receivePages = driver.pages(8);
  const { handle: receive } = driver.handOver(
    offer.relid,
    Array.from({ length: 8 }, (_, i) => receivePages + i),
  );
  const sendPages = driver.pages(4);
  const { handle: send } = driver.handOver(
    offer.relid,
    Array.from({ length: 4 }, (_, i) => sendPages + i),
  );
  const complete = (transaction: number) => {
    const packet = channel.take()!;
    assert.deepEqual([packet.type, packet.transaction], [11, BigInt(transaction)]);
    return [...new Uint32Array(packet.body.slice().buffer)];
  };
  const ask = (...message: number[]) => {
    channel.send(6, 9, words(...message));
    return complete(9);
  };
  /** What has come into the receive buffer: RNDIS' words, and the channel. */
  const received = () => {
    const packet = channel.take();
    if (!packet) return undefined;
    assert.equal(packet.type, 7);
    const view = new DataView(packet.bytes.slice().buffer);
    const [length, offset] = [view.getUint32(24, true), view.getUint32(28, true)];
    const bytes = driver.memory.copyOut(receivePages * PAGE + offset, length);
    const count = view.getUint32(20, true);
    const kind = new DataView(packet.body.slice().buffer).getUint32(4, true);
    const release = () => channel.send(11, Number(packet.transaction), words(108, 1), 0);
    return { bytes, count, kind, transaction: Number(packet.transaction), release };
  };
  /** An RNDIS message in the first section of the send buffer. */
  const rndis = (kind: 0 | 1, message: Uint8Array) => {
    driver.memory.copyIn(sendPages * PAGE, message);
    channel.send(6, 5, words(107, kind, 0, message.length));
  };
  const control = (...message: number[]) => {
    rndis(1, words(...message));
    const answer = received()!;
    assert.equal(answer.kind, 1);
    assert.deepEqual(complete(5).slice(0, 2), [108, 1]);
    answer.release();
    return [...new Uint32Array(answer.bytes.slice(0, answer.bytes.length & ~3).buffer)];
  };
  const start = () => {
    assert.deepEqual(ask(1, 0x60001, 0x60001, 0).slice(0, 4), [2, 0x60001, 1, 1]);
    assert.deepEqual(ask(101, receive, 0xcafe, 0).slice(0, 7), [102, 1, 1, 0, 2048, 16, 32768]);
    assert.deepEqual(ask(104, send, 0, 0).slice(0, 3), [105, 1, 6144]);
    assert.deepEqual(control(2, 24, 1, 1, 0, 0x4000).slice(0, 5), [0x80000002, 52, 1, 0, 1]);
    assert.deepEqual(control(5, 32, 2, 0x0001010e, 4, 20, 0, 0x09), [0x80000005, 16, 2, 0]);
  };
  const arrive = (frame: Uint8Array, offload?: Offload) => ports[0].receive(frame, offload);
  return { ...driver, channel, sendPages, sent, ask, rndis, control, complete, received, start, arrive };
}

test('versions, buffers, and what the adapter says of itself', () => {
  const { ask, start, control } = setUp();
  assert.equal(ask(1, 0x70000, 0x70000, 0)[3], 7, 'no such version');
  assert.equal(ask(101, 0x1234, 0xcafe, 0)[1], 2, 'no such buffer');
  start();
  assert.equal(ask(133, 1, 3)[1], 2, 'one channel');
  const address = control(4, 28, 3, 0x01010101, 0, 20, 0);
  assert.deepEqual(address.slice(0, 6), [0x80000004, 30, 3, 0, 6, 16]);
  assert.equal(address[6], 0x12005452);
  assert.deepEqual(control(4, 28, 4, 0x12345678, 0, 20, 0), [0x80000004, 24, 4, 0xc00000bb, 0, 0]);
  // 156 bytes of capabilities, asked for with their header.
  const capabilities = control(
    4,
    28 + 156,
    5,
    0xfc01020d,
    156,
    20,
    0,
    0xa7 | (3 << 8) | (156 << 16),
    ...Array(38).fill(0),
  );
  assert.deepEqual(capabilities.slice(2, 8), [5, 0, 156, 16, 0xa7 | (3 << 8) | (156 << 16), 2]);
});

const packet = (frame: Uint8Array, ...information: number[]) => {
  const head = words(1, 44 + 4 * information.length + frame.length, 36 + 4 * information.length, frame.length);
  const rest = words(0, 0, 0, 36, 4 * information.length, 0, 0, ...information);
  return Uint8Array.from([...head, ...rest, ...frame]);
};

test('frames out of the guest: from the send buffer, from its memory, several at once, with what is left undone', () => {
  const { start, rndis, complete, sent, channel, pages, memory } = setUp();
  start();
  const frame = frameTo(MAC, 64);
  rndis(
    0,
    Uint8Array.from([...packet(frame), ...Array(4).fill(0), ...packet(frame, 16, 0, 12, (1 << 2) | (34 << 16))]),
  );
  assert.deepEqual(complete(5).slice(0, 2), [108, 1]);
  assert.deepEqual(sent.splice(0), [
    { frame, offload: undefined },
    { frame, offload: { start: 34, at: 50, segment: 0 } },
  ]);
  const page = pages(2);
  const message = packet(frame);
  memory.copyIn(page * PAGE + 4080, message);
  const ranges = channel.direct({ page, offset: 4080, length: message.length });
  channel.send(9, 5, words(107, 0, 0xffffffff, 0), 1, ranges);
  assert.deepEqual(complete(5).slice(0, 2), [108, 1]);
  assert.deepEqual(sent.splice(0), [{ frame, offload: undefined }]);
  // A packet that stands for several: IPv4, its length and checksum are the host's to write.
  const large = frameTo(MAC, 3000);
  large.set([0x08, 0x00, 0x45, 0, 0, 0], 12);
  rndis(0, packet(large, 16, 2, 12, 1400 | (34 << 20) | (1 << 30)));
  complete(5);
  const [{ frame: whole, offload }] = sent.splice(0);
  assert.deepEqual(offload, { start: 34, at: 50, segment: 1400 });
  assert.equal(new DataView(whole.buffer).getUint16(16), 2986);
  for (const bad of [packet(frame).fill(0xff, 8, 16), packet(frameTo(MAC, 13)), packet(frameTo(MAC, 1600))])
    rndis(0, bad);
  assert.deepEqual(sent, []);
});

test('frames into the guest: those that it wants, as long as it has room', () => {
  const { start, received, arrive, channel } = setUp();
  start();
  arrive(frameTo([2, 0, 0, 0, 0, 1]));
  arrive(frameTo([0x33, 0x33, 0, 0, 0, 1]));
  assert.equal(received(), undefined);
  arrive(frameTo(MAC));
  const first = received()!;
  assert.deepEqual(first.bytes.subarray(44), frameTo(MAC));
  // Its checksum was left to us, who know then that it is right.
  arrive(frameTo(MAC, 64), { start: 34, at: 50, segment: 0 });
  const second = received()!;
  assert.equal(new DataView(second.bytes.buffer).getUint32(44, true), 16);
  for (let index = 0; index < 20; index++) arrive(frameTo(Array(6).fill(0xff)));
  const held = Array.from({ length: 14 }, () => received()!);
  assert.equal(received(), undefined, '16 sections, and the guest has them all');
  for (const each of [first, second, ...held]) each.release();
  let more = 0;
  for (let next = received(); next; next = received()) {
    more += next.count;
    next.release();
  }
  assert.equal(more, 6);
  channel.send(6, 3, words(103, 0xcafe), 0);
  arrive(frameTo(MAC));
  assert.equal(received(), undefined, 'the buffer is the guest’s again');
});

test('frames that come together are one packet, which the guest answers once', () => {
  const { start, received, arrive, channel } = setUp();
  start();
  const large = frameTo(MAC, 54 + 20 * 1000);
  large.set([0x08, 0x00, 0x45], 12);
  large[14 + 9] = 6;
  large[34 + 12] = 0x50;
  const offload = { start: 34, at: 50, segment: 1000 };
  arrive(large, offload);
  const held = [received()!];
  // Of 16 sections some are behind: what is free in a row is one packet.
  for (let next = received(); next; next = received()) held.push(next);
  assert.equal(
    held.reduce((sum, { count }) => sum + count, 0),
    16,
  );
  assert.ok(held.length <= 2);
  assert.equal(held[0]!.bytes.length, 44 + 16 + 54 + 1000);
  // An answer to what is in the midst of a packet frees nothing.
  channel.send(11, held[0]!.transaction + 1, words(108, 1), 0);
  assert.equal(received(), undefined);
  for (const { release } of held) release();
  assert.equal(received()!.count, 4, 'the rest');
});
