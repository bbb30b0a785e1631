import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBUSY, EFAULT, EINVAL, ENOSYS, EPERM, ESRCH } from '../xen/constants.ts';
import { ARGUMENTS, boot, DATA, type Field, MEMORY } from './fake-guest.ts';

const GRANT_TABLE_OP = 20;
const [map, unmap, setup, transfer, copy, size, replace] = [0, 1, 2, 4, 5, 6, 7];
const [set_version, status_frames, get_version, swap, cache_flush] = [8, 9, 10, 11, 12];
const [general_error, bad_domain, bad_gntref, bad_handle] = [-1, -2, -3, -4];
const [permission_denied, bad_page, bad_copy_arg, eagain] = [-8, -9, -10, -12];
const SELF = 0x7ff0;
/** The domain's own id, and one that nobody has. */
const ID = 1;
const NOBODY = 5;
const [host_map, readonly] = [2, 4];
/** Where the table is put, a page that is granted, and frames outside RAM. */
const TABLE = 0x200000;
const STATUS = 0x210000;
const PAGE = 0x220000;
const OUTSIDE = 0x10000000;
const FIRST = 8;

async function setUp() {
  const guest = await boot();
  const { memory, call, put } = guest;
  assert.equal(guest.addToPhysmap(1, 0, TABLE), 0);
  const grant = (reference: number, flags: number, domid = ID, frame = PAGE >>> 12) => {
    memory.write32(TABLE + reference * 8 + 4, frame);
    memory.write32(TABLE + reference * 8, flags | (domid << 16));
  };
  const op = (command: number, fields: Record<number, Field>, count = 1) =>
    call(GRANT_TABLE_OP, command, put(fields), count);
  const signed = (offset: number) => (memory.read16(ARGUMENTS + offset) << 16) >> 16;
  /** @returns the status, and the handle */
  const mapAt = (address: number, reference: number, flags = host_map, domid = ID): [number, number] => {
    const fields: Record<number, Field> = { 0: [8, address], 8: [4, flags], 12: [4, reference], 16: [2, domid] };
    assert.equal(op(map, fields), 0);
    return [signed(18), memory.read32(ARGUMENTS + 20)];
  };
  const unmapAt = (address: number, handle: number): number => {
    assert.equal(op(unmap, { 0: [8, address], 16: [4, handle] }), 0);
    return signed(20);
  };
  type Side = [domid: number, where: number, offset: number];
  const copyBytes = (source: Side, dest: Side, length: number, flags: number): number => {
    const fields: Record<number, Field> = {
      0: [8, source[1]],
      8: [2, source[0]],
      10: [2, source[2]],
      16: [8, dest[1]],
      24: [2, dest[0]],
      26: [2, dest[2]],
      32: [2, length],
      34: [2, flags],
    };
    assert.equal(op(copy, fields), 0);
    return signed(36);
  };
  const version = (wanted: number): [number, number] => [op(set_version, { 0: [4, wanted] }), memory.read32(ARGUMENTS)];
  const flagsOf = (reference: number) => memory.read16(TABLE + reference * 8);
  return { ...guest, grant, op, signed, mapAt, unmapAt, copyBytes, version, flagsOf };
}

test('a guest maps what it has granted to itself, outside its RAM', async () => {
  const { grant, mapAt, unmapAt, flagsOf, memory, context, cpu } = await setUp();
  grant(FIRST, 1);
  const [status, handle] = mapAt(OUTSIDE, FIRST);
  assert.deepEqual([status, handle], [0, 0]);
  assert.equal(memory.read64(ARGUMENTS + 24), BigInt(PAGE), 'dev_bus_addr');
  assert.equal(flagsOf(FIRST), 1 | 8 | 16);
  context.mmio.write(OUTSIDE + 8, 4, 0x12345678, cpu);
  assert.equal(memory.read32(PAGE + 8), 0x12345678);
  const [, second] = mapAt(OUTSIDE + 4096, FIRST, host_map | readonly);
  assert.equal(second, 1);
  context.mmio.write(OUTSIDE + 4096 + 8, 4, 0, cpu);
  assert.equal(context.mmio.read(OUTSIDE + 4096 + 8, 4, cpu), 0x12345678, 'that one is for reading');
  assert.equal(unmapAt(OUTSIDE + 8192, handle), general_error, 'it is not there');
  assert.equal(unmapAt(0, handle), 0, 'nothing was asked for, and nothing done');
  assert.equal(unmapAt(OUTSIDE, handle), 0);
  assert.equal(flagsOf(FIRST), 1 | 8, 'still read');
  assert.equal(unmapAt(OUTSIDE, handle), bad_handle);
  assert.equal(context.mmio.find(OUTSIDE), undefined);
  assert.equal(unmapAt(OUTSIDE + 4096, second), 0);
  assert.equal(flagsOf(FIRST), 1);
  assert.equal(mapAt(OUTSIDE, FIRST)[1], 0, 'a handle that is free again');
});

