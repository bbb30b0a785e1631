/** The controller as Linux's drivers/nvme talks to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryDisk } from '../memory-disk.ts';
import { testSlot } from '../test-slot.ts';
import { Nvme } from './nvme.ts';

const PAGE = 4096;
const RAM = 1 << 21;
const [ASQ, ACQ, SQ, CQ, LIST, DATA] = [0x10000, 0x11000, 0x12000, 0x13000, 0x14000, 0x100000];
const [CC, CSTS, DOORBELLS] = [0x14, 0x1c, 0x1000];
const ENTRIES = 8;

interface Words {
  nsid?: number;
  prp?: readonly [number, number?];
  [word: number]: number;
}

function setUp({ readOnly = false, enabled = true } = {}) {
  const machine = testSlot(RAM);
  const { memory, read, write } = machine;
  const disk = memoryDisk('d', 1 << 20, readOnly);
  const device = new Nvme(machine.slot, disk, 3, machine.place);
  /** Of each queue: next to write, next to read. */
  const positions = [
    { tail: 0, head: 0 },
    { tail: 0, head: 0 },
  ];
  let id = 0;
  const ask = (queue: number, opcode: number, words: Words = {}) => {
    const at = (queue ? SQ : ASQ) + 64 * (positions[queue].tail++ % ENTRIES);
    memory.fill(at, 64);
    memory.write32(at, opcode | (++id << 16));
    memory.write32(at + 4, words.nsid ?? 0);
    memory.write64(at + 24, BigInt(words.prp?.[0] ?? 0));
    memory.write64(at + 32, BigInt(words.prp?.[1] ?? 0));
    for (let word = 10; word < 16; word++) memory.write32(at + 4 * word, words[word] ?? 0);
  };
  const ring = (queue: number) => write(DOORBELLS + 8 * queue, positions[queue].tail % ENTRIES);
  const answer = (queue: number) => {
    const { head } = positions[queue];
    const at = (queue ? CQ : ACQ) + 16 * (head % ENTRIES);
    const last = memory.read32(at + 12);
    if (((last >>> 16) & 1) !== (Math.floor(head / ENTRIES) % 2 ? 0 : 1)) return undefined;
    write(DOORBELLS + 8 * queue + 4, ++positions[queue].head % ENTRIES);
    return { id: last & 0xffff, status: last >>> 17, result: memory.read32(at), sq: memory.read32(at + 8) };
  };
  const execute = (queue: number, opcode: number, words?: Words) => {
    ask(queue, opcode, words);
    ring(queue);
    const found = answer(queue);
    assert.equal(found?.id, id);
    assert.equal(found.sq >>> 16, queue);
    return found;
  };
  const enable = () => {
    Object.assign(positions[0], { tail: 0, head: 0 });
    memory.fill(ASQ, 0x4000);
    write(0x24, ((ENTRIES - 1) << 16) | (ENTRIES - 1));
    for (const [offset, value] of [
      [0x28, ASQ],
      [0x2c, 0],
      [0x30, ACQ],
      [0x34, 0],
    ])
      write(offset, value);
    write(CC, 0x00460001);
    return read(CSTS);
  };
  const makeQueues = (vector = 0) => {
    Object.assign(positions[1], { tail: 0, head: 0 });
    const size = 1 | ((ENTRIES - 1) << 16);
    assert.equal(execute(0, 0x05, { prp: [CQ], 10: size, 11: 3 | (vector << 16) }).status, 0);
    assert.equal(execute(0, 0x01, { prp: [SQ], 10: size, 11: 1 | (1 << 16) }).status, 0);
  };
  if (enabled) {
    enable();
    makeQueues();
  }
  return { ...machine, disk, device, ask, ring, answer, execute, enable, makeQueues };
}

