/**
 * A network adapter on the VMBus: the host's side of Linux drivers/net/hyperv/netvsc.c (NVSP, struct nvsp_message in
 * hyperv_net.h). Frames go in RNDIS messages: out of the guest through its send buffer or straight from its memory, into
 * the guest through sections of its receive buffer, each of which is ours again when the guest says so.
 */
import type { Network, Offload } from '../../host/network.ts';
import { complete, FrameQueue, sendTo } from '../../net/offload.ts';
import { type State, scoped } from '../../state/state.ts';
import type { Offer, VmbusChannel, VmbusDevice, VmbusHost } from './channel.ts';
import { instanceGuid } from './guid.ts';
import {
  COMPLETION_REQUESTED,
  DESCRIPTOR_SIZE,
  directBuffer,
  type Packet,
  VM_PKT_COMP,
  VM_PKT_DATA_INBAND,
  VM_PKT_DATA_USING_GPA_DIRECT,
  VM_PKT_DATA_USING_XFER_PAGES,
  viewOf,
} from './packet.ts';
import { frameIn, MTU, messagesIn, PACKET_HEADER, packetMessage, Rndis } from './rndis.ts';

/** enum of nvsp_message types. */
const INIT = 1;
const INIT_COMPLETE = 2;
const SEND_NDIS_VERSION = 100;
const SEND_RECEIVE_BUFFER = 101;
const SEND_RECEIVE_BUFFER_COMPLETE = 102;
const REVOKE_RECEIVE_BUFFER = 103;
const SEND_SEND_BUFFER = 104;
const SEND_SEND_BUFFER_COMPLETE = 105;
const REVOKE_SEND_BUFFER = 106;
const SEND_RNDIS_PACKET = 107;
const SEND_RNDIS_PACKET_COMPLETE = 108;
const SEND_NDIS_CONFIG = 125;
const SWITCH_DATA_PATH = 129;
const SUBCHANNEL = 133;

/** struct nvsp_message: the type u32, then what belongs to it. */
const MESSAGE_SIZE = 40;
const STATUS_SUCCESS = 1;
const STATUS_FAILURE = 2;
const STATUS_UNSUPPORTED = 7;

/** Versions of NVSP: 1, 2, 4, 5, 6, 6.1. */
const VERSIONS: ReadonlySet<number> = new Set([0x00002, 0x30002, 0x40000, 0x50000, 0x60000, 0x60001]);
const MOST_MDLS = 1;

/** Channels of RNDIS packets: frames, and everything else. */
const DATA_CHANNEL = 0;
const CONTROL_CHANNEL = 1;
/** The message is not in a buffer but follows in pieces of memory. */
const NO_SECTION = 0xffffffff;
/** Which set of pages packets into the guest are in: the receive buffer. */
const RECEIVE_BUFFER_ID = 0xcafe;

/** Sections of the receive and the send buffer, in bytes. */
const RECEIVE_SECTION = 2048;
const MOST_RECEIVE_SECTIONS = 2 ** 14;
const SEND_SECTION = 6144;

/** An IP packet of 65535 bytes with all that is around it. */
const LONGEST_MESSAGE = 2 ** 17;
/** Frames that are one packet for the guest: it answers once for all of them. Less than HELD. */
const MOST_RANGES = 32;
/** Bytes of a packet into the receive buffer, by its ranges. */
const packetRoom = (ranges: number) => DESCRIPTOR_SIZE + 8 + 8 * ranges + MESSAGE_SIZE;
/** Room for the answer to any packet: a completion, and a packet into the receive buffer. */
const ROOM = DESCRIPTOR_SIZE + MESSAGE_SIZE + packetRoom(1);
/** Of a section: the guest has it with one before. */
const HELD = 0xff;
/** Packets for one signal, before the rest of the machine gets a turn. */
const TURN_PACKETS = 256;
/** Bytes that wait for a guest that has no room, and answers. */
const WAITING_BYTES = 2 ** 22;
const MOST_ANSWERS = 64;

