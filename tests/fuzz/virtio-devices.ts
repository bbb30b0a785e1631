/**
 * The small virtio devices with a hostile driver: chains as a driver makes them, with fields changed, stores into rings, and whatever
 * each of them takes for a message. A device writes nowhere but to used rings and to what is its to write, throws nothing, and
 * serves a driver that begins anew.
 */
import { testSlot } from '../../src/devices/test-slot.ts';
import { VirtioBalloon } from '../../src/devices/virtio/virtio-balloon.ts';
import type { VirtioDevice } from '../../src/devices/virtio/virtio-pci.ts';
import { VirtioRng } from '../../src/devices/virtio/virtio-rng.ts';
import { VirtioVsock } from '../../src/devices/virtio/virtio-vsock.ts';
import { VirtQueue } from '../../src/devices/virtio/virtqueue.ts';
import { hostVsock } from '../../src/net/vsock.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';
import { vsockFuzzPrograms } from './vsock-programs.ts';

const PAGE = 4096;
const RAM = 128 * PAGE;
/** Pages from here on are never for a device to write. */
const READ_ONLY = 64;
/** Entries of each ring. */
const SIZE = 32;
const STEPS = 150;

type TestMachine = ReturnType<typeof testSlot>;

/** One kind of device, and what its driver would say. */
interface Kind {
  make(machine: TestMachine): VirtioDevice;
  /** Queues whose buffers are for the device to write; in all others the last one is, if there are several. */
  readonly writes: readonly number[];
  /** A message for `queue`, in 32-bit words, of numbers. */
  message(queue: number, numbers: readonly number[]): readonly number[];
  /** Something happens on the host's side. */
  outside?(device: VirtioDevice, numbers: readonly number[]): void;
  /** It may write anywhere. */
  readonly anywhere?: boolean;
}

const CID = 3;
const programs = vsockFuzzPrograms();

const KINDS: Readonly<Record<string, Kind>> = {
  rng: {
    make: ({ slot }) => new VirtioRng(slot, () => 0x1234567890abcdefn),
    writes: [0],
    message: () => [],
  },
  balloon: {
    make: ({ slot }) => new VirtioBalloon(slot),
    writes: [],
    message: (_, numbers) => numbers.map(number => number % (RAM / PAGE + 3)),
    outside(device, [bytes, offset, value]) {
      if (bytes % 2) device.requestMemory!(bytes * PAGE);
      else device.configure!(offset, value);
    },
    anywhere: true,
  },
  vsock: {
    make: ({ slot }) => new VirtioVsock(slot, hostVsock(programs, { cid: CID })),
    writes: [0, 2],
    // The header of a packet, most of them of this guest's for the host, and data.
    message: (queue, [operation, source, destination, length, flags, room, dealt, odd]) =>
      queue !== 1
        ? []
        : [
            ...[odd % 19 === 0 ? source : CID, 0, odd % 23 === 0 ? source : 2, 0, source % 8, destination % 4],
            ...[length % 41, ((operation % 8) << 16) | (odd % 29 === 0 ? 2 : 1), flags % 5, room, dealt],
            ...Array(11).fill(odd),
          ].slice(0, Math.max(11, 11 + Math.ceil((length % 41) / 4))),
    outside: (_, numbers) => programs.act(numbers),
  },
};

const VALUES = [
  ...[0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 43, 44, 45, 63, 64, 127, 128, 255, 256, 4095, 4096, 4097, 0x7fff, 0xffff],
  ...[RAM / PAGE - 1, RAM / PAGE, RAM - 1, RAM, 0x7fffffff, 0x80000000, 0xffffffff],
];

interface Input {
  kind: string;
  steps: readonly (readonly number[])[];
}

function makeStep(random: Random): number[] {
  return Array.from({ length: 16 }, () => (random.below(3) === 0 ? random.of(VALUES) : random.below(65536)));
}

/** A device and the driver's rings: of queue n, descriptors, available and used ring stand in the pages from 3 n + 1 on. */
class Driver {
  readonly #machine: TestMachine;
  readonly #device: VirtioDevice;
  readonly #kind: Kind;
  readonly #queues: VirtQueue[];
  readonly #produced: number[];
  #watching = false;
  wrong: string | undefined;

