/** The TCP connections of a network's guests, each with a socket of the host's behind it. */
import type { SocketError, TcpHandler, TcpSocket } from '../host/sockets.ts';
import type { Packet } from './packet.ts';
import { type Opener, refusalOf, type Station } from './station.ts';
import { TcpConnection, type TcpUser, type TcpWire } from './tcp.ts';
import {
  ACK,
  FIN,
  largestSegment,
  type Ports,
  parseSegment,
  RST,
  type Segment,
  SYN,
  segmentFrame,
} from './tcp-segment.ts';

/** Connections at a time: each takes a file descriptor of the host's. */
export const MOST_CONNECTIONS = 256;
/** Bytes for the guest beyond which the host's socket is not read, and below which it is read again. */
const HIGH_WATER = 1 << 20;
const LOW_WATER = 1 << 19;
/** Ports from which forwarded connections seem to come. */
const FIRST_PORT = 49152;
const PORTS = 16384;

export class TcpFlows {
  readonly #station: Station;
  readonly #flows = new Map<string, TcpFlow>();
  #forwarded = 0;
  #sequence = 0;

  constructor(station: Station) {
    this.#station = station;
  }

  get count(): number {
    return this.#flows.size;
  }

  /** @param trusted the checksum was left undone */
  receive(packet: Packet, trusted: boolean): void {
    const segment = parseSegment(packet, trusted);
    if (!segment) return;
    const key = keyOf(packet.source, segment.source, packet.destination, segment.destination);
    const flow = this.#flows.get(key);
    // A new connection from where an old one has not died yet: that one is over.
    if (flow && segment.flags & SYN && !(segment.flags & ACK) && flow.over) flow.abandon();
    else if (flow) return flow.receive(segment);
    if (segment.flags & RST) return;
    if (!(segment.flags & SYN) || segment.flags & ACK) return sendReset(this.#station, packet, segment);
    const open = this.#station.reach(packet.destination, segment.destination);
    if (open === 'closed') return sendReset(this.#station, packet, segment);
    if (open === 'prohibited') return this.#station.refuse(packet, 'prohibited');
    this.#makeRoom();
    const made = this.#add(key, packet.destination, packet.source, {
      source: segment.destination,
      destination: segment.source,
    });
    made.connect(open, packet, segment);
  }

