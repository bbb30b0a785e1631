import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeGuest, type FakeGuest, FREE } from './fake-guest.ts';

const P = 1n;
const RW = 2n;
const US = 4n;
const WRITE_TO_PRESENT = 3;
const address = (frame: number) => BigInt(frame) << 12n;

/** A pinned L1 table in frame FREE + 3 that the guest sees read-only at `table`; entry 0 maps frame FREE + 4. */
async function setUp(): Promise<{ g: FakeGuest; table: bigint; write(index: number, ...values: bigint[]): boolean }> {
  const g = await createFakeGuest();
  for (let i = 0; i < 3; i++) g.poke(FREE + i, 0, address(FREE + i + 1) | P | RW | US);
  g.poke(FREE + 3, 0, address(FREE + 4) | P);
  assert.equal(g.extended(3, FREE), 0);
  // An entry of the kernel's own tables shows it: any page the guest may use for that.
  const table = 0xffffffff80100000n + 4096n;
  assert.equal(g.call(14, table, address(FREE + 3) | P, 2), 0);
  const write = (index: number, ...values: bigint[]) => {
    g.cpu.onStep = page => {
      g.cpu.set('rip', g.cpu.get('rip') + 3n);
      g.cpu.set('rax', 0xdeadn);
      for (const [i, value] of values.entries()) g.cpu.memory.write64(page + 8 * (index + i), value);
      return true;
    };
    return g.pageFault(table + BigInt(8 * index), WRITE_TO_PRESENT);
  };
  return { g, table, write };
}

test('a store that passes the checks is done, adjusted and counted', async () => {
  const { g, write } = await setUp();
  g.cpu.set('rip', 0x1000n);
  g.cpu.events.length = 0;
  assert.equal(write(1, address(FREE + 5) | P | RW), true);
  assert.equal(g.entry(FREE + 3, 1), address(FREE + 5) | P | RW | US | (1n << 52n));
  assert.equal(g.pv.info.typeCount[FREE + 5], 1);
  assert.equal(g.cpu.get('rip'), 0x1003n);
  assert.deepEqual(g.cpu.events, [`step ${((FREE + 3) * 4096).toString(16)}`], 'nothing to drop');
  assert.equal(write(1, address(FREE + 5) | P), true, 'write protection, as fork does it');
  assert.equal(g.pv.info.typeCount[FREE + 5], 0);
  assert.equal(g.cpu.events.at(-1), 'invalidate 1000');
  assert.equal(write(1, 0n), true);
  assert.equal(g.pv.info.references[FREE + 5], 1);
  assert.equal(write(1, 0xabcdef0n), true, 'a swap entry is not looked at');
});

test('a store that does not pass has not happened', async () => {
  const { g, write } = await setUp();
  g.cpu.set('rip', 0x1000n);
  g.cpu.set('rax', 5n);
  const before = g.entry(FREE + 3, 0);
  for (const bad of [
    address(FREE + 3) | P | RW, // itself, writable
    address(FREE) | P | RW,
    address(g.pv.info.frames + 5) | P,
    address(FREE + 5) | P | 0x80n,
    address(g.v.kernelRoot) | P | RW,
  ]) {
    assert.equal(write(0, bad), false, `0x${bad.toString(16)}`);
    assert.equal(g.entry(FREE + 3, 0), before);
    assert.equal(g.cpu.get('rip'), 0x1000n);
    assert.equal(g.cpu.get('rax'), 5n);
  }
  assert.equal(write(0, address(FREE + 5) | P, address(FREE + 6) | P), false, 'two entries by one instruction');
  assert.equal(g.entry(FREE + 3, 0), before);
  assert.equal(g.entry(FREE + 3, 1), 0n);
  g.cpu.onStep = page => {
    g.cpu.memory.write64(page, 0n);
    return false;
  };
  assert.equal(g.pageFault(0xffffffff80101000n, WRITE_TO_PRESENT), true, 'its fault elsewhere has been delivered');
  assert.equal(g.entry(FREE + 3, 0), before);
});

test('accessed and dirty bits go through and leave the TLB', async () => {
  const { g, write } = await setUp();
  const before = g.entry(FREE + 3, 0);
  assert.equal(write(0, before | 0x60n), true);
  assert.equal(g.entry(FREE + 3, 0), before | 0x60n);
  assert.equal(g.cpu.events.at(-1), 'invalidate 0');
});

test('only kernel writes to present pages that are L1 tables are done', async () => {
  const { g, table, write } = await setUp();
  for (const code of [0, 1, 2, 7 | 8, 0x13]) assert.equal(g.pageFault(table, code), false, `code ${code}`);
  // The same linear address with an L2 table behind it.
  assert.equal(g.call(14, table, address(FREE + 2) | P, 2), 0);
  assert.equal(write(0, 0n), false);
  assert.equal(g.call(14, table, address(FREE + 9) | P, 2), 0);
  assert.equal(write(0, 0n), false, 'an ordinary read-only page');
  assert.equal(g.pageFault(0xffff800000000000n, WRITE_TO_PRESENT), false, 'the m2p');
  assert.equal(g.pageFault(0x800000000000n, WRITE_TO_PRESENT), false, 'no address at all');
  assert.equal(g.call(14, table, address(FREE + 3) | P, 2), 0);
  g.v.inKernel = false;
  assert.equal(write(0, 0n), false, 'user mode');
});
