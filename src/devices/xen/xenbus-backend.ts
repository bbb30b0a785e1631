/**
 * The back end's half of xenbus (public/io/xenbus.h; Linux's xenbus and blkback are the model): the nodes of both ends
 * in the store, and the handshake of states with the guest's front end. What the device is, a disk or a network card,
 * stands on top.
 */
import type { State } from '../../state/state.ts';
import {
  type BackEnd,
  type BackendHost,
  XenbusStateClosed,
  XenbusStateClosing,
  XenbusStateConnected,
  XenbusStateInitialised,
  XenbusStateInitialising,
  XenbusStateInitWait,
} from './backend.ts';
import { homeOf } from './xenstore.ts';

/** Nodes of one end, by name. */
export type Nodes = Readonly<Record<string, string | number>>;

/** Nodes that the front end has written. The guest chooses what is in them. */
export interface FrontendNodes {
  text(name: string): string | undefined;
  /** The node as a number; undefined if there is no such node or no number in it. */
  number(name: string): number | undefined;
}

/** What a kind of device adds to the handshake. */
export interface XenbusDevice {
  /** The device class's directory in the store: vbd, vif. */
  readonly type: string;
  /** The device's number in that directory. */
  readonly number: number;
  /** For messages. */
  readonly title: string;
  /** Nodes that this kind of device has from the beginning, besides those of every device. */
  readonly frontendNodes: Nodes;
  readonly backendNodes: Nodes;
  /**
   * Takes the rings and ports that the front end offers. @returns what to tell the front end; undefined if the offer is
   * no good
   */
  connect(frontend: FrontendNodes): Nodes | undefined;
  /** Gives rings and ports back. Also called when not connected. */
  disconnect(): void;
  /** Does what stands in the rings. */
  service(): void;
}

/** A device's name in states: its end of event channels and its watches are found by it. */
export function nameOf({ type, number }: XenbusDevice): string {
  return `${type}/${number}`;
}

export class XenbusBackend implements BackEnd, FrontendNodes {
  readonly #host: BackendHost;
  readonly #device: XenbusDevice;
  /** Paths in the store. */
  readonly #frontend: string;
  readonly #backend: string;
  readonly #state: State<{ state: number }>;

  constructor(host: BackendHost, device: XenbusDevice) {
    const name = nameOf(device);
    this.#host = host;
    this.#device = device;
    this.#state = host.state(name, 1, () => ({ state: XenbusStateInitialising }));
    this.#frontend = `${homeOf(host.domain)}/device/${name}`;
    this.#backend = `${homeOf(0)}/backend/${device.type}/${host.domain}/${device.number}`;
    this.#publish();
    host.register(name, this);
    host.store.watch(0, `${this.#frontend}/state`, name);
    this.#switch(XenbusStateInitWait);
  }

  onEvent(): void {
    this.#device.service();
  }

  onWatch(): void {
    switch (this.number('state')) {
      case XenbusStateInitialising:
        // A second kernel (the one GRUB has loaded) starts over.
        if (this.#state.state === XenbusStateClosed) this.#switch(XenbusStateInitWait);
        break;
      case XenbusStateInitialised:
      case XenbusStateConnected:
        if (this.#state.state !== XenbusStateConnected) this.#connect();
        break;
      case XenbusStateClosing:
        this.#switch(XenbusStateClosing);
        break;
      case XenbusStateClosed:
      case undefined:
        this.#device.disconnect();
        this.#switch(XenbusStateClosed);
        break;
    }
  }

  text(name: string): string | undefined {
    return this.#host.store.readText(`${this.#frontend}/${name}`);
  }

  number(name: string): number | undefined {
    const text = this.text(name);
    return text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : undefined;
  }

  /** Creates the nodes of both ends, as the toolstack and a starting back end do. */
  #publish(): void {
    const { store, domain } = this.#host;
    store.mkdir(0, this.#frontend);
    store.setPermissions(0, this.#frontend, [`n${domain}`, 'r0']);
    this.#write(this.#frontend, {
      backend: this.#backend,
      'backend-id': 0,
      trusted: 1,
      state: XenbusStateInitialising,
      ...this.#device.frontendNodes,
    });
    store.mkdir(0, this.#backend);
    store.setPermissions(0, this.#backend, ['n0', `r${domain}`]);
    this.#write(this.#backend, {
      frontend: this.#frontend,
      'frontend-id': domain,
      online: 1,
      state: XenbusStateInitialising,
      ...this.#device.backendNodes,
    });
  }

  #write(path: string, nodes: Nodes): void {
    for (const [name, value] of Object.entries(nodes)) this.#host.store.write(0, `${path}/${name}`, String(value));
  }

  #connect(): void {
    this.#device.disconnect();
    const nodes = this.#device.connect(this);
    if (!nodes) {
      const { title } = this.#device;
      this.#host.log.once(`${this.#backend}-connect`, `xen ${title}: cannot connect to the front end`);
      return;
    }
    this.#write(this.#backend, nodes);
    this.#switch(XenbusStateConnected);
    // The front end may have put requests in before the back end could be told.
    this.#device.service();
  }

  #switch(state: number): void {
    if (state === this.#state.state) return;
    this.#state.state = state;
    this.#host.store.write(0, `${this.#backend}/state`, String(state));
  }
}
