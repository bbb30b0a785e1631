import assert from 'node:assert/strict';
import { test } from 'node:test';
import { structure } from './structures.ts';

test('offsets are those of the C compiler, for callers of either width', () => {
  const reservation = structure({
    extent_start: 'handle',
    nr_extents: 'ulong',
    extent_order: 'u32',
    mem_flags: 'u32',
    domid: 'u16',
  });
  assert.equal(reservation[64].size, 32);
  assert.equal(reservation[64].offset('domid'), 24);
  assert.equal(reservation[32].size, 20);
  assert.equal(reservation[32].offset('domid'), 16);

  const runstate = structure({ state: 'u32', state_entry_time: 'u64', time: 'u64' });
  assert.equal(runstate[64].offset('state_entry_time'), 8);
  assert.equal(runstate[32].offset('state_entry_time'), 4, 'u64 is aligned to 4 on i386');
  assert.equal(runstate[32].size, 20);

  const param = structure({ domid: 'u16', index: 'u32', value: 'u64' });
  assert.deepEqual([param[64].offset('index'), param[64].offset('value'), param[64].size], [4, 8, 16]);
});

test('an inner structure is padded to its alignment', () => {
  const copy = structure({ source: 'ulong', offset: 'u16', source_end: 'end', len: 'u16', status: 's16' });
  assert.deepEqual([copy[64].offset('len'), copy[64].size], [16, 24]);
  assert.deepEqual([copy[32].offset('len'), copy[32].size], [8, 12]);
  assert.equal('source_end' in copy[64].decode(new Uint8Array(24)), false);
});

test('values survive, signs and all, and bytes not named stay', () => {
  const type = structure({ status: 's16', small: 'u8', big: 'u64', long: 'ulong' });
  const bytes = new Uint8Array(type[64].size).fill(0xee);
  type[64].encode(bytes, { status: -8, big: 2n ** 63n + 1n });
  const values = type[64].decode(bytes);
  assert.equal(values.status, -8);
  assert.equal(values.big, 2n ** 63n + 1n);
  assert.equal(values.small, 0xee);
  assert.equal(values.long, 0xeeeeeeeeeeeeeeeen);
});