  constructor(machine: TestMachine, kind: Kind) {
    const { slot, memory } = machine;
    this.#machine = machine;
    this.#kind = kind;
    const device = kind.make(machine);
    this.#device = device;
    this.#queues = device.queueSizes.map((size, n) => new VirtQueue(slot, `q/${n}`, memory, Math.min(size, SIZE)));
    this.#produced = this.#queues.map(() => 0);
    device.attach?.({
      queue: n => (this.#queues[n]?.enabled && this.#queues[n].broken === undefined ? this.#queues[n] : undefined),
      used: n => void this.#queues[n].settle(),
      configurationChanged() {},
    });
    memory.onWrite = (address, length) => {
      if (!this.#watching || length === 0) return;
      if (!memory.has(address, length)) this.wrong ??= `it writes ${length} bytes to 0x${address.toString(16)}`;
      if (!kind.anywhere && address + length > READ_ONLY * PAGE)
        this.wrong ??= `it writes to 0x${address.toString(16)}, which is not its to write`;
    };
    this.start(0);
  }

  start(without: number): void {
    const { memory } = this.#machine;
    for (const [index, queue] of this.#queues.entries()) {
      const first = (3 * index + 1) * PAGE;
      queue.reset();
      this.#produced[index] = 0;
      memory.bytes.fill(0, first, first + 3 * PAGE);
      const size = Math.min(queue.maximum, SIZE);
      Object.assign(queue.state, { size, descriptors: first, available: first + PAGE, used: first + 2 * PAGE });
      queue.state.eventIndex = (without & 1) !== 0;
      queue.enable();
    }
    this.#watch(() => this.#device.start(this.#device.features & ~BigInt(without >> 1)));
  }

  #watch(work: () => void): void {
    this.#watching = true;
    work();
    this.#watching = false;
  }

  step(numbers: readonly number[]): void {
    const [what, which, pieces, place, length, odd] = numbers;
    const index = which % this.#queues.length;
    const queue = this.#queues[index];
    const first = (3 * index + 1) * PAGE;
    const { memory } = this.#machine;
    if (what % 37 === 0 || queue.broken !== undefined) return this.start(numbers[1]);
    if (what % 5 === 0) return this.#watch(() => this.#kind.outside?.(this.#device, numbers.slice(1)));
    if (what % 11 === 0) return memory.write32(first + PAGE * (which % 3) + (place & 0x7c), odd);
    const count = 1 + (pieces % 3);
    const { size } = queue.state;
    const head = place % size;
    const message = this.#kind.message(index, numbers.slice(6));
    for (let piece = 0; piece < count; piece++) {
      const isWritten = this.#kind.writes.includes(index) || (count > 1 && piece === count - 1);
      const page = isWritten ? 32 + ((place + piece) % 31) : READ_ONLY + ((place + piece) % 60);
      const at = first + 16 * ((head + piece) % size);
      if (!isWritten && piece === 0)
        for (const [word, value] of message.entries()) memory.write32(page * PAGE + 4 * word, value >>> 0);
      memory.write64(at, BigInt(page * PAGE + (odd % 13 === 0 ? odd & 0xff : 0)));
      // A device that is told so may write anywhere: no driver lies about that here.
      const natural = !isWritten && odd % 3 ? 4 * message.length : length;
      memory.write32(at + 8, odd % 17 === 0 ? length : natural % PAGE);
      memory.write16(at + 12, (piece < count - 1 ? 1 : 0) | (isWritten ? 2 : 0));
      memory.write16(at + 14, odd % 31 === 0 ? odd : (head + piece + 1) % size);
    }
    const produced = this.#produced[index];
    memory.write16(first + PAGE + 4 + 2 * (produced % size), head);
    this.#produced[index] = produced + (odd % 41 === 0 ? odd : 1);
    memory.write16(first + PAGE + 2, this.#produced[index] & 0xffff);
    this.#watch(() => {
      for (let turn = 0; turn < 4 && this.#device.serve(index, queue); turn++);
      queue.settle();
    });
  }

  pass(time: number): void {
    this.#watch(() => this.#machine.clock.advance(time));
  }
}

function judge({ kind, steps }: Input): string | undefined {
  const machine = testSlot(RAM);
  const driver = new Driver(machine, KINDS[kind]);
  for (const numbers of steps) {
    driver.step(numbers);
    driver.pass(numbers[15] * 1000);
    const wrong = driver.wrong ?? machine.kills[0];
    if (wrong !== undefined) return wrong;
  }
  driver.start(0);
  machine.states.save();
  return driver.wrong;
}

export const virtioDevices: Fuzzer = caseFuzzer<Input>({
  name: 'virtio-devices',
  description: `virtio's ${Object.keys(KINDS).join(', ')} with a hostile driver; ${STEPS} steps a case`,
  make: random => ({
    kind: random.of(Object.keys(KINDS)),
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
