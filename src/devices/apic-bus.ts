/**
 * What connects local APICs, I/O APICs and message-signalled interrupts: finds the local APICs a message is meant for
 * (SDM 3A 11.6.2) and carries the end of a level-triggered interrupt back to the I/O APICs (SDM 3A 11.8.5).
 */

/** Delivery modes, as encoded in ICR, LVT, redirection entries and MSI data (SDM 3A 11.6.1). */
export const FIXED = 0;
export const LOWEST_PRIORITY = 1;
export const SMI = 2;
export const NMI = 4;
export const INIT = 5;
export const START_UP = 6;
export const EXTINT = 7;
/** Of an interrupt command's low word: the destination is logical; the shorthand that means the sender. */
const LOGICAL = 1 << 11;
export const TO_SELF = 1 << 18;

/** The destination that means all, in 8 bits and in 32. A logical 0xff of 32 bits is some of a cluster. */
const SHORT_BROADCAST = 0xff;
export const BROADCAST = 0xffffffff;
const widened = (destination: number) => (destination === SHORT_BROADCAST ? BROADCAST : destination);
/** @param high the interrupt command register's upper word, as it is outside of x2APIC mode */
export const longDestination = (high: number): number => widened(high >>> 24);

/** A local APIC, seen from the bus. */
export interface BusAgent {
  /** True if a message to `destination` (32 bits, of which `BROADCAST` means all) is for this APIC. */
  matches(destination: number, logical: boolean): boolean;
  /** The processor priority, for lowest-priority arbitration: 0 to 0xff. */
  readonly priority: number;
  accept(mode: number, vector: number, level: boolean): void;
  /** What is accepted next is a processor's message. */
  noteIpi(): void;
}

/** An I/O APIC, seen from the bus. */
export interface EndOfInterruptListener {
  endOfInterrupt(vector: number): void;
}

export class ApicBus {
  readonly #agents: BusAgent[] = [];
  readonly #listeners: EndOfInterruptListener[] = [];

  addLocal(agent: BusAgent): void {
    this.#agents.push(agent);
  }

  addIo(listener: EndOfInterruptListener): void {
    this.#listeners.push(listener);
  }

  /** Delivers one message of a device, whose destination has 8 bits. @returns false if no local APIC was addressed. */
  send(destination: number, logical: boolean, mode: number, vector: number, level: boolean): boolean {
    const addressed = this.#addressed(widened(destination), logical, mode);
    for (const agent of addressed) agent.accept(mode === LOWEST_PRIORITY ? FIXED : mode, vector, level);
    return addressed.length > 0;
  }

  /**
   * A processor's interrupt command (SDM 3A 11.6.1): an edge, for its destination or for those of its shorthand.
   * @param low the register's low word, for this bus to send
   * @param destination of 32 bits, of which `BROADCAST` means all
   */
  command(sender: BusAgent, low: number, destination: number): void {
    const mode = (low >> 8) & 7;
    for (const agent of this.#commanded(sender, low, mode, destination)) {
      agent.noteIpi();
      agent.accept(mode === LOWEST_PRIORITY ? FIXED : mode, low & 0xff, false);
    }
  }
  #commanded(sender: BusAgent, low: number, mode: number, destination: number): readonly BusAgent[] {
    switch ((low >> 18) & 3) {
      case 0:
        return this.#addressed(destination, (low & LOGICAL) !== 0, mode);
      case 1:
        return mode === FIXED ? [sender] : [];
      case 2:
        return this.#agents;
      default:
        return this.#agents.filter(agent => agent !== sender);
    }
  }

  /** Those that a message is for: of several, lowest priority means one. */
  #addressed(destination: number, logical: boolean, mode: number): readonly BusAgent[] {
    const all = this.#agents.filter(agent => agent.matches(destination, logical));
    if (mode !== LOWEST_PRIORITY || all.length < 2) return all;
    return [all.reduce((lowest, agent) => (agent.priority < lowest.priority ? agent : lowest))];
  }

  /**
   * A message-signalled interrupt (SDM 3A 11.11): destination and its mode are in the address, vector, delivery mode
   * and trigger in the data. The manual can be read as if the mode bit counted only with the redirection hint; Linux
   * sets the former without the latter and means it.
   */
  message(address: number, data: number): boolean {
    const destination = (address >>> 12) & 0xff;
    const logical = (address & 4) !== 0;
    return this.send(destination, logical, (data >>> 8) & 7, data & 0xff, (data & 0x8000) !== 0);
  }

  endOfInterrupt(vector: number): void {
    for (const listener of this.#listeners) listener.endOfInterrupt(vector);
  }
}
