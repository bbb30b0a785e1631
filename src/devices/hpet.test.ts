import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore } from '../state/state.ts';
import { Hpet } from './hpet.ts';
import { ManualClock, RecordingLine } from './manual-clock.ts';

function setUp() {
  const clock = new ManualClock();
  const irq0 = new RecordingLine();
  const irq8 = new RecordingLine();
  const routed = Array.from({ length: 24 }, () => new RecordingLine());
  const legacy: boolean[] = [];
  const hpet = new Hpet(new StateStore(), clock, {
    legacy: [irq0, irq8],
    route: (gsi, high) => routed[gsi].set(high),
    onLegacy: on => void legacy.push(on),
  });
  return {
    clock,
    irq0,
    irq8,
    routed,
    legacy,
    hpet,
    read: (offset: number) => hpet.read(offset, 4),
    write: (offset: number, value: number) => hpet.write(offset, 4, value),
  };
}

test('says what it is', () => {
  const { read } = setUp();
  assert.equal(read(0), 0x8086a201);
  assert.equal(read(4), 10_000_000); // 100 MHz
  assert.equal(read(0x100) & 0x30, 0x30); // periodic, 64 bits
  assert.equal(read(0x120) & 0x30, 0x20);
  assert.equal(read(0x160), 0);
});

test('the counter counts while enabled, keeps its value while not, can be set', () => {
  const { clock, read, write } = setUp();
  clock.advance(1000);
  assert.equal(read(0xf0), 0);
  write(0x10, 1);
  clock.advance(1005);
  assert.equal(read(0xf0), 100);
  write(0x10, 0);
  clock.advance(1000);
  assert.equal(read(0xf0), 100);
  write(0xf0, 0xfffffff0);
  write(0xf4, 7);
  write(0x10, 1);
  clock.advance(320);
  assert.equal(read(0xf0), 16);
  assert.equal(read(0xf4), 8);
});

test('one-shot on the legacy route', () => {
  const { clock, read, write, irq0, legacy } = setUp();
  write(0x10, 3);
  assert.deepEqual(legacy, [true]);
  write(0x100, 0x104);
  write(0x108, read(0xf0) + 1000);
  clock.advance(9_990);
  assert.equal(irq0.edges, 0);
  clock.advance(10);
  assert.equal(irq0.edges, 1);
  assert.equal(irq0.high, false);
  clock.advance(1e9);
  assert.equal(irq0.edges, 1);
  write(0x10, 0);
  assert.deepEqual(legacy, [true, false]);
});

test('periodic, set up as Linux does', () => {
  const { clock, read, write, irq0 } = setUp();
  write(0x10, 3);
  clock.advance(12_345);
  write(0x100, 0x004 | 0x008 | 0x040 | 0x100);
  write(0x108, read(0xf0) + 400_000);
  clock.advance(1000);
  write(0x108, 400_000);
  clock.advance(1e9);
  assert.equal(irq0.edges, 250);
});

test('a 64-bit period is set by two writes each', () => {
  const { clock, write, irq0, read } = setUp();
  write(0x10, 3);
  write(0x100, 0x004 | 0x008 | 0x040);
  write(0x108, 1000);
  write(0x10c, 0);
  write(0x108, 500);
  clock.advance(10_000);
  assert.equal(irq0.edges, 1);
  clock.advance(10_000);
  assert.equal(irq0.edges, 3);
  assert.equal(read(0x10c), 0);
});

test('late periods are dropped', () => {
  const { clock, write, irq0 } = setUp();
  write(0x10, 3);
  write(0x100, 0x14c);
  write(0x108, 100_000);
  write(0x108, 100_000);
  clock.jump(20_500_000);
  assert.equal(irq0.edges, 1);
  clock.advance(500_000);
  assert.equal(irq0.edges, 2);
});

test('periodic without interrupts, as Linux leaves it: nothing is due, and the comparator goes on all the same', () => {
  for (const width of [0x100, 0]) {
    const { clock, read, write, irq0 } = setUp();
    write(0x10, 3);
    write(0x100, 0x04c | width);
    for (const value of [100_000, 0, 100_000, 0]) if (value || !width) write(value ? 0x108 : 0x10c, value);
    clock.advance(2_500_000);
    assert.equal(irq0.edges, 2);
    write(0x100, 0x008 | width);
    assert.equal(clock.armed, 0);
    clock.advance(3_000_000);
    assert.equal(read(0x108), 600_000);
    clock.advance(500_000);
    assert.equal(read(0x108), 700_000);
    write(0x10, 2);
    clock.advance(5_000_000);
    assert.equal(read(0x108), 700_000);
    write(0x10, 3);
    // With interrupts again, the next period is where it would have been.
    write(0x100, 0x00c | width);
    clock.advance(990_000);
    assert.equal(irq0.edges, 2);
    clock.advance(10_000);
    assert.equal(irq0.edges, 3);
  }
});

test('a routed, level-triggered timer waits for its status bit to be cleared', () => {
  const { clock, read, write, routed } = setUp();
  write(0x10, 1);
  write(0x140, (21 << 9) | 0x06);
  assert.equal((read(0x140) >> 9) & 31, 21);
  write(0x148, 100);
  write(0x14c, 0);
  clock.advance(1000);
  assert.equal(routed[21].high, true);
  assert.equal(read(0x20), 4);
  write(0x20, 4);
  assert.equal(routed[21].high, false);
  assert.equal(read(0x20), 0);
  write(0x140, 5 << 9);
  assert.equal((read(0x140) >> 9) & 31, 0); // a route that is not offered
});

test('a comparator in the past waits for the counter to come round', () => {
  const { clock, write, irq0 } = setUp();
  write(0x10, 3);
  clock.advance(10_000);
  write(0x100, 0x104);
  write(0x108, 999);
  clock.advance(1e9);
  assert.equal(irq0.edges, 0);
  clock.advance(42e9);
  assert.equal(irq0.edges, 1);
});

test('a period of a single count does not stop the world', () => {
  const { clock, write, irq0 } = setUp();
  write(0x10, 3);
  write(0x100, 0x14c);
  write(0x108, 0);
  write(0x108, 0);
  clock.advance(1000);
  write(0x108, 1);
  clock.advance(1000);
  assert.ok(irq0.edges < 300);
});

test('reset stops everything', () => {
  const { clock, write, hpet, irq0, legacy, read } = setUp();
  write(0x10, 3);
  write(0x100, 0x104);
  write(0x108, 1000);
  hpet.reset();
  clock.advance(1e9);
  assert.equal(irq0.edges, 0);
  assert.deepEqual(legacy, [true, false]);
  assert.equal(read(0xf0), 0);
  assert.equal(clock.armed, 0);
});
