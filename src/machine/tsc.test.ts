/** What a guest that sets its time-stamp counter, or switches its local APIC off, sees afterwards. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { assemble } from './machine.ts';

/** Where the guest leaves what it has seen, and a record of kvmclock: its TSC at 8, its time at 16. */
const ANSWERS = 0x800000;
const RECORD = 0x801000;
const MEMORY = 16 << 20;

const u32 = (value: number) => [0, 8, 16, 24].map(shift => (value >>> shift) & 0xff);
const wrmsr = (index: number, low: number, high: number) => [
  ...[0xb9, ...u32(index)], // mov ecx, index
  ...[0xb8, ...u32(low)], // mov eax, low
  ...[0xba, ...u32(high)], // mov edx, high
  ...[0x0f, 0x30],
];
const rdmsr = (index: number) => [0xb9, ...u32(index), 0x0f, 0x32];
const RDTSC = [0x0f, 0x31];
const storeEax = (at: number) => [0xa3, ...u32(ANSWERS + at)];
const storeEdx = (at: number) => [0x89, 0x15, ...u32(ANSWERS + at)];
const storeEbx = (at: number) => [0x89, 0x1d, ...u32(ANSWERS + at)];
const cpuid = (leaf: number) => [0xb8, ...u32(leaf), 0x31, 0xc9, 0x0f, 0xa2];
const writeApic = (offset: number, value: number) => [0xc7, 0x05, ...u32(0xfee00000 + offset), ...u32(value)];
const HLT = 0xf4;

async function run(hypervisor: string, code: readonly number[]) {
  const kernel = tinyKernel([...code, HLT]);
  const { machine, engine } = await assemble({ kernel, hypervisor, memory: MEMORY, engine: 'interpreter' });
  assert.deepEqual(await machine.run({ instructions: 1_000_000 }), { kind: 'dead-halt' });
  return engine.memory;
}

for (const hypervisor of ['bare', 'kvm', 'vmware', 'hyperv'])
  test(`${hypervisor}: IA32_TSC_ADJUST is what has been added to the counter`, async () => {
    const memory = await run(hypervisor, [
      ...wrmsr(0x10, 0, 5),
      ...[...rdmsr(0x3b), ...storeEax(0), ...storeEdx(4)],
      ...[...RDTSC, ...storeEax(8), ...storeEdx(12)],
      ...wrmsr(0x3b, 0, 0xffffffff),
      ...[...RDTSC, ...storeEdx(20)],
      ...[...cpuid(7), ...storeEbx(24)],
    ]);
    const [adjust, tsc] = [0, 8].map(at => memory.read64(ANSWERS + at));
    // The virtual clock had counted some instructions by then.
    assert.ok(5n << 32n > adjust && (5n << 32n) - adjust < 100n, adjust.toString(16));
    assert.ok(tsc > 5n << 32n && tsc - (5n << 32n) < 100n, tsc.toString(16));
    assert.equal(memory.read32(ANSWERS + 20), 0xffffffff);
    assert.equal(memory.read32(ANSWERS + 24) & 2, 2, 'CPUID offers it');
  });

test('kvmclock goes on where it was when the guest sets the counter', async () => {
  const memory = await run('kvm', [...wrmsr(0x4b564d01, RECORD + 1, 0), ...wrmsr(0x10, 0, 5)]);
  assert.equal(memory.read64(RECORD + 8) >> 32n, 5n);
  assert.ok(memory.read64(RECORD + 16) < 100n);
  assert.equal(memory.read32(RECORD), 4, 'written twice');
});

test('a deadline that the counter jumps over fires', async () => {
  const memory = await run('bare', [
    ...[...writeApic(0xf0, 0x1ff), ...writeApic(0x320, 0x40041)], // TSC deadline, vector 41h
    ...[...wrmsr(0x6e0, 0, 7), ...wrmsr(0x10, 0, 8)],
    ...[0xb9, ...u32(10_000)], //     mov ecx, 10000
    ...[0xa1, ...u32(0xfee00220)], // again: mov eax, IRR of 40h to 5fh
    ...[0x85, 0xc0, 0x75, 0x02], //   test eax, eax; jnz over the next
    ...[0xe2, 0xf5], //               loop again
    ...storeEax(0),
  ]);
  assert.equal(memory.read32(ANSWERS), 2);
});

test('CPUID tells of the local APIC while IA32_APIC_BASE has it on', async () => {
  const memory = await run('bare', [
    ...[...cpuid(1), ...storeEdx(0)],
    ...[...wrmsr(0x1b, 0xfee00100, 0), ...cpuid(1), ...storeEdx(4), ...cpuid(0x80000001), ...storeEdx(8)],
    ...[...wrmsr(0x1b, 0xfee00900, 0), ...cpuid(1), ...storeEdx(12)],
  ]);
  const bits = [0, 4, 8, 12].map(at => (memory.read32(ANSWERS + at) >> 9) & 1);
  assert.deepEqual(bits, [1, 0, 0, 1]);
});
