import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor } from '../conformance/fake-processor.ts';
import type { Disk } from '../host/disk.ts';
import { createLog } from '../host/log.ts';
import { Bus } from '../memory/bus.ts';
import { GuestMemory } from '../memory/memory.ts';
import { StateStore } from '../state/state.ts';
import { createPcBoard } from './board.ts';
import { createLocalApicBoard } from './local-apic-board.ts';
import { ManualClock } from './manual-clock.ts';

/** The processor that asks. */
const cpu = new FakeProcessor();

function disk(): Disk {
  return {
    name: 'd',
    size: 4096,
    readOnly: false,
    read: () => {},
    write: () => {},
    flush: () => {},
    discard: () => {},
    close: () => {},
  };
}

function setUp(disks = 0) {
  const log = createLog();
  const clock = new ManualClock(1_795_348_800_000_000_000n);
  const ports = new Bus('port', log);
  const mmio = new Bus('mmio', log);
  const requests: string[] = [];
  const killed: string[] = [];
  let output = '';
  let changes = 0;
  const board = createPcBoard({
    states: new StateStore(),
    ports,
    mmio,
    clock,
    log,
    memory: new GuestMemory(new ArrayBuffer(2 ** 20), 0, 2 ** 20),
    console: { write: data => void (output += Buffer.from(data).toString('latin1')), onInput: () => {} },
    tscs: [{ read: () => BigInt(Math.floor(clock.now())), frequency: 1e9 }],
    backEnds: { disks: Array.from({ length: disks }, disk), networks: [], folders: [] },
    kill: reason => void killed.push(reason),
    request: what => void requests.push(what),
  });
  board.localApics[0].pins.onChange = () => void changes++;
  const out = (port: number, value: number, width: 1 | 2 | 4 = 1) => ports.write(port, width, value, cpu);
  const initialisePics = () => {
    for (const [port, value] of [
      [0x20, 0x11],
      [0x21, 0x30],
      [0x21, 4],
      [0x21, 1],
      [0x21, 0],
      [0xa0, 0x11],
      [0xa1, 0x38],
      [0xa1, 2],
      [0xa1, 1],
      [0xa1, 0],
    ]) {
      out(port, value);
    }
  };
  const redirect = (pin: number, low: number) => {
    mmio.write(0xfec00000, 4, 0x10 + 2 * pin, cpu);
    mmio.write(0xfec00010, 4, low, cpu);
  };
  return {
    board,
    log,
    clock,
    ports,
    mmio,
    requests,
    killed,
    out,
    initialisePics,
    redirect,
    apic: board.localApics[0],
    read: (port: number, width: 1 | 2 | 4 = 1) => ports.read(port, width, cpu),
    output: () => output,
    changes: () => changes,
  };
}

test('the PIT reaches the processor through the 8259s, as firmware leaves it', () => {
  const { apic, clock, out, initialisePics, changes } = setUp();
  initialisePics();
  out(0x43, 0x34);
  out(0x40, 0x9c);
  out(0x40, 0x2e);
  const before = changes();
  clock.advance(1.1e7);
  assert.ok(changes() > before);
  assert.equal(apic.pending(), true);
  assert.equal(apic.acknowledge(), 0x30);
  assert.equal(apic.pending(), false);
  out(0x20, 0x20);
  clock.advance(1e7);
  assert.equal(apic.acknowledge(), 0x30);
});

test('the PIT arrives at input 2 of the I/O APIC, the serial port at 4', () => {
  const { apic, clock, out, redirect } = setUp();
  redirect(2, 0x22);
  redirect(4, 0x24);
  out(0x43, 0x30);
  out(0x40, 0xff);
  out(0x40, 0x00);
  clock.advance(1e6);
  assert.equal(apic.acknowledge(), 0x22);
  apic.endOfInterrupt();
  out(0x3fc, 0x08);
  out(0x3f9, 0x02);
  assert.equal(apic.acknowledge(), 0x24);
});

