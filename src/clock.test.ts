import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostTime } from './clock.ts';

/** A host's clock and a count of instructions, both moved by hand. */
function make() {
  const host = { now: 1000, instructions: 0 };
  const time = new HostTime({ now: () => host.now, wall: () => 0n }, () => host.instructions);
  const pass = (nanoseconds: number, instructions: number) => {
    host.now += nanoseconds;
    host.instructions += instructions;
  };
  return { time, pass };
}

test('guest time follows the host', () => {
  const { time, pass } = make();
  time.slice();
  pass(2_000_000, 100_000);
  assert.equal(time.now(), 2_000_000);
  pass(900, 10);
  assert.equal(time.now(), 2_000_900);
});

test('a slice is at most 3 ms of guest time, and what it took beyond is told when the guest has been idle', () => {
  const { time, pass } = make();
  time.slice();
  pass(50_000_000, 100_000);
  assert.equal(time.now(), 3_000_000);
  time.slice();
  pass(1_000_000, 100_000);
  assert.equal(time.now(), 4_000_000);
  pass(5_000_000, 1);
  assert.equal(time.idled(), 47_000_000);
  assert.equal(time.now(), 9_000_000);
});

test('readings that follow each other closely are 1.5 microseconds apart at most', () => {
  const { time, pass } = make();
  time.slice();
  pass(10_000, 1000);
  assert.equal(time.now(), 10_000);
  pass(120_000, 6);
  assert.equal(time.now(), 11_500);
  pass(500, 6);
  assert.equal(time.now(), 12_000);
  pass(120_000, 64);
  assert.equal(time.now(), 132_000);
});

test('a guest that has been idle reads the time at once', () => {
  const { time, pass } = make();
  time.slice();
  pass(10_000, 1000);
  assert.equal(time.now(), 10_000);
  pass(4_000_000, 1);
  time.idled();
  assert.equal(time.now(), 4_010_000);
});
