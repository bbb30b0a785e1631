import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EEXIST, EFAULT, EINVAL, ENOENT } from '../xen/constants.ts';
import { ARGUMENTS, boot, DATA, type Field, INFO, SHARED } from './fake-guest.ts';

const VCPU_OP = 24;
const [INITIALISE, UP, DOWN, IS_UP] = [0, 1, 2, 3];
const CR0_PAGED = 0x80050033n;
const PAE = 1n << 5n;
const LME = 1n << 8n;
const SCE = 1n;

/** struct vcpu_hvm_context for 64-bit code. */
const context64: Record<number, Field> = {
  0: [4, 1],
  8: [8, 7],
  40: [8, 0x9000],
  72: [8, 0xffffffff81000000n],
  80: [8, 2],
  88: [8, CR0_PAGED],
  96: [8, 0x5000],
  104: [8, PAE],
  112: [8, LME | SCE],
};
/** The same for 32-bit code without paging. */
const context32: Record<number, Field> = {
  0: [4, 0],
  24: [4, 0x9000],
  40: [4, 0x1000],
  44: [4, 2],
  48: [4, 0x11],
  92: [4, 0xffffffff],
  96: [4, 0xffffffff],
  100: [4, 0xffffffff],
  104: [4, 0xffffffff],
  108: [4, 0x67],
  112: [2, 0xc9b],
  114: [2, 0xc93],
  116: [2, 0xc93],
  118: [2, 0xc93],
  120: [2, 0x8b],
};

test('VCPUOP_initialise: 64-bit code, once', async () => {
  const { call, put, cpus } = await boot([], 2);
  const [, other] = cpus;
  assert.equal(call(VCPU_OP, IS_UP, 1), 0);
  assert.equal(call(VCPU_OP, UP, 1), -EINVAL, 'there is nothing to start with');
  assert.equal(call(VCPU_OP, INITIALISE, 1, put(context64)), 0);
  assert.equal(call(VCPU_OP, INITIALISE, 1, ARGUMENTS), -EEXIST);
  assert.equal(call(VCPU_OP, INITIALISE, 0, ARGUMENTS), -EEXIST);
  assert.deepEqual([other!.started, call(VCPU_OP, UP, 1), other!.started], [false, 0, true]);
  assert.equal(call(VCPU_OP, IS_UP, 1), 1);
  assert.deepEqual(
    (['rip', 'rsp', 'rax', 'cr0', 'cr3', 'cr4'] as const).map(name => other!.get(name)),
    [0xffffffff81000000n, 0x9000n, 7n, CR0_PAGED, 0x5000n, PAE],
  );
  // L, and not D; a flat writable data segment (SDM 3A 3.4.5).
  assert.equal(other!.segment('cs').attributes, 0xa09b00);
  assert.equal(other!.segment('ss').attributes, 0xc09300);
});

test('VCPUOP_initialise: 32-bit code with segments of its own', async () => {
  const { call, put, cpus } = await boot([], 2);
  assert.equal(call(VCPU_OP, INITIALISE, 1, put({ ...context32, 72: [4, 0x12000] })), 0);
  assert.deepEqual(cpus[1]!.segment('cs'), { selector: 0, base: 0x12000n, limit: 0xffffffff, attributes: 0xc09b00 });
  assert.equal(cpus[1]!.get('rip'), 0x1000n);
});

