import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deflateSync } from 'fflate';
import { createRandom } from '../conformance/random.ts';
import { memoryDisk } from '../devices/memory-disk.ts';
import { Qcow2Disk } from './qcow2-disk.ts';
import { checkImage, emptyImage, type ImageShape, memoryImage } from './testing.ts';

const SHAPE: ImageShape = { version: 3, clusterBits: 9, size: 1 << 20, refcountOrder: 4 };
const CLUSTER = 512;

/** Bytes that are not alike. */
const pattern = (length: number, seed: number) => Uint8Array.from({ length }, (_, at) => (at * 7 + seed * 31) & 0xff);

function readAll(disk: Qcow2Disk): Uint8Array {
  const bytes = new Uint8Array(disk.size);
  disk.read(0, bytes);
  return bytes;
}

/** What is written is read; the counts are right. */
function exercise(shape: ImageShape, steps: number, seed: bigint): void {
  const random = createRandom(seed);
  const backing = shape.backing && memoryDisk('under', shape.size / 2);
  backing?.bytes.set(pattern(backing.size, 1));
  const image = memoryImage(emptyImage(shape));
  const open = () => new Qcow2Disk(image, { backing });
  let disk = open();
  const model = new Uint8Array(shape.size);
  if (backing) model.set(backing.bytes);
  for (let step = 0; step < steps; step++) {
    const length = random.of([512, 512, 1024, 4096, 3 * 512, 20_480]);
    const offset = 512 * random.below((shape.size - length) / 512 + 1);
    if (random.below(4) === 0) {
      disk.discard(offset, length);
      model.fill(0, offset, offset + length);
    } else {
      const data = pattern(length, step);
      disk.write(offset, data);
      model.set(data, offset);
    }
    const part = new Uint8Array(length);
    disk.read(offset, part);
    assert.deepEqual(part, model.subarray(offset, offset + length));
    if (step % 50 === 0) disk = open();
  }
  assert.ok(Buffer.from(readAll(open()).buffer).equals(model));
  assert.deepEqual(checkImage(image.content()), { errors: [], lost: 0 });
  if (backing) assert.deepEqual(backing.bytes, pattern(backing.size, 1), 'nothing is written below');
}

describe('what is written is read again, and every cluster is counted as often as it is used', () => {
  for (const refcountOrder of [0, 1, 2, 3, 4, 5, 6])
    test(`counts of ${2 ** refcountOrder} bits`, () =>
      exercise({ ...SHAPE, refcountOrder }, 150, BigInt(refcountOrder)));
  test('version 2', () => exercise({ ...SHAPE, version: 2 }, 200, 10n));
  test('larger clusters', () => exercise({ ...SHAPE, clusterBits: 12, size: 4 << 20 }, 200, 11n));
  test('an end within a cluster', () => exercise({ ...SHAPE, clusterBits: 12, size: (1 << 18) + 512 }, 200, 12n));
  for (const version of [2, 3] as const)
    test(`above another disk, version ${version}`, () =>
      exercise({ ...SHAPE, version, backing: { path: 'under', format: 'raw' } }, 200, 13n));
});

test('the refcount table grows, and again', () => {
  // One cluster of the table has 64 blocks, each with 64 counts: 2 MiB.
  const shape = { ...SHAPE, refcountOrder: 6, size: 8 << 20 };
  const image = memoryImage(emptyImage(shape));
  const disk = new Qcow2Disk(image);
  for (let offset = 0; offset < shape.size; offset += 1 << 16) disk.write(offset, pattern(1 << 16, offset >> 16));
  const again = new Qcow2Disk(image);
  for (let offset = 0; offset < shape.size; offset += 1 << 16) {
    const part = new Uint8Array(1 << 16);
    again.read(offset, part);
    assert.ok(Buffer.from(part).equals(pattern(1 << 16, offset >> 16)), `at ${offset}`);
  }
  assert.deepEqual(checkImage(image.content()), { errors: [], lost: 0 });
});

test('killed at any write, the image has lost clusters at most, and no data', () => {
  const shape = { ...SHAPE, refcountOrder: 6, size: 1 << 18 };
  const start = memoryImage(emptyImage(shape));
  new Qcow2Disk(start).write(0, pattern(4096, 1));
  for (let failAfter = 0; failAfter < 60; failAfter++) {
    const image = memoryImage(start.content());
    const disk = new Qcow2Disk(image);
    image.failAfter = failAfter;
    try {
      disk.write(60_000 & ~511, pattern(16_384, 2));
      disk.discard(0, 2048);
    } catch (error) {
      assert.equal((error as Error).message, 'killed');
    }
    assert.deepEqual(checkImage(image.content()).errors, [], `after ${failAfter} writes`);
    const rest = new Uint8Array(2048);
    new Qcow2Disk(image).read(2048, rest);
    assert.deepEqual(rest, pattern(4096, 1).subarray(2048));
  }
});

