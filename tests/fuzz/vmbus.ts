/**
 * Hostile guests of the VMBus on a processor without an engine: messages that are nearly right, memory handed over that is
 * none, packets for every device with bytes changed, and scribbling over rings while they are in use. Whatever happens, nothing
 * is thrown, nobody is killed, no disk is written to that must not be, and what the bus knows is data.
 */
import { createRandom } from '../../src/conformance/random.ts';
import { type MemoryDisk, memoryDisk } from '../../src/devices/memory-disk.ts';
import { guidBytes } from '../../src/devices/vmbus/guid.ts';
import { serviceGuid } from '../../src/devices/vmbus/hv-sockets.ts';
import { type FakeChannel, fakeDriver, words } from '../../src/hypervisors/hyperv/fake-vmbus-driver.ts';
import { hostVsock } from '../../src/net/vsock.ts';
import { caseFuzzer, type Random } from './fuzzer.ts';
import { vsockFuzzPrograms } from './vsock-programs.ts';

/** Steps of one input, each of which is a mutation of something. */
const STEPS = 400;
const RAM = 4 << 20;
const PAGE = 4096;
/** Pages for rings that are made later. */
const REBUILT = 0x300;
/** A page that nobody uses. */
const DATA_FIRST = 0x380;
/** Neighbouring pages that packets name. */
const DATA_PAGES = 8;
/** Channels of sockets at a time, each with eight pages from there on. */
const SOCKETS = 6;
const SOCKET_PAGES = 0x3a0;

type Step =
  | { kind: 'message'; words: readonly number[] }
  /** A packet for the channel in place `channel`: words of its body, and of the ranges in front of it. */
  | { kind: 'packet'; channel: number; type: number; flags: number; body: Uint8Array; ranges: readonly number[] }
  /** A store of the guest's into a ring of `channel`, or into what is handed over. */
  | { kind: 'store'; channel: number; offset: number; value: number }
  | { kind: 'reopen'; channel: number }
  /** The channel anew, in rings of these pages. */
  | { kind: 'rebuild'; channel: number; pages: readonly number[] }
  | { kind: 'drain'; channel: number }
  /** The host wants the guest to make do with so many pages less. */
  | { kind: 'memory'; pages: number }
  /** The guest wants a connection between two ports; some GUIDs are those of none. */
  | { kind: 'connect'; guestPort: number; hostPort: number; odd: boolean }
  /** A program of the host's does something. */
  | { kind: 'program'; numbers: readonly number[] }
  | { kind: 'wait'; time: number };

const SMALL = [0, 1, 2, 3, 4, 7, 8, 16, 20, 31, 64, 4096, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff];
const number = (random: Random): number =>
  random.below(4) === 0 ? Number(random.next64() & 0xffffffffn) : random.of(SMALL);

/** Bodies of packets as drivers send them: SCSI requests and the rest of the adapter's, NVSP and RNDIS, answers of services. */
const BODIES: readonly ((random: Random) => Uint8Array)[] = [
  random => {
    const body = new Uint8Array(64);
    body.set(words(3, 1));
    body.set([0, random.below(2), random.below(3), random.of([16, 16, 16, 16, 10, 6, 0, 255]), 20], 17);
    body[28] = random.of([
      ...[0x00, 0x03, 0x08, 0x0a, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x2a, 0x35, 0x41, 0x42, 0x5a, 0x88, 0x8a, 0x91, 0x93],
      ...[0x9e, 0xa0, 0xa8, 0xaa, random.below(256)],
    ]);
    // Low bytes of address and length of commands of 6, 10, 12 and 16 bytes; seldom anything else.
    const [address, length] = random.of([
      [3, 4],
      [5, 8],
      [5, 9],
      [9, 13],
    ]);
    const blocks = random.of([0, 127, 128, 255, 511, 512, random.below(1 << 16)]);
    body.set([blocks >> 8, blocks & 0xff], 28 + address - 1);
    body[28 + length] = random.of([0, 1, 1, 2, 8, 24, 36, 255]);
    if (random.below(4) === 0) body[29 + random.below(15)] = random.below(256);
    return body;
  },
  random =>
    words(random.of([7, 8, 9, 10, 13, 4, 11]), 1, 0, random.of([0x0602, 0x0501, number(random)]), ...Array(12).fill(0)),
  random =>
    words(
      random.of([1, 100, 101, 103, 104, 106, 107, 125, 133, random.below(140)]),
      number(random),
      number(random),
      number(random),
    ),
  random => words(1, random.of([0x60001, 0x50000, 2]), random.of([0x60001, 2]), 0),
  random => words(random.of([101, 104]), 0xe1e10 + random.below(12), 0xcafe, 0),
  random =>
    words(
      107,
      random.below(2),
      random.of([0xffffffff, 0, 1, number(random)]),
      random.of([0, 64, 6144, number(random)]),
    ),
  random =>
    words(
      random.of([1, 3, 5, 7, 7, 7, 9, random.below(16)]) | (random.below(4096) << 16),
      number(random),
      random.of([0x20000, 0x10000, 0, number(random)]),
      random.of([2, 3, 4, 5, number(random)]),
      ...Array.from({ length: random.of([0, 2, 4, 40]) }, () =>
        random.of([DATA_FIRST, 1 << 8, 3 << 8, number(random)]),
      ),
    ),
  random => {
    const body = new Uint8Array(28 + random.of([0, 8, 16, 40, 2060, 2580]));
    body.set(words(1, body.length - 8, 3));
    new DataView(body.buffer).setUint16(12, random.below(6), true);
    body[25] = random.of([5, 5, 4, 3, 0]);
    body.set(words(1 | (1 << 16), 0, 3, 3).subarray(0, Math.max(0, body.length - 28)), 28);
    return body;
  },
];

