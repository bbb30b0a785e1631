/** IA32_SPEC_CTRL and IA32_PRED_CMD, which the engine writes alone unless a hypervisor has them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { bareTable } from '../hypervisors/bare/index.ts';
import { derive } from '../paravirt/derive.ts';
import { IA32_PRED_CMD, IA32_SPEC_CTRL } from '../x86/msrs.ts';
import { assemble } from './machine.ts';

const ANSWER = 0x800000;
const u32 = (value: number) => [0, 8, 16, 24].map(shift => (value >>> shift) & 0xff);
/** mov ecx, index; mov eax, low; mov edx, high; wrmsr */
const wrmsr = (index: number, low: number, high = 0) => [
  ...[0xb9, ...u32(index), 0xb8, ...u32(low), 0xba, ...u32(high)],
  ...[0x0f, 0x30],
];
/** mov ecx, IA32_SPEC_CTRL; rdmsr; mov [ANSWER], eax; hlt */
const END = [0xb9, ...u32(IA32_SPEC_CTRL), 0x0f, 0x32, 0xa3, ...u32(ANSWER), 0xf4];

async function run(code: readonly number[], hypervisor: Parameters<typeof assemble>[0]['hypervisor'] = 'bare') {
  const kernel = tinyKernel([...code, ...END]);
  const { machine, engine } = await assemble({ kernel, hypervisor, memory: 16 << 20, engine: 'interpreter' });
  const { kind } = await machine.run({ instructions: 1_000_000 });
  return { kind, answer: engine.memory.read32(ANSWER), msrs: machine.statistics.msrs };
}

test('they are written without a question', async () => {
  const { kind, answer, msrs } = await run([...wrmsr(IA32_SPEC_CTRL, 7), ...wrmsr(IA32_PRED_CMD, 1)]);
  assert.deepEqual([kind, answer, msrs], ['dead-halt', 7, { 'read IA32_SPEC_CTRL': 1 }]);
});

for (const [index, low, high] of [
  [IA32_SPEC_CTRL, 8, 0],
  [IA32_SPEC_CTRL, 1, 1],
  [IA32_PRED_CMD, 2, 0],
  [IA32_PRED_CMD, 1, 0x80000000],
] as const)
  test(`0x${index.toString(16)} refuses bits there are not: ${high}, ${low}`, async () => {
    // There is no handler for the #GP.
    assert.equal((await run(wrmsr(index, low, high))).kind, 'triple-fault');
  });

test('a hypervisor that has one of them sees the writes', async () => {
  const seen: bigint[] = [];
  const cpu = {
    msrs: { [IA32_PRED_CMD]: { name: 'IA32_PRED_CMD', write: (_: unknown, value: bigint) => seen.push(value) > 0 } },
  };
  const own = {
    name: 'own',
    title: 'with one of them',
    make: () => derive(bareTable, { name: 'own', title: 'with one of them', cpu }),
  };
  const { kind, msrs } = await run([...wrmsr(IA32_PRED_CMD, 0x55), ...wrmsr(IA32_SPEC_CTRL, 2)], own);
  assert.deepEqual([kind, seen], ['dead-halt', [0x55n]]);
  assert.equal(msrs['write IA32_SPEC_CTRL'], 1);
});
