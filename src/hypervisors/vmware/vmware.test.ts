import assert from 'node:assert/strict';
import { test } from 'node:test';
import { vmcall } from '../../conformance/calls.ts';
import { FakeProcessor, fakeContext } from '../../conformance/fake-processor.ts';
import { createRandom } from '../../conformance/random.ts';
import type { RegisterName } from '../../paravirt/processor.ts';
import { vmware } from './index.ts';

const PORT = 0x5658;
const MAGIC = 0x564d5868n;
const GETVERSION = 10n;
const GETHZ = 45n;
const GETVCPU_INFO = 68n;
const STEALCLOCK = 91n;
const ALL_ONES = 0xffffffff;

type Registers = Partial<Record<RegisterName, bigint>>;

function setUp({ tscFrequency }: { tscFrequency?: number } = {}) {
  const cpu = new FakeProcessor({ tscFrequency });
  const context = fakeContext(cpu);
  const table = vmware.make(context);
  const op = <F>(value: F): Extract<F, (...rest: never[]) => unknown> =>
    value as Extract<F, (...rest: never[]) => unknown>;
  const set = (registers: Registers) => {
    for (const [name, value] of Object.entries(registers)) cpu.set(name as RegisterName, value);
  };
  const call = (command: bigint, more: Registers = {}) => {
    set({ rax: MAGIC, rcx: command, rdx: 0n, rbx: 0xffffffffn, ...more });
    vmcall({ table, cpu });
    return cpu.get('rax');
  };
  const cpuid = (leaf: number) =>
    op(table.cpu.cpuid)(cpu, leaf, 0, () => ({ eax: 1, ebx: 2, ecx: 3, edx: 4 })) ?? undefined;
  /** An instruction at RIP that the processor has refused with #GP(0). */
  const refused = (code: readonly number[], registers: Registers) => {
    cpu.memory.copyIn(0x1000, Uint8Array.from(code));
    set({ rip: 0x1000n, flags: 0x10202n, ...registers });
    return op(table.irq.exception)(cpu, { vector: 13, code: 0 });
  };
  return { cpu, context, memory: cpu.memory, table, op, set, call, cpuid, refused };
}

test('names itself, its frequencies, and the one instruction to call by', () => {
  const { cpuid } = setUp();
  const { eax, ebx, ecx, edx } = cpuid(0x40000000)!;
  assert.equal(new TextDecoder().decode(Uint32Array.of(ebx, ecx, edx)), 'VMwareVMware');
  assert.equal(eax, 0x40000010);
  assert.deepEqual(cpuid(0x40000010), { eax: 2_500_000, ebx: 1_000_000, ecx: 1, edx: 0 });
  assert.equal(cpuid(1)!.ecx, 0x80000003);
  assert.equal(cpuid(0x40000011), undefined);
  assert.equal(cpuid(0x80000007), undefined, 'the TSC stays as good as it is: time is made of it');
});

test('what Linux asks at its start', () => {
  const { cpu, call } = setUp({ tscFrequency: 5_000_000_001 });
  assert.equal(call(GETVERSION), 6n);
  assert.equal(cpu.get('rbx'), MAGIC);
  assert.equal(call(GETHZ), 5_000_000_001n & 0xffffffffn);
  assert.equal(cpu.get('rbx'), 1n, 'the upper half: -1 would mean that nobody knows');
  assert.equal(cpu.get('rcx'), 1_000_000_000n);
  assert.equal(call(GETVCPU_INFO), 8n);
  assert.equal(call(GETVERSION | 0x12340000n), 6n, 'the upper half of ECX is no part of the number');
  assert.equal(call(0xffff_ffff_0000_000an), 6n, 'nor is that of RCX');
});

