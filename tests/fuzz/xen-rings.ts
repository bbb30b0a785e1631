/**
 * What a hostile Xen guest shares with its back ends: rings of block requests, of xenstore messages and of the console, with valid
 * layouts, now and then with one thing wrong. Back ends write nowhere but to pages that are theirs to write, ask the disk for
 * nothing that is not there, and give back every page.
 */
import { ManualClock } from '../../src/devices/manual-clock.ts';
import type { BackEnd, BackendHost } from '../../src/devices/xen/backend.ts';
import { connectDisk } from '../../src/devices/xen/block-backend.ts';
import { type BlockLayout, layout32, layout64 } from '../../src/devices/xen/block-protocol.ts';
import { ConsoleRing } from '../../src/devices/xen/console-ring.ts';
import { RING_HEADER } from '../../src/devices/xen/ring-protocol.ts';
import { Xenstore } from '../../src/devices/xen/xenstore.ts';
import { XenstoreRing } from '../../src/devices/xen/xenstore-ring.ts';
import { createLog } from '../../src/host/log.ts';
import { GuestMemory } from '../../src/memory/memory.ts';
import { StateStore } from '../../src/state/state.ts';
import { StrictDisk } from './fake-machine.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';

/** Steps of one input. */
const STEPS = 400;
const PAGES = 64;
const PAGE = 4096;
const STORE_PAGE = 1;
const CONSOLE_PAGE = 2;
/** Frame numbers double as grant references. The block ring's pages, pages of segments, and of data. */
const RING = 4;
const LISTS = 8;
const DATA = 16;
/** The guest grants these for reading alone. */
const READ_ONLY = 60;
const PORT = 5;
const FRONT = '/local/domain/1/device/vbd/51712';

type Step =
  | { do: 'connect'; nodes: readonly (readonly [string, string])[]; narrow: boolean }
  | { do: 'block'; bytes: readonly (readonly [offset: number, width: 1 | 2 | 4 | 8, value: number])[]; produce: number }
  | { do: 'message'; type: number; transaction: number; text: string; length: number }
  | { do: 'console'; text: string; indices: readonly [number, number] | undefined }
  | { do: 'type'; text: string }
  | { do: 'poke'; page: number; offset: number; value: number }
  | { do: 'event'; whom: 'block' | 'store' | 'console' };

const NUMBERS = [
  0, 1, 2, 3, 7, 8, 11, 12, 64, 255, 256, 257, 511, 512, 513, 4095, 4096, 65535, 0x7fffffff, 0x80000000, 0xffffffff,
];
const NAMES = ['state', 'ring-ref', 'ring-ref0', 'ring-page-order', 'event-channel', 'protocol', 'feature-persistent'];
const VALUES = [
  '0',
  '1',
  '2',
  '3',
  '4',
  '5',
  '6',
  '8',
  '-1',
  '99999999999',
  'x86_64-abi',
  'x86_32-abi',
  'constructor',
  '__proto__',
  '',
];
const PATHS = [
  FRONT,
  `${FRONT}/state`,
  '/local/domain/1',
  '/',
  '/local/domain/0/backend/vbd/1/51712',
  'device/vbd/51712/state',
  '@releaseDomain',
  'a',
  'a/constructor',
  '/local/domain/1/__proto__',
  '..',
  '//',
  'x'.repeat(300),
];

