/**
 * Event channels with the two-level ABI: 4096 ports (1024 for 32-bit guests), a pending and a mask bit each in
 * shared_info, and in vcpu_info one selector bit for each word of them (public/event_channel.h). Domain 0 is us: a back
 * end holds the far end of an interdomain channel by its name.
 */
import type { State } from '../../state/state.ts';
import {
  EEXIST,
  EINVAL,
  ENOENT,
  ENOSPC,
  NR_VIRQS,
  VIRQ_DEBUG,
  VIRQ_TIMER,
  VIRQ_XENOPROF,
  VIRQ_XENPMU,
} from './constants.ts';
import type { Domain, Vcpu } from './domain.ts';

/** What the guest sees of a port: EVTCHNSTAT_*. */
export const EVTCHNSTAT_closed = 0;
export const EVTCHNSTAT_unbound = 1;
export const EVTCHNSTAT_interdomain = 2;
export const EVTCHNSTAT_virq = 4;
export const EVTCHNSTAT_ipi = 5;

export type Channel = { vcpu: number } & (
  | { state: 'unbound'; remoteDomain: number }
  /** Both ends in this domain. */
  | { state: 'loopback'; remotePort: number }
  /** The other end is a back end's, known by its name. It hears of an event from within the guest's send. */
  | { state: 'host'; remotePort: number; backEnd: string }
  | { state: 'virq'; virq: number }
  | { state: 'ipi' }
);

const PER_VCPU_VIRQS = new Set([VIRQ_TIMER, VIRQ_DEBUG, VIRQ_XENOPROF, VIRQ_XENPMU]);

interface EventState {
  /** By port. */
  channels: Map<number, Channel>;
  /** Back ends' ports are numbered as dom0 would number them. */
  nextHostPort: number;
}

export class EventChannels {
  readonly #domain: Domain;
  readonly #state: State<EventState>;
  /** What each back end does when an event comes, by the back end's name. */
  readonly #backEnds = new Map<string, () => void>();

  constructor(domain: Domain) {
    this.#domain = domain;
    this.#state = domain.states.state('events', 1, () => ({ channels: new Map(), nextHostPort: 1 }));
  }

  /** Makes a back end known: `onEvent` is called for events through any port that is bound to `backEnd`. */
  register(backEnd: string, onEvent: () => void): void {
    this.#backEnds.set(backEnd, onEvent);
  }

  get(port: number): Channel | undefined {
    return this.#state.channels.get(port);
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

  /** EVTCHNOP_bind_interdomain. A guest finds only its own unbound ports to bind to: back ends never offer any. */
  bindInterdomain(remoteDomain: number, remotePort: number): number {
    const remote = this.#state.channels.get(remotePort);
    if (!this.#domain.isSelf(remoteDomain) || remote?.state !== 'unbound' || !this.#domain.isSelf(remote.remoteDomain))
      return -EINVAL;
    const port = this.#open({ state: 'loopback', remotePort, vcpu: 0 });
    if (port < 0) return port;
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
    if (channel.state === 'loopback')
      this.#state.channels.set(channel.remotePort, { state: 'unbound', remoteDomain: this.#domain.id, vcpu: 0 });
    this.#state.channels.delete(port);
    this.#clear(this.#pendingByte(port), port);
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
    const channel = this.#state.channels.get(port);
    if (!channel) return -EINVAL;
    const wasMasked = this.#clear(this.#maskByte(port), port);
    if (wasMasked && this.pending(port)) this.#select(port, this.#domain.vcpus[channel.vcpu]!);
    return 0;
  }

  /** EVTCHNOP_reset: closes every port. */
  reset(): void {
    for (const port of [...this.#state.channels.keys()]) this.close(port);
  }

  /** A virtual interrupt for one processor. Unbound ones are dropped. */
  raiseVirq(virq: number, vcpu: number): void {
    const port = this.#virqPort(virq, vcpu);
    if (port !== undefined) this.raise(port);
  }

  /** Makes `port` pending and, unless it is masked, its processor's upcall. */
  raise(port: number): void {
    const channel = this.#state.channels.get(port);
    if (!channel) return;
    const byte = this.#pendingByte(port);
    const bits = this.#domain.memory.read8(byte);
    if (bits & (1 << (port & 7))) return;
    this.#domain.memory.write8(byte, bits | (1 << (port & 7)));
    if (!this.masked(port)) this.#select(port, this.#domain.vcpus[channel.vcpu]!);
    // SCHEDOP_poll waits for the pending bit, masked or not.
    for (const vcpu of this.#domain.vcpus) if (vcpu.state.polling?.includes(port)) vcpu.wake();
  }

  pending(port: number): boolean {
    return (this.#domain.memory.read8(this.#pendingByte(port)) & (1 << (port & 7))) !== 0;
  }

  masked(port: number): boolean {
    return (this.#domain.memory.read8(this.#maskByte(port)) & (1 << (port & 7))) !== 0;
  }

  #open(channel: Channel): number {
    // The lowest free port; 0 is never valid.
    let port = 1;
    while (this.#state.channels.has(port)) port++;
    if (port >= this.#domain.layout.ports) return -ENOSPC;
    this.#state.channels.set(port, channel);
    return port;
  }

  #virqPort(virq: number, vcpu: number): number | undefined {
    for (const [port, channel] of this.#state.channels)
      if (channel.state === 'virq' && channel.virq === virq && channel.vcpu === vcpu) return port;
    return undefined;
  }

  /** Sets the selector bit of the port's word in `vcpu`'s vcpu_info and, if it was clear, marks its upcall pending. */
  #select(port: number, vcpu: Vcpu): void {
    const { layout, memory } = this.#domain;
    const word = Math.floor(port / layout.width);
    const byte = vcpu.info + layout.pendingSel + (word >>> 3);
    const bits = memory.read8(byte);
    if (bits & (1 << (word & 7))) return;
    memory.write8(byte, bits | (1 << (word & 7)));
    vcpu.markEventsPending();
  }

  #pendingByte(port: number): number {
    return this.#domain.sharedInfo.address + this.#domain.layout.evtchnPending + (port >>> 3);
  }

  #maskByte(port: number): number {
    return this.#domain.sharedInfo.address + this.#domain.layout.evtchnMask + (port >>> 3);
  }

  /** Clears the bit of `port` in `byte`. @returns whether it was set. */
  #clear(byte: number, port: number): boolean {
    const bits = this.#domain.memory.read8(byte);
    this.#domain.memory.write8(byte, bits & ~(1 << (port & 7)));
    return (bits & (1 << (port & 7))) !== 0;
  }
}
