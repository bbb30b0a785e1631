/**
 * A virtio driver of a hostile guest: requests to a disk with valid layouts, now and then with one thing wrong. The device writes
 * nowhere but to the used ring and to buffers that are its to write, and asks its disk for nothing that is not there.
 */
import { PCI_ADDRESS_PORT, PCI_DATA_PORT, PCI_MEMORY } from '../../src/devices/pc-layout.ts';
import { bare } from '../../src/hypervisors/bare/index.ts';
import { type FakeMachine, fakeMachine } from './fake-machine.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';

/** Steps of one input. */
const STEPS = 300;
const DESCRIPTORS = 0x200000;
const AVAILABLE = 0x210000;
const USED = 0x220000;
const HEADERS = 0x230000;
const TABLES = 0x240000;
const DATA = 0x300000;
const MEMORY = 16 << 20;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const STATUS = 0x14;
const DRIVER_OK = 4;
const NEEDS_RESET = 0x40;
const REGISTERS_WINDOW = 0x40000;

interface Descriptor {
  address: number;
  length: number;
  flags: number;
  next: number;
}

type Step =
  /** A chain from descriptor `head` on, or in a table of its own; `wrong` changes one field of one descriptor. */
  | {
      do: 'request';
      head: number;
      type: number;
      sector: number;
      data: { length: number; write: boolean }[];
      indirect: boolean;
      wrong?: Wrong;
    }
  | { do: 'notify' }
  | { do: 'store'; address: number; value: number }
  | { do: 'index'; add: number }
  | { do: 'register'; offset: number; width: 1 | 2 | 4; value: number }
  | { do: 'start'; disk: number; size: number; features: number }
  | { do: 'pass'; time: number };

interface Wrong {
  which: number;
  field: keyof Descriptor;
  value: number;
}

const LENGTHS = [0, 1, 15, 16, 511, 512, 513, 1024, 4096, 65536];
const WRONG = [
  0,
  1,
  2,
  3,
  4,
  5,
  7,
  16,
  255,
  256,
  0xfff,
  0xffff,
  MEMORY - 1,
  MEMORY,
  0x7fffffff,
  0x80000000,
  0xffffffff,
];
const FAR = [...WRONG, 2 ** 32, 2 ** 40, 2 ** 52, 2 ** 63, 0xfee00000, PCI_MEMORY.start];

function makeRequest(random: Random): Step {
  const type = random.of([0, 0, 0, 1, 1, 1, 4, 8, 11, 13, 2, 99]);
  const count = random.below(random.of([2, 4, 12]));
  const direction = type === 0 || type === 8;
  const field = random.of(['address', 'length', 'flags', 'next'] as const);
  return {
    do: 'request',
    head: random.below(random.of([1, 16, 256])),
    type,
    sector: random.below(4) ? random.below(2100) : random.of(FAR),
    data: Array.from({ length: count }, () => ({
      length: random.of(LENGTHS),
      write: random.below(12) === 0 ? !direction : direction,
    })),
    indirect: random.below(3) === 0,
    ...(random.below(5) === 0 && {
      wrong: { which: random.below(count + 3), field, value: random.of(field === 'address' ? FAR : WRONG) },
    }),
  };
}

function makeStep(random: Random): Step {
  switch (random.below(16)) {
    case 0:
      return { do: 'notify' };
    case 1:
      return {
        do: 'store',
        address: random.of([DESCRIPTORS, AVAILABLE, USED, TABLES, HEADERS]) + 4 * random.below(64),
        value: random.of(WRONG),
      };
    case 2:
      return { do: 'index', add: random.of([1, 2, 17, 255, 256, 257, 0x8000, 0xffff]) };
    case 3:
      return {
        do: 'register',
        offset: random.of([0, 0, 0, 0x1000, 0x2000, 0x3000]) + random.below(0x40),
        width: random.of([1, 2, 4] as const),
        value: random.of(WRONG),
      };
    case 4:
      return {
        do: 'start',
        disk: random.below(2),
        size: random.of([1, 2, 8, 16, 128, 256, 256, 256]),
        features: random.of([0xffffffff, 0xffffffff, 0xffffffff, 0, random.below(2 ** 32)]),
      };
    case 5:
      return { do: 'pass', time: random.of([1000, 1_000_000]) };
    default:
      return makeRequest(random);
  }
}