  /** Somebody has connected to a port of the host's that is forwarded. @returns what its socket tells */
  forward(socket: TcpSocket, from: Uint8Array, guest: Uint8Array, port: number): TcpHandler {
    this.#makeRoom();
    let source: number;
    let key: string;
    do {
      source = FIRST_PORT + (this.#forwarded++ % PORTS);
      key = keyOf(guest, port, from, source);
    } while (this.#flows.has(key));
    const flow = this.#add(key, from, guest, { source, destination: port });
    return flow.take(socket);
  }

  tick(): void {
    const now = this.#station.now();
    for (const flow of this.#flows.values()) {
      if (flow.due === undefined) continue;
      if (flow.due <= now) flow.tick();
      const { due } = flow;
      if (due !== undefined) this.#station.schedule(Math.max(due, now));
    }
  }

  close(): void {
    for (const flow of [...this.#flows.values()]) flow.abandon();
  }

  #add(key: string, ours: Uint8Array, guest: Uint8Array, ports: Ports): TcpFlow {
    const flow = new TcpFlow(
      this.#station,
      { ours: ours.slice(), guest: guest.slice(), ports },
      () => {
        if (this.#flows.get(key) === flow) this.#flows.delete(key);
      },
      () => (this.#sequence = (this.#sequence + 0x3d09_01f3) | 0),
    );
    this.#flows.set(key, flow);
    return flow;
  }

  /** The connection that has been silent for longest goes. */
  #makeRoom(): void {
    if (this.#flows.size < MOST_CONNECTIONS) return;
    let oldest: TcpFlow | undefined;
    for (const flow of this.#flows.values()) if (!oldest || flow.lastHeard < oldest.lastHeard) oldest = flow;
    this.#station.log.once(
      'net-tcp-full',
      `network: more than ${MOST_CONNECTIONS} TCP connections at once: those that are silent for longest are reset`,
    );
    oldest?.abandon();
  }
}

/** Addresses and ports of a connection: `source` is our port. */
interface Ends {
  readonly ours: Uint8Array;
  readonly guest: Uint8Array;
  readonly ports: Ports;
}

/** One connection and its socket. */
class TcpFlow {
  readonly #station: Station;
  readonly #forget: () => void;
  readonly #connection: TcpConnection;
  #socket: TcpSocket | undefined;
  /** The guest's SYN and its packet, while the host connects. */
  #asked: { packet: Packet; segment: Segment & Ports } | undefined;
  #paused = false;

  constructor(station: Station, ends: Ends, forget: () => void, random: () => number) {
    this.#station = station;
    this.#forget = forget;
    const wire: TcpWire = {
      now: () => station.now(),
      schedule: time => station.schedule(time),
      random,
      send: (segment, cut) => {
        const route = station.route(ends.ours, ends.guest);
        if (!route) return;
        const { frame, offload } = segmentFrame(route, ends.ports, segment, cut);
        station.send(frame, offload);
      },
    };
    this.#connection = new TcpConnection(wire, this.#guestSide(), largestSegment(ends.ours.length === 4 ? 4 : 6));
  }

  /** The guest wants a connection: it gets an answer when the host has one. */
  connect(open: Opener, packet: Packet, segment: Segment & Ports): void {
    this.#asked = { packet: { ...packet, whole: packet.whole.slice() }, segment };
    this.#socket = open(this.#hostSide());
  }

  /** The host has a connection: the guest is asked for one. */
  take(socket: TcpSocket): TcpHandler {
    this.#socket = socket;
    socket.pause();
    this.#paused = true;
    this.#connection.open();
    return this.#hostSide();
  }

  get lastHeard(): number {
    return this.#connection.lastHeard;
  }

  /** Both ends have said their last. */
  get over(): boolean {
    return this.#connection.over;
  }

  get due(): number | undefined {
    return this.#connection.due;
  }

  receive(segment: Segment): void {
    if (this.#asked) {
      if (segment.flags & RST) this.abandon();
      return;
    }
    this.#connection.receive(segment);
  }

  tick(): void {
    this.#connection.tick();
  }

  /** Both sides see a reset. */
  abandon(): void {
    this.#asked = undefined;
    this.#connection.reset();
    this.#dropSocket();
    this.#forget();
  }

  #dropSocket(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.reset();
  }

  #resume(): void {
    this.#paused = false;
    this.#socket?.resume();
  }

  /** What becomes of that which the guest does. */
  #guestSide(): TcpUser {
    const socket = () => this.#socket;
    return {
      established: () => this.#resume(),
      data: bytes => socket()?.write(bytes),
      ended: () => socket()?.end(),
      acknowledged: () => {
        if (this.#paused && this.#connection.unsent < LOW_WATER) this.#resume();
      },
      get pending() {
        return socket()?.pending ?? 0;
      },
      closed: why => {
        // What is still on its way to the host's peer arrives there, if both ends have been closed in order.
        if (why === 'done') this.#socket = undefined;
        else this.#dropSocket();
        this.#forget();
      },
    };
  }

  /** What becomes of that which the host's peer does. */
  #hostSide(): TcpHandler {
    return {
      connected: () => {
        const asked = this.#asked;
        this.#asked = undefined;
        if (asked) this.#connection.accept(asked.segment);
      },
      data: bytes => {
        this.#connection.write(bytes);
        if (this.#paused || this.#connection.unsent < HIGH_WATER) return;
        this.#paused = true;
        this.#socket?.pause();
      },
      ended: () => this.#connection.end(),
      drained: () => this.#connection.drained(),
      closed: error => {
        const asked = this.#asked;
        this.#asked = undefined;
        this.#socket = undefined;
        if (asked) {
          this.#forget();
          this.#refuse(asked, error);
        } else if (error) this.#connection.reset();
        else this.#connection.end();
      },
    };
  }

  #refuse({ packet, segment }: { packet: Packet; segment: Segment & Ports }, error: SocketError | undefined): void {
    if (error === 'refused' || error === 'reset') sendReset(this.#station, packet, segment);
    else this.#station.refuse(packet, refusalOf(error));
  }
}

/** Answers a segment that belongs to no connection (RFC 9293, 3.10.7.1). */
function sendReset(station: Station, { source, destination }: Packet, segment: Segment & Ports): void {
  const route = station.route(destination, source);
  if (!route) return;
  const { flags, sequence, acknowledgment, payload } = segment;
  const length = payload.length + (flags & SYN ? 1 : 0) + (flags & FIN ? 1 : 0);
  const answer =
    flags & ACK
      ? { sequence: acknowledgment, acknowledgment: 0, flags: RST }
      : { sequence: 0, acknowledgment: (sequence + length) | 0, flags: RST | ACK };
  const ports = { source: segment.destination, destination: segment.source };
  const { frame, offload } = segmentFrame(route, ports, { ...answer, window: 0, payload: [] }, 0);
  station.send(frame, offload);
}

/** By which a connection is found: addresses as numbers, since a packet is looked up for each segment. */
function keyOf(guest: Uint8Array, guestPort: number, ours: Uint8Array, port: number): string {
  return `${guest.join('.')}:${guestPort} ${ours.join('.')}:${port}`;
}