test('VCPUOP_initialise: what no processor can be in is refused', async () => {
  const { call, put, cpus } = await boot([], 2);
  const bad: [what: string, from: Record<number, Field>, changes: Record<number, Field>][] = [
    ['no such mode', context64, { 0: [4, 2] }],
    ['padding', context64, { 4: [4, 1] }],
    ['an address that is not canonical', context64, { 72: [8, 1n << 50n] }],
    ['64-bit code without paging', context64, { 88: [8, 0x11] }],
    ['64-bit code without PAE', context64, { 104: [8, 0] }],
    ['64-bit code without LME', context64, { 112: [8, 0] }],
    ['paging without protection', context64, { 88: [8, 0x80000000n] }],
    ['upper bits of CR0', context64, { 88: [8, CR0_PAGED | (1n << 32n)] }],
    ['bits of CR4 that do not exist', context64, { 104: [8, PAE | (1n << 22n)] }],
    ['PCIDs', context64, { 104: [8, PAE | (1n << 17n)] }],
    ['bits of EFER that do not exist', context64, { 112: [8, LME | 2n] }],
    ['virtual-8086 mode', context64, { 80: [8, 1n << 17n] }],
    ['NW without CD', context32, { 48: [4, 0x20000011] }],
    ['more padding', context32, { 60: [4, 1] }],
    ['padding at the end', context32, { 126: [2, 1] }],
    ['no code segment', context32, { 112: [2, 0] }],
    ['code that is data', context32, { 112: [2, 0xc93] }],
    ['a stack that is code', context32, { 116: [2, 0xc9b] }],
    ['a stack that is read-only', context32, { 116: [2, 0xc91] }],
    ['data that is not there', context32, { 114: [2, 0xc13] }],
    ['a task that is not busy', context32, { 120: [2, 0x89] }],
    ['levels that differ', context32, { 116: [2, 0xcf3] }],
    ['an entry past the limit', context32, { 92: [4, 0xfff] }],
    ['LMA without LME', context32, { 64: [8, 1n << 10n] }],
  ];
  for (const [what, from, changes] of bad) {
    assert.equal(call(VCPU_OP, INITIALISE, 1, put({ ...from, ...changes })), -EINVAL, what);
    assert.equal(call(VCPU_OP, UP, 1), -EINVAL, what);
  }
  assert.equal(call(VCPU_OP, INITIALISE, 1, 1n << 40n), -EFAULT);
  for (const number of [2, 32, 2 ** 31, 2 ** 32 - 1]) assert.equal(call(VCPU_OP, UP, number), -ENOENT);
  assert.equal(cpus[1]!.started, false);
});

test('a start-up message of the local APIC is as good, and HLT with interrupts closed takes a processor down', async () => {
  const { call, table, op, cpus } = await boot([], 2);
  const other = cpus[1]!;
  assert.equal(op(table.smp.startUp)(other, 0x99), false, 'it starts in real mode');
  other.start();
  assert.equal(call(VCPU_OP, IS_UP, 1), 1);
  op(table.irq.halt)(other);
  assert.equal(call(VCPU_OP, IS_UP, 1), 0);
  assert.deepEqual(other.requests, []);
  assert.equal(call(VCPU_OP, UP, 1), 0, 'it has a state to go on from');
  assert.equal(call(VCPU_OP, DOWN, 1), 0);
  op(table.irq.halt)(cpus[0]!);
  assert.deepEqual(cpus[0]!.requests, ['power-off'], 'the last one');
});

test('events reach the processor that their port is bound to, and no other', async () => {
  const { call, put, memory, cpus, addToPhysmap } = await boot([], 3);
  addToPhysmap(0, 0, SHARED);
  for (const { id } of cpus) assert.equal(call(34, 23, put({ 0: [4, id], 4: [1, 0xf0 + id] })), 0);
  const ports = cpus.map(({ id }) => {
    assert.equal(call(32, 7, put({ 0: [4, id] })), 0);
    return memory.read32(ARGUMENTS + 4);
  });
  for (const { id } of cpus) {
    assert.equal(call(32, 4, put({ 0: [4, ports[id]!] })), 0);
    for (const { id: each, interrupts } of cpus) {
      assert.deepEqual([...interrupts!.requested], each === id ? [0xf0 + id] : [], `${each}: an event of ${id}`);
      assert.equal(memory.read8(SHARED + 64 * each), each === id ? 1 : 0);
      interrupts!.requested.clear();
    }
    memory.write8(SHARED + 64 * id, 0);
    memory.write64(SHARED + 64 * id + 8, 0n);
  }
  assert.equal(call(32, 8, put({ 0: [4, ports[1]!], 4: [4, 2] })), -EINVAL, 'an IPI stays where it is');
  for (const number of [3, 2 ** 31, 2 ** 32 - 1]) {
    assert.equal(call(32, 7, put({ 0: [4, number] })), -ENOENT);
    assert.equal(call(32, 1, put({ 0: [4, 0], 4: [4, number] })), -ENOENT);
    assert.equal(call(34, 23, put({ 0: [4, number], 4: [1, 0xf3] })), -ENOENT);
    assert.equal(call(32, 11, put({ 0: [8, DATA >>> 12], 12: [4, number] })), -ENOENT);
  }
});

