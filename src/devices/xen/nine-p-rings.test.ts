import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Pair, pack } from '../../../tests/nine-p-client.ts';
import { createRandom } from '../../conformance/random.ts';
import { MemoryFileSystem } from '../../folders/memory-file-system.ts';
import { createLog } from '../../host/log.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { StateStore } from '../../state/state.ts';
import { ManualClock } from '../manual-clock.ts';
import type { BackEnd, BackendHost } from './backend.ts';
import { connectFolder } from './nine-p-backend.ts';
import { Xenstore } from './xenstore.ts';

const PAGES = 64;
const FRONT = '/local/domain/1/device/9pfs/0';
const BACK = '/local/domain/0/backend/9pfs/1/0';
/** Two pages of data: a page each way. */
const ORDER = 1;
const HALF = 4096;
const PORT = 7;

/** Frames double as grant references. */
function setUp(order = ORDER) {
  const memory = new GuestMemory(new ArrayBuffer(PAGES * 4096), 0, PAGES * 4096);
  const states = new StateStore();
  const store = new Xenstore(states);
  const log = createLog();
  const bound = new Set<number>();
  const notified: number[] = [];
  let mapped = 0;
  let backEnd: BackEnd | undefined;
  store.listen(0, () => backEnd?.onWatch());
  const host: BackendHost = {
    domain: 1,
    memory,
    store,
    log,
    clock: new ManualClock(),
    state: (name, version, initial) => states.state(name, version, initial),
    register: (_name, registered) => void (backEnd = registered),
    map(reference) {
      if (reference >= PAGES) return undefined;
      mapped++;
      return { handle: mapped, address: reference * 4096 };
    },
    unmap: () => mapped--,
    bind: port => port >= PORT && port < PORT + 2 && Boolean(bound.add(port)),
    notify: port => void notified.push(port),
    unbind: port => void bound.delete(port),
  };
  store.write(0, '/local/domain/1', '');
  connectFolder(host, { tag: 'tag', files: new MemoryFileSystem() }, 0, () => 0n);
  /** Ring `index`: a page of indices, and its data pages in the wrong order. */
  const ring = (index: number) => {
    const page = (1 + 10 * index) * 4096;
    const frames = Array.from({ length: 2 ** order }, (_, at) => 1 + 10 * index + 2 ** order - at);
    let produced = 0;
    let consumed = 0;
    memory.write32(page + 128, order);
    for (const [at, frame] of frames.entries()) memory.write32(page + 132 + 4 * at, frame);
    const half = 2 ** order * 2048;
    const at = (base: number, offset: number) => {
      const place = base + (offset % half);
      return frames[Math.floor(place / 4096)]! * 4096 + (place % 4096);
    };
    return {
      page,
      put(bytes: Uint8Array) {
        for (const byte of bytes) memory.write8(at(half, produced++), byte);
        memory.write32(page + 68, produced >>> 0);
      },
      waits: () => (memory.read32(page + 4) - consumed) >>> 0,
      take(count: number) {
        const bytes = Uint8Array.from({ length: count }, () => memory.read8(at(0, consumed++)));
        memory.write32(page, consumed >>> 0);
        return bytes;
      },
    };
  };
  const rings = [ring(0), ring(1)] as const;
  const connect = (more: Record<string, string> = {}) => {
    const nodes = {
      ...{ version: '1', 'num-rings': '2', 'ring-ref0': '1', 'ring-ref1': '11' },
      ...{ 'event-channel-0': `${PORT}`, 'event-channel-1': `${PORT + 1}`, ...more },
    };
    for (const [name, value] of Object.entries(nodes)) store.write(1, `${FRONT}/${name}`, value);
    store.write(1, `${FRONT}/state`, '3');
  };
  return { memory, store, rings, connect, notified, log, bound, kick: () => backEnd!.onEvent(), mapped: () => mapped };
}

const request = (type: number, tag: number, ...fields: readonly Pair[]) => {
  const body = pack(...fields);
  return pack([4, 7 + body.length], [1, type], [2, tag], ['d', body]);
};
const version = request(100, 0xffff, [4, 4096], ['s', '9P2000.L']);
const attach = request(104, 1, [4, 0], [4, 2 ** 32 - 1], ['s', ''], ['s', ''], [4, 0]);

