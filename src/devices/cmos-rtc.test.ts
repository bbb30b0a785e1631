import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StateStore } from '../state/state.ts';
import { CmosRtc } from './cmos-rtc.ts';
import { ManualClock, RecordingLine } from './manual-clock.ts';

function setUp(start = '2026-11-22T13:59:58.500Z', ram = 512 * 2 ** 20) {
  const clock = new ManualClock(BigInt(Date.parse(start)) * 1_000_000n);
  const line = new RecordingLine();
  const rtc = new CmosRtc(new StateStore(), clock, line, ram);
  const read = (register: number) => {
    rtc.writeByte(0, register);
    return rtc.readByte(1);
  };
  const write = (register: number, value: number) => {
    rtc.writeByte(0, register);
    rtc.writeByte(1, value);
  };
  const time = () => [0x32, 9, 8, 7, 4, 2, 0].map(r => read(r).toString(16).padStart(2, '0')).join(' ');
  return { clock, line, rtc, read, write, time };
}

test('tells the time in BCD, 24 hours, and goes on', () => {
  const { time, clock, read } = setUp();
  assert.equal(time(), '20 26 11 22 13 59 58');
  assert.equal(read(6), 1); // a Sunday
  clock.advance(1.5e9);
  assert.equal(time(), '20 26 11 22 14 00 00');
  assert.equal(read(0x0d), 0x80);
});

test('binary and 12-hour formats', () => {
  const { read, write } = setUp('2026-11-22T23:05:09Z');
  write(0x0b, 0x06);
  assert.equal(read(4), 23);
  assert.equal(read(8), 11);
  write(0x0b, 0x00);
  assert.equal(read(4), 0x91); // 11 in the evening
  const midnight = setUp('2026-11-22T00:05:09Z');
  midnight.write(0x0b, 0x00);
  assert.equal(midnight.read(4), 0x12);
});

test('update in progress shortly before each second, and at no other time', () => {
  const { read, clock } = setUp();
  assert.equal(read(0x0a) & 0x80, 0);
  clock.advance(499_800_000);
  assert.equal(read(0x0a) & 0x80, 0x80);
  clock.advance(200_000);
  assert.equal(read(0x0a) & 0x80, 0);
});

test('a set clock goes on from what was set', () => {
  const { write, time, clock, read } = setUp();
  write(0x0b, 0x82);
  clock.advance(5e9);
  assert.equal(time(), '20 26 11 22 13 59 58'); // stands still
  for (const [register, value] of [
    [0, 0x30],
    [2, 0x45],
    [4, 0x07],
    [7, 0x28],
    [8, 0x02],
    [9, 0x99],
    [0x32, 0x19],
  ]) {
    write(register, value);
  }
  write(0x0b, 0x02);
  assert.equal(time(), '19 99 02 28 07 45 30');
  clock.advance(86400e9);
  assert.equal(time(), '19 99 03 01 07 45 30');
  assert.equal(read(6), 2); // a Monday
});

test('setting month before day does not spill the 31st over', () => {
  const { write, time } = setUp('2026-01-31T00:00:00Z');
  write(0x0b, 0x82);
  write(8, 0x02);
  write(7, 0x15);
  write(0x0b, 0x02);
  assert.equal(time(), '20 26 02 15 00 00 00');
});

test('the periodic interrupt', () => {
  const { write, read, clock, line } = setUp();
  write(0x0a, 0x26); // 1024 Hz
  write(0x0b, 0x42);
  let interrupts = 0;
  for (let i = 0; i < 10_000; i++) {
    clock.advance(100_000);
    if (!line.high) continue;
    assert.equal(read(0x0c) & 0xc0, 0xc0);
    assert.equal(line.high, false);
    interrupts++;
  }
  assert.ok(Math.abs(interrupts - 1024) <= 1, `${interrupts} in a second`);
});

test('the update-ended interrupt, and its flag without interrupt', () => {
  const { write, read, clock, line } = setUp();
  clock.advance(1e9);
  assert.equal(read(0x0c) & 0x10, 0x10);
  assert.equal(read(0x0c), 0);
  write(0x0b, 0x12);
  clock.advance(499e6);
  assert.equal(line.high, false);
  clock.advance(2e6);
  assert.equal(line.high, true);
  assert.equal(read(0x0c) & 0xb0, 0x90); // the periodic flag comes and goes by itself
});

test('the alarm, exact and with wildcards', () => {
  const { write, read, clock, line } = setUp();
  write(1, 0x05);
  write(3, 0x00);
  write(5, 0x14);
  write(0x0b, 0x22);
  clock.advance(6e9);
  assert.equal(line.edges, 0);
  clock.advance(1e9);
  assert.equal(line.edges, 1);
  assert.equal(read(0x0c) & 0xa0, 0xa0);
  write(3, 0xff);
  write(5, 0xff);
  clock.advance(60e9);
  assert.equal(line.edges, 2);
});

test('a reset takes the interrupts, not the time or the memory', () => {
  const { write, read, rtc, clock, time, line } = setUp();
  write(0x50, 0x77);
  write(0x0b, 0x72);
  clock.advance(2e9);
  assert.equal(line.high, true);
  rtc.reset();
  assert.equal(read(0x50), 0x77);
  assert.equal(read(0x0b), 0x02);
  assert.equal(time(), '20 26 11 22 14 00 00');
  assert.equal(clock.armed, 0);
});

test('tells the RAM size as a BIOS would', () => {
  const { read } = setUp();
  assert.equal(read(0x15) | (read(0x16) << 8), 640);
  assert.equal(read(0x30) | (read(0x31) << 8), 0xffff);
  assert.equal((read(0x34) | (read(0x35) << 8)) * 65536 + 16 * 2 ** 20, 512 * 2 ** 20);
});

test('any byte may be written anywhere', () => {
  const { rtc, clock } = setUp();
  for (let i = 0; i < 20_000; i++) {
    rtc.writeByte(0, (i * 7) & 0xff);
    rtc.writeByte(1, (i * 131 + (i >> 8)) & 0xff);
    const value = rtc.readByte(1);
    assert.ok(value >= 0 && value <= 255, `register ${(i * 7) & 0x7f}: ${value}`);
    clock.advance(10_000);
  }
});
