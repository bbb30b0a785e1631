import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testSlot } from '../test-slot.ts';
import { virtioDriver } from './testing.ts';
import { VirtioBalloon } from './virtio-balloon.ts';

const RAM = 0x100000;
const PAGE = 4096;
const pages = (...numbers: number[]) => new Uint8Array(Uint32Array.from(numbers).buffer);

function setUp() {
  const machine = testSlot(RAM);
  const device = new VirtioBalloon(machine.slot);
  const driver = virtioDriver(machine, device);
  const words = () => [...new Uint32Array(device.configuration.slice().buffer)];
  return { ...machine, device, driver, words };
}

test('the driver is told how many pages are wanted, and says how many there are', () => {
  const { device, driver, words } = setUp();
  assert.deepEqual(words(), [0, 0]);
  assert.equal(device.requestMemory(RAM - 10 * PAGE), true);
  assert.deepEqual([words(), driver.changes()], [[10, 0], 1]);
  device.configure(4, 7);
  device.configure(0, 9);
  assert.deepEqual(words(), [10, 7]);
  device.requestMemory(2 * RAM);
  assert.deepEqual([words(), driver.changes()], [[0, 7], 2]);
});

test('pages that are handed over are cleared; what is outside RAM is nothing', () => {
  const { memory, driver } = setUp();
  for (const page of [0x80, 0x81, 0x82]) memory.write32(page * PAGE + 8, 5);
  driver.offer(0, [pages(0x80, 0x82, RAM / PAGE, 0xffffffff)]);
  assert.deepEqual(
    [0x80, 0x81, 0x82].map(page => memory.read32(page * PAGE + 8)),
    [0, 5, 0],
  );
  driver.offer(1, [pages(0x81)]);
  assert.equal(memory.read32(0x81 * PAGE + 8), 5, 'taken back');
  assert.deepEqual([driver.used(0).length, driver.used(1).length], [1, 1]);
});

test('a request that is too long breaks the queue', () => {
  const { driver } = setUp();
  driver.offer(0, [new Uint8Array(4 * 1025)]);
  assert.match(driver.queues[0].broken ?? '', /a request of 4100 bytes/);
});