const initial = () => ({
  /** Handles of the buffers. */
  receiveBuffer: undefined as number | undefined,
  sendBuffer: undefined as number | undefined,
  /** By section of the receive buffer: 0 if it is free; how many the guest has, from this one on; HELD for the others of these. */
  used: new Uint8Array(0),
  /** Where the search for a free section begins. */
  next: 0,
  /** Answers of RNDIS that wait for a free section. */
  answers: [] as Uint8Array[],
  /** Frames that the guest was too slow for. */
  lost: 0,
});

export class Netvsc implements VmbusDevice {
  readonly name: string;
  readonly offer: Offer;
  readonly #host: VmbusHost;
  readonly #channel: VmbusChannel;
  readonly #network: Network;
  readonly #rndis: Rndis;
  readonly #waiting = new FrameQueue(WAITING_BYTES);
  readonly #state: State<ReturnType<typeof initial>>;

  /** @param mac six bytes. @param index which adapter of the machine it is */
  constructor(host: VmbusHost, channel: VmbusChannel, network: Network, mac: Uint8Array, index: number) {
    this.name = `network-${index}`;
    this.offer = {
      type: 'f8615163-df3e-46c5-913f-f2d2f965ed0e',
      instance: instanceGuid('network', index),
      pipe: false,
    };
    this.#host = host;
    this.#channel = channel;
    this.#network = network;
    const states = scoped(host, this.name);
    this.#state = states.state('adapter', 2, initial);
    this.#rndis = new Rndis(states, mac);
    network.connect({
      clock: host.clock,
      log: host.log,
      receive: (frame, offload) => this.#receive(frame, offload),
    });
  }

  opened(): void {
    this.closed();
  }

  closed(): void {
    this.#state.initialise();
    this.#rndis.reset();
    this.#waiting.clear();
  }

  serve(): boolean {
    for (let packets = 0; packets < TURN_PACKETS; packets++) {
      if (!this.#channel.hasRoom(ROOM)) return false;
      const packet = this.#channel.receive();
      if (!packet) {
        this.#deliver();
        return false;
      }
      this.#serve(packet);
    }
    return true;
  }

  #serve(packet: Packet): void {
    if (packet.type === VM_PKT_COMP) return this.#release(packet.transaction);
    if (packet.type !== VM_PKT_DATA_INBAND && packet.type !== VM_PKT_DATA_USING_GPA_DIRECT) return;
    const message = new Uint8Array(MESSAGE_SIZE);
    message.set(packet.body.subarray(0, MESSAGE_SIZE));
    const answer = this.#answer(viewOf(message), packet);
    if (!(packet.flags & COMPLETION_REQUESTED)) return;
    const body = new Uint8Array(answer.length > 0 ? MESSAGE_SIZE : 0);
    for (const [index, value] of answer.entries()) viewOf(body).setUint32(4 * index, value, true);
    this.#channel.send({ type: VM_PKT_COMP, transaction: packet.transaction, body });
  }

