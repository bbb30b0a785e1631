/**
 * A folder for Xen guests (Xen: docs/misc/9pfs.pandoc; Linux: net/9p/trans_xen.c): what the back end tells its front end. The
 * rings themselves are nine-p-rings.ts.
 */
import type { SharedFolder } from '../../host/back-ends.ts';
import type { BackendHost } from './backend.ts';
import { MAX_RING_PAGE_ORDER, MAX_RINGS, NinePRings, type RingOffer } from './nine-p-rings.ts';
import { type FrontendNodes, type Nodes, nameOf, XenbusBackend, type XenbusDevice } from './xenbus-backend.ts';

/** The only version of the protocol. */
const VERSION = 1;

/** Gives the guest `folder` as its `index`-th. @param now nanoseconds since 1970 */
export function connectFolder(host: BackendHost, folder: SharedFolder, index: number, now: () => bigint): void {
  new XenbusBackend(host, new NinePDevice(host, folder, index, now));
}

class NinePDevice implements XenbusDevice {
  readonly type = '9pfs';
  readonly number: number;
  readonly title: string;
  readonly frontendNodes: Nodes;
  readonly backendNodes: Nodes;
  readonly #rings: NinePRings;

  constructor(host: BackendHost, { tag, files }: SharedFolder, index: number, now: () => bigint) {
    this.number = index;
    this.title = `9pfs ${index}`;
    this.#rings = new NinePRings(host, files, nameOf(this), now);
    this.frontendNodes = { tag };
    this.backendNodes = {
      versions: VERSION,
      'max-rings': MAX_RINGS,
      'max-ring-page-order': MAX_RING_PAGE_ORDER,
    };
  }

  connect(frontend: FrontendNodes): Nodes | undefined {
    const count = frontend.number('num-rings');
    if (frontend.number('version') !== VERSION || !count || count > MAX_RINGS) return undefined;
    const offers: RingOffer[] = [];
    for (let ring = 0; ring < count; ring++) {
      const reference = frontend.number(`ring-ref${ring}`);
      const port = frontend.number(`event-channel-${ring}`);
      if (reference === undefined || port === undefined) return undefined;
      offers.push({ reference, port });
    }
    return this.#rings.connect(offers) ? {} : undefined;
  }

  disconnect(): void {
    this.#rings.disconnect();
  }

  service(): void {
    this.#rings.service();
  }
}
