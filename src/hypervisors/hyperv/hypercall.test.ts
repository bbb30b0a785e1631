/** Hypercalls by 64- and 32-bit callers, the VMBus' conversation, and both with hostile guests. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { vmcall } from '../../conformance/calls.ts';
import { createRandom } from '../../conformance/random.ts';
import { fakeGuest, HYPERCALL_PAGE, MSR, SINT } from './fake-guest.ts';

const POST_MESSAGE = 0x5c;
const SIGNAL_EVENT = 0x5d;
const FAST = 1 << 16;

function setUp() {
  const guest = fakeGuest();
  assert.ok(guest.enableHypercalls() && guest.enableSynic());
  return guest;
}

describe('hypercalls', () => {
  test('are undefined instructions for programs, in real mode, and before the guest has said who it is', () => {
    for (const prepare of [
      ({ cpu }: ReturnType<typeof setUp>) => void (cpu.cpl = 3),
      ({ cpu }: ReturnType<typeof setUp>) => cpu.set('cr0', 0n),
      ({ write }: ReturnType<typeof setUp>) => write(MSR.GUEST_OS_ID, 0),
      ({ write }: ReturnType<typeof setUp>) => write(MSR.HYPERCALL, HYPERCALL_PAGE),
    ]) {
      const guest = setUp();
      prepare(guest);
      assert.equal(guest.call(8), 0xffff, 'RAX is untouched');
      assert.deepEqual(guest.cpu.raised, [{ vector: 6 }]);
      assert.equal(guest.cpu.get('rip'), 0x1000n);
    }
  });

  test('statuses', () => {
    const { memory, call, post } = setUp();
    assert.equal(call(8), 0, 'HvCallNotifyLongSpinWait');
    assert.equal(call(0x1234), 2, 'HV_STATUS_INVALID_HYPERCALL_CODE');
    for (const bit of [17n, 27n, 32n, 44n, 48n, 63n]) assert.equal(call(8n | (1n << bit)), 3, `bit ${bit}`);
    assert.equal(call(POST_MESSAGE | FAST), 3);
    assert.equal(call(POST_MESSAGE, 0x8004), 4, 'HV_STATUS_INVALID_ALIGNMENT');
    assert.equal(call(POST_MESSAGE, memory.size - 248), 5, 'HV_STATUS_INVALID_PARAMETER');
    assert.equal(call(POST_MESSAGE, 2n ** 64n - 8n), 5);
    assert.equal(post([3, 0], { size: 241 }), 5);
    assert.equal(post([3, 0], { connection: 7 }), 0x12, 'HV_STATUS_INVALID_CONNECTION_ID');
    assert.equal(call(SIGNAL_EVENT | FAST, 2), 0);
    assert.equal(call(SIGNAL_EVENT | FAST, 0x1000b), 0x12);
    memory.write64(0x8000, 2n);
    assert.equal(call(SIGNAL_EVENT, 0x8000), 0);
    assert.equal(call(SIGNAL_EVENT, 0x8001), 4);
    assert.equal(call(SIGNAL_EVENT, memory.size), 5);
  });

  test('a 32-bit caller has its values in pairs of registers', () => {
    const { cpu, memory, table, receive } = setUp();
    cpu.mode = 32;
    const call = (registers: Partial<Record<'rax' | 'rdx' | 'rbx' | 'rcx', bigint>>) => {
      for (const name of ['rax', 'rdx', 'rbx', 'rcx'] as const)
        cpu.set(name, (0xdeadn << 32n) | (registers[name] ?? 0n));
      vmcall({ table, cpu });
      assert.equal(cpu.get('rdx'), 0n, 'the result is in EDX:EAX');
      return Number(cpu.get('rax'));
    };
    for (const [index, word] of [1, 0, 1, 16, 11, 0, 0, 5].entries()) memory.write32(0x8000 + 4 * index, word);
    assert.equal(call({ rax: BigInt(POST_MESSAGE), rcx: 0x8000n }), 0);
    assert.deepEqual(receive(), [12, 0, 5]);
    assert.equal(call({ rax: BigInt(POST_MESSAGE), rbx: 1n, rcx: 0x8000n }), 5, 'EBX is the upper half');
    assert.equal(call({ rax: 8n, rdx: 1n }), 3, 'EDX is that of the input value');
    assert.equal(call({ rax: BigInt(SIGNAL_EVENT | FAST), rcx: 2n }), 0);
  });

  test('are known by the code, not by what else the registers hold', () => {
    const { cpu, table } = setUp();
    const { number } = table.cpu.convention!;
    cpu.set('rcx', 0x0001_0000_0001_005dn);
    cpu.set('rax', 0x5cn);
    assert.equal(number(cpu), 0x5d);
    cpu.mode = 32;
    assert.equal(number(cpu), 0x5c);
  });
});

describe('the VMBus', () => {
  const contact = (version: number, third = SINT, cpu = 0) => [14, 0, version, cpu, third, 0, 0, 0, 0, 0];

  test('a version is agreed on, devices are offered, and the guest may leave', () => {
    const { post, receive, message } = setUp();
    assert.equal(post(contact(0x50003)), 0);
    assert.equal(message()!.type, 1);
    assert.deepEqual(receive(), [15, 0, 1, 4]);
    assert.equal(post([3, 0]), 0);
    for (const relid of [1, 2, 3, 4, 5]) {
      const offer = receive()!;
      assert.deepEqual([offer[0], offer[46]], [1, relid], 'an integration service');
    }
    assert.deepEqual(receive(), [4, 0], 'all offers delivered');
    assert.equal(post([16, 0]), 0);
    assert.deepEqual(receive(), [17, 0]);
    assert.equal(post(contact(0x50003)), 0, 'and come again, as after a kexec');
    assert.deepEqual(receive(), [15, 0, 1, 4]);
  });

  test('every version there has been, over either connection; others are refused', () => {
    for (const version of [0xd, 0x10001, 0x20004, 0x30000, 0x40000, 0x40001, 0x50000, 0x50001, 0x50002, 0x50003]) {
      const { post, receive } = setUp();
      const old = version < 0x50000;
      assert.equal(post(contact(version, old ? 0x9000 : SINT), { connection: old ? 1 : 4 }), 0);
      assert.equal(receive()![2], 1, version.toString(16));
    }
    for (const version of [0, 0x50004, 0x60000, 0xffffffff]) {
      const { post, receive } = setUp();
      assert.equal(post(contact(version)), 0);
      assert.equal(receive()![2], 0, version.toString(16));
    }
  });

  test('answers go to the source that the guest has named', () => {
    const { write, post, receive } = setUp();
    assert.ok(write(MSR.SINT0 + 5, 0x55));
    assert.equal(post(contact(0x50000, 5)), 0);
    assert.deepEqual(receive(5), [15, 0, 1, 4]);
    assert.equal(post([11, 0, 0, 5]), 0);
    assert.deepEqual(receive(5), [12, 0, 5]);
    assert.equal(post(contact(0x50000, 16)), 0, 'there is no such source');
    assert.equal(receive()![2], 0);
    assert.equal(post(contact(0x50000, SINT, 1)), 0, 'nor such a processor');
    assert.equal(receive()![2], 0);
  });

  test('whoever asks about a channel is told that there is none', () => {
    const { post, receive } = setUp();
    assert.equal(post(contact(0x50003)), 0);
    assert.deepEqual(receive(), [15, 0, 1, 4]);
    assert.equal(post([5, 0, 11, 22, 33]), 0);
    assert.deepEqual(receive(), [6, 0, 11, 22, 1]);
    assert.equal(post([8, 0, 11, 0xe1e10]), 0);
    assert.deepEqual(receive(), [10, 0, 11, 0xe1e10, 1]);
    assert.equal(post([11, 0, 11, 0xe1e10]), 0);
    assert.deepEqual(receive(), [12, 0, 0xe1e10]);
    assert.equal(post([22, 0, 11, 0]), 0);
    assert.deepEqual(receive(), [24, 0, 11, 1]);
    for (const silent of [[7, 0, 11], [13, 0, 11], [99, 0], [], [3]]) {
      assert.equal(post(silent), 0);
      assert.equal(receive(), undefined, `${silent}`);
    }
    assert.equal(post([3, 0], { type: 7 }), 0, 'no message of the VMBus');
    assert.equal(receive(), undefined);
  });
});

test('hostile guests: a status, a fault or nothing, whatever the registers and the memory', () => {
  const { cpu, memory, table, op, enableHypercalls } = setUp();
  const random = createRandom(0x687976n);
  const size = BigInt(memory.size);
  const values = [0n, 1n, 2n, 4n, 8n, 0x6001n, 0x8000n, size - 256n, size - 8n, size | 1n, 0xffffffffn, 2n ** 63n];
  const pick = () => (random.below(3) === 0 ? random.next64() : random.of(values));
  // HV_X64_MSR_RESET and _CRASH_CTL end the run in an orderly way, which is theirs to do.
  const msrs = Object.entries(table.cpu.msrs).filter(
    ([index]) => ![MSR.RESET, MSR.CRASH_CTL].includes(+index as never),
  );
  for (let round = 0; round < 30_000; round++) {
    const choice = random.below(8);
    if (choice < 3) {
      const [, msr] = random.of(msrs);
      const before = msr.read?.(cpu);
      if (msr.write && !msr.write(cpu, pick()) && before !== undefined && !msr.name.includes('TIME'))
        assert.equal(msr.read!(cpu), before, msr.name);
    } else if (choice < 4) {
      cpu.clock.advance(random.of([0, 100, 1e5, 1e9]));
      cpu.interrupts!.requested.clear();
    } else if (choice < 5) {
      op(table.irq.catchUp)(cpu);
      const vector = 16 + random.below(240);
      if (cpu.interrupts!.requested.size === 0) cpu.interrupts!.request(vector);
      const taken = cpu.interrupts!.acknowledge();
      if (taken >= 0) op(table.irq.delivered)(cpu, taken);
    } else {
      if (choice === 5) enableHypercalls();
      cpu.mode = random.of([16, 32, 64]);
      const words = [
        random.of([1, 2, 4, 9]),
        0,
        random.of([1, 1, 7]),
        random.of([0, 8, 40, 240, 241]),
        random.below(26),
      ];
      for (const [index, word] of words.entries()) memory.write32(0x8000 + 4 * index, word);
      for (let at = 0x8018; at < 0x8040; at += 4) memory.write32(at, Number(pick() & 0xffffffffn));
      const code = BigInt(random.of([8, POST_MESSAGE, SIGNAL_EVENT, random.below(0x10000)]) | random.of([0, 0, FAST]));
      cpu.set('rcx', cpu.mode === 64 ? code : random.of([0x8000n, pick()]));
      cpu.set('rdx', cpu.mode === 64 ? random.of([0x8000n, pick()]) : 0n);
      cpu.set('rax', cpu.mode === 64 ? pick() : code);
      cpu.set('rbx', random.of([0n, pick()]));
      cpu.set('r8', pick());
      vmcall({ table, cpu });
    }
  }
  assert.deepEqual(cpu.kills, []);
  assert.deepEqual(cpu.requests, []);
});
