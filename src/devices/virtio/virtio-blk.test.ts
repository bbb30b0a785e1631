import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor } from '../../conformance/fake-processor.ts';
import type { Disk } from '../../host/disk.ts';
import { createLog } from '../../host/log.ts';
import { Bus } from '../../memory/bus.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { StateStore } from '../../state/state.ts';
import type { Slot } from '../device.ts';
import { ManualClock, RecordingLine } from '../manual-clock.ts';
import { PciBus } from '../pci.ts';
import { VirtioBlk } from './virtio-blk.ts';
import { VirtioPci } from './virtio-pci.ts';

const RAM = 4 * 2 ** 20;
const BAR0 = 0xe0000000;
const BAR1 = 0xe0004000;
const DESC = 0x10000;
const AVAIL = 0x20000;
const USED = 0x30000;
const SIZE = 16;
const HEADER = 0x40000;
const STATUS = 0x41000;
const DATA = 0x50000;

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;

class MemoryDisk implements Disk {
  readonly name = 'memory';
  readonly bytes: Uint8Array;
  readonly size: number;
  readonly readOnly: boolean;
  flushes = 0;
  writesSinceFlush = 0;
  discarded: [number, number][] = [];
  fails = false;

  constructor(size: number, readOnly = false) {
    this.size = size;
    this.readOnly = readOnly;
    this.bytes = new Uint8Array(size).map((_, i) => (i * 7 + (i >> 9)) & 0xff);
  }
  #check(offset: number, length: number): void {
    if (this.fails) throw new Error('host says no');
    assert.ok(Number.isInteger(offset) && offset >= 0 && offset + length <= this.size, `disk ${offset}+${length}`);
  }
  read(offset: number, into: Uint8Array): void {
    this.#check(offset, into.length);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
  write(offset: number, from: Uint8Array): void {
    assert.ok(!this.readOnly);
    this.#check(offset, from.length);
    this.bytes.set(from, offset);
    this.writesSinceFlush++;
  }
  flush(): void {
    this.#check(0, 0);
    this.flushes++;
    this.writesSinceFlush = 0;
  }
  discard(offset: number, length: number): void {
    this.#check(offset, length);
    this.discarded.push([offset, length]);
    this.bytes.fill(0, offset, offset + length);
  }
  close(): void {}
}

type Descriptor = [address: number, length: number, flags: number, next?: number];

/** The processor that asks. */
const cpu = new FakeProcessor();

