/** Machine time: a queue of alarms over a source of nanoseconds, either counted in instructions or following the host. */
import type { Alarm, Clock, HostClock } from './host/clock.ts';

interface Entry extends Alarm {
  at: number;
  fire: () => void;
}

export class MachineClock implements Clock {
  readonly epoch: bigint;
  readonly #now: () => number;
  readonly #entries: Entry[] = [];
  /** Called when an alarm becomes the earliest one. */
  onEarlier: () => void = () => {};

  constructor(now: () => number, epoch: bigint) {
    this.#now = now;
    this.epoch = epoch;
  }

  now(): number {
    return this.#now();
  }
  alarm(at: number, fire: () => void): Alarm {
    const entry: Entry = {
      at,
      fire,
      cancel: () => {
        const index = this.#entries.indexOf(entry);
        if (index >= 0) this.#entries.splice(index, 1);
      },
    };
    let index = this.#entries.length;
    while (index > 0 && this.#entries[index - 1]!.at > at) index--;
    this.#entries.splice(index, 0, entry);
    if (index === 0) this.onEarlier();
    return entry;
  }
  /** When the next alarm is due, in nanoseconds; Infinity without one. */
  get next(): number {
    return this.#entries[0]?.at ?? Number.POSITIVE_INFINITY;
  }
  /** Fires what is due. */
  run(): void {
    const now = this.#now();
    // What an alarm sets for now or earlier waits for the next call: a device cannot hold the machine up.
    for (let due = this.#entries.filter(entry => entry.at <= now).length; due > 0; due--) {
      const entry = this.#entries[0];
      if (!entry || entry.at > now) return;
      this.#entries.shift();
      entry.fire();
    }
  }
}

/** Guest time that jumps over halts: executed instructions (one a nanosecond) plus the time skipped while halted. */
export class VirtualTime {
  readonly #instructions: () => number;
  #skipped = 0;
  constructor(instructions: () => number) {
    this.#instructions = instructions;
  }
  now = (): number => this.#instructions() + this.#skipped;
  /** The processor is halted until `at`. */
  skipTo(at: number): void {
    this.#skipped += Math.max(0, at - this.now());
  }
}

/** The most that guest time advances while a slice of instructions runs, in nanoseconds: less than a tick at 250 Hz. */
const STRIDE = 3_000_000;
/** … and between two readings with fewer than CLOSE instructions between them. */
const STEP = 1_500;
const CLOSE = 64;

/**
 * Guest time that follows the host, from 0 on. While the guest executes it advances by no more than STRIDE a slice, however long
 * the host made the slice take: a guest that counts timer interrupts against the TSC would otherwise find most of them missing.
 * Nor by more than STEP between readings that follow each other closely, for a guest that calibrates one clock by another has
 * both read at once (Linux's quick_pit_calibrate, which gives up when code of ours that V8 has not compiled yet takes longer).
 * What the host took is gone for the guest, as if the machine had been paused; an idle guest's time runs like the host's.
 */
export class HostTime {
  readonly #host: HostClock;
  readonly #instructions: () => number;
  /** The host's time at which guest time was, or would have been, 0. */
  #start: number;
  #slice = 0;
  #stolen = 0;
  /** The latest reading, and when it was, in instructions. */
  #latest = 0;
  #at = 0;
  /** @param instructions executed so far */
  constructor(host: HostClock, instructions: () => number) {
    this.#host = host;
    this.#instructions = instructions;
    this.#start = host.now();
  }
  now = (): number => {
    const at = this.#instructions();
    const limit = at - this.#at < CLOSE ? Math.min(this.#latest + STEP, this.#slice + STRIDE) : this.#slice + STRIDE;
    this.#at = at;
    this.#latest = this.#until(limit);
    return this.#latest;
  };
  /** Guest time, which gets no later than `limit`. */
  #until(limit: number): number {
    const now = this.#host.now() - this.#start;
    if (now <= limit) return now;
    this.#start += now - limit;
    this.#stolen += now - limit;
    return limit;
  }
  /** A slice of instructions begins. */
  slice(): void {
    this.#slice = this.#latest = this.#until(this.#slice + STRIDE);
  }
  /** The guest has been idle until now. @returns the nanoseconds that the host took since the last call. */
  idled(): number {
    this.#slice = this.#latest = this.#host.now() - this.#start;
    const stolen = this.#stolen;
    this.#stolen = 0;
    return stolen;
  }
}
