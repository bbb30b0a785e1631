/**
 * A split virtqueue, seen from the device (Virtual I/O Device specification 1.2, 2.7). The driver's half of it is
 * hostile: every index, address, length and chain is checked, and the first that cannot be makes the queue `broken`,
 * after which it is not looked at again until the device is reset.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import type { State, States } from '../../state/state.ts';

export const VIRTQUEUE_MAX_SIZE = 256;

const DESCRIPTOR_SIZE = 16;
const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
/** Set by the driver in the available ring: no interrupts wanted. */
const NO_INTERRUPT = 1;

/** A request: guest buffers, first those to read from, then those to write to. One object a queue, used again. */
export class Chain {
  /** The descriptor that the driver knows it by. */
  head = 0;
  /** Number of segments, and how many of them, from the first on, are for the device to read. */
  count = 0;
  readable = 0;
  /** Bytes in the readable and in the writable segments. */
  readableLength = 0;
  writableLength = 0;
  readonly address = new Float64Array(VIRTQUEUE_MAX_SIZE);
  readonly length = new Float64Array(VIRTQUEUE_MAX_SIZE);

  clear(head: number): void {
    this.head = head;
    this.count = this.readable = this.readableLength = this.writableLength = 0;
  }
}

const initial = (maximum: number) => ({
  /** What the driver sets before it enables the queue. Addresses are guest-physical. */
  size: maximum,
  descriptors: 0,
  available: 0,
  used: 0,
  enabled: false,
  /** Both ends tell how far they got, and are only woken beyond that (VIRTIO_F_EVENT_IDX, 2.7.10). */
  eventIndex: false,
  /** VIRTIO_F_INDIRECT_DESC was negotiated. */
  indirect: false,
  /** Why the queue cannot be used any more. */
  broken: undefined as string | undefined,
  /** Free-running 16-bit positions: next to take from the available ring, next to fill in the used ring. */
  availableIndex: 0,
  usedIndex: 0,
  /** Where the used ring stood when the driver was last interrupted. */
  signalled: 0,
});

export class VirtQueue {
  readonly state: State<ReturnType<typeof initial>>;
  readonly maximum: number;
  readonly #memory: GuestMemory;
  /** Filled by each `pop`. */
  readonly #chain = new Chain();

  /** @param maximum a power of two, at most `VIRTQUEUE_MAX_SIZE` */
  constructor(states: States, name: string, memory: GuestMemory, maximum: number) {
    this.state = states.state(name, 1, () => initial(maximum));
    this.#memory = memory;
    this.maximum = maximum;
  }

  reset(): void {
    this.state.initialise();
  }

  /** Why the queue cannot be used any more. The first reason stays. */
  get broken(): string | undefined {
    return this.state.broken;
  }

  set broken(reason: string) {
    this.state.broken ??= reason;
  }

  get enabled(): boolean {
    return this.state.enabled;
  }

  /** The driver has set the queue up: from now on size and places stand. */
  enable(): void {
    const { size } = this.state;
    if (size < 1 || size > this.maximum || size & (size - 1)) return this.#break(`size ${size}`);
    const inRam =
      this.#memory.has(this.state.descriptors, size * DESCRIPTOR_SIZE) &&
      this.#memory.has(this.state.available, 6 + 2 * size) &&
      this.#memory.has(this.state.used, 6 + 8 * size);
    if (!inRam) return this.#break('a ring outside RAM');
    if (this.state.descriptors % 16 || this.state.available % 2 || this.state.used % 4)
      return this.#break('a ring not aligned');
    this.state.enabled = true;
  }

