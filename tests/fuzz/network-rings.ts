/**
 * What a hostile guest shares with its network cards: Xen's rings and virtio's queues, with frames in them that are valid but for a
 * field or two. The cards write nowhere but to rings and to what is theirs to write, and give back every page; the user-mode
 * network behind them answers whatever comes.
 */
import { ManualClock } from '../../src/devices/manual-clock.ts';
import { VirtioNet } from '../../src/devices/virtio/virtio-net.ts';
import { VirtQueue } from '../../src/devices/virtio/virtqueue.ts';
import type { BackEnd, BackendHost } from '../../src/devices/xen/backend.ts';
import { connectNetwork } from '../../src/devices/xen/network-backend.ts';
import { Xenstore } from '../../src/devices/xen/xenstore.ts';
import { createLog } from '../../src/host/log.ts';
import type { HostSockets } from '../../src/host/sockets.ts';
import { GuestMemory } from '../../src/memory/memory.ts';
import { userNetwork } from '../../src/net/user-network.ts';
import { StateStore } from '../../src/state/state.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';

const PAGE = 4096;
const PAGES = 128;
const STEPS = 120;
/** Pairs of queues of the virtio card. */
const PAIRS = 2;
/** Pages from here on may be read alone. */
const READ_ONLY = 64;
const PORT = 5;
const VALUES = [
  0, 1, 2, 3, 4, 8, 12, 14, 42, 60, 255, 256, 1514, 1515, 2047, 4095, 4096, 0x7fff, 0xffff, 0x80000000, 0xffffffff,
];

/** Numbers, which the two drivers take for what they will: so a case is made smaller by leaving some out. */
interface Input {
  kind: 'netif' | 'virtio';
  steps: readonly (readonly number[])[];
}

function makeStep(random: Random): number[] {
  return Array.from({ length: 12 }, () => (random.below(3) === 0 ? random.of(VALUES) : random.below(65536)));
}

/** Sockets that connect to nobody, and answer at once what a datagram asks. */
function sockets(): HostSockets {
  const later: (() => void)[] = [];
  const tcp = { write() {}, pending: 0, end() {}, pause() {}, resume() {}, reset() {} };
  return {
    isLocal: true,
    attach: attached => void later.push(() => attached(() => {})),
    connectTcp: (_address, port, handler) => {
      later.push(() => (port & 1 ? handler.connected?.() : handler.closed('refused')));
      return tcp;
    },
    openUdp: (_version, handler) => ({
      send: (bytes, address, port) => handler.message(bytes.slice(), address, port),
      close() {},
    }),
    listenTcp: () => Promise.reject(new Error('nobody listens')),
    listenUdp: () => Promise.reject(new Error('nobody listens')),
    resolve: (_name, _type, answer) => answer('no-name'),
  };
}

/** A frame that begins as one: ARP, DHCP's ports, TCP to the outside; the rest is zeros. */
function writeFrame(memory: GuestMemory, at: number, kind: number): void {
  const tcp = [
    0x45, 0, 0, 60, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 2, 15, 192, 0, 2, 1, 0, 9, 0, 81, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2,
  ];
  const arp = [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 2, 15, 0, 0, 0, 0, 0, 0, 10, 0, 2, 2];
  const body = kind & 1 ? tcp : arp;
  const frame = [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, kind & 1 ? 0 : 6, ...body];
  for (const [offset, byte] of frame.entries()) if (memory.has(at + offset, 1)) memory.write8(at + offset, byte);
}

async function judge({ kind, steps }: Input): Promise<string | undefined> {
  const memory = new GuestMemory(new ArrayBuffer(PAGES * PAGE), 0, PAGES * PAGE);
  const states = new StateStore();
  const clock = new ManualClock(0n, states);
  const log = createLog();
  const network = await userNetwork({ sockets: sockets(), hostLoopback: true });
  const found: { wrong?: string } = {};
  const surroundings = { memory, states, clock, log, network, found };
  const step = kind === 'netif' ? netif(surroundings) : virtio(surroundings);
  for (const numbers of steps) {
    step(numbers);
    clock.advance(numbers[11] * 1000);
    if (found.wrong !== undefined) return found.wrong;
  }
  network.close?.();
  return undefined;
}

interface Surroundings {
  memory: GuestMemory;
  states: StateStore;
  clock: ManualClock;
  log: ReturnType<typeof createLog>;
  network: Awaited<ReturnType<typeof userNetwork>>;
  found: { wrong?: string };
}

/** Writes of the device's that are looked at: @returns runs `work` while they are. */
function watch({ memory, found }: Surroundings, allowed: (page: number) => boolean) {
  let watching = false;
  memory.onWrite = (address, length) => {
    if (!watching || length === 0) return;
    for (let page = Math.floor(address / PAGE); page * PAGE < address + length; page++)
      if (!allowed(page)) found.wrong ??= `the card writes to 0x${address.toString(16)}`;
  };
  return (work: () => void) => {
    watching = true;
    work();
    watching = false;
  };
}

