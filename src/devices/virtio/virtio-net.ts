/**
 * The virtio network card (Virtual I/O Device specification 1.2, 5.1): a pair of queues for each processor and the control queue.
 * Checksums and the cutting of TCP are left undone wherever the driver and the network allow it.
 */
import type { Network, Offload } from '../../host/network.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import { FLOWS, flowOf } from '../../net/flow.ts';
import { complete, FrameQueue, sendTo } from '../../net/offload.ts';
import { ETHERTYPE_IPV6, word } from '../../net/packet.ts';
import type { State } from '../../state/state.ts';
import type { Slot } from '../device.ts';
import { gather, scatter } from './chains.ts';
import type { VirtioDevice, VirtioTransport } from './virtio-pci.ts';
import { type Chain, VIRTQUEUE_MAX_SIZE, type VirtQueue } from './virtqueue.ts';

export const VIRTIO_NET_F_CSUM = 0;
export const VIRTIO_NET_F_GUEST_CSUM = 1;
export const VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2;
export const VIRTIO_NET_F_MTU = 3;
export const VIRTIO_NET_F_MAC = 5;
export const VIRTIO_NET_F_GUEST_TSO4 = 7;
export const VIRTIO_NET_F_GUEST_TSO6 = 8;
export const VIRTIO_NET_F_HOST_TSO4 = 11;
export const VIRTIO_NET_F_HOST_TSO6 = 12;
export const VIRTIO_NET_F_MRG_RXBUF = 15;
export const VIRTIO_NET_F_STATUS = 16;
export const VIRTIO_NET_F_CTRL_VQ = 17;
export const VIRTIO_NET_F_CTRL_RX = 18;
export const VIRTIO_NET_F_MQ = 22;
export const VIRTIO_NET_F_CTRL_MAC_ADDR = 23;

const FEATURES = [
  ...[VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_MTU, VIRTIO_NET_F_MAC],
  ...[VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6],
  ...[VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_STATUS],
  ...[VIRTIO_NET_F_CTRL_VQ, VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_MAC_ADDR],
];

/** Pairs of queues: the first of pair n is queue 2 n, for what is received; the other one is for what is sent. Then the control queue. */
const MOST_PAIRS = 16;
/** Of a driver that knows one pair alone. */
const FIRST_CONTROL_QUEUE = 2;

/** `struct virtio_net_hdr_v1` (5.1.6): flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, num_buffers. */
const HEADER = 12;
const HDR_F_NEEDS_CSUM = 1;
const GSO_NONE = 0;
const GSO_TCPV4 = 1;
const GSO_TCPV6 = 4;
const GSO_ECN = 0x80;

const STATUS_LINK_UP = 1;
const MTU = 1500;
/** An IP packet of 65535 bytes, and Ethernet's header. */
const LARGEST_FRAME = 65535 + 14;
/** Frames for one notification, before the rest of the machine gets a turn. */
const TURN_FRAMES = VIRTQUEUE_MAX_SIZE;
/** Bytes that wait for a driver that has no buffers. */
const WAITING_BYTES = 2 ** 22;

/** Control commands (5.1.6.5): class and command. Filters are accepted and let everything through, which is allowed. */
const CTRL_RX = 0;
const CTRL_MAC = 1;
const CTRL_MAC_TABLE_SET = 0;
const CTRL_MAC_ADDR_SET = 1;
const CTRL_MQ = 4;
const CTRL_MQ_VQ_PAIRS_SET = 0;
const CTRL_GUEST_OFFLOADS = 5;
const CTRL_OK = 0;
const CTRL_ERR = 1;

/** What a driver may switch off later: what it takes undone. */
const GUEST_OFFLOADS = bits([VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6]);

const initial = (mac: Uint8Array) => ({
  mac: mac.slice(),
  mergeable: false,
  offloads: 0n,
  lost: 0,
  /** The driver knows of several pairs, and how many it uses. */
  multiqueue: false,
  pairs: 1,
  /** For each flow, the pair on which the guest has sent its latest frame: what is received goes there (5.1.6.5.5). */
  steering: new Uint8Array(FLOWS),
});

