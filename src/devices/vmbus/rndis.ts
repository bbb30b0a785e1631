/**
 * RNDIS, in which a network adapter on the VMBus is asked and told things, and frames are wrapped (Remote NDIS specification
 * 5.0; Linux drivers/net/hyperv/hyperv_net.h and rndis_filter.c). Offsets within a message's body count from the body's start.
 */
import type { Offload } from '../../host/network.ts';
import { completeHeaders } from '../../net/offload.ts';
import { ETHERNET_HEADER } from '../../net/packet.ts';
import type { State, States } from '../../state/state.ts';
import { viewOf } from './packet.ts';

/** Every message: type u32, length of the whole u32. */
const HEADER = 8;
const PACKET = 1;
const INITIALIZE = 2;
const QUERY = 4;
const SET = 5;
const RESET = 6;
const KEEPALIVE = 8;
const COMPLETE = 0x80000000;

const STATUS_SUCCESS = 0;
const STATUS_NOT_SUPPORTED = 0xc00000bb;
const STATUS_INVALID_DATA = 0xc0010015;

const OID_GEN_MAXIMUM_FRAME_SIZE = 0x00010106;
const OID_GEN_LINK_SPEED = 0x00010107;
const OID_GEN_CURRENT_PACKET_FILTER = 0x0001010e;
const OID_GEN_MEDIA_CONNECT_STATUS = 0x00010114;
const OID_GEN_FRIENDLY_NAME = 0x00020216;
const OID_802_3_PERMANENT_ADDRESS = 0x01010101;
const OID_802_3_CURRENT_ADDRESS = 0x01010102;
const OID_TCP_OFFLOAD_PARAMETERS = 0xfc01020c;
const OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES = 0xfc01020d;

export const MTU = 1500;
/** In units of 100 bit/s: 10 Gbit/s. */
const LINK_SPEED = 100_000_000;
const CONNECTED = 0;

/** Packet filter bits. */
const FILTER_DIRECTED = 0x01;
const FILTER_MULTICAST = 0x02;
const FILTER_ALL_MULTICAST = 0x04;
const FILTER_BROADCAST = 0x08;
const FILTER_PROMISCUOUS = 0x20;

/** Messages of a guest may be so long: a whole IP packet with what is around it. */
const LONGEST_TRANSFER = 0x11000;
const PACKETS_A_MESSAGE = 8;
/** Messages that follow each other begin at multiples of 2 to the power of so many. */
const ALIGNMENT_FACTOR = 3;

/** A packet message, from its start: offsets from byte 8 on, and lengths. */
const DATA_OFFSET = 8;
const DATA_LENGTH = 12;
const INFO_OFFSET = 28;
const INFO_LENGTH = 32;
export const PACKET_HEADER = 44;
/** Per-packet information: size u32, type u32, offset of the value u32, then the value. */
const INFO_HEADER = 12;
const INFO_CHECKSUM = 0;
const INFO_LSO = 2;
/** The value of INFO_CHECKSUM, to the host. */
const TX_TCP = 1 << 2;
const TX_UDP = 1 << 3;
/** The value of INFO_CHECKSUM, to the guest. */
const RX_TCP_SUCCEEDED = 1 << 3;
const RX_UDP_SUCCEEDED = 1 << 4;

/** Where TCP and UDP have their checksums. */
const TCP_CHECKSUM = 16;
const UDP_CHECKSUM = 6;

const initial = () => ({
  /** Which frames the guest wants. */
  filter: 0,
});

/** A frame of the guest's. */
export interface SentFrame {
  readonly frame: Uint8Array;
  readonly offload: Offload | undefined;
}

export class Rndis {
  readonly #mac: Uint8Array;
  readonly #state: State<ReturnType<typeof initial>>;

  constructor(states: States, mac: Uint8Array) {
    this.#mac = mac;
    this.#state = states.state('rndis', 1, initial);
  }

  reset(): void {
    this.#state.initialise();
  }

