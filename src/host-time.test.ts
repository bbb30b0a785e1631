/** Guest time by a scripted host: stalls, a night's sleep, a coarse clock; and guests that count, poll and calibrate. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MachineClock } from './clock.ts';
import { HostTime } from './host-time.ts';
import { StateStore } from './state/state.ts';

const MS = 1e6;
const SECOND = 1e9;
/** As in machine/run.ts. */
const LONGEST_SLICE = 200_000;

interface Script {
  /** Nanoseconds of the host an instruction takes. */
  pace?: number;
  /** The host's clock moves in steps of so many nanoseconds. */
  grain?: number;
}

/** A machine that follows a scripted host, with the loop of machine/run.ts. */
class Scripted {
  readonly pace: number;
  readonly states = new StateStore();
  readonly time: HostTime;
  readonly clock: MachineClock;
  /** Of the host, in nanoseconds: time while it is awake, and how long it has slept. */
  host = 5 * SECOND;
  slept = 0;
  instructions = 0;
  stolen = 0;
  latest = 0;
  #exit = false;

  constructor({ pace = 10, grain = 1 }: Script = {}) {
    this.pace = pace;
    const deadlines = () => this.clock;
    this.time = new HostTime(
      {
        now: () => Math.floor(this.host / grain) * grain,
        wall: () => BigInt(Math.floor((this.host + this.slept) / MS)) * 1_000_000n,
      },
      () => this.instructions,
      {
        get next() {
          return deadlines().next;
        },
        reached: () => {
          this.#exit = true;
        },
      },
      this.states,
    );
    this.clock = new MachineClock(this.time.now, 0n, this.states);
  }

