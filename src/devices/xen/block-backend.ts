/**
 * The back end of one Xen block device (Linux' blkback is the model): what it offers in the store, and the handshake of
 * states with the guest's front end. The ring itself is block-ring.ts.
 */
import type { Disk } from '../../host/disk.ts';
import {
  type BackendHost,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitialising,
  XenbusStateInitWait,
} from './backend.ts';
import { MAX_INDIRECT_SEGMENTS, MAX_RING_PAGE_ORDER, protocols, SECTOR_SIZE } from './block-protocol.ts';
import { BlockRing } from './block-ring.ts';
import { homeOf } from './xenstore.ts';

/** `info` bits. */
const VDISK_READONLY = 4;

/** The number of the n-th disk: xvda, xvdb, … (docs/misc/vbd-interface.txt). From the 17th on, the extended form. */
export function virtualDevice(index: number): number {
  return index < 16 ? (202 << 8) | (index << 4) : (1 << 28) | (index << 8);
}

export class BlockBackend {
  readonly #host: BackendHost;
  readonly #disk: Disk;
  readonly #frontend: string;
  readonly #backend: string;
  #state = XenbusStateInitialising;
  #ring: BlockRing | undefined;

  constructor(host: BackendHost, disk: Disk, index: number) {
    this.#host = host;
    this.#disk = disk;
    const device = virtualDevice(index);
    this.#frontend = `${homeOf(host.domain)}/device/vbd/${device}`;
    this.#backend = `${homeOf(0)}/backend/vbd/${host.domain}/${device}`;
    this.#publish(device, index);
    host.store.watch(0, `${this.#frontend}/state`, this.#backend, () => this.#frontendChanged());
    this.#switch(XenbusStateInitWait);
  }

  /** Creates the nodes of both ends, as the toolstack and a starting blkback do. */
  #publish(device: number, index: number): void {
    const { store, domain } = this.#host;
    const nodes = (path: string, values: Record<string, string | number>) => {
      for (const [name, value] of Object.entries(values)) store.write(0, `${path}/${name}`, String(value));
    };
    store.mkdir(0, this.#frontend);
    store.setPermissions(0, this.#frontend, [`n${domain}`, 'r0']);
    nodes(this.#frontend, {
      backend: this.#backend,
      'backend-id': 0,
      trusted: 1,
      state: XenbusStateInitialising,
      'virtual-device': device,
      'device-type': 'disk',
    });
    store.mkdir(0, this.#backend);
    store.setPermissions(0, this.#backend, ['n0', `r${domain}`]);
    nodes(this.#backend, {
      frontend: this.#frontend,
      'frontend-id': domain,
      online: 1,
      removable: 0,
      bootable: index === 0 ? 1 : 0,
      state: XenbusStateInitialising,
      dev: index < 26 ? `xvd${String.fromCharCode(97 + index)}` : `xvd${index}`,
      type: 'phy',
      mode: this.#disk.readOnly ? 'r' : 'w',
      'device-type': 'disk',
      'feature-barrier': this.#disk.readOnly ? 0 : 1,
      'feature-flush-cache': this.#disk.readOnly ? 0 : 1,
      'feature-discard': this.#disk.readOnly ? 0 : 1,
      'discard-granularity': SECTOR_SIZE,
      'discard-alignment': 0,
      'discard-secure': 0,
      // No feature-persistent: reaching a granted page costs us nothing, while a guest that keeps its grants must copy.
      'feature-max-indirect-segments': MAX_INDIRECT_SEGMENTS,
      'max-ring-page-order': MAX_RING_PAGE_ORDER,
      'multi-queue-max-queues': 1,
    });
  }

  #frontendChanged(): void {
    switch (this.#number('state')) {
      case XenbusStateInitialising:
        // A second kernel (the one GRUB has loaded) starts over.
        if (this.#state === XenbusStateClosed) this.#switch(XenbusStateInitWait);
        break;
      case XenbusStateInitialised:
      case XenbusStateConnected:
        if (this.#state !== XenbusStateConnected) this.#connect();
        break;
      case XenbusStateClosing:
        this.#switch(XenbusStateClosing);
        break;
      case XenbusStateClosed:
      case undefined:
        this.#disconnect();
        this.#switch(XenbusStateClosed);
        break;
    }
  }

  #connect(): void {
    this.#disconnect();
    const { store } = this.#host;
    const protocol = store.readText(`${this.#frontend}/protocol`) ?? 'x86_64-abi';
    const layout = protocols[protocol];
    const references = this.#ringReferences();
    const port = this.#number('event-channel');
    if (layout && references && port !== undefined)
      this.#ring = BlockRing.connect(this.#host, this.#disk, layout, references, port);
    if (!this.#ring) {
      this.#host.log.once(`${this.#backend}-connect`, `xen block ${this.#disk.name}: cannot connect to the front end`);
      return;
    }
    const values: Record<string, number> = {
      sectors: this.#disk.size / SECTOR_SIZE,
      info: this.#disk.readOnly ? VDISK_READONLY : 0,
      'sector-size': SECTOR_SIZE,
      'physical-sector-size': SECTOR_SIZE,
    };
    for (const [name, value] of Object.entries(values)) store.write(0, `${this.#backend}/${name}`, String(value));
    this.#switch(XenbusStateConnected);
    // Requests may have been put in before we were there to be told.
    this.#ring.service();
  }

  /** Grant references of the ring's pages: `ring-ref`, or with a `ring-page-order` `ring-ref0`, `ring-ref1`… */
  #ringReferences(): number[] | undefined {
    const order = this.#number('ring-page-order');
    const names =
      order === undefined
        ? ['ring-ref']
        : Array.from({ length: 2 ** Math.min(order, MAX_RING_PAGE_ORDER) }, (_, page) => `ring-ref${page}`);
    const references = names.map(name => this.#number(name));
    if (order !== undefined && order > MAX_RING_PAGE_ORDER) return undefined;
    return references.every(reference => reference !== undefined) ? references : undefined;
  }

  /** A node of the front end's as a number; undefined if it is none. */
  #number(name: string): number | undefined {
    const text = this.#host.store.readText(`${this.#frontend}/${name}`);
    return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
  }

  #disconnect(): void {
    this.#ring?.disconnect();
    this.#ring = undefined;
  }

  #switch(state: number): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#host.store.write(0, `${this.#backend}/state`, String(state));
  }
}
