/** For tests: a clock that stands still until told to move, and a line that remembers what happened to it. */
import type { Alarm, Clock } from '../host/clock.ts';
import type { InterruptLine } from './device.ts';

interface Pending {
  at: number;
  fire: () => void;
}

export class ManualClock implements Clock {
  readonly epoch: bigint;
  #now = 0;
  #pending: Pending[] = [];

  constructor(epoch = 0n) {
    this.epoch = epoch;
  }

  now(): number {
    return this.#now;
  }

  alarm(at: number, fire: () => void): Alarm {
    const entry: Pending = { at, fire };
    this.#pending.push(entry);
    return {
      cancel: () => {
        this.#pending = this.#pending.filter(other => other !== entry);
      },
    };
  }

  /** How many alarms are set. */
  get alarms(): number {
    return this.#pending.length;
  }

  /** Moves on by `nanoseconds`, firing each alarm at its time, in order. */
  advance(nanoseconds: number): void {
    const end = this.#now + nanoseconds;
    for (;;) {
      const due = this.#pending.filter(entry => entry.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.#pending = this.#pending.filter(other => other !== due);
      this.#now = Math.max(this.#now, due.at);
      due.fire();
    }
    this.#now = end;
  }

  /** Moves on at once, as a host does that slept: alarms are late. */
  jump(nanoseconds: number): void {
    this.#now += nanoseconds;
    this.advance(0);
  }
}

export class RecordingLine implements InterruptLine {
  high = false;
  /** Rising edges seen. */
  edges = 0;

  set(high: boolean): void {
    if (high && !this.high) this.edges++;
    this.high = high;
  }
}
