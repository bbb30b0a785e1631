/**
 * The rings of a folder for Xen guests (public/io/9pfs.h, ring.h: DEFINE_XEN_FLEX_RING): in each a page with indices and grant
 * references, and data pages, whose first half has bytes to the guest and whose second half bytes from it. Messages of 9P stand
 * in them one after the other. All that is in shared pages is the guest's word.
 */
import { HEADER_SIZE } from '../../folders/nine-p-messages.ts';
import { LARGEST_MESSAGE, NinePServer } from '../../folders/nine-p-server.ts';
import type { FileSystem } from '../../host/file-system.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { BackendHost, GrantedPage } from './backend.ts';

/** Linux wants two, and uses two. */
export const MAX_RINGS = 2;
/** 128 pages: messages of up to 128 KiB, Linux's default. */
export const MAX_RING_PAGE_ORDER = 7;

/** The page with the indices. */
const IN_CONS = 0;
const IN_PROD = 4;
const OUT_CONS = 64;
const OUT_PROD = 68;
const RING_ORDER = 128;
const REFERENCES = 132;

export interface RingOffer {
  reference: number;
  port: number;
}

interface RingState {
  page: GrantedPage;
  data: GrantedPage[];
  port: number;
  /** Our own indices: of bytes put in for the guest, and of bytes taken from it. */
  produced: number;
  consumed: number;
  /** Answers for which there was no room. */
  waiting: Uint8Array[];
  /** The front end broke the protocol: nothing more is taken from it. */
  broken: boolean;
}

export class NinePRings {
  readonly #host: BackendHost;
  readonly #name: string;
  readonly #server: NinePServer;
  readonly #state: State<{ rings: RingState[]; connections: number }>;

