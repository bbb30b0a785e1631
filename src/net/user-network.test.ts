/** The user-mode network as a guest that builds its frames by hand sees it. Linux's stack is the judge in tests/network.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../conformance/random.ts';
import { ManualClock } from '../devices/manual-clock.ts';
import { createLog } from '../host/log.ts';
import type { Network } from '../host/network.ts';
import type { DnsAnswer, HostSockets, SocketError, TcpHandler, TcpSocket, UdpHandler } from '../host/sockets.ts';
import { formatAddress, parseAddress } from './addresses.ts';
import { fold, sum } from './checksum.ts';
import { complete } from './offload.ts';
import {
  ETHERNET_HEADER,
  headersOf,
  makeFrame,
  type Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseIpv4Packet,
  parseIpv6Packet,
  setWord,
  transportChecksum,
  word,
} from './packet.ts';
import { ACKNOWLEDGMENT_DELAY } from './tcp.ts';
import { MOST_CONNECTIONS } from './tcp-flows.ts';
import { ACK, FIN, parseSegment, RST, SYN, segmentFrame } from './tcp-segment.ts';
import { parseDatagram } from './udp.ts';
import { type UserNetworkOptions, userNetwork } from './user-network.ts';

const MAC = Uint8Array.of(0x52, 0x54, 0, 1, 2, 3);
const GUEST = parseAddress('10.0.2.15')!;
const GATEWAY = parseAddress('10.0.2.2')!;
const NAMES = parseAddress('10.0.2.3')!;
const OUTSIDE = parseAddress('192.0.2.1')!;

/** Sockets that note what is asked of them. */
class Sockets implements HostSockets {
  readonly tcp: { address: string; port: number; handler: TcpHandler; log: string[]; socket: TcpSocket }[] = [];
  readonly udp: { handler: UdpHandler; log: string[] }[] = [];
  readonly listeners: {
    port: number;
    accept?: (socket: TcpSocket) => TcpHandler;
    handler?: UdpHandler;
    log: string[];
  }[] = [];
  readonly names: string[] = [];
  answer: DnsAnswer = [{ type: 'A', address: '192.0.2.7' }];

  static socket(log: string[]): TcpSocket {
    return {
      write: bytes => void log.push(`write ${Buffer.from(bytes).toString('latin1')}`),
      pending: 0,
      end: () => void log.push('end'),
      pause: () => void log.push('pause'),
      resume: () => void log.push('resume'),
      reset: () => void log.push('reset'),
    };
  }

  connectTcp(address: string, port: number, handler: TcpHandler): TcpSocket {
    const log: string[] = [];
    const socket = Sockets.socket(log);
    this.tcp.push({ address, port, handler, log, socket });
    return socket;
  }
  openUdp(_version: 4 | 6, handler: UdpHandler) {
    const log: string[] = [];
    this.udp.push({ handler, log });
    return {
      send: (bytes: Uint8Array, address: string, port: number) =>
        void log.push(`${address} ${port} ${bytes.length > 99 ? bytes.length : Buffer.from(bytes).toString('latin1')}`),
      close: () => void log.push('close'),
    };
  }
  async listenTcp(_address: string, port: number, accept: (socket: TcpSocket) => TcpHandler) {
    this.listeners.push({ port, accept, log: [] });
    return { port, close() {} };
  }
  async listenUdp(_address: string, port: number, handler: UdpHandler) {
    const log: string[] = [];
    this.listeners.push({ port, handler, log });
    const send = (bytes: Uint8Array, address: string, to: number) =>
      void log.push(`${address} ${to} ${Buffer.from(bytes).toString('latin1')}`);
    return { port, close() {}, send };
  }
  resolve(name: string, type: string, answer: (answer: DnsAnswer) => void): void {
    this.names.push(`${name} ${type}`);
    answer(this.answer);
  }
}

