/** How far a region reaches: a loop around its entry is whole, anything else is cut where it becomes large. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REGION_LIMIT } from '../layout.ts';
import { type CodeReader, findRegion } from './region.ts';

const NOP = 0x90;
const RET = 0xc3;
const PAGES = 3;

/** Memory of three pages mapped one after the other, all of it executed. */
function readerOf(bytes: Uint8Array, pages: readonly number[] = [0, 1, 2]): CodeReader {
  return {
    bytes,
    page: delta => (pages.includes(delta) ? delta * 4096 : -1),
    executed: () => true,
    targets: () => [],
    at: physical => physical,
  };
}
/** `JMP` from one offset to another. */
function jump(bytes: Uint8Array, from: number, to: number): void {
  bytes[from] = 0xe9;
  new DataView(bytes.buffer).setInt32(from + 1, to - from - 5, true);
}
const codeOf = (region: ReturnType<typeof findRegion>) =>
  region!.blocks.flatMap(block => block.code.map(({ offset }) => offset)).sort((x, y) => x - y);

test('straight code is cut', () => {
  const bytes = new Uint8Array(PAGES * 4096).fill(NOP);
  bytes[250] = RET;
  assert.equal(findRegion(readerOf(bytes), 0, 64)!.instructions, 100);
});

test('a loop is whole, up to the limit, wherever it is entered', () => {
  for (const length of [50, 150, 250, REGION_LIMIT + 50]) {
    const bytes = new Uint8Array(PAGES * 4096).fill(NOP);
    jump(bytes, length - 1, 0);
    for (const entry of [0, 20]) {
      const whole = length <= REGION_LIMIT;
      const { instructions } = findRegion(readerOf(bytes), entry, 64)!;
      assert.equal(instructions, whole ? length : 100, `${length} instructions, entered at ${entry}`);
    }
  }
});

test('beside a large loop, only the nearest is kept; pages that hold nothing of it are none of the region', () => {
  const bytes = new Uint8Array(PAGES * 4096).fill(NOP);
  // 150 instructions that end in JZ to the second page, and a jump back.
  bytes.set([0x0f, 0x84], 149);
  new DataView(bytes.buffer).setInt32(151, 4096 - 155, true);
  jump(bytes, 155, 0);
  bytes[4096 + 80] = RET;
  const region = findRegion(readerOf(bytes), 0, 64)!;
  assert.deepEqual(codeOf(region), [...Array.from({ length: 150 }, (_, i) => i), 155]);
  assert.deepEqual(region.pages, [{ delta: 0, physical: 0 }]);
  assert.deepEqual(
    region.seen.map(({ delta }) => delta),
    [0, 1],
  );
  // The translator has only those, and must find the same.
  const again = findRegion(
    readerOf(
      bytes,
      region.seen.map(({ delta }) => delta),
    ),
    0,
    64,
  );
  assert.deepEqual(codeOf(again), codeOf(region));
});
