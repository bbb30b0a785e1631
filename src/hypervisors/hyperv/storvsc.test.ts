/** A SCSI adapter on the VMBus, as Linux's storvsc_drv.c talks to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryDisk } from '../../devices/memory-disk.ts';
import { fakeDriver } from './fake-vmbus-driver.ts';

const PAGE = 4096;

function setUp() {
  const disks = [memoryDisk('a', 1 << 20), memoryDisk('b', 1 << 19, true)];
  const driver = fakeDriver({ disks });
  const channel = driver.open(driver.connect()[0], 8);
  let transaction = 1;
  const answer = () => {
    const packet = channel.take();
    assert.ok(packet, 'there is an answer');
    assert.equal(packet.type, 11);
    assert.equal(packet.transaction, BigInt(transaction++));
    const view = new DataView(packet.body.slice().buffer);
    assert.equal(view.getUint32(0, true), 1, 'COMPLETE_IO');
    return {
      status: view.getUint32(8, true),
      srb: view.getUint8(14),
      scsi: view.getUint8(15),
      senseLength: view.getUint8(21),
      moved: view.getUint32(24, true),
      sense: new Uint8Array(view.buffer, 28, 18),
      view,
    };
  };
  const operation = (code: number, value = 0) => {
    const body = new Uint8Array(64);
    const view = new DataView(body.buffer);
    view.setUint32(0, code, true);
    view.setUint32(4, 1, true);
    view.setUint16(12, value, true);
    channel.send(6, transaction, body);
    return answer();
  };
  const request = (cdb: readonly number[], { lun = 0, target = 0, path = 0 } = {}) => {
    const body = new Uint8Array(64);
    const view = new DataView(body.buffer);
    view.setUint32(0, 3, true);
    body.set([path, target, lun, cdb.length, 20], 17);
    body.set(cdb, 28);
    return body;
  };
  type Where = Parameters<typeof request>[1];
  const execute = (cdb: readonly number[], where?: Where, ...ranges: Parameters<typeof channel.direct>) => {
    if (ranges.length === 0) channel.send(6, transaction, request(cdb, where));
    else {
      const list = channel.direct(...ranges);
      // The count and the ranges are the packet's extension.
      channel.send(9, transaction, request(cdb, where), 1, list);
    }
    return answer();
  };
  const initialise = () => {
    for (const [code, value] of [[7], [9, 0x0602], [10], [8]]) assert.equal(operation(code, value).status, 0);
  };
  return { ...driver, disks, channel, operation, execute, initialise };
}

test('initialisation', () => {
  const { operation } = setUp();
  assert.equal(operation(7).status, 0);
  assert.notEqual(operation(9, 0x0700).status, 0, 'no such version');
  for (const version of [0x0602, 0x0600, 0x0501]) assert.equal(operation(9, version).status, 0);
  const { status, view } = operation(10);
  assert.equal(status, 0);
  assert.equal(view.getUint32(20, true), 0, 'one channel');
  assert.equal(view.getUint32(24, true), 1 << 20);
  assert.equal(operation(8).status, 0);
  for (const reset of [4, 5, 6]) assert.equal(operation(reset).status, 0);
  assert.notEqual(operation(99).status, 0);
});

test('blocks go where the guest says, over pages that are no neighbours', () => {
  const { execute, initialise, memory, pages, disks } = setUp();
  initialise();
  const page = pages(3);
  const content = Uint8Array.from({ length: 2 * PAGE }, (_, index) => index * 13);
  memory.copyIn(page * PAGE + 0x800, content);
  const written = execute([0x2a, 0, 0, 0, 0, 8, 0, 0, 16], {}, { page, offset: 0x800, length: 2 * PAGE });
  assert.deepEqual([written.srb, written.scsi, written.moved], [1, 0, 2 * PAGE]);
  assert.deepEqual(disks[0].bytes.subarray(8 * 512, 8 * 512 + 2 * PAGE), content);
  const there = [pages(1), pages(1)];
  const read = execute([0x28, 0, 0, 0, 0, 8, 0, 0, 16], {}, ...there.map(page => ({ page, length: PAGE })));
  assert.equal(read.moved, 2 * PAGE);
  assert.deepEqual(memory.copyOut(there[0] * PAGE, 2 * PAGE), content);
});

test('errors come with sense data, and a disk that is not there with INQUIRY alone', () => {
  const { execute, initialise, memory, pages } = setUp();
  initialise();
  const page = pages(1);
  const bad = execute([0x28, 0, 0xff, 0, 0, 8, 0, 0, 1], {}, { page, length: 512 });
  assert.deepEqual([bad.srb, bad.scsi, bad.senseLength, bad.moved], [0x84, 2, 18, 0]);
  assert.deepEqual([bad.sense[0], bad.sense[2], bad.sense[12]], [0x70, 5, 0x21]);
  assert.equal(execute([0x2a, 0, 0, 0, 0, 0, 0, 0, 1], { lun: 1 }, { page, length: 512 }).sense[2], 7);
  for (const where of [{ lun: 2 }, { target: 1 }, { path: 1 }]) {
    assert.equal(execute([0x00], where).srb, 0x20);
    assert.equal(execute([0x12, 0, 0, 0, 36], where, { page, length: 36 }).srb, 1);
    assert.equal(memory.read8(page * PAGE), 0x7f);
  }
});

test('before initialisation, of memory that is none, or of no length, a request is invalid', () => {
  const { execute, initialise, memory } = setUp();
  assert.equal(execute([0x00]).srb, 6);
  initialise();
  assert.equal(execute([0x00]).srb, 1);
  assert.equal(execute([]).srb, 6);
  assert.equal(execute([0x28, ...Array(15).fill(0)], {}, { page: memory.size / PAGE, length: 512 }).srb, 6);
  assert.equal(execute(Array(17).fill(0)).srb, 6);
});