async function setUp(options: Partial<UserNetworkOptions> = {}) {
  const sockets = new Sockets();
  const clock = new ManualClock();
  const log = createLog();
  const network: Network = await userNetwork({ sockets, ...options });
  let frames: Uint8Array[] = [];
  network.connect({ clock, log, receive: (frame, offload) => void frames.push(...complete(frame.slice(), offload)) });
  /** Lets the network answer, and takes the answers. */
  const answers = () => {
    clock.advance(1000);
    const taken = frames;
    frames = [];
    return taken;
  };
  const packets = (): Packet[] =>
    answers().flatMap(frame => {
      const body = frame.subarray(ETHERNET_HEADER);
      if (word(frame, 12) === 0x0800) return [parseIpv4Packet(body)!.packet];
      return word(frame, 12) === 0x86dd ? [parseIpv6Packet(body)!] : [];
    });
  const route = (destination: Uint8Array, source = GUEST) => ({
    fromMac: MAC,
    toMac: new Uint8Array(6),
    source,
    destination,
  });
  const udp = (destination: Uint8Array, from: number, to: number, text: string | Uint8Array, source = GUEST) => {
    const payload = typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
    const frame = makeFrame(route(destination, source), PROTOCOL_UDP, 8 + payload.length);
    const bytes = frame.subarray(headersOf(source.length === 4 ? 4 : 6));
    setWord(bytes, 0, from);
    setWord(bytes, 2, to);
    setWord(bytes, 4, bytes.length);
    bytes.set(payload, 8);
    setWord(bytes, 6, transportChecksum({ source, destination }, PROTOCOL_UDP, bytes) || 0xffff);
    network.send(frame);
  };
  const tcp = (
    destination: Uint8Array,
    from: number,
    to: number,
    flags: number,
    sequence = 100,
    acknowledgment = 0,
    text = '',
    by = GUEST,
  ) => {
    const ports = { source: from, destination: to };
    const payload = [Buffer.from(text, 'latin1')];
    const { frame, offload } = segmentFrame(
      route(destination, by),
      ports,
      { flags, sequence, acknowledgment, window: 65535, payload },
      0,
    );
    for (const each of complete(frame, offload)) network.send(each);
  };
  const segments = () =>
    packets()
      .filter(({ protocol }) => protocol === PROTOCOL_TCP)
      .map(packet => parseSegment(packet, false)!);
  const unreachable = () =>
    packets()
      .filter(({ protocol, payload }) => protocol === PROTOCOL_ICMP && payload[0] === 3)
      .map(({ payload }) => payload[1]);
  // The guest has said where it is.
  network.send(arp(GUEST, GUEST));
  answers();
  return { network, sockets, clock, log, answers, packets, segments, unreachable, udp, tcp, route };
}

function arp(source: Uint8Array, target: Uint8Array): Uint8Array {
  const frame = new Uint8Array(42);
  frame.fill(255, 0, 6);
  frame.set(MAC, 6);
  frame.set([8, 6, 0, 1, 8, 0, 6, 4, 0, 1], 12);
  frame.set(MAC, 22);
  frame.set(source, 28);
  frame.set(target, 38);
  return frame;
}

test('ARP: the gateway and the DNS server answer, nobody else does', async () => {
  const { network, answers } = await setUp();
  for (const [target, count] of [
    ['10.0.2.2', 1],
    ['10.0.2.3', 1],
    ['10.0.2.4', 0],
    ['10.0.2.15', 0],
  ] as const) {
    network.send(arp(GUEST, parseAddress(target)!));
    const found = answers();
    assert.equal(found.length, count, target);
    if (count) assert.deepEqual([...found[0].subarray(28, 32)], [...parseAddress(target)!]);
  }
});

/** A client's message, with its options. */
function dhcp(options: readonly number[], mac = MAC): Uint8Array {
  const bytes = new Uint8Array(300);
  bytes.set([1, 1, 6, 0, 1, 2, 3, 4]);
  bytes.set(mac, 28);
  bytes.set([0x63, 0x82, 0x53, 0x63, ...options, 255], 236);
  return bytes;
}

