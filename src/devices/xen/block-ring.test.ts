import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../../conformance/random.ts';
import type { Disk } from '../../host/disk.ts';
import { createLog } from '../../host/log.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { StateStore } from '../../state/state.ts';
import { ManualClock } from '../manual-clock.ts';
import type { BackEnd, BackendHost } from './backend.ts';
import { connectDisk, virtualDevice } from './block-backend.ts';
import { type BlockLayout, layout32, layout64 } from './block-protocol.ts';
import { Xenstore } from './xenstore.ts';

const PAGES = 600;
const SECTORS = 4096;
/** Frame numbers double as grant references: the guest grants everything but what `refused` holds. */
const RING = 1;
const DATA = 8;
const PORT = 5;
const FRONT = '/local/domain/1/device/vbd/51712';
const BACK = '/local/domain/0/backend/vbd/1/51712';

class MemoryDisk implements Disk {
  readonly name = 'test';
  readonly size = SECTORS * 512;
  readonly bytes = new Uint8Array(this.size);
  readonly calls: string[] = [];
  readOnly = false;
  broken = false;
  read(offset: number, into: Uint8Array): void {
    if (this.broken) throw new Error('the host cannot read');
    if (offset < 0 || offset + into.length > this.size) throw new RangeError('outside');
    into.set(this.bytes.subarray(offset, offset + into.length));
    this.calls.push(`read ${offset} ${into.length}`);
  }
  write(offset: number, from: Uint8Array): void {
    if (offset < 0 || offset + from.length > this.size) throw new RangeError('outside');
    this.bytes.set(from, offset);
    this.calls.push(`write ${offset} ${from.length}`);
  }
  flush(): void {
    this.calls.push('flush');
  }
  discard(offset: number, length: number): void {
    this.bytes.fill(0, offset, offset + length);
    this.calls.push(`discard ${offset} ${length}`);
  }
  close(): void {}
}

interface Segment {
  frame: number;
  first: number;
  last: number;
}

