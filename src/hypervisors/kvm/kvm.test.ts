import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor, fakeContext } from '../../conformance/fake-processor.ts';
import { kvm } from './index.ts';

const MSR_KVM_WALL_CLOCK = 0x11;
const MSR_KVM_SYSTEM_TIME = 0x12;
const MSR_KVM_SYSTEM_TIME_NEW = 0x4b564d01;
const MSR_KVM_STEAL_TIME = 0x4b564d03;
const MSR_KVM_PV_EOI_EN = 0x4b564d04;

function setUp() {
  const cpu = new FakeProcessor();
  const table = kvm.make(fakeContext(cpu));
  const write = (index: number, value: bigint) => table.cpu.msrs[index].write!(cpu, value);
  const op = <F>(value: F): Extract<F, (...rest: never[]) => unknown> =>
    value as Extract<F, (...rest: never[]) => unknown>;
  const call = (number: bigint, ...values: bigint[]) => {
    cpu.set('rax', number);
    for (const [index, register] of (['rbx', 'rcx', 'rdx', 'rsi'] as const).entries())
      cpu.set(register, values[index] ?? 0n);
    op(table.cpu.hypercall)(cpu);
    return cpu.get('rax');
  };
  return { cpu, memory: cpu.memory, table, write, op, call };
}

test('offers exactly the registers whose features it announces', () => {
  const { cpu, table, op } = setUp();
  const leaf = (number: number) => op(table.cpu.cpuid)(cpu, number, 0, () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0x1ff }))!;
  assert.equal(leaf(0x40000001).eax, 0x01002aeb);
  assert.equal(leaf(0x80000007).edx, 0xff, 'an invariant TSC would be preferred to kvm-clock');
  const numbers = Object.keys(table.cpu.msrs).map(Number);
  assert.deepEqual(numbers, [0x11, 0x12, 0x1a0, 0x4b564d00, 0x4b564d01, 0x4b564d03, 0x4b564d04]);
});

test('the clock record is there when WRMSR returns, by the old number and the new', () => {
  for (const index of [MSR_KVM_SYSTEM_TIME, MSR_KVM_SYSTEM_TIME_NEW]) {
    const { cpu, memory, write } = setUp();
    cpu.clock.advance(1000);
    assert.ok(write(index, 0x2001n));
    assert.equal(memory.read32(0x2000), 2);
    assert.equal(memory.read64(0x2008), 2500n);
    assert.equal(memory.read64(0x2010), 1000n);
    assert.equal(memory.read8(0x201d), 1, 'the TSC is stable');
    memory.fill(0x2000, 64);
    assert.ok(write(index, 0x2000n), 'disabled');
    assert.equal(memory.read32(0x2000), 0);
  }
});

test('IA32_MISC_ENABLE keeps what is written, but what says that something is not there', () => {
  const { cpu, table, write } = setUp();
  const read = () => table.cpu.msrs[0x1a0].read!(cpu);
  assert.equal(read(), 0x1801n);
  assert.ok(write(0x1a0, 0x4_00c5_1889n));
  assert.equal(read(), 0x4_00c5_1809n, 'performance monitoring is not there');
  assert.ok(!write(0x1a0, 1n));
  assert.ok(!write(0x1a0, 0x1001n));
  assert.equal(read(), 0x4_00c5_1809n);
});

test('an address outside RAM is taken and not used', () => {
  const { cpu, memory, write } = setUp();
  const before = memory.bytes.slice();
  assert.ok(write(MSR_KVM_SYSTEM_TIME_NEW, BigInt(memory.size - 16) | 1n));
  assert.ok(write(MSR_KVM_WALL_CLOCK, BigInt(memory.size)));
  assert.deepEqual(memory.bytes, before);
  assert.equal(cpu.log.lines.length, 2);
});

test('stolen time adds up', () => {
  const { cpu, memory, table, write, op } = setUp();
  op(table.time.resumed)(cpu, 5);
  assert.ok(write(MSR_KVM_STEAL_TIME, 0x2041n));
  op(table.time.resumed)(cpu, 1000.7);
  op(table.time.resumed)(cpu, 2000);
  assert.equal(memory.read64(0x2040), 3000n);
  assert.equal(memory.read32(0x2048) % 2, 0);
  assert.ok(!write(MSR_KVM_STEAL_TIME, 0x2043n), 'reserved bits');
  assert.ok(!write(MSR_KVM_STEAL_TIME, BigInt(memory.size) | 1n));
  assert.ok(write(MSR_KVM_STEAL_TIME, 0n));
  op(table.time.resumed)(cpu, 2000);
  assert.equal(memory.read64(0x2040), 3000n);
});

test('an end of interrupt is a bit in memory only where nothing waits for it', () => {
  const { cpu, memory, table, write, op } = setUp();
  const interrupts = cpu.interrupts!;
  assert.ok(write(MSR_KVM_PV_EOI_EN, 0x2001n));
  interrupts.request(0x40);
  op(table.irq.delivered)(cpu, interrupts.acknowledge());
  assert.equal(memory.read32(0x2000), 1);
  memory.write32(0x2000, 0); // The guest's way to end it.
  op(table.irq.catchUp)(cpu);
  assert.deepEqual(interrupts.inService, []);

  interrupts.request(0x40);
  op(table.irq.delivered)(cpu, interrupts.acknowledge());
  interrupts.request(0x50);
  op(table.irq.catchUp)(cpu);
  assert.equal(memory.read32(0x2000), 0, 'the offer is taken back: the guest must write the register');
  assert.deepEqual(interrupts.inService, [0x40]);
  op(table.irq.delivered)(cpu, interrupts.acknowledge());
  assert.equal(memory.read32(0x2000), 0, 'an interrupt within another one has a real end');

  assert.ok(!write(MSR_KVM_PV_EOI_EN, 0x2003n));
  assert.ok(!write(MSR_KVM_PV_EOI_EN, BigInt(memory.size) | 1n));
  assert.ok(write(MSR_KVM_PV_EOI_EN, 0n));
  op(table.irq.delivered)(cpu, 0x50);
  assert.equal(memory.read32(0x2000), 0);
});

test('hypercalls', () => {
  const { cpu, memory, call } = setUp();
  assert.equal(call(1n), 0n);
  assert.equal(call(12345n), BigInt.asUintN(64, -1000n), 'KVM_ENOSYS');
  cpu.clock.advance(1_500_000_000);
  assert.equal(call(9n, 0x2000n, 0n), 0n);
  assert.equal(memory.read64(0x2000), 1_700_000_001n);
  assert.equal(memory.read64(0x2008), 500_000_000n);
  assert.equal(memory.read64(0x2010), 3_750_000_000n);
  assert.equal(call(9n, 0x2000n, 1n), BigInt.asUintN(64, -95n));
  assert.equal(call(9n, BigInt(memory.size - 63), 0n), BigInt.asUintN(64, -14n));
  cpu.cpl = 3;
  assert.equal(call(1n), BigInt.asUintN(64, -1n), 'KVM_EPERM');
  cpu.cpl = 0;
  cpu.mode = 32;
  assert.equal(call(0xffff_ffff_0000_0001n), 0n, 'a 32-bit guest has no upper halves');
  assert.equal(call(77n), 0xffff_fc18n);
});
