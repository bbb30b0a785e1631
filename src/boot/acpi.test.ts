import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BoardDescription } from '../devices/description.ts';
import { buildAcpiTables } from './acpi.ts';
import * as aml from './aml.ts';

const ADDRESS = 0xe0000;

const PC: BoardDescription = {
  processors: [
    { uid: 0, apicId: 0 },
    { uid: 1, apicId: 1 },
  ],
  localApicAddress: 0xfee00000,
  ioApics: [{ id: 0, address: 0xfec00000, firstGsi: 0 }],
  pic: true,
  overrides: [
    { irq: 0, gsi: 2, level: false, activeLow: false },
    { irq: 9, gsi: 9, level: true, activeLow: true },
  ],
  nmiPin: 1,
  hpet: { id: 0x8086a201, address: 0xfed00000 },
  powerManagement: { eventBlock: 0x600, controlBlock: 0x604, timer: 0x608, sci: 9, sleepTypeS5: 5 },
  reset: { port: 0xcf9, value: 0x0e },
  rtc: { port: 0x70, irq: 8, centuryRegister: 0x32 },
  serialPorts: [{ port: 0x3f8, size: 8, irq: 4 }],
  pci: {
    configurationPorts: { start: 0xcf8, end: 0xcff },
    buses: { start: 0, end: 0 },
    ioWindows: [{ start: 0xd00, end: 0xffff }],
    memoryWindows: [{ start: 0xe0000000, end: 0xfebfffff }],
    interrupts: [{ device: 1, pin: 0, gsi: 11 }],
  },
};

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

function parse(description: BoardDescription) {
  const { address, bytes } = buildAcpiTables(description, ADDRESS);
  const view = new DataView(bytes.buffer);
  const sum = (at: number, length: number) => bytes.subarray(at, at + length).reduce((a, b) => a + b, 0) & 0xff;
  const text = (at: number, length: number) => Buffer.from(bytes.subarray(at, at + length)).toString('latin1');
  const tables = new Map<string, { at: number; length: number }>();
  const note = (pointer: number) => {
    const at = pointer - address;
    const length = view.getUint32(at + 4, true);
    assert.equal(pointer % 16, 0);
    assert.ok(at + length <= bytes.length);
    if (text(at, 4) !== 'FACS') assert.equal(sum(at, length), 0, `checksum of ${text(at, 4)}`);
    tables.set(text(at, 4), { at, length });
    return at;
  };
  const xsdt = note(Number(view.getBigUint64(24, true)));
  for (let at = xsdt + 36; at < xsdt + view.getUint32(xsdt + 4, true); at += 8) {
    note(Number(view.getBigUint64(at, true)));
  }
  const fadt = tables.get('FACP')?.at ?? assert.fail('no FADT');
  note(view.getUint32(fadt + 36, true));
  note(view.getUint32(fadt + 40, true));
  assert.equal(view.getUint32(fadt + 40, true), Number(view.getBigUint64(fadt + 140, true)));
  return { address, bytes, view, sum, text, tables, fadt };
}

test('the pointer is found by scanning, and all checksums hold', () => {
  const { text, sum, view, tables } = parse(PC);
  assert.equal(text(0, 8), 'RSD PTR ');
  assert.equal(sum(0, 20), 0);
  assert.equal(sum(0, 36), 0);
  assert.equal(view.getUint8(15), 2);
  assert.deepEqual([...tables.keys()].sort(), ['APIC', 'DSDT', 'FACP', 'FACS', 'HPET', 'XSDT']);
  assert.equal((tables.get('FACS')?.at ?? 1) % 64, 0);
});

test("the FADT carries the board's ports", () => {
  const { view, fadt, tables } = parse(PC);
  assert.equal(tables.get('FACP')?.length, 244);
  assert.equal(view.getUint16(fadt + 46, true), 9);
  assert.equal(view.getUint32(fadt + 56, true), 0x600);
  assert.equal(view.getUint32(fadt + 64, true), 0x604);
  assert.equal(view.getUint32(fadt + 76, true), 0x608);
  assert.equal(view.getUint8(fadt + 108), 0x32);
  assert.equal(view.getUint32(fadt + 112, true) & (1 << 10), 1 << 10); // reset register
  assert.equal(view.getUint32(fadt + 112, true) & (1 << 20), 0); // not hardware-reduced
  assert.equal(view.getBigUint64(fadt + 120, true), 0xcf9n);
  assert.equal(view.getUint8(fadt + 128), 0x0e);
  assert.equal(view.getBigUint64(fadt + 152, true), 0x600n);
  assert.equal(view.getBigUint64(fadt + 212, true), 0x608n);
});

test('the MADT lists processors, I/O APIC, overrides and NMI', () => {
  const { bytes, tables } = parse(PC);
  const { at, length } = tables.get('APIC') ?? assert.fail();
  assert.equal(
    hex(bytes.subarray(at + 36, at + length)),
    '0000e0fe01000000' +
      '0008000001000000' +
      '0008010101000000' +
      '010c00000000c0fe00000000' +
      '020a0000020000000500' +
      '020a0009090000000f00' +
      '0406ff000001',
  );
});

