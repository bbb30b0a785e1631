import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor } from '../conformance/fake-processor.ts';
import { createLog } from '../host/log.ts';
import { Bus } from '../memory/bus.ts';
import { GuestMemory } from '../memory/memory.ts';
import { StateStore } from '../state/state.ts';
import type { Slot } from './device.ts';
import { ManualClock } from './manual-clock.ts';
import { PciBus, PciFunction } from './pci.ts';

/** The processor that asks. */
const cpu = new FakeProcessor();

function setUp() {
  const log = createLog();
  const mmio = new Bus('mmio', log);
  const states = new StateStore();
  const slot: Slot = {
    state: (name, version, initial) => states.state(name, version, initial),
    ports: () => () => {},
    mmio: (name, start, size, handler) => mmio.map(name, start, size, handler),
    line: () => ({ set: () => {} }),
    message: () => {},
    clock: new ManualClock(),
    memory: new GuestMemory(new ArrayBuffer(65536), 0, 65536),
    log,
    kill: reason => assert.fail(reason),
    request: () => {},
  };
  const bus = new PciBus(states);
  const one = new PciFunction(
    slot,
    'one',
    { vendor: 0x1234, device: 0x5678, revision: 3, class: 0x020000 },
    { line: { set: () => {} }, lineNumber: 10 },
  );
  one.addBar(0, 0x1000, 0xe0000000, { read: offset => offset, write: () => {} });
  one.attach();
  bus.plug(2, one);
  const config = (device: number, register: number) => {
    bus.address.write(0, 4, 0x80000000 + (device << 11) + register);
  };
  return { log, mmio, slot, bus, one, config };
}

test('configuration mechanism 1 finds what is there and nothing else', () => {
  const { bus, config } = setUp();
  config(2, 0);
  assert.equal(bus.address.read(0, 4), 0x80001000);
  assert.equal(bus.data.read(0, 4), 0x56781234);
  assert.equal(bus.data.read(2, 2), 0x5678);
  assert.equal(bus.data.read(3, 1), 0x56);
  config(2, 8);
  assert.equal(bus.data.read(0, 4), 0x02000003);
  config(3, 0);
  assert.equal(bus.data.read(0, 4), 0xffffffff);
  bus.address.write(0, 4, 0x80011000); // another bus
  assert.equal(bus.data.read(0, 2), 0xffff);
  bus.address.write(0, 4, 0x80001100); // another function
  assert.equal(bus.data.read(0, 1), 0xff);
  bus.address.write(0, 4, 0x00001000); // not enabled
  assert.equal(bus.data.read(0, 4), 0xffffffff);
});

test('only a whole double word reaches the address register', () => {
  const { bus, config } = setUp();
  config(2, 0);
  bus.address.write(3, 1, 1);
  bus.address.write(0, 2, 0);
  assert.equal(bus.address.read(0, 4), 0x80001000);
});

test('BARs tell their size, move, and stop answering', () => {
  const { bus, config, mmio } = setUp();
  assert.equal(mmio.read(0xe0000010, 4, cpu), 0x10);
  config(2, 0x10);
  assert.equal(bus.data.read(0, 4), 0xe0000000);
  bus.data.write(0, 4, 0xffffffff);
  assert.equal(bus.data.read(0, 4), 0xfffff000);
  bus.data.write(0, 4, 0xe1234567);
  assert.equal(bus.data.read(0, 4), 0xe1234000);
  assert.equal(mmio.find(0xe0000010), undefined);
  assert.equal(mmio.find(0xe1234010)?.offset, 0x10);
  config(2, 0x14);
  bus.data.write(0, 4, 0xffffffff);
  assert.equal(bus.data.read(0, 4), 0); // no such BAR
  config(2, 4);
  bus.data.write(0, 2, 0x404);
  assert.equal(mmio.find(0xe1234010), undefined);
  bus.data.write(0, 2, 0x006);
  assert.equal(mmio.find(0xe1234010)?.offset, 0x10);
});

