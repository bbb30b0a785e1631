/** Channels of the VMBus: offers, memory handed over, rings, signals, and what becomes of it all at the end. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeProcessor, fakeContext } from '../../conformance/fake-processor.ts';
import { memoryDisk } from '../../devices/memory-disk.ts';
import { vmbusDevices } from './devices.ts';
import { fakeGuest, MESSAGE_PAGE, MSR, SINT, VECTOR } from './fake-guest.ts';
import { driverOf, fakeDriver, words } from './fake-vmbus-driver.ts';
import { createSynic } from './synic.ts';
import { createVmbus } from './vmbus.ts';

const SCSI = 'd96361baa104294db60572e2ffb1dc7f';
const disk = () => memoryDisk('d', 1 << 20);

function setUp() {
  const driver = fakeDriver({ disks: [disk()] });
  const offers = driver.connect();
  return { ...driver, offers, scsi: offers.find(({ type }) => type === SCSI)! };
}

/** QUERY_PROTOCOL_VERSION of a SCSI adapter: something that is answered. */
const question = () => {
  const body = new Uint8Array(64);
  body.set(words(9, 1, 0, 0x0602));
  return body;
};

describe('offers', () => {
  test('a disk is behind a SCSI adapter, which says how it is reached', () => {
    const { offers, scsi } = setUp();
    assert.equal(scsi.connection, 0x10000 + scsi.relid);
    assert.equal(new Set(offers.map(({ relid }) => relid)).size, offers.length);
    assert.ok(
      !fakeDriver()
        .connect()
        .some(({ type }) => type === SCSI),
      'without a disk there is no adapter',
    );
    const other = fakeDriver({ disks: [{ ...disk(), bus: 'virtio' }] });
    assert.ok(!other.connect().some(({ type }) => type === SCSI), 'nor for one that is plugged in elsewhere');
  });

  test('do not go out where they would not all find room', () => {
    const { post, receive } = setUp();
    // The guest does not read.
    let status = 0;
    for (let posts = 0; status === 0 && posts < 100; posts++) status = post([3, 0]);
    assert.equal(status, 0x13);
    const types: number[] = [];
    for (let message = receive(); message; message = receive()) types.push(message[0]);
    assert.equal(types.at(-1), 4, 'every answer is whole');
    assert.equal(post([3, 0]), 0);
  });

  test('a rescinded device is closed, let go, and not offered again', () => {
    const cpu = new FakeProcessor();
    const context = { ...fakeContext(cpu), backEnds: { disks: [disk()], networks: [], folders: [] } };
    const synic = createSynic(context);
    const vmbus = createVmbus(context, synic, vmbusDevices(context).slice(0, 1));
    for (const [index, value] of [
      [MSR.SIMP, MESSAGE_PAGE | 1],
      [MSR.SINT0 + SINT, VECTOR],
      [MSR.SCONTROL, 1],
    ])
      assert.ok(synic.msrs[index].write!(cpu, BigInt(value)));
    const ask = (...message: number[]) => {
      assert.ok(vmbus.post(cpu, 1, words(...message)));
      const types: number[] = [];
      for (const slot = MESSAGE_PAGE + 256 * SINT; cpu.memory.read32(slot) !== 0; ) {
        types.push(cpu.memory.read32(slot + 16));
        cpu.memory.write32(slot, 0);
        assert.ok(synic.msrs[MSR.EOM].write!(cpu, 0n));
      }
      return types;
    };
    assert.ok(!vmbus.rescind('scsi-0'), 'nobody knows of it');
    assert.deepEqual(ask(14, 0, 0x50003, 0, SINT, 0, 0, 0, 0, 0), [15]);
    assert.deepEqual(ask(3, 0), [1, 4]);
    assert.ok(!vmbus.rescind('none'));
    assert.ok(vmbus.rescind('scsi-0'));
    assert.ok(!vmbus.rescind('scsi-0'), 'once is enough');
    assert.deepEqual(ask(8, 0, 1, 0xe1e10, (1 << 16) | 16, 4096, 0, 1, 0), [2, 10], 'these may have crossed');
    assert.deepEqual(ask(5, 0, 1, 1, 0xe1e10, 0, 1), [6]);
    assert.deepEqual(ask(13, 0, 1), [], 'let go');
    assert.deepEqual(ask(3, 0), [4]);
    assert.deepEqual(ask(14, 0, 0x50003, 0, SINT, 0, 0, 0, 0, 0), [15]);
    assert.deepEqual(ask(3, 0), [4], 'also of a kernel that comes later');
  });
});

