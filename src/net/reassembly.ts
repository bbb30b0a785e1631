/** IPv4 fragments put together (RFC 815's result, simply). Bounded in number, in bytes and in time. */
import { formatAddress } from './addresses.ts';
import { type Fragment, LARGEST_PACKET, type Packet } from './packet.ts';

/** Packets in pieces at a time. */
const MOST_PACKETS = 16;
/** Nanoseconds until what is incomplete is given up. */
const PATIENCE = 5e9;
const IPV4_HEADER = 20;

interface Pieces {
  readonly since: number;
  readonly bytes: Uint8Array;
  /** For each 8 bytes, 1 if they are there. */
  readonly there: Uint8Array;
  /** Bytes in all; known when the last piece is. */
  length: number | undefined;
}

export class Reassembly {
  readonly #packets = new Map<string, Pieces>();

  /** @returns the packet, when this was the last of its pieces that was missing */
  put({ packet, identification, offset, last }: Fragment, now: number): Packet | undefined {
    const { source, destination, protocol, payload, whole } = packet;
    if (offset === 0 && last) return packet;
    const end = offset + payload.length;
    // Only the last piece may have a length that is not a multiple of 8.
    if (payload.length === 0 || end > LARGEST_PACKET - IPV4_HEADER || (!last && payload.length % 8)) return undefined;
    const key = `${formatAddress(source)} ${formatAddress(destination)} ${protocol} ${identification}`;
    const pieces = this.#find(key, now);
    if (last) pieces.length ??= end;
    if (pieces.length !== undefined && end > pieces.length) return undefined;
    pieces.bytes.set(payload, offset);
    pieces.there.fill(1, offset >> 3, (end + 7) >> 3);
    const { length, there, bytes } = pieces;
    if (length === undefined || there.subarray(0, (length + 7) >> 3).includes(0)) return undefined;
    this.#packets.delete(key);
    return { ...packet, payload: bytes.subarray(0, length), whole };
  }

  #find(key: string, now: number): Pieces {
    const known = this.#packets.get(key);
    if (known && now - known.since < PATIENCE) return known;
    this.#packets.delete(key);
    // A Map keeps the order in which its keys came: the oldest goes.
    if (this.#packets.size >= MOST_PACKETS) this.#packets.delete(this.#packets.keys().next().value!);
    const pieces = {
      since: now,
      bytes: new Uint8Array(LARGEST_PACKET),
      there: new Uint8Array(LARGEST_PACKET / 8 + 1),
      length: undefined,
    };
    this.#packets.set(key, pieces);
    return pieces;
  }
}
