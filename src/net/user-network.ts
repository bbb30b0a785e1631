/**
 * A network in user mode: one link with a gateway, a DHCP and a DNS server on it, and beyond the gateway whatever the host's
 * sockets reach. It runs on the guest's time and does nothing by itself: without sockets, the same frames get the same
 * answers at the same time.
 */
import type { Timer } from '../host/clock.ts';
import type { Log } from '../host/log.ts';
import type { Network, NetworkPort, Offload } from '../host/network.ts';
import type { HostSockets, Listener, TcpHandler, TcpSocket } from '../host/sockets.ts';
import { equal, formatAddress, parseAddress, samePrefix } from './addresses.ts';
import { DHCP_CLIENT_PORT, DHCP_SERVER_PORT, DhcpServer } from './dhcp.ts';
import { DNS_PORT, formatAnswer, malformed, parseQuery } from './dns.ts';
import { dnsStream } from './dns-stream.ts';
import { receiveEcho6, receiveIcmp, sendUnreachable } from './icmp.ts';
import { ownAddress, receiveNeighbourDiscovery, solicitNeighbour } from './neighbour-discovery.ts';
import {
  ETHERNET_HEADER,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  type Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  parseIpv4Packet,
  parseIpv6Packet,
  type Route,
  setWord,
  word,
} from './packet.ts';
import { Reassembly } from './reassembly.ts';
import {
  BROADCAST_MAC,
  FIRST_GUEST,
  GATEWAY,
  GATEWAY_MAC,
  gatewayOf,
  hostAddress,
  isGateway,
  isNameServer,
  isOurs,
  NETWORK,
  NETWORK_BITS,
  type Opener,
  PREFIX,
  PREFIX_BITS,
  type Refusal,
  type Station,
} from './station.ts';
import { TcpFlows } from './tcp-flows.ts';
import { type Datagram, parseDatagram, sendDatagram } from './udp.ts';
import { UdpFlows } from './udp-flows.ts';

/** A port of the host's that brings to the guest. */
export interface Forward {
  readonly protocol: 'tcp' | 'udp';
  /** Of the host. */
  readonly address: string;
  readonly port: number;
  /** Of the guest, on the network; `::` stands for whichever IPv6 address it has there. Default: the one that DHCP gives first. */
  readonly guest?: string | undefined;
  readonly guestPort: number;
}

export interface UserNetworkOptions {
  /** Whom it asks for what is outside. */
  sockets: HostSockets;
  /** Default `user`. */
  name?: string;
  /** Nothing outside is reached, and no name resolved; forwarded ports work. */
  restrict?: boolean;
  /** The gateway's address stands for the host's own loopback address. */
  hostLoopback?: boolean;
  forwards?: readonly Forward[];
  /** Left out where the machine has no card for it, and the bus that the card is on; see `Network`. */
  optional?: boolean;
  bus?: string | undefined;
}

/** Guests' addresses that are remembered. */
const MOST_NEIGHBOURS = 256;
/** Questions to the host's resolver at a time. */
const MOST_QUERIES = 64;

/** @throws ListenError for a port that cannot be forwarded */
export async function userNetwork(options: UserNetworkOptions): Promise<Network> {
  const gateway = new Gateway(options);
  try {
    for (const forward of options.forwards ?? []) await gateway.forward(forward);
  } catch (error) {
    gateway.close();
    throw error;
  }
  return {
    name: gateway.name,
    bus: options.bus,
    offloads: true,
    optional: options.optional ?? false,
    connect: port => gateway.connect(port),
    send: (frame, offload) => gateway.receive(frame, offload),
    get awaits() {
      return gateway.awaits;
    },
    get guestAddresses() {
      return gateway.guestAddresses;
    },
    close: () => gateway.close(),
  };
}

/** All that the guest finds on its link. */
class Gateway implements Station {
  readonly name: string;
  readonly sockets: HostSockets;
  readonly #restrict: boolean;
  readonly #hostLoopback: boolean;
  readonly #dhcp: DhcpServer;
  readonly #tcp = new TcpFlows(this);
  readonly #udp = new UdpFlows(this);
  readonly #fragments = new Reassembly();
  /** MAC addresses of guests, by address. */
  readonly #neighbours = new Map<string, Uint8Array>();
  readonly #listeners: Listener[] = [];
  /** What is to be done when the guest has a turn again. */
  readonly #work: (() => void)[] = [];
  #queries = 0;
  #port: NetworkPort | undefined;
  #timer: Timer | undefined;