test('a compressed cluster is read, and becomes a plain one when it is written', () => {
  const image = memoryImage(emptyImage({ ...SHAPE, clusterBits: 12 }));
  const disk = new Qcow2Disk(image);
  disk.write(0, pattern(8192, 3));
  // What QEMU does: the packed bytes stand anywhere in a cluster, and are counted in sectors.
  const bytes = image.content();
  const view = new DataView(bytes.buffer);
  const l2 = Number(view.getBigUint64(Number(view.getBigUint64(40))) & 0x00fffffffffffe00n);
  const data = Number(view.getBigUint64(l2) & 0x00fffffffffffe00n);
  const text = new TextEncoder().encode('compressed '.repeat(400)).subarray(0, 4096);
  const packed = deflateSync(text);
  bytes.set(packed, data + 100);
  const sectors = Math.ceil((100 + packed.length) / 512) - 1;
  view.setBigUint64(l2, (1n << 62n) | (BigInt(sectors) << 58n) | BigInt(data + 100));
  const packedImage = memoryImage(bytes);
  const again = new Qcow2Disk(packedImage);
  const part = new Uint8Array(600);
  again.read(1000, part);
  assert.deepEqual(part, text.subarray(1000, 1600));
  again.write(512, pattern(512, 9));
  assert.deepEqual(
    readAll(again).subarray(0, 8192),
    Uint8Array.from([
      ...text.subarray(0, 512),
      ...pattern(512, 9),
      ...text.subarray(1024),
      ...pattern(8192, 3).subarray(4096),
    ]),
  );
  assert.deepEqual(checkImage(packedImage.content()), { errors: [], lost: 0 });
});

test('a cluster that a snapshot shares is copied before it changes', () => {
  const image = memoryImage(emptyImage(SHAPE));
  new Qcow2Disk(image).write(0, pattern(1024, 4));
  // As a snapshot leaves it: table and clusters are counted twice, and the flags are gone.
  const bytes = image.content();
  const view = new DataView(bytes.buffer);
  const l1 = Number(view.getBigUint64(40));
  const block = Number(view.getBigUint64(Number(view.getBigUint64(48))));
  const share = (at: number) => {
    const offset = Number(view.getBigUint64(at) & 0x00fffffffffffe00n);
    view.setBigUint64(at, BigInt(offset));
    view.setUint16(block + 2 * (offset / CLUSTER), 2);
    return offset;
  };
  const l2 = share(l1);
  const [first, second] = [share(l2), share(l2 + 8)];
  const shared = memoryImage(bytes);
  const disk = new Qcow2Disk(shared);
  disk.write(0, pattern(512, 5));
  assert.deepEqual(
    readAll(disk).subarray(0, 1024),
    Uint8Array.from([...pattern(512, 5), ...pattern(1024, 4).subarray(512)]),
  );
  const now = shared.content();
  const after = new DataView(now.buffer);
  assert.deepEqual(now.subarray(first, first + 512), pattern(512, 4), "the snapshot's");
  assert.deepEqual(
    [l2, first, second].map(offset => after.getUint16(block + 2 * (offset / CLUSTER))),
    [1, 1, 2],
  );
});

describe('images that are refused', () => {
  const cases: readonly [what: string, change: (view: DataView) => void, reason: RegExp][] = [
    ['another format', view => view.setUint32(0, 1), /no qcow2 image/],
    ['another version', view => view.setUint32(4, 1), /version 1: 2 and 3/],
    ['an external data file', view => view.setBigUint64(72, 4n), /data in another file/],
    ['extended entries', view => view.setBigUint64(72, 16n), /extended L2 entries/],
    ['a feature from the future', view => view.setBigUint64(72, 1n << 40n), /not known here: 0x10000000000/],
    ['encryption', view => view.setUint32(32, 1), /encrypted/],
    ['huge clusters', view => view.setUint32(20, 40), /clusters of 2\^40/],
    ['no size', view => view.setBigUint64(24, 0n), /no whole number/],
    ['a size without end', view => view.setBigUint64(24, 1n << 60n), /2\^53/],
    ['a short L1 table', view => view.setUint32(36, 1), /1 L1 entries/],
    ['a refcount table nowhere', view => view.setBigUint64(48, 513n), /refcount table of 1 clusters at byte 513/],
    ['wide counts', view => view.setUint32(96, 7), /2\^7 bits/],
    ['a long header', view => view.setUint32(100, 4096), /header of 4096 bytes/],
    ['an image that was not closed', view => view.setBigUint64(72, 1n), /can only be read: it was not closed/],
    ['a damaged one', view => view.setBigUint64(72, 2n), /can only be read: it is marked as damaged/],
    ['bitmaps', view => view.setBigUint64(88, 1n), /can only be read: it has bitmaps/],
    ['a name without end', view => view.setBigUint64(8, 512n), /name of its backing file/],
  ];
  for (const [what, change, reason] of cases)
    test(what, () => {
      const bytes = emptyImage({ ...SHAPE, backing: { path: 'x', format: 'raw' } });
      change(new DataView(bytes.buffer));
      assert.throws(() => new Qcow2Disk(memoryImage(bytes)), reason);
    });
  test('nothing counts the header: an error when it is written to', () => {
    const image = memoryImage(emptyImage(SHAPE));
    image.write(CLUSTER, new Uint8Array(8));
    assert.throws(() => new Qcow2Disk(image).write(0, new Uint8Array(512)), /nothing counts its header/);
  });
  test('a cluster that is none is an error when it is read', () => {
    const image = memoryImage(emptyImage(SHAPE));
    image.write(3 * CLUSTER, new Uint8Array(new BigUint64Array([0xffffffffffffff7fn]).buffer));
    assert.throws(() => new Qcow2Disk(image).read(0, new Uint8Array(512)), /is damaged: a cluster at byte/);
  });
});
