import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLog } from '../host/log.ts';
import { StateStore } from '../state/state.ts';
import { ApicBus, FIXED, LOWEST_PRIORITY } from './apic-bus.ts';
import { IoApic } from './io-apic.ts';
import { LocalApic } from './local-apic.ts';
import { ManualClock } from './manual-clock.ts';
import { Pic8259 } from './pic-8259.ts';

const TSC_FREQUENCY = 2e9;

function setUp(count = 1) {
  const clock = new ManualClock();
  const log = createLog();
  const bus = new ApicBus();
  const states = new StateStore();
  const pic = new Pic8259(states);
  let tscOffset = 0n;
  const tsc = {
    read: () => BigInt(Math.floor((clock.now() * TSC_FREQUENCY) / 1e9)) + tscOffset,
    frequency: TSC_FREQUENCY,
  };
  const apics = Array.from(
    { length: count },
    (_, id) => new LocalApic({ id, states, clock, tsc, bus, external: pic, log }),
  );
  const events: string[] = [];
  const ipis = Array.from({ length: count }, () => 0);
  let changes = 0;
  for (const apic of apics) {
    apic.pins = {
      onChange: () => void changes++,
      nmi: () => void events.push(`nmi ${apic.id}`),
      init: () => events.push(`init ${apic.id}`) > 0,
      startUp: vector => void events.push(`start-up ${apic.id} ${vector.toString(16)}`),
      ipi: () => void ipis[apic.id]!++,
    };
    apic.write(0xf0, 4, 0x1ff);
  }
  pic.onOutput = high => apics[0].setLint(0, high);
  const ioApic = new IoApic(states, bus);
  const redirect = (pin: number, low: number, high = 0) => {
    ioApic.write(0, 4, 0x11 + 2 * pin);
    ioApic.write(0x10, 4, high);
    ioApic.write(0, 4, 0x10 + 2 * pin);
    ioApic.write(0x10, 4, low);
  };
  const entry = (pin: number) => {
    ioApic.write(0, 4, 0x10 + 2 * pin);
    return ioApic.read(0x10, 4);
  };
  return {
    clock,
    log,
    bus,
    pic,
    tsc,
    apics,
    ipis,
    apic: apics[0],
    events,
    ioApic,
    redirect,
    entry,
    changes: () => changes,
    moveTsc: (by: bigint) => {
      tscOffset += by;
    },
  };
}

test('takes the highest vector, nests by priority class, ends the highest in service', () => {
  const { apic } = setUp();
  apic.accept(FIXED, 0x41, false);
  apic.accept(FIXED, 0x55, false);
  apic.accept(FIXED, 0x42, false);
  assert.equal(apic.acknowledge(), 0x55);
  assert.equal(apic.pending(), false); // 0x42 is of a lower class
  apic.accept(FIXED, 0x5f, false);
  assert.equal(apic.pending(), false); // the same class does not nest
  apic.accept(FIXED, 0x60, false);
  assert.equal(apic.acknowledge(), 0x60);
  assert.equal(apic.read(0xa0, 4), 0x60);
  apic.write(0xb0, 4, 0);
  assert.equal(apic.pending(), false);
  apic.write(0xb0, 4, 0);
  assert.equal(apic.acknowledge(), 0x5f);
  apic.write(0xb0, 4, 0);
  assert.equal(apic.acknowledge(), 0x42);
  apic.write(0xb0, 4, 0);
  assert.equal(apic.acknowledge(), 0x41);
  apic.write(0xb0, 4, 0);
  assert.equal(apic.acknowledge(), -1);
});

test('the task priority holds interrupts back, CR8 is its upper half', () => {
  const { apic, changes } = setUp();
  apic.cr8 = 5;
  assert.equal(apic.read(0x80, 4), 0x50);
  apic.accept(FIXED, 0x5f, false);
  assert.equal(apic.pending(), false);
  assert.equal(apic.acknowledge(), -1);
  const before = changes();
  apic.cr8 = 4;
  assert.equal(changes(), before + 1);
  assert.equal(apic.pending(), true);
  apic.write(0x80, 4, 0x3a);
  assert.equal(apic.cr8, 3);
  assert.equal(apic.read(0xa0, 4), 0x3a);
});