test('DHCP: an offer, an address, a refusal of what is not to be had; as many as there are addresses', async () => {
  const { udp, packets } = await setUp();
  const nobody = new Uint8Array(4);
  const everybody = new Uint8Array(4).fill(255);
  const ask = (options: readonly number[], mac = MAC) => {
    udp(everybody, 68, 67, dhcp(options, mac), nobody);
    const [answer] = packets();
    if (!answer) return undefined;
    const { payload } = parseDatagram(answer, false)!;
    assert.equal(formatAddress(answer.destination), '255.255.255.255');
    assert.deepEqual([...payload.subarray(4, 8)], [1, 2, 3, 4]);
    return { kind: payload[242], address: formatAddress(payload.subarray(16, 20)), bytes: payload };
  };
  const offer = ask([53, 1, 1]);
  assert.deepEqual([offer?.kind, offer?.address], [2, '10.0.2.15']);
  assert.ok(Buffer.from(offer!.bytes).includes(Buffer.from([3, 4, 10, 0, 2, 2])), 'a router');
  assert.ok(Buffer.from(offer!.bytes).includes(Buffer.from([6, 4, 10, 0, 2, 3])), 'a DNS server');
  const ack = ask([53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2]);
  assert.deepEqual([ack?.kind, ack?.address], [5, '10.0.2.15']);
  assert.equal(ask([53, 1, 3, 50, 4, 192, 168, 1, 1, 54, 4, 10, 0, 2, 2])?.kind, 6, 'refused');
  assert.equal(ask([53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 9]), undefined, "another server's");
  const found = new Set<string | undefined>();
  for (let index = 0; index < 20; index++) found.add(ask([53, 1, 1], Uint8Array.of(2, 0, 0, 0, 0, index))?.address);
  assert.equal(found.size, 16, '15 addresses more, and then none');
});

test('pings: of the gateway they are answered, of others refused', async () => {
  const { network, packets, route } = await setUp();
  const ping = (destination: Uint8Array, length: number) => {
    const frame = makeFrame(route(destination), PROTOCOL_ICMP, 8 + length);
    const message = frame.subarray(34);
    message.set([8, 0, 0, 0, 0, 7, 0, 9]);
    message.fill(0x61, 8);
    setWord(message, 2, ~fold(sum(message, 0, message.length)) & 0xffff);
    network.send(frame);
    return packets();
  };
  const [answer] = ping(GATEWAY, 56);
  assert.deepEqual([answer.payload[0], answer.payload[5], answer.payload[7], answer.payload.length], [0, 7, 9, 64]);
  assert.equal(fold(sum(answer.payload, 0, 64)), 0xffff);
  assert.deepEqual([ping(OUTSIDE, 56)[0].payload[0], ping(OUTSIDE, 56)[0].payload[1]], [3, 13]);
});

test('IPv6: a router, neighbours, pings', async () => {
  const { network, packets } = await setUp();
  const source = parseAddress('fe80::1234')!;
  const send = (destination: string, message: number[], hops: number) => {
    const to = parseAddress(destination)!;
    const bytes = Uint8Array.from(message);
    setWord(bytes, 2, transportChecksum({ source, destination: to }, PROTOCOL_ICMPV6, bytes));
    const route = { fromMac: MAC, toMac: new Uint8Array(6), source, destination: to };
    const frame = makeFrame(route, PROTOCOL_ICMPV6, bytes.length, hops);
    frame.set(bytes, 54);
    network.send(frame);
    const found = packets();
    for (const packet of found) assert.equal(transportChecksum(packet, PROTOCOL_ICMPV6, packet.payload), 0);
    return found;
  };
  const [advertisement] = send('ff02::2', [133, 0, 0, 0, 0, 0, 0, 0], 255);
  assert.equal(advertisement.payload[0], 134);
  assert.equal(formatAddress(advertisement.payload.subarray(48, 64)), 'fd00:10:0:2::');
  assert.deepEqual(send('ff02::2', [133, 0, 0, 0, 0, 0, 0, 0], 64), [], 'from beyond a router');
  const [neighbour] = send('fe80::2', [135, 0, 0, 0, 0, 0, 0, 0, ...parseAddress('fe80::2')!], 255);
  assert.deepEqual([neighbour.payload[0], formatAddress(neighbour.payload.subarray(8, 24))], [136, 'fe80::2']);
  assert.deepEqual(send('fe80::2', [135, 0, 0, 0, 0, 0, 0, 0, ...parseAddress('fe80::9')!], 255), []);
  const [pong] = send('fe80::2', [128, 0, 0, 0, 0, 1, 0, 2, 9], 64);
  assert.deepEqual([...pong.payload.subarray(4)], [0, 1, 0, 2, 9]);
});

test('DNS asks the host; what cannot be asked, and what is malformed, is said', async () => {
  const { udp, packets, sockets } = await setUp();
  const ask = (message: readonly number[]) => {
    udp(NAMES, 4000, 53, Uint8Array.from(message));
    return parseDatagram(packets()[0], false)!.payload;
  };
  const header = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  const name = [3, 97, 98, 99, 2, 100, 101, 0];
  const answer = ask([...header, ...name, 0, 1, 0, 1]);
  assert.deepEqual(sockets.names, ['abc.de A']);
  assert.equal(word(answer, 0), 0x1234);
  assert.equal(word(answer, 2), 0x8180);
  assert.deepEqual([...answer.subarray(-4)], [192, 0, 2, 7]);
  sockets.answer = 'no-name';
  assert.equal(word(ask([...header, ...name, 0, 28, 0, 1]), 2), 0x8183);
  assert.equal(word(ask([...header, ...name, 0, 99, 0, 1]), 2), 0x8184);
  assert.equal(word(ask([...header, 63, 1, 2]), 2), 0x8001);
});

