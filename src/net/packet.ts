/** Ethernet and IP (RFC 791, RFC 8200): taking frames apart and putting them together. All that is taken apart is hostile. */
import { fold, pseudoHeaderSum, sum } from './checksum.ts';

export const ETHERNET_HEADER = 14;
export const ETHERTYPE_IPV4 = 0x0800;
export const ETHERTYPE_ARP = 0x0806;
export const ETHERTYPE_IPV6 = 0x86dd;

export const PROTOCOL_ICMP = 1;
export const PROTOCOL_TCP = 6;
export const PROTOCOL_UDP = 17;
export const PROTOCOL_ICMPV6 = 58;

/** IPv6 extension headers that may stand before the payload: hop-by-hop, routing, destination options. */
const EXTENSIONS: readonly number[] = [0, 43, 60];
const MOST_EXTENSIONS = 8;

const IPV4_HEADER = 20;
const IPV6_HEADER = 40;
/** Largest payload of IP that a frame of 1514 bytes has, by version. */
export const MTU = 1500;
/** What an IP packet may be at most. */
export const LARGEST_PACKET = 65535;

/** A packet taken apart. The arrays are parts of the frame. */
export interface Packet {
  readonly version: 4 | 6;
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly protocol: number;
  readonly payload: Uint8Array;
  /** The whole packet, from the IP header on. */
  readonly whole: Uint8Array;
}

export function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function setWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function long(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

export function setLong(bytes: Uint8Array, at: number, value: number): void {
  setWord(bytes, at, value >>> 16);
  setWord(bytes, at + 2, value & 0xffff);
}

/** An IPv4 fragment, to be put together with others. */
export interface Fragment {
  readonly packet: Packet;
  readonly identification: number;
  /** Bytes before this one. */
  readonly offset: number;
  readonly last: boolean;
}

/** @returns undefined for what is no sound IPv4 packet */
export function parseIpv4Packet(bytes: Uint8Array): Fragment | undefined {
  if (bytes.length < IPV4_HEADER || bytes[0] >> 4 !== 4) return undefined;
  const header = (bytes[0] & 15) * 4;
  const length = word(bytes, 2);
  if (header < IPV4_HEADER || length < header || length > bytes.length) return undefined;
  if (fold(sum(bytes, 0, header)) !== 0xffff) return undefined;
  const fragment = word(bytes, 6);
  return {
    packet: {
      version: 4,
      source: bytes.subarray(12, 16),
      destination: bytes.subarray(16, 20),
      protocol: bytes[9],
      payload: bytes.subarray(header, length),
      whole: bytes.subarray(0, length),
    },
    identification: word(bytes, 4),
    offset: (fragment & 0x1fff) * 8,
    last: (fragment & 0x2000) === 0,
  };
}

/** @returns undefined for what is no sound IPv6 packet, and for fragments */
export function parseIpv6Packet(bytes: Uint8Array): Packet | undefined {
  if (bytes.length < IPV6_HEADER || bytes[0] >> 4 !== 6) return undefined;
  const end = IPV6_HEADER + word(bytes, 4);
  if (end > bytes.length) return undefined;
  let protocol = bytes[6];
  let at = IPV6_HEADER;
  for (let count = 0; EXTENSIONS.includes(protocol); count++) {
    if (count === MOST_EXTENSIONS || at + 8 > end) return undefined;
    protocol = bytes[at];
    at += 8 + 8 * bytes[at + 1];
  }
  if (at > end) return undefined;
  return {
    version: 6,
    source: bytes.subarray(8, 24),
    destination: bytes.subarray(24, 40),
    protocol,
    payload: bytes.subarray(at, end),
    whole: bytes.subarray(0, end),
  };
}

/** Bytes that stand before a packet's payload in a frame. */
export function headersOf(version: 4 | 6): number {
  return ETHERNET_HEADER + (version === 4 ? IPV4_HEADER : IPV6_HEADER);
}

export interface Route {
  readonly fromMac: Uint8Array;
  readonly toMac: Uint8Array;
  /** 4 or 16 bytes each. */
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
}

/**
 * A frame with room for `length` bytes of payload, which begins at `headersOf`. Neighbour discovery wants `hops` 255.
 */
export function makeFrame(route: Route, protocol: number, length: number, hops = 64): Uint8Array {
  const { source, destination } = route;
  const version = source.length === 4 ? 4 : 6;
  const frame = new Uint8Array(headersOf(version) + length);
  frame.set(route.toMac, 0);
  frame.set(route.fromMac, 6);
  const at = ETHERNET_HEADER;
  if (version === 4) {
    setWord(frame, 12, ETHERTYPE_IPV4);
    frame[at] = 0x45;
    setWord(frame, at + 2, IPV4_HEADER + length);
    frame[at + 6] = 0x40; // Not to be fragmented.
    frame[at + 8] = hops;
    frame[at + 9] = protocol;
    frame.set(source, at + 12);
    frame.set(destination, at + 16);
    setWord(frame, at + 10, ~fold(sum(frame, at, at + IPV4_HEADER)) & 0xffff);
  } else {
    setWord(frame, 12, ETHERTYPE_IPV6);
    frame[at] = 0x60;
    setWord(frame, at + 4, length);
    frame[at + 6] = protocol;
    frame[at + 7] = hops;
    frame.set(source, at + 8);
    frame.set(destination, at + 24);
  }
  return frame;
}

/** The checksum over a pseudo-header and `payload`, as it is stored; 0 for UDP is to be written as 0xffff. */
export function transportChecksum(
  { source, destination }: Pick<Packet, 'source' | 'destination'>,
  protocol: number,
  payload: Uint8Array,
): number {
  return (
    ~fold(sum(payload, 0, payload.length, pseudoHeaderSum(source, destination, protocol, payload.length))) & 0xffff
  );
}