describe('memory handed over', () => {
  test('in several messages, of many pages', () => {
    const { scsi, handOver, pages } = setUp();
    const first = pages(1);
    assert.equal(handOver(scsi.relid, Array(26).fill(first)).status, 0);
    assert.equal(handOver(scsi.relid, Array(27).fill(first)).status, 0);
    assert.equal(handOver(scsi.relid, Array(4096).fill(first)).status, 0);
  });

  test('is refused where it is no RAM, is empty, is too much, or belongs to nobody', () => {
    const { scsi, handOver, memory } = setUp();
    const end = memory.size / 4096;
    assert.notEqual(handOver(scsi.relid, [end]).status, 0);
    assert.notEqual(handOver(scsi.relid, [...Array(40).fill(1), 0xffffffff]).status, 0);
    assert.notEqual(handOver(scsi.relid, [1], { length: 0 }).status, 0);
    assert.notEqual(handOver(scsi.relid, [1], { offset: 4096 }).status, 0);
    assert.notEqual(handOver(scsi.relid, [1], { length: 0xffffffff }).status, 0);
    assert.notEqual(handOver(77, [1]).status, 0);
    assert.equal(handOver(scsi.relid, [1]).status, 0);
  });

  test('a guest that hands over ever more is refused in the end', () => {
    const { scsi, handOver } = setUp();
    let given = 0;
    while (given < 100 && handOver(scsi.relid, Array(8192).fill(1)).status === 0) given++;
    assert.ok(given > 10 && given < 100, `${given}`);
  });

  test('is its own again when it is torn down, and closes the channel that lives in it', () => {
    const { scsi, open, post, receive } = setUp();
    const channel = open(scsi);
    assert.equal(post([11, 0, scsi.relid, channel.handle]), 0);
    assert.deepEqual(receive(), [12, 0, channel.handle]);
    channel.send(6, 1, question());
    assert.equal(channel.take(), undefined);
    open(scsi).send(6, 1, question());
  });
});

describe('rings', () => {
  test('a packet is answered by a completion with its transaction, flag and interrupt', () => {
    const { cpu, scsi, open } = setUp();
    const channel = open(scsi);
    assert.ok(!channel.flagged());
    cpu.interrupts!.requested.clear();
    assert.equal(channel.send(6, 7, question()), 0);
    const packet = channel.take()!;
    assert.equal(packet.type, 11);
    assert.equal(packet.transaction, 7n);
    assert.deepEqual([...new Uint32Array(packet.body.slice().buffer, 0, 3)], [1, 0, 0]);
    assert.ok(channel.flagged());
    assert.ok(cpu.interrupts!.requested.has(VECTOR));
  });

  test('round and round, in rings whose size is no multiple of the packet', () => {
    const { scsi, open, memory } = setUp();
    const channel = open(scsi, 2);
    for (let index = 0; index < 300; index++) {
      channel.send(6, index, question());
      assert.equal(channel.take()?.transaction, BigInt(index));
      assert.equal(memory.read32(channel.outgoing), memory.read32(channel.outgoing + 4), 'all is taken');
    }
  });

  test('an interrupt mask keeps the interrupt away, not the packet', () => {
    const { scsi, open, memory } = setUp();
    const channel = open(scsi);
    memory.write32(channel.incoming + 8, 1);
    channel.send(6, 1, question());
    assert.ok(!channel.flagged());
    assert.ok(channel.take());
  });

  test('without room for answers nothing is taken, and the guest tells when there is', () => {
    const { scsi, open, memory } = setUp();
    const channel = open(scsi, 2);
    const total = 120;
    let answers = 0;
    for (let sent = 0; sent < total; ) {
      // 88 bytes a packet: as many as fit, then what comes of them.
      for (let burst = 0; burst < 40 && sent < total; burst++) channel.write(6, sent++, question());
      channel.signal();
      const waits = memory.read32(channel.incoming + 12);
      if (sent === 40) assert.equal(waits, 0, 'there was room for all');
      for (; channel.take(); answers++);
    }
    assert.equal(answers, total);
    // Now the guest does not take any.
    for (let burst = 0; burst < 40; burst++) channel.write(6, burst, question());
    channel.signal();
    for (let burst = 0; burst < 40; burst++) channel.write(6, burst, question());
    channel.signal();
    const wanted = memory.read32(channel.incoming + 12);
    assert.ok(wanted >= 88, 'the host says how much room it waits for');
    for (let more = 0; more < 40; more++) assert.ok(channel.take());
    channel.signal();
    for (let more = 0; more < 40; more++) assert.ok(channel.take());
    assert.equal(channel.take(), undefined);
  });

  test('a guest that waits for room is told', () => {
    const { scsi, open, memory } = setUp();
    const channel = open(scsi, 2);
    memory.write32(channel.incoming + 8, 1);
    for (let burst = 0; burst < 40; burst++) channel.write(6, burst, question(), 0);
    memory.write32(channel.outgoing + 12, 2000);
    assert.ok(!channel.flagged());
    channel.signal();
    assert.ok(channel.flagged());
  });

  test('nonsense ends the channel, until it is opened anew', () => {
    for (const [offset, value] of [
      [0, 4],
      [0, 0xfffffff8],
      [4, 12288],
      [0, 8],
    ] as const) {
      const { scsi, open, post, memory, cpu } = setUp();
      const channel = open(scsi);
      memory.write32(channel.outgoing + offset, value);
      channel.signal();
      assert.match(cpu.log.lines.join(), /channel is not served any more/);
      memory.write32(channel.outgoing + offset, 0);
      channel.send(6, 1, question());
      assert.equal(channel.take(), undefined);
      assert.equal(post([7, 0, scsi.relid]), 0);
      const again = open(scsi);
      again.send(6, 1, question());
      assert.ok(again.take());
    }
  });

  test('cannot be of other sizes than whole pages, or in memory that begins within one', () => {
    const { scsi, handOver, post, receive, pages } = setUp();
    const first = pages(8);
    const numbers = Array.from({ length: 8 }, (_, index) => first + index);
    const whole = handOver(scsi.relid, numbers).handle;
    const crooked = handOver(scsi.relid, numbers, { offset: 4, length: 8 * 4096 - 8 }).handle;
    for (const [handle, split, target] of [
      [whole, 0, 0],
      [whole, 1, 0],
      [whole, 7, 0],
      [whole, 8, 0],
      [whole, 0xffffffff, 0],
      [whole, 4, 1],
      [crooked, 4, 0],
      [0x1234, 4, 0],
    ]) {
      assert.equal(post([5, 0, scsi.relid, 9, handle, target, split]), 0);
      assert.deepEqual(receive(), [6, 0, scsi.relid, 9, 1], `${handle} ${split} ${target}`);
    }
    assert.equal(post([5, 0, scsi.relid, 9, whole, 0, 4]), 0);
    assert.deepEqual(receive(), [6, 0, scsi.relid, 9, 0]);
    assert.equal(post([5, 0, scsi.relid, 9, whole, 0, 4]), 0, 'once is enough');
    assert.deepEqual(receive(), [6, 0, scsi.relid, 9, 1]);
    assert.equal(post([22, 0, scsi.relid, 0]), 0);
    assert.deepEqual(receive(), [24, 0, scsi.relid, 0]);
    assert.equal(post([22, 0, scsi.relid, 3]), 0);
    assert.deepEqual(receive(), [24, 0, scsi.relid, 1], 'there is no such processor');
  });
});