/** What a pipe's data stand in. */
function pipeBody(random: Random): Uint8Array {
  const length = random.of([0, 1, 100, 3000]);
  const body = new Uint8Array(8 + length);
  body.set(words(random.of([1, 1, 1, 1, 2]), random.of([length, length, length, length + 1, number(random)])));
  return body;
}

/** RNDIS messages, which stand in the memory that packets name. */
const RNDIS: readonly ((random: Random) => Uint8Array)[] = [
  random =>
    words(1, 44 + 60, 36, 60, 0, 0, 0, random.of([0, 36]), random.of([0, 16]), 0, 0, ...Array(15).fill(0x01010101)),
  random => words(2, 24, 1, 1, 0, 0x4000, number(random)),
  random => words(4, 32, 1, random.of([0x00010106, 0x01010101, 0xfc01020d, 0x00010114, number(random)]), 4, 20, 0, 0),
  random => words(5, 32, 1, random.of([0x0001010e, 0xfc01020c, number(random)]), 4, 20, 0, random.of([0x0b, 0x20, 0])),
  random => words(number(random), number(random), number(random), number(random)),
];

function mutated(random: Random, bytes: Uint8Array): Uint8Array {
  if (random.below(2)) return bytes;
  const copy = bytes.slice();
  for (let count = 1 + random.below(4); count > 0 && copy.length > 0; count--)
    copy[random.below(copy.length)] = random.of([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
  return random.below(8) ? copy : copy.subarray(0, random.below(copy.length + 1));
}

function makeMessage(random: Random): number[] {
  const relid = random.of([1, 2, 3, 4, 5, number(random)]);
  const handle = 0xe1e10 + random.below(16);
  const page = random.of([0x40, 0x41, RAM / PAGE - 1, RAM / PAGE, number(random)]);
  return random.of<() => number[]>([
    () => [
      8,
      0,
      relid,
      handle,
      (1 << 16) | 16,
      random.of([4096, 8192, number(random)]),
      random.of([0, 8, number(random)]),
      page,
      0,
      page,
      0,
    ],
    () => [9, 0, 0, handle, page, 0, page, random.below(2)],
    () => [5, 0, relid, relid, handle, random.of([0, 0, 1]), random.of([1, 2, 4, number(random)])],
    () => [random.of([7, 13, 22]), 0, relid, random.below(2)],
    () => [11, 0, relid, handle],
    () => [3, 0],
    () => (random.below(20) ? [number(random), number(random), relid, handle] : [16, 0]),
    () =>
      random.below(20)
        ? [3]
        : [
            14,
            0,
            random.of([0x50003, 0x10001, number(random)]),
            0,
            random.of([2, 0x8000, number(random)]),
            0,
            0,
            0,
            0,
            0,
          ],
  ])();
}

function makeStep(random: Random): Step {
  // The first is that of the disks, whose requests go deepest.
  const channel = random.below(2) ? 0 : random.below(16);
  switch (random.below(18)) {
    case 0:
    case 1:
      return { kind: 'message', words: makeMessage(random) };
    case 2: // Rather the headers than the rest; seldom nonsense, which ends a channel.
      return {
        ...{ kind: 'store', channel, value: number(random) },
        offset: random.below(4) ? 8 + 4 * random.below(2) : 4 * random.below(random.of([4, 2048])),
      };
    case 3: {
      if (random.below(2)) return { kind: 'reopen', channel };
      const pages = Array.from({ length: 8 }, (_, index) => REBUILT + index);
      if (random.below(2)) pages[random.below(8)] = random.of([0, RAM / PAGE - 1, RAM / PAGE, 0xfffff, number(random)]);
      return { kind: 'rebuild', channel, pages };
    }
    case 16:
      if (random.below(2)) return { kind: 'program', numbers: [0, 1, 2].map(() => random.below(1 << 16)) };
      return {
        ...{ kind: 'connect', guestPort: 0x80000000 + random.below(6), odd: random.below(8) === 0 },
        hostPort: random.below(8) ? random.below(3) : number(random),
      };
    case 17:
      return {
        ...{ kind: 'packet', channel: random.below(16), ranges: [], type: 6, flags: 0 },
        body: mutated(random, pipeBody(random)),
      };
    case 4:
      if (random.below(4) === 0) return { kind: 'memory', pages: random.below(40) };
      return { kind: 'wait', time: random.of([1, 1e6, 1e8, 3e9]) };
    case 5:
    case 6:
    case 7:
      return { kind: 'drain', channel };
    default: {
      const ranges = Array.from({ length: random.below(3) }, () =>
        random.of([64, 104, 512, 4096, 8192, number(random)]),
      );
      return {
        ...{ kind: 'packet', channel, ranges },
        type: random.of([6, 6, 9, 9, 9, 11, 7, random.below(16)]),
        flags: random.of([1, 1, 1, 0]),
        body: mutated(random, (channel === 0 && random.below(8) ? BODIES[0] : random.of(BODIES))(random)),
      };
    }
  }
}

/** A disk that notes what must never be asked of it. */
function watched(disk: MemoryDisk, faults: string[]): MemoryDisk {
  const check = (what: string, offset: number, length: number) => {
    if (offset < 0 || offset + length > disk.size)
      faults.push(`${disk.name}: ${what} ${offset}+${length} past the end`);
    if (disk.readOnly && what !== 'read') faults.push(`${disk.name}: ${what} of a disk that is only read`);
  };
  return {
    ...disk,
    read(offset, into) {
      check('read', offset, into.length);
      disk.read(offset, into);
    },
    write(offset, from) {
      check('write', offset, from.length);
      disk.write(offset, from);
    },
    discard(offset, length) {
      check('discard', offset, length);
      disk.discard(offset, length);
    },
  };
}

/** What the guest has: the devices, their channels, and pages that packets name. */
function start() {
  const faults: string[] = [];
  const disks = [watched(memoryDisk('a', 1 << 18), faults), watched(memoryDisk('b', 1 << 16, true), faults)];
  const frames: Uint8Array[] = [];
  const networks = [{ name: 'n', connect() {}, onFrame() {}, send: (frame: Uint8Array) => void frames.push(frame) }];
  const programs = vsockFuzzPrograms();
  const vsock = hostVsock(programs);
  const driver = fakeDriver({ disks, networks, vsock } as Parameters<typeof fakeDriver>[0], RAM);
  const data = driver.pages(DATA_PAGES);
  const offers = driver.connect();
  const channels = offers.map(offer => driver.open(offer));
  // The adapters are ready for requests; their answers are drained later.
  for (const [index, operation] of [7, 9, 10, 8].entries())
    for (const channel of channels) channel.send(6, index, words(operation, 1, 0, 0x0602, ...Array(12).fill(0)));
  return { driver, faults, data, offers, channels, programs, sockets: 0 };
}

type World = ReturnType<typeof start>;

/** BEGIN_INITIALIZATION of a SCSI adapter. */
const BEGIN: Parameters<FakeChannel['send']> = [6, 1, words(7, 1, ...Array(14).fill(0))];

function reopen({ driver }: World, channel: FakeChannel): void {
  const { relid, handle, outgoing, incoming } = channel;
  driver.post([7, 0, relid]);
  for (const ring of [outgoing, incoming]) driver.memory.fill(ring, 16);
  driver.post([5, 0, relid, relid, handle, 0, 4]);
  for (let reads = 0; reads < 8 && driver.receive(); reads++);
  channel.send(...BEGIN);
}

/** Hears what the bus has to say; channels of sockets are opened. */
function hear(world: World): void {
  const { driver, channels, offers } = world;
  for (let reads = 0; reads < 8; reads++) {
    const message = driver.receive();
    if (!message) return;
    if (message[0] !== 1) continue;
    const bytes = new DataView(Uint32Array.from(message).buffer);
    const [relid, connection] = [bytes.getUint32(184, true), bytes.getUint32(192, true)];
    if (relid <= offers.length) continue;
    const place = world.sockets++ % SOCKETS;
    const first = SOCKET_PAGES + 8 * place;
    const handle = 0xe0000 + world.sockets;
    driver.memory.fill(first * PAGE, 8 * PAGE);
    driver.post([
      8,
      0,
      relid,
      handle,
      (1 << 16) | 72,
      8 * PAGE,
      0,
      ...Array.from({ length: 16 }, (_, i) => (i % 2 ? 0 : first + i / 2)),
    ]);
    driver.post([5, 0, relid, relid, handle, 0, 4]);
    const rings = [first * PAGE, (first + 4) * PAGE] as const;
    channels[offers.length + place] = driver.channel(
      { type: '', relid, connection, pipe: true },
      handle,
      ...rings,
      3 * PAGE,
    );
  }
}

function perform(world: World, step: Step, random: Random): void {
  const { driver, channels, data } = world;
  const { memory, cpu } = driver;
  const channel: FakeChannel | undefined = 'channel' in step ? channels[step.channel % channels.length] : undefined;
  if (step.kind === 'wait') cpu.clock.advance(step.time);
  else if (step.kind === 'program') {
    world.programs.act(step.numbers);
    hear(world);
  } else if (step.kind === 'connect') {
    const ends = [step.guestPort, step.hostPort].flatMap(port => [
      ...new Uint32Array(guidBytes(serviceGuid(port)).buffer),
    ]);
    if (step.odd) ends[random.below(8)] = number(random);
    driver.post([21, 0, ...ends]);
    hear(world);
  } else if (step.kind === 'memory') driver.table.requestMemory?.(RAM - step.pages * PAGE);
  else if (step.kind === 'message') {
    driver.post(step.words);
    for (let reads = 0; reads < 8 && driver.receive(); reads++);
  } else if (!channel) return;
  else if (step.kind === 'store') {
    const ring = random.below(2) ? channel.outgoing : channel.incoming;
    memory.write32(ring + (step.offset % (channel.ringSize + PAGE)), step.value);
  } else if (step.kind === 'reopen') {
    reopen(world, channel);
  } else if (step.kind === 'rebuild') {
    const { relid } = channel;
    const handle = 0xf0000 + random.below(1 << 16);
    driver.post([7, 0, relid]);
    driver.post([8, 0, relid, handle, (1 << 16) | 72, 8 * PAGE, 0, ...step.pages.flatMap(page => [page, 0])]);
    driver.post([5, 0, relid, relid, handle, 0, 4]);
    for (let reads = 0; reads < 8 && driver.receive(); reads++);
    // Whether it has come to anything or not, the guest goes on where it is sound.
    if (step.pages.every((page, index) => page === REBUILT + index)) {
      memory.fill(REBUILT * PAGE, 8 * PAGE);
      const rings = [REBUILT * PAGE, (REBUILT + 4) * PAGE] as const;
      channels[channels.indexOf(channel)] = driver.channel(channel, handle, ...rings, 3 * PAGE);
    }
    channel.send(...BEGIN);
  } else if (step.kind === 'drain') {
    memory.write32(channel.incoming + 4, memory.read32(channel.incoming));
    channel.signal();
  } else {
    // A channel that nobody serves any more teaches nothing.
    if (memory.read32(channel.outgoing) !== memory.read32(channel.outgoing + 4)) reopen(world, channel);
    const message = mutated(random, random.of(RNDIS)(random));
    memory.copyIn(data * PAGE, message);
    const list = channel.direct(
      ...step.ranges.map(length => ({
        page: random.below(6) ? data : random.of([RAM / PAGE - 1, RAM / PAGE, 0x80000]),
        offset: random.of([0, 0, 8, 4000]),
        length: length % (DATA_PAGES * PAGE),
      })),
    );
    const extension = step.type === 9 ? mutated(random, list) : new Uint8Array(0);
    channel.send(step.type, random.below(64), step.body, step.flags, extension.subarray(0, extension.length & ~7));
  }
}

export const vmbus = caseFuzzer<readonly [seed: bigint, steps: readonly Step[]]>({
  name: 'vmbus',
  description: `${STEPS} hostile messages, packets and stores into rings of a guest with devices on a VMBus, without an engine`,
  make: random => [random.next64(), Array.from({ length: STEPS }, () => makeStep(random))],
  judge([seed, steps]) {
    const world = start();
    const random = createRandom(seed);
    for (const step of steps) perform(world, step, random);
    const { cpu } = world.driver;
    if (cpu.kills.length > 0) return `killed: ${cpu.kills[0]}`;
    if (world.faults.length > 0) return world.faults[0];
    cpu.states.save();
    // A kernel that comes afterwards finds everything as it should be.
    for (let reads = 0; reads < 100 && world.driver.receive(); reads++);
    const again = world.driver.connect();
    return again.length === world.offers.length ? undefined : `${again.length} offers afterwards`;
  },
  *smaller([seed, steps]) {
    for (let size = steps.length >> 1; size >= 1; size >>= 1)
      for (let at = 0; at < steps.length; at += size) yield [seed, [...steps.slice(0, at), ...steps.slice(at + size)]];
  },
  show: ([seed, steps]) => `${seed}\n${steps.map(step => JSON.stringify(step)).join('\n')}`,
});
