/** The host's end of a vsock against a guest's, packet by packet, as Linux's virtio_transport_common.c sends them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../devices/manual-clock.ts';
import { createLog } from '../host/log.ts';
import type { TcpHandler } from '../host/sockets.ts';
import type { VsockPrograms } from '../host/vsock.ts';
import { fakeSocket } from './testing.ts';
import { hostVsock } from './vsock.ts';
import { parseVsockPacket, type VsockPacket, vsockPacket } from './vsock-packet.ts';

const [REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST] = [1, 2, 3, 4, 5, 6, 7];
const CID = 5;
const NOTHING = new Uint8Array(0);

function setUp() {
  const packets: VsockPacket[] = [];
  const opened: { port: number; handler: TcpHandler; program: ReturnType<typeof fakeSocket> }[] = [];
  let accept!: Parameters<VsockPrograms['attach']>[0];
  const vsock = hostVsock(
    {
      open(port, handler) {
        const program = fakeSocket();
        opened.push({ port, handler, program });
        return program.socket;
      },
      attach: given => void (accept = given),
      close() {},
    },
    { cid: CID },
  );
  const log = createLog();
  vsock.connect({
    ...{ clock: new ManualClock(), log },
    receive: bytes => void packets.push({ ...parseVsockPacket(bytes)! }),
  });
  const say = (operation: number, source: number, destination: number, more: Partial<VsockPacket> = {}) =>
    vsock.send(
      vsockPacket({
        ...{ sourceCid: CID, destinationCid: 2, source, destination, operation },
        ...{ flags: 0, room: 100_000, dealt: 0, data: NOTHING },
        ...more,
      }),
    );
  /** What the guest has been sent: operations with what matters of them. */
  const hear = () =>
    packets.splice(0).map(({ operation, source, destination, data, flags }) => {
      return [operation, source, destination, ...(data.length > 0 ? [data.length] : []), ...(flags ? [flags] : [])];
    });
  return { vsock, say, hear, opened, packets, log, begin: (...given: Parameters<typeof accept>) => accept(...given) };
}

test('the guest connects, both ends talk, and the guest closes', () => {
  const { say, hear, opened } = setUp();
  say(REQUEST, 1000, 52);
  assert.deepEqual([opened[0].port, hear()], [52, []]);
  const { handler, program } = opened[0];
  handler.connected!();
  assert.deepEqual(hear(), [[RESPONSE, 52, 1000]]);
  say(RW, 1000, 52, { data: Buffer.from('hello') });
  assert.deepEqual([program.take(), hear()], [['write hello'], []]);
  handler.data(Buffer.from('welcome'));
  assert.deepEqual(hear(), [[RW, 52, 1000, 7]]);
  say(SHUTDOWN, 1000, 52, { flags: 2 });
  assert.deepEqual([program.take(), hear()], [['end'], []]);
  say(SHUTDOWN, 1000, 52, { flags: 3 });
  assert.deepEqual([program.take(), hear()], [['end', 'resume'], [[RST, 52, 1000]]]);
  say(RW, 1000, 52, { data: Buffer.from('late') });
  assert.deepEqual(hear(), [[RST, 52, 1000]], 'nobody knows of it any more');
});

test('nobody is at the port: the guest is told so', () => {
  const { say, hear, opened } = setUp();
  say(REQUEST, 1000, 9);
  opened[0].handler.closed('refused');
  assert.deepEqual(hear(), [[RST, 9, 1000]]);
  say(REQUEST, 1000, 9, { destinationCid: 77 });
  assert.deepEqual([hear(), opened.length], [[[RST, 9, 1000]], 1], 'nor is there another guest');
  say(RST, 1000, 9);
  assert.deepEqual(hear(), []);
});

test('a program connects to the guest, which accepts or refuses', () => {
  const { say, hear, begin } = setUp();
  const [program, refused] = [fakeSocket(), fakeSocket()];
  const ports: number[] = [];
  const handler = begin(7, program.socket, port => void ports.push(port));
  begin(8, refused.socket, port => void ports.push(port));
  const [[, own], [, other]] = hear();
  assert.deepEqual([own >= 0x40000000, own === other], [true, false]);
  assert.deepEqual(program.take(), ['pause']);
  say(RESPONSE, 7, own);
  say(RST, 8, other);
  assert.deepEqual([ports, program.take(), refused.take()], [[own], ['resume'], ['pause', 'reset']]);
  handler.data(Buffer.from('abc'));
  handler.ended();
  assert.deepEqual(hear(), [
    [RW, own, 7, 3],
    [SHUTDOWN, own, 7, 2],
  ]);
  handler.closed();
  assert.deepEqual(hear(), [[SHUTDOWN, own, 7, 3]]);
  say(RST, 7, own);
  assert.deepEqual([hear(), program.take()], [[], []]);
});

