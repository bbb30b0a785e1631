import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBUSY, EFAULT, EINVAL, EOPNOTSUPP, EPERM } from '../xen/constants.ts';
import { ARGUMENT_FRAME, createFakeGuest, FREE, VIRTUAL_BASE } from './fake-guest.ts';
import { PGT_writable_page } from './page-info.ts';

const GRANT_TABLE_OP = 20;
const [map, unmap, setup, replace, set_version, status_frames, cache_flush] = [0, 1, 2, 7, 8, 9, 12];
const [device_map, host_map, readonly, application_map, contains_pte] = [1, 2, 4, 8, 16];
const [general_error, bad_handle, bad_dev_addr, bad_page] = [-1, -4, -6, -9];
const ID = 1;
const REFERENCE = 8;
/** Free frames: granted, mapped by nobody; the second is made a page table. */
const GRANTED = FREE + 1;
/** Pages of the first mapping whose entries the tests change. */
const PLACE = VIRTUAL_BASE + 0x30000n;
const OTHER = VIRTUAL_BASE + 0x31000n;

async function setUp() {
  const guest = await createFakeGuest();
  const { cpu, call, words, pv } = guest;
  const { memory } = cpu;
  const table = pv.domain.grants.frames[0]!.address;
  const at = ARGUMENT_FRAME * 4096;
  const grant = (flags: number, frame = GRANTED, reference = REFERENCE) => {
    memory.write32(table + reference * 8 + 4, frame);
    memory.write32(table + reference * 8, flags | (ID << 16));
  };
  const signed = (offset: number) => (memory.read16(at + offset) << 16) >> 16;
  const mapAt = (address: bigint, flags: number): [status: number, handle: number] => {
    assert.equal(call(GRANT_TABLE_OP, map, words(address, flags + REFERENCE * 2 ** 32, ID, 0), 1), 0);
    return [signed(18), memory.read32(at + 20)];
  };
  const unmapAt = (address: bigint, handle: number, device = 0n): number => {
    assert.equal(call(GRANT_TABLE_OP, unmap, words(address, device, handle), 1), 0);
    return signed(20);
  };
  const replaceAt = (address: bigint, other: bigint, handle: number): number => {
    assert.equal(call(GRANT_TABLE_OP, replace, words(address, other, handle), 1), 0);
    return signed(20);
  };
  /** The entry that translates a page of the first mapping: where it is, and what it says. */
  const place = (address: bigint) => ({
    ...pv.updates.walk(guest.v.kernelRoot, Number((address >> 12n) & 0xfffffffffn))!,
  });
  const entryOf = (address: bigint) => guest.entry(place(address).table, place(address).index);
  const uses = (frame: number) => [pv.info.references[frame], pv.info.typeCount[frame]];
  return { ...guest, memory, grant, mapAt, unmapAt, replaceAt, place, entryOf, uses, signed, table, at };
}

test('a mapping at a linear address is an entry with its references', async () => {
  const { grant, mapAt, unmapAt, entryOf, uses, pv } = await setUp();
  const before = Number((entryOf(PLACE) >> 12n) & 0xfffffn);
  grant(1);
  const [status, handle] = mapAt(PLACE, host_map);
  assert.equal(status, 0);
  // Present, writable, accessed, dirty, no execution; for the guest's kernel.
  assert.equal(entryOf(PLACE), (BigInt(GRANTED) << 12n) | 0x67n | (1n << 63n) | (1n << 52n));
  assert.deepEqual(uses(GRANTED), [2, 1]);
  assert.equal(pv.info.type[GRANTED], PGT_writable_page);
  assert.deepEqual(uses(before), [1, 0], 'what was there is given back');
  assert.equal(unmapAt(OTHER, handle), general_error, 'another page is there');
  assert.equal(unmapAt(PLACE, handle), 0);
  assert.equal(entryOf(PLACE), 0n);
  assert.deepEqual(uses(GRANTED), [1, 0]);
  assert.equal(unmapAt(PLACE, handle), bad_handle);
});