  get lag(): number {
    return this.host + this.slept - 5 * SECOND - this.latest;
  }
  /** The host takes the processor away. */
  stall(nanoseconds: number): void {
    this.host += nanoseconds;
  }
  execute(count: number): void {
    this.instructions += count;
    this.host += count * this.pace;
  }
  /** RDTSC: always later than the one before. */
  read(): number {
    this.execute(1);
    const now = this.time.now();
    assert.ok(now > this.latest, `${now} after ${this.latest}`);
    this.latest = now;
    return now;
  }
  /** A slice of the guest: `chunk` executes a little, and answers false to halt. */
  slice(chunk: () => boolean): boolean {
    this.clock.run();
    this.#exit = false;
    const until = this.instructions + Math.min(this.time.slice(), LONGEST_SLICE);
    this.stolen += this.time.takeStolen();
    while (this.instructions < until && !this.#exit) if (!chunk()) return false;
    return true;
  }
  /** The guest is halted until its next timer. */
  idle(): void {
    const left = this.clock.next - this.time.idle();
    if (left > 0 && left < Number.POSITIVE_INFINITY) this.host += left;
    this.latest = this.time.idle();
  }
  /** Runs a guest that is busy, and reads the time every 1000 instructions, for so long on the host. */
  busy(nanoseconds: number): void {
    const until = this.host + nanoseconds;
    const chunk = () => {
      this.execute(1000);
      this.read();
      return true;
    };
    while (this.host < until) this.slice(chunk);
  }
  /** A guest's timer interrupts, `period` apart: the answer checks that each came, and in time. */
  tick(period: number): () => void {
    const ticks = { count: 0, late: 0 };
    let due = this.clock.now() + period;
    const timer = this.clock.timer('tick', () => {
      ticks.count++;
      ticks.late = Math.max(ticks.late, this.clock.now() - due);
      due += period;
      timer.at(due);
    });
    timer.at(due);
    const check = () => {
      const expected = Math.floor(this.read() / period);
      this.clock.run();
      assert.equal(ticks.count, expected);
      assert.ok(ticks.late < 10_000, `a tick came ${ticks.late} ns late`);
    };
    return check;
  }
}

test('guest time is the host’s while nobody takes anything', () => {
  const machine = new Scripted();
  machine.busy(100 * MS);
  assert.ok(machine.lag <= 20_000, `${machine.lag}`);
  assert.equal(machine.stolen, 0);
});

test('a host that executes three instructions a nanosecond: guest time does not run ahead, so that idleness is no wait', () => {
  const machine = new Scripted({ pace: 0.3 });
  machine.busy(500 * MS);
  assert.ok(Math.abs(machine.lag) < 20_000, `${machine.lag}`);
});

for (const stall of [1, 20, 500, 5000, 60_000].map(milliseconds => milliseconds * MS))
  for (const hertz of [100, 250, 1000])
    test(`a stall of ${stall / MS} ms: nothing leaps, no tick of ${hertz} Hz is lost, and it is made up`, () => {
      const machine = new Scripted();
      const checkTicks = machine.tick(SECOND / hertz);
      machine.busy(50 * MS);
      const before = machine.latest;
      machine.stall(stall);
      machine.execute(10);
      assert.ok(machine.read() - before <= 110_000, 'a thousand instructions are 0.1 ms');
      // At ten nanoseconds an instruction, guest time is up to five times as fast.
      machine.busy(stall / 3.5 + 5 * MS);
      assert.ok(machine.lag < MS, `${machine.lag} ns behind`);
      checkTicks();
      assert.ok(Math.abs(machine.stolen - (stall > 2 * MS ? stall : 0)) <= 20 * MS, `${machine.stolen} stolen`);
    });

test('a host that always takes more than it gives: time goes on, and is right again when that ends', () => {
  const machine = new Scripted();
  const checkTicks = machine.tick(4 * MS);
  for (let i = 0; i < 300; i++) {
    machine.stall(57 * MS);
    machine.busy(3 * MS);
  }
  assert.ok(machine.latest > 3 * SECOND, 'a tenth of the speed at least');
  assert.ok(machine.stolen > 10 * SECOND, `${machine.stolen} stolen`);
  machine.busy(4 * SECOND);
  assert.ok(machine.lag < MS, `${machine.lag} ns behind`);
  checkTicks();
});

test('an idle guest makes up a minute at once, deadline by deadline', () => {
  const machine = new Scripted();
  const checkTicks = machine.tick(4 * MS);
  machine.stall(60 * SECOND);
  const started = machine.host;
  while (machine.lag > 0) {
    // A tick takes 5000 instructions; then the guest halts again.
    let executed = false;
    machine.slice(() => {
      if (!executed) machine.execute(5000);
      return !executed && (executed = true);
    });
    machine.idle();
  }
  assert.ok(machine.host - started < SECOND, `it took ${(machine.host - started) / MS} ms`);
  checkTicks();
});

test('an idle guest without a timer is on time when it is woken', () => {
  const machine = new Scripted();
  machine.stall(3 * SECOND);
  assert.equal(machine.time.idle(), 3 * SECOND);
});

test('a laptop that was shut for a night: its monotonic clock stood still, the guest’s does not stay behind', () => {
  const night = 8 * 3600 * SECOND;
  const machine = new Scripted();
  machine.busy(2 * SECOND);
  machine.slept = night;
  machine.busy(2 * SECOND);
  assert.ok(machine.latest > 7 * SECOND, 'a busy guest makes it up');
  machine.idle();
  assert.ok(machine.lag < MS, `${machine.lag} ns behind`);
  // Somebody who sets the host's clock back does not stop the guest's.
  machine.slept = 0;
  const before = machine.latest;
  machine.busy(2 * SECOND);
  assert.ok(Math.abs(machine.latest - before - 2 * SECOND) < 5 * MS, `${machine.latest - before}`);
});

test('a clock that moves in steps of a millisecond: readings between them are spread over it', () => {
  const machine = new Scripted({ grain: MS, pace: 12 });
  machine.busy(100 * MS);
  let [least, most] = [Number.POSITIVE_INFINITY, 0];
  let before = machine.read();
  const chunk = () => {
    machine.execute(1000);
    const now = machine.read();
    least = Math.min(least, now - before);
    most = Math.max(most, now - before);
    before = now;
    return true;
  };
  while (machine.host < 5.3 * SECOND) machine.slice(chunk);
  // Each thousand instructions takes 12 µs.
  assert.ok(least >= 1000 && most <= 100_000, `${least} to ${most}`);
  assert.ok(Math.abs(machine.lag) < 2 * MS);
});

/** Linux's quick_pit_calibrate (arch/x86/kernel/tsc.c), with what an 8254 says at guest time. @returns the TSC's kHz */
function quickPitCalibrate(read: () => number): number {
  /** Two reads of port 0x42, of which the second has the upper half. */
  const msb = () => {
    read();
    return (0xffff - Math.floor((read() * 1_193_182) / 1e9)) & 0xff00;
  };
  const expect = (value: number) => {
    let [tsc, before] = [0, 0];
    let count = 0;
    for (; count < 50_000; count++) {
      if (msb() >> 8 !== value) break;
      before = tsc;
      tsc = read();
    }
    return { seen: count > 5, delta: read() - before, tsc };
  };
  // Starts where the counter's upper half has just changed.
  const first = msb() >> 8;
  for (;;) if (msb() >> 8 !== first) break;
  const start = expect((first - 1) & 0xff);
  if (!start.seen) return 0;
  for (let i = 1; i <= 233; i++) {
    const { seen, delta, tsc } = expect((first - 1 - i) & 0xff);
    if (!seen) return 0;
    const passed = tsc - start.tsc;
    if (i === 1 && start.delta + delta >= (passed * 233) / 2048) return 0;
    if (start.delta + delta < passed / 2048) return passed / ((i * 256) / 1193.182);
  }
  return 0;
}

for (const reading of [400, 1200, 2500])
  test(`a guest that calibrates the TSC by the PIT succeeds, with readings that take ${reading} ns and stalls`, () => {
    const machine = new Scripted({ pace: 0 });
    let count = 0;
    machine.stall(30 * SECOND);
    const kilohertz = quickPitCalibrate(() => {
      machine.instructions += 5;
      machine.host += reading;
      // The host takes the processor away 500 times, for longer and longer.
      if (++count % 97 === 0) machine.stall(count * 1000);
      return machine.read();
    });
    assert.ok(Math.abs(kilohertz - 1e6) < 500, `${kilohertz} kHz`);
  });

test('a guest that does nothing but read the time follows the host, with readings that take 2.5 µs', () => {
  const machine = new Scripted({ pace: 0 });
  const poll = (seconds: number) => {
    const until = machine.host + seconds * SECOND;
    while (machine.host < until) {
      machine.instructions += 5;
      machine.host += 2500;
      machine.read();
    }
    return machine.lag / SECOND;
  };
  const lag = poll(20);
  assert.ok(lag < 0.2, `${lag} s behind`);
});

test('readings without an instruction between them do not run back, and idle time is not stolen', () => {
  const machine = new Scripted();
  machine.busy(MS);
  const before = machine.time.now();
  assert.ok(machine.time.now() >= before);
  machine.clock.timer('later', () => {}).at(SECOND);
  machine.idle();
  machine.stall(50 * MS);
  machine.idle();
  machine.slice(() => false);
  assert.equal(machine.stolen, 0);
});

test('guest time goes on from its latest reading on another host', () => {
  const machine = new Scripted();
  machine.busy(2 * MS);
  machine.stall(7 * MS);
  machine.busy(1000);
  const elsewhere = new Scripted();
  elsewhere.host = 777 * SECOND;
  elsewhere.instructions = 12;
  elsewhere.states.restore(machine.states.save());
  elsewhere.time.restored();
  elsewhere.clock.restored();
  elsewhere.host += 100;
  assert.equal(elsewhere.time.now(), machine.latest + 100);
  assert.deepEqual(elsewhere.time.takeStolen(), machine.time.takeStolen());
});

test('what an instruction takes is measured in slices of any length, idle time left out', () => {
  const machine = new Scripted({ pace: 3 });
  // As the turns of several processors are, each of which counts for a part only.
  const slices = (count: number, instructions: number) => {
    for (let i = 0; i < count; i++) {
      machine.time.slice();
      machine.instructions += instructions;
      machine.host += 3 * instructions;
    }
  };
  const timer = machine.clock.timer('due', () => {});
  /** How many instructions a slice has before a timer that is due in 30 µs. */
  const instructions = () => {
    timer.at(machine.time.now() + 30_000);
    const slice = machine.time.slice();
    timer.off();
    return slice;
  };
  slices(200, 300);
  assert.equal(Math.round(instructions() / 100), 100);
  machine.time.idle();
  machine.host += SECOND;
  machine.time.idle();
  slices(200, 300);
  assert.equal(Math.round(instructions() / 100), 100);
});
