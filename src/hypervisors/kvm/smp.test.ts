/** What processors do to each other under KVM. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FakeProcessor, fakeContext, fakeProcessors } from '../../conformance/fake-processor.ts';
import { kvm } from './index.ts';

const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
const MSR_KVM_STEAL_TIME = 0x4b564d03;
const MSR_KVM_PV_EOI_EN = 0x4b564d04;
const KICK_CPU = 5n;
const SEND_IPI = 10n;
const SCHED_YIELD = 11n;
const NMI = 0x400n;

function setUp(count: number) {
  const cpus = fakeProcessors(count);
  const table = kvm.make(fakeContext(...cpus));
  const op = <F>(value: F): Extract<F, (...rest: never[]) => unknown> =>
    value as Extract<F, (...rest: never[]) => unknown>;
  const write = (cpu: FakeProcessor, index: number, value: bigint) => table.cpu.msrs[index].write!(cpu, value);
  const call = (cpu: FakeProcessor, number: bigint, ...values: bigint[]) => {
    cpu.set('rax', number);
    for (const [index, register] of (['rbx', 'rcx', 'rdx', 'rsi'] as const).entries())
      cpu.set(register, values[index] ?? 0n);
    op(table.cpu.hypercall)(cpu);
    return BigInt.asIntN(64, cpu.get('rax'));
  };
  const requested = () => cpus.map(({ interrupts }) => [...interrupts!.requested]);
  return { cpus, memory: cpus[0].memory, table, op, write, call, requested };
}

test('KVM_HC_SEND_IPI: a bit for each APIC id from the lowest on; who is not there is not counted', () => {
  const { cpus, call, requested } = setUp(4);
  assert.equal(call(cpus[0], SEND_IPI, 0b1010n, 0n, 0n, 0xfdn), 2n);
  assert.deepEqual(requested(), [[], [0xfd], [], [0xfd]]);
  assert.equal(call(cpus[3], SEND_IPI, 0b101n, 1n, 1n, 0x51n), 2n, 'bit 2 of the first word is APIC id 3');
  assert.deepEqual(requested(), [[], [0xfd, 0x51], [], [0xfd, 0x51]]);
  assert.equal(call(cpus[0], SEND_IPI, 2n ** 64n - 1n, 2n ** 64n - 1n, 0xffff_ffffn, 0x40n), 0n);
  assert.equal(call(cpus[0], SEND_IPI, 2n ** 64n - 1n, 2n ** 64n - 1n, 2n, NMI), 2n);
  assert.deepEqual(
    cpus.map(({ interrupts }) => interrupts!.nmis),
    [0, 0, 1, 1],
  );
  assert.deepEqual(requested(), [[], [0xfd, 0x51], [], [0xfd, 0x51]]);
});

test('KVM_HC_SEND_IPI: the second word begins at 64 ids, at 32 for 32-bit callers', () => {
  const { cpus, call, requested } = setUp(64);
  assert.equal(call(cpus[0], SEND_IPI, 1n << 63n, 0n, 0n, 0x40n), 1n);
  cpus[0].mode = 32;
  assert.equal(call(cpus[0], SEND_IPI, 1n << 33n, 1n, 0n, 0x41n), 1n);
  const sent = requested().flatMap((vectors, index) => vectors.map(vector => [index, vector]));
  assert.deepEqual(sent, [
    [32, 0x41],
    [63, 0x40],
  ]);
});

test('KVM_HC_SEND_IPI: a logical destination and shorthands are refused, and no level is nothing', () => {
  const { cpus, call, requested } = setUp(2);
  for (const icr of [0x8fdn, 0x400fdn, 0x800fdn, 0xc00fdn])
    assert.equal(call(cpus[0], SEND_IPI, 3n, 0n, 0n, icr), -22n);
  assert.equal(call(cpus[0], SEND_IPI, 3n, 0n, 0n, 0x80fdn), 0n, 'level-triggered, not asserted');
  assert.equal(call(cpus[0], SEND_IPI, 3n, 0n, 0n, 0x2fdn), 0n, 'no SMI');
  assert.deepEqual(requested(), [[], []]);
});

test('a kick ends a halt, and one that comes before it lets the next HLT fall through', () => {
  const { cpus, table, op, call } = setUp(2);
  const [holder, waiter] = cpus;
  op(table.irq.halt)(waiter);
  assert.ok(waiter.halted);
  assert.equal(call(holder, KICK_CPU, 0n, 1n), 0n);
  assert.ok(!waiter.halted);
  op(table.irq.halt)(waiter);
  assert.ok(waiter.halted, 'the kick has been used up');
  waiter.wake();
  for (let i = 0; i < 2; i++) assert.equal(call(holder, KICK_CPU, 0n, 1n), 0n);
  op(table.irq.halt)(waiter);
  assert.ok(!waiter.halted);
  op(table.irq.halt)(waiter);
  assert.ok(waiter.halted, 'two kicks are one');
  assert.equal(call(holder, KICK_CPU, 0n, 77n), 0n, 'nobody');
  op(table.irq.halt)(holder);
  assert.ok(holder.halted);
});

test('a processor that waits to be started remembers no kick', () => {
  const { cpus, table, op, call } = setUp(2);
  cpus[1].started = false;
  call(cpus[0], KICK_CPU, 0n, 1n);
  cpus[1].started = true;
  op(table.irq.halt)(cpus[1]);
  assert.ok(cpus[1].halted);
});

test('KVM_HC_SCHED_YIELD gives the turn away to somebody who can use it', () => {
  const { cpus, call } = setUp(3);
  cpus[2].halted = true;
  for (const nobody of [0n, 2n, 3n, 2n ** 64n - 1n]) assert.equal(call(cpus[0], SCHED_YIELD, nobody), 0n);
  assert.deepEqual(cpus[0].events, []);
  assert.equal(call(cpus[0], SCHED_YIELD, 1n), 0n);
  assert.deepEqual(cpus[0].events, ['yield']);
});

test('a record says that its processor is preempted, and a flush asked for meanwhile is done before it goes on', () => {
  const { cpus, memory, table, op, write } = setUp(2);
  const [, cpu] = cpus;
  const preempted = 0x2040 + 16;
  op(table.smp.scheduledOut)(cpu);
  op(table.smp.scheduledIn)(cpu);
  assert.ok(
    memory.bytes.subarray(0x2000, 0x3000).every(byte => byte === 0),
    'there is no record yet',
  );
  assert.ok(write(cpu, MSR_KVM_STEAL_TIME, 0x2041n));
  op(table.smp.scheduledOut)(cpu);
  assert.equal(memory.read8(preempted), 1);
  op(table.smp.scheduledIn)(cpu);
  assert.equal(memory.read8(preempted), 0);
  assert.deepEqual(cpu.events, []);
  op(table.smp.scheduledOut)(cpu);
  memory.write8(preempted, 3);
  op(table.smp.scheduledIn)(cpu);
  assert.equal(memory.read8(preempted), 0);
  assert.deepEqual(cpu.events, ['flush global']);
  cpu.halted = true;
  op(table.smp.scheduledOut)(cpu);
  assert.equal(memory.read8(preempted), 0, 'it has halted by itself');
});

test('time is stolen from each processor by itself, and from none that waits to be started', () => {
  const { cpus, memory, table, op, write } = setUp(3);
  for (const cpu of cpus) assert.ok(write(cpu, MSR_KVM_STEAL_TIME, BigInt(0x2000 + 64 * cpu.id) | 1n));
  cpus[2].started = false;
  op(table.time.resumed)(cpus[1], 500);
  op(table.time.resumed)(cpus[2], 700);
  assert.deepEqual(
    [0, 1, 2].map(index => memory.read64(0x2000 + 64 * index)),
    [0n, 500n, 0n],
  );
});

test('after INIT nothing is written to the records of before', () => {
  const { cpus, memory, table, op, write } = setUp(2);
  const [, cpu] = cpus;
  assert.ok(write(cpu, MSR_KVM_STEAL_TIME, 0x2001n));
  assert.ok(write(cpu, MSR_KVM_SYSTEM_TIME_NEW, 0x2041n));
  assert.ok(write(cpu, MSR_KVM_PV_EOI_EN, 0x2081n));
  cpu.interrupts!.request(0x40);
  op(table.irq.delivered)(cpu, cpu.interrupts!.acknowledge());
  assert.equal(memory.read32(0x2080), 1);
  assert.equal(op(table.smp.startUp)(cpu, 8), false, 'it starts as it does natively');
  memory.fill(0x2000, 0x1000);
  op(table.smp.scheduledOut)(cpu);
  op(table.smp.scheduledIn)(cpu);
  op(table.time.resumed)(cpu, 1000);
  op(table.time.tscMoved)(cpu);
  op(table.irq.catchUp)(cpu);
  op(table.irq.delivered)(cpu, 0x40);
  assert.ok(memory.bytes.subarray(0x2000, 0x3000).every(byte => byte === 0));
  for (const index of [MSR_KVM_STEAL_TIME, MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_PV_EOI_EN])
    assert.equal(table.cpu.msrs[index].read!(cpu), 0n);
});
