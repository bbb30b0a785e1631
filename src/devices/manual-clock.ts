/** For tests: a clock that stands still until told to move, and a line that remembers what happened to it. */
import { MachineClock } from '../clock.ts';
import { StateStore, type States } from '../state/state.ts';
import type { InterruptLine } from './device.ts';

export class ManualClock extends MachineClock {
  readonly #time: { now: number };

  constructor(epoch = 0n, states: States = new StateStore()) {
    const time = states.state('manual-time', 1, () => ({ now: 0 }));
    super(() => time.now, epoch, states);
    this.#time = time;
  }

  /** Moves on by `nanoseconds`, firing each timer at its time, in order. */
  advance(nanoseconds: number): void {
    const end = this.#time.now + nanoseconds;
    while (this.next <= end) {
      this.#time.now = Math.max(this.#time.now, this.next);
      this.fireNext();
    }
    this.#time.now = end;
  }

  /** Moves on at once, as a host does that slept: timers are late. */
  jump(nanoseconds: number): void {
    this.#time.now += nanoseconds;
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
