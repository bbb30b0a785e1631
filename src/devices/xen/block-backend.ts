/** A Xen block device (Linux's blkback is the model): what it tells its front end. The ring itself is block-ring.ts. */
import type { Disk } from '../../host/disk.ts';
import type { BackendHost } from './backend.ts';
import { DEFAULT_PROTOCOL, MAX_INDIRECT_SEGMENTS, MAX_RING_PAGE_ORDER, SECTOR_SIZE } from './block-protocol.ts';
import { BlockRing } from './block-ring.ts';
import { type FrontendNodes, type Nodes, nameOf, XenbusBackend, type XenbusDevice } from './xenbus-backend.ts';

/** `info` bits. */
const VDISK_READONLY = 4;

/** The number of the n-th disk: xvda, xvdb, … (docs/misc/vbd-interface.txt). From the 17th on, the extended form. */
export function virtualDevice(index: number): number {
  return index < 16 ? (202 << 8) | (index << 4) : (1 << 28) | (index << 8);
}

/** Gives the guest `disk` as its `index`-th. */
export function connectDisk(host: BackendHost, disk: Disk, index: number): void {
  new XenbusBackend(host, new BlockDevice(host, disk, index));
}

class BlockDevice implements XenbusDevice {
  readonly type = 'vbd';
  readonly number: number;
  readonly title: string;
  readonly frontendNodes: Nodes;
  readonly backendNodes: Nodes;
  readonly #disk: Disk;
  readonly #ring: BlockRing;

  constructor(host: BackendHost, disk: Disk, index: number) {
    this.number = virtualDevice(index);
    this.title = `block ${disk.name}`;
    this.#disk = disk;
    this.#ring = new BlockRing(host, disk, nameOf(this));
    this.frontendNodes = { 'virtual-device': this.number, 'device-type': 'disk' };
    this.backendNodes = {
      removable: 0,
      bootable: index === 0 ? 1 : 0,
      dev: index < 26 ? `xvd${String.fromCharCode(97 + index)}` : `xvd${index}`,
      type: 'phy',
      mode: disk.readOnly ? 'r' : 'w',
      'device-type': 'disk',
      'feature-barrier': disk.readOnly ? 0 : 1,
      'feature-flush-cache': disk.readOnly ? 0 : 1,
      'feature-discard': disk.readOnly ? 0 : 1,
      'discard-granularity': SECTOR_SIZE,
      'discard-alignment': 0,
      'discard-secure': 0,
      // Reaching a page costs us less than granting it costs the guest: copying takes it a fraction of that.
      'feature-persistent': 1,
      'feature-max-indirect-segments': MAX_INDIRECT_SEGMENTS,
      'max-ring-page-order': MAX_RING_PAGE_ORDER,
      'multi-queue-max-queues': 1,
    };
  }

  connect(frontend: FrontendNodes): Nodes | undefined {
    const protocol = frontend.text('protocol') ?? DEFAULT_PROTOCOL;
    const references = ringReferences(frontend);
    const port = frontend.number('event-channel');
    const persistent = frontend.number('feature-persistent') === 1;
    if (!references || port === undefined) return undefined;
    if (!this.#ring.connect(protocol, references, port, persistent)) return undefined;
    return {
      sectors: this.#disk.size / SECTOR_SIZE,
      info: this.#disk.readOnly ? VDISK_READONLY : 0,
      'sector-size': SECTOR_SIZE,
      'physical-sector-size': SECTOR_SIZE,
    };
  }

  disconnect(): void {
    this.#ring.disconnect();
  }

  service(): void {
    this.#ring.service();
  }
}

/** Grant references of the ring's pages: `ring-ref`, or with a `ring-page-order` `ring-ref0`, `ring-ref1`… */
function ringReferences(frontend: FrontendNodes): number[] | undefined {
  const order = frontend.number('ring-page-order');
  if (order !== undefined && order > MAX_RING_PAGE_ORDER) return undefined;
  const names = order === undefined ? ['ring-ref'] : Array.from({ length: 2 ** order }, (_, page) => `ring-ref${page}`);
  const references = names.map(name => frontend.number(name));
  return references.every(reference => reference !== undefined) ? references : undefined;
}