test('IRR, ISR and TMR read as 256 bits', () => {
  const { apic } = setUp();
  apic.accept(FIXED, 0xef, true);
  assert.equal(apic.read(0x270, 4), 0x8000);
  assert.equal(apic.read(0x1f0, 4), 0x8000);
  apic.acknowledge();
  assert.equal(apic.read(0x270, 4), 0);
  assert.equal(apic.read(0x170, 4), 0x8000);
  apic.accept(FIXED, 0xff, false);
  assert.equal(apic.read(0x270, 4), 0x80000000);
});

test('a software-disabled APIC takes nothing new and masks its local vectors', () => {
  const { apic } = setUp();
  apic.write(0x320, 4, 0x40);
  apic.write(0xf0, 4, 0xff);
  assert.equal(apic.read(0x320, 4), 0x10040);
  apic.write(0x320, 4, 0x40);
  assert.equal(apic.read(0x320, 4), 0x10040);
  apic.accept(FIXED, 0x41, false);
  assert.equal(apic.pending(), false);
});

test('the 8259s come through LINT0 when it says ExtINT, and straight when the APIC is off', () => {
  const { apic, pic } = setUp();
  for (const [offset, value] of [
    [0, 0x11],
    [1, 0x20],
    [1, 4],
    [1, 1],
    [1, 0],
  ])
    pic.first.writeByte(offset, value);
  pic.setLine(3, true);
  assert.equal(apic.pending(), false);
  apic.write(0x350, 4, 0x700);
  assert.equal(apic.pending(), true);
  assert.equal(apic.acknowledge(), 0x23);
  assert.equal(apic.pending(), false);
  pic.first.writeByte(0, 0x20);
  apic.write(0x350, 4, 0x10700);
  pic.setLine(3, false);
  pic.setLine(3, true);
  assert.equal(apic.pending(), false);
  assert.equal(apic.writeMsr(0x1b, 0xfee00000n), true);
  assert.equal(apic.pending(), true);
  assert.equal(apic.acknowledge(), 0x23);
});

test('the virtual wire of firmware', () => {
  const { apic, pic, events } = setUp();
  apic.reset();
  apic.setVirtualWire();
  for (const [offset, value] of [
    [0, 0x11],
    [1, 0x30],
    [1, 4],
    [1, 1],
    [1, 0],
  ])
    pic.first.writeByte(offset, value);
  pic.setLine(0, true);
  assert.equal(apic.acknowledge(), 0x30);
  apic.setLint(1, true);
  assert.deepEqual(events, ['nmi 0']);
});

test('the one-shot timer counts down to its interrupt', () => {
  const { apic, clock } = setUp();
  apic.write(0x320, 4, 0xec);
  apic.write(0x3e0, 4, 0x3); // by 16
  apic.write(0x380, 4, 1000);
  clock.advance(8000);
  assert.equal(apic.read(0x390, 4), 500);
  assert.equal(apic.pending(), false);
  clock.advance(8000);
  assert.equal(apic.acknowledge(), 0xec);
  assert.equal(apic.read(0x390, 4), 0);
  apic.write(0xb0, 4, 0);
  clock.advance(1e9);
  assert.equal(apic.pending(), false);
});

test('all divisors', () => {
  const { apic, clock } = setUp();
  for (const [code, divisor] of [
    [0, 2],
    [1, 4],
    [2, 8],
    [3, 16],
    [8, 32],
    [9, 64],
    [10, 128],
    [11, 1],
  ]) {
    apic.write(0x3e0, 4, code);
    apic.write(0x380, 4, 1000);
    clock.advance(100 * divisor);
    assert.equal(apic.read(0x390, 4), 900, `divide by ${divisor}`);
  }
});

test('the periodic timer keeps its period, and drops what a late host missed', () => {
  const { apic, clock } = setUp();
  apic.write(0x320, 4, 0x200ec);
  apic.write(0x3e0, 4, 0xb);
  apic.write(0x380, 4, 1_000_000);
  let ticks = 0;
  const take = () => {
    while (apic.pending()) {
      assert.equal(apic.acknowledge(), 0xec);
      apic.write(0xb0, 4, 0);
      ticks++;
    }
  };
  for (let i = 0; i < 1000; i++) {
    clock.advance(500_000);
    take();
  }
  assert.equal(ticks, 500);
  clock.jump(10_300_000);
  take();
  assert.equal(ticks, 501);
  clock.advance(700_000);
  take();
  assert.equal(ticks, 502);
  apic.write(0x380, 4, 0);
  clock.advance(1e9);
  take();
  assert.equal(ticks, 502);
});