test('the flags of a mapping and of its entry', async () => {
  const { grant, mapAt, entryOf, place, unmapAt, uses } = await setUp();
  grant(1);
  const { table, index } = place(PLACE);
  const address = BigInt(table * 4096 + index * 8);
  const [status, handle] = mapAt(address, host_map | contains_pte | readonly | application_map | (5 << 16));
  assert.equal(status, 0);
  // Present, user, accessed, dirty, global; bits 9 and 11 are the guest's.
  assert.equal(entryOf(PLACE), (BigInt(GRANTED) << 12n) | 0x165n | 0xa00n | (1n << 63n));
  assert.deepEqual(uses(GRANTED), [2, 0], 'a reader needs no type');
  assert.equal(unmapAt(address, handle), 0);
  assert.deepEqual(uses(GRANTED), [1, 0]);
  for (const bad of [address + 4n, BigInt(FREE * 4096), 1n << 60n, 2n ** 64n - 8n])
    assert.equal(mapAt(bad, host_map | contains_pte)[0], general_error, `entry at ${bad.toString(16)}`);
  for (const bad of [0n, 0xffff800000000000n, 1n << 47n, 0xffff820000000000n])
    assert.equal(mapAt(bad, host_map)[0], general_error, `at ${bad.toString(16)}`);
  assert.deepEqual(uses(GRANTED), [1, 0], 'nothing is left of those');
});

test('for devices and for processors: two uses, ended one after the other', async () => {
  const { grant, mapAt, unmapAt, uses, memory, table } = await setUp();
  grant(1);
  const [status, handle] = mapAt(PLACE, host_map | device_map);
  assert.equal(status, 0);
  assert.deepEqual(uses(GRANTED), [3, 2]);
  const address = BigInt(GRANTED * 4096);
  assert.equal(unmapAt(PLACE, handle, address + 4096n), bad_dev_addr, 'and nothing is ended');
  assert.equal(unmapAt(PLACE, handle), 0);
  assert.deepEqual(uses(GRANTED), [2, 1]);
  assert.equal(memory.read16(table + REFERENCE * 8), 1 | 8 | 16, 'a device may still write');
  assert.equal(unmapAt(PLACE, handle), 0, 'that one is done already');
  assert.deepEqual(uses(GRANTED), [2, 1]);
  assert.equal(unmapAt(0n, handle, address), 0);
  assert.deepEqual(uses(GRANTED), [1, 0]);
  assert.equal(memory.read16(table + REFERENCE * 8), 1);
});

test('a page table is not mapped for writing', async () => {
  const { grant, mapAt, extended, uses, memory, table } = await setUp();
  const frame = FREE + 2;
  assert.equal(extended(0, frame), 0);
  grant(1, frame);
  for (const flags of [host_map, device_map, host_map | device_map])
    assert.equal(mapAt(PLACE, flags)[0], general_error);
  assert.equal(memory.read16(table + REFERENCE * 8), 1);
  assert.equal(mapAt(PLACE, host_map | readonly)[0], 0);
  assert.deepEqual(uses(frame), [3, 1]);
  grant(1, 0xfffff, REFERENCE);
  assert.equal(extended(4, frame), 0);
});

test('frames that are not the guest’s', async () => {
  const { grant, mapAt, pv } = await setUp();
  for (const frame of [pv.info.frames, 0xffffffff, pv.info.frames - 1]) {
    grant(1, frame);
    assert.equal(mapAt(PLACE, host_map)[0], bad_page, `frame ${frame}`);
  }
});

test('unmap_and_replace puts another page’s entry in the place', async () => {
  const { grant, mapAt, replaceAt, entryOf, uses, place } = await setUp();
  grant(1);
  const moved = entryOf(OTHER);
  const frame = Number((moved >> 12n) & 0xfffffn);
  const [before] = uses(frame);
  const [, handle] = mapAt(PLACE, host_map);
  assert.equal(replaceAt(PLACE, 0xffff800000000000n, handle), general_error, 'no entry there');
  assert.equal(replaceAt(PLACE, OTHER, handle), 0);
  assert.deepEqual([entryOf(PLACE), entryOf(OTHER)], [moved, 0n]);
  assert.deepEqual([uses(frame)[0], uses(GRANTED)[0]], [before, 1]);

  const { table, index } = place(OTHER);
  const entry = BigInt(table * 4096 + index * 8);
  const [status, second] = mapAt(entry, host_map | contains_pte);
  assert.equal(status, 0);
  assert.equal(replaceAt(entry, PLACE, second), general_error, 'not for an entry that was named itself');
  // The handle is good, but what is mapped there is not what it says: the replacement is lost.
  assert.equal(replaceAt(entry, 0n, second), 0);
  const [, third] = mapAt(OTHER, host_map);
  assert.equal(replaceAt(PLACE + 0x2000n, PLACE, third), general_error);
  assert.equal(entryOf(PLACE), 0n);
  assert.equal(uses(frame)[0], before - 1);
});

