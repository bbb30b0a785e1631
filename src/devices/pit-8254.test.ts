import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore } from '../state/state.ts';
import { ManualClock, RecordingLine } from './manual-clock.ts';
import { PIT_FREQUENCY, Pit8254 } from './pit-8254.ts';

const TICK = 1e9 / PIT_FREQUENCY;

function setUp() {
  const clock = new ManualClock();
  const line = new RecordingLine();
  const pit = new Pit8254(new StateStore(), clock, line);
  const read16 = (channel: number) => pit.ports.readByte(channel) | (pit.ports.readByte(channel) << 8);
  const program = (channel: number, mode: number, count: number) => {
    pit.ports.writeByte(3, (channel << 6) | 0x30 | (mode << 1));
    pit.ports.writeByte(channel, count & 0xff);
    pit.ports.writeByte(channel, count >> 8);
  };
  return { clock, line, pit, read16, program };
}

test('channel 0 in mode 2 interrupts at its rate', () => {
  const { clock, line, program } = setUp();
  program(0, 2, 11932); // 100 Hz
  clock.advance(1e9);
  assert.ok(line.edges === 99 || line.edges === 100, `${line.edges} edges`);
});

test('a rate does not drift', () => {
  const { clock, line, program } = setUp();
  program(0, 3, 1193);
  for (let i = 0; i < 1000; i++) clock.advance(1e7);
  assert.equal(line.edges, Math.floor((10 * PIT_FREQUENCY) / 1193));
});

test('periods slept through are dropped', () => {
  const { clock, line, program } = setUp();
  program(0, 2, 1193);
  clock.jump(1e9);
  assert.equal(line.edges, 1);
  clock.advance(1e6);
  assert.equal(line.edges, 2);
});

test('mode 0 interrupts once, and its output stays high', () => {
  const { clock, line, program, pit } = setUp();
  program(0, 0, 1000);
  clock.advance(999 * TICK);
  assert.equal(line.high, false);
  clock.advance(2 * TICK);
  assert.equal(line.high, true);
  clock.advance(1e9);
  assert.equal(line.edges, 1);
  pit.ports.writeByte(3, 0x30);
  assert.equal(line.high, false);
});

test('mode 4 strobes once per count', () => {
  const { clock, line, program, pit } = setUp();
  program(0, 4, 100);
  clock.advance(1e9);
  assert.equal(line.edges, 1);
  pit.ports.writeByte(0, 100);
  pit.ports.writeByte(0, 0);
  clock.advance(1e9);
  assert.equal(line.edges, 2);
});

test('the count goes down, is latched as a whole, and wraps', () => {
  const { clock, program, pit, read16 } = setUp();
  program(0, 0, 1000);
  clock.advance(10.5 * TICK);
  assert.equal(read16(0), 990);
  pit.ports.writeByte(3, 0x00);
  clock.advance(100 * TICK);
  assert.equal(read16(0), 990);
  assert.equal(read16(0), 890);
  clock.advance(1000 * TICK);
  assert.equal(read16(0), 65536 - 110);
});

test('mode 3 counts by two', () => {
  const { clock, program, read16 } = setUp();
  program(0, 3, 1000);
  clock.advance(10.5 * TICK);
  assert.equal(read16(0), 980);
  clock.advance(490 * TICK);
  assert.equal(read16(0), 1000);
});

test('channel 2 behind its gate, as the kernel calibrates by it', () => {
  const { clock, pit, program } = setUp();
  pit.controlPort.writeByte(0, 0x01);
  program(2, 0, 11932);
  assert.equal(pit.controlPort.readByte(0) & 0x20, 0);
  clock.advance(11931 * TICK);
  assert.equal(pit.controlPort.readByte(0) & 0x20, 0);
  clock.advance(2 * TICK);
  assert.equal(pit.controlPort.readByte(0) & 0x21, 0x21);
});

test('a low gate stops channel 2, a high one lets it go on', () => {
  const { clock, pit, program, read16 } = setUp();
  program(2, 0, 1000);
  clock.advance(1e6);
  assert.equal(read16(2), 1000);
  pit.controlPort.writeByte(0, 0x01);
  clock.advance(100.5 * TICK);
  pit.controlPort.writeByte(0, 0x00);
  clock.advance(1e6);
  assert.equal(read16(2), 900);
  pit.controlPort.writeByte(0, 0x01);
  clock.advance(100 * TICK);
  assert.equal(read16(2), 800);
});

test('a rising gate triggers modes 1 and 3 anew', () => {
  const { clock, pit, program } = setUp();
  program(2, 1, 100);
  assert.equal(pit.controlPort.readByte(0) & 0x20, 0x20);
  pit.controlPort.writeByte(0, 0x01);
  assert.equal(pit.controlPort.readByte(0) & 0x20, 0);
  clock.advance(101 * TICK);
  assert.equal(pit.controlPort.readByte(0) & 0x20, 0x20);
});

test('read-back latches status and count of several channels', () => {
  const { clock, program, pit, read16 } = setUp();
  program(0, 2, 500);
  pit.ports.writeByte(3, 0xb6); // channel 2, mode 3, no count yet
  clock.advance(100.5 * TICK);
  pit.ports.writeByte(3, 0xca); // count and status of channels 0 and 2
  clock.advance(100 * TICK);
  assert.equal(pit.ports.readByte(0), 0x80 | 0x34);
  assert.equal(read16(0), 400);
  assert.equal(pit.ports.readByte(2) & 0x7f, 0x40 | 0x36);
});

test('single bytes, and decimal counting', () => {
  const { clock, pit } = setUp();
  pit.ports.writeByte(3, 0x10 | 0x01); // channel 0, low byte, mode 0, BCD
  pit.ports.writeByte(0, 0x99);
  clock.advance(9.5 * TICK);
  assert.equal(pit.ports.readByte(0), 0x90);
  pit.ports.writeByte(3, 0x20); // high byte only
  pit.ports.writeByte(0, 0x10);
  clock.advance(256.5 * TICK);
  assert.equal(pit.ports.readByte(0), 0x0f); // 4096 - 256
});

test('the refresh bit toggles', () => {
  const { clock, pit } = setUp();
  let toggles = 0;
  let last = pit.controlPort.readByte(0) & 0x10;
  for (let i = 0; i < 1000; i++) {
    clock.advance(1000);
    const bit = pit.controlPort.readByte(0) & 0x10;
    if (bit !== last) toggles++;
    last = bit;
  }
  assert.equal(toggles, 66);
});