test('a masked timer counts silently', () => {
  const { apic, clock } = setUp();
  apic.write(0x320, 4, 0x100ec);
  apic.write(0x380, 4, 100);
  clock.advance(1e6);
  assert.equal(apic.pending(), false);
});

test('the deadline timer fires when the time-stamp counter gets there, not before', () => {
  const { apic, clock, tsc } = setUp();
  apic.write(0x320, 4, 0x400ec);
  assert.equal(apic.writeMsr(0x6e0, tsc.read() + 2_000_001n), true);
  assert.equal(apic.readMsr(0x6e0), 2_000_001n);
  clock.advance(1_000_000);
  assert.equal(apic.pending(), false);
  clock.advance(1);
  assert.equal(apic.acknowledge(), 0xec);
  assert.equal(apic.readMsr(0x6e0), 0n);
  apic.write(0xb0, 4, 0);

  apic.writeMsr(0x6e0, 5n); // long past
  clock.advance(0);
  assert.equal(apic.acknowledge(), 0xec);
  apic.write(0xb0, 4, 0);

  apic.writeMsr(0x6e0, tsc.read() + 1000n);
  apic.writeMsr(0x6e0, 0n);
  clock.advance(1e6);
  assert.equal(apic.pending(), false);

  apic.writeMsr(0x6e0, 0xffffffffffffffffn);
  clock.advance(1e9);
  assert.equal(apic.pending(), false);
  apic.write(0x380, 4, 100); // ignored in this mode
  clock.advance(1e6);
  assert.equal(apic.pending(), false);
});

test('a moved time-stamp counter moves the deadline', () => {
  const { apic, clock, tsc, moveTsc } = setUp();
  apic.write(0x320, 4, 0x400ec);
  apic.writeMsr(0x6e0, tsc.read() + 2_000_000n);
  moveTsc(1_900_000n);
  apic.timer.tscMoved();
  clock.advance(60_000);
  assert.equal(apic.acknowledge(), 0xec);
});

test('leaving deadline mode disarms', () => {
  const { apic, clock, tsc } = setUp();
  apic.write(0x320, 4, 0x400ec);
  apic.writeMsr(0x6e0, tsc.read() + 2000n);
  apic.write(0x320, 4, 0xec);
  clock.advance(1e6);
  assert.equal(apic.pending(), false);
  assert.equal(apic.readMsr(0x6e0), 0n);
  apic.writeMsr(0x6e0, 1n);
  clock.advance(1e6);
  assert.equal(apic.pending(), false);
});

test('interprocessor interrupts: shorthands, physical, flat and cluster destinations', () => {
  const { apics, events } = setUp(3);
  const [a, b, c] = apics;
  const takes = (apic: LocalApic): number => {
    if (!apic.pending()) return 0;
    apic.acknowledge();
    apic.endOfInterrupt();
    return 1;
  };
  const take = () => apics.map(takes).join('');
  a.write(0x300, 4, 0x40041); // self
  assert.equal(take(), '100');
  a.write(0x300, 4, 0x80041); // all
  assert.equal(take(), '111');
  a.write(0x300, 4, 0xc0041); // others
  assert.equal(take(), '011');
  a.write(0x310, 4, 0x02000000);
  a.write(0x300, 4, 0x41);
  assert.equal(take(), '001');
  a.write(0x310, 4, 0xff000000);
  a.write(0x300, 4, 0x41);
  assert.equal(take(), '111');
  for (const [i, apic] of apics.entries()) apic.write(0xd0, 4, 0x01000000 << i);
  a.write(0x310, 4, 0x05000000);
  a.write(0x300, 4, 0x841);
  assert.equal(take(), '101');
  for (const [i, apic] of apics.entries()) {
    apic.write(0xe0, 4, 0x0fffffff);
    apic.write(0xd0, 4, i < 2 ? (0x11 + i) << 24 : 0x21000000);
  }
  a.write(0x310, 4, 0x13000000);
  a.write(0x300, 4, 0x841);
  assert.equal(take(), '110');
  a.write(0x310, 4, 0x01000000);
  a.write(0x300, 4, 0x4500);
  a.write(0x300, 4, 0x8500); // de-assertion: nothing
  a.write(0x300, 4, 0x4609);
  a.write(0x310, 4, 0x02000000);
  a.write(0x300, 4, 0x400);
  assert.deepEqual(events, ['init 1', 'start-up 1 9', 'nmi 2']);
  assert.equal(b.read(0xf0, 4), 0xff); // INIT cleared it
  assert.equal(c.read(0xf0, 4), 0x1ff);
});