function setUp(disk = new MemoryDisk(1024 * 512)) {
  const log = createLog();
  const clock = new ManualClock();
  const memory = new GuestMemory(new ArrayBuffer(RAM), 0, RAM);
  const mmio = new Bus('mmio', log);
  const line = new RecordingLine();
  const messages: [number, number][] = [];
  const states = new StateStore();
  const slot: Slot = {
    state: (name, version, initial) => states.state(name, version, initial),
    ports: () => () => {},
    mmio: (name, start, size, handler) => mmio.map(name, start, size, handler),
    line: () => line,
    message: (address, data) => void messages.push([address, data]),
    clock,
    memory,
    log,
    kill: reason => assert.fail(reason),
    request: () => {},
  };
  const device = new VirtioPci(slot, new VirtioBlk(states, disk, memory, log, 'serial-7'), BAR0, {
    line,
    lineNumber: 11,
  });
  const pci = new PciBus(states);
  pci.plug(1, device.function);
  const config = {
    read: (offset: number, width: 1 | 2 | 4) => device.function.readConfig(offset, width),
    write: (offset: number, width: 1 | 2 | 4, value: number) => device.function.writeConfig(offset, width, value),
  };
  const r = (offset: number, width: 1 | 2 | 4) => mmio.read(BAR0 + offset, width, cpu);
  const w = (offset: number, width: 1 | 2 | 4, value: number) => mmio.write(BAR0 + offset, width, value, cpu);

  /** Negotiates as a driver does. @param features of the lower word, in place of all that is offered */
  function start(features?: number, size = SIZE) {
    w(0x14, 1, 0);
    w(0x14, 1, 1);
    w(0x14, 1, 3);
    for (const select of [0, 1]) {
      w(0x00, 4, select);
      const offered = r(0x04, 4);
      w(0x08, 4, select);
      w(0x0c, 4, select === 0 && features !== undefined ? features : offered);
    }
    w(0x14, 1, 11);
    w(0x16, 2, 0);
    w(0x18, 2, size);
    w(0x20, 4, DESC);
    w(0x28, 4, AVAIL);
    w(0x30, 4, USED);
    w(0x1c, 2, 1);
    w(0x14, 1, 15);
    used = available = 0;
  }
  let available = 0;
  let used = 0;
  function describe(at: number, index: number, [address, length, flags, next = 0]: Descriptor) {
    memory.view.setBigUint64(at + 16 * index, BigInt(address), true);
    memory.write32(at + 16 * index + 8, length);
    memory.write16(at + 16 * index + 12, flags);
    memory.write16(at + 16 * index + 14, next);
  }
  function offer(head: number) {
    memory.write16(AVAIL + 4 + 2 * (available % SIZE), head);
    available++;
    memory.write16(AVAIL + 2, available & 0xffff);
  }
  function header(type: number, sector: number | bigint) {
    memory.write32(HEADER, type);
    memory.write32(HEADER + 4, 0);
    memory.write64(HEADER + 8, BigInt(sector));
  }
  const kick = () => w(0x3000, 2, 0);
  /** One request in a chain of descriptors from 0 on. @returns its status and what the used ring says of its length */
  function request(type: number, sector: number | bigint, ...data: Descriptor[]) {
    header(type, sector);
    const all: Descriptor[] = [[HEADER, 16, 0], ...data, [STATUS, 1, WRITE]];
    for (const [i, [address, length, flags]] of all.entries()) {
      describe(DESC, i, [address, length, flags | (i < all.length - 1 ? NEXT : 0), i + 1]);
    }
    memory.write8(STATUS, 0xff);
    offer(0);
    kick();
    const done = memory.read16(USED + 2) !== (used & 0xffff);
    if (!done) return { status: -1, written: -1 };
    const at = USED + 4 + 8 * (used % SIZE);
    used++;
    return { status: memory.read8(STATUS), written: memory.read32(at + 4) };
  }
  return {
    log,
    clock,
    memory,
    mmio,
    line,
    messages,
    device,
    pci,
    config,
    disk,
    r,
    w,
    start,
    describe,
    offer,
    header,
    kick,
    request,
    deviceStatus: () => r(0x14, 1),
    usedIndex: () => memory.read16(USED + 2),
  };
}

test('presents itself as a modern virtio block device', () => {
  const { config, r } = setUp();
  assert.equal(config.read(0, 4), 0x10421af4);
  assert.equal(config.read(8, 4), 0x01000001);
  const found = new Map<number, number>();
  for (let at = config.read(0x34, 1), n = 0; at !== 0 && n < 16; at = config.read(at + 1, 1), n++) {
    if (config.read(at, 1) === 9) found.set(config.read(at + 3, 1), config.read(at + 8, 4));
    else assert.equal(config.read(at, 1), 0x11);
  }
  assert.deepEqual([...found.keys()].sort(), [1, 2, 3, 4, 5]);
  assert.equal(r(0x2000, 4), 1024); // capacity in sectors
  assert.equal(r(0x12, 2), 1);
});

test('a driver that does not take VERSION_1, or takes what is not offered, is refused', () => {
  const { w, r } = setUp();
  w(0x14, 1, 3);
  w(0x14, 1, 11);
  assert.equal(r(0x14, 1), 3);
  w(0x08, 4, 1);
  w(0x0c, 4, 1);
  w(0x08, 4, 0);
  w(0x0c, 4, 0x80000000);
  w(0x14, 1, 11);
  assert.equal(r(0x14, 1), 3);
  w(0x0c, 4, 0);
  w(0x14, 1, 11);
  assert.equal(r(0x14, 1), 11);
});

