import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBUSY, EINVAL, EPERM } from '../xen/constants.ts';
import { createFakeGuest, type FakeGuest, FREE, VIRTUAL_BASE } from './fake-guest.ts';
import { PGT_l1_page_table, PGT_l4_page_table, PGT_writable_page } from './page-info.ts';

const P = 1n;
const RW = 2n;
const US = 4n;
const PSE = 0x80n;
const KERNEL_MARK = 1n << 52n;
const PIN = { l1: 0, l2: 1, l3: 2, l4: 3 };
const UNPIN = 4;
const NEW_BASEPTR = 5;
const NEW_USER_BASEPTR = 15;

const address = (frame: number) => BigInt(frame) << 12n;

/** A tree of four tables in frames FREE to FREE + 3 (L4 first) that maps frame FREE + 4 read-only at address 0. */
function buildTree(g: FakeGuest, leaf = address(FREE + 4) | P): void {
  for (let i = 0; i < 3; i++) g.poke(FREE + i, 0, address(FREE + i + 1) | P | RW | US);
  g.poke(FREE + 3, 0, leaf);
}

/** Everything that the checks count, to see that a refused call has left no trace. */
function counts(g: FakeGuest): string {
  const { info } = g.pv;
  const rows: string[] = [];
  for (let frame = 0; frame < info.frames; frame++)
    if (info.references[frame] !== 1 || info.typeCount[frame] !== 0)
      rows.push(
        `${frame} ${info.references[frame]} ${info.typeCount[frame]} ${info.typeCount[frame] && info.type[frame]}`,
      );
  return rows.join('\n');
}

test('the initial tables are pinned, typed, and adjusted for a kernel at CPL 3', async () => {
  const g = await createFakeGuest();
  const { info } = g.pv;
  const root = g.v.kernelRoot;
  assert.equal(info.type[root], PGT_l4_page_table);
  assert.equal(info.typeCount[root], 2, 'the pin and the processor');
  const place = g.pv.updates.walk(root, Number((VIRTUAL_BASE >> 12n) & 0xfffffffffn))!;
  assert.equal(info.type[place.table], PGT_l1_page_table);
  assert.equal(g.entry(place.table, 0), P | RW | US | 0x20n | KERNEL_MARK);
  assert.equal(g.cpu.read(0xffff800000000000n + 8n * 5n, 8, { user: true })![0], 5, 'the guest reads the m2p');
  assert.equal(g.cpu.write(0xffff800000000000n, new Uint8Array(8), { user: true }), false, 'and only reads it');
  assert.equal(g.cpu.read(0xffff820000000000n, 8, { user: true }), undefined, 'and no descriptor tables');
});

test('pin, load and unpin a tree of our own', async () => {
  const g = await createFakeGuest();
  const before = counts(g);
  buildTree(g);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  assert.equal(g.extended(PIN.l4, FREE), -EINVAL, 'pinned already');
  assert.equal(g.pv.info.type[FREE + 3], PGT_l1_page_table);
  assert.notEqual(g.entry(FREE, 256), 0n, "Xen's slots are filled in");
  assert.equal(g.extended(NEW_USER_BASEPTR, FREE), 0);
  assert.equal(g.extended(UNPIN, FREE), 0);
  assert.equal(g.extended(UNPIN, FREE), -EINVAL, 'not pinned any more');
  assert.equal(g.pv.info.typeCount[FREE], 1, 'the user root holds it');
  assert.equal(g.extended(NEW_USER_BASEPTR, 0), 0);
  assert.equal(counts(g), before);
  assert.equal(g.entry(FREE, 256), 0n);
});

test('a table that is writable somewhere cannot be pinned, and what is pinned cannot be made writable', async () => {
  const g = await createFakeGuest();
  buildTree(g, address(FREE + 2) | P | RW); // maps its own L2 table writable
  const before = counts(g);
  assert.equal(g.extended(PIN.l4, FREE), -EBUSY);
  assert.equal(counts(g), before);
  buildTree(g, address(FREE + 3) | P | RW); // maps itself writable
  assert.equal(g.extended(PIN.l1, FREE + 3), -EBUSY);
  buildTree(g);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  for (let i = 0; i < 4; i++)
    assert.equal(g.update(FREE + 3, 1, address(FREE + i) | P | RW), -EBUSY, `table ${i} writable`);
  for (let i = 0; i < 4; i++) assert.equal(g.update(FREE + 3, 1, address(FREE + i) | P), 0, `table ${i} readable`);
  // An ordinary page with a writable mapping is no table either.
  assert.equal(g.update(FREE + 3, 2, address(FREE + 4) | P | RW), 0);
  assert.equal(g.pv.info.type[FREE + 4], PGT_writable_page);
  for (const level of Object.values(PIN)) assert.equal(g.extended(level, FREE + 4), -EINVAL);
  assert.equal(g.update(FREE + 3, 2, 0), 0);
  assert.equal(g.extended(PIN.l1, FREE + 4), 0, 'the last writable mapping has gone');
});

