/**
 * The state of every device of the PC: saved in the midst of its work, restored into another board, it goes on alike.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeProcessor } from '../conformance/fake-processor.ts';
import type { Console } from '../host/console.ts';
import type { Disk } from '../host/disk.ts';
import { createLog } from '../host/log.ts';
import { Bus } from '../memory/bus.ts';
import { GuestMemory } from '../memory/memory.ts';
import { StateStore, type StateTree } from '../state/state.ts';
import { createPcBoard } from './board.ts';
import { ManualClock } from './manual-clock.ts';

/** The processor that asks. */
const cpu = new FakeProcessor();

const RAM = 2 ** 20;
const LOCAL_APIC = 0xfee00000;
const IO_APIC = 0xfec00000;
const HPET = 0xfed00000;
/** The first BARs of the two disks, as firmware places them. */
const BARS = [0xe0000000, 0xe0040000];

function disk(): Disk {
  return {
    name: 'd',
    size: 4096,
    readOnly: false,
    read: (offset, into) => into.fill(offset / 512),
    write: () => {},
    flush: () => {},
    discard: () => {},
    close: () => {},
  };
}

/** A PC with two disks, and what it does to the outside. */
function makePc() {
  const log = createLog();
  const states = new StateStore();
  const clock = new ManualClock(1_795_348_800_123_456_789n, states);
  const ports = new Bus('port', log);
  const mmio = new Bus('mmio', log);
  const memory = new GuestMemory(new ArrayBuffer(RAM), 0, RAM);
  const events: string[] = [];
  const ends: ((data: Uint8Array) => void)[] = [];
  const consoleOf = (name: string): Console => ({
    write: data => void events.push(`${clock.now()} ${name} ${[...data]}`),
    onInput: take => void ends.push(take),
  });
  const board = createPcBoard({
    states,
    ports,
    mmio,
    clock,
    log,
    memory,
    console: consoleOf('console'),
    tscs: [{ read: () => BigInt(Math.floor(clock.now())), frequency: 1e9 }],
    backEnds: { disks: [disk(), disk()], networks: [], folders: [], serial: consoleOf('serial') },
    kill: reason => void events.push(`${clock.now()} kill ${reason}`),
    request: what => void events.push(`${clock.now()} ${what}`),
  });
  const apic = board.localApics[0];
  const out = (port: number, value: number, width: 1 | 2 | 4 = 1) => ports.write(port, width, value, cpu);
  const write = (address: number, value: number, width: 1 | 2 | 4 = 4) => mmio.write(address, width, value, cpu);
  return {
    board,
    clock,
    events,
    memory,
    states,
    out,
    write,
    mmio,
    ports,
    type: (text: string) => ends.forEach(take => take(new TextEncoder().encode(text))),
    config(device: number, register: number, value: number, width: 1 | 2 | 4 = 4) {
      out(0xcf8, 0x80000000 + (device << 11) + (register & 0xfc), 4);
      out(0xcfc + (register & 3), value, width);
    },
    /** Lets time pass, and takes the interrupts that come. */
    pass(nanoseconds: number) {
      clock.advance(nanoseconds);
      // Level-triggered interrupts whose cause nobody removes come again and again.
      for (let taken = 0; taken < 8; taken++) {
        const vector = apic.acknowledge();
        if (vector < 0) break;
        events.push(`${clock.now()} interrupt ${vector}`);
        apic.endOfInterrupt();
        out(0xa0, 0x20);
        out(0x20, 0x20);
      }
    },
    /** As a machine that is restored. */
    restore(tree: StateTree, ram: Uint8Array) {
      board.restoring();
      states.restore(tree);
      memory.copyIn(0, ram);
      clock.restored();
      board.restored();
    },
    /** Reads every register, some with their side effects, and gives what they answered. */
    readAll(): number[] {
      const values: number[] = [];
      for (const [port, size] of [
        [0x20, 2],
        [0x40, 4],
        [0x60, 5],
        [0x92, 1],
        [0xa0, 2],
        [0x3f8, 8],
        [0x2f8, 8],
        [0x4d0, 2],
        [0xcf9, 1],
      ])
        for (let i = 0; i < size; i++) values.push(ports.read(port + i, 1, cpu));
      for (let register = 0; register < 128; register++) {
        out(0x70, register);
        values.push(ports.read(0x71, 1, cpu));
      }
      for (const port of [0x600, 0x604, 0x608, 0xcf8]) values.push(ports.read(port, 4, cpu));
      for (let device = 0; device < 4; device++)
        for (let register = 0; register < 256; register += 4) {
          out(0xcf8, 0x80000000 + (device << 11) + register, 4);
          values.push(ports.read(0xcfc, 4, cpu));
        }
      for (let register = 0; register < 0x40; register++) {
        write(IO_APIC, register);
        values.push(mmio.read(IO_APIC + 0x10, 4, cpu));
      }
      for (let offset = 0; offset < 0x400; offset += 4) values.push(mmio.read(HPET + offset, 4, cpu));
      for (let offset = 0; offset < 0x1000; offset += 0x10) values.push(mmio.read(LOCAL_APIC + offset, 4, cpu));
      for (const bar of BARS)
        for (let offset = 0; offset < 0x8000; offset += 4) values.push(mmio.read(bar + offset, 4, cpu));
      for (const index of [0x1b, 0x6e0]) values.push(Number(apic.readMsr(index)));
      return values;
    },
  };
}