  /** @returns the completion's words; none where it is empty */
  #answer(message: DataView, packet: Packet): number[] {
    const type = message.getUint32(0, true);
    const handle = message.getUint32(4, true);
    switch (type) {
      case INIT: {
        const known = VERSIONS.has(handle);
        return [INIT_COMPLETE, handle, MOST_MDLS, known ? STATUS_SUCCESS : STATUS_UNSUPPORTED];
      }
      case SEND_RECEIVE_BUFFER:
        return this.#takeReceiveBuffer(handle);
      case SEND_SEND_BUFFER: {
        const fits = (this.#channel.buffer(handle)?.length ?? 0) >= SEND_SECTION;
        this.#state.sendBuffer = fits ? handle : undefined;
        return [SEND_SEND_BUFFER_COMPLETE, fits ? STATUS_SUCCESS : STATUS_FAILURE, SEND_SECTION];
      }
      case REVOKE_RECEIVE_BUFFER:
        Object.assign(this.#state, { receiveBuffer: undefined, used: new Uint8Array(0), next: 0 });
        return [];
      case REVOKE_SEND_BUFFER:
        this.#state.sendBuffer = undefined;
        return [];
      case SEND_RNDIS_PACKET:
        return [SEND_RNDIS_PACKET_COMPLETE, this.#transmit(message, packet) ? STATUS_SUCCESS : STATUS_FAILURE];
      case SUBCHANNEL: // There is one channel.
        return [SUBCHANNEL, STATUS_FAILURE, 0];
      case SEND_NDIS_VERSION:
      case SEND_NDIS_CONFIG:
      case SWITCH_DATA_PATH:
        return [];
      default:
        this.#host.log.once(`${this.name}-message-${type}`, `${this.name}: message ${type} is not known`);
        return [];
    }
  }

  /** One kind of section: status, number of kinds, then offset, size, count and end. */
  #takeReceiveBuffer(handle: number): number[] {
    const length = this.#channel.buffer(handle)?.length ?? 0;
    const count = Math.min(Math.floor(length / RECEIVE_SECTION), MOST_RECEIVE_SECTIONS);
    if (count === 0) return [SEND_RECEIVE_BUFFER_COMPLETE, STATUS_FAILURE];
    Object.assign(this.#state, { receiveBuffer: handle, used: new Uint8Array(count), next: 0 });
    return [SEND_RECEIVE_BUFFER_COMPLETE, STATUS_SUCCESS, 1, 0, RECEIVE_SECTION, count, count * RECEIVE_SECTION];
  }

  // ---- Out of the guest ------------------------------------------------------------------------

  /** @returns false if the packet makes no sense */
  #transmit(message: DataView, packet: Packet): boolean {
    const bytes = this.#messageOf(message, packet);
    if (!bytes) return false;
    const isControl = message.getUint32(4, true) === CONTROL_CHANNEL;
    for (const each of messagesIn(bytes)) {
      if (isControl) this.#control(each.bytes);
      else this.#send(each.bytes);
    }
    return true;
  }

  /** The RNDIS messages: in a section of the send buffer, in pieces of memory, or begun in one and ended in the others. */
  #messageOf(message: DataView, packet: Packet): Uint8Array | undefined {
    const section = message.getUint32(8, true);
    const size = message.getUint32(12, true);
    const direct = packet.type === VM_PKT_DATA_USING_GPA_DIRECT ? directBuffer(this.#host.memory, packet) : undefined;
    if (packet.type === VM_PKT_DATA_USING_GPA_DIRECT && !direct) return undefined;
    const rest = direct ? direct.copyOut(0, LONGEST_MESSAGE) : new Uint8Array(0);
    if (section === NO_SECTION) return rest;
    const { sendBuffer } = this.#state;
    const buffer = sendBuffer === undefined ? undefined : this.#channel.buffer(sendBuffer);
    const start = section * SEND_SECTION;
    if (!buffer || size > SEND_SECTION || start + size > buffer.length) return undefined;
    const first = buffer.copyOut(start, size);
    if (rest.length === 0) return first;
    const whole = new Uint8Array(first.length + rest.length);
    whole.set(first);
    whole.set(rest, first.length);
    return whole;
  }

  #send(message: Uint8Array): void {
    const sent = frameIn(message);
    if (!sent) return;
    const { frame, offload } = sent;
    if (frame.length > LARGEST_FRAME && !offload?.segment) return;
    if (offload && offload.at + 2 > frame.length) return;
    sendTo(this.#network, frame, offload);
  }

  #control(message: Uint8Array): void {
    const answer = this.#rndis.control(message);
    const { answers } = this.#state;
    if (answer && answers.length < MOST_ANSWERS) answers.push(answer);
    this.#deliver();
  }

  // ---- Into the guest --------------------------------------------------------------------------