export class VirtioNet implements VirtioDevice {
  readonly name: string;
  readonly type = 1;
  /** Network, Ethernet. */
  readonly pciClass = 0x020000;
  readonly features: bigint;
  readonly queueSizes: readonly number[];

  readonly #network: Network;
  readonly #memory: GuestMemory;
  /** What the driver has no buffers for yet, by pair. */
  readonly #waiting: readonly FrameQueue[];
  readonly #wiring: { transport?: VirtioTransport } = {};
  readonly #state: State<ReturnType<typeof initial>>;
  readonly #header = new Uint8Array(HEADER);
  readonly #headerView = new DataView(this.#header.buffer);

  /** @param mac six bytes, what the driver finds @param processors a pair of queues for each, as far as they go */
  constructor(slot: Slot, network: Network, id: string, mac: Uint8Array, processors = 1) {
    this.name = `virtio-net-${id}`;
    this.#network = network;
    this.#memory = slot.memory;
    const pairs = Math.min(processors, MOST_PAIRS);
    this.features = bits(pairs > 1 ? [...FEATURES, VIRTIO_NET_F_MQ] : FEATURES);
    this.queueSizes = [...Array<number>(2 * pairs).fill(VIRTQUEUE_MAX_SIZE), 64];
    this.#waiting = Array.from({ length: pairs }, () => new FrameQueue(WAITING_BYTES));
    this.#state = slot.state(this.name, 2, () => initial(mac));
    network.connect({
      clock: slot.clock,
      log: slot.log,
      receive: (frame, offload) => this.#receive(frame, offload),
    });
  }

