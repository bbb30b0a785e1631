/**
 * What a machine on the virtual clock was given from outside, and when: a machine that is made of an earlier snapshot of it is given the
 * same again. Slices and readings of clocks are not in it, for on the virtual clock the guest does not notice them.
 */
import type { HostClock } from '../host/clock.ts';
import type { Behind, Inputs, PastDoor, Place } from './door.ts';
import { Divergence } from './journal.ts';

interface Entry {
  readonly place: Place;
  /** Hands it to a machine. */
  readonly give: (inputs: Inputs) => void;
}

export class InputLog {
  readonly #entries: Entry[] = [];
  #waiting: Entry['give'][] = [];
  /** Instructions up to which the run is known. A machine that has executed fewer is in the past, where nobody outside has a say. */
  known = 0;

  /** The door of a machine. @param delivered how many of the inputs it has been given already */
  door(delivered: number): LogDoor {
    return new LogDoor(this, delivered);
  }
  /** What has come before counts no more: the machine is new. */
  clear(): void {
    this.#entries.length = 0;
  }
  at(index: number): Entry | undefined {
    return this.#entries[index];
  }
  /** Somebody outside wants something. */
  put(give: Entry['give']): void {
    this.#waiting.push(give);
  }
  /** What has come meanwhile is given at `place`. @returns how many */
  take(place: Place): number {
    const taken = this.#waiting.splice(0);
    for (const give of taken) this.#entries.push({ place, give });
    return taken.length;
  }
}

export class LogDoor implements PastDoor {
  readonly #log: InputLog;
  /** Inputs that this machine has been given. */
  delivered: number;
  #machine: Behind | undefined;
  readonly isOver = false;
  readonly midst = undefined;
  readonly repeats = false;
  readonly goesOn = false;

  constructor(log: InputLog, delivered: number) {
    this.#log = log;
    this.delivered = delivered;
  }

  connect(machine: Behind): void {
    this.#machine = machine;
  }
  assembled(): void {}
  here(): () => LogDoor {
    const { delivered } = this;
    return () => this.#log.door(delivered);
  }
  begin(): void {
    this.#log.clear();
    this.delivered = 0;
  }
  readonly inputs: Inputs = {
    type: data => this.#put(inputs => inputs.type(data)),
    serial: data => this.#put(inputs => inputs.serial(data)),
    request: what => this.#put(inputs => inputs.request(what)),
    frame: (network, frame, offload) => this.#put(inputs => inputs.frame(network, frame, offload)),
  };
  #put(give: Entry['give']): void {
    this.#log.put(give);
    this.#machine?.onInput();
  }
  /** @throws Divergence if the machine has come by a place at which it was given something */
  deliver(): void {
    const place = this.#machine!.place();
    if (place.instructions >= this.#log.known && !this.#log.at(this.delivered)) this.#log.take(place);
    for (let entry = this.#log.at(this.delivered); entry; entry = this.#log.at(this.delivered)) {
      const order = compare(entry.place, place);
      if (order > 0) return;
      if (order < 0)
        throw new Divergence(`the run does not repeat: input came at instruction ${entry.place.instructions}`);
      this.delivered++;
      entry.give(this.#machine!.inputs);
    }
  }
  get next(): number {
    return this.#log.at(this.delivered)?.place.instructions ?? Number.POSITIVE_INFINITY;
  }
  get wakesAt(): number {
    const next = this.#log.at(this.delivered)?.place;
    return next?.instructions === this.#machine!.place().instructions ? next.time : Number.POSITIVE_INFINITY;
  }
  clock(host: HostClock): HostClock {
    return host;
  }
  stops(wanted: boolean): boolean {
    return wanted;
  }
  flag(value: boolean): boolean {
    return value || this.#log.at(this.delivered) !== undefined;
  }
  seed(value: bigint): bigint {
    return value;
  }
  startSlice(): void {}
  ran(): void {}
  ended(): void {}
}

/** Less than 0: `a` is before `b`. At one place, timers that are due fire after what is given, and then there is none. */
function compare(a: Place, b: Place): number {
  return a.instructions - b.instructions || a.time - b.time || (a.isDue ? 0 : 1) - (b.isDue ? 0 : 1);
}
