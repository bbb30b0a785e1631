import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Pair, pack } from '../../../tests/nine-p-client.ts';
import { Channel } from '../../folders/channel.ts';
import { MemoryFileSystem } from '../../folders/memory-file-system.ts';
import type { FileSystem } from '../../host/file-system.ts';
import { createLog } from '../../host/log.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { StateStore } from '../../state/state.ts';
import type { Slot } from '../device.ts';
import { ManualClock } from '../manual-clock.ts';
import { Virtio9p } from './virtio-9p.ts';
import { VirtQueue } from './virtqueue.ts';

const RAM = 2 ** 20;
const [DESC, AVAIL, USED, OUT, IN] = [0x10000, 0x20000, 0x30000, 0x40000, 0x50000];
const SIZE = 16;

/** A device with its queue, and the driver's half of it. */
function setUp(files: FileSystem = new MemoryFileSystem()) {
  const memory = new GuestMemory(new ArrayBuffer(RAM), 0, RAM);
  const states = new StateStore();
  const log = createLog();
  const slot = { memory, log, clock: new ManualClock(), state: states.state.bind(states) } as unknown as Slot;
  const device = new Virtio9p(slot, { tag: 'tag', files }, '0');
  const queue = new VirtQueue(states, 'queue', memory, SIZE);
  Object.assign(queue.state, { size: SIZE, descriptors: DESC, available: AVAIL, used: USED });
  queue.enable();
  const told: number[] = [];
  device.attach({
    queue: () => (queue.enabled ? queue : undefined),
    used: index => void told.push(index),
    configurationChanged() {},
  });
  device.start();
  let sent = 0;
  /** A request whose message stands in `pieces` descriptors, with room for the answer in two. */
  const send = (message: Uint8Array, room = 4096, pieces = 1) => {
    let index = 0;
    const add = (address: number, length: number, flags: number, last = false) => {
      const at = DESC + 16 * index++;
      memory.write32(at, address);
      memory.write32(at + 4, 0);
      memory.write32(at + 8, length);
      memory.write16(at + 12, flags | (last ? 0 : 1));
      memory.write16(at + 14, index);
    };
    memory.copyIn(OUT, message);
    const step = Math.ceil(message.length / pieces);
    for (let at = 0; at < message.length; at += step) add(OUT + at, Math.min(step, message.length - at), 0);
    add(IN, 11, 2);
    add(IN + 11, room - 11, 2, true);
    memory.write16(AVAIL + 4 + 2 * (sent++ % SIZE), 0);
    memory.write16(AVAIL + 2, sent);
    device.serve(0, queue);
    return index;
  };
  const used = () => memory.read16(USED + 2);
  /** The answer, which has come. */
  const answer = () => memory.copyOut(IN, memory.read32(USED + 4 + 8 * ((used() - 1) % SIZE) + 4));
  return { device, memory, queue, send, answer, used, told };
}

const request = (type: number, tag: number, ...fields: readonly Pair[]) => {
  const body = pack(...fields);
  return pack([4, 7 + body.length], [1, type], [2, tag], ['d', body]);
};
const version = request(100, 0xffff, [4, 8192], ['s', '9P2000.L']);
const attach = request(104, 1, [4, 0], [4, 2 ** 32 - 1], ['s', ''], ['s', ''], [4, 0]);

test('the configuration has the tag, whose feature is offered', () => {
  const { device } = setUp();
  assert.deepEqual([...device.configuration], [3, 0, 0x74, 0x61, 0x67]);
  assert.equal(device.features, 1n);
  assert.equal(device.type, 9);
});

test('a message in pieces is answered into pieces, with its length', () => {
  const { send, answer, used } = setUp();
  send(version, 4096, 3);
  assert.deepEqual(answer(), pack([4, 21], [1, 101], [2, 0xffff], [4, 8192], ['s', '9P2000.L']));
  send(attach, 20);
  assert.equal(used(), 2);
  assert.equal(answer()[4], 105);
  // No room for what is asked: an error has.
  send(request(24, 2, [4, 0], [8, 0x3fff]), 20);
  assert.deepEqual(answer(), pack([4, 11], [1, 7], [2, 2], [4, 90]));
});

test('a request that cannot be one breaks the queue', () => {
  for (const [message, room, reason] of [
    [version.subarray(0, 5), 4096, /a message of 5 bytes/],
    [new Uint8Array(600_000), 4096, /a buffer outside RAM|a message of 600000 bytes/],
  ] as const) {
    const { send, queue, used } = setUp();
    send(message, room);
    assert.match(queue.broken ?? '', reason);
    assert.equal(used(), 0);
  }
});

test('what can only be read later is answered later, into the buffers of its own request', () => {
  const channel = new Channel({ output() {}, status() {}, wantsInput() {} });
  const { send, answer, used, told, memory, device } = setUp(channel);
  send(version);
  send(attach);
  send(request(110, 2, [4, 0], [4, 1], [2, 1], ['s', 'stdin']));
  send(request(12, 3, [4, 1], [4, 0]));
  send(request(116, 4, [4, 1], [8, 0], [4, 100]));
  assert.equal(used(), 4);
  // The driver goes on meanwhile.
  memory.fill(IN, 64, 0);
  send(request(24, 5, [4, 0], [8, 0x3fff]));
  assert.deepEqual([used(), answer()[4]], [5, 25]);
  channel.give(Uint8Array.of(1, 2, 3));
  assert.deepEqual([used(), told], [6, [0]]);
  assert.deepEqual(answer(), pack([4, 14], [1, 117], [2, 4], [4, 3], ['d', Uint8Array.of(1, 2, 3)]));
  // What waits when the device is reset is never answered.
  send(request(110, 6, [4, 0], [4, 2], [2, 1], ['s', 'stdin']));
  send(request(12, 7, [4, 2], [4, 0]));
  send(request(116, 8, [4, 2], [8, 0], [4, 100]));
  const before = used();
  device.start();
  channel.give(Uint8Array.of(4));
  assert.equal(used(), before);
});