test('lowest-priority delivery goes to one: who is least busy', () => {
  const { apics, bus } = setUp(2);
  apics[0].cr8 = 4;
  bus.send(0xff, false, LOWEST_PRIORITY, 0x71, false);
  assert.deepEqual(
    apics.map(apic => apic.pending()),
    [false, true],
  );
});

test('a lowest-priority command goes to one, also where its destination is everybody', () => {
  const { apics } = setUp(4);
  for (const [index, apic] of apics.entries()) {
    apic.write(0xd0, 4, 0x01000000 << index);
    apic.cr8 = index === 2 ? 0 : 4;
  }
  for (const destination of [0xff, 0x0f, 0x06]) {
    apics[0].write(0x310, 4, destination << 24);
    apics[0].write(0x300, 4, 0x971);
    assert.deepEqual(
      apics.map(apic => apic.pending() && apic.acknowledge()),
      [false, false, 0x71, false],
    );
    apics[2].endOfInterrupt();
  }
});

test('x2APIC clusters of 16: logical destinations, broadcasts, and what devices mean by 0xff', () => {
  const { apics, bus, ipis } = setUp(20);
  for (const apic of apics) apic.writeMsr(0x1b, 0xfee00c00n);
  assert.equal(apics[19].readMsr(0x80d), 0x10008n, 'the logical id follows from the id');
  const taken = () =>
    apics.flatMap(apic => {
      if (!apic.pending()) return [];
      apic.acknowledge();
      apic.endOfInterrupt();
      return [apic.id];
    });
  const command = (destination: number, low: number) => {
    apics[1].writeMsr(0x830, (BigInt(destination) << 32n) | BigInt(low));
    return taken();
  };
  const all = apics.map(({ id }) => id);
  assert.deepEqual(command(0x000000ff, 0x841), [0, 1, 2, 3, 4, 5, 6, 7], 'is no broadcast');
  assert.deepEqual(command(0x0001000a, 0x841), [17, 19]);
  assert.deepEqual(command(0x0001fff0, 0x841), [], 'nobody');
  assert.deepEqual(command(0xffffffff, 0x841), all);
  assert.deepEqual(command(0xffffffff, 0x41), all);
  assert.deepEqual(command(0x12, 0x41), [18], 'physical');
  assert.deepEqual(
    command(0, 0xc0041),
    all.filter(id => id !== 1),
  );
  for (const apic of apics) apic.cr8 = apic.id === 18 ? 1 : 3;
  assert.deepEqual(command(0x0001000f, 0x951), [18], 'lowest priority');
  for (const apic of apics) apic.cr8 = 0;
  assert.deepEqual(command(0x0001000f, 0x951).length, 1, 'of equals, one');
  bus.send(0xff, false, 0, 0x61, false);
  assert.deepEqual(taken(), all);
  apics[1].writeMsr(0x83f, 0x41n);
  assert.deepEqual(taken(), [1], 'SELF IPI');
  assert.deepEqual([ipis[0], ipis[1], ipis[18]], [4, 4, 5], 'a device sends none');
});

test('illegal vectors and registers are errors', () => {
  const { apic } = setUp();
  apic.write(0x370, 4, 0xfe);
  apic.write(0x300, 4, 0x40005);
  assert.equal(apic.acknowledge(), 0xfe);
  apic.write(0xb0, 4, 0);
  apic.write(0x280, 4, 0);
  assert.equal(apic.read(0x280, 4), 0x20);
  apic.accept(FIXED, 3, false);
  apic.read(0x3a0, 4);
  apic.write(0x280, 4, 0);
  assert.equal(apic.read(0x280, 4), 0xc0);
  apic.write(0x280, 4, 0);
  assert.equal(apic.read(0x280, 4), 0);
});

