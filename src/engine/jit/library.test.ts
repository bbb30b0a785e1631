import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ArtifactCache } from '../../host/artifact-cache.ts';
import { type CodeView, type KeptRegion, RegionLibrary } from './library.ts';

const RAM = 4 << 20;
const EMPTY_MODULE = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
/** Five bytes that end at a page's end, and two on another page. */
const region: KeptRegion = {
  code: 64,
  entry: 4091,
  pages: [
    { delta: 0, physical: 0x5000 },
    { delta: 1, physical: 0x9000 },
  ],
  parts: [
    { delta: 0, from: 4091, to: 4096 },
    { delta: 1, from: 0, to: 2 },
  ],
  instructions: 3,
  ramSize: RAM,
  bytes: [new Uint8Array([1, 2, 3, 4, 5]), new Uint8Array([6, 7])],
  module: { bytes: EMPTY_MODULE, compiled: undefined },
  number: 2,
};

/** A machine with the region's code, mapped at the pages given. */
function machine(pages = [0x5000, 0x9000]): CodeView & { memory: Uint8Array } {
  const memory = new Uint8Array(RAM);
  for (const [delta, physical] of pages.entries())
    region.parts.forEach((part, i) => {
      if (part.delta === delta && physical >= 0) memory.set(region.bytes[i]!, physical + part.from);
    });
  return {
    memory,
    ramSize: RAM,
    page: delta => pages[delta] ?? -1,
    read: (physical, length) => memory.subarray(physical, physical + length),
  };
}

/** As a folder would be. */
function memoryCache(): ArtifactCache & { files: Map<string, Uint8Array<ArrayBuffer>> } {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  return { files, load: name => files.get(name), save: (name, data) => void files.set(name, data.slice()) };
}

describe('what another machine has translated', () => {
  const library = new RegionLibrary();
  library.keep(region, 'kernel');
  const find = (view: CodeView) => library.find(64, 4091, view);

  test('is found where the same code is, wherever the page of its entry lies', () => {
    assert.equal(find(machine()), region);
    assert.equal(find(machine([0x7000, 0x9000])), region);
  });
  test('is not found for another entry or another size of code', () => {
    assert.equal(library.find(64, 4090, machine()), undefined);
    assert.equal(library.find(32, 4091, machine()), undefined);
  });
  test('is not found where another page lies elsewhere, or is not mapped: the code names its address', () => {
    assert.equal(find(machine([0x5000, 0xa000])), undefined);
    assert.equal(find(machine([0x5000, -1])), undefined);
  });
  test('is not found where any byte of its code differs; others do not matter', () => {
    for (const { delta, from, to } of region.parts)
      for (let at = from; at < to; at++) {
        const view = machine();
        view.memory[view.page(delta) + at]! ^= 0x80;
        assert.equal(find(view), undefined, `byte ${at} of page ${delta}`);
      }
    const view = machine();
    view.memory[0x5000 + 4090] = 1;
    view.memory[0x9000 + 2] = 1;
    assert.equal(find(view), region);
  });
  test('is not found by a machine with more RAM: its memory is laid out in another way', () => {
    assert.equal(find({ ...machine(), ramSize: 2 * RAM }), undefined);
  });

  test('is found in a later process, if there is a cache', () => {
    const cache = memoryCache();
    library.keep({ ...region, entry: 7, number: 0 }, 'kernel');
    library.save(cache, 'kernel');
    const later = new RegionLibrary();
    const modules = later.load(cache, 'kernel');
    assert.deepEqual(modules, [region.module], 'both are of one module');
    assert.deepEqual(later.find(64, 4091, machine()), region);
    assert.equal(later.find(64, 7, machine())?.number, 0);
    assert.deepEqual(new RegionLibrary().load(cache, 'another kernel'), []);
  });
  test('is saved when there is something new to save', () => {
    const cache = memoryCache();
    const small = new RegionLibrary();
    small.save(cache, 'kernel');
    assert.equal(cache.files.size, 0);
    small.keep(region, 'kernel');
    small.save(cache, 'kernel');
    assert.equal(cache.files.size, 1);
    cache.files.clear();
    small.save(cache, 'kernel');
    assert.equal(cache.files.size, 0);
  });
  test('is saved as far as it came first', () => {
    const cache = memoryCache();
    const large = new RegionLibrary();
    for (let entry = 0; entry < 10; entry++) {
      const module = { bytes: new Uint8Array(1 << 20), compiled: undefined };
      large.keep({ ...region, entry, module }, 'kernel');
      large.save(cache, 'kernel');
    }
    const later = new RegionLibrary();
    assert.equal(later.load(cache, 'kernel').length, 3);
    for (let entry = 0; entry < 10; entry++)
      assert.equal(later.find(64, entry, machine()) !== undefined, entry < 3, `entry ${entry}`);
  });
  test('is kept up to a limit', () => {
    const small = new RegionLibrary(EMPTY_MODULE.length);
    small.keep(region, 'kernel');
    small.keep({ ...region, module: { ...region.module }, entry: 8 }, 'kernel');
    assert.equal(small.find(64, 4091, machine()), region);
    assert.equal(small.find(64, 8, machine()), undefined);
  });
});
