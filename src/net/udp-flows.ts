/** The guests' datagrams: a socket of the host's for each port that a guest sends from, and the ports that are forwarded. */
import type { HostSockets, Listener, UdpSocket } from '../host/sockets.ts';
import { formatAddress, parseAddress } from './addresses.ts';
import type { Packet } from './packet.ts';
import { GATEWAY, GATEWAY6, gatewayOf, isGateway, refusalOf, type Station } from './station.ts';
import { type Datagram, sendDatagram } from './udp.ts';

/** Ports of guests at a time: each takes a file descriptor of the host's. */
export const MOST_UDP_PORTS = 128;
/** Nanoseconds after which a port that neither sends nor receives is given up. */
const IDLE = 240e9;
/** Addresses that one port may talk to at a time. */
const MOST_PEERS = 64;
/** Ports of the gateway's that stand for the peers of forwarded ports. */
const FIRST_PORT = 49152;
const PORTS = 16384;

interface Flow {
  readonly socket: UdpSocket;
  /** The addresses that the guest has sent to: nobody else is heard. */
  readonly peers: Set<string>;
  /** The last packet, for those that are refused. */
  last: Packet;
  used: number;
}

interface Forward {
  readonly socket: Listener & UdpSocket;
  /** Who has sent something to the guest, by the gateway's port that stands for it. */
  readonly peers: Map<number, { address: string; port: number }>;
}

export class UdpFlows {
  readonly #station: Station;
  readonly #flows = new Map<string, Flow>();
  readonly #forwards: Forward[] = [];

  constructor(station: Station) {
    this.#station = station;
  }

  get count(): number {
    return this.#flows.size;
  }

  /** There are ports of the host's that are forwarded. */
  get forwarded(): boolean {
    return this.#forwards.length > 0;
  }

  /** A datagram that is for nobody within the network. */
  receive(packet: Packet, datagram: Datagram): void {
    if (isGateway(packet.destination) && this.#answerForward(datagram)) return;
    const address = this.#station.outside(packet.destination);
    if (address === undefined || datagram.destination === 0)
      return this.#station.refuse(packet, isGateway(packet.destination) ? 'port' : 'prohibited');
    const flow = this.#find(packet, datagram.source);
    if (flow.peers.size >= MOST_PEERS) flow.peers.delete(flow.peers.values().next().value!);
    flow.peers.add(address);
    flow.last = packet;
    flow.used = this.#station.now();
    flow.socket.send(datagram.payload, address, datagram.destination);
  }

  #find(packet: Packet, port: number): Flow {
    const { version } = packet;
    const key = `${formatAddress(packet.source)} ${port}`;
    const known = this.#flows.get(key);
    if (known) {
      // The last in the Map is the one used last.
      this.#flows.delete(key);
      this.#flows.set(key, known);
      return known;
    }
    this.#makeRoom();
    const guest = { address: packet.source.slice(), port };
    const socket = this.#station.sockets.openUdp(version, {
      message: (bytes, address, peerPort) => {
        if (!flow.peers.has(address)) return;
        flow.used = this.#station.now();
        const from = fromHost(address, version);
        if (from) sendDatagram(this.#station, { address: from, port: peerPort }, guest, bytes);
      },
      failed: error => this.#station.refuse(flow.last, refusalOf(error)),
    });
    const flow: Flow = { socket, peers: new Set(), last: packet, used: 0 };
    this.#flows.set(key, flow);
    this.#station.schedule(this.#station.now() + IDLE);
    return flow;
  }

  #makeRoom(): void {
    if (this.#flows.size < MOST_UDP_PORTS) return;
    const text = `network: more than ${MOST_UDP_PORTS} UDP ports of the guest at once: those that are silent for longest are given up`;
    this.#station.log.once('net-udp-full', text);
    this.#remove(this.#flows.keys().next().value!);
  }

  #remove(key: string): void {
    this.#flows.get(key)?.socket.close();
    this.#flows.delete(key);
  }

  tick(): void {
    const now = this.#station.now();
    for (const [key, { used }] of this.#flows) if (used + IDLE <= now) this.#remove(key);
    const [oldest] = this.#flows.values();
    if (oldest) this.#station.schedule(oldest.used + IDLE);
  }

  /**
   * What is sent to `address` and `port` of the host goes to the guest's port, as long as it is known where that is.
   * @throws ListenError, later
   */
  async forward(
    sockets: HostSockets,
    address: string,
    port: number,
    guest: { address: () => Uint8Array | undefined; port: number },
  ): Promise<Listener> {
    const socket = await sockets.listenUdp(address, port, {
      message: (bytes, peer, peerPort) => {
        const address = guest.address();
        if (!address) return;
        const from = { address: gatewayOf(address), port: this.#portFor(forward, peer, peerPort) };
        sendDatagram(this.#station, from, { address, port: guest.port }, bytes);
      },
      failed: () => {},
    });
    const forward: Forward = { socket, peers: new Map() };
    this.#forwards.push(forward);
    return socket;
  }

  #portFor({ peers }: Forward, address: string, port: number): number {
    for (const [ours, peer] of peers) if (peer.address === address && peer.port === port) return ours;
    const ours = peers.size < PORTS ? FIRST_PORT + peers.size : peers.keys().next().value!;
    peers.delete(ours);
    peers.set(ours, { address, port });
    return ours;
  }

  /** An answer from a forwarded port. @returns false if it is none */
  #answerForward({ destination, payload }: Datagram): boolean {
    for (const { socket, peers } of this.#forwards) {
      const peer = peers.get(destination);
      if (!peer) continue;
      socket.send(payload, peer.address, peer.port);
      return true;
    }
    return false;
  }

  close(): void {
    for (const key of [...this.#flows.keys()]) this.#remove(key);
    for (const { socket } of this.#forwards) socket.close();
  }
}

/** Whom an answer from `address` seems to come from: the host's loopback is the gateway. */
function fromHost(address: string, version: 4 | 6): Uint8Array | undefined {
  if (address === '127.0.0.1') return GATEWAY;
  if (address === '::1') return GATEWAY6;
  const bytes = parseAddress(address);
  return bytes?.length === (version === 4 ? 4 : 16) ? bytes : undefined;
}