test('reads and writes, over several buffers of any size', () => {
  const { start, request, memory, disk } = setUp();
  start();
  assert.deepEqual(request(0, 3, [DATA, 100, WRITE], [DATA + 0x1000, 924, WRITE]), { status: 0, written: 1025 });
  assert.deepEqual(memory.copyOut(DATA, 100), disk.bytes.slice(1536, 1636));
  assert.deepEqual(memory.copyOut(DATA + 0x1000, 924), disk.bytes.slice(1636, 2560));
  memory.fill(DATA, 512, 0xaa);
  assert.deepEqual(request(1, 1023, [DATA, 1, 0], [DATA, 511, 0]), { status: 0, written: 1 });
  assert.ok(disk.bytes.subarray(1023 * 512).every(byte => byte === 0xaa));
});

test('tells the engine about memory it wrote', () => {
  const { start, request, memory } = setUp();
  start();
  const seen: number[] = [];
  memory.onWrite = address => void seen.push(address);
  request(0, 0, [DATA, 512, WRITE]);
  assert.ok(seen.includes(DATA) && seen.includes(STATUS) && seen.includes(USED + 2));
});

test('what lies outside the disk, or between sectors, is an error', () => {
  const { start, request, disk } = setUp();
  start();
  const before = disk.bytes.slice();
  for (const [type, sector, length] of [
    [0, 1024, 512],
    [0, 1023, 1024],
    [0, 0xffffffffffffffffn, 512],
    [0, 2n ** 55n, 512],
    [0, 0, 100],
    [1, 1024, 512],
    [1, 1023, 513],
    [1, 0x7fffffffffffffn, 512],
    [1, 0, 511],
  ] as const) {
    const flags = type === 0 ? WRITE : 0;
    assert.deepEqual(
      request(type, sector, [DATA, length, flags]),
      { status: 1, written: 1 },
      `${type} ${sector} ${length}`,
    );
  }
  assert.deepEqual(disk.bytes, before);
  assert.equal(request(0, 0).status, 0); // nothing at all is fine
});

test('unknown requests are not supported, short headers an error', () => {
  const { start, request, describe, offer, kick, memory } = setUp();
  start();
  assert.equal(request(10, 0, [DATA, 512, WRITE]).status, 2);
  assert.equal(request(0xffffffff, 0).status, 2);
  describe(DESC, 0, [HEADER, 15, NEXT, 1]);
  describe(DESC, 1, [STATUS, 1, WRITE]);
  offer(0);
  kick();
  assert.equal(memory.read8(STATUS), 1);
});

test('a header scattered over buffers', () => {
  const { start, describe, offer, kick, header, memory, disk, usedIndex } = setUp();
  start();
  header(0, 5);
  describe(DESC, 0, [HEADER, 3, NEXT, 1]);
  describe(DESC, 1, [HEADER + 3, 0, NEXT, 2]);
  describe(DESC, 2, [HEADER + 3, 13, NEXT, 3]);
  describe(DESC, 3, [DATA, 513, WRITE]);
  offer(0);
  kick();
  assert.equal(usedIndex(), 1);
  assert.deepEqual(memory.copyOut(DATA, 512), disk.bytes.slice(2560, 3072));
  assert.equal(memory.read8(DATA + 512), 0);
});

test('flush reaches the host; without the feature every write does', () => {
  const { start, request, disk } = setUp();
  start();
  request(1, 0, [DATA, 512, 0]);
  assert.equal(disk.flushes, 0);
  assert.equal(request(4, 0).status, 0);
  assert.equal(disk.flushes, 1);
  start(0);
  request(1, 0, [DATA, 512, 0]);
  assert.equal(disk.writesSinceFlush, 0);
});

test('the id', () => {
  const { start, request, memory } = setUp();
  start();
  memory.fill(DATA, 32, 0x55);
  assert.deepEqual(request(8, 0, [DATA, 20, WRITE]), { status: 0, written: 21 });
  assert.equal(Buffer.from(memory.copyOut(DATA, 21)).toString('latin1'), `serial-7${'\0'.repeat(12)}U`);
  assert.deepEqual(request(8, 0, [DATA, 4, WRITE]), { status: 0, written: 5 });
});

