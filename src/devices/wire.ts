/** Interrupt wires: several devices on one line, and a line that can be cut. Levels are state. */
import type { State, States } from '../state/state.ts';
import type { InterruptLine } from './device.ts';

/** A wire that is high while any of those connected to it drives it high. */
export class Wire {
  readonly #changed: (high: boolean) => void;
  /** What each connection drives, in the order in which they were made. */
  readonly #state: State<{ driven: boolean[] }>;

  constructor(states: States, name: string, changed: (high: boolean) => void) {
    this.#state = states.state(name, 1, () => ({ driven: [] }));
    this.#changed = changed;
  }

  /** A rising edge, whatever level the wire is at; it goes back to what drives it. */
  edge(): void {
    const high = this.#state.driven.includes(true);
    if (high) this.#changed(false);
    this.#changed(true);
    if (!high) this.#changed(false);
  }

  /** Connections are made when the machine is built, always in the same order. */
  connect(): InterruptLine {
    const index = this.#state.driven.push(false) - 1;
    return {
      set: high => {
        const { driven } = this.#state;
        if (high === driven[index]) return;
        const was = driven.includes(true);
        driven[index] = high;
        const is = driven.includes(true);
        if (is !== was) this.#changed(is);
      },
    };
  }
}

/** A switch in a line: the device's level goes on changing, unseen, while the line is cut. */
export class LineSwitch implements InterruptLine {
  readonly #line: InterruptLine;
  readonly #state: State<{ connected: boolean; high: boolean }>;

  constructor(states: States, name: string, line: InterruptLine) {
    this.#state = states.state(name, 1, () => ({ connected: true, high: false }));
    this.#line = line;
  }

  set(high: boolean): void {
    this.#state.high = high;
    if (this.#state.connected) this.#line.set(high);
  }

  set connected(on: boolean) {
    this.#state.connected = on;
    this.#line.set(on && this.#state.high);
  }
}
