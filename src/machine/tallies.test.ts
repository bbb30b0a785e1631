import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor } from '../conformance/fake-processor.ts';
import { APIC_MSRS } from '../devices/apic-registers.ts';
import { bareTable } from '../hypervisors/bare/index.ts';
import { createTallies } from './tallies.ts';

const HYPERCALLS = { 3: { name: 'TOY_CALL', arguments: [], status: 'done' } } as const;

test('what is asked for is counted by number and named by the hypervisor, or by the processor', () => {
  const cpu = { ...bareTable.cpu, hypercalls: HYPERCALLS, msrs: { 16: { name: 'MSR_TOY' } } };
  const tallies = createTallies(cpu, { 16: { name: 'hidden' }, 17: { name: 'IA32_REAL' } });
  for (const index of [16, 17, 18, 17]) tallies.read.add(index);
  tallies.write.add(0xc0000080);
  tallies.in.add(0x3f8);
  tallies.out.add(0x3f8);
  const processor = new FakeProcessor();
  for (const number of [3n, 3n, 4n]) {
    processor.set('rax', number);
    tallies.hypercall(processor);
  }
  assert.deepEqual(tallies.named(), {
    ports: { 'in 0x3f8': 1, 'out 0x3f8': 1 },
    msrs: { 'read MSR_TOY': 1, 'read IA32_REAL': 2, 'read 0x12': 1, 'write 0xc0000080': 1 },
    hypercalls: { TOY_CALL: 2, 'hypercall 4': 1 },
  });
});

test("the local APIC's registers have the manual's names", () => {
  const tallies = createTallies(bareTable.cpu, APIC_MSRS);
  for (const index of [0x1b, 0x6e0, 0x802, 0x80f, 0x817, 0x827, 0x830, 0x83f, 0x831]) tallies.write.add(index);
  const names = ['X2APIC_APICID', 'X2APIC_SIVR', 'X2APIC_ISR7', 'X2APIC_IRR7', 'X2APIC_ICR', 'X2APIC_SELF_IPI'];
  assert.deepEqual(Object.keys(tallies.named().msrs), [
    'write IA32_APIC_BASE',
    'write IA32_TSC_DEADLINE',
    ...names.map(name => `write IA32_${name}`),
    'write 0x831',
  ]);
});

test('a system call that comes by the way of hypercalls is none', () => {
  const convention = { number: () => undefined, registers: () => [] };
  const tallies = createTallies({ ...bareTable.cpu, convention }, {});
  tallies.hypercall(new FakeProcessor());
  assert.deepEqual(tallies.named().hypercalls, {});
});

test('a guest that tries all numbers does not fill the host', () => {
  const tallies = createTallies(bareTable.cpu, {});
  for (let index = 0; index < 10_000; index++) tallies.read.add(index);
  const { msrs } = tallies.named();
  assert.equal(Object.keys(msrs).length, 4097);
  assert.equal(msrs.others, 10_000 - 4096);
});