test('discard and write-zeroes', () => {
  const { start, request, memory, disk } = setUp();
  start();
  const range = (index: number, sector: bigint, sectors: number, flags: number) => {
    memory.write64(DATA + 16 * index, sector);
    memory.write32(DATA + 16 * index + 8, sectors);
    memory.write32(DATA + 16 * index + 12, flags);
  };
  range(0, 10n, 2, 0);
  range(1, 20n, 1, 0);
  assert.equal(request(11, 0, [DATA, 32, 0]).status, 0);
  assert.deepEqual(disk.discarded, [
    [5120, 1024],
    [10240, 512],
  ]);
  assert.equal(request(13, 0, [DATA, 16, 0]).status, 0);
  assert.equal(disk.discarded.length, 2); // written, not discarded
  assert.ok(disk.bytes.subarray(5120, 6144).every(byte => byte === 0));
  range(0, 0n, 1, 1);
  assert.equal(request(13, 0, [DATA, 16, 0]).status, 0);
  assert.deepEqual(disk.discarded[2], [0, 512]);
  assert.equal(request(11, 0, [DATA, 16, 0]).status, 2); // the flag is reserved there
  range(0, 0n, 1, 2);
  assert.equal(request(13, 0, [DATA, 16, 0]).status, 2);
  const before = disk.bytes.slice();
  for (const [sector, sectors] of [
    [1024n, 1],
    [1023n, 2],
    [2n ** 64n - 1n, 1],
    [0n, 0xffffffff],
  ] as const) {
    range(0, 5n, 1, 0);
    range(1, sector, sectors, 0);
    assert.equal(request(11, 0, [DATA, 32, 0]).status, 1);
    assert.equal(request(13, 0, [DATA, 32, 0]).status, 1);
  }
  assert.equal(request(11, 0, [DATA, 15, 0]).status, 1);
  assert.equal(request(11, 0).status, 1);
  assert.equal(request(11, 0, [DATA, 17 * 16, 0]).status, 1);
  assert.deepEqual(disk.bytes, before); // nothing of a bad request is done
});

test('a read-only disk is not written', () => {
  const { start, request, w, r } = setUp(new MemoryDisk(8 * 512, true));
  start();
  w(0, 4, 0);
  assert.equal(r(4, 4) & (1 << 5), 1 << 5);
  assert.equal(r(4, 4) & ((1 << 13) | (1 << 14)), 0);
  assert.equal(request(1, 0, [DATA, 512, 0]).status, 1);
  assert.equal(request(11, 0, [DATA, 16, 0]).status, 1);
  assert.equal(request(13, 0, [DATA, 16, 0]).status, 1);
  assert.equal(request(0, 0, [DATA, 512, WRITE]).status, 0);
});

test('a host that cannot read gives the guest an I/O error and the log a line', () => {
  const { start, request, disk, log } = setUp();
  start();
  disk.fails = true;
  assert.equal(request(0, 0, [DATA, 512, WRITE]).status, 1);
  assert.equal(request(4, 0).status, 1);
  assert.match(log.lines.join(), /host says no/);
  disk.fails = false;
  assert.equal(request(0, 0, [DATA, 512, WRITE]).status, 0);
});

test('indirect descriptors', () => {
  const { start, describe, offer, kick, header, memory, disk, usedIndex } = setUp();
  start();
  header(0, 7);
  const table = 0x60000;
  describe(table, 0, [HEADER, 16, NEXT, 5]);
  describe(table, 5, [DATA, 512, NEXT | WRITE, 2]);
  describe(table, 2, [STATUS, 1, WRITE]);
  describe(DESC, 3, [table, 6 * 16, INDIRECT]);
  offer(3);
  kick();
  assert.equal(usedIndex(), 1);
  assert.equal(memory.read32(USED + 4), 3);
  assert.deepEqual(memory.copyOut(DATA, 512), disk.bytes.slice(3584, 4096));
});

