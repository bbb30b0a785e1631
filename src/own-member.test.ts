/** Names that every object inherits something under, where the guest's or a file's names are looked up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor, fakeContext } from './conformance/fake-processor.ts';
import { createFixture } from './conformance/fixture.ts';
import { bare, bareTable } from './hypervisors/bare/index.ts';
import { createTallies } from './machine/tallies.ts';
import { ownMember } from './own-member.ts';
import { mistakeIn } from './paravirt/check-table.ts';
import type { Paravirt } from './paravirt/operations.ts';
import { type Crossing, traced } from './paravirt/trace.ts';

const INHERITED = ['constructor', 'toString', '__proto__', 'hasOwnProperty'];

const call = (name: string) => ({ name, arguments: ['__proto__', 'constructor'], status: 'done' }) as const;

test('what an object inherits is no member of its own', () => {
  for (const name of INHERITED) assert.equal(ownMember({}, name), undefined, name);
  assert.equal(ownMember(JSON.parse('{ "__proto__": 5 }') as Record<string, number>, '__proto__'), 5);
});

test('hypercalls of such names are counted, and so are arguments of such names traced', () => {
  const cpu = { ...bareTable.cpu, hypercalls: Object.fromEntries(INHERITED.map((name, i) => [i, call(name)])) };
  const tallies = createTallies(cpu, {});
  const processor = new FakeProcessor();
  for (let number = 0; number < INHERITED.length; number++) {
    processor.set('rax', BigInt(number));
    tallies.hypercall(processor);
  }
  assert.deepEqual(
    Object.entries(tallies.named().hypercalls),
    INHERITED.map(name => [name, 1]),
  );

  const crossings: Crossing[] = [];
  const convention = { number: () => 0, registers: () => ['rbx', 'rcx'] as const };
  const table: Paravirt = { ...bareTable, cpu: { ...cpu, convention, hypercall: () => true } };
  const seen = traced({ ...bare, make: () => table }, crossing => void crossings.push(crossing)).make(
    fakeContext(processor),
  );
  processor.set('rbx', 7n);
  assert.ok(typeof seen.cpu.hypercall === 'function');
  seen.cpu.hypercall(processor);
  assert.deepEqual(Object.entries(crossings[0]!.arguments), [
    ['number', 0n],
    ['__proto__', 7n],
    ['constructor', 0n],
  ]);
});

test('a hypervisor of such a name has no half of a guest, and an op of such a name is none', () => {
  for (const name of INHERITED) {
    assert.deepEqual(createFixture({ ...bare, name }).guest, {});
    const time = Object.defineProperty({ ...bareTable.time }, name, { enumerable: true, value: () => 0 });
    assert.match(mistakeIn({ ...bareTable, time }) ?? '', new RegExp(`time.${name} is no op of the waist`));
  }
});