/** A request as a 64-bit front end puts it into a slot. */
function makeBlock(random: Random): Step {
  const layout = layout64;
  const operation = random.of([0, 0, 1, 1, 2, 3, 5, 6, 6, 4, 99]);
  const frame = () => (random.below(12) ? DATA + random.below(READ_ONLY + 3 - DATA) : random.of(NUMBERS));
  const sectors = (): [number, number] => {
    const first = random.below(8);
    return random.below(12) ? [first, first + random.below(8 - first)] : [random.below(256), random.below(256)];
  };
  const sector = random.below(8) ? random.below(2060) : random.of(NUMBERS);
  const bytes: [number, 1 | 2 | 4 | 8, number][] = [
    [0, 1, operation],
    [layout.id, 8, random.below(1000)],
    [layout.sector, 8, sector],
  ];
  if (operation === 6) {
    bytes.push([1, 1, random.of([0, 1, 6, 5])], [2, 2, random.of([1, 2, 11, 12, 256, 257, 511])]);
    bytes.push([layout.indirectGrefs, 4, random.below(8) ? LISTS + random.below(4) : frame()]);
  } else if (operation === 5) {
    bytes.push([1, 1, random.below(2)], [layout.sectors, 8, random.below(4) ? random.below(64) : random.of(NUMBERS)]);
  } else {
    const count = random.below(10) ? 1 + random.below(11) : random.below(256);
    bytes.push([1, 1, count]);
    for (let i = 0; i < Math.min(count, 11); i++) {
      const [first, last] = sectors();
      const at = layout.segments + 8 * i;
      bytes.push([at, 4, frame()], [at + 4, 1, first], [at + 5, 1, last]);
    }
  }
  return { do: 'block', bytes, produce: random.below(20) ? 1 : random.of(NUMBERS) };
}

function makeConnect(random: Random): Step {
  const narrow = random.below(4) === 0;
  const nodes: [string, string][] = [
    ['event-channel', String(PORT)],
    ['protocol', narrow ? 'x86_32-abi' : 'x86_64-abi'],
    ['ring-ref', String(RING)],
  ];
  if (random.below(3) === 0) nodes.push([random.of(NAMES), random.of(VALUES)]);
  return { do: 'connect', nodes, narrow };
}

function makeStep(random: Random): Step {
  switch (random.below(24)) {
    case 0:
    case 1:
      return makeConnect(random);
    case 2:
    case 3:
    case 4:
    case 5: {
      const type = random.of([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12, 13, 14, 17, 18, 19, 21, 22, 99]);
      const parts = Array.from({ length: 1 + random.below(3) }, () =>
        random.of([...PATHS, ...VALUES, 'T', 'F', 'n1', 'r0', 'token']),
      );
      const text = parts.join('\0') + (random.below(8) ? '\0' : '');
      return {
        do: 'message',
        type,
        transaction: random.of([0, 0, 0, 1, 2, 77]),
        text,
        length: random.below(100) ? text.length : random.of(NUMBERS),
      };
    }
    case 6:
      return {
        do: 'message',
        type: 11,
        transaction: 0,
        text: `${FRONT}/${random.of(NAMES)}\0${random.of(VALUES)}`,
        length: -1,
      };
    case 7:
      return {
        do: 'console',
        text: 'x'.repeat(random.below(3000)),
        indices: random.below(3) ? undefined : [random.of(NUMBERS), random.of(NUMBERS)],
      };
    case 8:
      return { do: 'type', text: 'y'.repeat(random.below(random.of([4, 2000]))) };
    case 9:
      return {
        do: 'poke',
        page: random.of([STORE_PAGE, CONSOLE_PAGE, RING, LISTS]),
        // Among them indices, of which few are nonsense: a ring that is broken stays so.
        offset: 4 * random.below(random.below(16) ? 512 : 1024),
        value: random.of(NUMBERS),
      };
    case 10:
      return {
        do: 'poke',
        page: LISTS + random.below(4),
        offset: 8 * random.below(512),
        value: DATA + random.below(48),
      };
    case 11:
      return { do: 'event', whom: random.of(['block', 'store', 'console'] as const) };
    default:
      return makeBlock(random);
  }
}

const CONNECT: Extract<Step, { do: 'connect' }> = {
  do: 'connect',
  nodes: [
    ['event-channel', String(PORT)],
    ['protocol', 'x86_64-abi'],
    ['ring-ref', String(RING)],
  ],
  narrow: false,
};

