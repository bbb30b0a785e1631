/**
 * Hyper-V's sockets, by which programs of a guest and of its host have connections (Linux net/vmw_vsock/hyperv_transport.c). Each
 * connection is a channel of its own, whose type is the service that is connected to and whose instance is who connects. What passes
 * is a pipe's bytes; a packet without any is the end of them. Behind the channel is the host's end of a vsock (host/vsock.ts).
 */
import type { Timer } from '../../host/clock.ts';
import type { VsockPacket } from '../../net/vsock-packet.ts';
import { VsockStream } from '../../net/vsock-stream.ts';
import type { Offer, PluggableChannel, VmbusDevice, VmbusHost } from './channel.ts';
import { DESCRIPTOR_SIZE, type Packet, packetSize, VM_PKT_DATA_INBAND, viewOf } from './packet.ts';

/** struct vmpipe_proto_header: type u32, bytes of data u32. */
const PIPE_HEADER = 8;
const PIPE_DATA = 1;
/** Data of one packet of the guest's, at most (Linux: HVS_MTU_SIZE). */
const MOST_DATA = 16384;
/** Data of one of ours: the packet fits into the smallest ring, which has a page. */
const SENT_DATA = 4096 - DESCRIPTOR_SIZE - PIPE_HEADER - 16;
/** After so many packets the rest of the machine gets a turn. */
const TURN_PACKETS = 64;

/** Nanoseconds in which a guest opens the channel. It says nothing where nobody listens. */
const OPENING_TIME = 5_000_000_000;
/**
 * Nanoseconds that data waits for a guest which sends nothing more: one whose program has closed the socket reads nothing more either,
 * and cannot say so. Linux gives up after eight seconds.
 */
const READING_TIME = 10_000_000_000;
/** Nanoseconds until the guest is told again what it had no room for. */
const RETRY_TIME = 1_000_000;

/** A connection. It is not part of the state: the host's end of it does not outlive the process. */
interface Connection {
  readonly offer: Offer;
  readonly stream: VsockStream;
  /** What the host's end has asked for; undefined: the guest has begun it. */
  readonly request: VsockPacket | undefined;
  /** The guest is to be told of the channel. */
  isWanted: boolean;
  /** Who has sent everything. */
  guestEnded: boolean;
  hostEnded: boolean;
  /** Data waits for room since then, in the guest's time. */
  waitsSince: number | undefined;
}

/** What a socket is to connect. */
export interface Wanted {
  readonly offer: Offer;
  readonly ends: VsockStream['ends'];
  readonly request: VsockPacket | undefined;
  post(packet: Uint8Array): void;
}

export class HvSocket implements VmbusDevice {
  readonly name: string;
  readonly offer = undefined;
  readonly #host: VmbusHost;
  readonly #channel: PluggableChannel;
  readonly #timer: Timer;
  readonly #current: { connection?: Connection | undefined } = {};

  constructor(host: VmbusHost, channel: PluggableChannel, index: number) {
    this.name = `hv-socket-${index}`;
    this.#host = host;
    this.#channel = channel;
    this.#timer = host.clock.timer(`vmbus/${this.name}`, () => this.#onTimer());
  }

  get isFree(): boolean {
    return this.#current.connection === undefined && this.#channel.isAbsent;
  }

  get isHeard(): boolean {
    return this.#channel.isHeard;
  }

  get stream(): VsockStream | undefined {
    return this.#current.connection?.stream;
  }

  /** Begins a connection: one of the host's is offered, one of the guest's is asked for. */
  begin({ offer, ends, request, post }: Wanted): void {
    const stream = new VsockStream(ends, post, {
      accepted: () => this.#plug(),
      changed: () => this.#move(),
      reset: () => this.#onReset(),
    });
    const common = { isWanted: false, guestEnded: false, hostEnded: false, waitsSince: undefined };
    this.#current.connection = { offer, stream, request, ...common };
    if (request) this.#plug();
    else stream.connect();
  }

  /** The connections that were, are no more: the guest hears of it. */
  restored(): void {
    this.#drop();
  }

  opened(): void {
    const { connection } = this.#current;
    if (!connection) return this.#drop();
    this.#timer.off();
    if (connection.request) connection.stream.accept(connection.request);
  }

  /** The guest may be about to say more of the channel: it is taken away afterwards. */
  closed(): void {
    this.lost();
    this.#timer.at(this.#host.clock.now());
  }

  lost(): void {
    this.#current.connection?.stream.reset();
    this.#current.connection = undefined;
    this.#timer.off();
  }