test('a program that comes before there is a machine is refused', () => {
  const program = fakeSocket();
  let accept!: Parameters<VsockPrograms['attach']>[0];
  hostVsock({ open: () => program.socket, attach: given => void (accept = given), close() {} });
  accept(7, program.socket, () => assert.fail());
  assert.deepEqual(program.take(), ['pause', 'reset']);
});

test('the guest gets no more than it has room for, and the program waits', () => {
  const { say, hear, opened } = setUp();
  say(REQUEST, 1, 2, { room: 1000 });
  const { handler, program } = opened[0];
  handler.connected!();
  hear();
  handler.data(new Uint8Array(1500));
  assert.deepEqual(hear(), [[RW, 2, 1, 1000]]);
  for (let count = 0; count < 10; count++) handler.data(new Uint8Array(50_000));
  assert.deepEqual([hear(), program.take()], [[], ['pause']]);
  say(CREDIT_UPDATE, 1, 2, { room: 1000, dealt: 600 });
  assert.deepEqual(hear(), [
    [RW, 2, 1, 500],
    [RW, 2, 1, 100],
  ]);
  // Whatever it says that it has room for, so much is on its way at most.
  say(CREDIT_UPDATE, 1, 2, { room: 0xffffffff, dealt: 1600 });
  assert.equal(
    hear().reduce((sum, [, , , length]) => sum + length, 0),
    65536,
  );
  for (let dealt = 1600 + 65536, turns = 0; turns < 8; dealt += 65536, turns++)
    say(CREDIT_UPDATE, 1, 2, { room: 0xffffffff, dealt });
  assert.deepEqual(program.take(), ['resume']);
  handler.ended();
  assert.deepEqual(hear().at(-1), [SHUTDOWN, 2, 1, 2]);
});

test('the guest hears what we have room for: not while a program does not read', () => {
  const { say, hear, opened, packets } = setUp();
  say(REQUEST, 1, 2);
  const { handler, program } = opened[0];
  handler.connected!();
  packets.length = 0;
  say(CREDIT_REQUEST, 1, 2);
  assert.deepEqual([packets[0].operation, packets[0].room, packets[0].dealt], [CREDIT_UPDATE, 1 << 18, 0]);
  packets.length = 0;
  program.state.pending = 1 << 20;
  say(RW, 1, 2, { data: new Uint8Array(60_000) });
  say(RW, 1, 2, { data: new Uint8Array(60_000) });
  assert.deepEqual(hear(), []);
  program.state.pending = 0;
  handler.drained();
  assert.equal(packets[0].dealt, 120_000);
  assert.deepEqual(hear(), [[CREDIT_UPDATE, 2, 1]]);
  // Who sends more than it may is cut off.
  program.state.pending = 1 << 20;
  program.take();
  for (let count = 0; count < 5; count++) say(RW, 1, 2, { data: new Uint8Array(60_000) });
  assert.deepEqual([hear(), program.take().at(-1)], [[[RST, 2, 1]], 'reset']);
});

test('many connections: the oldest go', () => {
  const { say, hear, opened, log } = setUp();
  for (let port = 0; port < 130; port++) say(REQUEST, port, 1);
  assert.deepEqual(hear(), [
    [RST, 1, 0],
    [RST, 1, 1],
  ]);
  assert.deepEqual(opened[0].program.take(), ['reset']);
  assert.match(log.lines.join(), /more than 128 connections/);
});

test("what is no packet, or not the guest's, is nothing", () => {
  const { vsock, say, hear } = setUp();
  vsock.send(new Uint8Array(43));
  vsock.send(new Uint8Array(44));
  say(REQUEST, 1, 2, { sourceCid: 9 });
  assert.deepEqual(hear(), []);
  assert.throws(() => hostVsock({} as VsockPrograms, { cid: 2 }), /cid 2: a guest's is from 3/);
});