describe('the end', () => {
  test('UNLOAD and a new contact forget channels and memory', () => {
    for (const leave of [[16, 0], undefined]) {
      const driver = setUp();
      const channel = driver.open(driver.scsi);
      if (leave) {
        assert.equal(driver.post(leave), 0);
        assert.deepEqual(driver.receive(), [17, 0]);
        channel.send(6, 1, question());
        assert.equal(channel.take(), undefined);
      }
      const scsi = driver.connect().find(({ type }) => type === SCSI)!;
      const again = driver.open(scsi);
      again.send(6, 1, question());
      assert.ok(again.take());
    }
  });
});

test('before version 2.4, signals are bits in a page of both directions', () => {
  const guest = fakeGuest({ disks: [disk()] }, 4 << 20);
  assert.ok(guest.enableHypercalls() && guest.enableSynic());
  const { memory, post, receive, call } = guest;
  const driver = driverOf(guest);
  const page = driver.pages(1) * 4096;
  assert.equal(post([14, 0, 0x10001, 0, 1, 0, 0, 0, 0, 0], { connection: 1 }), 0);
  assert.deepEqual(receive(), [15, 0, 0, 4], 'no page');
  assert.equal(post([14, 0, 0x10001, 0, page, 0, 0, 0, 0, 0], { connection: 1 }), 0);
  assert.deepEqual(receive(), [15, 0, 1, 4]);
  const offer = { type: SCSI, relid: 1, connection: 2, pipe: false };
  const channel = driver.open(offer);
  channel.write(6, 1, question());
  memory.write8(page + 2048, 1 << 1);
  assert.equal(call(0x1005d, 2), 0);
  assert.ok(channel.take());
  assert.equal(memory.read8(page + 2048), 0, 'the bit is taken');
  assert.equal(memory.read8(page), 1 << 1, 'ours is set');
  assert.equal(memory.read8(0x7000 + 512), 1, 'and the one flag');
});

test('what is saved in the midst of it all goes on alike in another machine', () => {
  const one = setUp();
  const channel = one.open(one.scsi);
  channel.send(6, 1, question());
  channel.take();
  channel.write(6, 2, question());
  // The first message of two: the rest of the pages is still to come.
  const pages = Array.from({ length: 26 }, () => [1, 0]).flat();
  assert.equal(one.post([8, 0, one.scsi.relid, 0xabcd, (1 << 16) | 224, 27 * 4096, 0, ...pages]), 0);

  const other = fakeGuest({ disks: [disk()] }, 4 << 20);
  other.cpu.restore(one.cpu, structuredClone(one.cpu.states.save()));
  other.table.restored?.();
  const { handle, outgoing, incoming, ringSize } = channel;
  const restored = driverOf(other).channel(one.scsi, handle, outgoing, incoming, ringSize);
  for (const [guest, its] of [
    [one, channel],
    [other, restored],
  ] as const) {
    its.signal();
    assert.equal(its.take()?.transaction, 2n);
    assert.equal(guest.post([9, 0, 0, 0xabcd, 1, 0]), 0);
    assert.deepEqual(guest.receive(), [10, 0, one.scsi.relid, 0xabcd, 0]);
  }
  assert.deepEqual(other.cpu.states.save(), one.cpu.states.save());
  assert.deepEqual(other.memory.bytes, one.memory.bytes);
});
