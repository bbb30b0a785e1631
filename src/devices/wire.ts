/** Interrupt wires: several devices on one line, and a line that can be cut. */
import type { InterruptLine } from './device.ts';

/** A wire that is high while any of those connected to it drives it high. */
export class Wire {
  readonly #changed: (high: boolean) => void;
  #drivers = 0;

  constructor(changed: (high: boolean) => void) {
    this.#changed = changed;
  }

  /** A rising edge, whatever level the wire is at; it goes back to what drives it. */
  edge(): void {
    const high = this.#drivers > 0;
    if (high) this.#changed(false);
    this.#changed(true);
    if (!high) this.#changed(false);
  }

  connect(): InterruptLine {
    let driven = false;
    return {
      set: high => {
        if (high === driven) return;
        driven = high;
        this.#drivers += high ? 1 : -1;
        if (high ? this.#drivers === 1 : this.#drivers === 0) this.#changed(high);
      },
    };
  }
}

/** A switch in a line: what is behind it goes on, unseen. */
export class LineSwitch implements InterruptLine {
  readonly #line: InterruptLine;
  #connected = true;
  #high = false;

  constructor(line: InterruptLine) {
    this.#line = line;
  }

  set(high: boolean): void {
    this.#high = high;
    if (this.#connected) this.#line.set(high);
  }

  set connected(on: boolean) {
    this.#connected = on;
    this.#line.set(on && this.#high);
  }
}