function netif(surroundings: Surroundings): (numbers: readonly number[]) => void {
  const { memory, states, clock, log, network, found } = surroundings;
  const [tx, rx] = [1, 2];
  const store = new Xenstore(states);
  const mapped = new Map<number, { page: number; write: boolean }>();
  let handles = 0;
  let backEnd: BackEnd | undefined;
  const bound = new Set<number>();
  const watched = watch(surroundings, page => [...mapped.values()].some(used => used.write && used.page === page));
  const host: BackendHost = {
    ...{ domain: 1, memory, store, log, clock },
    state: (name, version, initial) => states.state(name, version, initial),
    register: (_name, registered) => void (backEnd = registered),
    map(reference, write) {
      if (reference < 1 || reference >= PAGES || (write && reference >= READ_ONLY)) return undefined;
      mapped.set(++handles, { page: reference, write });
      return { handle: handles, address: reference * PAGE };
    },
    unmap({ handle }) {
      if (!mapped.delete(handle)) found.wrong ??= `page ${handle} is given back twice`;
    },
    bind(port) {
      if ((port !== PORT && port !== PORT + 1) || bound.has(port)) return false;
      bound.add(port);
      return true;
    },
    notify: () => {},
    unbind: port => void bound.delete(port),
  };
  store.listen(0, () => backEnd?.onWatch());
  store.write(0, '/local/domain/1', '');
  connectNetwork(host, network, 0, 2);
  const front = '/local/domain/1/device/vif/0';
  const set = (name: string, value: number) => store.write(0, `${front}/${name}`, String(value));
  let [sent, offered] = [0, 0];
  const connect = (features: number) => {
    for (const page of [tx, rx]) memory.bytes.fill(0, page * PAGE, (page + 1) * PAGE);
    sent = offered = 0;
    // One queue, or two, the second of which has its rings where frames are, too; seldom another number.
    const queues = features % 97 === 0 ? features : features & 16 ? 2 : 1;
    set('multi-queue-num-queues', queues);
    for (const [index, prefix] of (queues === 1 ? [''] : ['queue-0/', 'queue-1/']).entries())
      for (const [name, value] of [
        ['tx-ring-ref', index ? 3 : tx],
        ['rx-ring-ref', index ? 4 : rx],
        ['event-channel', PORT + index],
      ] as const)
        set(`${prefix}${name}`, value);
    for (const [index, name] of ['request-rx-copy', 'feature-sg', 'feature-gso-tcpv4', 'feature-gso-tcpv6'].entries())
      set(name, index === 0 || features & (1 << index) ? 1 : 0);
    set('state', 6);
    set('state', 1);
    set('state', 4);
  };
  connect(15);
  return ([what, a, b, c, d, e, f, g]) => {
    switch (what % 8) {
      case 0: // Anything, anywhere in a ring.
        memory.write32((b & 1 ? tx : rx) * PAGE + (a & 0xffc), c | (d << 16));
        break;
      case 1:
        connect(a);
        break;
      case 2: // Room for frames.
        for (let slots = a % 40; slots > 0; slots--, offered++) {
          const at = rx * PAGE + 64 + (offered & 255) * 8;
          memory.write32(at, b & 0xffff);
          memory.write32(at + 4, slots === 1 ? c : 3 + ((c + slots) % 60));
        }
        break;
      default: {
        // A packet in pieces, with an extra info in front of the second.
        const pieces = 1 + (a % (b % 7 === 0 ? 22 : 3));
        for (let piece = 0; piece < pieces; piece++, sent++) {
          const at = tx * PAGE + 64 + (sent & 255) * 12;
          const isExtra = piece === 1 && (c & 8) !== 0;
          const page = 3 + ((d + piece) % 120);
          if (piece === 0) writeFrame(memory, page * PAGE + (e & 0xff), g);
          const flags =
            (piece < pieces - 1 && !(piece === 0 && c & 8 && pieces === 2) ? 4 : 0) | (piece === 0 ? c & 11 : 0);
          if (isExtra) {
            memory.write32(at, 1 | ((f & 1) << 8) | ((g & 0xffff) << 16));
            memory.write32(at + 4, 1 + (f & 1));
          } else {
            memory.write32(at, page);
            memory.write16(at + 4, e & 0xff);
            memory.write16(at + 6, flags);
            memory.write16(at + 8, sent);
            memory.write16(at + 10, piece === 0 ? (b & 1 ? 60 + 100 * pieces : f & 0xffff) : 100);
          }
        }
      }
    }
    memory.write32(tx * PAGE, what % 31 === 0 ? g : sent);
    memory.write32(rx * PAGE, what % 37 === 0 ? g : offered);
    watched(() => backEnd?.onEvent());
    if (mapped.size > 4) found.wrong ??= `${mapped.size} pages stay mapped`;
  };
}