  constructor({ sockets, name = 'user', restrict = false, hostLoopback = false }: UserNetworkOptions) {
    this.name = name;
    this.sockets = sockets;
    this.#restrict = restrict;
    this.#hostLoopback = hostLoopback;
    this.#dhcp = new DhcpServer(!restrict);
    sockets.attach?.(work => this.#later(work));
  }

  /** @throws ListenError, later */
  async forward({ protocol, address, port, guest: named, guestPort }: Forward): Promise<void> {
    const guest = () => (named === '::' ? this.#guest6() : named === undefined ? FIRST_GUEST : parseAddress(named));
    if (protocol === 'udp') {
      await this.#udp.forward(this.sockets, address, port, { address: guest, port: guestPort });
      return;
    }
    const accept = (socket: TcpSocket): TcpHandler => {
      const to = guest();
      if (to) return this.#tcp.forward(socket, gatewayOf(to), to, guestPort);
      // Nobody is there yet.
      socket.reset();
      return { data() {}, ended() {}, drained() {}, closed() {} };
    };
    this.#listeners.push(await this.sockets.listenTcp(address, port, accept));
  }

  /** The guest's IPv6 address: one that it has used, or else what it makes of its MAC address. */
  #guest6(): Uint8Array | undefined {
    for (const text of this.#neighbours.keys()) {
      const address = parseAddress(text)!;
      if (samePrefix(address, PREFIX, PREFIX_BITS)) return address;
    }
    const [mac] = this.#neighbours.values();
    return mac && ownAddress(mac);
  }

  // ---- The network's side ----------------------------------------------------------------------

  connect(port: NetworkPort): void {
    this.#port = port;
    this.#timer = port.clock.timer(`network/${this.name}`, () => this.#tick());
    if (this.#work.length > 0) this.schedule(this.now());
  }

  get awaits(): boolean {
    if (this.sockets.isLocal) return false;
    return this.#tcp.count + this.#udp.count + this.#queries + this.#listeners.length > 0 || this.#udp.forwarded;
  }

  get guestAddresses(): string[] {
    return [...this.#neighbours.keys()];
  }

  close(): void {
    for (const listener of this.#listeners) listener.close();
    this.#tcp.close();
    this.#udp.close();
    this.#timer?.off();
    this.#port = undefined;
  }

  /** The guest sends `frame`. */
  receive(frame: Uint8Array, offload?: Offload): void {
    if (frame.length < ETHERNET_HEADER) return;
    const body = frame.subarray(ETHERNET_HEADER);
    const mac = frame.subarray(6, 12);
    switch (word(frame, 12)) {
      case ETHERTYPE_ARP:
        return this.#receiveArp(body);
      case ETHERTYPE_IPV4: {
        const fragment = parseIpv4Packet(body);
        const packet = fragment && this.#fragments.put(fragment, this.now());
        if (!packet) return;
        if (samePrefix(packet.source, NETWORK, NETWORK_BITS)) this.#meet(packet.source, mac);
        return this.#receivePacket(packet, offload !== undefined);
      }
      case ETHERTYPE_IPV6: {
        const packet = parseIpv6Packet(body);
        if (!packet) return;
        const isHere =
          samePrefix(packet.source, PREFIX, PREFIX_BITS) || (packet.source[0] === 0xfe && packet.source[1] === 0x80);
        if (isHere) this.#meet(packet.source, mac);
        return this.#receivePacket(packet, offload !== undefined);
      }
    }
  }

  #meet(address: Uint8Array, mac: Uint8Array): void {
    if (isOurs(address) || mac[0] & 1) return;
    const key = formatAddress(address);
    const known = this.#neighbours.get(key);
    if (known && equal(known, mac)) return;
    if (this.#neighbours.size >= MOST_NEIGHBOURS) this.#neighbours.delete(this.#neighbours.keys().next().value!);
    this.#neighbours.set(key, mac.slice());
  }

  #receiveArp(body: Uint8Array): void {
    const isEthernetIpv4 = word(body, 0) === 1 && word(body, 2) === ETHERTYPE_IPV4 && word(body, 4) === 0x0604;
    if (body.length < 28 || !isEthernetIpv4) return;
    const [mac, source, target] = [body.subarray(8, 14), body.subarray(14, 18), body.subarray(24, 28)];
    if (samePrefix(source, NETWORK, NETWORK_BITS)) this.#meet(source, mac);
    if (word(body, 6) === 1 && isOurs(target)) this.send(arpFrame(2, target, mac, source));
  }

  #receivePacket(packet: Packet, trusted: boolean): void {
    const { version, protocol } = packet;
    if (protocol === PROTOCOL_TCP) return this.#tcp.receive(packet, trusted);
    if (protocol === PROTOCOL_UDP) {
      const datagram = parseDatagram(packet, trusted);
      return datagram && this.#receiveDatagram(packet, datagram);
    }
    if (version === 4 && protocol === PROTOCOL_ICMP) receiveIcmp(this, packet);
    if (version === 6 && protocol === PROTOCOL_ICMPV6 && !receiveEcho6(this, packet))
      receiveNeighbourDiscovery(this, packet, !this.#restrict);
  }

  #receiveDatagram(packet: Packet, datagram: Datagram): void {
    const { destination, version } = packet;
    const isBroadcast = version === 4 && (destination[3] === 255 || destination[0] >= 224);
    if (version === 4 && datagram.destination === DHCP_SERVER_PORT && (isBroadcast || equal(destination, GATEWAY))) {
      const answer = this.#dhcp.answer(datagram.payload);
      const to = { address: new Uint8Array(4).fill(255), port: DHCP_CLIENT_PORT };
      if (answer) sendDatagram(this, { address: GATEWAY, port: DHCP_SERVER_PORT }, to, answer);
    } else if (isBroadcast || destination[0] === 0xff) return;
    else if (isNameServer(destination)) this.#answerQuery(packet, datagram);
    else this.#udp.receive(packet, datagram);
  }

  #answerQuery(packet: Packet, { source, destination, payload }: Datagram): void {
    if (destination !== DNS_PORT || this.#restrict) return this.refuse(packet, 'port');
    const [us, guest] = [packet.destination.slice(), packet.source.slice()];
    this.#ask(payload, false, bytes => {
      if (bytes) sendDatagram(this, { address: us, port: DNS_PORT }, { address: guest, port: source }, bytes);
    });
  }