function setUp(options: { layout?: BlockLayout; order?: number; readOnly?: boolean } = {}) {
  const layout = options.layout ?? layout64;
  const ringPages = 2 ** (options.order ?? 0);
  const memory = new GuestMemory(new ArrayBuffer(PAGES * 4096), 0, PAGES * 4096);
  const states = new StateStore();
  const store = new Xenstore(states);
  const disk = new MemoryDisk();
  disk.readOnly = options.readOnly ?? false;
  const refused = new Set<number>();
  let mapped = 0;
  let notifications = 0;
  let backEnd: BackEnd | undefined;
  let bound = false;
  store.listen(0, () => backEnd?.onWatch());
  const event = () => {
    if (bound) backEnd?.onEvent();
  };
  const host: BackendHost = {
    domain: 1,
    memory,
    store,
    log: createLog(),
    clock: new ManualClock(),
    state: (name, version, initial) => states.state(name, version, initial),
    register(name, registered) {
      assert.equal(name, 'vbd/51712');
      backEnd = registered;
    },
    map(reference, write) {
      if (reference >= PAGES || refused.has(reference) || (write && refused.has(-reference))) return undefined;
      mapped++;
      return { handle: mapped, address: reference * 4096 };
    },
    unmap: () => mapped--,
    bind: port => port === PORT && (bound = true),
    notify: () => notifications++,
    unbind: () => (bound = false),
  };
  store.write(0, '/local/domain/1', '');
  connectDisk(host, disk, 0);

  // The front end's pages of the ring are not neighbours, and in the wrong order.
  const ringFrames = Array.from({ length: ringPages }, (_, index) => RING + (ringPages - 1 - index) * 2);
  const connect = (extra: Record<string, string> = {}) => {
    const nodes: Record<string, string> = {
      'event-channel': String(PORT),
      protocol: layout === layout32 ? 'x86_32-abi' : 'x86_64-abi',
      'feature-persistent': '0',
    };
    if (options.order === undefined) nodes['ring-ref'] = String(ringFrames[0]);
    else {
      nodes['ring-page-order'] = String(options.order);
      for (const [index, frame] of ringFrames.entries()) nodes[`ring-ref${index}`] = String(frame);
    }
    for (const [name, value] of Object.entries({ ...nodes, ...extra })) store.write(1, `${FRONT}/${name}`, value);
    memory.write32(ringFrames[0]! * 4096 + 4, 1);
    memory.write32(ringFrames[0]! * 4096 + 12, 1);
    store.write(1, `${FRONT}/state`, '3');
  };

  const header = ringFrames[0]! * 4096;
  const slots = 2 ** Math.floor(Math.log2((ringPages * 4096 - 64) / layout.slot));
  const at = (offset: number) => ringFrames[Math.floor(offset / 4096)]! * 4096 + (offset % 4096);
  let produced = 0;
  let consumed = 0;
  let lastOperation = -1;
  /** Puts one raw slot in. */
  const put = (fill: (slot: DataView) => void) => {
    const slot = new Uint8Array(layout.slot);
    fill(new DataView(slot.buffer));
    const start = 64 + (produced % slots) * layout.slot;
    for (const [index, byte] of slot.entries()) memory.write8(at(start + index), byte);
    produced++;
  };
  const kick = () => {
    memory.write32(header, produced);
    event();
  };
  /** Statuses of the responses that have come. */
  const responses = (): number[] => {
    const out: number[] = [];
    for (const end = memory.read32(header + 8); consumed !== end; consumed++) {
      const start = 64 + (consumed % slots) * layout.slot;
      const bytes = Uint8Array.from({ length: 12 }, (_, index) => memory.read8(at(start + index)));
      const view = new DataView(bytes.buffer);
      assert.equal(view.getBigUint64(0, true), BigInt(consumed) + 0x1_0000_0000n, 'the id comes back');
      lastOperation = view.getUint8(8);
      out.push(view.getInt16(10, true));
    }
    memory.write32(header + 12, consumed + 1);
    return out;
  };
  const request = (operation: number, sector: number | bigint, segments: Segment[]) =>
    put(slot => {
      slot.setUint8(0, operation);
      slot.setUint8(1, segments.length);
      slot.setBigUint64(layout.id, BigInt(produced) + 0x1_0000_0000n, true);
      slot.setBigUint64(layout.sector, BigInt(sector), true);
      for (const [index, { frame, first, last }] of segments.slice(0, 11).entries()) {
        slot.setUint32(layout.segments + index * 8, frame, true);
        slot.setUint8(layout.segments + index * 8 + 4, first);
        slot.setUint8(layout.segments + index * 8 + 5, last);
      }
    });
  /** Segment descriptors go into the page `list`. */
  const indirect = (operation: number, sector: number, segments: Segment[], list: number, count = segments.length) => {
    for (const [index, { frame, first, last }] of list < PAGES ? segments.entries() : []) {
      memory.write32(list * 4096 + index * 8, frame);
      memory.write8(list * 4096 + index * 8 + 4, first);
      memory.write8(list * 4096 + index * 8 + 5, last);
    }
    put(slot => {
      slot.setUint8(0, 6);
      slot.setUint8(1, operation);
      slot.setUint16(2, count, true);
      slot.setBigUint64(layout.id, BigInt(produced) + 0x1_0000_0000n, true);
      slot.setBigUint64(layout.sector, BigInt(sector), true);
      slot.setUint32(layout.indirectGrefs, list, true);
    });
  };
  const discard = (flag: number, sector: bigint, sectors: bigint) =>
    put(slot => {
      slot.setUint8(0, 5);
      slot.setUint8(1, flag);
      slot.setBigUint64(layout.id, BigInt(produced) + 0x1_0000_0000n, true);
      slot.setBigUint64(layout.sector, sector, true);
      slot.setBigUint64(layout.sectors, sectors, true);
    });
  const one = (operation: number, sector: number | bigint, segments: Segment[]) => {
    request(operation, sector, segments);
    kick();
    return responses()[0];
  };
  return {
    memory,
    store,
    disk,
    host,
    connect,
    refused,
    header,
    put,
    kick,
    responses,
    request,
    indirect,
    discard,
    one,
    slots,
    mapped: () => mapped,
    lastOperation: () => lastOperation,
    send: () => event(),
    notifications: () => notifications,
    state: () => store.readText(`${BACK}/state`),
  };
}

const whole = (frame: number): Segment => ({ frame, first: 0, last: 7 });

