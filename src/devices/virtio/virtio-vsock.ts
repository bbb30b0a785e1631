/**
 * The virtio socket device, device type 19 (Virtual I/O Device specification 1.2, 5.10; Linux:
 * net/vmw_vsock/virtio_transport.c). It passes packets between the driver and the host's end (host/vsock.ts), which has the connections.
 */
import type { Vsock } from '../../host/vsock.ts';
import { FrameQueue } from '../../net/offload.ts';
import {
  parseVsockPacket,
  VIRTIO_VSOCK_OP_REQUEST,
  VSOCK_HEADER,
  VSOCK_MOST_DATA,
  vsockReset,
} from '../../net/vsock-packet.ts';
import type { State } from '../../state/state.ts';
import type { Slot } from '../device.ts';
import { gather, scatter } from './chains.ts';
import type { VirtioDevice, VirtioTransport } from './virtio-pci.ts';
import { VIRTQUEUE_MAX_SIZE, type VirtQueue } from './virtqueue.ts';

const RECEIVE_QUEUE = 0;
const TRANSMIT_QUEUE = 1;
const EVENT_QUEUE = 2;

/** `struct virtio_vsock_event`: id u32. The device is another one: all connections are gone (5.10.6.7). */
const EVENT_SIZE = 4;
const VIRTIO_VSOCK_EVENT_TRANSPORT_RESET = 0;

/** `len`, in a packet's header. */
const LENGTH = 24;
/** Bytes that wait for a driver that has no buffers: as much as all connections' credit. */
const WAITING_BYTES = 2 ** 24;
/** After this many packets for one notification the rest of the machine gets a turn. */
const TURN_PACKETS = VIRTQUEUE_MAX_SIZE;

export class VirtioVsock implements VirtioDevice {
  readonly name = 'virtio-vsock';
  readonly type = 19;
  /** A communication device of another kind. */
  readonly pciClass = 0x078000;
  readonly features = 0n;
  readonly queueSizes = [VIRTQUEUE_MAX_SIZE, VIRTQUEUE_MAX_SIZE, 64];
  readonly configuration = new Uint8Array(8);
  readonly #slot: Slot;
  readonly #vsock: Vsock;
  readonly #waiting = new FrameQueue(WAITING_BYTES);
  readonly #wiring: { transport?: VirtioTransport } = {};
  /** A reset that the driver has not heard of yet. */
  readonly #state: State<{ wasReset: boolean }>;

  constructor(slot: Slot, vsock: Vsock) {
    this.#slot = slot;
    this.#vsock = vsock;
    this.#state = slot.state(this.name, 1, () => ({ wasReset: false }));
    new DataView(this.configuration.buffer).setBigUint64(0, BigInt(vsock.cid), true);
    vsock.connect({ clock: slot.clock, log: slot.log, receive: packet => this.#receive(packet) });
  }

  attach(transport: VirtioTransport): void {
    this.#wiring.transport = transport;
  }

  start(): void {
    this.#waiting.clear();
    this.#state.wasReset = false;
  }

  /** The host's end does not know of the connections that a snapshot has. */
  restored(): void {
    this.#waiting.clear();
    this.#state.wasReset = true;
    const queue = this.#wiring.transport?.queue(EVENT_QUEUE);
    if (!queue) return;
    this.#tellReset(queue);
    this.#wiring.transport?.used(EVENT_QUEUE);
  }

  serve(index: number, queue: VirtQueue): boolean {
    if (index === TRANSMIT_QUEUE) return this.#transmit(queue);
    if (index === RECEIVE_QUEUE) this.#deliver(queue);
    else if (this.#state.wasReset) this.#tellReset(queue);
    return false;
  }

  #tellReset(queue: VirtQueue): void {
    const chain = queue.pop();
    if (!chain) return;
    const event = new Uint8Array(EVENT_SIZE);
    new DataView(event.buffer).setUint32(0, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET, true);
    queue.push(chain.head, scatter(this.#slot.memory, chain, 0, event));
    this.#state.wasReset = false;
  }

  #transmit(queue: VirtQueue): boolean {
    for (let packets = 0; packets < TURN_PACKETS; packets++) {
      const chain = queue.pop();
      if (!chain) return false;
      // What makes no sense is dropped, as by Linux's vhost_vsock.
      if (chain.readableLength >= VSOCK_HEADER && chain.readableLength <= VSOCK_HEADER + VSOCK_MOST_DATA) {
        const packet = new Uint8Array(chain.readableLength);
        gather(this.#slot.memory, chain, 0, packet);
        this.#vsock.send(packet);
      }
      queue.push(chain.head, 0);
    }
    return true;
  }

  #receive(packet: Uint8Array): void {
    const { transport } = this.#wiring;
    const queue = transport?.queue(RECEIVE_QUEUE);
    if (!transport || !queue) return this.#refuse(packet);
    if (!this.#waiting.put(packet))
      this.#slot.log.once('vsock-lost', 'vsock: a guest that does not take its packets: some are lost');
    this.#deliver(queue);
    transport.used(RECEIVE_QUEUE);
  }

  /** There is no driver: who wants a connection learns it at once. */
  #refuse(bytes: Uint8Array): void {
    const packet = parseVsockPacket(bytes);
    if (packet?.operation === VIRTIO_VSOCK_OP_REQUEST) this.#vsock.send(vsockReset(packet));
  }

  /** Hands over what waits, as far as the driver has buffers. Data that is longer than a buffer becomes several packets. */
  #deliver(queue: VirtQueue): void {
    const { memory } = this.#slot;
    for (let next = this.#waiting.first; next; next = this.#waiting.first) {
      const { bytes } = next;
      const header = bytes.slice(0, VSOCK_HEADER);
      let at = VSOCK_HEADER;
      do {
        const chain = queue.pop();
        if (!chain) return void this.#waiting.replaceFirst(rest(header, bytes, at));
        const room = chain.writableLength - VSOCK_HEADER;
        if (room < Math.min(1, bytes.length - at)) {
          queue.broken = `a buffer of ${chain.writableLength} bytes to receive into`;
          return;
        }
        const data = bytes.subarray(at, at + room);
        new DataView(header.buffer).setUint32(LENGTH, data.length, true);
        scatter(memory, chain, 0, header);
        scatter(memory, chain, VSOCK_HEADER, data);
        queue.push(chain.head, VSOCK_HEADER + data.length);
        at += data.length;
      } while (at < bytes.length);
      this.#waiting.shift();
    }
  }
}

/** What is left of a packet from byte `at` on. */
function rest(header: Uint8Array, bytes: Uint8Array, at: number): Uint8Array {
  if (at === VSOCK_HEADER) return bytes;
  const left = new Uint8Array(VSOCK_HEADER + bytes.length - at);
  left.set(header);
  left.set(bytes.subarray(at), VSOCK_HEADER);
  new DataView(left.buffer).setUint32(LENGTH, bytes.length - at, true);
  return left;
}