  constructor(host: BackendHost, files: FileSystem, name: string, now: () => bigint) {
    this.#host = host;
    this.#name = name;
    this.#server = new NinePServer(files, {
      now,
      onMistake: error => host.log.once(`${name}-mistake`, `xen ${name}: a mistake of ours: ${error}`),
    });
    this.#state = host.state(`${name}/rings`, 1, () => ({ rings: [], connections: 0 }));
  }

  /** Maps the rings' pages and binds their ports; false if the guest granted no such things. */
  connect(offers: readonly RingOffer[]): boolean {
    for (const offer of offers) {
      const ring = this.#map(offer);
      if (!ring || !this.#host.bind(offer.port, this.#name)) {
        if (ring) this.#unmap(ring);
        this.disconnect();
        return false;
      }
      this.#state.rings.push(ring);
    }
    this.#state.connections++;
    return true;
  }

  #map({ reference, port }: RingOffer): RingState | undefined {
    const page = this.#host.map(reference, true);
    if (!page) return undefined;
    const ring: RingState = { page, data: [], port, produced: 0, consumed: 0, waiting: [], broken: false };
    const order = this.#read(ring, RING_ORDER);
    for (let index = 0; order <= MAX_RING_PAGE_ORDER && index < 2 ** order; index++) {
      const data = this.#host.map(this.#read(ring, REFERENCES + 4 * index), true);
      if (data) ring.data.push(data);
    }
    // Less than two pages would have halves that a page is not.
    if (order >= 1 && ring.data.length === 2 ** order) return ring;
    this.#unmap(ring);
    return undefined;
  }

  #unmap({ page, data }: RingState): void {
    for (const granted of [page, ...data]) this.#host.unmap(granted);
  }

  /** Gives the guest its pages and its ports back. */
  disconnect(): void {
    this.#server.reset();
    for (const ring of this.#state.rings) {
      this.#host.unbind(ring.port, this.#name);
      this.#unmap(ring);
    }
    this.#state.rings = [];
  }

  /** The guest sent an event: it has put requests in, or made room for answers. */
  service(): void {
    for (const [index, ring] of this.#state.rings.entries()) {
      let told = this.#putWaiting(ring);
      // While answers wait, nothing more is taken: the guest decides how much of ours it occupies.
      while (!ring.broken && ring.waiting.length === 0) {
        const message = this.#take(ring);
        if (!message) break;
        const { connections } = this.#state;
        const atOnce: Uint8Array[] = [];
        const serving = { now: true };
        this.#server.request(message, this.#limit(ring), reply => {
          if (serving.now) atOnce.push(reply);
          else this.#answerLater(index, connections, reply);
        });
        serving.now = false;
        for (const reply of atOnce) this.#put(ring, reply);
        told = true;
      }
      if (told) this.#host.notify(ring.port, this.#name);
    }
  }

  #answerLater(index: number, connections: number, reply: Uint8Array): void {
    const ring = this.#state.rings[index];
    if (!ring || connections !== this.#state.connections) return;
    this.#put(ring, reply);
    this.#host.notify(ring.port, this.#name);
  }

  /** Bytes in a half. */
  #size(ring: RingState): number {
    return (ring.data.length * PAGE_SIZE) / 2;
  }

  /** The largest answer: what Linux allows itself is half of a half. */
  #limit(ring: RingState): number {
    return Math.min(LARGEST_MESSAGE, this.#size(ring));
  }

  // ---- From the guest --------------------------------------------------------------------------

  #take(ring: RingState): Uint8Array | undefined {
    const size = this.#size(ring);
    const count = (this.#read(ring, OUT_PROD) - ring.consumed) >>> 0;
    if (count > size) return this.#break(ring, 'an index out of range');
    if (count < HEADER_SIZE) return undefined;
    const header = this.#copyOut(ring, ring.consumed, HEADER_SIZE);
    const length = new DataView(header.buffer).getUint32(0, true);
    if (length < HEADER_SIZE || length > Math.min(size, LARGEST_MESSAGE))
      return this.#break(ring, `a message of ${length} bytes`);
    // The rest is on its way.
    if (length > count) return undefined;
    const message = this.#copyOut(ring, ring.consumed, length);
    // Whatever the page says by now, this is the message that was looked at.
    message.set(header);
    ring.consumed = (ring.consumed + length) >>> 0;
    this.#write(ring, OUT_CONS, ring.consumed);
    return message;
  }

  #break(ring: RingState, reason: string): undefined {
    ring.broken = true;
    this.#host.log.once(`${this.#name}-ring`, `xen ${this.#name}: ${reason}`);
  }

  // ---- To the guest ----------------------------------------------------------------------------

  #put(ring: RingState, reply: Uint8Array): void {
    if (ring.waiting.length > 0 || !this.#putNow(ring, reply)) ring.waiting.push(reply.slice());
  }

  /** @returns true if there is something new for the guest */
  #putWaiting(ring: RingState): boolean {
    let some = false;
    while (ring.waiting.length > 0 && this.#putNow(ring, ring.waiting[0])) {
      ring.waiting.shift();
      some = true;
    }
    return some;
  }

  #putNow(ring: RingState, reply: Uint8Array): boolean {
    if (ring.broken) return true;
    const size = this.#size(ring);
    const used = (ring.produced - this.#read(ring, IN_CONS)) >>> 0;
    if (used > size) {
      this.#break(ring, 'an index out of range');
      return true;
    }
    if (reply.length > size - used) return false;
    this.#pieces(ring, 0, ring.produced, reply.length, (address, length, done) =>
      this.#host.memory.copyIn(address, reply.subarray(done, done + length)),
    );
    ring.produced = (ring.produced + reply.length) >>> 0;
    this.#write(ring, IN_PROD, ring.produced);
    return true;
  }

  // ---- Memory ----------------------------------------------------------------------------------

  #copyOut(ring: RingState, index: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.#pieces(ring, this.#size(ring), index, length, (address, count, done) =>
      bytes.set(this.#host.memory.copyOut(address, count), done),
    );
    return bytes;
  }

  /** Pieces of a half, which begins at `base` in the data pages: they end at pages, and the half goes round. */
  #pieces(
    ring: RingState,
    base: number,
    index: number,
    length: number,
    each: (address: number, length: number, done: number) => void,
  ): void {
    const size = this.#size(ring);
    for (let done = 0; done < length; ) {
      const at = base + ((index + done) % size);
      const within = at % PAGE_SIZE;
      const piece = Math.min(length - done, PAGE_SIZE - within);
      each(ring.data[Math.floor(at / PAGE_SIZE)].address + within, piece, done);
      done += piece;
    }
  }

  #read(ring: RingState, offset: number): number {
    return this.#host.memory.read32(ring.page.address + offset);
  }

  #write(ring: RingState, offset: number, value: number): void {
    this.#host.memory.write32(ring.page.address + offset, value);
  }
}
