/**
 * All Hyper-V sockets of a guest, and the ports that their GUIDs stand for: AF_VSOCK's port N is the service whose first field is N,
 * and whose others are fixed (Linux net/vmw_vsock/hyperv_transport.c, srv_id_template).
 */
import type { Log } from '../../host/log.ts';
import type { Vsock } from '../../host/vsock.ts';
import { parseVsockPacket, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RST, vsockReset } from '../../net/vsock-packet.ts';
import type { PluggableFactory, VmbusHost, VmbusSockets } from './channel.ts';
import { instanceGuid } from './guid.ts';
import { HvSocket, type Wanted } from './hv-socket.ts';

/** Connections at a time, with those that the guest has not let go of. */
const MOST_SOCKETS = 128;
/** What follows the port in a GUID. */
const TEMPLATE = '-facb-11e6-bd58-64006a7986d3';
/** Above this, ports are those of who connects. */
const LAST_SERVICE = 0x7fffffff;

export const serviceGuid = (port: number): string => `${port.toString(16).padStart(8, '0')}${TEMPLATE}`;

/** @returns undefined for what is no port of AF_VSOCK's */
function portOf(guid: string): number | undefined {
  return guid.endsWith(TEMPLATE) ? Number.parseInt(guid, 16) : undefined;
}

export class HvSockets implements VmbusSockets {
  readonly factories: readonly PluggableFactory[];
  readonly #vsock: Vsock;
  readonly #log: Log;
  readonly #sockets: HvSocket[] = [];

  constructor(vsock: Vsock, { clock, log }: Pick<VmbusHost, 'clock' | 'log'>) {
    this.#vsock = vsock;
    this.#log = log;
    this.factories = Array.from(
      { length: MOST_SOCKETS },
      (_, index): PluggableFactory =>
        (host, channel) => {
          const socket = new HvSocket(host, channel, index);
          this.#sockets.push(socket);
          return socket;
        },
    );
    vsock.connect({ clock, log, receive: packet => this.#receive(packet) });
  }

  /** The host's end does not know of the connections that a snapshot has. */
  restored(): void {
    for (const socket of this.#sockets) socket.restored();
  }

  connect(endpoint: string, service: string): boolean {
    const [guestPort, hostPort] = [portOf(endpoint), portOf(service)];
    if (guestPort === undefined || hostPort === undefined || hostPort > LAST_SERVICE) {
      this.#log.once(
        'hv-socket-service',
        `hv-socket: the guest asks for ${service} from ${endpoint}, which is no port`,
      );
      return false;
    }
    return this.#begin({ guestPort, hostPort }, { offer: { type: service, instance: endpoint }, request: undefined });
  }

  /** @returns false if there are too many, or there is one */
  #begin(
    ports: { guestPort: number; hostPort: number },
    { offer, request }: { offer: { type: string; instance: string }; request: Wanted['request'] },
  ): boolean {
    const free = this.#sockets.find(({ isFree }) => isFree);
    if (!free) this.#log.once('hv-socket-full', `hv-socket: no more than ${MOST_SOCKETS} connections at once`);
    if (!free || this.#find(ports.guestPort, ports.hostPort)) return false;
    free.begin({
      ends: { cid: this.#vsock.cid, ...ports },
      offer: { ...offer, pipe: true, socket: { fromHost: request !== undefined } },
      request,
      post: packet => this.#vsock.send(packet),
    });
    return true;
  }

  #find(guestPort: number, hostPort: number): HvSocket | undefined {
    return this.#sockets.find(({ stream }) => {
      return stream?.ends.guestPort === guestPort && stream.ends.hostPort === hostPort;
    });
  }

  /** A packet of the host's end. */
  #receive(bytes: Uint8Array): void {
    const packet = parseVsockPacket(bytes);
    if (!packet) return;
    const { operation, source: hostPort, destination: guestPort } = packet;
    const found = this.#find(guestPort, hostPort);
    if (found) return found.stream!.receive(packet);
    if (operation === VIRTIO_VSOCK_OP_RST) return;
    const isHeard = this.#sockets[0]?.isHeard && guestPort <= LAST_SERVICE;
    if (operation === VIRTIO_VSOCK_OP_REQUEST && isHeard) {
      const offer = { type: serviceGuid(guestPort), instance: instanceGuid('socket', hostPort) };
      if (this.#begin({ guestPort, hostPort }, { offer, request: packet })) return;
    }
    this.#vsock.send(vsockReset(packet));
  }
}
