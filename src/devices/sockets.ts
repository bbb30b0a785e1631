/**
 * A bus on which ranges may stand empty: drivers look there for hardware that this board has not got, and find all ones
 * without a word in the log. A device that is plugged in takes the place of the sockets it covers.
 */
import type { Bus, BusHandler } from '../memory/bus.ts';
import { emptySocket } from './byte-ports.ts';

export class Sockets {
  readonly #bus: Bus;
  /** By where they start: where they end, and how to free their range. */
  readonly #empty = new Map<number, { end: number; remove: () => void }>();

  constructor(bus: Bus) {
    this.#bus = bus;
  }

  /** Leaves `[start, start + size)` empty for now, unless somebody sits at its start. */
  leave(name: string, start: number, size: number): void {
    if (this.#bus.find(start)) return;
    this.#empty.set(start, { end: start + size, remove: this.#bus.map(name, start, size, emptySocket) });
  }

  /** As `Bus.map`. */
  map(name: string, start: number, size: number, handler: BusHandler): () => void {
    for (const [from, { end, remove }] of this.#empty) {
      if (start >= end || from >= start + size) continue;
      remove();
      this.#empty.delete(from);
    }
    return this.#bus.map(name, start, size, handler);
  }
}
