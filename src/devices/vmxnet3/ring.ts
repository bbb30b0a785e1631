/** A ring of descriptors or completions: a place in the guest's memory, and how far the device has come in it. It is data. */
import type { GuestMemory } from '../../memory/memory.ts';
import { ENTRY, MOST_ENTRIES } from './layout.ts';

export interface Ring {
  /** Guest-physical. */
  base: number;
  /** Entries. */
  size: number;
  /** The next to be looked at or written, and the generation that it then has. */
  next: number;
  generation: number;
}

/** The ring that a queue's description names. @returns undefined if it is not in RAM, or of a size that cannot be */
export function ringAt(memory: GuestMemory, description: number, place: number, size: number): Ring | undefined {
  const base = memory.read32(description + place) + memory.read32(description + place + 4) * 2 ** 32;
  const entries = memory.read32(description + size);
  if (entries < 1 || entries > MOST_ENTRIES || base % ENTRY || !memory.has(base, entries * ENTRY)) return undefined;
  return { base, size: entries, next: 0, generation: 1 };
}

/** Goes one entry on. */
export function advance(ring: Ring): void {
  if (++ring.next < ring.size) return;
  ring.next = 0;
  ring.generation ^= 1;
}

/** Writes a completion of four words; the last one's generation is added. */
export function complete(memory: GuestMemory, ring: Ring, words: readonly [number, number, number, number]): void {
  const at = ring.base + ENTRY * ring.next;
  for (let index = 0; index < 3; index++) memory.write32(at + 4 * index, words[index]);
  memory.write32(at + 12, words[3] | (ring.generation << 31));
  advance(ring);
}