test('within RAM, the page moves to where it is mapped', async () => {
  const { grant, mapAt, unmapAt, memory, call, put, copyBytes } = await setUp();
  const target = PAGE + 0x10000;
  grant(FIRST, 1);
  memory.write32(PAGE, 0x5eed);
  const [status, handle] = mapAt(target, FIRST);
  assert.equal(status, 0);
  assert.equal(memory.read32(target), 0x5eed);
  assert.equal(mapAt(target + 4096, FIRST)[0], general_error, 'it has one place in RAM');
  assert.equal(copyBytes([SELF, FIRST, 0], [SELF, DATA >>> 12, 0], 4, 1), 0);
  assert.equal(memory.read32(DATA), 0x5eed);
  grant(FIRST + 1, 1);
  assert.equal(mapAt(OUTSIDE, FIRST + 1)[0], bad_page, 'where it was is a hole');
  assert.equal(unmapAt(target, handle), 0);
  memory.write64(DATA, BigInt(target >>> 12));
  assert.equal(call(12, 6, put({ 0: [8, DATA], 8: [8, 1], 24: [2, SELF] })), 1, 'and so is where it was mapped');
});

test('errors of map_grant_ref, in the order in which Xen finds them', async () => {
  const { grant, mapAt, flagsOf, memory, context } = await setUp();
  grant(FIRST, 1);
  const [device_map, application_map, contains_pte] = [1, 8, 16];
  assert.equal(mapAt(OUTSIDE, 9999, 0, NOBODY)[0], bad_gntref, 'neither for processors nor for devices');
  for (const flags of [device_map, host_map | application_map, host_map | contains_pte])
    assert.equal(mapAt(OUTSIDE, 9999, flags, NOBODY)[0], general_error, `flags ${flags}`);
  for (const domid of [NOBODY, SELF, 0x7ff1]) assert.equal(mapAt(OUTSIDE, 9999, host_map, domid)[0], bad_domain);
  assert.equal(mapAt(OUTSIDE, 0x7fffffff, host_map, 0)[0], bad_gntref, 'domain 0’s table ends before');
  assert.equal(mapAt(OUTSIDE, FIRST, host_map, 0)[0], general_error, 'domain 0 grants nothing');
  assert.equal(mapAt(OUTSIDE, 512)[0], bad_gntref);
  for (const [flags, domid] of [
    [0, ID],
    [2, ID],
    [3, ID],
    [1 | 256, ID],
    [1, 0],
    [1, SELF],
  ] as const) {
    grant(FIRST, flags, domid);
    assert.equal(mapAt(OUTSIDE, FIRST)[0], general_error, `flags ${flags} domain ${domid}`);
  }
  grant(FIRST, 1 | readonly);
  assert.equal(mapAt(OUTSIDE, FIRST)[0], general_error, 'for writing');
  grant(FIRST, 1, ID, 0xffffffff);
  assert.equal(mapAt(OUTSIDE, FIRST)[0], bad_page);
  grant(FIRST, 1);
  context.mmio.map('device', 0x20000000, 4096, { read: () => 0, write: () => {} });
  for (const address of [0x20000000, MEMORY - 4096, 2 ** 52])
    assert.equal(mapAt(address, FIRST)[0], general_error, `at ${address.toString(16)}`);
  assert.equal(flagsOf(FIRST), 1, 'nothing stays in use');
  assert.equal(memory.read32(ARGUMENTS + 20), 0);
  assert.equal(mapAt(OUTSIDE, FIRST)[0], 0);
});

test('a counter of uses stops at 128', async () => {
  const { grant, mapAt } = await setUp();
  grant(FIRST, 1);
  for (let each = 0; each < 128; each++) assert.equal(mapAt(OUTSIDE + each * 4096, FIRST)[0], 0);
  assert.equal(mapAt(OUTSIDE + 0x1000000, FIRST)[0], general_error);
  assert.equal(mapAt(OUTSIDE + 0x1000000, FIRST, host_map | readonly)[0], 0, 'readers are counted apart');
});

