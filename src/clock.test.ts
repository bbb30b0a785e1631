import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MachineClock } from './clock.ts';
import { StateStore } from './state/state.ts';

/** A clock that stands at `time.now`, with timers that write down when they fire. */
function makeClock(names: string[]) {
  const states = new StateStore();
  const time = { now: 0 };
  const clock = new MachineClock(() => time.now, 5n, states);
  const fired: string[] = [];
  const timers = Object.fromEntries(
    names.map(name => [name, clock.timer(name, () => fired.push(`${name} ${time.now}`))]),
  );
  const runAt = (now: number) => {
    time.now = now;
    clock.run();
    return fired.splice(0);
  };
  return { states, time, clock, timers, runAt };
}

test('timers fire in the order of their deadlines, simultaneous ones in the order in which they were set', () => {
  const { clock, timers, runAt } = makeClock(['a', 'b', 'c']);
  assert.equal(clock.next, Number.POSITIVE_INFINITY);
  timers.c.at(20);
  timers.b.at(10);
  timers.a.at(20);
  assert.equal(clock.next, 10);
  assert.deepEqual(runAt(9), []);
  assert.deepEqual(runAt(25), ['b 25', 'c 25', 'a 25']);
  timers.a.at(30);
  timers.b.at(30);
  timers.a.at(30);
  assert.deepEqual(runAt(30), ['b 30', 'a 30'], 'what is set again comes last');
  assert.deepEqual(runAt(1000), [], 'a timer fires once');
});

test('a timer knows its deadline, and is off once it fires or is switched off', () => {
  const { clock, timers, runAt } = makeClock(['a']);
  let dueWhenFired: number | undefined = 1;
  const b = clock.timer('b', () => (dueWhenFired = b.due));
  assert.equal(timers.a.due, undefined);
  timers.a.at(7);
  b.at(8);
  assert.equal(timers.a.due, 7);
  timers.a.off();
  timers.a.off();
  assert.equal(timers.a.due, undefined);
  assert.equal(clock.armed, 1);
  assert.deepEqual(runAt(8), []);
  assert.equal(dueWhenFired, undefined);
});

test('what a timer sets for now waits for the next run', () => {
  const { clock, time } = makeClock([]);
  let fired = 0;
  const again = clock.timer('again', () => {
    fired++;
    again.at(time.now);
  });
  again.at(0);
  clock.run();
  assert.equal(fired, 1);
  clock.run();
  assert.equal(fired, 2);
});

test('the clock is told of a timer that has become the earliest', () => {
  const { clock, timers } = makeClock(['a', 'b']);
  let earlier = 0;
  clock.onEarlier = () => earlier++;
  timers.a.at(10);
  timers.b.at(10);
  assert.equal(earlier, 1);
  timers.b.at(9);
  assert.equal(earlier, 2);
});

test('deadlines are restored into another machine, in their order', () => {
  const one = makeClock(['a', 'b', 'c']);
  one.timers.a.at(20);
  one.timers.b.at(10);
  one.timers.c.at(20);
  one.timers.a.at(20);
  const two = makeClock(['a', 'b', 'c']);
  two.timers.b.at(1);
  two.states.restore(one.states.save());
  two.clock.restored();
  assert.equal(two.timers.b.due, 10);
  assert.deepEqual(two.runAt(20), one.runAt(20));
  assert.deepEqual(two.states.save(), one.states.save());
});

test('a name is taken once, and a deadline without a timer is refused', () => {
  const { clock, states, timers } = makeClock(['a']);
  assert.throws(() => clock.timer('a', () => {}), /timer a: the name is taken/);
  timers.a.at(3);
  const other = makeClock(['b']);
  other.states.restore(states.save());
  assert.throws(() => other.clock.restored(), /timer a: set in what was restored/);
  for (const at of [Number.POSITIVE_INFINITY, '3', undefined]) {
    const third = makeClock(['a']);
    const tree = states.save();
    Object(tree.clock!.value).deadlines.get('a').at = at;
    third.states.restore(tree);
    assert.throws(() => third.clock.restored(), /timer a: set for/);
  }
});

test('a timer that is always due ends the run; one that fires often while time goes on does not', () => {
  const time = { now: 0 };
  const clock = new MachineClock(() => time.now, 0n);
  const busy = clock.timer('busy', () => busy.at(time.now));
  busy.at(0);
  for (; time.now < 200_000; time.now++) clock.run();
  assert.throws(
    () => {
      for (let turn = 0; turn < 200_000; turn++) clock.run();
    },
    { message: 'timer busy: is always due, and time stands still at 200000 ns' },
  );
});