test('the handshake of states, and what is told at its end', () => {
  const { store, connect, state, mapped } = setUp();
  assert.equal(state(), '2');
  assert.equal(store.readText(`${FRONT}/backend`), BACK);
  assert.deepEqual(store.permissions(0, FRONT), ['n1', 'r0']);
  connect();
  assert.equal(state(), '4');
  assert.equal(store.readText(`${BACK}/sectors`), String(SECTORS));
  assert.equal(store.readText(`${BACK}/info`), '0');
  assert.equal(mapped(), 1);
  store.write(1, `${FRONT}/state`, '4');
  store.write(1, `${FRONT}/state`, '5');
  assert.equal(state(), '5');
  store.write(1, `${FRONT}/state`, '6');
  assert.equal(state(), '6');
  assert.equal(mapped(), 0, 'the ring was given back');
  store.write(1, `${FRONT}/state`, '1');
  assert.equal(state(), '2', 'ready for the next kernel');
  connect();
  assert.equal(state(), '4');
  store.remove(1, FRONT);
  assert.equal(state(), '6');
});

test('numbers of disks: xvda to xvdp, then the extended ones', () => {
  assert.deepEqual([0, 1, 15, 16].map(virtualDevice), [51712, 51728, 51952, (1 << 28) | (16 << 8)]);
});

test('a front end that does not say enough, or lies, is not connected', () => {
  const lies: Record<string, string>[] = [
    { 'ring-ref': 'x' },
    { 'ring-ref': '9999' },
    { 'event-channel': '6' },
    { protocol: 'ia64-abi' },
    // Names that every plain object has.
    { protocol: 'constructor' },
    { protocol: 'toString' },
    { protocol: '__proto__' },
    { 'ring-page-order': '9' },
    { 'ring-page-order': '1' },
  ];
  for (const extra of lies) {
    const { connect, state, host, mapped } = setUp();
    connect(extra);
    assert.equal(state(), '2', JSON.stringify(extra));
    assert.equal(host.log.lines.length, 1);
    assert.equal(mapped(), 0);
  }
});

for (const [name, layout] of [
  ['64-bit', layout64],
  ['32-bit', layout32],
] as const) {
  test(`reads and writes through a ${name} ring of one and of several pages`, () => {
    for (const order of [undefined, 0, 2]) {
      const { connect, disk, memory, one, request, kick, responses, slots, mapped } = setUp({ layout, order });
      connect();
      assert.equal(slots, order === 2 ? (layout === layout32 ? 128 : 128) : 32);
      memory.fill(DATA * 4096, 4096, 0xab);
      assert.equal(one(1, 3, [{ frame: DATA, first: 2, last: 5 }]), 0);
      assert.deepEqual(disk.bytes.subarray(3 * 512, 7 * 512), new Uint8Array(2048).fill(0xab));
      assert.equal(disk.bytes[7 * 512], 0);
      // Around the ring three times, several requests an event, pages out of order.
      for (let index = 0; index < disk.size; index++) disk.bytes[index] = (index >> 9) & 0xff;
      for (let round = 0; round < (slots * 3) / 4; round++) {
        for (let each = 0; each < 4; each++)
          request(0, each * 16, [whole(DATA + 7 - each * 2), whole(DATA + 6 - each * 2)]);
        kick();
        assert.deepEqual(responses(), [0, 0, 0, 0]);
      }
      for (let each = 0; each < 4; each++) {
        assert.equal(memory.read8((DATA + 7 - each * 2) * 4096), each * 16);
        assert.equal(memory.read8((DATA + 6 - each * 2) * 4096 + 4095), each * 16 + 15);
      }
      assert.equal(mapped(), 2 ** (order ?? 0), 'only the ring stays mapped');
    }
  });
}

test('neighbours in memory become one transfer', () => {
  const { connect, disk, one } = setUp();
  connect();
  one(1, 0, [whole(DATA), whole(DATA + 1), whole(DATA + 2)]);
  assert.deepEqual(disk.calls, ['write 0 12288']);
});

