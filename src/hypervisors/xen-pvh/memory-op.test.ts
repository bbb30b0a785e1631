import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EACCES, EDOM, EFAULT, EINVAL, ENOENT, ENOSYS, EOPNOTSUPP, EPERM, ESRCH } from '../xen/constants.ts';
import { boot, DATA, type Field, INFO, MEMORY, SHARED } from './fake-guest.ts';

const MEMORY_OP = 12;
const [decrease, populate, add, add_batch, remove] = [1, 6, 7, 23, 15];
const [set_memory_map, claim, vnuma, rdm, acquire, pod, access] = [13, 24, 26, 27, 28, 17, 21];
const SELF = 0x7ff0;
const NOBODY = 5;
const PAGE = 0x300000;
const OUTSIDE = 0x10000000;

async function setUp() {
  const guest = await boot();
  const { call, put, memory } = guest;
  const op = (command: number, fields: Record<number, Field>) => call(MEMORY_OP, command, put(fields));
  /** One operation over extents. @returns how many were done */
  const extents = (command: number, frames: readonly number[], order = 0, domid = SELF, flags = 0) => {
    for (const [index, frame] of frames.entries()) memory.write64(DATA + 8 * index, BigInt(frame));
    return op(command, { 0: [8, DATA], 8: [8, frames.length], 16: [4, order], 20: [4, flags], 24: [2, domid] });
  };
  const reservation = () => op(3, { 0: [2, SELF] });
  return { ...guest, op, extents, reservation };
}

test('a page that was given back comes again anywhere, with memory of its own', async () => {
  const { extents, reservation, context, cpu, memory } = await setUp();
  const pages = reservation();
  assert.equal(extents(populate, [OUTSIDE >>> 12]), 0, 'there is no memory for it');
  memory.write32(PAGE, 0x1234);
  assert.equal(extents(decrease, [PAGE >>> 12, (PAGE >>> 12) + 1]), 2);
  assert.equal(reservation(), pages - 2);
  assert.equal(extents(decrease, [PAGE >>> 12]), 0, 'it is gone');
  assert.equal(extents(populate, [OUTSIDE >>> 12, 0x80000, 0x80001]), 2);
  assert.equal(reservation(), pages);
  assert.equal(context.mmio.read(OUTSIDE, 4, cpu), 0, 'it comes empty');
  context.mmio.write(OUTSIDE + 4, 4, 0xabcd, cpu);
  context.mmio.write(0x80000000, 4, 0xef, cpu);
  assert.equal(extents(populate, [OUTSIDE >>> 12]), 0, 'something is there');
  // The frame whose memory one of them uses gets a page again: that one keeps what it holds.
  assert.equal(extents(decrease, [(PAGE >>> 12) + 2]), 1);
  assert.equal(extents(populate, [PAGE >>> 12]), 1);
  assert.equal(memory.read32(PAGE), 0);
  memory.write32(PAGE + 4, 1);
  assert.equal(context.mmio.read(OUTSIDE + 4, 4, cpu), 0xabcd);
  assert.equal(context.mmio.read(0x80000000, 4, cpu), 0xef);
  assert.equal(extents(decrease, [OUTSIDE >>> 12]), 1);
  assert.equal(context.mmio.find(OUTSIDE), undefined);
  assert.equal(reservation(), pages - 1);
  assert.equal(extents(populate, [PAGE >>> 12, 2 ** 40]), 0);
  for (const frame of [(MEMORY >>> 12) - 1, 2 ** 40, 2 ** 52])
    assert.equal(extents(populate, [frame]), 0, `frame ${frame}`);
});

test('a page outside RAM may be granted, and hold what the hypervisor shares', async () => {
  const { extents, call, put, context, cpu, memory } = await setUp();
  extents(decrease, [PAGE >>> 12]);
  assert.equal(extents(populate, [OUTSIDE >>> 12]), 1);
  assert.equal(call(24, 10, 0, put({ 0: [8, OUTSIDE >>> 12] })), 0, 'vcpu_info');
  assert.equal(context.mmio.read(OUTSIDE, 1, cpu), 1);
  assert.equal(memory.read8(PAGE), 1, 'the memory of the page that was given back');
});

test('operations over extents say how many were done, and never why they stopped', async () => {
  const { op, extents, call } = await setUp();
  const frame = PAGE >>> 12;
  assert.equal(call(MEMORY_OP, decrease, MEMORY), 0, 'a pointer to nowhere');
  assert.equal(call(MEMORY_OP, decrease | (7 << 6), MEMORY), 7);
  for (const domid of [0, NOBODY]) assert.equal(extents(decrease, [frame], 0, domid), 0);
  assert.equal(extents(decrease, [frame], 10), 0, 'too large an extent');
  assert.equal(extents(decrease, [frame], 0, SELF, 12), 0, 'in the first page of the machine');
  assert.equal(extents(decrease, [frame], 0, SELF, (1 << 17) | (1 << 8)), 0, 'on that node and no other');
  assert.equal(op(decrease, { 0: [8, DATA], 8: [8, 2 ** 26], 24: [2, SELF] }), 0, 'more than can be counted');
  assert.equal(extents(decrease, [frame], 0, SELF, 1 << 8), 1);
  assert.equal(call(MEMORY_OP, 3 | (1 << 6), 0), -EINVAL, 'never interrupted');
  assert.equal(call(MEMORY_OP, 9 | (1 << 6), 0), -ENOSYS);
});