type Pc = ReturnType<typeof makePc>;

/** Leaves every device in the midst of something, with every timer set. */
function work(pc: Pc): void {
  const { out, write, config, memory } = pc;
  // An x87 error whose handler has it ignored.
  pc.board.coprocessorError!(true);
  pc.out(0xf0, 0);
  // 8259s: initialised, vectors 0x30 and 0x38, IRQ 1 masked.
  for (const [port, value] of [
    [0x20, 0x11],
    [0x21, 0x30],
    [0x21, 4],
    [0x21, 1],
    [0x21, 2],
    [0xa0, 0x11],
    [0xa1, 0x38],
    [0xa1, 2],
    [0xa1, 1],
    [0xa1, 0],
  ])
    out(port, value);
  // I/O APIC and local APIC: IRQ 0, 4 and 8, a periodic timer, a task priority, an interrupt that waits behind it.
  for (const pin of [2, 4, 8]) {
    write(IO_APIC, 0x10 + 2 * pin);
    write(IO_APIC + 0x10, 0x80 + pin * 8);
  }
  write(LOCAL_APIC + 0xf0, 0x1ff);
  write(LOCAL_APIC + 0x3e0, 3);
  write(LOCAL_APIC + 0x320, 0x200e1);
  write(LOCAL_APIC + 0x380, 60_001);
  // PIT: channel 0 periodic, channel 2 counting once, a count half written into channel 1.
  for (const [port, value] of [
    [0x43, 0x34],
    [0x40, 0x9c],
    [0x40, 0x2e],
    [0x43, 0xb0],
    [0x61, 1],
    [0x42, 0x00],
    [0x42, 0xf0],
    [0x43, 0x70],
    [0x41, 0x12],
  ])
    out(port, value);
  // RTC: periodic and update-ended interrupts, a time of its own.
  for (const [register, value] of [
    [0x0a, 0x29],
    [0x0b, 0x52],
    [0x02, 0x33],
    [0x40, 0x77],
  ]) {
    out(0x70, register);
    out(0x71, value);
  }
  // HPET: counting, one comparator periodic, one once on pin 20, one level-triggered on pin 21.
  write(HPET + 0x10, 1);
  write(HPET + 0x100, 0x14c);
  write(HPET + 0x108, 70_000);
  write(HPET + 0x108, 50_000);
  write(HPET + 0x120, 0x2904);
  write(HPET + 0x128, 123_456);
  write(HPET + 0x140, 0x2b06);
  write(HPET + 0x148, 45_678);
  // ACPI: the timer's interrupt enabled, the power button pressed, and its interrupt enabled.
  out(0x602, 0x0101, 2);
  pc.board.pressPowerButton();
  // Keyboard controller: a command of the keyboard without its parameter, an answer that waits, a command without its parameter.
  out(0x60, 0xf0);
  out(0x64, 0xaa);
  out(0x64, 0xd4);
  out(0xcf9, 0x02);
  out(0x92, 0x10);
  // UARTs: input taken up to its pace, then a byte in loopback, then output that is not yet handed on.
  for (const [offset, value] of [
    [1, 0x0f],
    [2, 0x81],
    [7, 0x5a],
    [4, 0x0b],
  ])
    for (const port of [0x3f8, 0x2f8]) out(port + offset, value);
  pc.type('forty bytes of input, more than one FIFO.');
  for (const port of [0x3f8, 0x2f8]) {
    for (let i = 0; i < 16; i++) pc.ports.read(port, 1, cpu);
    out(port, 0x41);
    out(port + 4, 0x1b);
    out(port, 0x42);
  }
  pc.pass(100_000);
  // PCI: the disks' BARs change places. MSI-X with a masked message; a queue with more requests than one turn serves.
  for (const device of [1, 2]) config(device, 0x04, 0, 2);
  for (const device of [1, 2]) {
    config(device, 0x10, BARS[2 - device]);
    config(device, 0x14, BARS[2 - device] + 0x4000);
    config(device, 0x04, 6, 2);
    out(0xcf8, 0x80000000 + (device << 11) + 0x34, 4);
    let at = pc.ports.read(0xcfc, 1, cpu);
    for (;;) {
      out(0xcf8, 0x80000000 + (device << 11) + at, 4);
      const [id, next] = [pc.ports.read(0xcfc, 1, cpu), pc.ports.read(0xcfd, 1, cpu)];
      if (id === 0x11) break;
      at = next;
    }
    config(device, at + 2, 0x8000, 2);
    startQueue(pc, BARS[2 - device], 0x10000 * device);
  }
  config(0, 0x3c, 0x55, 1);
  memory.write8(0x3000, 1);
}