test('indirect requests', () => {
  const { connect, disk, memory, indirect, kick, responses, lastOperation } = setUp();
  connect();
  const frames = Array.from({ length: 256 }, (_, index) => whole(300 + index));
  for (let index = 0; index < 256; index++) memory.fill((300 + index) * 4096, 4096, index);
  indirect(1, 8, frames, 20);
  kick();
  assert.deepEqual(responses(), [0]);
  assert.equal(lastOperation(), 1, 'answered as the write it was');
  for (let index = 0; index < 256; index++) assert.equal(disk.bytes[4096 + index * 4096], index);
  indirect(0, 0, [], 20, 257);
  indirect(5, 0, [whole(DATA)], 21);
  indirect(0, 0, [whole(DATA)], 5000);
  indirect(0, 0, [whole(9999)], 22);
  indirect(0, 0, [], 23);
  kick();
  assert.deepEqual(responses(), [-1, -1, -1, -1, -1]);
});

test('flush and barrier: what came before is stable before what comes after', () => {
  const { connect, disk, one } = setUp();
  connect();
  assert.equal(one(3, 0, []), 0);
  assert.equal(one(3, 2n ** 60n, []), 0, 'a flush without data names no sector');
  assert.equal(one(2, 1, [whole(DATA)]), 0);
  assert.deepEqual(disk.calls, ['flush', 'flush', 'flush', 'write 512 4096', 'flush']);
});

test('discard, within the disk and not', () => {
  const { connect, disk, discard, kick, responses } = setUp();
  connect();
  disk.bytes.fill(1);
  discard(0, 8n, 16n);
  discard(1, 8n, 16n);
  discard(0, BigInt(SECTORS), 1n);
  discard(0, 0n, 2n ** 63n);
  discard(0, 2n ** 63n, 1n);
  kick();
  assert.deepEqual(responses(), [0, -2, -1, -1, -1]);
  assert.deepEqual(disk.calls, ['discard 4096 8192']);
});

test('a read-only disk is read', () => {
  const { connect, disk, one, store, discard, kick, responses } = setUp({ readOnly: true });
  connect();
  assert.equal(store.readText(`${BACK}/info`), '4');
  assert.equal(store.readText(`${BACK}/mode`), 'r');
  assert.equal(one(0, 0, [whole(DATA)]), 0);
  assert.equal(one(1, 0, [whole(DATA)]), -1);
  assert.equal(one(2, 0, [whole(DATA)]), -1);
  discard(0, 0n, 1n);
  kick();
  assert.deepEqual(responses(), [-1]);
  assert.deepEqual(disk.calls, ['read 0 4096']);
});

test('bad requests are errors and touch nothing', () => {
  const { connect, disk, one, refused } = setUp();
  connect();
  refused.add(9);
  const before = disk.bytes.slice();
  const twelve = Array.from({ length: 12 }, () => whole(DATA));
  assert.equal(one(0, 0, []), -1, 'no segments');
  assert.equal(one(0, 0, twelve), -1, 'too many segments');
  assert.equal(one(0, 0, [{ frame: DATA, first: 3, last: 2 }]), -1, 'backwards');
  assert.equal(one(0, 0, [{ frame: DATA, first: 0, last: 8 }]), -1, 'past the page');
  assert.equal(one(0, SECTORS - 7, [whole(DATA)]), -1, 'over the end');
  assert.equal(one(0, 2n ** 64n - 1n, [whole(DATA)]), -1, 'far over the end');
  assert.equal(one(0, 0, [whole(9)]), -1, 'not granted');
  assert.equal(one(0, 0, [whole(DATA), whole(0xffffffff)]), -1, 'one of two not granted');
  assert.equal(one(4, 0, [whole(DATA)]), -2, 'an operation that is none');
  assert.equal(one(77, 0, [whole(DATA)]), -2);
  assert.deepEqual(disk.bytes, before);
  assert.deepEqual(disk.calls, []);
});

test('a page granted for reading only is not read into', () => {
  const { connect, one, refused } = setUp();
  connect();
  refused.add(-DATA);
  assert.equal(one(0, 0, [whole(DATA)]), -1);
  assert.equal(one(1, 0, [whole(DATA)]), 0);
});

test("the host's errors are the guest's I/O errors", () => {
  const { connect, disk, one, host, mapped } = setUp();
  connect();
  disk.broken = true;
  assert.equal(one(0, 0, [whole(DATA)]), -1);
  assert.equal(one(0, 0, [whole(DATA)]), -1);
  assert.equal(host.log.lines.length, 1);
  assert.equal(mapped(), 1);
});