test('SCHEDOP_yield gives the turn away; a poll ends when its port is kicked, though it is masked', async () => {
  const { call, put, memory, cpus, addToPhysmap } = await boot([], 2);
  addToPhysmap(0, 0, SHARED);
  assert.equal(call(29, 0), 0);
  assert.ok(cpus[0]!.events.includes('yield'));
  assert.equal(call(32, 7, put({ 0: [4, 0] })), 0);
  const port = memory.read32(ARGUMENTS + 4);
  memory.write8(SHARED + 0xa00 + (port >>> 3), 1 << (port & 7));
  memory.write32(DATA, port);
  assert.equal(call(29, 3, put({ 0: [8, DATA], 8: [4, 1] })), 0);
  assert.equal(cpus[0]!.events.at(-1), 'halt');
  cpus[0]!.events.length = 0;
  assert.equal(call(32, 4, put({ 0: [4, port] })), 0);
  assert.deepEqual(cpus[0]!.events, ['wake']);
  assert.equal(call(29, 3, put({ 0: [8, DATA], 8: [4, 1] })), 0, 'the bit is still there: at once');
  assert.deepEqual(cpus[0]!.events, ['wake']);
});

test('a processor’s runstate is written where the caller sees it, and its vcpu_info may be placed while it is down', async () => {
  const { call, put, memory, cpus } = await boot([], 2);
  assert.equal(call(VCPU_OP, 5, 1, put({ 0: [8, DATA] })), 0);
  assert.equal(memory.read32(DATA), 3, 'offline');
  assert.equal(call(VCPU_OP, 10, 1, put({ 0: [8, INFO >>> 12], 8: [4, 64] })), 0);
  assert.equal(memory.read8(INFO + 64), 1);
  assert.equal(call(VCPU_OP, INITIALISE, 1, put(context64)), 0);
  cpus[1]!.running = false;
  assert.equal(call(VCPU_OP, UP, 1), 0);
  assert.equal(memory.read32(DATA), 1, 'runnable: the caller has the turn');
  assert.equal(call(VCPU_OP, 8, 1, put({ 0: [8, 0] })), -EINVAL, 'the one-shot timer is only for oneself');
  assert.equal(call(VCPU_OP, 11, 1, 1), -EINVAL);
  assert.equal(call(VCPU_OP, 11, 1), 0);
  assert.ok(cpus[1]!.events.includes('nmi'));
});

test('a processor’s runstate follows its turns; what is told as stolen was spent runnable, whatever it was then', async () => {
  const { call, put, memory, cpus, table, op } = await boot([], 2);
  const other = cpus[1]!;
  const state = () => memory.read32(DATA);
  const spent = () => [16, 24, 32].map(at => Number(memory.read64(DATA + at)));
  const [give, take] = [op(table.smp.scheduledIn), op(table.smp.scheduledOut)];
  assert.equal(call(VCPU_OP, 5, 1, put({ 0: [8, DATA] })), 0);
  take(other);
  assert.equal(state(), 3, 'one that is offline stays so');
  other.running = false;
  assert.equal(call(VCPU_OP, INITIALISE, 1, put(context64)), 0);
  assert.equal(call(VCPU_OP, UP, 1), 0);
  give(other);
  assert.equal(state(), 0);
  other.clock.advance(1000);
  take(other);
  assert.deepEqual([state(), ...spent()], [1, 1000, 0, 0]);
  other.clock.advance(5000);
  give(other);
  assert.deepEqual([state(), ...spent()], [0, 6000, 0, 0], 'others had their turn beside it');
  op(table.time.resumed)(other, 4000);
  other.clock.advance(10_000);
  other.halted = true;
  take(other);
  assert.deepEqual([state(), ...spent()], [2, 12_000, 4000, 0]);
  other.clock.advance(3000);
  give(other);
  assert.deepEqual([state(), ...spent()], [0, 12_000, 4000, 3000]);
});
