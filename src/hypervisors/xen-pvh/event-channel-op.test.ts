import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EBUSY, EEXIST, EFAULT, EINVAL, ENOENT, EPERM, ESRCH } from '../xen/constants.ts';
import { ARGUMENTS, boot, DATA, type Field, MEMORY, SHARED } from './fake-guest.ts';

const EVENT_CHANNEL_OP = 32;
const [bind_interdomain, bind_virq, bind_pirq, close, , status, alloc_unbound, bind_ipi, , unmask, reset] = Array.from(
  { length: 11 },
  (_, number) => number,
);
const [init_control, expand_array, set_priority, reset_cont] = [11, 12, 13, 14];
const SELF = 0x7ff0;
const NOBODY = 5;

async function setUp() {
  const guest = await boot();
  guest.addToPhysmap(0, 0, SHARED);
  const op = (command: number, fields: Record<number, Field> = {}) =>
    guest.call(EVENT_CHANNEL_OP, command, guest.put(fields));
  /** What the operation stored at `offset` of its structure. */
  const out = (offset: number) => guest.memory.read32(ARGUMENTS + offset);
  return { ...guest, op, out };
}

test('every operation faults first', async () => {
  const { call } = await setUp();
  for (let command = 0; command <= reset_cont; command++) {
    // EVTCHNOP_send and the others of one port read 4 bytes; all structures are longer than 2.
    assert.equal(call(EVENT_CHANNEL_OP, command, MEMORY - 1), -EFAULT, `operation ${command}`);
  }
});

test('other domains: domain 0 is there and not ours, others are not there', async () => {
  const { op } = await setUp();
  for (const command of [alloc_unbound, reset, reset_cont, status]) {
    assert.equal(op(command, { 0: [2, 0] }), -EPERM, `operation ${command}, domain 0`);
    for (const domid of [NOBODY, 0x7ff1, 0x7ff2, 0xffff])
      assert.equal(op(command, { 0: [2, domid] }), -ESRCH, `operation ${command}, domain ${domid}`);
  }
  assert.equal(op(status, { 0: [2, 0], 4: [4, 1 << 20] }), -EINVAL, 'the port comes first');
  assert.equal(op(bind_interdomain, { 0: [2, 0], 4: [4, 1] }), -EINVAL);
  assert.equal(op(bind_interdomain, { 0: [2, NOBODY], 4: [4, 1] }), -ESRCH);
  assert.equal(op(reset_cont, { 0: [2, SELF] }), -EBUSY, 'no reset is under way');
});

test('status tells the state, and of valid ports alone', async () => {
  const { op, out } = await setUp();
  assert.equal(op(bind_ipi, { 0: [4, 0] }), 0);
  const port = out(4);
  assert.equal(op(status, { 0: [2, SELF], 4: [4, port], 16: [4, 0x12345678] }), 0);
  assert.deepEqual([out(8), out(12), out(16)], [5, 0, 0x12345678], 'an IPI has no more to say');
  assert.equal(op(status, { 0: [2, SELF], 4: [4, 0] }), 0, 'port 0 is reserved');
  assert.equal(out(8), 0);
  assert.equal(op(status, { 0: [2, SELF], 4: [4, 63] }), 0);
  assert.equal(op(status, { 0: [2, SELF], 4: [4, 64] }), -EINVAL);
  assert.equal(op(unmask, { 0: [4, 63] }), 0, 'valid and closed');
  assert.equal(op(unmask, { 0: [4, 64] }), -EINVAL);
  assert.equal(op(close, { 0: [4, 63] }), -EINVAL);
  for (let each = port; each < 64; each = out(4)) assert.equal(op(bind_ipi, { 0: [4, 0] }), 0);
  assert.equal(op(status, { 0: [2, SELF], 4: [4, 127] }), 0, 'the next bucket');
});

test('physical interrupts may be bound and never come', async () => {
  const { op, out } = await setUp();
  assert.equal(op(bind_pirq, { 0: [4, 56] }), -EINVAL);
  assert.equal(op(bind_pirq, { 0: [4, 5] }), 0);
  const port = out(8);
  assert.equal(op(bind_pirq, { 0: [4, 5] }), -EEXIST);
  assert.equal(op(status, { 0: [2, SELF], 4: [4, port] }), 0);
  assert.deepEqual([out(8), out(16)], [3, 5]);
  assert.equal(op(close, { 0: [4, port] }), 0);
});

test('the FIFO ABI by hypercalls: the structures, and an event', async () => {
  const { op, out, memory, call, put } = await setUp();
  assert.equal(op(init_control, { 0: [8, DATA >>> 12], 12: [4, 9] }), -ENOENT);
  assert.equal(op(init_control, { 0: [8, DATA >>> 12], 8: [4, 16], 12: [4, 0] }), 0);
  assert.equal(out(16), 17, 'link_bits');
  assert.equal(op(expand_array, { 0: [8, (DATA >>> 12) + 1] }), 0);
  assert.equal(op(bind_virq, { 0: [4, 0] }), 0);
  const port = out(8);
  assert.equal(op(set_priority, { 0: [4, port], 4: [4, 1] }), 0);
  memory.write8(SHARED, 0);
  assert.equal(call(24, 8, 0, put({ 0: [8, 0] })), 0, 'the timer, at once');
  assert.equal(memory.read32(DATA + 16), 2, 'ready');
  assert.equal(memory.read32(DATA + 16 + 8 + 4), port);
  assert.equal(memory.read32(DATA + 4096 + 4 * port), 0xa0000000);
  assert.equal(memory.read8(SHARED), 1);
});
