/** The adapter as Linux's vmw_pvscsi.c talks to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryDisk } from '../memory-disk.ts';
import { testSlot } from '../test-slot.ts';
import { Pvscsi } from './pvscsi.ts';

const PAGE = 4096;
const RAM = 1 << 20;
const [STATE, REQUESTS, COMPLETIONS, LIST, DATA, SENSE] = [0x10000, 0x20000, 0x30000, 0x40000, 0x50000, 0x60000];
const [COMMAND, COMMAND_DATA, COMMAND_STATUS, INTR_STATUS, INTR_MASK, KICK] = [0, 4, 8, 0x100c, 0x2010, 0x4018];

interface Request {
  cdb: readonly number[];
  data?: readonly [address: number, length: number];
  flags?: number;
  target?: number;
  lun?: number;
}

function setUp(readOnly = false, size = 1 << 18) {
  const machine = testSlot(RAM);
  const { memory, read, write } = machine;
  const disk = memoryDisk('d', size, readOnly);
  const device = new Pvscsi(machine.slot, disk, 0, machine.place);
  const command = (number: number, ...data: number[]) => {
    write(COMMAND, number);
    for (const word of data) write(COMMAND_DATA, word);
    return read(COMMAND_STATUS);
  };
  /** Two pages each, which are no neighbours. */
  const rings = (requests = [REQUESTS, REQUESTS + 2 * PAGE], completions = [COMPLETIONS, COMPLETIONS + 2 * PAGE]) => {
    const data = new Array<number>(132).fill(0);
    const numbers = (pages: readonly number[]) => pages.flatMap(page => [page / PAGE, 0]);
    data.splice(0, 4, requests.length, completions.length, STATE / PAGE, 0);
    data.splice(4, 2 * requests.length, ...numbers(requests));
    data.splice(4 + 64, 2 * completions.length, ...numbers(completions));
    return command(3, ...data);
  };
  let produced = 0;
  let consumed = 0;
  const ask = ({ cdb, data = [0, 0], flags = 0, target = 0, lun = 0 }: Request) => {
    const index = produced % 64;
    const at = REQUESTS + 2 * PAGE * Math.floor(index / 32) + 128 * (index % 32);
    memory.fill(at, 128);
    memory.write64(at, BigInt(1000 + produced));
    memory.write64(at + 8, BigInt(data[0]));
    memory.write64(at + 16, BigInt(data[1]));
    memory.write64(at + 24, BigInt(SENSE));
    memory.write32(at + 32, 96);
    memory.write32(at + 36, flags);
    memory.copyIn(at + 40, Uint8Array.from(cdb));
    for (const [offset, value] of [
      [56, cdb.length],
      [58, lun],
      [65, 0x20],
      [67, target],
    ])
      memory.write8(at + offset, value);
    memory.write32(STATE, ++produced);
  };
  const answer = () => {
    assert.notEqual(memory.read32(STATE + 12), consumed, 'there is a completion');
    const index = consumed % 256;
    const at = COMPLETIONS + 2 * PAGE * Math.floor(index / 128) + 32 * (index % 128);
    memory.write32(STATE + 16, ++consumed);
    return {
      context: Number(memory.read64(at)),
      length: Number(memory.read64(at + 8)),
      sense: [...memory.bytes.subarray(SENSE, SENSE + memory.read32(at + 16))],
      host: memory.read16(at + 20),
      scsi: memory.read16(at + 22),
    };
  };
  const execute = (request: Request) => {
    ask(request);
    write(KICK, 0);
    return answer();
  };
  return { ...machine, disk, device, command, rings, ask, answer, execute };
}

const read10 = (block: number, blocks: number) => [0x28, 0, 0, 0, block >> 8, block & 255, 0, 0, blocks, 0];
const write10 = (block: number, blocks: number) => [0x2a, ...read10(block, blocks).slice(1)];

test('a driver finds what the adapter can do, and what it cannot', () => {
  const { device, command, rings, memory } = setUp();
  assert.equal(device.function.readConfig(0, 4), 0x07c015ad);
  assert.equal(device.function.readConfig(0x0a, 2), 0x0100);
  for (const number of [0, 2, 8, 10, 99]) assert.equal(command(number), 0xffffffff, `command ${number}`);
  assert.equal(command(1), 0);
  assert.equal(rings(), 0);
  assert.deepEqual([memory.read32(STATE + 8), memory.read32(STATE + 20)], [6, 8], 'entries of both rings');
  memory.write16(DATA + 6, 0x1a);
  assert.equal(command(7, DATA, 0, 0x2120, 0, 0x1958, 0), 0);
  assert.deepEqual([memory.read32(DATA), memory.read32(DATA + 6), memory.read32(DATA + 472)], [0x1958, 0, 1]);
});