  /** `struct virtio_net_config` (5.1.4), as far as its features are there. */
  get configuration(): Uint8Array {
    const bytes = new Uint8Array(12);
    bytes.set(this.#state.mac);
    const view = new DataView(bytes.buffer);
    view.setUint16(6, STATUS_LINK_UP, true);
    view.setUint16(8, this.#waiting.length, true);
    view.setUint16(10, MTU, true);
    return bytes;
  }

  attach(transport: VirtioTransport): void {
    this.#wiring.transport = transport;
  }

  start(features: bigint): void {
    this.#state.mergeable = (features & bit(VIRTIO_NET_F_MRG_RXBUF)) !== 0n;
    this.#state.offloads = features & GUEST_OFFLOADS;
    this.#state.multiqueue = (features & bit(VIRTIO_NET_F_MQ)) !== 0n;
    this.#state.pairs = 1;
    this.#state.steering.fill(0);
    for (const waiting of this.#waiting) waiting.clear();
  }

  serve(index: number, queue: VirtQueue): boolean {
    const control = this.#state.multiqueue ? 2 * this.#waiting.length : FIRST_CONTROL_QUEUE;
    if (index === control) return this.#control(queue);
    if (index > control) return false;
    if (index % 2) return this.#transmit(queue, index >> 1);
    this.#deliver(queue, index >> 1);
    return false;
  }

  // ---- Out of the guest ------------------------------------------------------------------------

  #transmit(queue: VirtQueue, pair: number): boolean {
    for (let frames = 0; frames < TURN_FRAMES; frames++) {
      const chain = queue.pop();
      if (!chain) return false;
      this.#send(chain, pair);
      queue.push(chain.head, 0);
    }
    return true;
  }

  /** What makes no sense is lost, as a frame that a wire has garbled. */
  #send(chain: Chain, pair: number): void {
    const length = chain.readableLength - HEADER;
    if (length < 14 || length > LARGEST_FRAME) return;
    gather(this.#memory, chain, 0, this.#header);
    const view = this.#headerView;
    const frame = new Uint8Array(length);
    gather(this.#memory, chain, HEADER, frame);
    if (this.#state.pairs > 1) this.#state.steering[flowOf(frame)] = pair;
    const kind = view.getUint8(1) & ~GSO_ECN;
    if (!(view.getUint8(0) & HDR_F_NEEDS_CSUM)) {
      if (kind === GSO_NONE && length <= MTU + 14) this.#network.send(frame);
      return;
    }
    if (kind !== GSO_NONE && kind !== GSO_TCPV4 && kind !== GSO_TCPV6) return;
    if (kind === GSO_NONE && length > MTU + 14) return;
    const start = view.getUint16(6, true);
    const segment = kind === GSO_NONE ? 0 : view.getUint16(4, true);
    if (kind !== GSO_NONE && segment === 0) return;
    const offload = { start, at: start + view.getUint16(8, true), segment };
    if (offload.at + 2 > length) return;
    sendTo(this.#network, frame, offload);
  }

  // ---- Into the guest --------------------------------------------------------------------------

  #receive(frame: Uint8Array, offload: Offload | undefined): void {
    const { transport } = this.#wiring;
    const { pairs, steering } = this.#state;
    // A driver has buffers in the queues that it uses; the first pair is always one of them.
    const wanted = pairs > 1 ? steering[flowOf(frame)]! % pairs : 0;
    const pair = transport?.queue(2 * wanted) ? wanted : 0;
    const queue = transport?.queue(2 * pair);
    if (!transport || !queue) return;
    const frames = this.#takes(frame, offload)
      ? [{ frame, offload }]
      : complete(frame, offload).map(each => ({ frame: each }));
    for (const each of frames)
      if (!this.#waiting[pair]!.put(each.frame, 'offload' in each ? each.offload : undefined)) this.#state.lost++;
    this.#deliver(queue, pair);
    transport.used(2 * pair);
  }

  /** The driver takes what is left undone in the frame. */
  #takes(frame: Uint8Array, offload: Offload | undefined): boolean {
    if (!offload) return true;
    const { offloads, mergeable } = this.#state;
    if (!(offloads & bit(VIRTIO_NET_F_GUEST_CSUM))) return false;
    if (offload.segment === 0) return true;
    return mergeable && (offloads & bit(isIpv6(frame) ? VIRTIO_NET_F_GUEST_TSO6 : VIRTIO_NET_F_GUEST_TSO4)) !== 0n;
  }

  /** Hands over what waits, as far as the driver has buffers. */
  #deliver(queue: VirtQueue, pair: number): void {
    const waiting = this.#waiting[pair]!;
    for (let next = waiting.first; next; next = waiting.first) {
      const { bytes, offload } = next;
      const header = this.#headerFor(bytes, offload);
      if (this.#state.mergeable ? !this.#fillMany(queue, header, bytes) : !this.#fillOne(queue, header, bytes)) return;
      waiting.shift();
    }
  }

  /** One buffer for the whole frame; what does not fit is lost (5.1.6.4). @returns false if there is no buffer */
  #fillOne(queue: VirtQueue, header: Uint8Array, frame: Uint8Array): boolean {
    const chain = queue.pop();
    if (!chain) return false;
    const fits = chain.writableLength >= HEADER + frame.length;
    if (fits) {
      scatter(this.#memory, chain, 0, header);
      scatter(this.#memory, chain, HEADER, frame);
    } else this.#state.lost++;
    queue.push(chain.head, fits ? HEADER + frame.length : 0);
    return true;
  }

  /** As many buffers as it takes, the first with their number (5.1.6.4.2). @returns false if there are not enough yet */
  #fillMany(queue: VirtQueue, header: Uint8Array, frame: Uint8Array): boolean {
    const taken: { head: number; written: number }[] = [];
    let done = 0;
    let first = -1;
    while (done < frame.length) {
      const chain = queue.pop();
      if (!chain || chain.writableLength <= (taken.length === 0 ? HEADER : 0)) {
        if (chain) queue.broken = 'a buffer without room to receive into';
        else queue.unpop(taken.length);
        return false;
      }
      let offset = 0;
      if (taken.length === 0) {
        scatter(this.#memory, chain, 0, header);
        first = placeOf(chain, HEADER - 2);
        offset = HEADER;
      }
      const written = scatter(this.#memory, chain, offset, frame.subarray(done));
      done += written;
      taken.push({ head: chain.head, written: offset + written });
    }
    if (first < 0) queue.broken = 'a header in pieces too small';
    else this.#memory.write16(first, taken.length);
    for (const { head, written } of taken) queue.push(head, written);
    return true;
  }

  #headerFor(frame: Uint8Array, offload: Offload | undefined): Uint8Array {
    const header = this.#header.fill(0);
    const view = this.#headerView;
    view.setUint16(10, 1, true);
    if (!offload) return header;
    const { start, at, segment } = offload;
    view.setUint8(0, HDR_F_NEEDS_CSUM);
    view.setUint16(6, start, true);
    view.setUint16(8, at - start, true);
    if (segment === 0) return header;
    view.setUint8(1, isIpv6(frame) ? GSO_TCPV6 : GSO_TCPV4);
    view.setUint16(2, start + (frame[start + 12] >> 4) * 4, true);
    view.setUint16(4, segment, true);
    return header;
  }

  // ---- Control ---------------------------------------------------------------------------------

  #control(queue: VirtQueue): boolean {
    for (let commands = 0; commands < TURN_FRAMES; commands++) {
      const chain = queue.pop();
      if (!chain) return false;
      if (chain.writableLength < 1) {
        queue.broken = 'a command without room for its answer';
        return false;
      }
      scatter(this.#memory, chain, chain.writableLength - 1, Uint8Array.of(this.#obey(chain)));
      queue.push(chain.head, chain.writableLength);
    }
    return true;
  }

  #obey(chain: Chain): number {
    if (chain.readableLength < 2) return CTRL_ERR;
    const bytes = new Uint8Array(Math.min(chain.readableLength, 10));
    gather(this.#memory, chain, 0, bytes);
    const [kind, command] = bytes;
    switch (kind) {
      case CTRL_RX:
        return chain.readableLength === 3 ? CTRL_OK : CTRL_ERR;
      case CTRL_MAC:
        if (command === CTRL_MAC_TABLE_SET) return CTRL_OK;
        if (command !== CTRL_MAC_ADDR_SET || chain.readableLength !== 8) return CTRL_ERR;
        this.#state.mac.set(bytes.subarray(2, 8));
        return CTRL_OK;
      case CTRL_MQ:
        if (command !== CTRL_MQ_VQ_PAIRS_SET || chain.readableLength !== 4) return CTRL_ERR;
        return this.#usePairs(bytes[2]! | (bytes[3]! << 8)) ? CTRL_OK : CTRL_ERR;
      case CTRL_GUEST_OFFLOADS: {
        if (command !== 0 || chain.readableLength !== 10) return CTRL_ERR;
        const wanted = new DataView(bytes.buffer).getBigUint64(2, true);
        if (wanted & ~GUEST_OFFLOADS) return CTRL_ERR;
        this.#state.offloads = wanted;
        return CTRL_OK;
      }
    }
    return CTRL_ERR;
  }

  /** The driver uses so many pairs: what waits in the others comes by the first. @returns false if there are not so many */
  #usePairs(pairs: number): boolean {
    if (!this.#state.multiqueue || pairs < 1 || pairs > this.#waiting.length) return false;
    this.#state.pairs = pairs;
    const [first] = this.#waiting;
    for (const waiting of this.#waiting.slice(pairs))
      for (let next = waiting.first; next; next = waiting.first) {
        if (!first!.put(next.bytes, next.offload)) this.#state.lost++;
        waiting.shift();
      }
    return true;
  }
}

/** Where byte `offset` of a chain's writable part is, two bytes of which lie together; -1 if they do not. */
function placeOf(chain: Chain, offset: number): number {
  for (let i = chain.readable; i < chain.count; i++) {
    if (offset + 2 <= chain.length[i]) return chain.address[i] + offset;
    if (offset < chain.length[i]) return -1;
    offset -= chain.length[i];
  }
  return -1;
}

function isIpv6(frame: Uint8Array): boolean {
  return word(frame, 12) === ETHERTYPE_IPV6;
}

function bit(number: number): bigint {
  return 1n << BigInt(number);
}

function bits(numbers: readonly number[]): bigint {
  return numbers.reduce((sum, number) => sum | bit(number), 0n);
}