  /** @param answer gets undefined for what is no query */
  #ask(message: Uint8Array, stream: boolean, answer: (bytes: Uint8Array | undefined) => void): void {
    const query = parseQuery(message, stream);
    if (!query) return answer(undefined);
    if (query === 'malformed') return answer(malformed(message));
    const { recordType } = query;
    if (!recordType) return answer(formatAnswer(query, undefined));
    if (this.#queries >= MOST_QUERIES) return answer(formatAnswer(query, 'failed'));
    this.#queries++;
    const question = query.question.slice();
    this.sockets.resolve(query.name, recordType, result => {
      this.#queries--;
      answer(formatAnswer({ ...query, question }, result));
    });
  }

  // ---- Station ---------------------------------------------------------------------------------

  get log(): Log {
    return this.#port?.log ?? { once() {}, lines: [] };
  }

  now(): number {
    return this.#port?.clock.now() ?? 0;
  }

  schedule(time: number): void {
    const timer = this.#timer;
    if (timer && (timer.due === undefined || time < timer.due)) timer.at(time);
  }

  route(source: Uint8Array, destination: Uint8Array): Route | undefined {
    const toMac = multicastMac(destination) ?? this.#neighbours.get(formatAddress(destination));
    if (toMac) return { fromMac: GATEWAY_MAC, toMac, source, destination };
    if (destination.length === 4) this.send(arpFrame(1, GATEWAY, new Uint8Array(6), destination));
    else if (samePrefix(destination, PREFIX, PREFIX_BITS)) solicitNeighbour(this, destination);
    return undefined;
  }

  send(frame: Uint8Array, offload?: Offload): void {
    this.#port?.receive(frame, offload);
  }

  refuse(packet: Packet, why: Refusal): void {
    sendUnreachable(this, packet, why);
  }

  reach(destination: Uint8Array, port: number): Opener | 'closed' | 'prohibited' {
    if (isNameServer(destination)) return port === DNS_PORT && !this.#restrict ? this.#openNames : 'closed';
    const address = this.outside(destination);
    if (address === undefined) return isGateway(destination) ? 'closed' : 'prohibited';
    return handler => this.sockets.connectTcp(address, port, handler);
  }

  readonly #openNames: Opener = handler => {
    this.#later(() => handler.connected?.());
    return dnsStream(handler, (message, answer) => this.#ask(message, true, answer));
  };

  outside(destination: Uint8Array): string | undefined {
    return hostAddress(destination, { restrict: this.#restrict, hostLoopback: this.#hostLoopback });
  }

  #later(work: () => void): void {
    this.#work.push(work);
    if (this.#port) this.schedule(this.now());
  }

  #tick(): void {
    for (const work of this.#work.splice(0)) work();
    this.#tcp.tick();
    this.#udp.tick();
    if (this.#work.length > 0) this.schedule(this.now());
  }
}

/** The MAC address of a group (RFC 1112, RFC 2464); undefined for what is none. */
function multicastMac(address: Uint8Array): Uint8Array | undefined {
  if (address.length === 16)
    return address[0] === 0xff ? Uint8Array.of(0x33, 0x33, ...address.subarray(12)) : undefined;
  return address.every(byte => byte === 255) ? BROADCAST_MAC : undefined;
}

/** @param operation 1 asks, 2 answers (RFC 826) */
function arpFrame(operation: number, ours: Uint8Array, mac: Uint8Array, address: Uint8Array): Uint8Array {
  const frame = new Uint8Array(ETHERNET_HEADER + 46);
  frame.set(operation === 1 ? BROADCAST_MAC : mac);
  frame.set(GATEWAY_MAC, 6);
  setWord(frame, 12, ETHERTYPE_ARP);
  const body = frame.subarray(ETHERNET_HEADER);
  body.set([0, 1, 8, 0, 6, 4, 0, operation]);
  body.set(GATEWAY_MAC, 8);
  body.set(ours, 14);
  body.set(mac, 18);
  body.set(address, 24);
  return frame;
}
