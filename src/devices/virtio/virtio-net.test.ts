/** The virtio network card with several pairs of queues; frames, offloads and filters are met by Linux in tests/network.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NetworkPort } from '../../host/network.ts';
import { testSlot } from '../test-slot.ts';
import { virtioDriver } from './testing.ts';
import { VIRTIO_NET_F_MQ, VIRTIO_NET_F_MRG_RXBUF, VirtioNet } from './virtio-net.ts';

const HEADER = 12;
const MQ = 1n << BigInt(VIRTIO_NET_F_MQ);

function setUp(processors: number, without = 0n) {
  const machine = testSlot(0x100000);
  const sent: Uint8Array[] = [];
  let port!: NetworkPort;
  const card = new VirtioNet(
    machine.slot,
    { name: 'n', connect: given => void (port = given), send: frame => void sent.push(frame) },
    ...(['0', Uint8Array.of(2, 0, 0, 0, 0, 1), processors] as const),
  );
  const driver = virtioDriver(machine, card, without | (1n << BigInt(VIRTIO_NET_F_MRG_RXBUF)));
  const control = (...bytes: number[]) => {
    const queue = without & MQ || processors === 1 ? 2 : 2 * processors;
    driver.offer(queue, [Uint8Array.from(bytes), 1]);
    return driver.used(queue)[0][0];
  };
  return { ...machine, card, driver, sent, control, receive: (frame: Uint8Array) => port.receive(frame) };
}

/** UDP over IPv4 between two hosts, in one direction or the other. */
function frame(port: number, back = false): Uint8Array {
  const bytes = new Uint8Array(60);
  bytes.set([8, 0, 0x45], 12);
  bytes[23] = 17;
  const [ours, theirs] = [
    [10, 0, 2, 15],
    [192, 0, 2, 1],
  ];
  bytes.set(back ? [...theirs, ...ours] : [...ours, ...theirs], 26);
  bytes.set(back ? [0, 53, 0, port] : [0, port, 0, 53], 34);
  return bytes;
}

const withHeader = (bytes: Uint8Array) => Uint8Array.from([...new Uint8Array(HEADER), ...bytes]);

test('as many pairs as processors, up to 16, and none more than one where there is one', () => {
  const pairs = (processors: number) => {
    const { card } = setUp(processors);
    return [(card.features & MQ) !== 0n, card.queueSizes.length, card.configuration[8]];
  };
  assert.deepEqual([1, 4, 64].map(pairs), [
    [false, 3, 1],
    [true, 9, 4],
    [true, 33, 16],
  ]);
});

test('what is received goes to the pair on which the flow was sent, once there are several', () => {
  const { driver, control, sent, receive } = setUp(4);
  const received = () => [0, 2, 4, 6].map(queue => driver.used(queue).length);
  for (const queue of [0, 2, 4, 6]) for (let count = 0; count < 8; count++) driver.offer(queue, [200]);
  driver.offer(5, [withHeader(frame(7))]);
  receive(frame(7, true));
  assert.deepEqual(received(), [1, 0, 0, 0], 'the driver uses one so far');
  assert.equal(control(4, 0, 4, 0), 0);
  driver.offer(5, [withHeader(frame(7))]);
  driver.offer(3, [withHeader(frame(8))]);
  assert.equal(sent.length, 3);
  receive(frame(7, true));
  receive(frame(8, true));
  receive(frame(9, true));
  assert.deepEqual(received(), [1, 1, 1, 0]);
  assert.deepEqual([driver.told[0], driver.told[2], driver.told[4]], [2, 1, 1]);
  assert.equal(control(4, 0, 1, 0), 0);
  receive(frame(7, true));
  assert.deepEqual(received(), [1, 0, 0, 0]);
});

test('what waits in a pair that is given up comes by the first', () => {
  const { driver, control, receive } = setUp(2);
  assert.equal(control(4, 0, 2, 0), 0);
  driver.offer(3, [withHeader(frame(7))]);
  receive(frame(7, true));
  assert.equal(control(4, 0, 1, 0), 0);
  driver.offer(0, [200]);
  assert.deepEqual(driver.used(0)[0].subarray(HEADER), frame(7, true));
});

test('numbers of pairs that there are not, and drivers that know of none', () => {
  const { control } = setUp(2);
  assert.deepEqual([control(4, 0, 0, 0), control(4, 0, 3, 0), control(4, 1, 1, 0), control(4, 0, 1)], [1, 1, 1, 1]);
  const old = setUp(2, MQ);
  assert.equal(old.control(4, 0, 2, 0), 1);
  assert.equal(old.control(0, 0, 1), 0, 'its control queue is the third');
});