/** Starts the virtio disk whose registers are at `bar`, and asks for its id 256 times. */
function startQueue({ memory, write }: Pc, bar: number, rings: number): void {
  for (const [offset, width, value] of [
    [0x14, 1, 3],
    [0x08, 4, 1],
    [0x0c, 4, 1],
    [0x14, 1, 11],
    [0x16, 2, 0],
    [0x20, 4, rings],
    [0x28, 4, rings + 0x2000],
    [0x30, 4, rings + 0x4000],
    [0x1a, 2, 1],
    [0x1c, 2, 1],
    [0x14, 1, 15],
  ] as const)
    write(bar + offset, value, width);
  memory.write32(rings + 0x8000, 8);
  const chain = [
    { address: rings + 0x8000, length: 16, flags: 1 },
    { address: rings + 0x8100, length: 21, flags: 2 },
  ];
  for (const [index, { address, length, flags }] of chain.entries()) {
    memory.write32(rings + 16 * index, address);
    memory.write32(rings + 16 * index + 8, length);
    memory.write16(rings + 16 * index + 12, flags);
    memory.write16(rings + 16 * index + 14, 1);
  }
  memory.write16(rings + 0x2002, 256);
  write(bar + 0x3000, 0, 2);
}

/** A board that has done something else before it is restored from `original`. */
function restored(original: Pc): Pc {
  const pc = makePc();
  work(pc);
  pc.pass(3_333_333);
  pc.out(0x3f8, 0x43);
  pc.board.localApics[0].writeMsr(0x1b, 0xfed10900n);
  pc.restore(original.states.save(), original.memory.bytes);
  pc.events.length = 0;
  return pc;
}