test('UDP: to the outside and back, and nobody else is heard', async () => {
  const { udp, packets, sockets, unreachable, clock } = await setUp();
  udp(OUTSIDE, 5000, 7, 'hello');
  udp(OUTSIDE, 5000, 8, 'again');
  assert.equal(sockets.udp.length, 1);
  assert.deepEqual(sockets.udp[0].log, ['192.0.2.1 7 hello', '192.0.2.1 8 again']);
  sockets.udp[0].handler.message(Buffer.from('answer'), '192.0.2.1', 9);
  sockets.udp[0].handler.message(Buffer.from('stranger'), '192.0.2.2', 9);
  const [packet, ...rest] = packets();
  assert.deepEqual(rest, []);
  const { source, destination, payload } = parseDatagram(packet, false)!;
  assert.deepEqual(
    [formatAddress(packet.source), source, destination, Buffer.from(payload).toString()],
    ['192.0.2.1', 9, 5000, 'answer'],
  );
  // What is too long for a frame comes in fragments.
  sockets.udp[0].handler.message(new Uint8Array(4000), '192.0.2.1', 9);
  assert.equal(packets().length, 3);
  sockets.udp[0].handler.failed('unreachable');
  assert.deepEqual(unreachable(), [0]);
  udp(GATEWAY, 5000, 7, 'x');
  assert.deepEqual(unreachable(), [3], "the host's loopback is closed");
  clock.advance(600e9);
  assert.equal(sockets.udp[0].log.at(-1), 'close');
});

test('what a guest may not reach: the host, its link, and with restrict everything', async () => {
  const open = await setUp();
  for (const address of ['127.0.0.1', '127.8.8.8', '169.254.169.254', '0.0.0.0', '10.0.2.77', '224.0.0.1']) {
    open.tcp(parseAddress(address)!, 1000, 80, SYN);
    open.udp(parseAddress(address)!, 1000, 80, 'x');
  }
  assert.deepEqual([open.sockets.tcp, open.sockets.udp], [[], []]);
  const v6 = parseAddress('fe80::15')!;
  for (const address of ['::1', '::ffff:127.0.0.1', '::127.0.0.1', 'fe80::1', 'ff02::1', '::'])
    open.udp(parseAddress(address)!, 1000, 80, 'x', v6);
  assert.deepEqual(open.sockets.udp, []);

  const restricted = await setUp({ restrict: true });
  restricted.tcp(OUTSIDE, 1000, 80, SYN);
  restricted.udp(OUTSIDE, 1000, 80, 'x');
  assert.deepEqual(restricted.unreachable(), [13, 13]);
  restricted.udp(NAMES, 1000, 53, 'x');
  assert.deepEqual(restricted.unreachable(), [3]);
  assert.deepEqual([restricted.sockets.tcp, restricted.sockets.udp, restricted.sockets.names], [[], [], []]);

  const loopback = await setUp({ hostLoopback: true });
  loopback.tcp(GATEWAY, 1000, 80, SYN);
  assert.equal(loopback.sockets.tcp[0].address, '127.0.0.1');
});

