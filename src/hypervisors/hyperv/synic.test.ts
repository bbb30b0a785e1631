/** Messages, their slots and interrupts, and the timers that send them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { EVENT_PAGE, fakeGuest, MESSAGE_PAGE, MSR, SINT, VECTOR } from './fake-guest.ts';

const ENABLE = 1n;
const PERIODIC = 2n;
const AUTO_ENABLE = 8n;
const DIRECT = 1n << 12n;
const direct = (vector: number) => DIRECT | (BigInt(vector) << 4n);
const toSint = (sint: number) => BigInt(sint) << 16n;
const TIMER_EXPIRED = 0x80000010;

describe('the interrupt controller', () => {
  test('registers after the start, and pages that are empty when they appear', () => {
    const { memory, read, write } = fakeGuest();
    assert.equal(read(MSR.SVERSION), 1n);
    assert.equal(read(MSR.SCONTROL), 0n);
    assert.equal(read(MSR.EOM), 0n);
    for (let sint = 0; sint < 16; sint++) assert.equal(read(MSR.SINT0 + sint), 0x10000n, 'masked');
    memory.fill(MESSAGE_PAGE, 8192, 0xff);
    assert.ok(write(MSR.SIMP, MESSAGE_PAGE | 1));
    assert.ok(write(MSR.SIEFP, EVENT_PAGE | 1));
    assert.ok(memory.copyOut(MESSAGE_PAGE, 8192).every(byte => byte === 0));
    memory.write8(MESSAGE_PAGE, 1);
    assert.ok(write(MSR.SIMP, MESSAGE_PAGE | 1), 'the same again');
    assert.equal(memory.read8(MESSAGE_PAGE), 1);
    assert.ok(!write(MSR.SIMP, memory.size | 1));
    assert.equal(read(MSR.SIMP), BigInt(MESSAGE_PAGE | 1));
    assert.ok(!write(MSR.SINT0, 15), 'vectors below 16 are exceptions');
    assert.ok(write(MSR.SINT0, 0x1000f), 'which a masked one may name');
  });

  test('a second message waits for the slot, and comes when the guest says that it is empty', () => {
    const { cpu, memory, enableHypercalls, enableSynic, post, message, receive } = fakeGuest();
    assert.ok(enableHypercalls() && enableSynic());
    assert.equal(post([11, 0, 0, 5]), 0);
    assert.equal(post([16, 0]), 0);
    assert.equal(message()!.type, 1);
    assert.ok(message()!.more);
    assert.ok(cpu.interrupts!.requested.delete(VECTOR));
    assert.deepEqual(receive(), [12, 0, 5]);
    assert.ok(cpu.interrupts!.requested.has(VECTOR), 'an interrupt for the second');
    assert.ok(!message()!.more);
    assert.deepEqual(receive(), [17, 0]);
    assert.equal(receive(), undefined);
    assert.equal(memory.read32(MESSAGE_PAGE + 256 * SINT), 0);
  });

  test('messages wait until the guest has switched everything on', () => {
    const { enableHypercalls, write, post, message } = fakeGuest();
    enableHypercalls();
    assert.equal(post([11, 0, 0, 5]), 0);
    assert.ok(write(MSR.SCONTROL, 1));
    assert.ok(write(MSR.SIMP, MESSAGE_PAGE | 1));
    assert.equal(message()!.type, 1);
  });

  test('a masked or polled source gets messages and no interrupts', () => {
    for (const extra of [1 << 16, 1 << 18]) {
      const { cpu, enableHypercalls, enableSynic, write, post, message } = fakeGuest();
      assert.ok(enableHypercalls() && enableSynic() && write(MSR.SINT0 + SINT, VECTOR | extra));
      assert.equal(post([11, 0, 0, 5]), 0);
      assert.ok(message());
      assert.equal(cpu.interrupts!.requested.size, 0);
    }
  });

  test('who does not read is told to wait, and costs no more than the queue', () => {
    const { enableHypercalls, enableSynic, post, receive } = fakeGuest();
    assert.ok(enableHypercalls() && enableSynic());
    const statuses = Array.from({ length: 1000 }, () => post([11, 0, 0, 5]));
    const taken = statuses.filter(status => status === 0).length;
    assert.ok(taken > 10 && taken < 100, `${taken}`);
    assert.ok(
      statuses.slice(taken).every(status => status === 0x13),
      'HV_STATUS_INSUFFICIENT_BUFFERS',
    );
    for (let index = 0; index < taken; index++) assert.deepEqual(receive(), [12, 0, 5]);
    assert.equal(receive(), undefined);
    assert.equal(post([11, 0, 0, 5]), 0);
  });

  test('an interrupt of a source with automatic end needs none', () => {
    const { cpu, table, op, write } = fakeGuest();
    const interrupts = cpu.interrupts!;
    assert.ok(write(MSR.SINT0 + SINT, VECTOR | (1 << 17)));
    interrupts.request(VECTOR);
    op(table.irq.delivered)(cpu, interrupts.acknowledge());
    assert.deepEqual(interrupts.inService, []);
    interrupts.request(0x40);
    op(table.irq.delivered)(cpu, interrupts.acknowledge());
    assert.deepEqual(interrupts.inService, [0x40], 'others do');
  });
});

describe('synthetic timers', () => {
  const setUp = () => {
    const guest = fakeGuest();
    guest.enableSynic();
    const interrupts = guest.cpu.interrupts!;
    /** Vectors requested since the last look. */
    const fired = () => {
      const vectors = [...interrupts.requested];
      interrupts.requested.clear();
      return vectors;
    };
    return { ...guest, fired };
  };

  test('one shot at a reference time, as Linux uses it', () => {
    const { cpu, read, write, fired } = setUp();
    cpu.clock.advance(1_000_000);
    assert.ok(write(MSR.STIMER0_CONFIG, direct(0xed) | ENABLE | AUTO_ENABLE));
    cpu.clock.advance(1_000_000);
    assert.deepEqual(fired(), [], 'no count yet');
    assert.ok(write(MSR.STIMER0_COUNT, 20_050), '2.005 ms');
    cpu.clock.advance(4_999);
    assert.deepEqual(fired(), []);
    cpu.clock.advance(1);
    assert.deepEqual(fired(), [0xed]);
    assert.equal(read(MSR.STIMER0_CONFIG) & ENABLE, 0n, 'it has fired');
    cpu.clock.advance(1e9);
    assert.deepEqual(fired(), []);
    assert.ok(write(MSR.STIMER0_COUNT, 5), 'in the past: at once');
    assert.equal(read(MSR.STIMER0_CONFIG) & ENABLE, ENABLE);
    cpu.clock.advance(0);
    assert.deepEqual(fired(), [0xed]);
    assert.ok(write(MSR.STIMER0_COUNT, 100_000_000));
    assert.ok(write(MSR.STIMER0_COUNT, 0), 'stopped');
    cpu.clock.advance(1e10);
    assert.deepEqual(fired(), []);
  });

  test('periodic, on time, and not faster than the guest can live with', () => {
    const { cpu, write, fired } = setUp();
    const third = MSR.STIMER0_CONFIG + 4;
    assert.ok(write(third, direct(0x50) | PERIODIC));
    assert.ok(write(third + 1, 10_000));
    cpu.clock.advance(10e6);
    assert.deepEqual(fired(), [], 'not enabled');
    assert.ok(write(third, direct(0x50) | PERIODIC | ENABLE));
    for (let tick = 0; tick < 3; tick++) {
      cpu.clock.advance(999_999);
      assert.deepEqual(fired(), []);
      cpu.clock.advance(1);
      assert.deepEqual(fired(), [0x50]);
    }
    let alarms = 0;
    const { request } = cpu.interrupts!;
    cpu.interrupts!.request = vector => {
      alarms++;
      request.call(cpu.interrupts, vector);
    };
    assert.ok(write(third + 1, 1), '100 ns');
    cpu.clock.advance(10e6);
    assert.ok(alarms > 100 && alarms <= 200, `${alarms}`);
  });

  test('a message tells when it was due and when it came', () => {
    const { cpu, write, fired, message, receive } = setUp();
    assert.ok(write(MSR.STIMER0_CONFIG + 2, toSint(SINT) | AUTO_ENABLE));
    assert.ok(write(MSR.STIMER0_COUNT + 2, 10));
    cpu.clock.advance(1000);
    assert.deepEqual(fired(), [VECTOR]);
    assert.equal(message()!.type, TIMER_EXPIRED);
    assert.deepEqual(receive(), [1, 0, 10, 0, 10, 0]);
  });

  test('expiries before the first was read are one message, delivered when the slot is free', () => {
    const { cpu, write, enableHypercalls, post, receive, message } = setUp();
    enableHypercalls();
    assert.equal(post([11, 0, 0, 5]), 0);
    assert.ok(write(MSR.STIMER0_CONFIG, toSint(SINT) | PERIODIC | ENABLE));
    assert.ok(write(MSR.STIMER0_COUNT, 1000));
    cpu.clock.advance(1_000_000);
    assert.deepEqual(receive(), [12, 0, 5]);
    assert.equal(message()!.type, TIMER_EXPIRED);
    assert.deepEqual(receive(), [0, 0, 1000, 0, 10_000, 0]);
    assert.equal(receive(), undefined);
    cpu.clock.advance(100_000);
    assert.deepEqual(receive(), [0, 0, 11_000, 0, 11_000, 0]);
  });

  test('a timer that leads nowhere is not enabled', () => {
    const { read, write } = setUp();
    assert.ok(write(MSR.STIMER0_CONFIG, ENABLE));
    assert.equal(read(MSR.STIMER0_CONFIG), 0n);
  });

  test('counts beyond the end of time, and vectors that are exceptions', () => {
    const { cpu, write, fired } = setUp();
    assert.ok(write(MSR.STIMER0_CONFIG, direct(3) | AUTO_ENABLE));
    assert.ok(write(MSR.STIMER0_COUNT, 1));
    cpu.clock.advance(1e6);
    assert.deepEqual(fired(), []);
    assert.ok(write(MSR.STIMER0_CONFIG, direct(0x40) | AUTO_ENABLE | PERIODIC));
    assert.ok(write(MSR.STIMER0_COUNT, 2n ** 64n - 1n));
    cpu.clock.advance(1e15);
    assert.deepEqual(fired(), []);
  });
});
