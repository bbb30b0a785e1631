/**
 * The VMBus with nothing on it: the host's side of the conversation in which a guest agrees on a version, asks what
 * devices there are, and leaves (Linux include/linux/hyperv.h, drivers/hv/connection.c and channel_mgmt.c). Guests wait
 * for most answers without a limit of time, so every request that has an answer gets one; those about channels, of
 * which there are none, are refused.
 */
import type { HypervisorContext } from '../../paravirt/operations.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { SINTS, type Synic } from './synic.ts';

/** The ACPI device by which drivers find the bus. */
export const VMBUS_DEVICE = 'VMBUS';

/** Connections to which a guest posts: until version 4.1, and from 5.0 on. */
const VMBUS_MESSAGE_CONNECTION_ID = 1;
const VMBUS_MESSAGE_CONNECTION_ID_4 = 4;
/** The connection that older guests signal, whichever channel they mean. */
const VMBUS_EVENT_CONNECTION_ID = 2;
const VMBUS_MESSAGE_SINT = 2;
const HVMSG_VMBUS = 1;

/** Versions, major in the upper half: WS2008, 7, 8, 8.1, 10, and 10's later ones. */
const VERSIONS: ReadonlySet<number> = new Set([
  0x0000000d, 0x00010001, 0x00020004, 0x00030000, 0x00040000, 0x00040001, 0x00050000, 0x00050001, 0x00050002,
  0x00050003,
]);
/** From here on the guest says which SINT the answers go to, and the host which connection the requests. */
const VERSION_WIN10_V5 = 0x00050000;

/** Every message begins with its type and four unused bytes. */
const HEADER = 8;
const CHANNELMSG_REQUESTOFFERS = 3;
const CHANNELMSG_ALLOFFERS_DELIVERED = 4;
const CHANNELMSG_OPENCHANNEL = 5;
const CHANNELMSG_OPENCHANNEL_RESULT = 6;
const CHANNELMSG_GPADL_HEADER = 8;
const CHANNELMSG_GPADL_CREATED = 10;
const CHANNELMSG_GPADL_TEARDOWN = 11;
const CHANNELMSG_GPADL_TORNDOWN = 12;
const CHANNELMSG_INITIATE_CONTACT = 14;
const CHANNELMSG_VERSION_RESPONSE = 15;
const CHANNELMSG_UNLOAD = 16;
const CHANNELMSG_UNLOAD_RESPONSE = 17;
const CHANNELMSG_MODIFYCHANNEL = 22;
const CHANNELMSG_MODIFYCHANNEL_RESPONSE = 24;

/** The status of what was asked of a channel that does not exist. */
const NO_SUCH_CHANNEL = 1;

/** INITIATE_CONTACT's body: version, target processor, and the SINT in the low byte of the third field. */
const CONTACT_SIZE = HEADER + 12;

interface Peer {
  cpu: Processor;
  sint: number;
}

export interface Vmbus {
  /** A message has been posted. @returns false if its answer found no room: the guest shall try again. */
  post(cpu: Processor, type: number, payload: Uint8Array): boolean;
  /** True if there is such a connection for messages, or for events. */
  takesMessages(connection: number): boolean;
  takesEvents(connection: number): boolean;
}

export function createVmbus(context: HypervisorContext, synic: Synic): Vmbus {
  const { cpus, log } = context;
  const state = context.state('hyperv/vmbus', 1, () => ({
    /**
     * Where answers go, as the last contact said; undefined: there is none, and they go to the processor that posts.
     */
    peer: undefined as { processor: number; sint: number } | undefined,
  }));

  const peerOf = (cpu: Processor): Peer => {
    const { peer } = state;
    const known = peer && cpus.find(({ id }) => id === peer.processor);
    return known ? { cpu: known, sint: peer.sint } : { cpu, sint: VMBUS_MESSAGE_SINT };
  };

  const answer = ({ cpu, sint }: Peer, type: number, ...words: number[]): boolean => {
    const payload = new Uint8Array(Uint32Array.of(type, 0, ...words).buffer);
    return synic.post(cpu, sint, { type: HVMSG_VMBUS, payload, timer: undefined });
  };

  const contact = (cpu: Processor, body: DataView): boolean => {
    const version = body.byteLength >= CONTACT_SIZE ? body.getUint32(HEADER, true) : 0;
    const known = VERSIONS.has(version);
    const target = known ? cpus.find(({ id }) => id === body.getUint32(HEADER + 4, true)) : undefined;
    const sint = known && version >= VERSION_WIN10_V5 ? body.getUint8(HEADER + 8) : VMBUS_MESSAGE_SINT;
    const supported = target !== undefined && sint < SINTS;
    const to: Peer = supported ? { cpu: target, sint } : { cpu, sint: VMBUS_MESSAGE_SINT };
    if (supported) state.peer = { processor: target.id, sint };
    // Bytes: supported, connection state (0: successful), two unused; then the connection for all further messages.
    return answer(to, CHANNELMSG_VERSION_RESPONSE, supported ? 1 : 0, VMBUS_MESSAGE_CONNECTION_ID_4);
  };

  return {
    takesMessages: connection =>
      connection === VMBUS_MESSAGE_CONNECTION_ID || connection === VMBUS_MESSAGE_CONNECTION_ID_4,
    takesEvents: connection => connection === VMBUS_EVENT_CONNECTION_ID,
    post(cpu, messageType, payload) {
      if (messageType !== HVMSG_VMBUS || payload.length < HEADER) return true;
      const body = new DataView(payload.buffer, payload.byteOffset, payload.length);
      /** The 32-bit word at `index` after the header; 0 beyond the end. */
      const word = (index: number) => {
        const at = HEADER + 4 * index;
        return at + 4 <= body.byteLength ? body.getUint32(at, true) : 0;
      };
      const to = peerOf(cpu);
      const type = body.getUint32(0, true);
      switch (type) {
        case CHANNELMSG_INITIATE_CONTACT:
          return contact(cpu, body);
        case CHANNELMSG_REQUESTOFFERS:
          return answer(to, CHANNELMSG_ALLOFFERS_DELIVERED);
        case CHANNELMSG_UNLOAD:
          state.peer = undefined;
          return answer(to, CHANNELMSG_UNLOAD_RESPONSE);
        case CHANNELMSG_OPENCHANNEL: // channel, open id; the answer adds a status
          return answer(to, CHANNELMSG_OPENCHANNEL_RESULT, word(0), word(1), NO_SUCH_CHANNEL);
        case CHANNELMSG_GPADL_HEADER: // channel, handle; likewise
          return answer(to, CHANNELMSG_GPADL_CREATED, word(0), word(1), NO_SUCH_CHANNEL);
        case CHANNELMSG_GPADL_TEARDOWN: // channel, handle
          return answer(to, CHANNELMSG_GPADL_TORNDOWN, word(1));
        case CHANNELMSG_MODIFYCHANNEL: // channel
          return answer(to, CHANNELMSG_MODIFYCHANNEL_RESPONSE, word(0), NO_SUCH_CHANNEL);
        default:
          log.once(`vmbus-message-${type}`, `VMBus message ${type}: needs no answer, or is not known`);
          return true;
      }
    },
  };
}