test('what the guest unmaps by itself takes the references along, and the handle stays', async () => {
  const { grant, mapAt, unmapAt, uses, call, memory, table } = await setUp();
  grant(1);
  const [, handle] = mapAt(PLACE, host_map);
  assert.equal(call(14, PLACE, 0, 0), 0);
  assert.deepEqual(uses(GRANTED), [1, 0]);
  assert.equal(unmapAt(PLACE, handle), general_error);
  assert.equal(memory.read16(table + REFERENCE * 8), 1 | 8 | 16);
});

test('version 2: status frames are listed, and hold the version while they are mapped', async () => {
  const { call, words, memory, at, signed, pv, place, update, table } = await setUp();
  const list = VIRTUAL_BASE + BigInt(at + 2048);
  const ask = (count: number) => {
    assert.equal(call(GRANT_TABLE_OP, status_frames, words(count + 0x7ff0 * 2 ** 32, list), 1), 0);
    return signed(6);
  };
  assert.equal(ask(1), general_error, 'none in version 1');
  assert.equal(ask(0), 0);
  assert.equal(call(GRANT_TABLE_OP, set_version, words(2)), 0);
  assert.equal(ask(2), general_error);
  assert.equal(ask(1), 0);
  const frame = Number(memory.read64(at + 2048));
  assert.equal(frame, pv.domain.grants.statusFrames[0]!.address / 4096);
  const { table: l1, index } = place(PLACE);
  assert.equal(update(l1, index, (BigInt(frame) << 12n) | 0x63n), 0);
  assert.equal(call(GRANT_TABLE_OP, set_version, words(1)), -EBUSY);
  assert.equal(memory.read32(at), 2, 'the version in force');
  assert.equal(pv.domain.grants.version, 2);
  assert.equal(update(l1, index, 0), 0);
  assert.equal(call(GRANT_TABLE_OP, set_version, words(1)), 0);
  assert.equal(memory.read16(table), 1, 'the console’s grant is still there');
  assert.notEqual(update(l1, index, (BigInt(frame) << 12n) | 0x63n), 0, 'the frame is the hypervisor’s again');
  assert.equal(call(GRANT_TABLE_OP, set_version, words(2)), 0);
  assert.equal(update(l1, index, (BigInt(frame) << 12n) | 0x63n), 0);
});

test('what is passed is looked at first', async () => {
  const { call, words, pv } = await setUp();
  assert.equal(call(GRANT_TABLE_OP, map | (1 << 20), 0, 1), -EINVAL);
  assert.equal(call(GRANT_TABLE_OP, map, 0xffff800000000000n, 0), -EFAULT, 'Xen’s part of the addresses');
  assert.equal(call(GRANT_TABLE_OP, map, words(0), 0x7fffffff), -EFAULT, 'more than there are addresses');
  assert.equal(call(GRANT_TABLE_OP, setup, words(0x7ff0 + 2 ** 32, 0, 0xffff800000000000n), 1), -EFAULT);
  const flush = (address: number | bigint, offset: number, length: number, op: number) =>
    call(GRANT_TABLE_OP, cache_flush, words(address, offset + length * 2 ** 16 + op * 2 ** 32), 1);
  assert.equal(flush(FREE * 4096, 0, 4096, 1), 0);
  assert.equal(flush(FREE * 4096, 0, 4096, 3), 0);
  assert.equal(flush(FREE * 4096, 0, 4096, 2), -EOPNOTSUPP);
  assert.equal(flush(FREE * 4096, 1, 4096, 1), -EINVAL);
  assert.equal(flush(FREE * 4096, 0, 4096, 4), -EINVAL);
  assert.equal(flush(1n << 60n, 0, 0, 1), 0, 'nothing to do');
  assert.equal(flush(1n << 60n, 0, 8, 1), -EINVAL);
  assert.equal(flush((pv.info.frames - 1) * 4096, 0, 8, 1), -EPERM);
});