test('a controller is enabled, and says what it is', () => {
  const { device, read, write, enable, execute, memory } = setUp({ enabled: false });
  assert.equal(device.function.readConfig(8, 4) >>> 8, 0x010802);
  assert.deepEqual([read(0) & 0xffff, read(4), read(8)], [1023, 0x20, 0x00010300]);
  assert.equal(read(0, 8), read(0) + read(4) * 2 ** 32);
  write(CC, 0x00460001);
  assert.equal(read(CSTS), 2, 'without queues that make sense: fatal');
  write(CC, 0x00460000);
  assert.equal(read(CSTS), 0);
  assert.equal(enable(), 1);
  assert.equal(execute(0, 0x06, { prp: [DATA], 10: 1 }).status, 0);
  const text = (at: number, length: number) => new TextDecoder().decode(memory.copyOut(DATA + at, length)).trim();
  assert.deepEqual([text(4, 20), text(24, 40)], ['disk-3', 'Polyvisor NVMe disk']);
  assert.equal(memory.read32(DATA + 516), 1);
  assert.equal(execute(0, 0x06, { prp: [DATA], 10: 2 }).status, 0);
  assert.deepEqual([memory.read32(DATA), memory.read32(DATA + 4)], [1, 0]);
  assert.equal(execute(0, 0x06, { prp: [DATA], 10: 0, nsid: 1 }).status, 0);
  assert.deepEqual([memory.read32(DATA), memory.read32(DATA + 128)], [2048, 9 << 16]);
  assert.equal(execute(0, 0x06, { prp: [DATA], 10: 3, nsid: 1 }).status, 0);
  assert.equal(memory.read16(DATA), 0x0801);
  assert.equal(execute(0, 0x02, { prp: [DATA], 10: 2 | (127 << 16) }).status, 0);
  for (const [opcode, words, status] of [
    [0x06, { prp: [DATA], 10: 0, nsid: 2 }, 0x0b],
    [0x06, { prp: [DATA], 10: 9 }, 0x02],
    [0x06, { prp: [RAM], 10: 1 }, 0x04],
    [0x06, { prp: [DATA + 8, DATA + 9], 10: 1 }, 0x04],
    [0x7f, {}, 0x01],
    [0x0a, { 10: 0x99 }, 0x02],
  ] as const)
    assert.equal(execute(0, opcode, words).status, status, `opcode ${opcode}`);
  assert.equal(execute(0, 0x09, { 10: 7, 11: 0x7fff7fff }).result, 15 | (15 << 16));
  write(CC, 0x00464001);
  assert.equal(read(CSTS), 9, 'shut down');
});

test('queues are made and deleted by the rules', () => {
  const { execute, makeQueues, answer, ask, ring } = setUp({ enabled: true });
  const size = (number: number, entries: number) => number | ((entries - 1) << 16);
  for (const [opcode, words, status] of [
    [0x05, { prp: [CQ], 10: size(1, 8), 11: 1 }, 0x101],
    [0x05, { prp: [CQ], 10: size(0, 8), 11: 1 }, 0x101],
    [0x05, { prp: [CQ], 10: size(17, 8), 11: 1 }, 0x101],
    [0x05, { prp: [CQ], 10: size(2, 1), 11: 1 }, 0x102],
    [0x05, { prp: [CQ], 10: size(2, 1025), 11: 1 }, 0x102],
    [0x05, { prp: [CQ], 10: size(2, 8), 11: 0 }, 0x002],
    [0x05, { prp: [CQ + 4], 10: size(2, 8), 11: 1 }, 0x002],
    [0x05, { prp: [RAM - PAGE], 10: size(2, 1024), 11: 1 }, 0x002],
    [0x05, { prp: [CQ], 10: size(2, 8), 11: 1 | (17 << 16) }, 0x108],
    [0x01, { prp: [SQ], 10: size(2, 8), 11: 1 }, 0x100],
    [0x01, { prp: [SQ], 10: size(2, 8), 11: 1 | (5 << 16) }, 0x100],
    [0x04, { 10: 1 }, 0x10c],
    [0x04, { 10: 9 }, 0x101],
    [0x00, { 10: 9 }, 0x101],
    [0x00, { 10: 0 }, 0x101],
    [0x00, { 10: 1 }, 0x000],
    [0x04, { 10: 1 }, 0x000],
  ] as const)
    assert.equal(execute(0, opcode, words).status, status, JSON.stringify([opcode, words]));
  makeQueues();
  assert.equal(execute(1, 0x00, { nsid: 1 }).status, 0);
  // Commands that wait for events are not answered, but one too many.
  for (let count = 0; count < 5; count++) ask(0, 0x0c);
  ring(0);
  assert.equal(answer(0)?.status, 0x105);
  assert.equal(answer(0), undefined);
  assert.equal(execute(0, 0x08, { 10: 1 }).result, 1);
});

