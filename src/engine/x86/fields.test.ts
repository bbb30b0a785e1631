/** The table of a processor's state: where its fields stand, and that what is made from it knows all of them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { REGISTERS } from '../../paravirt/processor.ts';
import { Engine } from '../engine.ts';
import { FIELDS, type Field, type FieldName, layOut, OFFSETS, STATE_SIZE, sizeOf, strideOf } from './fields.ts';
import { ARCHITECTURE, ELEMENTS, findDifference, readElement, resetFields, WAIST, writeElement } from './registers.ts';

const RAM = 1 << 20;
const fields = Object.entries(FIELDS) as [FieldName, Field][];

test('no two fields overlap, and each is aligned to its size', () => {
  const taken = new Map<number, string>();
  for (const [name, field] of fields) {
    assert.equal(OFFSETS[name] % sizeOf(field), 0, `${name} is not aligned`);
    assert.ok(strideOf(field) >= sizeOf(field), `elements of ${name} overlap`);
    const end = OFFSETS[name] + strideOf(field) * (field.count ?? 1);
    assert.ok(end <= STATE_SIZE, `${name} ends beyond the state`);
    for (let at = OFFSETS[name]; at < end; at++) {
      assert.equal(taken.get(at), undefined, `${name} and ${taken.get(at)} overlap`);
      taken.set(at, name);
    }
  }
});

test('what a record names by one byte stands where a byte reaches it', () => {
  for (const name of ['GPR', 'ZERO', 'SCRATCH', 'SEGMENT_BASE', 'PAGE'] as const)
    assert.ok(OFFSETS[name] + strideOf(FIELDS[name]) * ((FIELDS[name] as Field).count ?? 1) <= 0x100, name);
  assert.deepEqual([OFFSETS.GPR, OFFSETS.XMM, OFFSETS.YMM_HIGH], [0, 0x100, 0x200]);
});

test('a section that is too small for its fields is refused', () => {
  const big: Field = { type: 'u64', role: 'scratch', count: 3 };
  assert.deepEqual(layOut([{ from: 8, to: 40, fields: { A: { type: 'u8', role: 'scratch' }, B: big } }]), {
    A: 8,
    B: 16,
  });
  assert.throws(() => layOut([{ from: 8, to: 32, fields: { A: big, B: big } }]), /B does not fit below 0x20/);
});

test('what the architecture defines says where, and lists fit their fields', () => {
  for (const [name, { role, manual, count = 1, names, initial, waist }] of fields) {
    if (role === 'architecture') assert.ok(manual, `${name} names no section of a manual`);
    for (const list of [names, initial, waist])
      if (Array.isArray(list)) assert.equal(list.length, count, `a list of ${name}`);
  }
  const names = ELEMENTS.map(element => element.name);
  assert.equal(new Set(names).size, names.length, 'two elements have one name');
});

test('every register of the waist is one element, but for those that are more than that', () => {
  const elsewhere = ['rip', 'flags', 'cr8'];
  assert.deepEqual(Object.keys(WAIST).sort(), REGISTERS.filter(name => !elsewhere.includes(name)).sort());
});

test('a reset gives every field its value, and leaves the engine what is its own, and what the processor is', () => {
  const { cpu } = new Engine(RAM, { jit: false });
  const stays = ({ role, survivesReset }: (typeof ELEMENTS)[number]) => role === 'engine' || survivesReset;
  const kept = new Map(ELEMENTS.filter(stays).map(e => [e.name, readElement(cpu, e)]));
  for (const element of ELEMENTS) if (!stays(element)) writeElement(cpu, element, 0x5an);
  resetFields(cpu);
  for (const element of ELEMENTS)
    assert.equal(readElement(cpu, element), kept.get(element.name) ?? element.initial, element.name);
  assert.equal(cpu.flags, 2);
});

test('the comparison of two processors notices a difference in each register of the architecture', () => {
  const [x, y] = [new Engine(RAM, { jit: false }).cpu, new Engine(RAM, { jit: false }).cpu];
  assert.equal(findDifference(x, y), undefined);
  assert.ok(ARCHITECTURE.length > 150);
  for (const element of ARCHITECTURE) {
    const value = readElement(y, element);
    // The highest bit and the lowest.
    for (const bit of [0n, BigInt(8 * element.bytes - 1)]) {
      writeElement(y, element, value ^ (1n << bit));
      assert.equal(findDifference(x, y)?.name, element.name);
      writeElement(y, element, value);
    }
  }
  assert.equal(findDifference(x, y), undefined);
  for (const bit of [0, 2, 4, 6, 7, 8, 9, 10, 11, 12, 14, 16, 17, 18, 21]) {
    y.flags = x.flags ^ (1 << bit);
    assert.equal(findDifference(x, y)?.name, 'RFLAGS', `bit ${bit}`);
    y.flags = x.flags;
  }
  // One value of the flags may have two lazy forms.
  y.set64(OFFSETS.FLAG_RESULT, 2n);
  assert.equal(findDifference(x, y), undefined);
});
