/** The PV console (public/io/console.h): one page with a ring each way, and an event channel. Linux calls it hvc0. */
import type { Console } from '../../host/console.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { State, States } from '../../state/state.ts';
import { IncomingRing, OutgoingRing, type RingLayout, type RingPage } from './shared-ring.ts';

/** struct xencons_interface: `in` is to the guest, `out` from it. */
export const CONSOLE_IN: RingLayout = { data: 0, size: 1024, consumer: 0xc00, producer: 0xc04 };
export const CONSOLE_OUT: RingLayout = { data: 0x400, size: 2048, consumer: 0xc08, producer: 0xc0c };

export class ConsoleRing {
  readonly #console: Console;
  readonly #output: IncomingRing;
  readonly #input: OutgoingRing;
  readonly #notify: () => void;
  /** What was typed and finds no room in the ring yet. */
  readonly #state: State<{ typed: Uint8Array[] }>;

  /** `notify` raises the guest's end of the console's event channel. */
  constructor(states: States, memory: GuestMemory, page: RingPage, console: Console, notify: () => void) {
    this.#console = console;
    this.#state = states.state('console', 1, () => ({ typed: [] }));
    this.#output = new IncomingRing(states, memory, page, CONSOLE_OUT);
    this.#input = new OutgoingRing(states, memory, page, CONSOLE_IN);
    this.#notify = notify;
    console.onInput(data => {
      this.#state.typed.push(data);
      if (this.#feed()) this.#notify();
    });
  }

  /** The guest sent an event: it has written, or taken input out. */
  onEvent(): void {
    const text = this.#output.take();
    if (text?.length) this.#console.write(text);
    const fed = this.#feed();
    // Only after progress: Linux throttles a channel whose events find nothing to do.
    if (text?.length || fed) this.#notify();
  }

  /** Moves what was typed into the ring, as far as there is room. */
  #feed(): boolean {
    const { typed } = this.#state;
    let any = false;
    for (let next = typed[0]; next; next = typed[0]) {
      const count = this.#input.put(next);
      if (count > 0) any = true;
      if (count < next.length) {
        typed[0] = next.subarray(count);
        break;
      }
      typed.shift();
    }
    return any;
  }
}
