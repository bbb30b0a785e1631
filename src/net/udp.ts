/** UDP (RFC 768). */
import { fragments } from './icmp.ts';
import { headersOf, MTU, makeFrame, type Packet, PROTOCOL_UDP, setWord, transportChecksum, word } from './packet.ts';
import type { Station } from './station.ts';

const HEADER = 8;
/** What fits behind an IPv4 and a UDP header. */
const LARGEST = 65535 - 20 - HEADER;

export interface Datagram {
  readonly source: number;
  readonly destination: number;
  readonly payload: Uint8Array;
}

/** @param trusted the checksum was left undone. @returns undefined for what is no sound datagram */
export function parseDatagram(packet: Packet, trusted: boolean): Datagram | undefined {
  const bytes = packet.payload;
  const length = word(bytes, 4);
  if (bytes.length < HEADER || length < HEADER || length > bytes.length) return undefined;
  const whole = bytes.subarray(0, length);
  const isChecked = word(bytes, 6) !== 0 || packet.version === 6;
  if (isChecked && !trusted && transportChecksum(packet, PROTOCOL_UDP, whole) !== 0) return undefined;
  return { source: word(bytes, 0), destination: word(bytes, 2), payload: whole.subarray(HEADER) };
}

/** Sends a datagram to the guest; in fragments if it is long. What is too long, or for nobody known, is lost. */
export function sendDatagram(
  station: Station,
  from: { address: Uint8Array; port: number },
  to: { address: Uint8Array; port: number },
  payload: Uint8Array,
): void {
  const version = from.address.length === 4 ? 4 : 6;
  const length = HEADER + payload.length;
  if (payload.length > LARGEST || (version === 6 && length > MTU - 40)) return;
  const route = station.route(from.address, to.address);
  if (!route) return;
  const frame = makeFrame(route, PROTOCOL_UDP, length);
  const udp = frame.subarray(headersOf(version));
  setWord(udp, 0, from.port);
  setWord(udp, 2, to.port);
  setWord(udp, 4, length);
  udp.set(payload, HEADER);
  setWord(udp, 6, transportChecksum(route, PROTOCOL_UDP, udp) || 0xffff);
  if (version === 6) return station.send(frame);
  for (const each of fragments(frame, from.port ^ (Math.floor(station.now() / 1000) & 0xffff))) station.send(each);
}
