/** ICMP and ICMPv6: echo, and what could not be reached (RFC 792, RFC 4443). */

import { fold, sum } from './checksum.ts';
import {
  ETHERNET_HEADER,
  headersOf,
  MTU,
  makeFrame,
  type Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  setWord,
  transportChecksum,
} from './packet.ts';
import { isOurs, type Refusal, type Station } from './station.ts';

const ECHO_REPLY = 0;
const UNREACHABLE = 3;
const ECHO = 8;
const UNREACHABLE6 = 1;
const ECHO6 = 128;
const ECHO_REPLY6 = 129;

/** Codes of "destination unreachable". */
const CODES: Readonly<Record<Refusal, number>> = { network: 0, host: 1, port: 3, prohibited: 13 };
const CODES6: Readonly<Record<Refusal, number>> = { network: 0, host: 3, port: 4, prohibited: 1 };

/** As much of what went nowhere as is sent back: enough for the ports (RFC 1812), and as much as fits (RFC 4443, 2.4). */
const QUOTED = 548;
const QUOTED6 = 1232;

/** Answers pings to the network's own addresses; others go nowhere: hosts do not let us send any. */
export function receiveIcmp(station: Station, packet: Packet): void {
  const { payload, destination, source } = packet;
  if (payload.length < 8 || payload[0] !== ECHO) return;
  if (fold(sum(payload, 0, payload.length)) !== 0xffff) return;
  if (!isOurs(destination)) return station.refuse(packet, 'prohibited');
  const route = station.route(destination, source);
  if (!route || payload.length > 65535 - 20) return;
  const frame = makeFrame(route, PROTOCOL_ICMP, payload.length);
  const answer = frame.subarray(headersOf(4));
  answer.set(payload);
  answer[0] = ECHO_REPLY;
  setWord(answer, 2, 0);
  setWord(answer, 2, ~fold(sum(answer, 0, answer.length)) & 0xffff);
  for (const each of fragments(frame)) station.send(each);
}

/** @returns true if it was one */
export function receiveEcho6(station: Station, packet: Packet): boolean {
  const { payload, destination, source } = packet;
  if (payload[0] !== ECHO6 || payload.length < 8) return false;
  if (!isOurs(destination)) {
    if (destination[0] !== 0xff) station.refuse(packet, 'prohibited');
    return true;
  }
  const answer = payload.slice();
  answer[0] = ECHO_REPLY6;
  sendIcmp6(station, destination, source, answer, 64);
  return true;
}

/** @param message its checksum is made here */
export function sendIcmp6(
  station: Station,
  source: Uint8Array,
  destination: Uint8Array,
  message: Uint8Array,
  hops: number,
): void {
  const route = station.route(source, destination);
  if (!route || message.length > MTU - 40) return;
  setWord(message, 2, 0);
  setWord(message, 2, transportChecksum({ source, destination }, PROTOCOL_ICMPV6, message));
  const frame = makeFrame(route, PROTOCOL_ICMPV6, message.length, hops);
  frame.set(message, headersOf(6));
  station.send(frame);
}

/** Tells the sender of `packet` that it went nowhere: in the name of whom it was for. */
export function sendUnreachable(station: Station, packet: Packet, why: Refusal): void {
  const { version, source, destination, whole } = packet;
  if (version === 6) {
    const message = new Uint8Array(8 + Math.min(whole.length, QUOTED6));
    message[0] = UNREACHABLE6;
    message[1] = CODES6[why];
    message.set(whole.subarray(0, QUOTED6), 8);
    return sendIcmp6(station, destination, source, message, 64);
  }
  const route = station.route(destination, source);
  if (!route) return;
  const quoted = whole.subarray(0, QUOTED);
  const frame = makeFrame(route, PROTOCOL_ICMP, 8 + quoted.length);
  const message = frame.subarray(headersOf(4));
  message[0] = UNREACHABLE;
  message[1] = CODES[why];
  message.set(quoted, 8);
  setWord(message, 2, ~fold(sum(message, 0, message.length)) & 0xffff);
  station.send(frame);
}

/** An IPv4 frame as frames that fit: it may be longer than 1514 bytes. */
export function fragments(frame: Uint8Array, identification = 0): Uint8Array[] {
  if (frame.length <= ETHERNET_HEADER + MTU) return [frame];
  const headers = headersOf(4);
  const room = (MTU - 20) & ~7;
  const pieces: Uint8Array[] = [];
  for (let at = headers; at < frame.length; at += room) {
    const end = Math.min(at + room, frame.length);
    const piece = new Uint8Array(headers + end - at);
    piece.set(frame.subarray(0, headers));
    piece.set(frame.subarray(at, end), headers);
    const ip = ETHERNET_HEADER;
    setWord(piece, ip + 2, piece.length - ip);
    setWord(piece, ip + 4, identification);
    setWord(piece, ip + 6, ((at - headers) >> 3) | (end < frame.length ? 0x2000 : 0));
    setWord(piece, ip + 10, 0);
    setWord(piece, ip + 10, ~fold(sum(piece, ip, headers)) & 0xffff);
    pieces.push(piece);
  }
  return pieces;
}
