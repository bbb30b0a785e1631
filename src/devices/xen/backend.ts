/**
 * What a back end stands on: the store, grants and event channels of the domain it serves, as domain 0 would see them.
 * The hypervisor's folder fulfils this; nothing here knows how.
 */
import type { Clock } from '../../host/clock.ts';
import type { Log } from '../../host/log.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { States } from '../../state/state.ts';
import type { Xenstore } from './xenstore.ts';

/** A page granted by the guest, in use by a back end. It is data: it may stand in a state. */
export interface GrantedPage {
  /** By which `unmap` knows the use. */
  readonly handle: number;
  /** Guest-physical address, 4096-aligned; the whole page is RAM. */
  readonly address: number;
}

/** What can happen to a back end. States name a back end, so that it is found again when they are restored. */
export interface BackEnd {
  /** The guest has sent an event through the port that is bound to this back end. */
  onEvent(): void;
  /** A node of the store that this back end watches, with its own name as the token, has changed. */
  onWatch(): void;
}

export interface BackendHost extends States {
  /** The guest's domain id. */
  readonly domain: number;
  readonly memory: GuestMemory;
  readonly store: Xenstore;
  readonly log: Log;
  readonly clock: Clock;
  /** Makes `backEnd` known as `name`, such as vbd/51712. */
  register(name: string, backEnd: BackEnd): void;
  /**
   * The page behind a grant reference, for reading or also for writing; undefined where the guest granted no such
   * thing.
   */
  map(reference: number, write: boolean): GrantedPage | undefined;
  /** Ends the use of a page. Once is enough. */
  unmap(page: GrantedPage): void;
  /** Binds a port that the guest allocated for domain 0 to the back end `name`; false where the guest did not. */
  bind(port: number, name: string): boolean;
  /** Raises the guest's end of a port that is bound to `name`. */
  notify(port: number, name: string): void;
  /** Gives the guest back a port that is bound to `name`. */
  unbind(port: number, name: string): void;
}

/** The states of a front or back end, as its `state` node holds them (public/io/xenbus.h). */
export const XenbusStateInitialising = 1;
export const XenbusStateInitWait = 2;
export const XenbusStateInitialised = 3;
export const XenbusStateConnected = 4;
export const XenbusStateClosing = 5;
export const XenbusStateClosed = 6;