test('notifications: only when asked for', () => {
  const { connect, memory, header, request, kick, responses, notifications } = setUp();
  connect();
  const before = notifications();
  request(0, 0, [whole(DATA)]);
  kick();
  assert.equal(notifications(), before + 1);
  responses();
  memory.write32(header + 12, 100);
  request(0, 0, [whole(DATA)]);
  kick();
  assert.equal(notifications(), before + 1, 'rsp_event is far away');
  assert.equal(memory.read32(header + 4), 3, 'req_event asks for the next request');
});

test('a ring index out of range stops the ring, and the disk for this guest', () => {
  for (const index of [34, 1000, 0x80000000, 0xffffffff]) {
    const { connect, memory, header, host, disk, send, one, request, kick } = setUp();
    connect();
    assert.equal(one(0, 0, [whole(DATA)]), 0);
    memory.write32(header, index);
    send();
    assert.equal(host.log.lines.length, 1, `index ${index}`);
    request(0, 0, [whole(DATA)]);
    kick();
    assert.equal(disk.calls.length, 1, 'nothing was read after that');
    assert.equal(memory.read32(header + 8), 1);
  }
});

test('a request that reads the disk into the ring itself does not run for ever', () => {
  const { connect, disk, memory, header, request, kick } = setUp();
  connect();
  // The disk's first page is a ring full of the same request, with an index that is always ahead.
  const evil = new DataView(disk.bytes.buffer, 0, 4096);
  for (let slot = 0; slot < 32; slot++) {
    evil.setUint8(64 + slot * 112 + 1, 1);
    evil.setUint32(64 + slot * 112 + 24, RING, true);
    evil.setUint8(64 + slot * 112 + 29, 7);
  }
  evil.setUint32(0, 33, true);
  request(0, 0, [whole(RING)]);
  kick();
  assert.ok(disk.calls.length < 100, `${disk.calls.length} reads`);
  assert.ok(memory.read32(header) > 0);
});

test('rings full of random bytes: answers or silence, and the disk stays within its bounds', () => {
  const random = createRandom(3n);
  for (let round = 0; round < 200; round++) {
    const { connect, memory, header, disk, send } = setUp({ layout: random.of([layout32, layout64]) });
    connect();
    // Written down rather than thrown: what a disk throws becomes an I/O error.
    const outside: string[] = [];
    const check = (what: string, offset: number, length: number) => {
      if (!(offset >= 0 && length > 0 && offset + length <= disk.size)) outside.push(`${what} ${offset} ${length}`);
    };
    disk.read = (offset, into) => check('read', offset, into.length);
    disk.write = (offset, from) => check('write', offset, from.length);
    disk.discard = (offset, length) => check('discard', offset, length);
    for (let offset = 64; offset < 4096; offset++) {
      // Small numbers more often: random 32-bit references and 64-bit sectors hit nothing.
      memory.write8(header + offset, random.below(3) === 0 ? random.below(256) : 0);
    }
    memory.write32(header, random.below(40));
    send();
    assert.deepEqual(outside, []);
  }
});

test('grants that a front end keeps stay mapped until it goes, as far as they go', () => {
  const { connect, one, indirect, kick, responses, mapped, refused, store, disk } = setUp();
  connect({ 'feature-persistent': '1' });
  assert.equal(store.readText(`${BACK}/feature-persistent`), '1');
  assert.equal(mapped(), 1);
  assert.equal(one(1, 0, [whole(DATA), whole(DATA + 1)]), 0);
  assert.equal(mapped(), 3);
  // The same ones, the other way.
  assert.equal(one(0, 8, [whole(DATA + 1), whole(DATA)]), 0);
  assert.equal(mapped(), 3);
  indirect(0, 16, [whole(DATA), whole(DATA + 2)], DATA + 3);
  kick();
  assert.deepEqual(responses(), [0]);
  assert.equal(mapped(), 5, 'a page of descriptors is one of them');
  // One that may only be read is used as it was granted, and given back.
  refused.add(-(DATA + 4));
  assert.equal(one(1, 0, [whole(DATA + 4)]), 0);
  assert.equal(one(0, 0, [whole(DATA + 4)]), -1);
  assert.equal(mapped(), 5);
  assert.deepEqual(disk.calls.at(-1), 'write 0 4096');
  store.write(1, `${FRONT}/state`, '5');
  store.write(1, `${FRONT}/state`, '6');
  assert.equal(mapped(), 0);
});