test('the HPET takes IRQ 0 over and gives it back', () => {
  const { apic, clock, out, mmio, redirect } = setUp();
  redirect(2, 0x22);
  mmio.write(0xfed00010, 4, 3, cpu);
  out(0x43, 0x34);
  out(0x40, 0x9c);
  out(0x40, 0x2e);
  clock.advance(1e8);
  assert.equal(apic.pending(), false);
  mmio.write(0xfed00100, 4, 0x104, cpu);
  mmio.write(0xfed00108, 4, mmio.read(0xfed000f0, 4, cpu) + 1000, cpu);
  clock.advance(20_000);
  assert.equal(apic.acknowledge(), 0x22);
  apic.endOfInterrupt();
  mmio.write(0xfed00010, 4, 0, cpu);
  clock.advance(1e8);
  assert.equal(apic.acknowledge(), 0x22);
});

test('the power-management timer counts, the power button raises the SCI', () => {
  const { board, apic, clock, read, out, redirect } = setUp();
  const start = read(0x608, 4);
  clock.advance(1e9);
  assert.ok(Math.abs(read(0x608, 4) - start - 3579545) <= 1);
  redirect(9, 0x8029);
  out(0x602, 0x0100, 2);
  board.pressPowerButton();
  assert.equal(read(0x600, 2) & 0x100, 0x100);
  assert.equal(apic.acknowledge(), 0x29);
  apic.endOfInterrupt();
  assert.equal(apic.acknowledge(), 0x29); // level-triggered, and not yet cleared
  out(0x600, 0x100, 2);
  apic.endOfInterrupt();
  assert.equal(apic.pending(), false);
  assert.equal(read(0x604, 2) & 1, 1); // always in ACPI mode
});

test('the timer status bit rises with the top bit, and interrupts if it may', () => {
  const { clock, read, out, redirect, apic } = setUp();
  redirect(9, 0x8029);
  out(0x602, 1, 2);
  clock.advance(599e9);
  assert.equal(read(0x600, 2) & 1, 0);
  assert.equal(apic.pending(), false);
  clock.advance(2e9);
  assert.equal(apic.acknowledge(), 0x29);
  assert.equal(read(0x600, 2) & 1, 1);
  out(0x600, 1, 2);
  assert.equal(read(0x600, 2) & 1, 0);
});

test('power-off by S5, and console output is not lost by it', () => {
  const { out, requests, output } = setUp();
  for (const c of 'bye') out(0x3f8, c.charCodeAt(0));
  out(0x604, 0x2000 | (3 << 10), 2); // S-something-else
  assert.deepEqual(requests, []);
  out(0x604, 0x2000 | (5 << 10), 2);
  assert.deepEqual(requests, ['power-off']);
  assert.equal(output(), 'bye');
});

test('four ways to reset', () => {
  const { out, requests, read } = setUp();
  out(0xcf9, 0x02);
  assert.deepEqual(requests, []);
  out(0xcf9, 0x0e);
  out(0x64, 0xfe);
  out(0x92, 0x03);
  out(0x64, 0xd1);
  out(0x60, 0x02);
  assert.deepEqual(requests, ['reset', 'reset', 'reset', 'reset']);
  assert.equal(read(0x64) & 3, 0); // never busy
  assert.equal(read(0x92) & 2, 2);
});

test('the keyboard controller is healthy and alone', () => {
  const { out, read } = setUp();
  out(0x64, 0xaa);
  assert.equal(read(0x64) & 1, 1);
  assert.equal(read(0x60), 0x55);
  assert.equal(read(0x64) & 1, 0);
  out(0x64, 0x60);
  out(0x60, 0x47);
  out(0x64, 0x20);
  assert.equal(read(0x60), 0x47);
  out(0x64, 0xa9);
  assert.equal(read(0x60), 1);
});

test('PCI: the host bridge, the disks, and the reset register in their midst', () => {
  const { out, read, requests } = setUp(3);
  const config = (device: number, register: number) => {
    out(0xcf8, 0x80000000 + (device << 11) + register, 4);
    return read(0xcfc, 4);
  };
  out(0xcfb, 1);
  out(0xcf8, 0x80000000, 4);
  assert.equal(read(0xcf8, 4), 0x80000000);
  assert.equal(config(0, 8) >>> 8, 0x060000);
  for (const device of [1, 2, 3]) assert.equal(config(device, 0), 0x10421af4);
  assert.equal(config(4, 0), 0xffffffff);
  assert.deepEqual(requests, []);
});