/** The driver's half. */
class Driver {
  readonly #machine: FakeMachine;
  #base = PCI_MEMORY.start;
  #available = 0;
  #disk = 0;
  #size = 256;
  /** What the device may write to while it is looked at, and what it has written beside that. */
  #allowed: { start: number; end: number }[] | undefined;
  outside: string | undefined;

  constructor(machine: FakeMachine) {
    this.#machine = machine;
    machine.cpu.memory.onWrite = (address, length) => {
      if (!this.#allowed || length === 0) return;
      if (this.#allowed.some(({ start, end }) => start <= address && address + length <= end)) return;
      this.outside ??= `the device writes ${length} bytes to 0x${address.toString(16)}`;
    };
    for (const disk of [0, 1]) this.#config(disk, 4, 6); // memory space, bus master
    this.start(0, 256, 0xffffffff);
  }

  #config(disk: number, register: number, value: number): void {
    const { context, cpu } = this.#machine;
    context.ports.write(PCI_ADDRESS_PORT, 4, 0x80000000 + ((disk + 1) << 11) + register, cpu);
    context.ports.write(PCI_DATA_PORT, 2, value, cpu);
  }
  register(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#watched(() =>
      this.#machine.context.mmio.write(
        this.#base + offset,
        width,
        width === 4 ? value : value % 2 ** (8 * width),
        this.#machine.cpu,
      ),
    );
  }
  #read(offset: number): number {
    return this.#machine.context.mmio.read(this.#base + offset, 4, this.#machine.cpu);
  }

  start(disk: number, size: number, features: number): void {
    this.#disk = disk;
    this.#base = PCI_MEMORY.start + disk * REGISTERS_WINDOW;
    this.#size = size;
    this.#available = 0;
    const { memory } = this.#machine.cpu;
    memory.write16(AVAILABLE + 2, 0);
    for (const status of [0, 1, 3]) this.register(STATUS, 1, status);
    for (const select of [0, 1]) {
      this.register(0x00, 4, select);
      const offered = this.#read(0x04);
      this.register(0x08, 4, select);
      this.register(0x0c, 4, select === 0 ? (offered & features) >>> 0 : offered);
    }
    this.register(STATUS, 1, 11);
    this.register(0x16, 2, 0);
    this.register(0x18, 2, size);
    for (const [offset, address] of [
      [0x20, DESCRIPTORS],
      [0x28, AVAILABLE],
      [0x30, USED],
    ] as const) {
      this.register(offset, 4, address);
      this.register(offset + 4, 4, 0);
    }
    this.register(0x1c, 2, 1);
    this.register(STATUS, 1, 15);
  }

  request({ head, type, sector, data, indirect, wrong }: Extract<Step, { do: 'request' }>): void {
    const { context, cpu } = this.#machine;
    const { memory } = cpu;
    // As a driver does whose device has had enough of it: it must not end the fuzzing.
    const status = context.mmio.read(this.#base + STATUS, 1, cpu);
    if (status & NEEDS_RESET || !(status & DRIVER_OK)) this.start(this.#disk, this.#size, 0xffffffff);
    const header = HEADERS + 32 * head;
    memory.write32(header, type);
    memory.write32(header + 4, 0);
    memory.write64(header + 8, BigInt.asUintN(64, BigInt(sector)));
    let at = DATA;
    const chain: Descriptor[] = [{ address: header, length: 16, flags: 0, next: 0 }];
    for (const { length, write } of data) {
      chain.push({ address: at, length, flags: write ? WRITE : 0, next: 0 });
      at += length;
    }
    chain.push({ address: header + 16, length: 1, flags: WRITE, next: 0 });
    const table = indirect ? TABLES + 4096 * (head % 64) : DESCRIPTORS;
    const first = indirect ? 0 : head;
    for (const [i, descriptor] of chain.entries()) {
      if (i < chain.length - 1) descriptor.flags |= NEXT;
      descriptor.next = (first + i + 1) % (indirect ? 2 ** 16 : this.#size);
      if (wrong?.which === i) descriptor[wrong.field] = wrong.value;
      this.#describe(table + 16 * ((first + i) % (indirect ? 256 : this.#size)), descriptor);
    }
    if (indirect) {
      const own = { address: table, length: 16 * chain.length, flags: INDIRECT, next: 0 };
      if (wrong && wrong.which >= chain.length) own[wrong.field] = wrong.value;
      this.#describe(DESCRIPTORS + 16 * (head % this.#size), own);
    }
    memory.write16(AVAILABLE + 4 + 2 * (this.#available % this.#size), head % this.#size);
    this.index(1);
    this.notify();
  }
  #describe(at: number, { address, length, flags, next }: Descriptor): void {
    const { memory } = this.#machine.cpu;
    memory.write64(at, BigInt.asUintN(64, BigInt(address)));
    memory.write32(at + 8, length % 2 ** 32);
    memory.write16(at + 12, flags % 2 ** 16);
    memory.write16(at + 14, next % 2 ** 16);
  }
  index(add: number): void {
    this.#available = (this.#available + add) & 0xffff;
    this.#machine.cpu.memory.write16(AVAILABLE + 2, this.#available);
  }
  notify(): void {
    this.register(0x3000, 2, 0);
  }
  pass(time: number): void {
    this.#watched(() => this.#machine.cpu.clock.advance(time));
  }

  #watched(work: () => void): void {
    this.#allowed = this.#writable();
    work();
    this.#allowed = undefined;
  }
  /** The used ring, and every buffer that a descriptor of the ring or of a table gives to the device. */
  #writable(): { start: number; end: number }[] {
    const { memory } = this.#machine.cpu;
    const ranges = [{ start: USED, end: USED + 6 + 8 * 256 }];
    const take = (at: number, count: number, tables: boolean): void => {
      for (let i = 0; i < count && memory.has(at + 16 * i, 16); i++) {
        const start = Number(memory.read64(at + 16 * i));
        const length = memory.read32(at + 16 * i + 8);
        const flags = memory.read16(at + 16 * i + 12);
        if (flags & WRITE) ranges.push({ start, end: start + length });
        if (flags & INDIRECT && tables) take(start, Math.min(length >> 4, 256), false);
      }
    };
    take(DESCRIPTORS, 256, true);
    return ranges;
  }
}

function perform(driver: Driver, machine: FakeMachine, step: Step): void {
  switch (step.do) {
    case 'request':
      return driver.request(step);
    case 'notify':
      return driver.notify();
    case 'store':
      return machine.cpu.memory.write32(step.address, step.value % 2 ** 32);
    case 'index':
      return driver.index(step.add);
    case 'register':
      return driver.register(step.offset, step.width, step.value);
    case 'start':
      return driver.start(step.disk, step.size, step.features);
    case 'pass':
      return driver.pass(step.time);
  }
}

export const virtqueues: Fuzzer = caseFuzzer<readonly Step[]>({
  name: 'virtqueues',
  description: `${STEPS} requests to virtio disks with valid layouts, and with one thing wrong`,
  make: random => Array.from({ length: STEPS }, () => makeStep(random)),
  async judge(steps) {
    const machine = await fakeMachine(bare);
    const driver = new Driver(machine);
    for (const step of steps) {
      perform(driver, machine, step);
      const wrong = driver.outside ?? machine.disks.find(({ violation }) => violation)?.violation;
      if (wrong) return wrong;
    }
    return machine.saveAndRestore();
  },
  *smaller(steps) {
    for (let size = steps.length >> 1; size > 0; size >>= 1)
      for (let at = 0; at < steps.length; at += size) yield [...steps.slice(0, at), ...steps.slice(at + size)];
  },
  show: steps => steps.map(step => JSON.stringify(step)).join('\n'),
});