/** A domain's half of all of it. */
export class Front {
  readonly memory = new GuestMemory(new ArrayBuffer(PAGES * PAGE), 0, PAGES * PAGE);
  readonly states = new StateStore();
  readonly disk = new StrictDisk(2048);
  /** Pages that back ends have in use now, by handle, and whether they may write to them. */
  readonly #mapped = new Map<number, { address: number; write: boolean }>();
  readonly #store = new Xenstore(this.states);
  readonly #storeRing: XenstoreRing;
  readonly #console: ConsoleRing;
  #backEnd: BackEnd | undefined;
  #bound = false;
  #handles = 0;
  #type: (data: Uint8Array) => void = () => {};
  #layout: BlockLayout = layout64;
  #produced = 0;
  /** True while the guest itself writes. */
  #own = false;
  wrong: string | undefined;

  constructor() {
    const { memory, states } = this;
    const log = createLog();
    memory.onWrite = (address, length) => {
      if (this.#own || length === 0) return;
      // Neighbours may be written to at once.
      const pages = [...this.#mapped.values()].filter(({ write }) => write).map(used => used.address / PAGE);
      const theirs = (page: number) => page === STORE_PAGE || page === CONSOLE_PAGE || pages.includes(page);
      const [first, last] = [Math.floor(address / PAGE), Math.floor((address + length - 1) / PAGE)];
      if (Array.from({ length: last - first + 1 }, (_, i) => first + i).every(theirs)) return;
      this.wrong ??= `a back end writes ${length} bytes to 0x${address.toString(16)}`;
    };
    const host: BackendHost = {
      domain: 1,
      memory,
      store: this.#store,
      log,
      clock: new ManualClock(),
      state: (name, version, initial) => states.state(name, version, initial),
      register: (_name, backEnd) => void (this.#backEnd = backEnd),
      map: (reference, write) => {
        if (reference >= PAGES || reference < RING || (write && reference >= READ_ONLY)) return undefined;
        this.#mapped.set(++this.#handles, { address: reference * PAGE, write });
        return { handle: this.#handles, address: reference * PAGE };
      },
      unmap: ({ handle }) => {
        if (!this.#mapped.delete(handle)) this.wrong ??= `page ${handle} is given back twice`;
      },
      bind: port => {
        if (port !== PORT || this.#bound) return false;
        this.#bound = true;
        return true;
      },
      notify: () => {},
      unbind: () => void (this.#bound = false),
    };
    this.#store.listen(0, () => this.#backEnd?.onWatch());
    this.#store.write(0, '/local/domain/1', '');
    this.#store.setPermissions(0, '/local/domain/1', ['n1']);
    this.#storeRing = new XenstoreRing(
      states.scope('store'),
      1,
      memory,
      { address: STORE_PAGE * PAGE },
      this.#store,
      log,
      () => {},
    );
    const console = { write: () => {}, onInput: (take: (data: Uint8Array) => void) => void (this.#type = take) };
    this.#console = new ConsoleRing(
      states.scope('console'),
      memory,
      { address: CONSOLE_PAGE * PAGE },
      console,
      () => {},
    );
    connectDisk(host, this.disk, 0);
  }

  #as<T>(work: () => T): T {
    this.#own = true;
    try {
      return work();
    } finally {
      this.#own = false;
    }
  }
  #event(whom: 'block' | 'store' | 'console'): void {
    if (whom === 'store') this.#storeRing.onEvent();
    else if (whom === 'console') this.#console.onEvent();
    else if (this.#bound) this.#backEnd?.onEvent();
  }

  perform(step: Step): void {
    const { memory } = this;
    switch (step.do) {
      case 'connect':
        this.#connect(step);
        break;
      case 'block': {
        // A ring whose back end has given up is begun anew.
        if (this.#produced !== memory.read32(RING * PAGE + 8)) this.#connect(CONNECT);
        const at = RING * PAGE + RING_HEADER + (this.#produced % 32) * this.#layout.slot;
        const narrow = this.#layout === layout32;
        this.#as(() => {
          memory.fill(at, this.#layout.slot);
          for (const [offset, width, value] of step.bytes)
            for (let i = 0; i < width; i++)
              memory.write8(
                at + (narrow && offset >= 8 ? offset - 4 : offset) + i,
                i < 6 ? Math.floor(value / 2 ** (8 * i)) & 0xff : 0,
              );
          this.#produced = (this.#produced + step.produce) >>> 0;
          memory.write32(RING * PAGE, this.#produced);
        });
        this.#event('block');
        break;
      }
      case 'message':
        this.#as(() => this.#put(step));
        this.#event('store');
        // The guest takes what came.
        this.#as(() => memory.write32(STORE_PAGE * PAGE + 2056, memory.read32(STORE_PAGE * PAGE + 2060)));
        this.#event('store');
        break;
      case 'console': {
        const at = CONSOLE_PAGE * PAGE;
        this.#as(() => {
          const producer = memory.read32(at + 0xc0c);
          for (let i = 0; i < step.text.length; i++) memory.write8(at + 0x400 + ((producer + i) & 2047), 120);
          memory.write32(at + 0xc0c, (producer + step.text.length) >>> 0);
          if (step.indices) memory.write32(at + 0xc00, step.indices[0]);
          if (step.indices) memory.write32(at + 0xc0c, step.indices[1]);
        });
        this.#event('console');
        break;
      }
      case 'type':
        this.#type(Uint8Array.from(step.text, character => character.charCodeAt(0)));
        break;
      case 'poke':
        this.#as(() => memory.write32(step.page * PAGE + step.offset, step.value));
        break;
      case 'event':
        this.#event(step.whom);
    }
  }

  /** A front end's way to Connected: what there was is closed first. */
  #connect({ nodes, narrow }: Extract<Step, { do: 'connect' }>): void {
    // As the toolstack would: the guest may have removed what it needs for it.
    const say = (name: string, value: string) => this.#store.write(0, `${FRONT}/${name}`, value);
    for (const state of ['5', '6', '1']) say('state', state);
    this.#layout = narrow ? layout32 : layout64;
    this.#produced = 0;
    this.#as(() => {
      this.memory.fill(RING * PAGE, PAGE);
      this.memory.write32(RING * PAGE + 4, 1);
      this.memory.write32(RING * PAGE + 12, 1);
    });
    for (const [name, value] of nodes) say(name, value);
    say('state', '3');
  }
  /** struct xsd_sockmsg and its payload, into the ring of requests (public/io/xs_wire.h). */
  #put({ type, transaction, text, length }: Extract<Step, { do: 'message' }>): void {
    const { memory } = this;
    const at = STORE_PAGE * PAGE;
    const words = [type, 1, transaction, length < 0 ? text.length : length];
    const bytes = [
      ...words.flatMap(word => [0, 8, 16, 24].map(by => (word >>> by) & 0xff)),
      ...Buffer.from(text, 'latin1'),
    ];
    const producer = memory.read32(at + 2052);
    for (const [i, byte] of bytes.slice(0, 1024).entries()) memory.write8(at + ((producer + i) & 1023), byte);
    memory.write32(at + 2052, (producer + Math.min(bytes.length, 1024)) >>> 0);
  }

  /** Once the front end has gone, nothing of its is in use any more. */
  close(): string | undefined {
    for (const state of ['5', '6']) this.#store.write(0, `${FRONT}/state`, state);
    return this.#mapped.size > 0
      ? `${this.#mapped.size} pages are still in use after the front end has closed`
      : undefined;
  }
}

export const xenRings: Fuzzer = caseFuzzer<readonly Step[]>({
  name: 'xen-rings',
  description: `${STEPS} block requests, xenstore messages and console texts of a hostile Xen guest, with one thing wrong now and then`,
  make: random => [makeConnect(random), ...Array.from({ length: STEPS }, () => makeStep(random))],
  judge(steps) {
    const front = new Front();
    for (const step of steps) {
      front.perform(step);
      const wrong = front.wrong ?? front.disk.violation;
      if (wrong) return wrong;
    }
    const saved = front.states.save();
    front.states.restore(saved);
    return front.close();
  },
  *smaller(steps) {
    for (let size = steps.length >> 1; size > 0; size >>= 1)
      for (let at = 0; at < steps.length; at += size) yield [...steps.slice(0, at), ...steps.slice(at + size)];
  },
  show: steps => steps.map(step => JSON.stringify(step)).join('\n'),
});
