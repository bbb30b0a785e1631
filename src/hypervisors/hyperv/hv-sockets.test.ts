/** Hyper-V's sockets against a guest that does as Linux's hyperv_transport.c: channels that come and go, and the pipe's bytes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guidBytes } from '../../devices/vmbus/guid.ts';
import { serviceGuid } from '../../devices/vmbus/hv-sockets.ts';
import type { TcpHandler } from '../../host/sockets.ts';
import type { VsockPrograms } from '../../host/vsock.ts';
import { fakeSocket } from '../../net/testing.ts';
import { hostVsock } from '../../net/vsock.ts';
import { type FakeChannel, fakeDriver, words } from './fake-vmbus-driver.ts';

const [OFFER, RESCIND, RELEASED, CONNECT, RESULT] = [1, 2, 13, 21, 23];
const SECOND = 1_000_000_000;

function setUp(version = 0x50003) {
  const opened: { port: number; handler: TcpHandler; program: ReturnType<typeof fakeSocket> }[] = [];
  let accept!: Parameters<VsockPrograms['attach']>[0];
  const vsock = hostVsock({
    open(port, handler) {
      const program = fakeSocket();
      opened.push({ port, handler, program });
      return program.socket;
    },
    attach: given => void (accept = given),
    close() {},
  });
  const driver = fakeDriver({ vsock });
  const begin = (...given: Parameters<typeof accept>) => accept(...given);
  const before = driver.connect(version);
  const guid = (text: string) => [...new Uint32Array(guidBytes(text).buffer)];
  const connect = (endpoint: string, service: string) => driver.post([CONNECT, 0, ...guid(endpoint), ...guid(service)]);
  /** What the guest is told: the types of messages with relids, and offers whole. */
  const hear = () => {
    const told: { type: number; words: number[] }[] = [];
    for (let message = driver.receive(); message; message = driver.receive())
      told.push({ type: message[0], words: message });
    return told;
  };
  const offered = () => {
    const [message, ...more] = hear();
    assert.deepEqual([message?.type, more.length], [OFFER, 0]);
    const bytes = new DataView(Uint32Array.from(message.words).buffer);
    return {
      relid: bytes.getUint32(184, true),
      connection: bytes.getUint32(192, true),
      type: message.words.slice(2, 6),
      instance: message.words.slice(6, 10),
      flags: bytes.getUint16(56, true),
      fromHost: bytes.getUint8(64),
    };
  };
  const openOffered = (ringPages?: number) => {
    const offer = offered();
    return driver.open({ ...offer, type: '', pipe: true }, ringPages);
  };
  const rescinded = () => hear().map(({ type, words: [, , relid] }) => [type, relid]);
  return {
    ...driver,
    before,
    begin,
    again: driver.connect,
    opened,
    connect,
    hear,
    offered,
    openOffered,
    rescinded,
    guid,
  };
}

function pipe(data: string | Uint8Array, { type = 1, length = data.length } = {}): Uint8Array {
  return Buffer.concat([words(type, length), typeof data === 'string' ? Buffer.from(data) : data]);
}

/** The data of what the guest finds in its ring; 'end' for the end. */
function read(channel: FakeChannel): (string | number)[] {
  const found: (string | number)[] = [];
  for (let packet = channel.take(); packet; packet = channel.take()) {
    const view = new DataView(packet.body.slice().buffer);
    assert.deepEqual([packet.type, view.getUint32(0, true)], [6, 1]);
    const length = view.getUint32(4, true);
    found.push(length === 0 ? 'end' : length > 40 ? length : `${Buffer.from(packet.body.subarray(8, 8 + length))}`);
  }
  return found;
}

