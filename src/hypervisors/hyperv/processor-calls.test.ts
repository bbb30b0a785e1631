/** Hypercalls by which processors reach each other, and guests that lie about what they hand over. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fakeGuest, MSR } from './fake-guest.ts';

const FLUSH_SPACE = 0x02;
const FLUSH_LIST = 0x03;
const SEND_IPI = 0x0b;
const FLUSH_SPACE_EX = 0x13;
const FLUSH_LIST_EX = 0x14;
const SEND_IPI_EX = 0x15;
const FAST = 1 << 16;
const INPUT = 0x8000;
const INVALID_INPUT = 3;
const INVALID_ALIGNMENT = 4;
const INVALID_PARAMETER = 5;

function setUp(count = 4) {
  const guest = fakeGuest({}, 1 << 20, count);
  assert.ok(guest.enableHypercalls());
  const { cpus, memory } = guest;
  /** Puts 64-bit words where the input stands. */
  const put = (...words: (bigint | number)[]) => {
    for (const [index, word] of words.entries()) memory.write64(INPUT + 8 * index, BigInt(word));
  };
  const requested = () => cpus.map(({ interrupts }) => [...interrupts!.requested]);
  const events = () => cpus.map(cpu => cpu.events.splice(0));
  return { ...guest, put, requested, events };
}
const banks = (count: number) => BigInt(count) << 17n;
const repetitions = (count: number, start = 0) => (BigInt(count) << 32n) | (BigInt(start) << 48n);

describe('interrupts', () => {
  test('to the processors of a mask; who is not there is left out', () => {
    const { call, requested, put } = setUp();
    assert.equal(call(SEND_IPI | FAST, 0xfd, 0b1010), 0);
    assert.deepEqual(requested(), [[], [0xfd], [], [0xfd]]);
    put(0x40, 0xf1);
    assert.equal(call(SEND_IPI, INPUT), 0);
    assert.deepEqual(requested(), [[0x40], [0xfd], [], [0xfd]]);
  });

  test('to a set with banks', () => {
    const { cpus, call, requested, put } = setUp(64);
    put(0xfd, 0, 0b101, 1n << 63n, 2n ** 64n - 1n);
    assert.equal(call(BigInt(SEND_IPI_EX) | banks(2), INPUT), 0);
    assert.deepEqual(
      requested().map(vectors => vectors.length),
      cpus.map(({ id }) => (id === 63 ? 1 : 0)),
    );
    put(0x40, 1, 0);
    assert.equal(call(SEND_IPI_EX, INPUT), 0, 'all');
    assert.ok(requested().every(vectors => vectors.includes(0x40)));
  });

  test('vectors and trust levels that there are not', () => {
    const { call, requested } = setUp();
    for (const vector of [0, 0xf, 0x100, 0xffffffff]) assert.equal(call(SEND_IPI | FAST, vector, 1), INVALID_PARAMETER);
    assert.equal(call(SEND_IPI | FAST, 0x1_0000_0040n, 1), INVALID_PARAMETER);
    assert.deepEqual(requested(), [[], [], [], []]);
  });
});

describe('flushes', () => {
  test('of whole processors', () => {
    const { call, events, put } = setUp();
    put(0x1000, 0, 0b110);
    assert.equal(call(FLUSH_SPACE, INPUT), 0);
    assert.deepEqual(events(), [[], ['flush global'], ['flush global'], []]);
    put(0, 1 | 2, 0);
    assert.equal(call(FLUSH_SPACE, INPUT), 0);
    assert.deepEqual(events(), Array(4).fill(['flush global']), 'the flag says all');
    put(0x1000, 0, 0, 1, 0b1001);
    assert.equal(call(BigInt(FLUSH_SPACE_EX) | banks(1), INPUT), 0);
    assert.deepEqual(events(), [['flush global'], [], [], ['flush global']]);
  });

  test('of a list: pages, and how many follow each', () => {
    const { call, events, put } = setUp();
    put(0x1000, 0, 0b10, 0xffff_8000_0000_1002n, 0x5000);
    const done = 2 * 2 ** 32;
    assert.equal(call(BigInt(FLUSH_LIST) | repetitions(2), INPUT), done, 'all elements are done');
    const first = ['ffff800000001000', 'ffff800000002000', 'ffff800000003000'];
    const of = (pages: string[]) => pages.map(page => `invalidate ${page}`);
    assert.deepEqual(events(), [[], of([...first, '5000']), [], []]);
    assert.equal(call(BigInt(FLUSH_LIST) | repetitions(2, 1), INPUT), done);
    assert.deepEqual(events(), [[], of(['5000']), [], []], 'goes on where it is told to');
    put(0x1000, 0, 0, 1, 0b100, 0x7000);
    assert.equal(call(BigInt(FLUSH_LIST_EX) | banks(1) | repetitions(1), INPUT), 2 ** 32);
    assert.deepEqual(events(), [[], [], of(['7000']), []]);
  });

  test('of a list that is too long to look for each page, or of another format', () => {
    const { call, events, put } = setUp();
    for (const [flags, range] of [
      [0, 0x1fff],
      [8, 0x1000],
    ]) {
      put(0x1000, flags, 1, range);
      assert.equal(call(BigInt(FLUSH_LIST) | repetitions(1), INPUT), 2 ** 32);
      assert.deepEqual(events(), [['flush global'], [], [], []]);
    }
  });
});