test('interrupts: the pin, its status register, and the wish for none', () => {
  const { start, request, line, r, memory, config } = setUp();
  start(0);
  request(4, 0);
  assert.equal(line.high, true);
  assert.equal(config.read(6, 2) & 8, 8);
  config.write(4, 2, 0x406);
  assert.equal(line.high, false);
  config.write(4, 2, 0x006);
  assert.equal(line.high, true);
  assert.equal(r(0x1000, 1), 1);
  assert.equal(line.high, false);
  assert.equal(r(0x1000, 1), 0);
  memory.write16(AVAIL, 1);
  request(4, 0);
  assert.equal(line.high, false);
});

test('interrupts: MSI-X, masked and pending', () => {
  const { start, request, line, w, r, mmio, messages, config } = setUp();
  start(0);
  let at = config.read(0x34, 1);
  while (config.read(at, 1) !== 0x11) at = config.read(at + 1, 1);
  assert.equal(config.read(at + 2, 2), 1); // two vectors
  config.write(at + 2, 2, 0xc000);
  mmio.write(BAR1 + 16, 4, 0xfee01000, cpu);
  mmio.write(BAR1 + 24, 4, 0x4041, cpu);
  w(0x1a, 2, 1);
  assert.equal(r(0x1a, 2), 1);
  request(4, 0);
  assert.deepEqual(messages, []);
  assert.equal(mmio.read(BAR1 + 0x800, 4, cpu), 2);
  config.write(at + 2, 2, 0x8000);
  assert.deepEqual(messages, []); // the vector itself is still masked
  mmio.write(BAR1 + 28, 4, 0, cpu);
  assert.deepEqual(messages, [[0xfee01000, 0x4041]]);
  assert.equal(mmio.read(BAR1 + 0x800, 4, cpu), 0);
  request(4, 0);
  assert.equal(messages.length, 2);
  assert.equal(line.edges, 0);
  mmio.write(BAR1 + 16, 4, 0x1000, cpu);
  request(4, 0); // not in the local APICs' window: nobody hears it
  assert.equal(messages.length, 2);
  w(0x1a, 2, 77);
  assert.equal(r(0x1a, 2), 0xffff);
});

test('event index: an interrupt only when the driver waits for it', () => {
  const { start, request, memory, line, r } = setUp();
  start();
  memory.write16(AVAIL + 4 + 2 * SIZE, 2);
  request(4, 0);
  request(4, 0);
  assert.equal(line.high, false);
  request(4, 0);
  assert.equal(line.high, true);
  assert.equal(memory.read16(USED + 4 + 8 * SIZE), 3);
  r(0x1000, 1);
  request(4, 0);
  assert.equal(line.high, false);
});

test('the ring indices wrap', () => {
  const { start, request, usedIndex } = setUp();
  start();
  for (let i = 0; i < 66_000; i++) request(4, 0);
  assert.equal(usedIndex(), 66_000 & 0xffff);
  assert.equal(request(0, 0, [DATA, 512, WRITE]).status, 0);
});

