/**
 * Event channels: what each port of the domain is bound to (public/event_channel.h). How the guest sees that a port is
 * pending is up to one of two ABIs, TwoLevelPorts or, once the guest has chosen it, FifoPorts. Domain 0 is us: a back
 * end holds the far end of an interdomain channel by its name.
 */
import type { State } from '../../state/state.ts';
import {
  EACCES,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOSPC,
  ENOSYS,
  EOPNOTSUPP,
  EPERM,
  ESRCH,
  NR_VIRQS,
  VIRQ_DEBUG,
  VIRQ_TIMER,
  VIRQ_XENOPROF,
  VIRQ_XENPMU,
} from './constants.ts';
import type { Domain } from './domain.ts';
import type { EventPorts } from './event-ports.ts';
import { FifoPorts } from './fifo-ports.ts';
import { TwoLevelPorts } from './two-level-ports.ts';

/** What the guest sees of a port: EVTCHNSTAT_*. */
export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1;
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_pirq = 3;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

export type Channel = { vcpu: number } & (
  | { state: 'unbound'; remoteDomain: number }
  /** Both ends in this domain. */
  | { state: 'loopback'; remotePort: number }
  /** The other end is a back end's, known by its name. It hears of an event from within the guest's send. */
  | { state: 'host'; remotePort: number; backEnd: string }
  /** A physical interrupt that an HVM guest has bound. There is no device, so it never comes. */
  | { state: 'pirq'; pirq: number }
  | { state: 'virq'; virq: number }
  | { state: 'ipi' }
);

const PER_VCPU_VIRQS = new Set([VIRQ_TIMER, VIRQ_DEBUG, VIRQ_XENOPROF, VIRQ_XENPMU]);

/** Xen keeps ports in buckets: the ports up to the end of the last bucket in use are valid, bound or not. */
const PORTS_PER_BUCKET = 64;
/** Lines of one I/O APIC. */
export const NR_GSIS = 24;
/** Physical interrupts a domU may name: those lines, and 32 (Xen's extra_guest_irqs). */
export const NR_PIRQS = NR_GSIS + 32;

interface EventState {
  /** By port. */
  channels: Map<number, Channel>;
  /** Ports below this are valid. */
  validPorts: number;
  /** No port below this is free. */
  lowestFree: number;
  /** Back ends' ports are numbered as dom0 would number them. */
  nextHostPort: number;
}

export class EventChannels {
  readonly #domain: Domain;
  readonly #state: State<EventState>;
  /** What each back end does when an event comes, by the back end's name. */
  readonly #backEnds = new Map<string, () => void>();
  readonly #twoLevel: TwoLevelPorts;
  readonly #fifo: FifoPorts;