test('the guest connects, both ends talk and end, and the channel goes', () => {
  const { connect, opened, hear, offered, open, post, rescinded, guid, before } = setUp();
  assert.ok(
    before.every(({ relid }) => relid < 20),
    'none is there before',
  );
  assert.equal(connect(serviceGuid(1025), serviceGuid(52)), 0);
  assert.deepEqual([hear(), opened[0].port], [[], 52]);
  const { handler, program } = opened[0];
  handler.connected!();
  const offer = offered();
  assert.deepEqual([offer.type, offer.instance], [guid(serviceGuid(52)), guid(serviceGuid(1025))]);
  assert.deepEqual([offer.flags, offer.fromHost], [0x2010, 0]);
  const channel = open({ ...offer, type: '', pipe: true });
  channel.send(6, 0, pipe('hello'), 0);
  assert.deepEqual(program.take(), ['write hello']);
  channel.flagged();
  handler.data(Buffer.from('welcome'));
  assert.deepEqual([channel.flagged(), read(channel)], [true, ['welcome']]);
  channel.send(6, 0, pipe(''), 0);
  assert.deepEqual(program.take(), ['end']);
  handler.data(Buffer.from('bye'));
  handler.ended();
  assert.deepEqual(read(channel), ['bye', 'end']);
  assert.deepEqual(rescinded(), [[RESCIND, offer.relid]]);
  post([RELEASED, 0, offer.relid]);
  connect(serviceGuid(1026), serviceGuid(52));
  opened[1].handler.connected!();
  assert.equal(offered().relid, offer.relid, 'it is free again');
});

test('nobody is at the port, or it is no port: the guest is told so where it can be', () => {
  const { connect, opened, hear } = setUp();
  connect(serviceGuid(1025), serviceGuid(9));
  opened[0].handler.closed('refused');
  connect(serviceGuid(1025), 'f8615163-df3e-46c5-913f-f2d2f965ed0e');
  connect(serviceGuid(1025), serviceGuid(0x80000000));
  const told = hear();
  assert.deepEqual([told.length, opened.length], [3, 1]);
  for (const { type, words } of told) assert.deepEqual([type, words[10]], [RESULT, 0xc0000236]);
  const older = setUp(0x40000);
  older.connect(serviceGuid(1), serviceGuid(9));
  older.opened[0].handler.closed('refused');
  assert.deepEqual(older.hear(), []);
  const oldest = setUp(0x30000);
  oldest.connect(serviceGuid(1), serviceGuid(9));
  assert.equal(oldest.opened.length, 0, 'there were no sockets');
});

test('a program connects to the guest, and closes', () => {
  const { begin, offered, open, guid, rescinded } = setUp();
  const program = fakeSocket();
  const ports: number[] = [];
  const handler = begin(7, program.socket, port => void ports.push(port));
  const offer = offered();
  assert.deepEqual([offer.type, offer.fromHost, ports], [guid(serviceGuid(7)), 1, []]);
  const channel = open({ ...offer, type: '', pipe: true });
  assert.equal(ports.length, 1);
  handler.data(Buffer.from('abc'));
  handler.closed();
  assert.deepEqual(read(channel), ['abc', 'end']);
  assert.deepEqual(rescinded(), [[RESCIND, offer.relid]]);
});

test('a guest in which nobody listens says nothing: the program is refused after a while', () => {
  const { begin, offered, cpu, rescinded } = setUp();
  const program = fakeSocket();
  begin(7, program.socket, () => assert.fail());
  const { relid } = offered();
  cpu.clock.advance(4 * SECOND);
  assert.deepEqual(program.take(), ['pause']);
  cpu.clock.advance(SECOND);
  assert.deepEqual([program.take(), rescinded()], [['reset'], [[RESCIND, relid]]]);
  begin(0x80000000, program.socket, () => assert.fail());
  assert.deepEqual(program.take(), ['pause', 'reset'], 'nor is there such a port');
});