test('an error vector that is itself illegal does not recurse', () => {
  const { apic } = setUp();
  apic.write(0x370, 4, 0x05);
  apic.accept(FIXED, 3, false);
  apic.write(0x280, 4, 0);
  assert.equal(apic.read(0x280, 4), 0x40);
});

test('x2APIC: entered and left as the manual allows', () => {
  const { apic } = setUp();
  const moves: (number | undefined)[] = [];
  apic.onMove = () => void moves.push(apic.page);
  assert.equal(apic.readMsr(0x1b), 0xfee00900n);
  assert.equal(apic.readMsr(0x802), undefined);
  assert.equal(apic.writeMsr(0x80b, 0n), false);
  assert.equal(apic.writeMsr(0x1b, 0xfee00400n), false); // extended without enabled
  assert.equal(apic.writeMsr(0x1b, 0xfee00d01n), false); // reserved bit
  assert.equal(apic.writeMsr(0x1b, 0xfee00000_00000800n), false); // beyond the address width
  assert.equal(apic.writeMsr(0x1b, 0xfee00d00n), true);
  assert.equal(apic.readMsr(0x1b), 0xfee00d00n);
  assert.equal(apic.writeMsr(0x1b, 0xfee00900n), false); // back to xAPIC: only through off
  assert.equal(apic.writeMsr(0x1b, 0xfee00100n), true);
  assert.equal(apic.writeMsr(0x1b, 0xfee00d00n), false); // from off: only to xAPIC
  assert.equal(apic.writeMsr(0x1b, 0xfed10900n), true);
  assert.deepEqual(moves, [undefined, undefined, 0xfed10000]);
});

test('x2APIC registers', () => {
  const { apics, events } = setUp(2);
  const [apic, other] = apics;
  for (const each of apics) each.writeMsr(0x1b, 0xfee00c00n);
  assert.equal(other.readMsr(0x802), 1n);
  assert.equal(other.readMsr(0x80d), 2n); // logical id from the id
  assert.equal(apic.readMsr(0x803), 0x50014n);
  assert.equal(apic.writeMsr(0x803, 0n), false);
  assert.equal(apic.readMsr(0x80b), undefined);
  assert.equal(apic.writeMsr(0x80b, 1n), false);
  assert.equal(apic.readMsr(0x80e), undefined); // no destination format
  assert.equal(apic.readMsr(0x831), undefined); // no upper command register
  assert.equal(apic.writeMsr(0x832, 0x1_0000_0000n), false);
  assert.equal(apic.writeMsr(0x832, 0x800000n), false);
  assert.equal(apic.writeMsr(0x832, 0x200ecn), true);
  assert.equal(apic.writeMsr(0x838, 0xffffffffn), true);
  assert.equal(apic.readMsr(0x838), 0xffffffffn);
  assert.equal(apic.writeMsr(0x838, 0n), true);
  assert.equal(apic.writeMsr(0x83f, 0x55n), true);
  assert.equal(apic.acknowledge(), 0x55);
  assert.equal(apic.readMsr(0x812), 0x200000n);
  assert.equal(apic.writeMsr(0x80b, 0n), true);
  assert.equal(apic.writeMsr(0x830, 0x1_0000_0041n), true);
  assert.equal(other.acknowledge(), 0x41);
  assert.equal(apic.writeMsr(0x830, 0x2_0000_0c42n), true); // logical, NMI
  assert.deepEqual(events, ['nmi 1']);
  assert.equal(apic.readMsr(0x830), 0x2_0000_0c42n);
  assert.equal(apic.readMsr(0x900), undefined);
});

test('the I/O APIC delivers an edge once, a level until it is gone', () => {
  const { apic, ioApic, redirect, entry } = setUp();
  redirect(4, 0x34);
  ioApic.setLine(4, true);
  assert.equal(apic.acknowledge(), 0x34);
  apic.endOfInterrupt();
  assert.equal(apic.pending(), false);

  redirect(9, 0x8039);
  ioApic.setLine(9, true);
  assert.equal(entry(9), 0xc039);
  assert.equal(apic.acknowledge(), 0x39);
  apic.write(0xb0, 4, 0); // still high: again
  assert.equal(apic.acknowledge(), 0x39);
  ioApic.setLine(9, false);
  apic.write(0xb0, 4, 0);
  assert.equal(entry(9), 0x8039);
  assert.equal(apic.pending(), false);
});