  constructor(domain: Domain) {
    this.#domain = domain;
    this.#state = domain.states.state('events', 2, () => ({
      channels: new Map(),
      validPorts: PORTS_PER_BUCKET,
      lowestFree: 1,
      nextHostPort: 1,
    }));
    this.#twoLevel = new TwoLevelPorts(domain);
    this.#fifo = new FifoPorts(domain);
  }

  /** The ABI in use. */
  get #ports(): EventPorts {
    return this.#fifo.active ? this.#fifo : this.#twoLevel;
  }

  /** Makes a back end known: `onEvent` is called for events through any port that is bound to `backEnd`. */
  register(backEnd: string, onEvent: () => void): void {
    this.#backEnds.set(backEnd, onEvent);
  }

  get(port: number): Channel | undefined {
    return this.#state.channels.get(port);
  }

  /** True for a port that Xen keeps a record of, whether it is bound or not. */
  isValid(port: number): boolean {
    return port < this.#state.validPorts;
  }

  /** EVTCHNOP_alloc_unbound. @returns the port, or a negated error. */
  allocateUnbound(remoteDomain: number): number {
    return this.#open({ state: 'unbound', remoteDomain, vcpu: 0 });
  }

  /** EVTCHNOP_bind_virq. */
  bindVirq(virq: number, vcpu: number): number {
    if (virq >= NR_VIRQS) return -EINVAL;
    if (!PER_VCPU_VIRQS.has(virq) && vcpu !== 0) return -EINVAL;
    if (!this.#domain.vcpus[vcpu]) return -ENOENT;
    if (this.#virqPort(virq, vcpu) !== undefined) return -EEXIST;
    return this.#open({ state: 'virq', virq, vcpu });
  }

  /** EVTCHNOP_bind_ipi. */
  bindIpi(vcpu: number): number {
    if (!this.#domain.vcpus[vcpu]) return -ENOENT;
    return this.#open({ state: 'ipi', vcpu });
  }

  /** EVTCHNOP_bind_pirq: for PV guests, only of interrupts that they were given, and there are none. */
  bindPirq(pirq: number): number {
    if (pirq >= NR_PIRQS) return -EINVAL;
    if (!this.#domain.kind.translated) return -EPERM;
    for (const channel of this.#state.channels.values())
      if (channel.state === 'pirq' && channel.pirq === pirq) return -EEXIST;
    return this.#open({ state: 'pirq', pirq, vcpu: 0 });
  }

  /** EVTCHNOP_bind_interdomain. A guest finds only its own unbound ports to bind to: back ends never offer any. */
  bindInterdomain(remoteDomain: number, remotePort: number): number {
    if (!this.#domain.exists(remoteDomain)) return -ESRCH;
    if (this.#freePort() === undefined) return -ENOSPC;
    const remote = this.#state.channels.get(remotePort);
    if (!this.#domain.isSelf(remoteDomain) || remote?.state !== 'unbound' || !this.#domain.isSelf(remote.remoteDomain))
      return -EINVAL;
    const port = this.#open({ state: 'loopback', remotePort, vcpu: 0 });
    this.#state.channels.set(remotePort, { state: 'loopback', remotePort: port, vcpu: remote.vcpu });
    // A notification sent before the binding was lost: Xen raises the new end once (evtchn_bind_interdomain).
    this.raise(port);
    return port;
  }

  /** A back end takes the far end of a port the guest has allocated for domain 0. False: there is no such port. */
  bindHost(port: number, backEnd: string): boolean {
    const channel = this.get(port);
    if (channel?.state !== 'unbound' || channel.remoteDomain !== 0) return false;
    const remotePort = this.#state.nextHostPort++;
    this.#state.channels.set(port, { state: 'host', remotePort, backEnd, vcpu: channel.vcpu });
    return true;
  }

  /** A back end raises the guest's end of a port that it has bound, unless the guest has closed it. */
  notify(port: number, backEnd: string): void {
    if (this.#isBound(port, backEnd)) this.raise(port);
  }

  /** A back end leaves a port that it has bound. */
  unbindHost(port: number, backEnd: string): void {
    if (!this.#isBound(port, backEnd)) return;
    this.#state.channels.set(port, { state: 'unbound', remoteDomain: 0, vcpu: this.get(port)!.vcpu });
  }

  #isBound(port: number, backEnd: string): boolean {
    const channel = this.get(port);
    return channel?.state === 'host' && channel.backEnd === backEnd;
  }

  /** EVTCHNOP_close. @returns 0 or a negated error. */
  close(port: number): number {
    const channel = this.#state.channels.get(port);
    if (!channel) return -EINVAL;
    if (channel.state === 'loopback') {
      const { vcpu } = this.get(channel.remotePort)!;
      this.#state.channels.set(channel.remotePort, { state: 'unbound', remoteDomain: this.#domain.id, vcpu });
    }
    this.#ports.clearPending(port);
    this.#state.channels.delete(port);
    this.#state.lowestFree = Math.min(this.#state.lowestFree, port);
    return 0;
  }

  /** EVTCHNOP_send. */
  send(port: number): number {
    const channel = this.#state.channels.get(port);
    switch (channel?.state) {
      case 'host':
        this.#backEnds.get(channel.backEnd)?.();
        return 0;
      case 'loopback':
        this.raise(channel.remotePort);
        return 0;
      case 'ipi':
        this.#domain.vcpus[channel.vcpu]!.cpu.noteIpi();
        this.raise(port);
        return 0;
      case 'unbound':
        return 0;
      default:
        return -EINVAL;
    }
  }

  /** EVTCHNOP_bind_vcpu: moves a port to another processor. */
  bindVcpu(port: number, vcpu: number): number {
    if (!this.#domain.vcpus[vcpu]) return -ENOENT;
    const channel = this.#state.channels.get(port);
    if (!channel || channel.state === 'ipi') return -EINVAL;
    if (channel.state === 'virq' && PER_VCPU_VIRQS.has(channel.virq)) return -EINVAL;
    channel.vcpu = vcpu;
    return 0;
  }

  /** EVTCHNOP_unmask: clears the mask bit and raises the port again if it was pending. */
  unmask(port: number): number {
    if (!this.isValid(port)) return -EINVAL;
    const channel = this.#state.channels.get(port);
    if (channel) this.#ports.unmask(port, this.#domain.vcpus[channel.vcpu]!);
    return 0;
  }

  /** EVTCHNOP_reset: closes every port and goes back to two levels. */
  reset(): void {
    for (const port of [...this.#state.channels.keys()]) this.close(port);
    if (this.#fifo.active) this.#fifo.reset();
  }

  /** EVTCHNOP_init_control: the control block of a processor; with the first one, the guest chooses the FIFO ABI. */
  initControl(vcpu: number, gfn: bigint, offset: number): number {
    const owner = this.#domain.vcpus[vcpu];
    if (!owner) return -ENOENT;
    const first = !this.#fifo.active;
    const error = this.#fifo.initControl(owner, gfn, offset);
    if (error === 0 && first)
      for (const port of this.#state.channels.keys())
        if (port < this.#twoLevel.limit) this.#fifo.adopt(port, this.#twoLevel.pending(port));
    return error;
  }

  /** EVTCHNOP_expand_array: a page for the words of more ports. */
  expandArray(gfn: bigint): number {
    return this.#fifo.active ? this.#fifo.expand(gfn, port => this.raise(port)) : -EOPNOTSUPP;
  }

  /** EVTCHNOP_set_priority. */
  setPriority(port: number, priority: number): number {
    if (!this.isValid(port)) return -EINVAL;
    if (!this.#fifo.active) return -ENOSYS;
    return this.get(port) ? this.#fifo.setPriority(port, priority) : -EACCES;
  }

  /** A virtual interrupt for one processor. Unbound ones are dropped. */
  raiseVirq(virq: number, vcpu: number): void {
    const port = this.#virqPort(virq, vcpu);
    if (port !== undefined) this.raise(port);
  }

  /** Makes `port` pending and, unless it is masked, its processor's upcall. */
  raise(port: number): void {
    const channel = this.#state.channels.get(port);
    if (!channel || !this.#ports.setPending(port, this.#domain.vcpus[channel.vcpu]!)) return;
    // SCHEDOP_poll waits for the pending bit, masked or not; one that waits for several ports is woken by any.
    for (const vcpu of this.#domain.vcpus) {
      const { polling } = vcpu.state;
      if (polling && (polling.length !== 1 || polling[0] === port)) vcpu.wake();
    }
  }

  /** True if an event of `port` is pending. False if it is not bound to anything. */
  pending(port: number): boolean {
    return this.#state.channels.has(port) && this.#ports.pending(port);
  }

  #open(channel: Channel): number {
    const port = this.#freePort();
    if (port === undefined) return -ENOSPC;
    const state = this.#state;
    state.validPorts = Math.max(state.validPorts, Math.ceil((port + 1) / PORTS_PER_BUCKET) * PORTS_PER_BUCKET);
    state.channels.set(port, channel);
    this.#ports.opened(port);
    return port;
  }

  /** The lowest free port; 0 is never valid. */
  #freePort(): number | undefined {
    const { channels } = this.#state;
    const ports = this.#ports;
    while (channels.has(this.#state.lowestFree)) this.#state.lowestFree++;
    for (let port = this.#state.lowestFree; port < ports.limit; port++)
      if (!channels.has(port) && !ports.busy(port)) return port;
    return undefined;
  }

  /** The port of a virtual interrupt. A global one is processor 0's, wherever its events go. */
  #virqPort(virq: number, vcpu: number): number | undefined {
    for (const [port, channel] of this.#state.channels) {
      if (channel.state !== 'virq' || channel.virq !== virq) continue;
      if (!PER_VCPU_VIRQS.has(virq) || channel.vcpu === vcpu) return port;
    }
    return undefined;
  }
}
