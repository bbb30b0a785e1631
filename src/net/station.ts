/** What the parts of the user-mode network share: its addresses, and the way to the guest. */
import type { Log } from '../host/log.ts';
import type { Offload } from '../host/network.ts';
import type { HostSockets, SocketError, TcpHandler, TcpSocket } from '../host/sockets.ts';
import { equal, formatAddress, samePrefix } from './addresses.ts';
import type { Packet, Route } from './packet.ts';

/** The network, as libslirp's and QEMU's users know it: the gateway is the host, the DNS server asks the host's resolver. */
export const NETWORK = Uint8Array.of(10, 0, 2, 0);
export const NETWORK_BITS = 24;
export const NETMASK = Uint8Array.of(255, 255, 255, 0);
export const GATEWAY = Uint8Array.of(10, 0, 2, 2);
export const NAME_SERVER = Uint8Array.of(10, 0, 2, 3);
export const FIRST_GUEST = Uint8Array.of(10, 0, 2, 15);
/** A unique local prefix (RFC 4193), so that a guest prefers IPv4 to reach what has both (RFC 6724). */
export const PREFIX = Uint8Array.of(0xfd, 0, 0, 0x10, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0);
export const PREFIX_BITS = 64;
export const GATEWAY6 = withLast(PREFIX, 2);
export const NAME_SERVER6 = withLast(PREFIX, 3);
export const LINK_LOCAL6 = withLast(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 2);
/** Locally administered: all of our addresses have it. */
export const GATEWAY_MAC = Uint8Array.of(0x52, 0x55, 10, 0, 2, 2);
export const BROADCAST_MAC = new Uint8Array(6).fill(0xff);

const LOOPBACK = '127.0.0.1';
const LOOPBACK6 = '::1';

function withLast(prefix: Uint8Array, last: number): Uint8Array {
  const bytes = prefix.slice();
  bytes[15] = last;
  return bytes;
}

/** What cannot be had, in ICMP's words. */
export type Refusal = 'network' | 'host' | 'port' | 'prohibited';

/** Begins a connection. */
export type Opener = (handler: TcpHandler) => TcpSocket;

export interface Station {
  readonly log: Log;
  readonly sockets: HostSockets;
  now(): number;
  /** The network's `tick` is to be called at `time`, or earlier. */
  schedule(time: number): void;
  /** How a frame reaches `destination`; undefined while its MAC address is not known, which is being asked for then. */
  route(source: Uint8Array, destination: Uint8Array): Route | undefined;
  send(frame: Uint8Array, offload?: Offload): void;
  /** Tells the sender of `packet` that it went nowhere. */
  refuse(packet: Packet, why: Refusal): void;
  /** How a TCP connection to that port is begun; otherwise whether nobody listens there, or the guest may not. */
  reach(destination: Uint8Array, port: number): Opener | 'closed' | 'prohibited';
  /** Where on the host a packet for `destination` goes; undefined where it may not. */
  outside(destination: Uint8Array): string | undefined;
}

/** True for an address that a guest can have. */
export function isOnLink(address: Uint8Array): boolean {
  const onLink = samePrefix(address, NETWORK, NETWORK_BITS) || samePrefix(address, PREFIX, PREFIX_BITS);
  return onLink && !isOurs(address);
}

/** The network's addresses, for people. */
export const ON_LINK = `${formatAddress(NETWORK)}/${NETWORK_BITS}, [${formatAddress(PREFIX)}]/${PREFIX_BITS}`;

/** Addresses of ours, which answer to ARP, neighbour solicitations and pings. */
export function isOurs(address: Uint8Array): boolean {
  return [GATEWAY, NAME_SERVER, GATEWAY6, NAME_SERVER6, LINK_LOCAL6].some(ours => equal(ours, address));
}

export function isGateway(address: Uint8Array): boolean {
  return [GATEWAY, GATEWAY6, LINK_LOCAL6].some(ours => equal(ours, address));
}

/** The gateway's address, as a guest with this one sees it. */
export function gatewayOf(guest: Uint8Array): Uint8Array {
  return guest.length === 4 ? GATEWAY : GATEWAY6;
}

export function isNameServer(address: Uint8Array): boolean {
  return equal(address, NAME_SERVER) || equal(address, NAME_SERVER6);
}

/** What no guest reaches by its own address: this host, this link, everybody. */
const CLOSED: readonly (readonly [bytes: readonly number[], bits: number])[] = [
  [[0, 0, 0, 0], 8],
  [[127, 0, 0, 0], 8],
  [[169, 254, 0, 0], 16],
  [[224, 0, 0, 0], 3],
  [[...NETWORK], NETWORK_BITS],
  // ::/96, with the loopback address, and IPv4 addresses in IPv6's clothes.
  [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 96],
  [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], 96],
  [[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 10],
  [[0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 8],
  [[...PREFIX], PREFIX_BITS],
];

/** Where on the host a packet for `destination` goes; undefined where it may not. */
export function hostAddress(
  destination: Uint8Array,
  { restrict, hostLoopback }: { restrict: boolean; hostLoopback: boolean },
): string | undefined {
  if (restrict) return undefined;
  if (isGateway(destination)) return hostLoopback ? (destination.length === 4 ? LOOPBACK : LOOPBACK6) : undefined;
  if (CLOSED.some(([bytes, bits]) => samePrefix(destination, Uint8Array.from(bytes), bits))) return undefined;
  return formatAddress(destination);
}

export function refusalOf(error: SocketError | undefined): Refusal {
  if (error === 'refused') return 'port';
  if (error === 'unreachable') return 'network';
  return error === 'denied' ? 'prohibited' : 'host';
}