test('every device has state, the work changes all of it and sets all timers', () => {
  const pc = makePc();
  const fresh = pc.states.save();
  work(pc);
  const worked = pc.states.save();
  for (const { name } of pc.board.devices)
    assert.ok(
      Object.keys(worked).some(state => state === name || state.startsWith(`${name}/`)),
      `${name} has no state`,
    );
  const same = Object.keys(fresh).filter(name => {
    try {
      assert.deepEqual(worked[name], fresh[name]);
      return !/^wire\/|-line$/.test(name);
    } catch {
      return false;
    }
  });
  // The local APIC has not been moved, nothing of its is in service or level-triggered, the bridge has no BARs.
  assert.deepEqual(same, ['local-apic-0/isr', 'local-apic-0/tmr', 'host-bridge/bars']);
  const { deadlines } = worked.clock.value as { deadlines: Map<string, object> };
  assert.deepEqual([...deadlines.keys()].sort(), [
    'acpi-pm',
    'cmos-rtc',
    'hpet/0',
    'hpet/1',
    'hpet/2',
    'local-apic-0/timer',
    'pit-8254',
    'uart-16550-2/feed',
    'uart-16550-2/output',
    'uart-16550-2/timeout',
    'uart-16550/feed',
    'uart-16550/output',
    'uart-16550/timeout',
    'virtio-blk-disk-0/queue/0',
    'virtio-blk-disk-1/queue/0',
  ]);
});

test('restored into another board, all registers read the same', () => {
  const original = makePc();
  work(original);
  const copy = restored(original);
  assert.deepEqual(copy.states.save(), original.states.save());
  assert.deepEqual(copy.readAll(), original.readAll());
  assert.deepEqual(copy.states.save(), original.states.save());
});

test('restored into another board, deadlines fire the same', () => {
  const original = makePc();
  work(original);
  const copy = restored(original);
  original.events.length = 0;
  let fired = 0;
  for (let step = 0; step < 400; step++) {
    for (const pc of [original, copy]) pc.pass(10_000 + 997 * step);
    assert.deepEqual(copy.events, original.events);
    fired += original.events.length;
    for (const pc of [original, copy]) pc.events.length = 0;
  }
  assert.ok(fired > 500, `${fired} events`);
  assert.deepEqual(copy.states.save(), original.states.save());
  assert.deepEqual(copy.memory.bytes, original.memory.bytes);
  // The power-management timer's, ten minutes away: without the others, which would fire millions of times until then.
  for (const pc of [original, copy]) {
    pc.write(HPET + 0x10, 0);
    pc.write(LOCAL_APIC + 0x380, 0);
    pc.out(0x43, 0x30);
    pc.out(0x70, 0x0b);
    pc.out(0x71, 0x02);
    pc.out(0x600, 0xffff, 2);
    pc.pass(1300e9);
  }
  assert.deepEqual(copy.events, original.events);
  assert.deepEqual(copy.readAll(), original.readAll());
});

test('a board is restored again and again, from states after random accesses', () => {
  let seed = 7;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const original = makePc();
  const copy = makePc();
  const windows = [IO_APIC, HPET, LOCAL_APIC, BARS[0], BARS[0] + 0x4000, BARS[1]];
  for (let round = 0; round < 30; round++) {
    copy.restore(original.states.save(), original.memory.bytes);
    for (let i = 0; i < 300; i++) {
      const onPorts = random(2) === 0;
      const address = onPorts ? random(random(2) ? 0x700 : 0xd00) : windows[random(windows.length)] + random(0x400);
      const [width, value, writes] = [([1, 2, 4] as const)[random(3)], random(2 ** 32), random(2)];
      const time = random(4) === 0 ? random(50_000) : 0;
      const answers = [original, copy].map(pc => {
        const bus = onPorts ? pc.ports : pc.mmio;
        if (writes) bus.write(address, width, value % 2 ** (8 * width), cpu);
        pc.pass(time);
        return bus.read(address, width, cpu);
      });
      assert.equal(answers[1], answers[0], `0x${address.toString(16)}`);
    }
    assert.deepEqual(copy.states.save(), original.states.save());
    if (round === 0) work(copy);
    copy.pass(random(1e6));
  }
});