test('blocks go where the driver says, in one piece and by lists of pieces', () => {
  const { rings, execute, memory, disk, line, read, write } = setUp();
  rings();
  for (const [index] of disk.bytes.entries()) disk.bytes[index] = index * 7 + (index >> 9);
  write(INTR_MASK, 0xf);
  assert.deepEqual(execute({ cdb: read10(3, 2), data: [DATA, 1024] }), {
    ...{ context: 1000, length: 1024, sense: [], host: 0, scsi: 0 },
  });
  assert.deepEqual(memory.copyOut(DATA, 1024), disk.bytes.slice(1536, 2560));
  assert.ok(line.high);
  assert.equal(read(INTR_STATUS), 1);
  write(INTR_STATUS, 1);
  assert.ok(!line.high);
  // A list that goes on elsewhere, pieces of odd lengths, the last one longer than what is left.
  const element = (at: number, address: number, length: number, flags = 0) => {
    memory.write64(at, BigInt(address));
    memory.write32(at + 8, length);
    memory.write32(at + 12, flags);
  };
  element(LIST, DATA + 1, 100);
  element(LIST + 16, LIST + 0x100, 0, 1);
  element(LIST + 0x100, DATA + 0x1000, 500);
  element(LIST + 0x110, DATA + 0x2000, 4096);
  assert.equal(execute({ cdb: write10(9, 2), data: [LIST, 1024], flags: 1 }).host, 0);
  const written = disk.bytes.slice(9 * 512, 11 * 512);
  assert.deepEqual(written.slice(0, 100), memory.copyOut(DATA + 1, 100));
  assert.deepEqual(written.slice(100, 600), memory.copyOut(DATA + 0x1000, 500));
  assert.deepEqual(written.slice(600), memory.copyOut(DATA + 0x2000, 424));
  // More requests than the ring has entries, one after the other.
  for (let count = 0; count < 300; count++) assert.equal(execute({ cdb: [0, 0, 0, 0, 0, 0] }).context, 1002 + count);
});

test('what cannot be done is said with sense data, or by the adapter', () => {
  const { rings, execute, memory } = setUp(true);
  rings();
  const { host, scsi, sense } = execute({ cdb: write10(0, 1), data: [DATA, 512] });
  assert.deepEqual([host, scsi, sense[2], sense[12], sense[13]], [0, 2, 7, 0x27, 0]);
  assert.equal(execute({ cdb: [0x12, 0, 0, 0, 36, 0], data: [DATA, 36], target: 1 }).host, 0x11);
  assert.equal(execute({ cdb: [0x12, 0, 0, 0, 36, 0], data: [DATA, 36], lun: 1 }).length, 36);
  assert.equal(memory.read8(DATA), 0x7f, 'no unit there');
  assert.equal(execute({ cdb: [0x12, 0, 0, 0, 255, 0], data: [DATA, 255] }).host, 0);
  assert.match(new TextDecoder().decode(memory.copyOut(DATA + 8, 24)), /^VMware {2}Virtual disk/);
  for (const data of [
    [RAM - 1, 512],
    [2 ** 40, 512],
    [0xfffffffffffff000, 512],
  ] as const) {
    assert.equal(execute({ cdb: read10(0, 1), data }).host, 0x1a);
    assert.equal(execute({ cdb: read10(0, 1), data, flags: 1 }).host, 0x1a);
  }
  memory.fill(LIST, PAGE);
  memory.write64(LIST, BigInt(LIST));
  memory.write32(LIST + 12, 1);
  assert.equal(execute({ cdb: read10(0, 1), data: [LIST, 512], flags: 1 }).host, 0x1a, 'a list that never ends');
  assert.equal(execute({ cdb: [] }).host, 0x1a);
});

test('rings that are none are refused, and one that overflows is left until a reset', () => {
  const { rings, command, ask, memory, write, read } = setUp();
  assert.equal(rings([]), 0xffffffff);
  assert.equal(rings([RAM]), 0xffffffff);
  assert.equal(rings([REQUESTS], [RAM - PAGE, RAM]), 0xffffffff);
  rings();
  ask({ cdb: [0, 0, 0, 0, 0, 0] });
  memory.write32(STATE, 65);
  write(KICK, 0);
  assert.equal(memory.read32(STATE + 12), 0);
  write(COMMAND, 1);
  assert.equal(read(COMMAND_STATUS), 0);
  memory.fill(STATE, PAGE);
  rings();
  memory.write32(STATE, 0);
  ask({ cdb: [0, 0, 0, 0, 0, 0] });
  memory.write32(STATE, 1);
  write(KICK, 0);
  assert.equal(memory.read32(STATE + 12), 1);
  assert.equal(command(5, 0, 0, 0), 0);
});

test('messages instead of the line; a state that is saved goes on', () => {
  const { rings, ask, answer, device, messages, line, write, states, memory, enableMessages, clock } = setUp();
  rings();
  enableMessages(device, 0x8000, 1);
  write(INTR_MASK, 1);
  for (let count = 0; count < 2; count++) ask({ cdb: [0, 0, 0, 0, 0, 0] });
  write(KICK, 0);
  assert.deepEqual(messages, [100]);
  assert.ok(!line.high);
  answer();
  ask({ cdb: read10(0, 1), data: [DATA, 512] });
  const saved = states.save();
  device.reset();
  assert.equal(memory.read32(STATE + 12), 2);
  states.restore(saved);
  clock.restored();
  write(KICK, 0);
  assert.deepEqual([answer().context, answer().context], [1001, 1002]);
});

test('a ring full of large requests is done in turns', () => {
  const { rings, ask, memory, write, clock } = setUp(false, 1 << 21);
  rings();
  // Each clears the whole disk, which costs as much as it is long.
  for (let count = 0; count < 64; count++)
    ask({ cdb: [0x93, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0], data: [DATA, 512] });
  write(KICK, 0);
  assert.equal(memory.read32(STATE + 12), 32);
  write(KICK, 0);
  assert.equal(memory.read32(STATE + 12), 32, 'it is not yet its turn');
  clock.advance(1);
  assert.equal(memory.read32(STATE + 12), 64);
});