test('a disk interrupts by its pin through the 8259s and the I/O APIC', () => {
  const { board, apic, redirect, initialisePics, mmio, out } = setUp(2);
  const line = board.description.pci?.interrupts[0].gsi ?? -1;
  assert.equal(board.description.overrides.find(o => o.irq === line)?.level, true);
  initialisePics();
  redirect(line, 0x8077);
  assert.equal(apic.pending(), false);
  // The driver's first error raises a configuration interrupt: the shortest way to one.
  const bar = 0xe0000000;
  for (const [offset, width, value] of [
    [0x14, 1, 3],
    [0x08, 4, 1],
    [0x0c, 4, 1],
    [0x14, 1, 11],
    [0x20, 4, 0x1000],
    [0x28, 4, 0x4000],
    [0x30, 4, 0x5000],
    [0x1c, 2, 1],
    [0x14, 1, 15],
  ] as const) {
    mmio.write(bar + offset, width, value, cpu);
  }
  board.slot.memory.write16(0x4002, 0x8000);
  mmio.write(bar + 0x3000, 2, 0, cpu);
  assert.equal(apic.pending(), true);
  assert.equal(apic.acknowledge(), 0x30 + line);
  out(0x21, 0xff);
  assert.equal(apic.acknowledge(), 0x77);
});

test('the local APIC follows its base register, and kills the guest that puts it on a device', () => {
  const { apic, mmio, killed } = setUp();
  assert.equal(mmio.read(0xfee00030, 4, cpu), 0x50014);
  apic.writeMsr(0x1b, 0xfed10900n);
  assert.equal(mmio.find(0xfee00030), undefined);
  assert.equal(mmio.read(0xfed10030, 4, cpu), 0x50014);
  apic.writeMsr(0x1b, 0xfee00d00n);
  assert.equal(mmio.find(0xfed10030), undefined);
  apic.writeMsr(0x1b, 0xfee00100n);
  apic.writeMsr(0x1b, 0xfec00900n);
  assert.equal(killed.length, 1);
});

test('each processor sees its own local APIC', () => {
  const log = createLog();
  const mmio = new Bus('mmio', log);
  const board = createPcBoard({
    states: new StateStore(),
    ports: new Bus('port', log),
    mmio,
    clock: new ManualClock(),
    log,
    memory: new GuestMemory(new ArrayBuffer(65536), 0, 65536),
    console: { write: () => {}, onInput: () => {} },
    tscs: [0, 1].map(() => ({ read: () => 0n, frequency: 1e9 })),
    kill: reason => assert.fail(reason),
    request: () => {},
  });
  assert.equal(mmio.read(0xfee00020, 4, cpu), 0);
  assert.equal(mmio.read(0xfee00020, 4, new FakeProcessor({ id: 1 })), 0x01000000);
  assert.deepEqual(
    board.description.processors.map(p => p.apicId),
    [0, 1],
  );
});

test('reset brings everything back to how firmware hands it over', () => {
  const { board, apic, out, mmio, clock, redirect, log, read } = setUp(1);
  redirect(4, 0x24);
  out(0x3f9, 0x0f);
  mmio.write(0xfed00010, 4, 3, cpu);
  apic.writeMsr(0x1b, 0xfee00d00n);
  board.reset();
  assert.equal(apic.readMsr(0x1b), 0xfee00900n);
  assert.equal(mmio.read(0xfee000f0, 4, cpu), 0x1ff);
  assert.equal(mmio.read(0xfee00350, 4, cpu), 0x700);
  assert.equal(mmio.read(0xfed00010, 4, cpu), 0);
  assert.equal(read(0x3f9), 0);
  assert.equal(read(0x4d0) | (read(0x4d1) << 8), 0x0e00);
  assert.equal(clock.armed, 0);
  assert.deepEqual(log.lines, []);
});

