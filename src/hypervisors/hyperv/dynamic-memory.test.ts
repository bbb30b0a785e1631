/** Dynamic memory, as Linux's hv_balloon.c speaks it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeDriver, words } from './fake-vmbus-driver.ts';

const DYNAMIC_MEMORY = 'dc745052' + '8589' + 'e246' + '8057a307dc18a502';
const RAM = 4 << 20;
const PAGE = 4096;

/** A range of pages as two words: 40 bits of the first one's number, 24 of the count. */
const range = (start: number, count: number) => [start, count << 8];

function setUp() {
  const driver = fakeDriver({}, RAM);
  const offer = driver.connect().find(({ type }) => type === DYNAMIC_MEMORY)!;
  const channel = driver.open(offer);
  const hear = () => {
    const packet = channel.take();
    if (!packet) return undefined;
    assert.equal(packet.type, 6);
    return [...new Uint32Array(packet.body.slice().buffer)];
  };
  const say = (type: number, ...content: number[]) => {
    const body = words(type | ((8 + 4 * content.length) << 16), 7, ...content);
    channel.send(6, 0, body, 0);
  };
  const agree = () => {
    say(1, 0x20000, 1);
    assert.deepEqual(hear(), [2 | (16 << 16), 7, 1, 0]);
    say(3, 1, 0, 0, 0, 0xffffffff, 0);
    assert.deepEqual(hear(), [4 | (16 << 16), 7, 1, 0]);
  };
  return { ...driver, channel, hear, say, agree };
}

test('versions and capabilities are agreed on', () => {
  const { say, hear, agree } = setUp();
  say(1, 0x30000, 0);
  assert.deepEqual(hear()!.slice(2), [0, 0], 'a version that is not known');
  agree();
  assert.equal(hear(), undefined, 'nothing is asked for');
});

test('the guest is asked for pages, which are cleared, and gets them back', () => {
  const { table, memory, say, hear, agree } = setUp();
  agree();
  assert.equal(table.requestMemory!(RAM - 30 * PAGE), true);
  assert.deepEqual(hear(), [6 | (16 << 16), 1, 30, 0]);
  memory.write32(0x205 * PAGE, 1);
  memory.write32(0x210 * PAGE, 2);
  // In two messages, the first of which says that there are more; what is outside RAM does not count.
  say(7, 0, 1 | (2 << 1), ...range(0x200, 10), ...range(RAM / PAGE, 5));
  assert.equal(hear(), undefined);
  say(7, 0, 1 << 1, ...range(0x210, 6));
  assert.deepEqual([memory.read32(0x205 * PAGE), memory.read32(0x210 * PAGE)], [0, 0]);
  // It has spared what it can.
  say(5, ...Array(10).fill(0));
  assert.equal(hear(), undefined);
  assert.equal(table.requestMemory!(RAM - 12 * PAGE), true);
  assert.deepEqual(hear(), [8 | (24 << 16), 2, 0, 1, ...range(0x200, 4)]);
  assert.equal(table.requestMemory!(2 * RAM), true);
  assert.equal(hear(), undefined, 'one after the other');
  say(9, 0, 0);
  assert.deepEqual(hear(), [8 | (32 << 16), 3, 0, 2, ...range(0x204, 6), ...range(0x210, 6)]);
  say(9, 0, 0);
  assert.equal(hear(), undefined);
});

test('a wish that comes before the guest listens is found by it; a channel that is closed has given all back', () => {
  const { table, channel, post, say, hear, agree } = setUp();
  assert.equal(table.requestMemory!(RAM - PAGE), true);
  assert.equal(hear(), undefined);
  agree();
  assert.deepEqual(hear(), [6 | (16 << 16), 1, 1, 0]);
  say(7, 0, 1 << 1, ...range(0x300, 1));
  assert.equal(post([7, 0, channel.relid]), 0);
  assert.equal(table.requestMemory!(RAM), true);
  assert.equal(hear(), undefined);
});

test('what a message says of itself is not believed', () => {
  const { say, hear, agree, cpu } = setUp();
  agree();
  say(7, 0, 0xfffffffe, ...range(0x300, 0xffffff));
  assert.deepEqual(hear(), [8 | (24 << 16), 1, 0, 1, ...range(0x300, RAM / PAGE - 0x300)], 'nobody has asked for them');
  say(9, 0, 0);
  say(77, 1, 2);
  assert.equal(hear(), undefined);
  assert.match(cpu.log.lines.join(), /message 77 is not known/);
});