describe('lies about lengths', () => {
  test('lists and headers of variable size are there exactly where the call has them', () => {
    const { call, put, events, requested } = setUp();
    put(0x40, 1, 0, 0, 0);
    for (const value of [
      BigInt(SEND_IPI) | banks(1),
      BigInt(FLUSH_SPACE) | banks(1),
      BigInt(FLUSH_LIST) | banks(1) | repetitions(1),
      BigInt(SEND_IPI_EX) | repetitions(1),
      BigInt(FLUSH_SPACE_EX) | repetitions(1),
      BigInt(FLUSH_LIST),
      BigInt(FLUSH_LIST_EX),
    ])
      assert.equal(call(value, INPUT), INVALID_INPUT, value.toString(16));
    for (const start of [1, 2, 4095])
      assert.equal(call(BigInt(FLUSH_LIST) | repetitions(1, start), INPUT) & 0xffff, INVALID_INPUT);
    for (const code of [FLUSH_SPACE, FLUSH_SPACE_EX, SEND_IPI_EX])
      assert.equal(call(code | FAST, INPUT), INVALID_INPUT);
    assert.deepEqual([...events(), ...requested()], Array(8).fill([]));
  });

  test('there are as many banks as the mask says', () => {
    const { call, put, requested } = setUp();
    put(0x40, 0, 0b11, 0xf, 0xf);
    for (const count of [0, 1, 3, 64, 200])
      assert.equal(call(BigInt(SEND_IPI_EX) | banks(count), INPUT), INVALID_INPUT);
    put(0x40, 2, 0b1, 0xf);
    assert.equal(call(BigInt(SEND_IPI_EX) | banks(1), INPUT), INVALID_PARAMETER, 'no such format');
    assert.deepEqual(requested(), Array(4).fill([]));
  });

  test('the input lies in one page of RAM', () => {
    const { memory, call } = setUp();
    assert.equal(call(BigInt(FLUSH_LIST) | repetitions(509), INPUT), 509 * 2 ** 32);
    assert.equal(call(BigInt(FLUSH_LIST) | repetitions(510), INPUT), INVALID_ALIGNMENT);
    assert.equal(call(FLUSH_SPACE, INPUT + 4), INVALID_ALIGNMENT);
    assert.equal(call(FLUSH_SPACE, memory.size - 16), INVALID_PARAMETER);
    assert.equal(call(BigInt(FLUSH_LIST) | repetitions(4095), memory.size - 24), INVALID_PARAMETER);
    assert.equal(call(FLUSH_SPACE, 2n ** 64n - 8n), INVALID_PARAMETER);
    assert.equal(call(BigInt(SEND_IPI_EX) | banks(1023), INPUT), INVALID_ALIGNMENT);
  });
});

test('a guest that spins gives its turn away, and one that idles waits for any interrupt', () => {
  const { cpus, call, read, table, op } = setUp();
  assert.equal(call(8), 0);
  assert.equal(read(MSR.GUEST_IDLE), 0n);
  assert.deepEqual(cpus[0].events, ['yield', 'halt until pending']);
  const leaf = op(table.cpu.cpuid)(cpus[0], 0x40000004, 0, () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }))!;
  assert.equal(leaf.ebx, 0xfff);
  assert.deepEqual(
    cpus.map(cpu => table.cpu.msrs[MSR.VP_INDEX].read!(cpu)),
    [0n, 1n, 2n, 3n],
  );
});
