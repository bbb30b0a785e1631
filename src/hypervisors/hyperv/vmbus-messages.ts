/** Messages between a guest and the VMBus (Linux include/linux/hyperv.h, enum vmbus_channel_message_type). */
import type { Offer } from '../../devices/vmbus/channel.ts';
import { guidBytes, guidText } from '../../devices/vmbus/guid.ts';

/** The type of messages that carry these. */
export const HVMSG_VMBUS = 1;

/** Every message begins with its type and four unused bytes. */
export const HEADER = 8;

export const CHANNELMSG_OFFERCHANNEL = 1;
export const CHANNELMSG_RESCIND_CHANNELOFFER = 2;
export const CHANNELMSG_REQUESTOFFERS = 3;
export const CHANNELMSG_ALLOFFERS_DELIVERED = 4;
export const CHANNELMSG_OPENCHANNEL = 5;
export const CHANNELMSG_OPENCHANNEL_RESULT = 6;
export const CHANNELMSG_CLOSECHANNEL = 7;
export const CHANNELMSG_GPADL_HEADER = 8;
export const CHANNELMSG_GPADL_BODY = 9;
export const CHANNELMSG_GPADL_CREATED = 10;
export const CHANNELMSG_GPADL_TEARDOWN = 11;
export const CHANNELMSG_GPADL_TORNDOWN = 12;
export const CHANNELMSG_RELID_RELEASED = 13;
export const CHANNELMSG_INITIATE_CONTACT = 14;
export const CHANNELMSG_VERSION_RESPONSE = 15;
export const CHANNELMSG_UNLOAD = 16;
export const CHANNELMSG_UNLOAD_RESPONSE = 17;
export const CHANNELMSG_TL_CONNECT_REQUEST = 21;
export const CHANNELMSG_MODIFYCHANNEL = 22;
export const CHANNELMSG_TL_CONNECT_RESULT = 23;
export const CHANNELMSG_MODIFYCHANNEL_RESPONSE = 24;

/** Versions, major in the upper half. */
export const VERSION_WS2008 = 0x0000000d;
export const VERSION_WIN7 = 0x00010001;
export const VERSION_WIN8 = 0x00020004;
/** From here on there are sockets. */
export const VERSION_WIN10 = 0x00040000;
/** From here on a refused connection request has an answer, the guest says which SINT the answers go to, and the host which connection the requests. */
export const VERSION_WIN10_V5 = 0x00050000;
/** From here on MODIFYCHANNEL is answered. */
export const VERSION_WIN10_V5_3 = 0x00050003;
export const VERSIONS: ReadonlySet<number> = new Set([
  ...[VERSION_WS2008, VERSION_WIN7, VERSION_WIN8, 0x00030000, VERSION_WIN10, 0x00040001],
  ...[VERSION_WIN10_V5, 0x00050001, 0x00050002, VERSION_WIN10_V5_3],
]);

/** A message of 32-bit words. */
export function message(type: number, ...words: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.of(type, 0, ...words).buffer);
}

/** vmbus_channel_offer, from the message's start. */
const OFFER_SIZE = 196;
const OFFER_TYPE = 8;
const OFFER_INSTANCE = 24;
const OFFER_FLAGS = 56;
const OFFER_USER_DATA = 60;
const OFFER_RELID = 184;
const OFFER_MONITOR = 188;
const OFFER_DEDICATED_INTERRUPT = 190;
const OFFER_CONNECTION = 192;
const FLAG_NAMED_PIPE_MODE = 0x10;
const FLAG_TLNPI_PROVIDER_OFFER = 0x2000;
const PIPE_MODE_BYTE = 0;
const PIPE_MODE_MESSAGE = 4;
/** After the mode of a pipe: the host has begun the connection. */
const OFFER_FROM_HOST = 64;
/** The guest need not poll pages for signals: monitors are an optimisation, which we do not offer. */
const NO_MONITOR = 0xff;

export function offerMessage({ type, instance, pipe, socket }: Offer, relid: number, connection: number): Uint8Array {
  const bytes = new Uint8Array(OFFER_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, CHANNELMSG_OFFERCHANNEL, true);
  bytes.set(guidBytes(type), OFFER_TYPE);
  bytes.set(guidBytes(instance), OFFER_INSTANCE);
  if (pipe) {
    view.setUint16(OFFER_FLAGS, FLAG_NAMED_PIPE_MODE | (socket ? FLAG_TLNPI_PROVIDER_OFFER : 0), true);
    view.setUint32(OFFER_USER_DATA, socket ? PIPE_MODE_BYTE : PIPE_MODE_MESSAGE, true);
    view.setUint8(OFFER_FROM_HOST, socket?.fromHost ? 1 : 0);
  }
  view.setUint32(OFFER_RELID, relid, true);
  view.setUint8(OFFER_MONITOR, NO_MONITOR);
  view.setUint16(OFFER_DEDICATED_INTERRUPT, 1, true);
  view.setUint32(OFFER_CONNECTION, connection, true);
  return bytes;
}

/** TL_CONNECT_REQUEST: the guest's endpoint and the host's service, each a GUID. TL_CONNECT_RESULT has the same, and a status. */
const CONNECT_ENDPOINT = 8;
const CONNECT_SERVICE = 24;
const CONNECT_STATUS = 40;
const CONNECT_RESULT_SIZE = 44;
const STATUS_CONNECTION_REFUSED = 0xc0000236;

/** @returns undefined for a message that is too short */
export function parseConnectRequest(body: DataView): { endpoint: string; service: string } | undefined {
  if (body.byteLength < CONNECT_STATUS) return undefined;
  const guid = (at: number) => guidText(new Uint8Array(body.buffer, body.byteOffset + at, 16));
  return { endpoint: guid(CONNECT_ENDPOINT), service: guid(CONNECT_SERVICE) };
}

export function refusalMessage(endpoint: string, service: string): Uint8Array {
  const bytes = new Uint8Array(CONNECT_RESULT_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, CHANNELMSG_TL_CONNECT_RESULT, true);
  bytes.set(guidBytes(endpoint), CONNECT_ENDPOINT);
  bytes.set(guidBytes(service), CONNECT_SERVICE);
  view.setUint32(CONNECT_STATUS, STATUS_CONNECTION_REFUSED, true);
  return bytes;
}
