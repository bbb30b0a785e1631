/** A Xen network interface (Linux's netback is the model): what it tells its front end. The rings are network-ring.ts. */
import type { Network } from '../../host/network.ts';
import { formatMac } from '../../net/addresses.ts';
import { flowOf } from '../../net/flow.ts';
import type { State } from '../../state/state.ts';
import type { BackendHost } from './backend.ts';
import { NetworkRing } from './network-ring.ts';
import { type FrontendNodes, type Nodes, nameOf, XenbusBackend, type XenbusDevice } from './xenbus-backend.ts';

/** Xen's own prefix of MAC addresses; the rest is any. */
const MAC = [0x00, 0x16, 0x3e, 0x12, 0x34, 0x56];

/** Queues that a guest may use, at most. */
const MOST_QUEUES = 16;

/** Connects the guest's `index`-th network interface to `network`. @param processors a queue for each, as far as they go */
export function connectNetwork(host: BackendHost, network: Network, index: number, processors = 1): void {
  new XenbusBackend(host, new NetworkDevice(host, network, index, Math.min(processors, MOST_QUEUES)));
}

class NetworkDevice implements XenbusDevice {
  readonly type = 'vif';
  readonly number: number;
  readonly title: string;
  readonly frontendNodes: Nodes;
  readonly backendNodes: Nodes;
  readonly #queues: readonly NetworkRing[];
  /** How many of them the front end uses. */
  readonly #state: State<{ used: number }>;

  constructor(host: BackendHost, network: Network, index: number, queues: number) {
    this.number = index;
    this.title = `network ${network.name}`;
    const name = nameOf(this);
    this.#queues = Array.from({ length: queues }, (_, queue) => new NetworkRing(host, network, name, queue));
    this.#state = host.state(`${name}/queues`, 1, () => ({ used: 1 }));
    network.connect({
      clock: host.clock,
      log: host.log,
      receive: (frame, offload) => this.#queues[flowOf(frame) % this.#state.used]?.receive(frame, offload),
    });
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
      ...(queues > 1 && { 'multi-queue-max-queues': queues }),
    };
  }

  connect(frontend: FrontendNodes): Nodes | undefined {
    // A front end without it wants pages handed over, which Xen itself has given up.
    if (frontend.number('request-rx-copy') !== 1) return undefined;
    const used = frontend.number('multi-queue-num-queues') ?? 1;
    if (used < 1 || used > this.#queues.length) return undefined;
    const has = (name: string) => frontend.number(name) === 1;
    const takes = {
      pieces: has('feature-sg'),
      checksum4: !has('feature-no-csum-offload'),
      checksum6: has('feature-ipv6-csum-offload'),
      segments4: has('feature-gso-tcpv4'),
      segments6: has('feature-gso-tcpv6'),
    };
    this.#state.used = used;
    for (const [index, queue] of this.#queues.slice(0, used).entries()) {
      const number = (name: string) => frontend.number(used === 1 ? name : `queue-${index}/${name}`);
      const [tx, rx, port] = [number('tx-ring-ref'), number('rx-ring-ref'), number('event-channel')];
      const isOffered = tx !== undefined && rx !== undefined && port !== undefined;
      if (isOffered && queue.connect(tx, rx, port, takes)) continue;
      this.disconnect();
      return undefined;
    }
    return {};
  }

  disconnect(): void {
    for (const queue of this.#queues) queue.disconnect();
    this.#state.initialise();
  }

  service(): void {
    for (const queue of this.#queues) queue.service();
  }
}