test('hostile rings stop the device, nothing else', () => {
  const hostile: [string, (m: ReturnType<typeof setUp>) => void][] = [
    [
      'a loop',
      m => {
        m.describe(DESC, 0, [HEADER, 16, NEXT, 1]);
        m.describe(DESC, 1, [HEADER, 16, NEXT, 0]);
        m.offer(0);
      },
    ],
    ['a head out of range', m => m.offer(SIZE)],
    [
      'a next out of range',
      m => {
        m.describe(DESC, 0, [HEADER, 16, NEXT, 0xffff]);
        m.offer(0);
      },
    ],
    ['an index from nowhere', m => m.memory.write16(AVAIL + 2, 1000)],
    [
      'a buffer beyond RAM',
      m => {
        m.describe(DESC, 0, [RAM - 8, 16, 0]);
        m.offer(0);
      },
    ],
    [
      'a buffer at the end of the address space',
      m => {
        m.describe(DESC, 0, [0, 0xffffffff, 0]);
        m.memory.write64(DESC, 0xffffffffffffff00n);
        m.offer(0);
      },
    ],
    [
      'a huge buffer',
      m => {
        m.describe(DESC, 0, [0, 0xffffffff, WRITE]);
        m.offer(0);
      },
    ],
    [
      'reading behind writing',
      m => {
        m.describe(DESC, 0, [STATUS, 1, WRITE | NEXT, 1]);
        m.describe(DESC, 1, [HEADER, 16, 0]);
        m.offer(0);
      },
    ],
    [
      'no room for the status',
      m => {
        m.describe(DESC, 0, [HEADER, 16, 0]);
        m.offer(0);
      },
    ],
    [
      'an indirect table in an indirect table',
      m => {
        m.describe(DESC, 0, [0x60000, 16, INDIRECT]);
        m.describe(0x60000, 0, [0x60000, 16, INDIRECT]);
        m.offer(0);
      },
    ],
    [
      'an indirect table that goes on',
      m => {
        m.describe(DESC, 0, [0x60000, 16, INDIRECT | NEXT, 1]);
        m.offer(0);
      },
    ],
    [
      'an indirect table of odd size',
      m => {
        m.describe(DESC, 0, [0x60000, 24, INDIRECT]);
        m.offer(0);
      },
    ],
    [
      'an empty indirect table',
      m => {
        m.describe(DESC, 0, [0x60000, 0, INDIRECT]);
        m.offer(0);
      },
    ],
    [
      'an indirect chain longer than the queue',
      m => {
        for (let i = 0; i < 100; i++) m.describe(0x60000, i, [HEADER, 1, NEXT, i + 1]);
        m.describe(DESC, 0, [0x60000, 1600, INDIRECT]);
        m.offer(0);
      },
    ],
  ];
  for (const [what, attack] of hostile) {
    const m = setUp();
    m.start();
    const before = m.disk.bytes.slice();
    attack(m);
    m.kick();
    assert.equal(m.deviceStatus() & 64, 64, what);
    assert.equal(m.r(0x1000, 1), 2, what); // a configuration interrupt tells
    assert.equal(m.log.lines.length, 1, what);
    m.kick();
    m.kick();
    assert.deepEqual(m.disk.bytes, before, what);
    m.memory.fill(AVAIL, 0x1000);
    m.memory.fill(USED, 0x1000);
    m.start(); // a reset heals
    assert.equal(m.request(0, 1, [DATA, 512, WRITE]).status, 0, what);
  }
});

test('indirect tables without the feature are hostile too', () => {
  const m = setUp();
  m.start(0);
  m.describe(DESC, 0, [0x60000, 16, INDIRECT]);
  m.offer(0);
  m.kick();
  assert.equal(m.deviceStatus() & 64, 64);
});

test('queues set up badly are not used', () => {
  const bad: [string, number, number][] = [
    ['size not a power of two', 0x18, 12],
    ['size zero', 0x18, 0],
    ['size beyond the maximum', 0x18, 512],
    ['descriptors outside RAM', 0x20, RAM],
    ['descriptors half outside', 0x20, RAM - 64],
    ['descriptors far off', 0x24, 0xffffffff],
    ['available ring outside', 0x28, RAM - 2],
    ['used ring outside', 0x30, RAM - 16],
    ['descriptors unaligned', 0x20, DESC + 8],
    ['used ring unaligned', 0x30, USED + 2],
    ['available ring unaligned', 0x28, AVAIL + 1],
  ];
  for (const [what, offset, value] of bad) {
    const m = setUp();
    m.w(0x14, 1, 3);
    m.w(0x08, 4, 1);
    m.w(0x0c, 4, 1);
    m.w(0x14, 1, 11);
    m.w(0x18, 2, SIZE);
    m.w(0x20, 4, DESC);
    m.w(0x28, 4, AVAIL);
    m.w(0x30, 4, USED);
    m.w(offset, offset === 0x18 ? 2 : 4, value);
    m.w(0x1c, 2, 1);
    assert.equal(m.r(0x1c, 2), 0, what);
    m.w(0x14, 1, 15);
    m.offer(0);
    m.kick();
    assert.equal(m.usedIndex(), 0, what);
    assert.equal(m.deviceStatus() & 64, 64, what);
  }
});

