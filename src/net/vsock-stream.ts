/**
 * The machine's end of one vsock connection, for a device whose driver has streams instead of packets: it speaks the packets that the
 * host's end (vsock.ts) takes, as a guest's virtio driver would.
 */
import { VsockCredit } from './vsock-credit.ts';
import {
  VIRTIO_VSOCK_OP_CREDIT_REQUEST,
  VIRTIO_VSOCK_OP_CREDIT_UPDATE,
  VIRTIO_VSOCK_OP_REQUEST,
  VIRTIO_VSOCK_OP_RESPONSE,
  VIRTIO_VSOCK_OP_RST,
  VIRTIO_VSOCK_OP_RW,
  VIRTIO_VSOCK_OP_SHUTDOWN,
  VIRTIO_VSOCK_SHUTDOWN_RCV,
  VIRTIO_VSOCK_SHUTDOWN_SEND,
  VMADDR_CID_HOST,
  type VsockPacket,
  vsockPacket,
} from './vsock-packet.ts';

/** Bytes for the guest that wait in the device. */
const ROOM = 1 << 16;
const NOTHING = new Uint8Array(0);

export interface VsockStreamEnds {
  /** The guest's context identifier. */
  readonly cid: number;
  readonly guestPort: number;
  readonly hostPort: number;
}

/** What a device does when something comes from the host's end. */
export interface VsockStreamEvents {
  /** The host's program has accepted the connection that the guest has begun. */
  accepted(): void;
  /** There is data, or its end, or the host's end has room again. */
  changed(): void;
  /** The connection is no more. */
  reset(): void;
}

export class VsockStream {
  readonly ends: VsockStreamEnds;
  readonly #post: (packet: Uint8Array) => void;
  readonly #events: VsockStreamEvents;
  readonly #credit = new VsockCredit(ROOM);
  readonly #data: Uint8Array[] = [];
  #pending = 0;
  #isOpen = false;
  /** What the host's end does no more, as flags of VIRTIO_VSOCK_OP_SHUTDOWN. */
  #theirShut = 0;
  #isOver = false;

  constructor(ends: VsockStreamEnds, post: (packet: Uint8Array) => void, events: VsockStreamEvents) {
    this.ends = ends;
    this.#post = post;
    this.#events = events;
  }

  /** Bytes from the host that have not been taken. */
  get pending(): number {
    return this.#pending;
  }

  /** Bytes that `send` may be given. */
  get credit(): number {
    return this.#isOpen ? this.#credit.available(2 ** 32) : 0;
  }

  /** Everything that the host's program has sent has been taken, and no more will come. */
  get isEnded(): boolean {
    return this.#pending === 0 && (this.#theirShut & VIRTIO_VSOCK_SHUTDOWN_SEND) !== 0;
  }

  /** The host's program takes nothing more. */
  get isDeaf(): boolean {
    return (this.#theirShut & VIRTIO_VSOCK_SHUTDOWN_RCV) !== 0;
  }

  /** The guest wants the connection. */
  connect(): void {
    this.#say(VIRTIO_VSOCK_OP_REQUEST);
  }

  /** The guest has accepted what the host began. @param request as it came */
  accept(request: VsockPacket): void {
    this.#credit.note(request);
    this.#isOpen = true;
    this.#say(VIRTIO_VSOCK_OP_RESPONSE);
  }

  /** @param data of the guest's, at most `credit` bytes, which the callee keeps */
  send(data: Uint8Array): void {
    this.#credit.send(data.length);
    this.#say(VIRTIO_VSOCK_OP_RW, { data });
  }

  /** The guest sends nothing more. */
  end(): void {
    this.#say(VIRTIO_VSOCK_OP_SHUTDOWN, { flags: VIRTIO_VSOCK_SHUTDOWN_SEND });
  }

  /** The guest is done with it: what it has sent still arrives. */
  close(): void {
    if (this.#isOver) return;
    this.#say(VIRTIO_VSOCK_OP_SHUTDOWN, { flags: VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND });
    this.#isOver = true;
  }

  /** Both ends see that the connection was broken off. */
  reset(): void {
    if (this.#isOver) return;
    this.#say(VIRTIO_VSOCK_OP_RST);
    this.#isOver = true;
  }

  /** The oldest data, `most` bytes of it at most, which stay until `taken`. */
  peek(most: number): Uint8Array {
    return this.#data[0]?.subarray(0, most) ?? NOTHING;
  }

  /** The guest has so many bytes of the oldest data. */
  taken(bytes: number): void {
    const rest = this.#data[0]!.subarray(bytes);
    if (rest.length > 0) this.#data[0] = rest;
    else this.#data.shift();
    this.#pending -= bytes;
    if (this.#credit.isDue(this.#pending)) this.#say(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
  }

  /** A packet of the host's end for this connection. */
  receive(packet: VsockPacket): void {
    if (this.#isOver) return;
    const { operation, flags, data } = packet;
    if (operation === VIRTIO_VSOCK_OP_RST) {
      this.#isOver = true;
      return this.#events.reset();
    }
    this.#credit.note(packet);
    if (operation === VIRTIO_VSOCK_OP_RESPONSE && !this.#isOpen) {
      this.#isOpen = true;
      return this.#events.accepted();
    }
    if (operation === VIRTIO_VSOCK_OP_RW) {
      if (!this.#credit.receive(data.length)) return this.#breakOff();
      if (data.length > 0) this.#data.push(data);
      this.#pending += data.length;
    } else if (operation === VIRTIO_VSOCK_OP_SHUTDOWN) this.#theirShut |= flags;
    else if (operation === VIRTIO_VSOCK_OP_CREDIT_REQUEST) this.#say(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    else if (operation !== VIRTIO_VSOCK_OP_CREDIT_UPDATE) return this.#breakOff();
    this.#events.changed();
  }

  #breakOff(): void {
    this.reset();
    this.#events.reset();
  }

  #say(operation: number, { flags = 0, data = NOTHING }: Partial<Pick<VsockPacket, 'flags' | 'data'>> = {}): void {
    const { cid, guestPort, hostPort } = this.ends;
    const ends = { sourceCid: cid, destinationCid: VMADDR_CID_HOST, source: guestPort, destination: hostPort };
    this.#post(vsockPacket({ ...ends, operation, flags, data, ...this.#credit.tell(this.#pending) }));
  }
}
