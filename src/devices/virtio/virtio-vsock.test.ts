import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkPort } from '../../host/network.ts';
import { parseVsockPacket, vsockPacket } from '../../net/vsock-packet.ts';
import { testSlot } from '../test-slot.ts';
import { virtioDriver } from './testing.ts';
import { VirtioVsock } from './virtio-vsock.ts';

const HEADER = 44;

function setUp() {
  const machine = testSlot(0x100000);
  const sent: Uint8Array[] = [];
  let port!: NetworkPort;
  const device = new VirtioVsock(machine.slot, {
    ...{ name: 'vsock', cid: 0x12345678 },
    connect: given => void (port = given),
    send: packet => void sent.push(packet),
  });
  return {
    ...machine,
    device,
    driver: virtioDriver(machine, device),
    sent,
    receive: (p: Uint8Array) => port.receive(p),
  };
}

/** A packet whose data are numbers from 0 on. */
function packet(length: number): Uint8Array {
  const bytes = Uint8Array.from({ length: HEADER + length }, (_, at) => (at < HEADER ? 0x55 : at - HEADER));
  new DataView(bytes.buffer).setUint32(24, length, true);
  return bytes;
}

test('the configuration has the number of the guest', () => {
  assert.deepEqual([...setUp().device.configuration], [0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0]);
});

test('packets pass; what is none does not', () => {
  const { driver, sent } = setUp();
  driver.offer(1, [packet(10).subarray(0, HEADER), packet(10).subarray(HEADER)]);
  driver.offer(1, [new Uint8Array(43)]);
  driver.offer(1, [new Uint8Array(HEADER + 65537)]);
  assert.deepEqual(sent, [packet(10)]);
  assert.equal(driver.used(1).length, 3, 'all are given back');
});

test('data for the driver is cut into its buffers, and waits for them', () => {
  const { driver, receive } = setUp();
  driver.offer(0, [HEADER, 6]);
  receive(packet(20));
  const [first] = driver.used(0);
  assert.deepEqual([first.length, first[24], [...first.subarray(HEADER)]], [50, 6, [0, 1, 2, 3, 4, 5]]);
  assert.equal(driver.told[0], 1);
  driver.offer(0, [HEADER + 10]);
  driver.offer(0, [HEADER, 100]);
  const [second, third] = driver.used(0);
  assert.deepEqual([...second.subarray(HEADER)], [6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
  assert.deepEqual([...third.subarray(HEADER)], [16, 17, 18, 19]);
  driver.offer(0, [HEADER]);
  receive(packet(0));
  assert.equal(driver.used(0)[0].length, HEADER, 'one without data needs no more than its header');
});

test('without a driver, who wants a connection is refused', () => {
  const { driver, receive, sent } = setUp();
  driver.queues[0].reset();
  receive(packet(3));
  assert.deepEqual(sent, []);
  const ends = { sourceCid: 2, destinationCid: 9, source: 5, destination: 6 };
  const rest = { flags: 0, room: 1, dealt: 0, data: new Uint8Array(0) };
  receive(vsockPacket({ ...ends, ...rest, operation: 1 }));
  const { operation, source, sourceCid } = parseVsockPacket(sent[0])!;
  assert.deepEqual([operation, source, sourceCid], [3, 6, 9]);
});

test('a buffer without room breaks the queue', () => {
  const { driver, receive } = setUp();
  driver.offer(0, [HEADER]);
  receive(packet(1));
  assert.match(driver.queues[0].broken ?? '', /a buffer of 44 bytes/);
});

test('after a restore the driver hears that its connections are gone', () => {
  const { driver, device, receive } = setUp();
  receive(packet(5));
  driver.offer(2, [4]);
  assert.equal(driver.used(2).length, 0);
  device.restored();
  assert.deepEqual(driver.used(2), [Uint8Array.of(0, 0, 0, 0)]);
  // Where there is no buffer for it, it waits.
  device.restored();
  driver.offer(2, [4]);
  assert.equal(driver.used(2).length, 1);
  driver.offer(0, [HEADER, 100]);
  assert.equal(driver.used(0).length, 0, 'what was on its way is gone, too');
});
