/** Which frames belong together: for cards with several queues, where the frames of a flow stay in order. */
import { ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_TCP, PROTOCOL_UDP, word } from './packet.ts';

/** Flows are told apart by so many values. */
export const FLOWS = 256;

/** A number below FLOWS that frames of one flow have in common, in both directions: of addresses and ports, in whatever order. */
export function flowOf(frame: Uint8Array): number {
  const type = word(frame, 12);
  const isSix = type === ETHERTYPE_IPV6;
  if (!isSix && type !== ETHERTYPE_IPV4) return 0;
  const [addresses, length] = isSix ? [22, 32] : [26, 8];
  const protocol = frame[isSix ? 20 : 23];
  const ports = isSix ? 54 : 14 + ((frame[14] ?? 0) & 15) * 4;
  let sum = 0;
  for (let at = addresses; at < addresses + length; at++) sum += frame[at] ?? 0;
  // The two bytes of a port do not count alike, lest neighbouring ports be one flow with others.
  if (protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP)
    for (let at = ports; at < ports + 4; at++) sum += (frame[at] ?? 0) * (at % 2 === ports % 2 ? 31 : 1);
  return sum % FLOWS;
}