test('a page is a table of one level only', async () => {
  const g = await createFakeGuest();
  buildTree(g);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  for (let frame = 0; frame < 4; frame++)
    for (const level of [0, 1, 2, 3])
      if (level !== 3 - frame)
        assert.equal(g.extended(level, FREE + frame), -EINVAL, `frame ${frame} as L${level + 1}`);
  // L4 -> L1, L3 -> L4, L2 -> L3 …
  assert.equal(g.update(FREE, 1, address(FREE + 3) | P), -EINVAL);
  assert.equal(g.update(FREE + 1, 1, address(FREE) | P), -EINVAL);
  assert.equal(g.update(FREE + 2, 1, address(FREE + 1) | P), -EINVAL);
  assert.equal(g.call(2, g.words(FREE + 3), 512), -EINVAL, 'nor a descriptor page');
});

test("an L4 table cannot map what is Xen's", async () => {
  const g = await createFakeGuest();
  buildTree(g);
  const theirs = 0x123456789000n | P;
  for (let slot = 256; slot <= 271; slot++) g.poke(FREE, slot, theirs);
  assert.equal(g.extended(PIN.l4, FREE), 0, 'what stood there is replaced');
  for (let slot = 256; slot <= 271; slot++) assert.notEqual(g.entry(FREE, slot), theirs);
  for (let slot = 256; slot <= 271; slot++) {
    const before = g.entry(FREE, slot);
    assert.equal(g.update(FREE, slot, address(FREE + 1) | P | RW | US), -EINVAL);
    assert.equal(g.update(FREE, slot, 0), -EINVAL);
    assert.equal(g.entry(FREE, slot), before);
  }
  assert.equal(g.update(FREE, 255, address(FREE + 1) | P | RW | US), 0);
  assert.equal(g.update(FREE, 272, address(FREE + 1) | P | RW | US), 0);
});

test("frames of the hypervisor's, foreign and impossible ones are refused", async () => {
  const g = await createFakeGuest();
  buildTree(g);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  const { frames } = g.pv.info;
  const before = counts(g);
  for (let frame = g.pv.domain.pages; frame < frames; frame++) {
    if (g.pv.info.isOwned(frame)) continue;
    assert.equal(g.update(FREE + 3, 5, address(frame) | P), -EBUSY, `frame ${frame}`);
    for (const level of [0, 1, 2, 3]) assert.equal(g.extended(level, frame), -EINVAL);
    assert.equal(g.update(frame, 0, 0), -EINVAL);
  }
  assert.equal(g.update(FREE + 3, 5, address(frames) | P), -EPERM, 'past the end of memory');
  assert.equal(g.update(FREE + 3, 5, (1n << 51n) | P), -EPERM, 'far past it');
  assert.equal(g.update(FREE + 3, 5, 0xffffffffff000n | P), -EINVAL, 'no frame');
  assert.equal(g.update(FREE + 2, 5, (1n << 51n) | P), -EINVAL, 'as a table');
  assert.equal(g.extended(PIN.l1, 2n ** 40n), -EINVAL);
  assert.equal(g.extended(PIN.l1, 2n ** 32n + BigInt(FREE)), -EINVAL, 'no truncation');
  assert.equal(g.call(1, g.words((1n << 52n) | (BigInt(FREE + 3) << 12n), 0), 1, 0, 0x7ff0), -EINVAL);
  assert.equal(counts(g), before);
});

test('shared_info and the grant table can be mapped writable and be nothing else', async () => {
  const g = await createFakeGuest();
  buildTree(g);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  const { domain } = g.pv;
  for (const { address: at } of [domain.sharedInfo, ...domain.grants.frames]) {
    const frame = at >>> 12;
    assert.equal(g.update(FREE + 3, 6, address(frame) | P | RW), 0);
    assert.equal(g.update(FREE + 3, 6, 0), 0);
    for (const level of [0, 1, 2, 3]) assert.equal(g.extended(level, frame), -EINVAL);
    assert.equal(g.call(2, g.words(frame), 512), -EINVAL);
    assert.equal(g.call(12, 1, g.words(0, 1, 0, 0x7ff0)) <= 0, true, 'and cannot be given back');
  }
});

