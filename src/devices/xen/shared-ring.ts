/**
 * A byte ring in a page shared with the guest, as the xenstore and the console use them: free-running 32-bit indices,
 * masked with the size. The other side's index is the guest's word and never trusted; our own we keep here, not in the
 * page.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import type { State, States } from '../../state/state.ts';

/** Where the page stands: it may move, since a PVH guest says where it wants it. */
export interface RingPage {
  address: number;
}

/** Offsets in the page. */
export interface RingLayout {
  data: number;
  /** A power of two. */
  size: number;
  consumer: number;
  producer: number;
}

/** Bytes from the guest. */
export class IncomingRing {
  readonly #memory: GuestMemory;
  readonly #page: RingPage;
  readonly #layout: RingLayout;
  readonly #state: State<{ consumer: number }>;

  constructor(states: States, memory: GuestMemory, page: RingPage, layout: RingLayout) {
    this.#state = states.state('incoming', 1, () => ({ consumer: 0 }));
    this.#memory = memory;
    this.#page = page;
    this.#layout = layout;
  }

  /** How many bytes wait; undefined if the guest's index makes no sense. */
  available(): number | undefined {
    const producer = this.#memory.read32(this.#page.address + this.#layout.producer);
    const count = (producer - this.#state.consumer) >>> 0;
    return count <= this.#layout.size ? count : undefined;
  }

  /** Takes all bytes that wait. Undefined: a nonsensical index. */
  take(): Uint8Array | undefined {
    const count = this.available();
    if (count === undefined) return undefined;
    const { size, data, consumer } = this.#layout;
    const bytes = new Uint8Array(count);
    const start = this.#state.consumer & (size - 1);
    const first = Math.min(count, size - start);
    bytes.set(this.#memory.copyOut(this.#page.address + data + start, first));
    bytes.set(this.#memory.copyOut(this.#page.address + data, count - first), first);
    this.#state.consumer = (this.#state.consumer + count) >>> 0;
    this.#memory.write32(this.#page.address + consumer, this.#state.consumer);
    return bytes;
  }

  /** Begins anew with both indices 0. */
  reset(): void {
    this.#state.consumer = 0;
    this.#memory.write32(this.#page.address + this.#layout.consumer, 0);
    this.#memory.write32(this.#page.address + this.#layout.producer, 0);
  }
}

/** Bytes to the guest. */
export class OutgoingRing {
  readonly #memory: GuestMemory;
  readonly #page: RingPage;
  readonly #layout: RingLayout;
  readonly #state: State<{ producer: number }>;

  constructor(states: States, memory: GuestMemory, page: RingPage, layout: RingLayout) {
    this.#state = states.state('outgoing', 1, () => ({ producer: 0 }));
    this.#memory = memory;
    this.#page = page;
    this.#layout = layout;
  }

  /** Room in bytes; undefined if the guest's index makes no sense. */
  room(): number | undefined {
    const consumer = this.#memory.read32(this.#page.address + this.#layout.consumer);
    const used = (this.#state.producer - consumer) >>> 0;
    return used <= this.#layout.size ? this.#layout.size - used : undefined;
  }

  /** Puts in as much of `bytes` as there is room for. @returns how much that was. */
  put(bytes: Uint8Array): number {
    const { size, data, producer } = this.#layout;
    const count = Math.min(bytes.length, this.room() ?? 0);
    const start = this.#state.producer & (size - 1);
    const first = Math.min(count, size - start);
    this.#memory.copyIn(this.#page.address + data + start, bytes.subarray(0, first));
    this.#memory.copyIn(this.#page.address + data, bytes.subarray(first, count));
    this.#state.producer = (this.#state.producer + count) >>> 0;
    this.#memory.write32(this.#page.address + producer, this.#state.producer);
    return count;
  }

  reset(): void {
    this.#state.producer = 0;
    this.#memory.write32(this.#page.address + this.#layout.consumer, 0);
    this.#memory.write32(this.#page.address + this.#layout.producer, 0);
  }
}
