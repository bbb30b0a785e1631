import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cases } from '../conformance/cases.ts';
import { FakeProcessor, fakeContext } from '../conformance/fake-processor.ts';
import { UNSAVED } from './binary.ts';
import { BinaryGuest } from './binary-guest.ts';

function setUp() {
  const cpu = new FakeProcessor();
  const context = fakeContext(cpu);
  const rung: [token: number, time: number][] = [];
  const hooks: { onAlarm?: (token: number) => void } = {};
  const guest = new BinaryGuest('toy.wasm', context, () => new WebAssembly.Memory({ initial: 1 }), {
    alarm(token) {
      rung.push([token, cpu.clock.now()]);
      hooks.onAlarm?.(token);
    },
    read: () => 0,
    write: () => {},
  });
  return { cpu, context, guest, rung, hooks };
}

test('alarms ring at their times, those of one time in the order in which they were set', () => {
  const { cpu, guest, rung } = setUp();
  guest.setAlarm(300, 1);
  guest.setAlarm(100, 2);
  guest.setAlarm(300, 3);
  const cancelled = guest.setAlarm(50, 4);
  guest.cancelAlarm(cancelled);
  guest.cancelAlarm(cancelled);
  cpu.clock.advance(299);
  assert.deepEqual(rung, [[2, 100]]);
  cpu.clock.advance(1000);
  assert.deepEqual(rung.slice(1), [
    [1, 300],
    [3, 300],
  ]);
  assert.equal(cpu.clock.armed, 0);
});

test('an alarm may set and cancel others', () => {
  const { cpu, guest, rung, hooks } = setUp();
  const ids = [guest.setAlarm(10, 0), guest.setAlarm(10, 1), guest.setAlarm(10, 2)];
  hooks.onAlarm = token => {
    if (token !== 0) return;
    guest.cancelAlarm(ids[1]);
    guest.setAlarm(5, 3);
  };
  cpu.clock.advance(10);
  assert.deepEqual(rung.map(([token]) => token).sort(), [0, 2, 3]);
});

test('an alarm that always sets another for now does not hold the machine up', () => {
  const { cpu, guest, rung, hooks } = setUp();
  hooks.onAlarm = () => void guest.setAlarm(0, 7);
  guest.setAlarm(0, 7);
  cpu.clock.run();
  assert.equal(rung.length, 1);
  cpu.clock.run();
  assert.equal(rung.length, 2);
});

test('alarms and typed bytes are data: another machine goes on with them', () => {
  const one = setUp();
  one.guest.setAlarm(100, 8);
  one.context.type(Uint8Array.of(1));
  assert.equal(one.guest.takeTyped(new Uint8Array(4)), 0, 'nothing is kept before it is asked for');
  one.context.type(Uint8Array.of(2, 3));
  const two = setUp();
  two.cpu.restore(one.cpu, one.cpu.states.save());
  const into = new Uint8Array(4);
  assert.equal(two.guest.takeTyped(into), 2);
  assert.deepEqual([...into], [2, 3, 0, 0]);
  two.cpu.clock.advance(100);
  assert.deepEqual(two.rung, [[8, 100]]);
});

test('what a binary is excused from is a case of the conformance suite', () => {
  for (const name of Object.keys(UNSAVED)) assert.ok(cases.some(entry => entry.name === name));
});