test('placing frames: whose, which, where, in this order', async () => {
  const { op, call, memory, context } = await setUp();
  const place = (domid: number, space: number, index: number, gpfn: number | bigint, size = 0) =>
    op(add, { 0: [2, domid], 2: [2, size], 4: [4, space], 8: [8, index], 16: [8, gpfn] });
  assert.equal(call(MEMORY_OP, add + 2 ** 23, MEMORY), -EDOM);
  assert.equal(call(MEMORY_OP, add, MEMORY), -EFAULT);
  assert.equal(place(NOBODY, 4, 0, 0), -ENOSYS, 'foreign pages, of whomever');
  assert.equal(place(NOBODY, 0, 0, SHARED >>> 12), -ESRCH);
  assert.equal(place(0, 0, 0, SHARED >>> 12), -EACCES, 'domain 0 is a PV domain');
  assert.equal(place(SELF, 5, 0, SHARED >>> 12), -EACCES, 'devices');
  assert.equal(place(SELF, 0, 0, 2n ** 64n - 1n), -EINVAL);
  assert.equal(place(SELF, 6, 0, SHARED >>> 12), -EINVAL);
  assert.equal(place(SELF, 0, 1, SHARED >>> 12), -EINVAL);
  memory.write32(PAGE, 0x77);
  assert.equal(place(SELF, 2, PAGE >>> 12, INFO >>> 12), 0, 'a page of its own moves');
  assert.equal(memory.read32(INFO), 0x77);
  assert.equal(place(SELF, 2, PAGE >>> 12, INFO >>> 12), -EINVAL, 'it is no longer there');
  assert.equal(place(SELF, 0, 0, PAGE >>> 12), 0, 'the hole takes what is shared');
  const removed = (domid: number, gpfn: number) => op(remove, { 0: [2, domid], 8: [8, gpfn] });
  assert.deepEqual([removed(NOBODY, 0), removed(0, 0), removed(SELF, OUTSIDE >>> 12)], [-ESRCH, -EACCES, -ENOENT]);
  assert.equal(place(SELF, 1, 0, OUTSIDE >>> 12), 0);
  assert.equal(removed(SELF, OUTSIDE >>> 12), 0);
  assert.equal(context.mmio.find(OUTSIDE), undefined);
});

test('placing many frames, with an error for each', async () => {
  const { op, memory } = await setUp();
  const [indexes, places, errors] = [DATA, DATA + 64, DATA + 128];
  for (const [index, value] of [0n, 1n, 64n].entries()) memory.write64(indexes + 8 * index, value);
  for (let index = 0; index < 3; index++) memory.write64(places + 8 * index, BigInt((OUTSIDE >>> 12) + index));
  const batch = (domid: number, space: number, size: number, foreign = 0) =>
    op(add_batch, {
      0: [2, domid],
      2: [2, space],
      4: [2, size],
      6: [2, foreign],
      8: [8, indexes],
      16: [8, places],
      24: [8, errors],
    });
  assert.equal(batch(NOBODY, 3, 3), -EOPNOTSUPP);
  assert.equal(batch(NOBODY, 1, 3), -ESRCH);
  assert.equal(batch(0, 1, 3), -EACCES);
  assert.equal(batch(SELF, 1, 0), 0);
  assert.equal(batch(SELF, 1, 3), 0);
  assert.deepEqual(
    [0, 4, 8].map(at => memory.read32(errors + at) | 0),
    [0, 0, -EINVAL],
  );
  assert.equal(batch(SELF, 4, 1), 0);
  assert.equal(memory.read32(errors) | 0, -EPERM, 'a page of domain 0');
});

test('what is not for such a guest', async () => {
  const { op, call } = await setUp();
  for (const command of [10, 12, 20, 22, 25, 29, 63])
    assert.equal(call(MEMORY_OP, command, MEMORY), -ENOSYS, `operation ${command}`);
  assert.equal(call(MEMORY_OP, acquire, MEMORY), -EACCES);
  for (const command of [3, 4, 14, set_memory_map, remove, pod, claim, vnuma, rdm, access])
    assert.equal(call(MEMORY_OP, command, MEMORY), -EFAULT, `operation ${command}`);
  for (const command of [3, 4, 14, set_memory_map, vnuma]) {
    assert.equal(op(command, { 0: [2, 0] }), -EPERM, `operation ${command}, domain 0`);
    assert.equal(op(command, { 0: [2, NOBODY] }), -ESRCH, `operation ${command}, nobody`);
  }
  assert.equal(op(set_memory_map, { 0: [2, NOBODY], 8: [4, 129] }), -EINVAL, 'the size comes first');
  assert.equal(op(vnuma, { 0: [2, NOBODY], 2: [2, 1] }), -EINVAL, 'padding comes first');
  assert.equal(op(vnuma, { 0: [2, SELF] }), -EOPNOTSUPP);
  assert.deepEqual(
    [SELF, 0, NOBODY].map(domid => op(pod, { 32: [2, domid] })),
    [-EPERM, -EINVAL, -ESRCH],
  );
  assert.deepEqual(
    [1, 0, NOBODY].map(domid => op(access, { 2: [2, domid] })),
    [-EPERM, -EINVAL, -ESRCH],
  );
  assert.deepEqual(
    [1, 0, NOBODY, SELF].map(domid => op(claim, { 24: [2, domid] })),
    [-EPERM, -EPERM, -EINVAL, -EINVAL],
  );
  assert.equal(op(claim, { 0: [8, 1], 24: [2, 1] }), -EINVAL);
  assert.equal(op(rdm, { 4: [4, 7] }), 0);
  assert.equal(op(rdm, { 0: [4, 2] }), -EINVAL);
  assert.equal(call(MEMORY_OP, 2, 0), MEMORY >>> 12);
});