test('a queue is frozen once enabled', () => {
  const { start, w, r } = setUp();
  start();
  w(0x20, 4, 0);
  w(0x18, 2, 4);
  assert.equal(r(0x20, 4), DESC);
  assert.equal(r(0x18, 2), SIZE);
});

test('requests that offer the next one themselves do not keep the machine busy for ever', () => {
  // Each reads, from two sectors, a newer available index over its own ring and the next request over its header.
  const disk = new MemoryDisk(2 * 1000 * 512);
  disk.bytes.fill(0);
  const view = new DataView(disk.bytes.buffer);
  for (let i = 0; i < 1000; i++) {
    view.setUint16(i * 1024 + 2, i + 2, true);
    view.setBigUint64(i * 1024 + 512 + 8, BigInt(2 * (i + 1)), true);
  }
  const m = setUp(disk);
  m.start();
  m.describe(DESC, 0, [HEADER, 16, NEXT, 1]);
  m.describe(DESC, 1, [AVAIL, 512, NEXT | WRITE, 2]);
  m.describe(DESC, 2, [HEADER, 512, NEXT | WRITE, 3]);
  m.describe(DESC, 3, [STATUS, 1, WRITE]);
  m.header(0, 0);
  m.offer(0);
  m.kick();
  assert.equal(m.usedIndex(), 256);
  assert.equal(m.clock.armed, 1);
  m.kick(); // its turn comes, but not now
  assert.equal(m.usedIndex(), 256);
  m.clock.advance(1);
  assert.equal(m.usedIndex(), 1001);
  assert.equal(m.clock.armed, 0);
});

test('random rings: no crash, nothing outside RAM or the disk', () => {
  const m = setUp();
  let seed = 12345;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const addresses = [HEADER, DATA, STATUS, DESC, AVAIL, USED, RAM - 512, RAM, 0, 2 ** 40];
  const lengths = [0, 1, 15, 16, 17, 512, 513, 1024, 4096, 0x10000, RAM, 0xffffffff];
  let served = 0;
  for (let round = 0; round < 3000; round++) {
    m.memory.fill(AVAIL, 256);
    m.start(random(2) ? undefined : random(0xffffffff) & 0x30000246);
    m.header(random(16), random(4) ? random(1030) : random(0xffffffff));
    for (let i = 0; i < SIZE; i++) {
      m.describe(DESC, i, [
        addresses[random(addresses.length)],
        lengths[random(lengths.length)],
        random(8),
        random(SIZE + 1),
      ]);
    }
    m.describe(DESC, 0, [HEADER, 16, NEXT, 1]);
    m.offer(random(4) ? 0 : random(SIZE));
    m.kick();
    m.clock.advance(1);
    if (!(m.deviceStatus() & 64)) served++;
  }
  assert.ok(served > 30, `${served} rounds were served`);
});

test('the window through configuration space', () => {
  const { config, start } = setUp();
  start();
  let at = config.read(0x34, 1);
  while (!(config.read(at, 1) === 9 && config.read(at + 3, 1) === 5)) at = config.read(at + 1, 1);
  config.write(at + 4, 1, 0);
  config.write(at + 8, 4, 0x2000);
  config.write(at + 12, 4, 4);
  assert.equal(config.read(at + 16, 4), 1024);
  config.write(at + 8, 4, 0x16);
  config.write(at + 12, 4, 2);
  config.write(at + 16, 2, 3);
  assert.equal(config.read(at + 16, 2), 3);
  for (const [bar, offset, length] of [
    [1, 0, 4],
    [0, 0x4000, 4],
    [0, 0xfffffffc, 4],
    [0, 2, 4],
    [0, 0, 3],
    [9, 0, 4],
  ]) {
    config.write(at + 4, 1, bar);
    config.write(at + 8, 4, offset);
    config.write(at + 12, 4, length);
    config.read(at + 16, 4);
    config.write(at + 16, 4, 0xffffffff);
  }
});