test('the store says what Linux looks for, and the handshake connects', () => {
  const { store, connect, bound, mapped } = setUp();
  const text = (path: string) => store.readText(path);
  assert.deepEqual([text(`${FRONT}/tag`), text(`${BACK}/versions`), text(`${BACK}/max-rings`)], ['tag', '1', '2']);
  assert.equal(text(`${BACK}/state`), '2');
  connect();
  assert.equal(text(`${BACK}/state`), '4');
  assert.deepEqual([...bound], [PORT, PORT + 1]);
  assert.equal(mapped(), 6);
  store.write(1, `${FRONT}/state`, '6');
  assert.deepEqual([text(`${BACK}/state`), mapped(), bound.size], ['6', 0, 0]);
});

test('an offer that is none is refused, and leaves nothing mapped', () => {
  const offers: Record<string, string>[] = [
    { 'num-rings': '3' },
    { 'num-rings': '0' },
    { version: '2' },
    { 'ring-ref1': '1000' },
    { 'event-channel-1': '99' },
    { 'ring-ref0': 'x' },
  ];
  for (const more of offers) {
    const { store, connect, mapped, bound } = setUp();
    connect(more);
    assert.deepEqual([store.readText(`${BACK}/state`), mapped(), bound.size], ['2', 0, 0], JSON.stringify(more));
  }
  for (const order of [0, 8]) {
    const { store, connect, mapped, rings, memory } = setUp();
    memory.write32(rings[0].page + 128, order);
    connect();
    assert.deepEqual([store.readText(`${BACK}/state`), mapped()], ['2', 0]);
  }
});

test('messages go round the ring and over its pages’ ends, and answers come on the ring of the request', () => {
  const { rings, connect, kick, notified } = setUp();
  connect();
  rings[0].put(version);
  kick();
  assert.deepEqual(rings[0].take(rings[0].waits()), pack([4, 21], [1, 101], [2, 0xffff], [4, 4096], ['s', '9P2000.L']));
  rings[1].put(attach);
  kick();
  assert.deepEqual([rings[0].waits(), rings[1].waits(), notified], [0, 20, [PORT, PORT + 1]]);
  rings[1].take(20);
  for (let round = 0; round < 300; round++) {
    // In two pieces: the first is not a message yet.
    const message = request(24, round, [4, 0], [8, 0x3fff]);
    rings[0].put(message.subarray(0, round % message.length));
    kick();
    rings[0].put(message.subarray(round % message.length));
    kick();
    const answer = rings[0].take(rings[0].waits());
    assert.deepEqual([answer.length, answer[4], answer[5] | (answer[6]! << 8)], [160, 25, round]);
  }
});

test('answers wait for room, in their order, and requests with them', () => {
  const { rings, connect, kick } = setUp();
  connect();
  rings[0].put(version);
  rings[0].put(attach);
  kick();
  rings[0].take(rings[0].waits());
  for (let tag = 0; tag < 40; tag++) rings[0].put(request(24, tag, [4, 0], [8, 0x3fff]));
  kick();
  assert.ok(rings[0].waits() > HALF - 160 && rings[0].waits() <= HALF);
  const tags: number[] = [];
  for (; rings[0].waits() > 0; kick()) {
    const answer = rings[0].take(160);
    tags.push(answer[5]! | (answer[6]! << 8));
  }
  assert.deepEqual(
    tags,
    Array.from({ length: 40 }, (_, tag) => tag),
  );
});

test('whatever a guest writes into the shared pages, nothing is thrown and nothing written elsewhere', () => {
  const random = createRandom(5n);
  for (let round = 0; round < 300; round++) {
    const { rings, connect, kick, memory } = setUp();
    connect();
    memory.fill(40 * 4096, 8 * 4096, 0xaa);
    rings[0].put(version);
    for (let step = 0; step < 20; step++) {
      const ring = random.of(rings);
      if (random.below(2))
        memory.write32(
          ring.page + random.of([0, 4, 64, 68, 128, 132, 136]),
          random.of([0, 1, 7, 100, 4096, 4097, 2 ** 31, 2 ** 32 - 1]),
        );
      else ring.put(Uint8Array.from({ length: random.below(60) }, () => random.below(256)));
      kick();
    }
    assert.ok(memory.copyOut(40 * 4096, 8 * 4096).every(byte => byte === 0xaa));
  }
});