test('a BAR put on RAM or on another device does not answer, and can be taken away again', () => {
  const { bus, config, mmio, slot, log } = setUp();
  slot.mmio('apic', 0xfee00000, 0x1000, { read: () => 7, write: () => {} });
  config(2, 0x10);
  bus.data.write(0, 4, 0x1000);
  assert.equal(mmio.find(0x1000), undefined);
  bus.data.write(0, 4, 0xfee00000);
  assert.equal(mmio.read(0xfee00000, 4, cpu), 7);
  assert.equal(log.lines.length, 1);
  bus.data.write(0, 4, 0xe2000000);
  assert.equal(mmio.read(0xe2000004, 4, cpu), 4);
});

test('identity is read-only, scratch registers are not', () => {
  const { bus, config } = setUp();
  for (let register = 0; register < 256; register += 4) {
    config(2, register);
    bus.data.write(0, 4, 0xffffffff);
  }
  config(2, 0);
  assert.equal(bus.data.read(0, 4), 0x56781234);
  config(2, 4);
  assert.equal(bus.data.read(0, 2), 0x0546);
  config(2, 0x3c);
  assert.equal(bus.data.read(0, 4), 0x01ff);
});

test('a reset puts BARs back where firmware had them', () => {
  const { bus, config, mmio } = setUp();
  config(2, 0x10);
  bus.data.write(0, 4, 0xe5000000);
  bus.reset();
  assert.equal(mmio.find(0xe0000010)?.offset, 0x10);
  assert.equal(mmio.find(0xe5000010), undefined);
});

test('what is unplugged is gone until a reset, and comes to rest', () => {
  const { bus, config, mmio, one } = setUp();
  let resets = 0;
  const two = new PciFunction(setUp().slot, 'two', { vendor: 1, device: 2, revision: 0, class: 0x010000 });
  two.attach();
  bus.plug(3, two, { name: 'two', reset: () => void resets++ });
  const vendor = (device: number) => {
    config(device, 0);
    return bus.data.read(0, 2);
  };
  one.setInterrupt(true);
  bus.unplug(code => code === 0x020000);
  assert.deepEqual([vendor(2), vendor(3), resets], [0xffff, 1, 0]);
  assert.equal(mmio.find(0xe0000010), undefined);
  config(2, 4);
  bus.data.write(0, 2, 2);
  assert.equal(mmio.find(0xe0000010), undefined, 'nobody hears what is written to it');
  bus.unplug(() => true);
  bus.unplug(() => true);
  assert.deepEqual([vendor(3), resets], [0xffff, 1]);
  bus.reset();
  assert.deepEqual([vendor(2), vendor(3)], [0x1234, 1]);
  assert.equal(mmio.find(0xe0000010)?.offset, 0x10);
});

test('a BAR without a handler is a place, and nothing answers there', () => {
  const { slot, mmio } = setUp();
  const card = new PciFunction(slot, 'card', { vendor: 1, device: 2, revision: 0, class: 0xff8000 });
  card.addBar(1, 1 << 24, 0xe1000000, undefined);
  card.attach();
  card.writeConfig(0x14, 4, 0xffffffff);
  assert.equal(card.readConfig(0x14, 4), 0xff000000);
  card.writeConfig(0x14, 4, 0xe2000000);
  assert.equal(card.readConfig(0x14, 4), 0xe2000000);
  assert.equal(mmio.find(0xe2000000), undefined);
});

test('capabilities form a list that ends', () => {
  const one = new PciFunction(setUp().slot, 'caps', { vendor: 1, device: 2, revision: 0, class: 0 });
  const a = one.addCapability(9, new Uint8Array(5), new Uint8Array(5));
  const b = one.addCapability(0x11, new Uint8Array(10), new Uint8Array(10));
  one.attach();
  assert.deepEqual([one.readConfig(0x34, 1), one.readConfig(a, 1), one.readConfig(a + 1, 1)], [a, 9, b]);
  assert.deepEqual([one.readConfig(b, 1), one.readConfig(b + 1, 1), b % 4], [0x11, 0, 0]);
  assert.equal(one.readConfig(6, 1) & 0x10, 0x10);
});
