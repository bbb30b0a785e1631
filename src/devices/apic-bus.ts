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

/** A local APIC, seen from the bus. */
export interface BusAgent {
  /** True if a message to `destination` (32 bits; the 8-bit broadcast 0xff counts as one) is for this APIC. */
  matches(destination: number, logical: boolean): boolean;
  /** The processor priority, for lowest-priority arbitration: 0 to 0xff. */
  readonly priority: number;
  accept(mode: number, vector: number, level: boolean): void;
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

  /** Delivers one message. @returns false if no local APIC was addressed. */
  send(destination: number, logical: boolean, mode: number, vector: number, level: boolean): boolean {
    let taken = false;
    let lowest: BusAgent | undefined;
    for (const agent of this.#agents) {
      if (!agent.matches(destination, logical)) continue;
      taken = true;
      if (mode !== LOWEST_PRIORITY) agent.accept(mode, vector, level);
      else if (!lowest || agent.priority < lowest.priority) lowest = agent;
    }
    lowest?.accept(FIXED, vector, level);
    return taken;
  }

  /** Delivers to all, or to all but `except`: the shorthands of the interrupt command register. */
  broadcast(except: BusAgent | undefined, mode: number, vector: number, level: boolean): void {
    for (const agent of this.#agents) {
      if (agent !== except) agent.accept(mode === LOWEST_PRIORITY ? FIXED : mode, vector, level);
    }
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
