import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor } from '../conformance/fake-processor.ts';
import { bareTable } from '../hypervisors/bare/index.ts';
import { derive } from '../paravirt/derive.ts';
import { nothing } from '../paravirt/native.ts';
import { operations } from '../paravirt/operations.ts';
import { Counts } from './counts.ts';
import { bindQuestions } from './questions.ts';
import { createTallies } from './tallies.ts';

const title = 'a hypervisor of this test';

function setUp(table = bareTable) {
  const [counts, exits] = [new Counts(), new Counts()];
  const tallies = createTallies(table.cpu, {});
  const cpu = new FakeProcessor();
  return { cpu, counts, exits, tallies, questions: bindQuestions(table, cpu, counts, tallies, exits) };
}

test('bare hardware is asked nothing', () => {
  assert.deepEqual(setUp().questions, {});
});

test('a function is called with the processor and what it is told, and counted as its line says', () => {
  const seen: unknown[] = [];
  const table = derive(bareTable, {
    name: 'toy',
    title,
    cpu: {
      hypercall: cpu => seen.push(cpu) > 0,
      hypercalls: { 3: { name: 'TOY_CALL', arguments: [], status: 'done' } },
    },
    irq: {
      softwareInterrupt: (...told) => void seen.push(told),
      pending: () => true,
      halt: () => {},
    },
  });
  const { cpu, counts, exits, tallies, questions } = setUp(table);
  cpu.set('rax', 3n);
  questions.hypercall?.();
  questions.softwareInterrupt?.(0x80, 7n);
  questions.halt?.();
  assert.equal(questions.pending?.(), true);
  assert.deepEqual(seen, [cpu, [cpu, 0x80, 7n]]);
  assert.deepEqual(counts.named(), { 'cpu.hypercall': 1, 'irq.softwareInterrupt': 1, 'irq.halt': 1 });
  assert.deepEqual(tallies.named().hypercalls, { TOY_CALL: 1 });
  assert.deepEqual(exits.named(), { hypercall: 1 });
});

test('a SYSCALL is counted as a hypercall of its processor where it is one', () => {
  const table = derive(bareTable, {
    name: 'toy',
    title,
    cpu: { syscall: () => {}, convention: { number: cpu => (cpu.cpl === 0 ? 5 : undefined), registers: () => [] } },
  });
  const { cpu, exits, questions } = setUp(table);
  questions.syscall?.();
  cpu.cpl = 3;
  questions.syscall?.();
  assert.deepEqual(exits.named(), { hypercall: 1 });
});

test('nothing is a constant, and is not counted', () => {
  const table = derive(bareTable, {
    name: 'toy',
    title,
    cpu: { hypercall: nothing, cpuid: nothing },
    mmu: { pageFault: nothing },
    irq: { exception: nothing },
  });
  const { questions, counts } = setUp(table);
  assert.equal(questions.hypercall?.(), true, 'dealt with');
  assert.deepEqual(Object.keys(questions).sort(), ['cpuid', 'exception', 'hypercall', 'pageFault']);
  assert.equal(questions.pageFault?.({ vector: 14, address: 0n }), false);
  assert.equal(questions.exception?.({ vector: 13 }), true, 'dealt with');
  assert.deepEqual(counts.named(), {});
});

test('every op that is told a processor can be asked, each under its own name', () => {
  const lines = Object.values(operations).flatMap(group => Object.entries(group));
  const names = lines.flatMap(([name, { told }]) => (told[0] === 'cpu' ? [name] : []));
  assert.equal(new Set(names).size, names.length);
  const groups = Object.entries(operations).map(([group, ops]) => [
    group,
    {
      ...bareTable[group as keyof typeof operations],
      ...Object.fromEntries(Object.keys(ops).map(op => [op, () => {}])),
    },
  ]);
  const { questions } = setUp({ ...bareTable, ...Object.fromEntries(groups) });
  assert.deepEqual(Object.keys(questions).sort(), names.sort());
});