test('what is not there is refused, and who does not know the word is not heard', () => {
  const { cpu, call } = setUp();
  assert.equal(call(7777n), BigInt(ALL_ONES));
  assert.equal(call(GETVERSION, { rdx: 1n }), BigInt(ALL_ONES), 'high bandwidth');
  assert.deepEqual(cpu.raised, []);
  cpu.set('rip', 0x1003n);
  assert.equal(call(GETVERSION, { rax: 0x12345678n }), 0x12345678n);
  assert.deepEqual(cpu.raised, [{ vector: 6 }]);
  assert.equal(cpu.get('rip'), 0x1000n, 'the fault shows the instruction');
});

test('a 32-bit caller, whose registers have no upper halves', () => {
  const { cpu, memory, call, table, op } = setUp();
  cpu.mode = 32;
  assert.equal(call(GETVERSION, { rax: 0xdead_0000_564d_5868n, rcx: 0xdead_0000_0000_000an }), 6n);
  assert.equal(call(STEALCLOCK, { rsi: 0xdead_0000_0000_0000n, rdi: 0xdead_0000_0000_2000n }), 1n);
  op(table.time.resumed)(cpu, 1000);
  assert.equal(memory.read64(0x2000), 2500n);
});

test('the port: four bytes and the magic number, or there is nothing', () => {
  const { cpu, context, set } = setUp();
  set({ rax: MAGIC, rcx: GETVERSION, rdx: BigInt(PORT) });
  assert.equal(context.ports.read(PORT, 4, cpu), 6);
  assert.equal(cpu.get('rbx'), MAGIC);
  set({ rcx: GETVERSION });
  assert.equal(context.ports.read(PORT, 2, cpu), 0xffff);
  assert.equal(context.ports.read(PORT, 1, cpu), 0xff);
  context.ports.write(PORT, 4, 10, cpu);
  set({ rcx: GETVERSION });
  assert.equal(context.ports.read(PORT + 1, 4, cpu), ALL_ONES, 'the high-bandwidth port');
  set({ rax: 1n });
  assert.equal(context.ports.read(PORT, 4, cpu), ALL_ONES);
  assert.deepEqual(context.log.lines, []);
});

test('a program reads the port although IOPL forbids it', () => {
  const { cpu, refused } = setUp();
  cpu.cpl = 3;
  const backdoor = { rax: MAGIC, rcx: GETVERSION, rdx: BigInt(PORT) };
  assert.equal(refused([0xed], backdoor), true);
  assert.equal(cpu.get('rax'), 6n);
  assert.equal(cpu.get('rip'), 0x1001n);
  assert.equal(cpu.get('flags'), 0x202n, 'RF is for an instruction that is tried again');
  assert.equal(refused([0xed], { ...backdoor, rdx: 0x60n }), false, 'another port');
  assert.equal(refused([0xed], { ...backdoor, rax: 0n }), false, 'no magic');
  assert.equal(refused([0xec], backdoor), false, 'one byte');
  assert.equal(refused([0xfa], backdoor), false, 'another instruction');
  assert.equal(cpu.get('rip'), 0x1000n);
});

test('pseudo performance counters, whatever CR4 says', () => {
  const { cpu, refused } = setUp();
  cpu.cpl = 3;
  cpu.clock.advance(10e9);
  const read = (counter: bigint) => {
    const done = refused([0x0f, 0x33], { rcx: counter, rdx: 0n });
    return done && (cpu.get('rdx') << 32n) | cpu.get('rax');
  };
  assert.equal(read(0x10000n), 25_000_000_000n);
  assert.equal(read(0x10001n), 10_000_000_000n);
  assert.equal(read(0x10002n), 10_000_000_000n);
  assert.equal(cpu.get('rip'), 0x1002n);
  assert.equal(read(0x10003n), false);
  assert.equal(read(0n), false);
});