test('blocks go where the driver says: one page, two, and lists of them', () => {
  const { execute, memory, disk } = setUp();
  for (const [index] of disk.bytes.entries()) disk.bytes[index] = index * 7 + (index >> 9);
  const io = (opcode: number, block: number, blocks: number, prp: [number, number?]) =>
    execute(1, opcode, { nsid: 1, prp, 10: block, 12: blocks - 1 }).status;
  assert.equal(io(2, 3, 1, [DATA + 512]), 0);
  assert.deepEqual(memory.copyOut(DATA + 512, 512), disk.bytes.slice(1536, 2048));
  assert.equal(io(2, 0, 8, [DATA + 512, DATA + 3 * PAGE]), 0);
  assert.deepEqual(memory.copyOut(DATA + 512, PAGE - 512), disk.bytes.slice(0, PAGE - 512));
  assert.deepEqual(memory.copyOut(DATA + 3 * PAGE, 512), disk.bytes.slice(PAGE - 512, PAGE));
  // A list that begins near the end of its page, and goes on in another.
  const pages = [9, 4, 7, 30, 12];
  memory.write64(LIST + PAGE - 16, BigInt(DATA + pages[1] * PAGE));
  memory.write64(LIST + PAGE - 8, BigInt(LIST + 4 * PAGE));
  for (const [index, page] of pages.slice(2).entries())
    memory.write64(LIST + 4 * PAGE + 8 * index, BigInt(DATA + page * PAGE));
  for (const page of pages) memory.fill(DATA + page * PAGE, PAGE, page);
  assert.equal(io(1, 100, 40, [DATA + pages[0] * PAGE, LIST + PAGE - 16]), 0);
  for (const [index, page] of pages.entries())
    assert.deepEqual([...new Set(disk.bytes.subarray(51200 + index * PAGE, 51200 + (index + 1) * PAGE))], [page]);
  for (const [block, blocks, prp, status] of [
    [2047, 2, [DATA], 0x80],
    [0xffffffff, 1, [DATA], 0x80],
    [0, 2000, [DATA], 0x02],
    [0, 1, [RAM], 0x04],
    [0, 1, [RAM - 256, RAM], 0x04],
    [0, 100, [DATA, LIST + 4], 0x04],
    [0, 100, [DATA, RAM], 0x04],
  ] as const)
    assert.equal(io(2, block, blocks, [...prp] as [number, number?]), status, JSON.stringify([block, blocks, prp]));
  assert.equal(execute(1, 2, { nsid: 2, prp: [DATA] }).status, 0x0b);
  assert.equal(execute(1, 0x55, { nsid: 1 }).status, 0x01);
});

test('flushes, forced writes, zeros and ranges that are not needed', () => {
  const { execute, memory, disk } = setUp();
  disk.bytes.fill(1);
  execute(1, 0, { nsid: 0xffffffff });
  execute(1, 1, { nsid: 1, prp: [DATA], 10: 5, 12: 1 << 30 });
  assert.equal(execute(1, 8, { nsid: 1, 10: 8, 12: 3 }).status, 0);
  memory.fill(LIST, PAGE);
  for (const [index, [block, blocks]] of [
    [16, 2],
    [32, 1],
  ].entries()) {
    memory.write32(LIST + 16 * index + 4, blocks);
    memory.write32(LIST + 16 * index + 8, block);
  }
  assert.equal(execute(1, 9, { nsid: 1, prp: [LIST], 10: 1, 11: 4 }).status, 0);
  memory.write32(LIST + 16 + 8, 2048);
  assert.equal(execute(1, 9, { nsid: 1, prp: [LIST], 10: 1, 11: 4 }).status, 0x80);
  execute(0, 0x09, { 10: 6, 11: 0 });
  execute(1, 1, { nsid: 1, prp: [DATA], 10: 5 });
  const cleared = ['discard 4096+2048', 'discard 8192+1024', 'discard 16384+512'];
  assert.deepEqual(disk.events, ['flush', 'flush', ...cleared, 'flush', 'flush']);
  const protectedDisk = setUp({ readOnly: true });
  for (const opcode of [1, 8, 9])
    assert.equal(protectedDisk.execute(1, opcode, { nsid: 1, prp: [DATA], 11: 4 * Number(opcode === 9) }).status, 0x20);
});

test('interrupts by the pin and by messages; a full queue of answers; doorbells that mean nothing', () => {
  const { ask, ring, answer, execute, line, write, messages, enableMessages, device, clock } = setUp();
  ask(1, 0, { nsid: 1 });
  ring(1);
  assert.ok(line.high);
  write(0x0c, 1);
  assert.ok(!line.high);
  write(0x10, 1);
  assert.ok(line.high);
  answer(1);
  assert.ok(!line.high);
  enableMessages(device, 0x4000, 17);
  execute(1, 0, { nsid: 1 });
  assert.deepEqual(messages, [100]);
  // Answers fill the queue: what does not fit waits until they have been read.
  for (let count = 0; count < 7; count++) ask(1, 0, { nsid: 1 });
  ring(1);
  ask(1, 0, { nsid: 1 });
  ring(1);
  for (let count = 0; count < 8; count++) assert.equal(answer(1)?.status, 0, `answer ${count}`);
  assert.equal(answer(1), undefined);
  for (const bell of [8, 12, 16, 0x1000, 0xfff]) write(DOORBELLS + bell, 1);
  write(DOORBELLS, 8);
  clock.advance(1);
  assert.equal(execute(0, 0x08).status, 0);
});

test('a state that is saved goes on, and a reset begins anew', () => {
  const { execute, states, device, write, read, enable, makeQueues, clock, disk, memory } = setUp();
  memory.fill(DATA, 512, 7);
  const saved = states.save();
  device.reset();
  assert.equal(read(CSTS), 0);
  states.restore(saved);
  clock.restored();
  assert.equal(execute(1, 1, { nsid: 1, prp: [DATA], 10: 1 }).status, 0);
  assert.equal(disk.bytes[512], 7);
  write(CC, 0);
  assert.deepEqual([read(CSTS), read(0x28)], [0, ASQ]);
  assert.equal(enable(), 1);
  makeQueues();
  assert.equal(execute(1, 0, { nsid: 1 }).status, 0);
});
