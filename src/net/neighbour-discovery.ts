/** IPv6's neighbour discovery, the router's half (RFC 4861): solicitations answered, a prefix and a DNS server (RFC 8106) told. */
import { equal } from './addresses.ts';
import { sendIcmp6 } from './icmp.ts';
import { MTU, type Packet, setLong, setWord } from './packet.ts';
import { GATEWAY_MAC, isOurs, LINK_LOCAL6, NAME_SERVER6, PREFIX, PREFIX_BITS, type Station } from './station.ts';

const ROUTER_SOLICITATION = 133;
const ROUTER_ADVERTISEMENT = 134;
const NEIGHBOUR_SOLICITATION = 135;
const NEIGHBOUR_ADVERTISEMENT = 136;
/** What the packets of a link have, and no router lets through. */
const HOPS = 255;
/** Seconds. */
const ROUTER_LIFETIME = 1800;
const PREFIX_LIFETIME = 86400;
/** Flags of a prefix: it is on this link, addresses may be made of it. */
const ON_LINK_AUTONOMOUS = 0xc0;
/** Flags of a neighbour advertisement: router, solicited, override. */
const ROUTER_SOLICITED_OVERRIDE = 0xe0;
/** Options. */
const TARGET_LINK_ADDRESS = 2;
const SOURCE_LINK_ADDRESS = 1;

const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const UNSPECIFIED = new Uint8Array(16);

/** @param hasRouter false where nothing outside of the network can be reached: then there is a prefix, and no way out */
export function receiveNeighbourDiscovery(station: Station, packet: Packet, hasRouter: boolean): void {
  const { payload, source, whole } = packet;
  if (whole[7] !== HOPS) return;
  if (payload[0] === ROUTER_SOLICITATION) advertiseRouter(station, source, hasRouter);
  else if (payload[0] === NEIGHBOUR_SOLICITATION && payload.length >= 24)
    answerSolicitation(station, source, payload.subarray(8, 24));
}

/** Asks who has an address of the link: whoever has it answers from there. */
export function solicitNeighbour(station: Station, target: Uint8Array): void {
  const message = new Uint8Array(32);
  message[0] = NEIGHBOUR_SOLICITATION;
  message.set(target, 8);
  message.set([SOURCE_LINK_ADDRESS, 1, ...GATEWAY_MAC], 24);
  // The group of all whose addresses end alike (RFC 4291, 2.7.1).
  const group = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ...target.subarray(13));
  sendIcmp6(station, LINK_LOCAL6, group, message, HOPS);
}

/** The address that a card with this MAC address makes of the network's prefix (RFC 4291, appendix A). */
export function ownAddress(mac: Uint8Array): Uint8Array {
  const address = PREFIX.slice();
  address.set([mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]], 8);
  return address;
}

/** A guest that asks whether an address of ours is free (RFC 4862) has no address yet: everybody hears the answer. */
function answerSolicitation(station: Station, source: Uint8Array, target: Uint8Array): void {
  if (!isOurs(target)) return;
  const message = new Uint8Array(32);
  message[0] = NEIGHBOUR_ADVERTISEMENT;
  message[4] = ROUTER_SOLICITED_OVERRIDE;
  message.set(target, 8);
  message.set([TARGET_LINK_ADDRESS, 1], 24);
  message.set(GATEWAY_MAC, 26);
  const nobody = equal(source, UNSPECIFIED);
  if (nobody) message[4] = 0xa0;
  sendIcmp6(station, target, nobody ? ALL_NODES : source, message, HOPS);
}

function advertiseRouter(station: Station, source: Uint8Array, hasRouter: boolean): void {
  const message = new Uint8Array(16 + 8 + 8 + 32 + 24);
  message[0] = ROUTER_ADVERTISEMENT;
  message[4] = 64; // Hops.
  setWord(message, 6, hasRouter ? ROUTER_LIFETIME : 0);
  message.set([SOURCE_LINK_ADDRESS, 1, ...GATEWAY_MAC], 16);
  message.set([5, 1], 24); // The MTU.
  setLong(message, 28, MTU);
  message.set([3, 4, PREFIX_BITS, ON_LINK_AUTONOMOUS], 32); // The prefix.
  setLong(message, 36, PREFIX_LIFETIME);
  setLong(message, 40, PREFIX_LIFETIME);
  message.set(PREFIX, 48);
  message.set([25, 3], 64); // DNS servers.
  setLong(message, 68, hasRouter ? ROUTER_LIFETIME : 0);
  message.set(NAME_SERVER6, 72);
  sendIcmp6(station, LINK_LOCAL6, equal(source, UNSPECIFIED) ? ALL_NODES : source, message, HOPS);
}
