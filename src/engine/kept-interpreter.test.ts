/** What a cache has kept may be garbage, whatever its checksum says: then it is made and kept again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine } from './engine.ts';
import { RegionLibrary } from './jit/library.ts';

const GARBAGE: readonly Uint8Array<ArrayBuffer>[] = [
  new Uint8Array(0),
  Uint8Array.of(1, 2, 3),
  new Uint8Array(5000).fill(0xff),
  new Uint8Array(5000),
  new Uint8Array(5000).map((_, index) => (index * 167) >> 3),
];

for (const [index, garbage] of GARBAGE.entries())
  test(`an interpreter of ${garbage.length} bytes of garbage (${index}) is made again`, () => {
    const kept = new Map<string, Uint8Array>();
    const cache = { load: () => garbage, save: (name: string, data: Uint8Array) => void kept.set(name, data) };
    // A size of its own: this process keeps interpreters, too.
    const engine = new Engine((3 << 20) + 4096 * index, { jit: false, cache });
    assert.deepEqual([...kept.keys()].length, 2);
    for (const data of kept.values()) assert.ok(data.length > 10_000);
    assert.equal(engine.instructions, 0);
    assert.deepEqual(new RegionLibrary().load(cache, 'regions'), []);
  });
