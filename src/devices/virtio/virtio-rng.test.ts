import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testSlot } from '../test-slot.ts';
import { virtioDriver } from './testing.ts';
import { VirtioRng } from './virtio-rng.ts';

function setUp() {
  const machine = testSlot(0x100000);
  let number = 0n;
  const device = new VirtioRng(machine.slot, () => (number += 0x0101010101010101n));
  return virtioDriver(machine, device);
}

test('a buffer is filled to its end, in pieces as well', () => {
  const driver = setUp();
  driver.offer(0, [12]);
  driver.offer(0, [3, 10]);
  assert.deepEqual(driver.used(0), [
    Uint8Array.of(1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2),
    Uint8Array.of(3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4),
  ]);
});

test('a large buffer gets 4 KiB, and one without room nothing', () => {
  const driver = setUp();
  driver.offer(0, [100_000]);
  driver.offer(0, [Uint8Array.of(1)]);
  assert.deepEqual(
    driver.used(0).map(({ length }) => length),
    [4096, 0],
  );
});

test('many buffers take turns', () => {
  const driver = setUp();
  for (let count = 0; count < 40; count++) driver.offer(0, [8], count < 39);
  assert.equal(driver.used(0).length, 40);
});