test('copies: who may name a frame, and errors', async () => {
  const { grant, copyBytes, memory, flagsOf } = await setUp();
  const frame = DATA >>> 12;
  grant(FIRST, 1);
  memory.write32(PAGE + 16, 0xfeed);
  assert.equal(copyBytes([ID, FIRST, 16], [SELF, frame, 4], 4, 1), 0);
  assert.equal(memory.read32(DATA + 4), 0xfeed);
  assert.equal(copyBytes([SELF, frame, 4], [SELF, FIRST, 20], 4, 2), 0);
  assert.equal(memory.read32(PAGE + 20), 0xfeed);
  assert.equal(flagsOf(FIRST), 1);
  const cases: [string, [number, number, number], [number, number, number], number, number, number][] = [
    ['a frame of one’s own id', [ID, frame, 0], [SELF, frame, 0], 4, 0, permission_denied],
    ['a frame of nobody', [NOBODY, frame, 0], [SELF, frame, 0], 4, 0, permission_denied],
    ['a grant of nobody', [NOBODY, FIRST, 0], [SELF, frame, 0], 4, 1, bad_domain],
    ['a grant of domain 0', [0, FIRST, 0], [SELF, frame, 0], 4, 1, general_error],
    ['a grant past domain 0’s table', [0, 100000, 0], [SELF, frame, 0], 4, 1, bad_gntref],
    ['a grant past the table', [SELF, 512, 0], [SELF, frame, 0], 4, 1, bad_gntref],
    ['an entry that grants nothing', [SELF, FIRST + 1, 0], [SELF, frame, 0], 4, 1, general_error],
    ['no frame of the guest’s', [SELF, 0xfffffff, 0], [SELF, frame, 0], 4, 0, bad_page],
    ['into no frame of the guest’s', [SELF, frame, 0], [SELF, 2 ** 50, 0], 4, 0, bad_page],
    ['past the page, which is looked at last', [SELF, frame, 4094], [SELF, 512, 0], 4, 2, bad_gntref],
    ['past the page', [SELF, frame, 4094], [SELF, frame, 0], 4, 0, bad_copy_arg],
    ['past the other page', [SELF, frame, 0], [SELF, frame, 4093], 4, 0, bad_copy_arg],
  ];
  for (const [what, source, dest, length, flags, status] of cases)
    assert.equal(copyBytes(source, dest, length, flags), status, what);
  grant(FIRST, 1 | readonly);
  assert.equal(copyBytes([SELF, frame, 0], [SELF, FIRST, 0], 4, 2), general_error);
});

test('version 2: the reserved entries stay, status stands apart, sub-pages and transitive grants', async () => {
  const { version, grant, memory, addToPhysmap, mapAt, unmapAt, copyBytes, op, signed } = await setUp();
  assert.deepEqual(version(3), [-EINVAL, 1]);
  assert.deepEqual(version(0), [-EINVAL, 1]);
  grant(FIRST, 1);
  grant(3, 1 | 8);
  assert.equal(addToPhysmap(1, 0x80000000, STATUS), -EINVAL, 'no status frames in version 1');
  assert.deepEqual(version(2), [0, 2]);
  assert.equal(op(get_version, { 0: [2, SELF] }), 0);
  assert.equal(memory.read32(ARGUMENTS + 4), 2);
  assert.equal(memory.read64(TABLE + FIRST * 16), 0n, 'the others are gone');
  assert.equal(memory.read16(TABLE), 1, 'the console’s');
  assert.equal(memory.read16(TABLE + 3 * 16), 1);
  assert.equal(memory.read64(TABLE + 3 * 16 + 8), BigInt(PAGE >>> 12));
  assert.equal(addToPhysmap(1, 0x80000000, STATUS), 0);
  assert.equal(memory.read16(STATUS + 6), 8, 'it was in use for reading');

  const entry = (reference: number, words: [number, number, number, number]) => {
    for (const [index, word] of words.entries()) memory.write32(TABLE + reference * 16 + 4 * index, word);
  };
  entry(FIRST, [1 | (ID << 16), 0, PAGE >>> 12, 0]);
  const [status, handle] = mapAt(OUTSIDE, FIRST);
  assert.equal(status, 0);
  assert.equal(memory.read16(TABLE + FIRST * 16), 1, 'the flags are the guest’s');
  assert.equal(memory.read16(STATUS + 2 * FIRST), 8 | 16);
  assert.deepEqual(version(1), [-EBUSY, 2]);
  assert.equal(unmapAt(OUTSIDE, handle), 0);
  assert.equal(memory.read16(STATUS + 2 * FIRST), 0);
  assert.equal(mapAt(OUTSIDE, 256)[0], bad_gntref, 'half as many entries in a page');

  const frame = DATA >>> 12;
  entry(9, [1 | 256 | (ID << 16), 16 | (8 << 16), PAGE >>> 12, 0]);
  assert.equal(mapAt(OUTSIDE, 9)[0], general_error, 'a part of a page is not mapped');
  assert.equal(copyBytes([SELF, 9, 16], [SELF, frame, 0], 8, 1), 0);
  assert.equal(copyBytes([SELF, 9, 15], [SELF, frame, 0], 8, 1), general_error);
  assert.equal(copyBytes([SELF, 9, 17], [SELF, frame, 0], 8, 1), general_error);
  entry(10, [3 | (ID << 16), 0, 5, 0]);
  assert.equal(mapAt(OUTSIDE, 10)[0], general_error);
  assert.equal(copyBytes([SELF, 10, 0], [SELF, frame, 0], 8, 1), general_error, 'of domain 0');
  entry(10, [3 | (ID << 16), 0, 1 << 20, 0]);
  assert.equal(copyBytes([SELF, 10, 0], [SELF, frame, 0], 8, 1), bad_gntref, 'past domain 0’s table');
  entry(10, [3 | (ID << 16), ID, 5, 0]);
  assert.equal(copyBytes([SELF, 10, 0], [SELF, frame, 0], 8, 1), general_error, 'of one’s own');
  assert.equal(memory.read16(STATUS + 20), 0);

  assert.equal(op(swap, { 0: [4, 9], 4: [4, 10] }), 0);
  assert.equal(signed(8), 0);
  assert.equal(memory.read16(TABLE + 9 * 16), 3);
  entry(2, [3 | (ID << 16), ID, 5, 0]);
  assert.deepEqual(version(1), [-34, 2], 'a transitive grant has no form in version 1');
  entry(2, [1 | (ID << 16), 0, 5, 1]);
  assert.deepEqual(version(1), [-34, 2], 'nor a frame of more than 32 bits');
  entry(2, [1 | (ID << 16), 0, 5, 0]);
  assert.deepEqual(version(1), [0, 1]);
  assert.deepEqual([memory.read32(TABLE + 2 * 8), memory.read32(TABLE + 2 * 8 + 4)], [1 | (ID << 16), 5]);
  assert.equal(memory.read16(TABLE + 3 * 8), 1 | 8, 'the flags say again what is in use');
  assert.equal(memory.read16(STATUS + 6), 8, 'the status frame has left this page');
  assert.equal(addToPhysmap(1, 0x80000000, STATUS), -EINVAL);
});