test('much data both ways, in rings that are smaller', () => {
  const { connect, opened, openOffered, memory } = setUp();
  connect(serviceGuid(1025), serviceGuid(52));
  const { handler, program } = opened[0];
  handler.connected!();
  const channel = openOffered(2);
  for (let pieces = 0; pieces < 10; pieces++) handler.data(new Uint8Array(50_000));
  handler.ended();
  const found: (string | number)[] = [];
  for (let turns = 0; turns < 1000 && found.at(-1) !== 'end'; turns++) {
    found.push(...read(channel));
    channel.signal();
  }
  assert.equal(
    found.slice(0, -1).reduce<number>((sum, length) => sum + Number(length), 0),
    500_000,
  );
  // A program that does not read: the guest's ring fills, and is emptied when it does.
  program.take();
  program.state.pending = 1 << 20;
  let sent = 0;
  for (; sent < 100; sent++) {
    channel.send(6, 0, pipe(new Uint8Array(4000)), 0);
    if (!isEmpty(channel)) break;
  }
  assert.ok(sent > 50 && sent < 70, `${sent}`);
  program.state.pending = 0;
  handler.drained();
  assert.ok(isEmpty(channel));
  assert.equal(program.take().filter(what => what === 'write 4000').length, sent + 1);

  function isEmpty({ outgoing }: FakeChannel): boolean {
    return memory.read32(outgoing) === memory.read32(outgoing + 4);
  }
});

test('what is no data of a pipe breaks the connection off', () => {
  for (const bad of [pipe('x', { type: 2 }), pipe('x', { length: 9 }), pipe('', { length: 0xffffffff })]) {
    const { connect, opened, openOffered, rescinded } = setUp();
    connect(serviceGuid(1025), serviceGuid(52));
    opened[0].handler.connected!();
    const channel = openOffered();
    channel.send(6, 0, bad, 0);
    assert.deepEqual([opened[0].program.take(), rescinded()], [['reset'], [[RESCIND, channel.relid]]]);
  }
});

test('a guest that has closed and reads nothing more is given up after a while', () => {
  const { connect, opened, openOffered, cpu, rescinded } = setUp();
  connect(serviceGuid(1025), serviceGuid(52));
  const { handler, program } = opened[0];
  handler.connected!();
  const channel = openOffered(2);
  channel.send(6, 0, pipe(''), 0);
  for (let pieces = 0; pieces < 10; pieces++) handler.data(new Uint8Array(50_000));
  cpu.clock.advance(9 * SECOND);
  assert.deepEqual(rescinded(), []);
  cpu.clock.advance(SECOND);
  assert.deepEqual([program.take().at(-1), rescinded()], ['reset', [[RESCIND, channel.relid]]]);
});

test('so many connections, and no more before the guest lets go of one', () => {
  const { connect, opened, hear, post, cpu } = setUp();
  for (let port = 0; port < 129; port++) connect(serviceGuid(port), serviceGuid(52));
  assert.deepEqual([opened.length, hear().map(({ type }) => type)], [128, [RESULT]]);
  assert.match(cpu.log.lines.join(), /no more than 128 connections/);
  opened[5].handler.connected!();
  const [{ words }] = hear();
  opened[5].handler.closed('reset');
  assert.deepEqual(
    hear().map(({ type }) => type),
    [RESCIND],
  );
  connect(serviceGuid(1000), serviceGuid(52));
  assert.equal(opened.length, 128);
  hear();
  post([RELEASED, 0, words[46]]);
  connect(serviceGuid(1000), serviceGuid(52));
  assert.equal(opened.length, 129);
});

test('connections end with the kernel that had them, and in a machine that is restored', () => {
  const { connect, opened, openOffered, rescinded, table, before, again } = setUp();
  connect(serviceGuid(1025), serviceGuid(52));
  opened[0].handler.connected!();
  const channel = openOffered();
  table.restored!();
  assert.deepEqual(rescinded(), [[RESCIND, channel.relid]]);
  connect(serviceGuid(1026), serviceGuid(52));
  opened[1].handler.connected!();
  openOffered();
  connect(serviceGuid(1027), serviceGuid(52));
  assert.deepEqual(again(), before);
  assert.deepEqual([opened[1].program.take(), opened[2].program.take()], [['reset'], ['reset']]);
});
