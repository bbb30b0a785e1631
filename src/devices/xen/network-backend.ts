/** A Xen network interface (Linux's netback is the model): what it tells its front end. The rings are network-ring.ts. */
import type { Network } from '../../host/network.ts';
import { formatMac } from '../../net/addresses.ts';
import type { BackendHost } from './backend.ts';
import { NetworkRing } from './network-ring.ts';
import { type FrontendNodes, type Nodes, nameOf, XenbusBackend, type XenbusDevice } from './xenbus-backend.ts';

/** Xen's own prefix of MAC addresses; the rest is any. */
const MAC = [0x00, 0x16, 0x3e, 0x12, 0x34, 0x56];

/** Connects the guest's `index`-th network interface to `network`. */
export function connectNetwork(host: BackendHost, network: Network, index: number): void {
  new XenbusBackend(host, new NetworkDevice(host, network, index));
}

class NetworkDevice implements XenbusDevice {
  readonly type = 'vif';
  readonly number: number;
  readonly title: string;
  readonly frontendNodes: Nodes;
  readonly backendNodes: Nodes;
  readonly #ring: NetworkRing;

  constructor(host: BackendHost, network: Network, index: number) {
    this.number = index;
    this.title = `network ${network.name}`;
    this.#ring = new NetworkRing(host, network, nameOf(this));
    const mac = formatMac(network.mac ?? Uint8Array.from(MAC, (byte, at) => (at === 5 ? byte + index : byte)));
    this.frontendNodes = { handle: index, mac, mtu: 1500 };
    this.backendNodes = {
      handle: index,
      mac,
      bridge: 'polyvisor',
      script: '/etc/xen/scripts/vif-bridge',
      type: 'vif',
      'feature-rx-copy': 1,
      'feature-rx-flip': 0,
      'feature-sg': 1,
      'feature-gso-tcpv4': 1,
      'feature-gso-tcpv6': 1,
      'feature-ipv6-csum-offload': 1,
      'hotplug-status': 'connected',
    };
  }

  connect(frontend: FrontendNodes): Nodes | undefined {
    const [tx, rx] = [frontend.number('tx-ring-ref'), frontend.number('rx-ring-ref')];
    const port = frontend.number('event-channel');
    // A front end without it wants pages handed over, which Xen itself has given up.
    if (frontend.number('request-rx-copy') !== 1) return undefined;
    if (tx === undefined || rx === undefined || port === undefined) return undefined;
    const has = (name: string) => frontend.number(name) === 1;
    const takes = {
      pieces: has('feature-sg'),
      checksum4: !has('feature-no-csum-offload'),
      checksum6: has('feature-ipv6-csum-offload'),
      segments4: has('feature-gso-tcpv4'),
      segments6: has('feature-gso-tcpv6'),
    };
    return this.#ring.connect(tx, rx, port, takes) ? {} : undefined;
  }

  disconnect(): void {
    this.#ring.disconnect();
  }

  service(): void {
    this.#ring.service();
  }
}