test('names over TCP: queries in pieces and in numbers, long answers, and what is no query', async () => {
  const { tcp, segments, sockets } = await setUp();
  sockets.answer = Array.from({ length: 100 }, (_, index) => ({ type: 'A', address: `192.0.2.${index}` }));
  const query = String.fromCharCode(...[0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 2, 98, 99, 0, 0, 1, 0, 1]);
  const framed = `\0${String.fromCharCode(query.length)}${query}`;
  tcp(NAMES, 1000, 53, SYN, 100);
  const [synAck] = segments();
  assert.equal(synAck.flags, SYN | ACK);
  const next = (synAck.sequence + 1) | 0;
  tcp(NAMES, 1000, 53, ACK, 101, next, framed.slice(0, 9));
  tcp(NAMES, 1000, 53, ACK, 110, next, framed.slice(9) + framed);
  const bytes = Buffer.concat(segments().flatMap(({ payload }) => payload));
  assert.deepEqual(sockets.names, ['a.bc A', 'a.bc A']);
  const length = bytes.readUInt16BE(0);
  assert.equal(bytes.length, 2 * (length + 2));
  assert.deepEqual([bytes.readUInt16BE(2), bytes.readUInt16BE(8)], [7, 100], 'all addresses, in one answer');
  const acknowledged = (next + bytes.length) | 0;
  tcp(NAMES, 1000, 53, ACK | FIN, 101 + 2 * framed.length, acknowledged);
  assert.ok(segments().some(({ flags }) => flags & FIN));
  // An answer is no query: the connection ends.
  tcp(NAMES, 1001, 53, SYN, 100);
  const sequence = (segments()[0].sequence + 1) | 0;
  tcp(NAMES, 1001, 53, ACK, 101, sequence, `\0\x0c\0\x07\x80${'\0'.repeat(9)}`);
  assert.ok(segments().some(({ flags }) => flags & FIN));
  tcp(NAMES, 1002, 80, SYN, 100);
  assert.ok(segments()[0].flags & RST, 'nothing else is there');
  const restricted = await setUp({ restrict: true });
  restricted.tcp(NAMES, 1000, 53, SYN, 100);
  assert.ok(restricted.segments()[0].flags & RST);
});

/** A connection of a guest's to OUTSIDE that is open. */
async function connected() {
  const machine = await setUp();
  machine.tcp(OUTSIDE, 1000, 80, SYN, 100);
  machine.sockets.tcp[0].handler.connected!();
  const next = (machine.segments()[0].sequence + 1) | 0;
  machine.tcp(OUTSIDE, 1000, 80, ACK, 101, next);
  machine.segments();
  let sent = 101;
  /** @param skip bytes that the network does not carry, for now */
  const send = (text: string, skip = 0) => {
    machine.tcp(OUTSIDE, 1000, 80, ACK, sent + skip, next, text);
    if (skip === 0) sent += text.length;
  };
  const told = () => machine.segments().map(({ acknowledgment }) => acknowledgment - sent);
  return { ...machine, send, told };
}

test('TCP: little pieces one after the other are acknowledged many at a time, none of them late', async () => {
  const { clock, send, told } = await connected();
  let answers = 0;
  for (let piece = 0; piece < 2048; piece++) {
    send('x'.repeat(1024));
    clock.advance(20_000);
    answers += told().length;
  }
  assert.ok(answers >= 32 && answers <= 64, `${answers} acknowledgments of 2 MiB`);
  clock.advance(ACKNOWLEDGMENT_DELAY);
  told();
  // Whoever writes once and waits has its acknowledgment soon; so has one that may send no more.
  for (const size of [1, 100, 536]) {
    send('y'.repeat(size));
    assert.deepEqual(told(), []);
    clock.advance(ACKNOWLEDGMENT_DELAY);
    assert.deepEqual(told(), [0]);
  }
  send('z'.repeat(2 * 536)); // As long as they are for a guest that does not say (RFC 9293, 3.7.1).
  assert.deepEqual(told(), [0], 'of two whole segments, at once');
});

test('TCP: what comes out of order is told at once, and so is what fills the gap', async () => {
  const { send, told, sockets } = await connected();
  send('late', 3);
  assert.deepEqual(told(), [0]);
  send('late', 3);
  assert.deepEqual(told(), [0]);
  send('too');
  assert.deepEqual(told(), [4]);
  assert.deepEqual(sockets.tcp[0].log.slice(-2), ['write too', 'write late']);
  send('twice', -2);
  assert.deepEqual(told().length, 1);
});

