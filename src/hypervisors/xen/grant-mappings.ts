/**
 * What a guest has mapped of its own grants (GNTTABOP_map_grant_ref and its ends): a handle each, as Xen's maptrack. It
 * may map a page for its processors (at `host_addr`), for devices, or for both, and end the two one after the other.
 */
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { Domain, Vcpu } from './domain.ts';
import { ENTRY_SIZE } from './grant-entries.ts';
import {
  GNTST_bad_dev_addr,
  GNTST_bad_domain,
  GNTST_bad_gntref,
  GNTST_bad_handle,
  GNTST_general_error,
  GNTST_no_space,
  GNTST_okay,
} from './grant-status.ts';
import type { Use } from './grant-table.ts';

export const GNTMAP_device_map = 1 << 0;
export const GNTMAP_host_map = 1 << 1;
export const GNTMAP_readonly = 1 << 2;
export const GNTMAP_application_map = 1 << 3;
export const GNTMAP_contains_pte = 1 << 4;
/** The first of the flags' bits that a PV guest's entry gets as its own three. */
export const _GNTMAP_guest_avail0 = 16;

/** Handles a domain may have: Xen's default of 1024 maptrack frames, with 256 of them each. */
const MAX_HANDLES = 1024 * 256;
/** Entries of domain 0's table: references there are known, and none is for the guest. */
const DOMAIN_0_ENTRIES = PAGE_SIZE / ENTRY_SIZE[1];

interface GuestMapping {
  reference: number;
  /** GNTMAP_device_map and GNTMAP_host_map while they last, and the flags they were made with. */
  flags: number;
}

interface MaptrackState {
  mappings: Map<number, GuestMapping>;
  /** Handles below this were given out before; those that are free again, the longest free first. */
  next: number;
  free: number[];
}

export interface MapRequest {
  hostAddress: bigint;
  flags: number;
  reference: number;
  domid: number;
}

export interface UnmapRequest {
  hostAddress: bigint;
  deviceAddress: bigint;
  handle: number;
  /** GNTTABOP_unmap_and_replace: whose entry takes the place. 0: nothing does. */
  newAddress: bigint;
}

export class GrantMappings {
  readonly #domain: Domain;
  readonly #state: State<MaptrackState>;

  constructor(domain: Domain) {
    this.#domain = domain;
    this.#state = domain.states.state('maptrack', 1, () => ({ mappings: new Map(), next: 0, free: [] }));
  }

  /** GNTTABOP_map_grant_ref. @returns the handle and the page's address, or a negative GNTST_ */
  map(vcpu: Vcpu, request: MapRequest): { handle: number; address: number } | number {
    const { flags, domid, reference } = request;
    const { kind, grants } = this.#domain;
    if ((flags & (GNTMAP_device_map | GNTMAP_host_map)) === 0) return GNTST_bad_gntref;
    if (kind.translated && flags & (GNTMAP_device_map | GNTMAP_application_map | GNTMAP_contains_pte))
      return GNTST_general_error;
    // DOMID_SELF is no domain's id here.
    if (domid !== 0 && domid !== this.#domain.id) return GNTST_bad_domain;
    if (this.#state.free.length === 0 && this.#state.next >= MAX_HANDLES) return GNTST_no_space;
    if (domid === 0) return reference < DOMAIN_0_ENTRIES ? GNTST_general_error : GNTST_bad_gntref;
    const use = useOf(flags);
    const first = grants.active(reference) === undefined;
    const active = grants.pin(reference, this.#domain.id, use);
    if (typeof active === 'number') return active;
    const mapped = this.#take(vcpu, request, active.address, first);
    if (mapped < 0) {
      grants.unpin(reference, use);
      return mapped;
    }
    active.address = mapped;
    const handle = this.#state.free.shift() ?? this.#state.next++;
    this.#state.mappings.set(handle, { reference, flags });
    return { handle, address: mapped };
  }

  /** Takes the page for devices and processors, and maps it. @returns its address, or GNTST_general_error */
  #take(vcpu: Vcpu, { flags, hostAddress }: MapRequest, address: number, first: boolean): number {
    const { kind } = this.#domain;
    const write = (flags & GNTMAP_readonly) === 0;
    const frame = address / PAGE_SIZE;
    const forDevices = (flags & GNTMAP_device_map) !== 0;
    if (forDevices && kind.hold(this.#domain, frame, write) === undefined) return GNTST_general_error;
    let mapped = address;
    if (flags & GNTMAP_host_map) {
      const held = kind.hold(this.#domain, frame, write) !== undefined;
      mapped = held ? kind.mapGrant(vcpu, hostAddress, address, flags, first) : GNTST_general_error;
      if (held && mapped < 0) kind.release(this.#domain, address, write);
    }
    if (forDevices && mapped < 0) kind.release(this.#domain, address, write);
    return mapped;
  }

  /** GNTTABOP_unmap_grant_ref and GNTTABOP_unmap_and_replace. @returns a GNTST_ */
  unmap(vcpu: Vcpu, { hostAddress, deviceAddress, handle, newAddress }: UnmapRequest): number {
    const { kind, grants } = this.#domain;
    const mapping = this.#state.mappings.get(handle);
    const active = mapping && grants.active(mapping.reference);
    if (!mapping || !active) return GNTST_bad_handle;
    const { flags, reference } = mapping;
    const { address } = active;
    const write = (flags & GNTMAP_readonly) === 0;
    const endDevice = deviceAddress !== 0n && (flags & GNTMAP_device_map) !== 0;
    if (endDevice && deviceAddress !== BigInt(address)) return GNTST_bad_dev_addr;
    if (hostAddress !== 0n && flags & GNTMAP_host_map) {
      const status = kind.unmapGrant(vcpu, hostAddress, address, newAddress, flags);
      if (status !== GNTST_okay) return status;
      mapping.flags &= ~GNTMAP_host_map;
      kind.release(this.#domain, address, write);
      grants.unpin(reference, { write, host: true, device: false, mapping: true });
    }
    if (endDevice) {
      mapping.flags &= ~GNTMAP_device_map;
      kind.release(this.#domain, address, write);
      grants.unpin(reference, { write, host: false, device: true, mapping: true });
    }
    if ((mapping.flags & (GNTMAP_device_map | GNTMAP_host_map)) === 0) {
      this.#state.mappings.delete(handle);
      this.#state.free.push(handle);
    }
    return GNTST_okay;
  }
}

function useOf(flags: number): Use {
  return {
    write: (flags & GNTMAP_readonly) === 0,
    host: (flags & GNTMAP_host_map) !== 0,
    device: (flags & GNTMAP_device_map) !== 0,
    mapping: true,
  };
}