test('what a board has not got is not in the tables', () => {
  const bare: BoardDescription = {
    processors: [{ uid: 0, apicId: 0 }],
    localApicAddress: 0xfee00000,
    ioApics: [],
    pic: false,
    overrides: [],
    nmiPin: 1,
    serialPorts: [],
  };
  const { tables, view, fadt } = parse(bare);
  assert.equal(tables.has('HPET'), false);
  assert.equal(view.getUint16(fadt + 109, true), 0x24); // no VGA, no RTC, no legacy devices
  assert.equal(view.getUint8(fadt + 88), 0);
  assert.equal(tables.get('FACP')?.length, 268);
  assert.equal(view.getUint8(fadt + 8), 5);
  assert.equal(view.getUint32(fadt + 112, true) & (1 << 20), 1 << 20); // hardware-reduced
});

test('the host bridge has a table of routes where a device interrupts, and none that is empty', () => {
  const dsdtOf = (interrupts: NonNullable<BoardDescription['pci']>['interrupts']) =>
    new TextDecoder('latin1').decode(buildAcpiTables({ ...PC, pci: { ...PC.pci!, interrupts } }, ADDRESS).bytes);
  assert.ok(dsdtOf(PC.pci!.interrupts).includes('_PRT'));
  assert.ok(!dsdtOf([]).includes('_PRT'));
});

test('the tables move with their address, which must be aligned', () => {
  const { address, bytes } = buildAcpiTables(PC, 0x7f000);
  assert.equal(address, 0x7f000);
  assert.ok(Number(new DataView(bytes.buffer).getBigUint64(24, true)) > 0x7f000);
  assert.throws(() => buildAcpiTables(PC, 0xe0010), /64/);
});

// The expected bytes below are what the reference compiler makes of the ASL in the test's name.
test('AML: Name (_S5, Package () {5, 5, 0, 0})', () => {
  const five = aml.integer(5);
  assert.equal(
    hex(aml.name('\\_S5', aml.pack(five, five, aml.integer(0), aml.integer(0)))),
    '085c5f53355f120804' + '0a050a050000',
  );
});

test('AML: Scope (\\_SB) { Device (COM1) { Name (_HID, EisaId ("PNP0501")) } }', () => {
  assert.equal(
    hex(aml.scope('\\_SB', aml.device('COM1', aml.name('_HID', aml.eisaId('PNP0501'))))),
    '10175c5f53425f5b820f434f4d31085f4849440c41d00501',
  );
});

test('AML: ResourceTemplate () { IO (Decode16, 0x3F8, 0x3F8, 1, 8) IRQNoFlags () {4} }', () => {
  assert.equal(hex(aml.resources(aml.io(0x3f8, 8), aml.irq(4))), '11100a0d4701f803f8030108' + '221000' + '7900');
});

test('AML: address windows', () => {
  assert.equal(hex(aml.busNumbers(0, 0)), '880d00020c0000000000000000000100');
  assert.equal(hex(aml.ioWindow(0xd00, 0xffff)), '880d00010c030000000dffff000000f3');
  assert.equal(hex(aml.memoryWindow(0xe0000000, 0xfebfffff)), '871700000c0100000000000000e0ffffbffe000000000000c01e');
});

test('AML: integers take the shortest form, lengths the one they need', () => {
  assert.deepEqual(
    [0, 1, 2, 255, 256, 65535, 65536].map(n => hex(aml.integer(n))),
    ['00', '01', '0a02', '0aff', '0b0001', '0bffff', '0c00000100'],
  );
  const long = aml.device('LONG', aml.name('_STR', aml.string('x'.repeat(100))));
  assert.equal(hex(long.subarray(0, 8)), '5b82' + '4107' + '4c4f4e47'); // 2 + 4 + 4 + 1 + 102 = 0x71
  const huge = aml.scope('A.B.C', aml.string('x'.repeat(5000)));
  assert.equal(hex(huge.subarray(1, 6)), '8b' + '3901' + '2f03'); // 3 + 2 + 12 + 5002 = 0x139b, low digit first
  assert.throws(() => aml.name('TOOLONG', aml.integer(0)), /TOOLONG/);
});

test('devices that are nothing but a name stand beside those of the board', () => {
  const { bytes } = buildAcpiTables(PC, ADDRESS, ['VMBUS', 'ACME0001']);
  const found = hex(bytes);
  for (const id of ['VMBUS', 'ACME0001']) assert.ok(found.includes(hex(aml.name('_HID', aml.string(id)))), id);
  assert.ok(
    found.includes(hex(aml.device('PV1', aml.name('_HID', aml.string('ACME0001')), aml.name('_CRS', aml.resources())))),
  );
  assert.ok(!hex(buildAcpiTables(PC, ADDRESS).bytes).includes(hex(aml.string('VMBUS'))));
});