  /** True if the guest wants this frame. */
  wants(frame: Uint8Array): boolean {
    const { filter } = this.#state;
    if (frame.length < ETHERNET_HEADER || filter === 0) return false;
    if (filter & FILTER_PROMISCUOUS) return true;
    const to = frame.subarray(0, 6);
    if (to.every(byte => byte === 0xff)) return (filter & FILTER_BROADCAST) !== 0;
    if (to[0] & 1) return (filter & (FILTER_MULTICAST | FILTER_ALL_MULTICAST)) !== 0;
    return (filter & FILTER_DIRECTED) !== 0 && to.every((byte, index) => byte === this.#mac[index]);
  }

  /** @returns the answer to a control message; undefined where there is none */
  control(message: Uint8Array): Uint8Array | undefined {
    if (message.length < HEADER + 4) return undefined;
    const view = viewOf(message);
    const type = view.getUint32(0, true);
    const id = view.getUint32(HEADER, true);
    switch (type) {
      case INITIALIZE:
        this.reset();
        // Status, version 1.0, connectionless, medium 802.3, packets a message, their length, alignment, reserved.
        return answer(
          type,
          id,
          STATUS_SUCCESS,
          1,
          0,
          1,
          0,
          PACKETS_A_MESSAGE,
          LONGEST_TRANSFER,
          ALIGNMENT_FACTOR,
          0,
          0,
        );
      case QUERY:
        return this.#query(id, message);
      case SET:
        return answer(type, id, this.#set(message));
      case RESET: // No id: status, and whether addresses have been reset.
        return answer(type, STATUS_SUCCESS, 0);
      case KEEPALIVE:
        return answer(type, id, STATUS_SUCCESS);
      default:
        return undefined;
    }
  }

  /** Id, OID, then length and offset of the buffer. @returns the buffer of a query or a set */
  #buffer(message: Uint8Array): Uint8Array | undefined {
    if (message.length < HEADER + 16) return undefined;
    const view = viewOf(message);
    const length = view.getUint32(HEADER + 8, true);
    const start = HEADER + view.getUint32(HEADER + 12, true);
    return start + length <= message.length ? message.subarray(start, start + length) : undefined;
  }

  #query(id: number, message: Uint8Array): Uint8Array {
    const buffer = this.#buffer(message);
    const value = buffer && this.#value(viewOf(message).getUint32(HEADER + 4, true), buffer);
    if (!value) return answer(QUERY, id, STATUS_NOT_SUPPORTED, 0, 0);
    // Status, then length and offset of the value.
    const head = answer(QUERY, id, STATUS_SUCCESS, value.length, 16);
    const whole = new Uint8Array(head.length + value.length);
    whole.set(head);
    whole.set(value, head.length);
    viewOf(whole).setUint32(4, whole.length, true);
    return whole;
  }

  #value(oid: number, buffer: Uint8Array): Uint8Array | undefined {
    switch (oid) {
      case OID_GEN_MAXIMUM_FRAME_SIZE:
        return words(MTU);
      case OID_GEN_LINK_SPEED:
        return words(LINK_SPEED);
      case OID_GEN_MEDIA_CONNECT_STATUS:
        return words(CONNECTED);
      case OID_GEN_CURRENT_PACKET_FILTER:
        return words(this.#state.filter);
      case OID_802_3_PERMANENT_ADDRESS:
      case OID_802_3_CURRENT_ADDRESS:
        return this.#mac;
      case OID_GEN_FRIENDLY_NAME:
        return Uint8Array.from([...'Network Adapter'].flatMap(letter => [letter.charCodeAt(0), 0]));
      case OID_TCP_OFFLOAD_HARDWARE_CAPABILITIES:
        return offloadCapabilities(buffer);
      default:
        return undefined;
    }
  }

  #set(message: Uint8Array): number {
    const buffer = this.#buffer(message);
    if (!buffer) return STATUS_INVALID_DATA;
    switch (viewOf(message).getUint32(HEADER + 4, true)) {
      case OID_GEN_CURRENT_PACKET_FILTER:
        if (buffer.length < 4) return STATUS_INVALID_DATA;
        this.#state.filter = viewOf(buffer).getUint32(0, true);
        return STATUS_SUCCESS;
      case OID_TCP_OFFLOAD_PARAMETERS: // What the guest leaves undone it says with each packet.
        return STATUS_SUCCESS;
      default:
        return STATUS_NOT_SUPPORTED;
    }
  }
}

const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values, v => v >>> 0).buffer);

function answer(type: number, ...body: number[]): Uint8Array {
  return words(type + COMPLETE, HEADER + 4 * body.length, ...body);
}

/** NDIS_OFFLOAD: header {type u8, revision u8, size u16}, then checksums, LSO and more. */
const NDIS_OBJECT_TYPE_OFFLOAD = 0xa7;
const LEAST_CAPABILITIES = 112;
const MOST_CAPABILITIES = 156;
const CHECKSUM_CAPABILITIES = 4;
const LSO_CAPABILITIES = 80;
const ENCAPSULATION_802_3 = 2;
/** IP header, TCP, TCP options, UDP. */
const CHECKSUMS_IPV4 = 0x100 | 0x10 | 0x04 | 0x40;
/** Extension headers, TCP, TCP options, UDP. */
const CHECKSUMS_IPV6 = 0x01 | 0x10 | 0x04 | 0x40;
const LARGEST_LSO = 0xffff;
const LSO_IPV6_OPTIONS = 1 | 4;