function virtio(surroundings: Surroundings): (numbers: readonly number[]) => void {
  const { memory, states, clock, log, network } = surroundings;
  const SIZE = 64;
  const slot = {
    ...{ memory, clock, log },
    state: states.state.bind(states),
    ports: () => () => {},
    mmio: () => () => {},
    line: () => ({ set() {} }),
    message() {},
    kill() {},
    request() {},
  } as ConstructorParameters<typeof VirtioNet>[0];
  const card = new VirtioNet(slot, network, '0', Uint8Array.of(2, 0, 0, 0, 0, 1), PAIRS);
  /** Of queue n: descriptors in page 3 n + 1, available and used rings in the next two. */
  const queues = card.queueSizes.map(
    (maximum, index) => new VirtQueue(slot, `queue/${index}`, memory, Math.min(maximum, SIZE)),
  );
  const watched = watch(surroundings, page => page < READ_ONLY);
  const produced = queues.map(() => 0);
  const control = 2 * PAIRS;
  const start = (features: number) => {
    for (const [index, queue] of queues.entries()) {
      queue.reset();
      produced[index] = 0;
      memory.bytes.fill(0, (3 * index + 1) * PAGE, (3 * index + 4) * PAGE);
      const first = (3 * index + 1) * PAGE;
      Object.assign(queue.state, { size: SIZE, descriptors: first, available: first + PAGE, used: first + 2 * PAGE });
      queue.state.eventIndex = (features & 1) !== 0;
      queue.state.indirect = (features & 2) !== 0;
      queue.enable();
    }
    card.start(card.features & ~BigInt(features & 4 ? 0x8000 : 0) & ~BigInt(features & 8 ? 2 : 0));
  };
  card.attach({
    queue: index => (queues[index].broken === undefined && queues[index].enabled ? queues[index] : undefined),
    used: index => void queues[index].settle(),
    configurationChanged() {},
  });
  start(0);
  return ([what, a, b, c, d, e, f, g]) => {
    const index = what % 16 === 0 ? control : what % 4 === 0 ? 2 * (g % PAIRS) : 2 * (g % PAIRS) + 1;
    const isReceive = index !== control && index % 2 === 0;
    const first = (3 * index + 1) * PAGE;
    if (a % 61 === 0 || queues[index].broken !== undefined) start(b);
    const count = 1 + (a % 4);
    const head = b % SIZE;
    for (let piece = 0; piece < count; piece++) {
      const at = first + ((head + piece) % SIZE) * 16;
      const isWritable = isReceive || (index === control && piece === count - 1);
      const page = (isWritable ? 16 : READ_ONLY) + ((c + piece) % 46);
      // No descriptor says that a page may be written to which may not: it would be no mistake to do so then.
      const wrong = queues[index].state.indirect ? 1 : 5;
      memory.write32(at, page * PAGE + (piece === 0 ? 0 : e & 0xff));
      memory.write32(at + 4, 0);
      memory.write32(at + 8, f & 1 ? 12 + (g % 1515) : f & 0x1fff);
      memory.write16(at + 12, (piece < count - 1 ? 1 : 0) | (isWritable ? 2 : 0) | (d % 53 === 0 ? d & wrong : 0));
      memory.write16(at + 14, d % 59 === 0 ? g & 0xffff : (head + piece + 1) % SIZE);
      if (piece > 0 || isReceive) continue;
      memory.write32(page * PAGE, (d & 0x1ff) | ((g & 0xfff) << 16));
      memory.write32(page * PAGE + 4, (d & 0x7ff) | ((e & 63) << 16));
      memory.write32(page * PAGE + 8, 16 | (f << 16));
      writeFrame(memory, page * PAGE + 12, g);
      if (index === control) memory.write32(page * PAGE, (a % 6) | ((b & 3) << 8) | (c << 16));
    }
    const place = 4 * (g % 700);
    if (what % 29 === 0 && place % 16 !== 12) memory.write32(first + place, e);
    memory.write16(first + PAGE + 4 + 2 * (produced[index] % SIZE), head);
    produced[index] += what % 41 === 0 ? g : 1;
    memory.write16(first + PAGE + 2, produced[index] & 0xffff);
    watched(() => {
      for (let turn = 0; turn < 4 && card.serve(index, queues[index]); turn++);
      queues[index].settle();
    });
  };
}

export const networkRings: Fuzzer = caseFuzzer<Input>({
  name: 'network-rings',
  description: `Xen's and virtio's network cards with a hostile driver and a network in user mode; ${STEPS} steps a case`,
  make: random => ({
    kind: random.of(['netif', 'virtio'] as const),
    steps: Array.from({ length: STEPS }, () => makeStep(random)),
  }),
  judge,
  *smaller({ kind, steps }) {
    for (let size = steps.length >> 1; size >= 1; size >>= 1)
      for (let at = 0; at + size <= steps.length; at += size)
        yield { kind, steps: [...steps.slice(0, at), ...steps.slice(at + size)] };
  },
  show: ({ kind, steps }) => `${kind}\n${steps.map(step => step.join(' ')).join('\n')}`,
});