test("a fault of the guest's own stays one", () => {
  const { cpu, table, op, set, refused } = setUp();
  const backdoor = { rax: MAGIC, rcx: GETVERSION, rdx: BigInt(PORT) };
  refused([0xed], backdoor);
  set({ rip: 0x1000n, ...backdoor });
  assert.equal(op(table.irq.exception)(cpu, { vector: 14, code: 0, address: 0n }), false);
  assert.equal(op(table.irq.exception)(cpu, { vector: 13, code: 0x10 }), false);
  cpu.mode = 16;
  assert.equal(op(table.irq.exception)(cpu, { vector: 13, code: 0 }), false);
  cpu.mode = 32;
  cpu.setSegment('cs', { selector: 0x1b, base: 0xfffff000n, limit: 0xffffffff, attributes: 0xcffb });
  set({ rip: 0x2000n, ...backdoor });
  assert.equal(op(table.irq.exception)(cpu, { vector: 13, code: 0 }), true, 'the code segment has a base');
  cpu.mode = 64;
  set({ rip: BigInt(cpu.memory.size), ...backdoor });
  assert.equal(op(table.irq.exception)(cpu, { vector: 13, code: 0 }), false, 'nothing can be read there');
});

test('stolen time adds up in ticks of the TSC, for kernels only', () => {
  const { cpu, memory, table, op, call } = setUp();
  assert.equal(call(STEALCLOCK, { rsi: 0n, rdi: 1n }), 0n, 'disabled, but there');
  op(table.time.resumed)(cpu, 1000);
  assert.equal(call(STEALCLOCK, { rsi: 0n, rdi: 0x2040n }), 1n);
  op(table.time.resumed)(cpu, 1000);
  op(table.time.resumed)(cpu, 3000.9);
  assert.equal(memory.read64(0x2040), 2500n + 7502n);
  for (const [rsi, rdi] of [
    [0n, 0x2041n],
    [0n, BigInt(memory.size)],
    [1n, 0x2040n],
    [0xffffffffn, 0xffffffc0n],
  ])
    assert.equal(call(STEALCLOCK, { rsi, rdi }), BigInt(ALL_ONES));
  cpu.cpl = 3;
  assert.equal(call(STEALCLOCK, { rsi: 0n, rdi: 0x3000n }), BigInt(ALL_ONES), 'it writes to memory');
  assert.equal(call(STEALCLOCK, { rsi: 0n, rdi: 1n }), BigInt(ALL_ONES));
  assert.equal(call(GETVERSION), 6n, 'this is for everybody');
  cpu.cpl = 0;
  assert.equal(call(STEALCLOCK, { rsi: 0n, rdi: 1n }), 0n);
  const before = memory.bytes.slice();
  op(table.time.resumed)(cpu, 1000);
  assert.deepEqual(memory.bytes, before);
});

test('hostile callers: an answer in 32 bits, whatever the registers, the mode and the way', () => {
  const { cpu, context, table, op, set, refused } = setUp();
  const random = createRandom(0x766d77n);
  const values = [0n, 1n, 0x40n, 0x1000n, BigInt(cpu.memory.size) - 64n, 0xffffffc0n, 0xffffffffn, 2n ** 63n];
  const pick = () => (random.below(3) === 0 ? random.next64() : random.of(values));
  const commands = Object.keys(table.cpu.hypercalls).map(BigInt);
  for (let round = 0; round < 20_000; round++) {
    cpu.cpl = random.of([0, 3]);
    cpu.mode = random.of([16, 32, 64]);
    const rcx = random.below(4) === 0 ? pick() : random.of(commands);
    const registers = { rcx, rbx: pick(), rdx: pick(), rsi: pick(), rdi: pick(), rip: pick() };
    set({ rax: random.below(8) === 0 ? pick() : MAGIC, ...registers });
    const way = random.below(3);
    if (way === 0) vmcall({ table, cpu });
    else if (way === 1) cpu.set('rax', BigInt(context.ports.read(PORT, random.of([1, 2, 4] as const), cpu)));
    else refused([random.of([0xed, 0xec, 0x0f]), 0x33], { ...registers, rdx: random.of([pick(), BigInt(PORT)]) });
    for (const register of ['rbx', 'rcx'] as const)
      assert.ok(cpu.get(register) <= 0xffffffffn || cpu.get(register) === registers[register]);
    op(table.time.resumed)(cpu, 100);
  }
  assert.deepEqual(cpu.kills, []);
  assert.deepEqual(cpu.requests, []);
});