test('large pages, cache attributes and global tables are refused', async () => {
  const g = await createFakeGuest();
  buildTree(g);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  for (const flag of [PSE, 8n, 0x10n, 0x100n]) {
    assert.equal(g.update(FREE + 2, 1, address(FREE + 5) | P | flag), -EINVAL, `L2 flag ${flag}`);
    assert.equal(g.update(FREE + 1, 1, address(FREE + 5) | P | flag), -EINVAL, `L3 flag ${flag}`);
    assert.equal(g.update(FREE, 1, address(FREE + 5) | P | flag), -EINVAL, `L4 flag ${flag}`);
    if (flag !== 0x100n) assert.equal(g.update(FREE + 3, 1, address(FREE + 5) | P | flag), -EINVAL, `L1 flag ${flag}`);
  }
});

test('linear page tables are readable and never writable', async () => {
  const g = await createFakeGuest();
  buildTree(g);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  const before = counts(g);
  assert.equal(g.update(FREE, 2, address(FREE) | P | RW | US), -EINVAL);
  assert.equal(g.update(FREE, 2, address(FREE) | P | US), 0);
  assert.equal(g.pv.types.linearEntries, 1);
  g.cpu.events.length = 0;
  assert.equal(g.update(FREE, 3, address(FREE + 1) | P | US), 0);
  assert.ok(g.cpu.events.includes('flush global'), 'every upper change may be a translation now');
  assert.equal(g.update(FREE, 3, 0), 0);
  assert.equal(g.update(FREE, 2, 0), 0);
  assert.equal(g.pv.types.linearEntries, 0);
  assert.equal(counts(g), before);
});

test('a tree that fails in its last entry leaves nothing behind', async () => {
  const g = await createFakeGuest();
  buildTree(g);
  for (let i = 1; i < 511; i++) g.poke(FREE + 3, i, address(FREE + 10 + i) | P | RW);
  g.poke(FREE + 3, 511, address(g.pv.info.frames + 1) | P);
  const before = counts(g);
  assert.equal(g.extended(PIN.l4, FREE), -EPERM);
  assert.equal(counts(g), before);
  g.poke(FREE + 3, 511, 0);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  assert.equal(g.pv.info.typeCount[FREE + 20], 1);
  assert.equal(g.extended(UNPIN, FREE), 0);
  assert.equal(counts(g), before);
});

test('the root in use cannot be taken away from under the processor', async () => {
  const g = await createFakeGuest();
  const root = g.v.kernelRoot;
  assert.equal(g.extended(UNPIN, root), 0);
  assert.equal(g.pv.info.typeCount[root], 1);
  assert.equal(g.extended(UNPIN, root), -EINVAL);
  assert.equal(g.extended(NEW_BASEPTR, FREE + 7), 0, 'an empty L4 is a valid one');
  assert.equal(g.pv.info.typeCount[root], 0);
  assert.ok(g.cpu.events.includes(`flush root ${(root * 4096).toString(16)}`));
  assert.equal(g.call(26, 0n, 1, 0, 0x7ff0), -14, 'and maps no arguments');
});

test('changes reach the TLB by address, under all roots, and nothing else is dropped', async () => {
  const g = await createFakeGuest();
  buildTree(g);
  assert.equal(g.extended(PIN.l4, FREE), 0);
  g.cpu.events.length = 0;
  assert.equal(g.update(FREE + 3, 7, address(FREE + 4) | P | RW), 0);
  assert.deepEqual(g.cpu.events, [], 'nothing was there before');
  assert.equal(g.update(FREE + 3, 7, address(FREE + 4) | P), 0);
  assert.deepEqual(g.cpu.events, ['invalidate 7000']);
  g.cpu.events.length = 0;
  assert.equal(g.update(FREE + 3, 7, 0), 0);
  assert.deepEqual(g.cpu.events, ['invalidate 7000']);
  // The table now hangs in a second place.
  assert.equal(g.update(FREE + 2, 3, address(FREE + 3) | P | RW | US), 0);
  assert.equal(g.update(FREE + 3, 7, address(FREE + 4) | P), 0);
  g.cpu.events.length = 0;
  assert.equal(g.update(FREE + 3, 7, 0), 0);
  assert.deepEqual(g.cpu.events.toSorted(), ['invalidate 607000', 'invalidate 7000']);
  g.cpu.events.length = 0;
  assert.equal(g.update(FREE + 2, 3, 0), 0);
  assert.deepEqual(g.cpu.events, ['flush global'], 'a whole table went away');
  g.cpu.events.length = 0;
  assert.equal(g.extended(6), 0);
  assert.equal(g.extended(NEW_BASEPTR, g.v.kernelRoot), 0);
  assert.deepEqual(g.cpu.events, [], "the guest's own flushes find nothing left to do");
});