test('TCP: a connection is answered when the host has one; errors arrive as what they are', async () => {
  const { tcp, segments, unreachable, sockets } = await setUp();
  tcp(OUTSIDE, 1000, 80, SYN, 100);
  assert.deepEqual(segments(), []);
  const [{ handler, log, address, port }] = sockets.tcp;
  assert.deepEqual([address, port], ['192.0.2.1', 80]);
  tcp(OUTSIDE, 1000, 80, SYN, 100);
  assert.equal(sockets.tcp.length, 1, 'the same again is no other');
  handler.connected!();
  const [synAck] = segments();
  assert.deepEqual([synAck.flags, synAck.acknowledgment, synAck.mss], [SYN | ACK, 101, 1460]);
  const next = (synAck.sequence + 1) | 0;
  tcp(OUTSIDE, 1000, 80, ACK, 101, next);
  tcp(OUTSIDE, 1000, 80, ACK, 101, next, 'GET');
  assert.deepEqual(log, ['resume', 'write GET']);
  handler.data(Buffer.from('OK'));
  handler.ended();
  const [data, fin] = segments();
  assert.deepEqual([String(Buffer.from(data.payload)), data.acknowledgment], ['OK', 104]);
  assert.equal((fin ?? data).flags & FIN, FIN);
  tcp(OUTSIDE, 1000, 80, ACK | FIN, 104, (next + 3) | 0);
  assert.equal(log.at(-1), 'end');
  assert.deepEqual(
    segments().map(({ flags }) => flags),
    [ACK],
  );

  for (const [error, expected] of [
    ['refused', 'reset'],
    ['unreachable', 0],
    ['timeout', 1],
  ] as [SocketError, string | number][]) {
    tcp(OUTSIDE, 2000, 80, SYN);
    sockets.tcp.at(-1)!.handler.closed(error);
    if (expected === 'reset')
      assert.deepEqual(
        segments().map(({ flags }) => flags),
        [RST | ACK],
      );
    else assert.deepEqual(unreachable(), [expected]);
  }
  tcp(OUTSIDE, 3000, 80, ACK, 1, 5);
  assert.deepEqual(
    segments().map(({ flags, sequence }) => [flags, sequence]),
    [[RST, 5]],
    'nobody knows it',
  );
});

test('a guest that opens connections without end gets so many', async () => {
  const { tcp, sockets, log } = await setUp();
  for (let port = 1; port <= 10_000; port++) tcp(OUTSIDE, port, 80, SYN);
  assert.equal(sockets.tcp.filter(({ log: done }) => !done.includes('reset')).length, MOST_CONNECTIONS);
  assert.equal(log.lines.length, 1);
  assert.match(log.lines[0], /256 TCP connections/);
});

test('forwarded ports', async () => {
  const forwards = [
    { protocol: 'tcp', address: '127.0.0.1', port: 8080, guestPort: 80 },
    { protocol: 'udp', address: '127.0.0.1', port: 5353, guestPort: 53 },
  ] as const;
  const { tcp, udp, segments, packets, sockets } = await setUp({ forwards, restrict: true });
  const [listener, datagrams] = sockets.listeners;
  const log: string[] = [];
  const handler = listener.accept!(Sockets.socket(log));
  const [syn] = segments();
  assert.deepEqual([syn.flags, syn.destination], [SYN, 80]);
  tcp(GATEWAY, 80, syn.source, SYN | ACK, 500, (syn.sequence + 1) | 0);
  assert.deepEqual(log, ['pause', 'resume']);
  handler.data(Buffer.from('hello'));
  assert.equal(
    segments()
      .map(({ payload }) => String(Buffer.from(payload)))
      .join(''),
    'hello',
  );
  tcp(GATEWAY, 80, syn.source, ACK, 501, (syn.sequence + 6) | 0, 'served');
  assert.equal(log.at(-1), 'write served');

  datagrams.handler!.message(Buffer.from('q'), '127.0.0.1', 777);
  const { source, destination } = parseDatagram(packets()[0], false)!;
  assert.equal(destination, 53);
  udp(GATEWAY, 53, source, 'a');
  assert.deepEqual(datagrams.log, ['127.0.0.1 777 a']);
});