test('a masked edge is lost, a masked level is not', () => {
  const { apic, ioApic, redirect } = setUp();
  ioApic.setLine(4, true);
  redirect(4, 0x34);
  assert.equal(apic.pending(), false);
  ioApic.setLine(9, true);
  redirect(9, 0x8039);
  assert.equal(apic.acknowledge(), 0x39);
});

test('the EOI register and the switch to edge both free a stuck level input', () => {
  const { apic, ioApic, redirect, entry } = setUp();
  redirect(9, 0x8039);
  ioApic.setLine(9, true);
  ioApic.setLine(9, false);
  apic.acknowledge();
  ioApic.write(0x40, 4, 0x39);
  assert.equal(entry(9), 0x8039);
  ioApic.setLine(9, true);
  redirect(9, 0x0039);
  assert.equal(entry(9), 0x0039);
});

test('I/O APIC registers: id, version, nothing beyond the 24 entries', () => {
  const { ioApic } = setUp();
  ioApic.write(0, 4, 0);
  ioApic.write(0x10, 4, 0xffffffff);
  assert.equal(ioApic.read(0x10, 4), 0x0f000000);
  ioApic.write(0, 4, 1);
  assert.equal(ioApic.read(0x10, 4), 0x00170020);
  for (let index = 0x40; index < 0x100; index++) {
    ioApic.write(0, 4, index);
    ioApic.write(0x10, 4, 0xffffffff);
    assert.equal(ioApic.read(0x10, 4), 0);
  }
});

test('message-signalled interrupts', () => {
  const { bus, apics, apic } = setUp(2);
  bus.message(0xfee00000, 0x41);
  assert.equal(apic.acknowledge(), 0x41);
  bus.message(0xfee01000, 0x4142);
  assert.equal(apics[1].acknowledge(), 0x42);
  apics[1].write(0xd0, 4, 0x02000000);
  bus.message(0xfee02004, 0x61); // logical, though without redirection hint
  assert.equal(apics[1].acknowledge(), 0x61);
});

test('an end of interrupt may be put off while nobody waits for it', () => {
  const { apic, ioApic, redirect } = setUp();
  assert.equal(apic.canDeferEndOfInterrupt(), false); // nothing in service
  apic.request(0x41);
  assert.equal(apic.acknowledge(), 0x41);
  assert.equal(apic.canDeferEndOfInterrupt(), true);
  apic.request(0x31);
  assert.equal(apic.canDeferEndOfInterrupt(), false); // that one waits
  apic.endOfInterrupt();
  assert.equal(apic.acknowledge(), 0x31);
  apic.endOfInterrupt();
  redirect(9, 0x8051);
  ioApic.setLine(9, true);
  assert.equal(apic.acknowledge(), 0x51);
  assert.equal(apic.canDeferEndOfInterrupt(), false); // level-triggered: the I/O APIC must hear of it
});

test('accesses of any width and offset are answered', () => {
  const { apic } = setUp();
  for (let offset = 0; offset < 0x1000; offset++) {
    for (const width of [1, 2, 4] as const) {
      const value = apic.read(offset, width);
      assert.ok(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * width), `${offset}/${width}: ${value}`);
    }
    if (offset !== 0x300) apic.write(offset, 4, 0xffffffff);
  }
});

test('a hypervisor reads and writes the task priority and the command register, in either mode', () => {
  const { apics, apic } = setUp(2);
  apic.taskPriority = 0x123;
  assert.equal(apic.taskPriority, 0x23);
  assert.equal(apic.cr8, 2);
  apic.taskPriority = 0;
  apic.interruptCommand = 0x0100_0000_0000_0041n; // to processor 1
  assert.equal(apic.interruptCommand, 0x0100_0000_0000_0041n);
  assert.equal(apics[1].acknowledge(), 0x41);
  assert.equal(apic.acknowledge(), -1);
  apic.interruptCommand = 0x0004_0042n; // to itself, by shorthand
  assert.equal(apic.acknowledge(), 0x42);

  assert.ok(apic.writeMsr(0x1b, BigInt(0xfee00000 | (1 << 11) | (1 << 10))));
  apic.interruptCommand = 0x0000_0001_0000_0043n; // x2APIC: the upper word is the destination
  apics[1].endOfInterrupt();
  assert.equal(apics[1].acknowledge(), 0x43);
});
