/** The MultiProcessor Specification's tables, read back by its layout. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BoardDescription } from '../devices/description.ts';
import { buildMpTable } from './mp-table.ts';

const ADDRESS = 0xf0000;
const PC: BoardDescription = {
  processors: [0, 1, 2].map(id => ({ uid: id, apicId: 2 * id })),
  localApicAddress: 0xfee00000,
  ioApics: [{ id: 0, address: 0xfec00000, firstGsi: 0 }],
  pic: true,
  overrides: [
    { irq: 0, gsi: 2, level: false, activeLow: false },
    { irq: 9, gsi: 9, level: true, activeLow: true },
  ],
  nmiPin: 1,
  serialPorts: [],
  pci: {
    configurationPorts: { start: 0xcf8, end: 0xcff },
    buses: { start: 0, end: 0 },
    ioWindows: [],
    memoryWindows: [],
    interrupts: [{ device: 3, pin: 1, gsi: 18 }],
  },
};
/** Entries' sizes by type (table 4-3). */
const SIZES = [20, 8, 8, 8, 8];
const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => a + b, 0) & 0xff;
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('latin1');

function parse(board: BoardDescription) {
  const bytes = buildMpTable(board, ADDRESS) ?? assert.fail('no table');
  assert.equal(text(bytes.subarray(0, 4)), '_MP_');
  assert.equal(sum(bytes.subarray(0, 16)), 0);
  const view = new DataView(bytes.buffer);
  const at = view.getUint32(4, true) - ADDRESS;
  const length = view.getUint16(at + 4, true);
  assert.equal(at + length, bytes.length);
  assert.equal(sum(bytes.subarray(at)), 0);
  assert.equal(text(bytes.subarray(at, at + 4)), 'PCMP');
  assert.equal(view.getUint32(at + 36, true), board.localApicAddress);
  const entries: number[][] = [];
  for (let next = at + 44; next < bytes.length; next += SIZES[bytes[next]!]!)
    entries.push([...bytes.subarray(next, next + SIZES[bytes[next]!]!)]);
  assert.equal(view.getUint16(at + 34, true), entries.length);
  return { of: (type: number) => entries.filter(([first]) => first === type) };
}

test('processors, the first of which starts the others', () => {
  const processors = parse(PC).of(0);
  assert.deepEqual(
    processors.map(([, id, , flags]) => [id, flags]),
    [
      [0, 3],
      [2, 1],
      [4, 1],
    ],
  );
});

test('buses, and an I/O APIC', () => {
  const { of } = parse(PC);
  assert.deepEqual(
    of(1).map(entry => [entry[1], text(Uint8Array.from(entry.slice(2)))]),
    [
      [0, 'PCI   '],
      [1, 'ISA   '],
    ],
  );
  assert.deepEqual(of(2), [[2, 0, 0x20, 1, 0, 0, 0xc0, 0xfe]]);
});

test('interrupts: ISA lines with their overrides, PCI pins, the 8259s and NMI', () => {
  const { of } = parse(PC);
  // Type, flags, bus, line, APIC, pin.
  const lines = of(3).map(([, type, low, high, bus, line, , pin]) => [type, low! | (high! << 8), bus, line, pin]);
  assert.deepEqual(lines[0], [3, 0, 1, 0, 0]);
  assert.deepEqual(lines[1], [0, 0, 1, 0, 2], 'the timer');
  assert.ok(!lines.some(([type, , bus, line]) => type === 0 && bus === 1 && line === 2), 'the cascade is no line');
  assert.deepEqual(
    lines.find(([, , bus, line]) => bus === 1 && line === 9),
    [0, 0xf, 1, 9, 9],
  );
  assert.deepEqual(lines.at(-1), [0, 0xf, 0, (3 << 2) | 1, 18]);
  assert.deepEqual(of(4), [
    [4, 3, 0, 0, 1, 0, 0xff, 0],
    [4, 1, 0, 0, 1, 0, 0xff, 1],
  ]);
});

test('without PCI the ISA bus is the first; without an I/O APIC there is no table', () => {
  const { pci: _, ...isa } = PC;
  assert.deepEqual(
    parse(isa)
      .of(1)
      .map(([, id]) => id),
    [0],
  );
  assert.equal(buildMpTable({ ...PC, ioApics: [] }, ADDRESS), undefined);
});