test('forwarded ports lead to an IPv6 address that is named, or to whichever the guest has', async () => {
  const forwards = [
    { protocol: 'tcp', address: '::1', port: 8080, guest: '::', guestPort: 80 },
    { protocol: 'udp', address: '::1', port: 5353, guest: 'fd00:10:0:2::77', guestPort: 53 },
  ] as const;
  const { udp, tcp, answers, sockets } = await setUp({ forwards });
  const [listener, datagrams] = sockets.listeners;
  // The guest has used an IPv4 address alone: what it makes of its MAC address is asked for.
  listener.accept!(Sockets.socket([]));
  const [solicitation] = answers().map(frame => parseIpv6Packet(frame.subarray(ETHERNET_HEADER))!);
  const own = parseAddress('fd00:10:0:2:5054:ff:fe01:203')!;
  assert.deepEqual([solicitation.payload[0], solicitation.payload.subarray(8, 24)], [135, own]);
  assert.equal(formatAddress(solicitation.destination), 'ff02::1:ff01:203');
  // It answers from another one that it prefers: that is where the next goes.
  const used = parseAddress('fd00:10:0:2::99')!;
  const gateway = parseAddress('fd00:10:0:2::2')!;
  udp(gateway, 1, 9, 'x', used);
  answers();
  const log: string[] = [];
  listener.accept!(Sockets.socket(log));
  const syn = answers()
    .map(frame => parseIpv6Packet(frame.subarray(ETHERNET_HEADER))!)
    .find(({ destination }) => formatAddress(destination) === formatAddress(used))!;
  const { source, sequence } = parseSegment(syn, false)!;
  assert.equal(formatAddress(syn.source), formatAddress(gateway));
  tcp(gateway, 80, source, SYN | ACK, 500, (sequence + 1) | 0, '', used);
  assert.deepEqual(log, ['pause', 'resume']);
  // One that is named, too, once it is known.
  datagrams.handler!.message(Buffer.from('q'), '::1', 777);
  assert.equal(parseIpv6Packet(answers()[0].subarray(ETHERNET_HEADER))!.payload[0], 135);
  const named = parseAddress('fd00:10:0:2::77')!;
  udp(gateway, 1, 9, 'x', named);
  answers();
  datagrams.handler!.message(Buffer.from('q'), '::1', 777);
  const asked = parseIpv6Packet(answers()[0].subarray(ETHERNET_HEADER))!;
  const { source: from, destination } = parseDatagram(asked, false)!;
  assert.deepEqual([formatAddress(asked.destination), destination], ['fd00:10:0:2::77', 53]);
  udp(gateway, 53, from, 'a', named);
  assert.deepEqual(datagrams.log, ['::1 777 a']);
});

test('fragments are put together, in any order, and never beyond bounds', async () => {
  const { network, sockets, route } = await setUp();
  const whole = new Uint8Array(8 + 3000);
  setWord(whole, 0, 1);
  setWord(whole, 2, 2);
  setWord(whole, 4, whole.length);
  const piece = (from: number, to: number, more: boolean, id: number) => {
    const frame = makeFrame(route(OUTSIDE), PROTOCOL_UDP, to - from);
    frame.set(whole.subarray(from, to), 34);
    setWord(frame, 18, id);
    setWord(frame, 20, (from >> 3) | (more ? 0x2000 : 0));
    setWord(frame, 24, 0);
    setWord(frame, 24, ~fold(sum(frame, 14, 34)) & 0xffff);
    network.send(frame);
  };
  piece(1480, 2960, true, 1);
  piece(2960, 3008, false, 1);
  assert.equal(sockets.udp.length, 0);
  piece(0, 1480, true, 1);
  assert.deepEqual(sockets.udp[0].log, ['192.0.2.1 2 3000']);
});

test('frames that mean nothing, or harm, do neither', async () => {
  const { network, sockets, udp, tcp, clock, answers } = await setUp({ hostLoopback: true });
  const seeds: Uint8Array[] = [];
  const listen = network.send;
  network.send = frame => void seeds.push(frame.slice());
  udp(NAMES, 1, 53, Uint8Array.from([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 97, 0, 0, 1, 0, 1]));
  udp(new Uint8Array(4).fill(255), 68, 67, dhcp([53, 1, 3, 50, 4, 10, 0, 2, 15]));
  tcp(OUTSIDE, 9, 80, SYN);
  tcp(OUTSIDE, 9, 80, ACK, 101, 1, 'data');
  udp(OUTSIDE, 5, 6, 'x');
  seeds.push(arp(GUEST, GATEWAY));
  network.send = listen;
  const random = createRandom(7n);
  for (let round = 0; round < 30_000; round++) {
    const frame = random.of(seeds).slice(0, 14 + random.below(400));
    for (let count = random.below(6); count > 0; count--) frame[random.below(frame.length)] = random.below(256);
    const length = frame.length;
    const offload =
      random.below(4) === 0
        ? { start: random.below(length + 40), at: random.below(length + 40), segment: random.below(3) * 700 }
        : undefined;
    network.send(frame, offload);
    if (round % 100 === 0) {
      for (const { handler } of sockets.tcp.splice(0))
        random.below(2) ? handler.connected!() : handler.closed('refused');
      clock.advance(random.below(1_000_000_000));
    }
    answers();
  }
});
