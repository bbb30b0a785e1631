/** Integration services, as Linux's hv_util.c answers them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fakeDriver } from './fake-vmbus-driver.ts';

const SHUTDOWN = '3160' + '0b0e' + '1352' + '3449' + '818b38d90ced39db';
const HEARTBEAT = '394f1657' + '1591' + '784e' + 'ab55382f3bd5422d';
const TIME = '30e62795' + 'aed0' + '7b49' + 'adcee80ab0175caf';
const KEY_VALUE = 'e7f4a0a9' + '455a' + '964d' + 'b8278a841e8c03e6';
const MILLISECOND = 1_000_000;

function setUp(type: string, choose: (versions: number[][]) => number[][] | undefined = v => v) {
  const driver = fakeDriver();
  const offer = driver.connect().find(candidate => candidate.type.endsWith(type.slice(-16)))!;
  assert.ok(offer.pipe);
  const channel = driver.open(offer);
  assert.equal(channel.take(), undefined, 'not at once');
  const hear = () => {
    const packet = channel.take();
    if (!packet) return undefined;
    const view = new DataView(packet.body.slice().buffer);
    assert.equal(packet.type, 6);
    assert.equal(view.getUint8(25), 3, 'a transaction, a request');
    const size = view.getUint16(18, true);
    assert.equal(view.getUint32(4, true), 20 + size);
    return { type: view.getUint16(12, true), size, view, data: new DataView(view.buffer, 28), packet };
  };
  /** Answers as the driver does: in the same buffer. */
  const answer = ({ view, packet }: NonNullable<ReturnType<typeof hear>>) => {
    view.setUint8(25, 5);
    channel.send(6, Number(packet.transaction), new Uint8Array(view.buffer), 0);
  };
  driver.cpu.clock.advance(10 * MILLISECOND);
  const greeting = hear()!;
  assert.equal(greeting.type, 0);
  const { data } = greeting;
  const count = data.getUint16(0, true) + data.getUint16(2, true);
  const versions = Array.from({ length: count }, (_, index) => [
    data.getUint16(8 + 4 * index, true),
    data.getUint16(10 + 4 * index, true),
  ]);
  const chosen = choose([versions[0], versions[data.getUint16(0, true)]]);
  if (chosen)
    for (const [index, [major, minor]] of chosen.entries()) {
      data.setUint16(8 + 4 * index, major, true);
      data.setUint16(10 + 4 * index, minor, true);
    }
  answer(greeting);
  return { ...driver, offer, channel, hear, answer };
}

test('shutdown: asked for, once the guest listens', () => {
  const { table, hear, answer, cpu } = setUp(SHUTDOWN);
  assert.equal(hear(), undefined);
  assert.equal(table.requestShutdown!(), true);
  const asked = hear()!;
  assert.deepEqual([asked.type, asked.size, asked.data.getUint32(8, true)], [3, 2060, 0]);
  assert.deepEqual(
    [asked.view.getUint16(8, true), asked.view.getUint16(14, true), asked.view.getUint16(16, true)],
    [3, 3, 2],
  );
  asked.view.setUint32(20, 0x80004005, true);
  answer(asked);
  assert.match(cpu.log.lines.join(), /the guest refuses: 0x80004005/);
});

test('shutdown: not asked for where nobody listens', () => {
  assert.equal(fakeDriver().table.requestShutdown!(), false);
  const { table, cpu, hear } = setUp(SHUTDOWN, () => [
    [0, 0],
    [0, 0],
  ]);
  assert.equal(table.requestShutdown!(), false);
  assert.match(cpu.log.lines.join(), /knows none of the versions/);
  cpu.clock.advance(100_000 * MILLISECOND);
  assert.equal(hear(), undefined);
});

test('heartbeat: every two seconds, with the number that the guest has made of the last', () => {
  const { cpu, hear, answer, post, offer } = setUp(HEARTBEAT);
  for (let beat = 0; beat < 5; beat++) {
    const asked = hear()!;
    assert.equal(asked.type, 1);
    assert.equal(asked.data.getBigUint64(0, true), BigInt(beat));
    assert.equal(hear(), undefined);
    asked.data.setBigUint64(0, BigInt(beat + 1), true);
    answer(asked);
    cpu.clock.advance(1999 * MILLISECOND);
    assert.equal(hear(), undefined);
    cpu.clock.advance(MILLISECOND);
  }
  assert.ok(hear());
  // A guest that does not read costs nothing but its ring.
  cpu.clock.advance(1_000_000 * MILLISECOND);
  assert.equal(post([7, 0, offer.relid]), 0);
  assert.equal(cpu.clock.next, Number.POSITIVE_INFINITY, 'and a closed channel nothing at all');
});

test('time: once to set the clock, then samples', () => {
  const { cpu, hear } = setUp(TIME);
  const expected = () => 116_444_736_000_000_000n + (cpu.clock.epoch + BigInt(cpu.clock.now())) / 100n;
  for (const flags of [1, 2, 2]) {
    const told = hear()!;
    assert.deepEqual([told.type, told.size, told.data.getUint8(16)], [4, 22, flags]);
    assert.equal(told.data.getBigUint64(0, true), expected());
    assert.equal(told.data.getBigUint64(8, true), BigInt(cpu.clock.now() / 100));
    cpu.clock.advance(5000 * MILLISECOND);
  }
});

test('time: in the form that an older guest knows', () => {
  const { hear } = setUp(TIME, ([frame]) => [frame, [3, 0]]);
  const told = hear()!;
  assert.deepEqual([told.size, told.data.getUint8(24), told.view.getUint16(14, true)], [25, 1, 3]);
});

test('key and value: the host says what it is, and asks the guest the same until it has no more', () => {
  const { cpu, hear, answer } = setUp(KEY_VALUE);
  const text = (view: DataView, at: number, length: number) =>
    Buffer.from(view.buffer, view.byteOffset + at, length).toString('utf16le');
  const told: string[] = [];
  for (let count = 0; count < 2; count++) {
    const asked = hear()!;
    assert.deepEqual([asked.type, asked.size, asked.data.getUint8(0), asked.data.getUint8(1)], [2, 2580, 1, 3]);
    const [key, value] = [asked.data.getUint32(8, true), asked.data.getUint32(12, true)];
    told.push(`${text(asked.data, 16, key)}=${text(asked.data, 528, value)}`);
    // Whether the guest takes it is its affair.
    if (count === 1) asked.view.setUint32(20, 0x80004005, true);
    answer(asked);
  }
  assert.deepEqual(told, ['HostName\0=polyvisor\0', 'VirtualMachineName\0=polyvisor\0']);
  for (const [index, name] of ['OSName', 'OSVersion'].entries()) {
    const asked = hear()!;
    assert.deepEqual([asked.data.getUint8(0), asked.data.getUint8(1), asked.data.getUint32(4, true)], [3, 2, index]);
    const entry = Buffer.from(asked.data.buffer, asked.data.byteOffset + 8);
    entry.writeUInt32LE(2 * name.length, 4);
    entry.writeUInt32LE(0xffffffff, 8);
    entry.write(name, 12, 'utf16le');
    entry.write(`the ${index}th`, 524, 'utf16le');
    answer(asked);
  }
  const last = hear()!;
  last.view.setUint32(20, 0x80070103, true);
  answer(last);
  assert.equal(hear(), undefined);
  assert.deepEqual(
    cpu.log.lines.filter(line => line.includes('says')),
    ['key-value: the guest says OSName: the 0th', 'key-value: the guest says OSVersion: the 1th'],
  );
});
