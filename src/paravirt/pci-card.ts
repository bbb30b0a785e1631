/** A card that a hypervisor puts on the board's PCI bus. */
import type { BusHandler } from '../memory/bus.ts';

/** What stands in a configuration space for drivers to look for (PCI Local Bus specification 3.0, 6.2.1). */
export interface PciIdentity {
  vendor: number;
  device: number;
  revision: number;
  /** Base class, subclass and programming interface, 24 bits. */
  class: number;
  subsystemVendor?: number;
  subsystem?: number;
}

export interface PciCard {
  readonly name: string;
  readonly identity: PciIdentity;
  /** BAR 0: I/O ports. The size is a power of two, from 4 to 256. */
  readonly ports?: { readonly size: number; readonly handler: BusHandler };
  /** BAR 1: so many bytes of addresses, a power of two. Nothing answers there but what the hypervisor puts there itself. */
  readonly memory?: number;
}
