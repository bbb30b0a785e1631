/**
 * Event ports in two levels, as every guest of Xen begins: 4096 ports (1024 for 32-bit guests), a pending and a mask bit
 * each in shared_info, and in vcpu_info one selector bit for each word of them (public/event_channel.h).
 */
import type { Domain, Vcpu } from './domain.ts';
import type { EventPorts } from './event-ports.ts';

export class TwoLevelPorts implements EventPorts {
  readonly #domain: Domain;

  constructor(domain: Domain) {
    this.#domain = domain;
  }

  get limit(): number {
    return this.#domain.layout.ports;
  }

  opened(): void {}

  setPending(port: number, vcpu: Vcpu): boolean {
    if (this.#set(this.#pendingByte(port), port)) return false;
    if (!this.masked(port)) this.#select(port, vcpu);
    return true;
  }

  clearPending(port: number): void {
    this.#clear(this.#pendingByte(port), port);
  }

  unmask(port: number, vcpu: Vcpu): void {
    if (this.#clear(this.#maskByte(port), port) && this.pending(port)) this.#select(port, vcpu);
  }

  pending(port: number): boolean {
    return (this.#domain.memory.read8(this.#pendingByte(port)) & (1 << (port & 7))) !== 0;
  }

  masked(port: number): boolean {
    return (this.#domain.memory.read8(this.#maskByte(port)) & (1 << (port & 7))) !== 0;
  }

  busy(): boolean {
    return false;
  }

  /** Sets the selector bit of the port's word in `vcpu`'s vcpu_info and, if it was clear, marks its upcall pending. */
  #select(port: number, vcpu: Vcpu): void {
    const { layout } = this.#domain;
    const word = Math.floor(port / layout.width);
    if (!this.#set(vcpu.info + layout.pendingSel + (word >>> 3), word)) vcpu.markEventsPending();
  }

  #pendingByte(port: number): number {
    return this.#domain.sharedInfo.address + this.#domain.layout.evtchnPending + (port >>> 3);
  }

  #maskByte(port: number): number {
    return this.#domain.sharedInfo.address + this.#domain.layout.evtchnMask + (port >>> 3);
  }

  /** Sets the bit of `number` in `byte`. @returns whether it was set before. */
  #set(byte: number, number: number): boolean {
    const bits = this.#domain.memory.read8(byte);
    this.#domain.memory.write8(byte, bits | (1 << (number & 7)));
    return (bits & (1 << (number & 7))) !== 0;
  }

  /** Clears the bit of `number` in `byte`. @returns whether it was set. */
  #clear(byte: number, number: number): boolean {
    const bits = this.#domain.memory.read8(byte);
    this.#domain.memory.write8(byte, bits & ~(1 << (number & 7)));
    return (bits & (1 << (number & 7))) !== 0;
  }
}