  #break(reason: string): void {
    this.broken = reason;
  }

  /** Takes the next request, or undefined. The chain is good until the next call. */
  pop(): Chain | undefined {
    if (!this.state.enabled || this.broken !== undefined) return undefined;
    const memory = this.#memory;
    const waiting = (memory.read16(this.state.available + 2) - this.state.availableIndex) & 0xffff;
    if (waiting === 0) return undefined;
    if (waiting > this.state.size) {
      this.#break(`${waiting} requests in a ring of ${this.state.size}`);
      return undefined;
    }
    const head = memory.read16(this.state.available + 4 + 2 * (this.state.availableIndex & (this.state.size - 1)));
    this.state.availableIndex = (this.state.availableIndex + 1) & 0xffff;
    const chain = this.#chain;
    chain.clear(head);
    this.#follow(this.state.descriptors, this.state.size, head, false);
    if (this.broken !== undefined) return undefined;
    return chain;
  }

  /** Walks a chain through a descriptor table, or through the indirect table that stands for one. */
  #follow(table: number, tableSize: number, first: number, isIndirect: boolean): void {
    const memory = this.#memory;
    let index = first;
    // More links than the queue has descriptors means a loop, or a chain that the driver must not make (2.7.5.3.1).
    for (let links = 0; links < this.state.size; links++) {
      if (index >= tableSize) return this.#break(`descriptor ${index} of ${tableSize}`);
      const at = table + index * DESCRIPTOR_SIZE;
      const address = memory.read32(at) + memory.read32(at + 4) * 2 ** 32;
      const length = memory.read32(at + 8);
      const flags = memory.read16(at + 12);
      if (!memory.has(address, length)) return this.#break('a buffer outside RAM');
      if (flags & INDIRECT) {
        if (isIndirect || !this.state.indirect || flags & NEXT)
          return this.#break('an indirect table where none may be');
        if (length === 0 || length % DESCRIPTOR_SIZE) return this.#break(`an indirect table of ${length} bytes`);
        return this.#follow(address, length / DESCRIPTOR_SIZE, 0, true);
      }
      if (!this.#add(address, length, (flags & WRITE) !== 0)) return;
      if (!(flags & NEXT)) return;
      index = memory.read16(at + 14);
    }
    this.#break('a chain without end');
  }

  #add(address: number, length: number, writable: boolean): boolean {
    const chain = this.#chain;
    // A direct chain that ends in an indirect table may come to more than the queue's size together.
    if (chain.count === this.state.size) {
      this.#break('a chain longer than the queue');
      return false;
    }
    if (!writable && chain.count > chain.readable) {
      this.#break('a buffer to read behind one to write');
      return false;
    }
    chain.address[chain.count] = address;
    chain.length[chain.count] = length;
    chain.count++;
    if (writable) {
      chain.writableLength += length;
    } else {
      chain.readable++;
      chain.readableLength += length;
    }
    return true;
  }

  /** The last `count` requests taken are as if they had not been: there is no use for them yet. */
  unpop(count: number): void {
    this.state.availableIndex = (this.state.availableIndex - count) & 0xffff;
  }

  /** Gives a request back, `written` bytes of its writable part filled. */
  push(head: number, written: number): void {
    const at = this.state.used + 4 + 8 * (this.state.usedIndex & (this.state.size - 1));
    this.#memory.write32(at, head);
    this.#memory.write32(at + 4, written);
    this.state.usedIndex = (this.state.usedIndex + 1) & 0xffff;
    this.#memory.write16(this.state.used + 2, this.state.usedIndex);
  }

  /**
   * Called when `pop` has found nothing more: asks to be notified of the next request.
   * @returns true if the driver wants an interrupt for what has been pushed since the last time
   */
  settle(): boolean {
    if (!this.state.enabled || this.broken !== undefined) return false;
    const memory = this.#memory;
    if (this.state.eventIndex) memory.write16(this.state.used + 4 + 8 * this.state.size, this.state.availableIndex);
    const before = this.state.signalled;
    const pushed = (this.state.usedIndex - before) & 0xffff;
    if (pushed === 0) return false;
    this.state.signalled = this.state.usedIndex;
    if (!this.state.eventIndex) return !(memory.read16(this.state.available) & NO_INTERRUPT);
    const event = memory.read16(this.state.available + 4 + 2 * this.state.size);
    return ((event - before) & 0xffff) < pushed;
  }
}
