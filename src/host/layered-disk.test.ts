import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryDisk } from '../devices/memory-disk.ts';
import { layeredDisk } from './layered-disk.ts';

const SIZE = 300 * 512;

test('reads and writes are those of a disk, and the one below stays as it was', () => {
  const below = memoryDisk('below', SIZE, true);
  below.bytes.forEach((_, index) => (below.bytes[index] = index * 7));
  const before = below.bytes.slice();
  const expected = below.bytes.slice();
  const disk = layeredDisk(below);
  assert.deepEqual([disk.name, disk.size, disk.readOnly], ['below', SIZE, false]);
  let seed = 1;
  const random = (below: number) => (seed = (seed * 48271) % 0x7fffffff) % below;
  for (let count = 0; count < 500; count++) {
    const offset = random(SIZE);
    const length = random(Math.min(100_000, SIZE - offset) + 1);
    switch (random(3)) {
      case 0: {
        const into = new Uint8Array(length);
        disk.read(offset, into);
        assert.deepEqual(into, expected.slice(offset, offset + length));
        break;
      }
      case 1:
        disk.write(offset, new Uint8Array(length).fill(count));
        expected.fill(count, offset, offset + length);
        break;
      default:
        disk.discard(offset, length);
        expected.fill(0, offset, offset + length);
    }
  }
  const whole = new Uint8Array(SIZE);
  disk.read(0, whole);
  assert.deepEqual(whole, expected);
  assert.deepEqual(below.bytes, before);
});

test('what is outside is refused, and so is more than the layer may hold', () => {
  const disk = layeredDisk(memoryDisk('below', SIZE, true), 1 << 16);
  assert.throws(() => disk.read(SIZE - 1, new Uint8Array(2)), /past the end/);
  assert.throws(() => disk.write(-1, new Uint8Array(1)), /not a range/);
  disk.write(0, Uint8Array.of(1));
  disk.write(65_535, Uint8Array.of(2));
  assert.throws(() => disk.write(65_536, Uint8Array.of(3)), /more than 65536 bytes/);
});