  #receive(frame: Uint8Array, offload: Offload | undefined): void {
    if (!this.#channel.isOpen || !this.#rndis.wants(frame)) return;
    // That it was left to us to complete a checksum says that the frame has come over no wire.
    for (const each of complete(frame, offload))
      if (!this.#fits(each) || !this.#waiting.put(each, offload)) this.#state.lost++;
    this.#deliver();
  }

  #fits(frame: Uint8Array): boolean {
    return frame.length + PACKET_HEADER + 16 <= RECEIVE_SECTION;
  }

  /** Hands over answers, then frames, as far as the guest has room. */
  #deliver(): void {
    const { answers } = this.#state;
    while (answers.length > 0 && this.#put(CONTROL_CHANNEL, 1, () => answers[0]!) > 0) answers.shift();
    if (answers.length > 0) return;
    const message = (index: number) => {
      const { bytes, offload } = this.#waiting.at(index)!;
      return packetMessage(bytes, offload !== undefined);
    };
    while (this.#waiting.length > 0) {
      const put = this.#put(DATA_CHANNEL, Math.min(this.#waiting.length, MOST_RANGES), message);
      if (put === 0) return;
      for (let index = 0; index < put; index++) this.#waiting.shift();
    }
  }

  /**
   * Messages in free sections of the receive buffer, as one packet.
   * @returns how many of them: none if no section is free, or the ring is full
   */
  #put(channel: number, count: number, message: (index: number) => Uint8Array): number {
    const { receiveBuffer, used } = this.#state;
    const buffer = receiveBuffer === undefined ? undefined : this.#channel.buffer(receiveBuffer);
    if (!buffer) return 0;
    const first = this.#freeSection();
    if (first < 0) return 0;
    let end = first + 1;
    while (end < first + count && used[end] === 0) end++;
    const ranges = end - first;
    // The guest may have handed over less memory under the same handle since.
    if (end * RECEIVE_SECTION > buffer.length || !this.#channel.hasRoom(packetRoom(ranges))) return 0;
    // The set of pages u16, who owns it u8, reserved u8, count of ranges u32, then length and offset of each.
    const extension = new Uint8Array(8 + 8 * ranges);
    const view = viewOf(extension);
    view.setUint16(0, RECEIVE_BUFFER_ID, true);
    view.setUint32(4, ranges, true);
    for (let index = 0; index < ranges; index++) {
      const bytes = message(index);
      const at = (first + index) * RECEIVE_SECTION;
      buffer.copyIn(at, bytes);
      view.setUint32(8 + 8 * index, bytes.length, true);
      view.setUint32(12 + 8 * index, at, true);
    }
    const body = new Uint8Array(MESSAGE_SIZE);
    for (const [index, value] of [SEND_RNDIS_PACKET, channel, NO_SECTION, 0].entries())
      viewOf(body).setUint32(4 * index, value, true);
    const packet = {
      type: VM_PKT_DATA_USING_XFER_PAGES,
      flags: COMPLETION_REQUESTED,
      transaction: BigInt(first + 1),
      extension,
      body,
    };
    if (!this.#channel.send(packet)) return 0;
    used.fill(HELD, first, end);
    used[first] = ranges;
    this.#state.next = end % used.length;
    return ranges;
  }

  /** @returns -1 if the guest has all of them */
  #freeSection(): number {
    const { used, next } = this.#state;
    const after = used.indexOf(0, next);
    return after >= 0 ? after : used.indexOf(0);
  }

  /** The guest is done with the sections of a packet. */
  #release(transaction: bigint): void {
    const { used } = this.#state;
    if (transaction < 1n || transaction > BigInt(used.length)) return;
    const first = Number(transaction) - 1;
    const count = used[first]!;
    if (count !== HELD) used.fill(0, first, first + count);
  }
}

/** Of a frame that stands for itself alone: with a VLAN tag. */
const LARGEST_FRAME = MTU + 18;
