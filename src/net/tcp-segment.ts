/** TCP segments (RFC 9293, 3.1; window scale: RFC 7323). */

import type { Offload } from '../host/network.ts';
import { fold, pseudoHeaderSum } from './checksum.ts';
import {
  ETHERNET_HEADER,
  headersOf,
  long,
  makeFrame,
  type Packet,
  PROTOCOL_TCP,
  type Route,
  setLong,
  setWord,
  transportChecksum,
  word,
} from './packet.ts';

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

export const TCP_HEADER = 20;
const CHECKSUM_AT = 16;
const OPTION_MSS = 2;
const OPTION_WINDOW_SCALE = 3;
/** RFC 7323, 2.3. */
const MOST_SCALE = 14;

export interface Segment {
  /** Modulo 2^32, as signed 32-bit numbers. */
  readonly sequence: number;
  readonly acknowledgment: number;
  readonly flags: number;
  /** As it stands there: not scaled. */
  readonly window: number;
  readonly payload: Uint8Array;
  /** Only of a SYN. */
  readonly mss?: number | undefined;
  readonly scale?: number | undefined;
}

export interface Ports {
  readonly source: number;
  readonly destination: number;
}

/** @param trusted the checksum was left undone. @returns undefined for what is no sound segment */
export function parseSegment(packet: Packet, trusted: boolean): (Segment & Ports) | undefined {
  const bytes = packet.payload;
  if (bytes.length < TCP_HEADER) return undefined;
  const header = (bytes[12] >> 4) * 4;
  if (header < TCP_HEADER || header > bytes.length) return undefined;
  if (!trusted && transportChecksum(packet, PROTOCOL_TCP, bytes) !== 0) return undefined;
  const flags = bytes[13];
  return {
    source: word(bytes, 0),
    destination: word(bytes, 2),
    sequence: long(bytes, 4) | 0,
    acknowledgment: long(bytes, 8) | 0,
    flags,
    window: word(bytes, 14),
    payload: bytes.subarray(header),
    ...(flags & SYN ? parseOptions(bytes.subarray(TCP_HEADER, header)) : {}),
  };
}

function parseOptions(bytes: Uint8Array): Pick<Segment, 'mss' | 'scale'> {
  let mss: number | undefined;
  let scale: number | undefined;
  for (let at = 0; at < bytes.length && bytes[at] !== 0; ) {
    if (bytes[at] === 1) {
      at++;
      continue;
    }
    const length = bytes[at + 1] ?? 0;
    if (length < 2 || at + length > bytes.length) break;
    if (bytes[at] === OPTION_MSS && length === 4) mss = word(bytes, at + 2);
    if (bytes[at] === OPTION_WINDOW_SCALE && length === 3) scale = Math.min(bytes[at + 2], MOST_SCALE);
    at += length;
  }
  return { mss, scale };
}

/** A segment as a frame, whose checksum is left to the receiver. @param cut bytes of payload in each frame; 0: it stays one */
export function segmentFrame(
  route: Route,
  ports: Ports,
  segment: Omit<Segment, 'payload'> & { payload: readonly Uint8Array[] },
  cut: number,
): { frame: Uint8Array; offload: Offload } {
  const options = segment.flags & SYN ? 8 : 0;
  const data = segment.payload.reduce((length, { length: more }) => length + more, 0);
  const length = TCP_HEADER + options + data;
  const frame = makeFrame(route, PROTOCOL_TCP, length);
  const start = headersOf(route.source.length === 4 ? 4 : 6);
  setWord(frame, start, ports.source);
  setWord(frame, start + 2, ports.destination);
  setLong(frame, start + 4, segment.sequence);
  setLong(frame, start + 8, segment.acknowledgment);
  frame[start + 12] = ((TCP_HEADER + options) / 4) << 4;
  frame[start + 13] = segment.flags;
  setWord(frame, start + 14, segment.window);
  let at = start + TCP_HEADER;
  if (options) {
    frame.set([OPTION_MSS, 4, (segment.mss ?? 536) >> 8, (segment.mss ?? 536) & 0xff], at);
    if (segment.scale === undefined) frame.fill(1, at + 4, at + 8);
    else frame.set([1, OPTION_WINDOW_SCALE, 3, segment.scale], at + 4);
    at += options;
  }
  for (const piece of segment.payload) {
    frame.set(piece, at);
    at += piece.length;
  }
  setWord(frame, start + CHECKSUM_AT, fold(pseudoHeaderSum(route.source, route.destination, PROTOCOL_TCP, length)));
  return { frame, offload: { start, at: start + CHECKSUM_AT, segment: data > cut ? cut : 0 } };
}

/** The largest payload of a segment in a frame of 1514 bytes. */
export function largestSegment(version: 4 | 6): number {
  return ETHERNET_HEADER + 1500 - headersOf(version) - TCP_HEADER;
}
