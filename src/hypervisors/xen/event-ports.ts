/**
 * How the guest sees its event ports: one of two ABIs (public/event_channel.h), between which a domain may change. An
 * event channel is bound and closed in the same way under both (event-channels.ts).
 */
import type { Vcpu } from './domain.ts';

export interface EventPorts {
  /** Ports that there may be. */
  readonly limit: number;
  /** `port` has just been bound to something. */
  opened(port: number): void;
  /** Makes `port` pending and, unless it is masked, the upcall of `vcpu`. @returns false if it was pending before */
  setPending(port: number, vcpu: Vcpu): boolean;
  clearPending(port: number): void;
  /** Clears the mask of `port`; if it is pending, it is raised again at `vcpu`. */
  unmask(port: number, vcpu: Vcpu): void;
  pending(port: number): boolean;
  /** True while the guest has not yet dealt with an event of a port that was closed: its number stays taken so long. */
  busy(port: number): boolean;
}
