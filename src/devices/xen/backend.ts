/**
 * What a back end stands on: the store, grants and event channels of the domain it serves, as domain 0 would see them. The
 * hypervisor's folder fulfils this; nothing here knows how.
 */

import type { Log } from '../../host/log.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { Xenstore } from './xenstore.ts';

/** A page granted by the guest, in use. */
export interface GrantedPage {
  /** Guest-physical address, 4096-aligned; the whole page is RAM. */
  readonly address: number;
  /** Ends the use. */
  unmap(): void;
}

/** The far end of one of the guest's event channels. */
export interface EventPort {
  /** Raises the guest's end. */
  notify(): void;
  close(): void;
}

export interface BackendHost {
  /** The guest's domain id. */
  readonly domain: number;
  readonly memory: GuestMemory;
  readonly store: Xenstore;
  readonly log: Log;
  /** The page behind a grant reference, for reading or also for writing; undefined where the guest granted no such thing. */
  map(reference: number, write: boolean): GrantedPage | undefined;
  /** Binds to a port the guest allocated for domain 0; undefined where it did not. */
  bind(port: number, onEvent: () => void): EventPort | undefined;
}

/** The states of a front or back end, as its `state` node holds them (public/io/xenbus.h). */
export const XenbusStateInitialising = 1;
export const XenbusStateInitWait = 2;
export const XenbusStateInitialised = 3;
export const XenbusStateConnected = 4;
export const XenbusStateClosing = 5;
export const XenbusStateClosed = 6;