test('where PC software pokes about, nothing is said', () => {
  const { read, out, log } = setUp();
  for (const port of [
    0x2f9, 0x3e9, 0x2e9, 0x80, 0x87, 0x0a, 0xd4, 0x1f7, 0x177, 0x3f6, 0x378, 0x279, 0x3c0, 0x3da, 0xf0,
  ]) {
    out(port, 0);
    assert.equal(read(port), 0xff);
  }
  assert.deepEqual(log.lines, []);
  read(0x5658);
  assert.equal(log.lines.length, 1);
});

test('a device can be plugged into an empty socket', () => {
  const { board, read, log } = setUp();
  board.slot.ports('com-2', 0x2f8, 8, { read: () => 0x42, write: () => {} });
  assert.equal(read(0x2fd), 0x42);
  assert.equal(read(0x3e9), 0xff);
  assert.throws(() => board.slot.ports('com-1', 0x3f8, 8, { read: () => 0, write: () => {} }), /com-1/);
  assert.deepEqual(log.lines, []);
});

test('the board without a PC: local APICs, their timer and messages', () => {
  const log = createLog();
  const clock = new ManualClock();
  const ports = new Bus('port', log);
  const mmio = new Bus('mmio', log);
  const board = createLocalApicBoard({
    states: new StateStore(),
    ports,
    mmio,
    clock,
    log,
    memory: new GuestMemory(new ArrayBuffer(65536), 0, 65536),
    tscs: [{ read: () => 0n, frequency: 1e9 }],
    kill: reason => assert.fail(reason),
    request: () => {},
  });
  const apic = board.localApics[0];
  mmio.write(0xfee000f0, 4, 0x1ff, cpu);
  mmio.write(0xfee00320, 4, 0xec, cpu);
  mmio.write(0xfee00380, 4, 1000, cpu);
  clock.advance(2000);
  assert.equal(apic.acknowledge(), 0xec);
  apic.endOfInterrupt();
  board.slot.message(0xfee00000, 0x41);
  assert.equal(apic.acknowledge(), 0x41);
  assert.equal(ports.find(0x3f8), undefined);
  assert.equal(mmio.find(0xfec00000), undefined);
  board.reset();
  assert.equal(apic.pending(), false);
});

test('random accesses anywhere: always an answer of the right width, never an exception', () => {
  const { board, ports, mmio, clock, killed } = setUp(2);
  let seed = 99;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const windows = [0xfec00000, 0xfed00000, 0xfee00000, 0xe0000000, 0xe0004000, 0xe0040000];
  for (let i = 0; i < 100_000; i++) {
    const onPorts = random(2) === 0;
    const bus = onPorts ? ports : mmio;
    const address = onPorts ? random(random(2) ? 0x700 : 0x10000) : windows[random(windows.length)] + random(0x400);
    const width = ([1, 2, 4] as const)[random(3)];
    if (random(2)) bus.write(address, width, random(2 ** 32) % 2 ** (8 * width), cpu);
    const value = bus.read(address, width, cpu);
    assert.ok(value >= 0 && value < 2 ** (8 * width) && Number.isInteger(value), `0x${address.toString(16)}: ${value}`);
    const vector = board.localApics[0].acknowledge();
    assert.ok(vector >= -1 && vector < 256);
    if (i % 64 === 0) clock.advance(random(20_000));
  }
  assert.deepEqual(killed, []);
  board.reset();
  assert.equal(ports.read(0x3fd, 1, cpu), 0x60);
});

test("RAM that reaches into the PCI window is the embedder's mistake", () => {
  const log = createLog();
  assert.throws(
    () =>
      createPcBoard({
        states: new StateStore(),
        ports: new Bus('port', log),
        mmio: new Bus('mmio', log),
        clock: new ManualClock(),
        log,
        memory: { size: 0xf0000000 } as GuestMemory,
        console: { write: () => {}, onInput: () => {} },
        tscs: [{ read: () => 0n, frequency: 1e9 }],
        kill: () => {},
        request: () => {},
      }),
    /RAM/,
  );
});