test('questions about tables, and swaps', async () => {
  const { op, grant, signed, mapAt, flagsOf, memory } = await setUp();
  for (const [domid, status, error] of [
    [SELF, 0, 0],
    [ID, 0, 0],
    [0, permission_denied, -EPERM],
    [NOBODY, bad_domain, -ESRCH],
  ] as const) {
    assert.equal(op(size, { 0: [2, domid] }), 0);
    assert.equal(signed(12), status);
    assert.equal(op(setup, { 0: [2, domid], 4: [4, 1], 16: [8, DATA] }), 0);
    assert.equal(signed(8), status);
    assert.equal(op(get_version, { 0: [2, domid] }), error);
  }
  assert.equal(op(setup, { 0: [2, SELF], 4: [4, 65], 16: [8, DATA] }), 0);
  assert.equal(signed(8), general_error);
  assert.equal(op(setup, { 0: [2, SELF], 4: [4, 2], 16: [8, MEMORY] }), 0);
  assert.equal(signed(8), -5, 'bad_virt_addr');
  for (const command of [size, setup]) assert.equal(op(command, {}, 2), -EINVAL, 'one at a time');
  grant(FIRST, 1);
  const swapped = (a: number, b: number) => {
    assert.equal(op(swap, { 0: [4, a], 4: [4, b] }), 0);
    return signed(8);
  };
  assert.equal(swapped(FIRST, FIRST + 1), 0);
  assert.deepEqual([flagsOf(FIRST), flagsOf(FIRST + 1)], [0, 1]);
  assert.equal(memory.read32(TABLE + (FIRST + 1) * 8 + 4), PAGE >>> 12);
  assert.equal(mapAt(OUTSIDE, FIRST + 1)[0], 0);
  assert.equal(swapped(FIRST, FIRST + 1), eagain);
  assert.equal(swapped(FIRST + 1, FIRST + 1), 0, 'with itself, whatever its state');
  assert.equal(swapped(512 * 2, FIRST), bad_gntref);
});

test('what Xen does not let such a guest do, and what comes first', async () => {
  const { op, call } = await setUp();
  for (const command of [3, transfer, replace, status_frames, cache_flush, 13, map | (1 << 20)])
    assert.equal(op(command, {}, -1), -ENOSYS, `operation ${command}`);
  for (const command of [map, unmap, copy, size, swap]) {
    assert.equal(call(GRANT_TABLE_OP, command, MEMORY, 0x80000000), -EINVAL, 'a negative count');
    assert.equal(call(GRANT_TABLE_OP, command, MEMORY, 1), -EFAULT);
  }
  for (const command of [map, unmap, copy, swap])
    assert.equal(call(GRANT_TABLE_OP, command, MEMORY, 0), 0, 'none to do');
});