/** @param asked the header that the guest asks with: its revision and size, by which it knows the structure */
function offloadCapabilities(asked: Uint8Array): Uint8Array {
  const size = Math.max(LEAST_CAPABILITIES, Math.min(asked.length, MOST_CAPABILITIES));
  const bytes = new Uint8Array(size);
  const view = viewOf(bytes);
  view.setUint8(0, NDIS_OBJECT_TYPE_OFFLOAD);
  view.setUint8(1, asked.length >= 2 ? asked[1] : 1);
  view.setUint16(2, size, true);
  // Transmitted, then received: encapsulation, checksums; for IPv4, then for IPv6.
  const [four, six] = [
    [ENCAPSULATION_802_3, CHECKSUMS_IPV4],
    [ENCAPSULATION_802_3, CHECKSUMS_IPV6],
  ];
  for (const [index, value] of [...four, ...four, ...six, ...six].entries())
    view.setUint32(CHECKSUM_CAPABILITIES + 4 * index, value, true);
  // Encapsulation, longest packet, least segments; for IPv4, then for IPv6, with its options.
  const lso = [ENCAPSULATION_802_3, LARGEST_LSO, 2];
  for (const [index, value] of [...lso, ...lso, LSO_IPV6_OPTIONS].entries())
    view.setUint32(LSO_CAPABILITIES + 4 * index, value, true);
  return bytes;
}

/** The messages that stand one behind the other in `bytes`; what makes no sense ends the list. */
export function messagesIn(bytes: Uint8Array): { type: number; bytes: Uint8Array }[] {
  const found: { type: number; bytes: Uint8Array }[] = [];
  const view = viewOf(bytes);
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    if (length < HEADER || at + length > bytes.length) break;
    found.push({ type: view.getUint32(at, true), bytes: bytes.subarray(at, at + length) });
    at += Math.ceil(length / 2 ** ALIGNMENT_FACTOR) * 2 ** ALIGNMENT_FACTOR;
  }
  return found;
}

/** The frame of a packet message, a copy; undefined where the message contradicts itself. */
export function frameIn(message: Uint8Array): SentFrame | undefined {
  if (message.length < PACKET_HEADER) return undefined;
  const view = viewOf(message);
  const start = HEADER + view.getUint32(DATA_OFFSET, true);
  const length = view.getUint32(DATA_LENGTH, true);
  if (view.getUint32(0, true) !== PACKET || start + length > message.length || length < ETHERNET_HEADER)
    return undefined;
  const frame = message.slice(start, start + length);
  const information = perPacketInformation(message);
  const lso = information.get(INFO_LSO);
  if (lso !== undefined) return large(frame, lso);
  const checksum = information.get(INFO_CHECKSUM) ?? 0;
  if (!(checksum & (TX_TCP | TX_UDP))) return { frame, offload: undefined };
  const header = (checksum >>> 16) & 0x3ff;
  return {
    frame,
    offload: { start: header, at: header + (checksum & TX_TCP ? TCP_CHECKSUM : UDP_CHECKSUM), segment: 0 },
  };
}

/** The values by their types; of those that we know, each is a u32. */
function perPacketInformation(message: Uint8Array): Map<number, number> {
  const found = new Map<number, number>();
  const view = viewOf(message);
  const start = HEADER + view.getUint32(INFO_OFFSET, true);
  const end = Math.min(start + view.getUint32(INFO_LENGTH, true), message.length);
  for (let at = start; at + INFO_HEADER <= end; ) {
    const size = view.getUint32(at, true);
    const value = at + view.getUint32(at + 8, true);
    if (size < INFO_HEADER || at + size > end) break;
    if (value + 4 <= at + size) found.set(view.getUint32(at + 4, true), view.getUint32(value, true));
    at += size;
  }
  return found;
}

/** A packet that stands for several: its headers are not whole (NDIS_TCP_LARGE_SEND_OFFLOAD_V2). */
function large(frame: Uint8Array, lso: number): SentFrame | undefined {
  const tcp = (lso >>> 20) & 0x3ff;
  const segment = lso & 0xfffff;
  if (segment === 0 || !completeHeaders(frame, tcp)) return undefined;
  return { frame, offload: { start: tcp, at: tcp + TCP_CHECKSUM, segment } };
}

/** A packet message with `frame`. @param verified its checksum of TCP or UDP is known to be right */
export function packetMessage(frame: Uint8Array, verified: boolean): Uint8Array {
  const information = verified ? INFO_HEADER + 4 : 0;
  const start = PACKET_HEADER + information;
  const bytes = new Uint8Array(start + frame.length);
  const view = viewOf(bytes);
  view.setUint32(0, PACKET, true);
  view.setUint32(4, bytes.length, true);
  view.setUint32(DATA_OFFSET, start - HEADER, true);
  view.setUint32(DATA_LENGTH, frame.length, true);
  if (verified) {
    view.setUint32(INFO_OFFSET, PACKET_HEADER - HEADER, true);
    view.setUint32(INFO_LENGTH, information, true);
    view.setUint32(PACKET_HEADER, information, true);
    view.setUint32(PACKET_HEADER + 4, INFO_CHECKSUM, true);
    view.setUint32(PACKET_HEADER + 8, INFO_HEADER, true);
    view.setUint32(PACKET_HEADER + INFO_HEADER, RX_TCP_SUCCEEDED | RX_UDP_SUCCEEDED, true);
  }
  bytes.set(frame, start);
  return bytes;
}