  serve(): boolean {
    const { connection } = this.#current;
    if (!connection) return false;
    const { stream } = connection;
    for (let packets = 0; packets < TURN_PACKETS; packets++) {
      const packet = stream.credit >= MOST_DATA ? this.#channel.receive() : undefined;
      if (!packet) {
        this.#deliver(connection);
        return false;
      }
      const data = connection.guestEnded ? undefined : pipeData(packet);
      if (!data) {
        this.#host.log.once('hv-socket', `${this.name}: the guest sends what is no data of a pipe: it is cut off`);
        this.#abandon();
        return false;
      }
      if (data.length > 0) stream.send(data.slice());
      else {
        connection.guestEnded = true;
        stream.end();
      }
      // What has been sent may have broken the connection off.
      if (this.#current.connection !== connection) return false;
    }
    return true;
  }

  /** Something has changed at the host's end. */
  #move(): void {
    const { connection } = this.#current;
    // A guest that has filled its ring while the host's end had no room does not signal again.
    if (connection && this.#channel.isOpen && this.serve()) this.#timer.at(this.#host.clock.now());
  }

  /** What the host's program has sent goes to the guest, as far as there is room. */
  #deliver(connection: Connection): void {
    const { stream } = connection;
    let hasRoom = true;
    while (stream.pending > 0) {
      const data = stream.peek(SENT_DATA);
      hasRoom = this.#send(data);
      if (!hasRoom) break;
      connection.waitsSince = undefined;
      stream.taken(data.length);
    }
    if (hasRoom && stream.isEnded && !connection.hostEnded) {
      hasRoom = this.#send(new Uint8Array(0));
      connection.hostEnded = hasRoom;
    }
    if (connection.hostEnded && (connection.guestEnded || stream.isDeaf)) {
      // The guest finds in its ring what it has not read.
      stream.close();
      this.#drop();
    } else if (!hasRoom && connection.guestEnded && connection.waitsSince === undefined) {
      connection.waitsSince = this.#host.clock.now();
      this.#timer.at(connection.waitsSince + READING_TIME);
    }
  }

  /** @returns false if there is no room: the guest signals when there is */
  #send(data: Uint8Array): boolean {
    const body = new Uint8Array(PIPE_HEADER + data.length);
    const view = viewOf(body);
    view.setUint32(0, PIPE_DATA, true);
    view.setUint32(4, data.length, true);
    body.set(data, PIPE_HEADER);
    if (!this.#channel.hasRoom(packetSize({ body }))) return false;
    return this.#channel.send({ type: VM_PKT_DATA_INBAND, transaction: 0n, body });
  }

  #plug(): void {
    const { connection } = this.#current;
    if (!connection) return;
    connection.isWanted = !this.#channel.plug(connection.offer);
    this.#timer.at(this.#host.clock.now() + (connection.isWanted ? RETRY_TIME : OPENING_TIME));
  }

  #onTimer(): void {
    const { connection } = this.#current;
    if (!connection) return this.#drop();
    if (connection.isWanted) return this.#plug();
    if (!this.#channel.isOpen) return this.#abandon();
    const { waitsSince } = connection;
    if (waitsSince !== undefined && this.#host.clock.now() >= waitsSince + READING_TIME) return this.#abandon();
    this.#move();
  }

  /** The host's end has broken the connection off, or refused it. */
  #onReset(): void {
    const { connection } = this.#current;
    if (connection && !connection.request && this.#channel.isAbsent) this.#channel.refuse(connection.offer);
    this.#drop();
  }

  /** Both ends see that the connection was broken off. */
  #abandon(): void {
    this.#current.connection?.stream.reset();
    this.#drop();
  }

  /** There is no connection any more: the channel is taken away from the guest, when it can be told. */
  #drop(): void {
    this.#current.connection = undefined;
    this.#timer.off();
    if (this.#channel.isOffered && !this.#channel.unplug()) this.#timer.at(this.#host.clock.now() + RETRY_TIME);
  }
}

/** The data of a packet of the guest's; undefined where it has none. */
function pipeData({ type, body }: Packet): Uint8Array | undefined {
  if (type !== VM_PKT_DATA_INBAND || body.length < PIPE_HEADER) return undefined;
  const view = viewOf(body);
  const length = view.getUint32(4, true);
  const fits = length <= MOST_DATA && length <= body.length - PIPE_HEADER;
  return fits && view.getUint32(0, true) === PIPE_DATA ? body.subarray(PIPE_HEADER, PIPE_HEADER + length) : undefined;
}
