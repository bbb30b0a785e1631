/** A device that reaches its driver unasked, as a network card does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor } from '../../conformance/fake-processor.ts';
import { createLog } from '../../host/log.ts';
import { Bus } from '../../memory/bus.ts';
import { GuestMemory } from '../../memory/memory.ts';
import { StateStore } from '../../state/state.ts';
import type { Slot } from '../device.ts';
import { ManualClock, RecordingLine } from '../manual-clock.ts';
import { testSlot } from '../test-slot.ts';
import { type VirtioDevice, VirtioPci, type VirtioTransport } from './virtio-pci.ts';

/** The processor that asks. */
const cpu = new FakeProcessor();

const RAM = 2 ** 16;
const BAR = 0xe0000000;
const [DESCRIPTORS, AVAILABLE, USED, BUFFER] = [0x1000, 0x2000, 0x3000, 0x4000];
const SIZE = 4;

/** A bell: each ring puts its number into a buffer that the driver has offered. */
class Bell implements VirtioDevice {
  readonly name = 'bell';
  readonly type = 42;
  readonly pciClass = 0xff0000;
  readonly features = 0n;
  readonly queueSizes = [SIZE];
  readonly configuration = new Uint8Array(4);
  readonly #memory: GuestMemory;
  transport!: VirtioTransport;

  constructor(memory: GuestMemory) {
    this.#memory = memory;
  }

  attach(transport: VirtioTransport): void {
    this.transport = transport;
  }

  start(): void {}

  serve(): boolean {
    return false; // a buffer that is offered waits for a ring
  }

  /** @returns false if the driver has no buffer for it */
  ring(number: number): boolean {
    const queue = this.transport.queue(0);
    const chain = queue?.pop();
    if (queue && chain) {
      this.#memory.write8(chain.address[0], number);
      queue.push(chain.head, 1);
    }
    this.transport.used(0);
    return chain !== undefined;
  }
}

function setUp() {
  const memory = new GuestMemory(new ArrayBuffer(RAM), 0, RAM);
  const log = createLog();
  const mmio = new Bus('mmio', log);
  const states = new StateStore();
  const line = new RecordingLine();
  const slot: Slot = {
    state: (name, version, initial) => states.state(name, version, initial),
    ports: () => () => {},
    mmio: (name, start, size, handler) => mmio.map(name, start, size, handler),
    line: () => line,
    message: () => {},
    clock: new ManualClock(),
    memory,
    log,
    kill: reason => assert.fail(reason),
    request: () => {},
  };
  const bell = new Bell(memory);
  new VirtioPci(slot, bell, BAR, { line, lineNumber: 11 });
  const write = (offset: number, width: 1 | 2 | 4, value: number) => mmio.write(BAR + offset, width, value, cpu);
  const read = (offset: number, width: 1 | 2 | 4) => mmio.read(BAR + offset, width, cpu);
  const start = () => {
    for (const [offset, width, value] of [
      [0x14, 1, 3],
      [0x08, 4, 1],
      [0x0c, 4, 1],
      [0x14, 1, 11],
      [0x20, 4, DESCRIPTORS],
      [0x28, 4, AVAILABLE],
      [0x30, 4, USED],
      [0x1c, 2, 1],
      [0x14, 1, 15],
    ] as const)
      write(offset, width, value);
  };
  /** Offers `count` buffers in all, each a byte in size. */
  const offer = (count: number) => {
    for (let i = 0; i < SIZE; i++) {
      memory.write32(DESCRIPTORS + 16 * i, BUFFER + i);
      memory.write32(DESCRIPTORS + 16 * i + 8, 1);
      memory.write16(DESCRIPTORS + 16 * i + 12, 2);
      memory.write16(AVAILABLE + 4 + 2 * i, i);
    }
    memory.write16(AVAILABLE + 2, count);
  };
  return { memory, line, bell, write, read, start, offer };
}

test('a device pushes into a queue unasked, and the driver is interrupted', () => {
  const { memory, line, bell, read, start, offer } = setUp();
  start();
  offer(2);
  assert.equal(bell.ring(7), true);
  assert.equal(line.high, true);
  assert.equal(read(0x1000, 1), 1);
  assert.equal(line.high, false);
  assert.equal(memory.read16(USED + 2), 1);
  assert.equal(memory.read8(BUFFER), 7);
  memory.write16(AVAILABLE, 1); // no interrupts wanted
  assert.equal(bell.ring(8), true);
  assert.equal(line.high, false);
  assert.equal(memory.read8(BUFFER + 1), 8);
  assert.equal(bell.ring(9), false, 'there is no buffer for the third');
});

test('without a driver there is no queue, and nobody is interrupted', () => {
  const { line, bell, write, start, offer } = setUp();
  assert.equal(bell.transport.queue(0), undefined);
  assert.equal(bell.ring(1), false);
  bell.transport.configurationChanged();
  assert.equal(line.edges, 0);
  start();
  assert.equal(bell.transport.queue(1), undefined);
  offer(2);
  write(0x14, 1, 0);
  assert.equal(bell.ring(2), false);
  assert.equal(line.edges, 0);
});

test('a ring that makes no sense, met by a push, waits for a reset', () => {
  const { line, bell, read, start, offer } = setUp();
  start();
  offer(SIZE + 1);
  assert.equal(bell.ring(1), false);
  assert.equal(read(0x14, 1) & 64, 64);
  assert.equal(read(0x1000, 1), 2);
  assert.equal(bell.transport.queue(0), undefined);
  assert.equal(bell.ring(2), false);
  assert.equal(line.edges, 1);
});

test('a changed configuration has another generation, and the driver is told', () => {
  const { line, bell, read, start } = setUp();
  start();
  const before = read(0x15, 1);
  bell.configuration[0] = 1;
  bell.transport.configurationChanged();
  assert.notEqual(read(0x15, 1), before);
  assert.equal(read(0x2000, 1), 1);
  assert.equal(line.high, true);
  assert.equal(read(0x1000, 1), 2);
});

test('there is no structure without a byte: drivers take none', () => {
  const machine = testSlot(RAM);
  /** Lengths of the structures, by their types. */
  const structures = (configuration: Uint8Array) => {
    const device = Object.assign(new Bell(machine.memory), { name: `bell-${configuration.length}`, configuration });
    const { function: card } = new VirtioPci(machine.slot, device, BAR + 0x40000 * configuration.length);
    const found = new Map<number, number>();
    for (let at = card.readConfig(0x34, 1); at !== 0; at = card.readConfig(at + 1, 1))
      if (card.readConfig(at, 1) === 9) found.set(card.readConfig(at + 3, 1), card.readConfig(at + 12, 4));
    return found;
  };
  assert.deepEqual([...structures(new Uint8Array(8)).keys()].sort(), [1, 2, 3, 4, 5]);
  assert.equal(structures(new Uint8Array(12)).get(4), 12);
  assert.equal(structures(new Uint8Array(0)).has(4), false);
});
