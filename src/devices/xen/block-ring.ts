/**
 * The ring of a Xen block device: takes requests from the shared pages, does them on the host's disk, puts answers back
 * (public/io/blkif.h, ring.h). All that is in the ring is the guest's word: a slot is copied out once and then checked.
 */
import type { Disk } from '../../host/disk.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { BackendHost, GrantedPage } from './backend.ts';
import {
  BLKIF_DISCARD_SECURE,
  BLKIF_MAX_SEGMENTS_PER_REQUEST,
  BLKIF_OP_DISCARD,
  BLKIF_OP_FLUSH_DISKCACHE,
  BLKIF_OP_INDIRECT,
  BLKIF_OP_READ,
  BLKIF_OP_WRITE,
  BLKIF_OP_WRITE_BARRIER,
  BLKIF_RSP_EOPNOTSUPP,
  BLKIF_RSP_ERROR,
  BLKIF_RSP_OKAY,
  type BlockLayout,
  DEFAULT_PROTOCOL,
  MAX_INDIRECT_SEGMENTS,
  protocols,
  SECTOR_SIZE,
  SECTORS_PER_PAGE,
  SEGMENT_SIZE,
  SEGMENTS_PER_INDIRECT_PAGE,
} from './block-protocol.ts';
import { REQ_EVENT, REQ_PROD, RING_HEADER, RSP_EVENT, RSP_PROD } from './ring-protocol.ts';

/** The grants that stay mapped, at most, as in Linux's blkback. */
const MOST_KEPT = 1056;

/** A piece of guest memory that a request reads or fills. */
interface Run {
  address: number;
  length: number;
}

interface RingState {
  /** The ring's pages, in order. Empty while no front end is connected. */
  pages: GrantedPage[];
  port: number;
  /** The front end uses the same grants again and again. */
  persistent: boolean;
  /** Its pages that stay mapped until it disconnects, by reference. */
  kept: Map<number, GrantedPage>;
  /** How the front end lays slots out: a key of `protocols`. */
  protocol: string;
  /** Our own index: of the next request to take and of the next response to put. */
  next: number;
  /** The front end broke the protocol: nothing more is taken from it. */
  broken: boolean;
}

export class BlockRing {
  readonly #host: BackendHost;
  readonly #disk: Disk;
  /** The back end's name, to which the port is bound. */
  readonly #name: string;
  readonly #state: State<RingState>;
  /** Data on its way between the disk and pages that are no neighbours: one call to the host costs less than one for each page. */
  readonly #bounce = new Uint8Array(MAX_INDIRECT_SEGMENTS * PAGE_SIZE);

  constructor(host: BackendHost, disk: Disk, name: string) {
    this.#host = host;
    this.#disk = disk;
    this.#name = name;
    this.#state = host.state(`${name}/ring`, 2, () => ({
      pages: [],
      port: 0,
      persistent: false,
      kept: new Map(),
      protocol: DEFAULT_PROTOCOL,
      next: 0,
      broken: false,
    }));
  }

  /** Maps `references` (the ring's pages) and binds `port`; false if the guest granted no such things. */
  connect(protocol: string, references: readonly number[], port: number, persistent: boolean): boolean {
    if (!protocols.has(protocol)) return false;
    const pages: GrantedPage[] = [];
    for (const reference of references) {
      const page = this.#host.map(reference, true);
      if (page) pages.push(page);
    }
    if (pages.length !== references.length || !this.#host.bind(port, this.#name)) {
      for (const page of pages) this.#host.unmap(page);
      return false;
    }
    Object.assign(this.#state, {
      pages,
      port,
      persistent,
      kept: new Map(),
      protocol,
      next: 0,
      broken: false,
    } satisfies RingState);
    return true;
  }

  /** Gives the guest its pages and its port back. */
  disconnect(): void {
    if (!this.#connected) return;
    this.#host.unbind(this.#state.port, this.#name);
    for (const page of [...this.#state.pages, ...this.#state.kept.values()]) this.#host.unmap(page);
    this.#state.initialise();
  }

  get #connected(): boolean {
    return this.#state.pages.length > 0;
  }

  get #layout(): BlockLayout {
    return protocols.get(this.#state.protocol)!;
  }

  /** Slots: a power of two. */
  get #slots(): number {
    const room = this.#state.pages.length * PAGE_SIZE - RING_HEADER;
    return 2 ** Math.floor(Math.log2(Math.floor(room / this.#layout.slot)));
  }

  /** The guest sent an event: takes what requests there are. */
  service(): void {
    const state = this.#state;
    // A request may read the disk into the ring itself, and so make more of them: that must not go on for ever.
    for (let pass = 0; pass < 2 && this.#connected && !state.broken; pass++) {
      const count = (this.#index(REQ_PROD) - state.next) >>> 0;
      if (count > this.#slots) {
        state.broken = true;
        this.#host.log.once(`blk-ring-${this.#disk.name}`, `xen block ${this.#disk.name}: a ring index out of range`);
        return;
      }
      if (count === 0) break;
      for (let done = 0; done < count; done++) {
        const request = this.#readSlot(state.next);
        const status = this.#perform(request);
        this.#respond(state.next, request, status);
        state.next = (state.next + 1) >>> 0;
      }
      this.#publish(count);
      this.#setIndex(REQ_EVENT, (state.next + 1) >>> 0);
    }
  }

  /** Shows the guest `count` responses, and tells it if it has asked to be told of one of them. */
  #publish(count: number): void {
    this.#setIndex(RSP_PROD, this.#state.next);
    const sinceEvent = (this.#state.next - this.#index(RSP_EVENT)) >>> 0;
    if (sinceEvent < count) this.#host.notify(this.#state.port, this.#name);
  }

  #perform(request: DataView): number {
    const operation = request.getUint8(0);
    try {
      switch (operation) {
        case BLKIF_OP_READ:
        case BLKIF_OP_WRITE:
        case BLKIF_OP_WRITE_BARRIER:
        case BLKIF_OP_FLUSH_DISKCACHE:
          return this.#transfer(operation, request, this.#directSegments(request));
        case BLKIF_OP_INDIRECT: {
          const real = request.getUint8(1);
          if (real !== BLKIF_OP_READ && real !== BLKIF_OP_WRITE) return BLKIF_RSP_ERROR;
          return this.#transfer(real, request, this.#indirectSegments(request));
        }
        case BLKIF_OP_DISCARD:
          return this.#discard(request);
        default:
          return BLKIF_RSP_EOPNOTSUPP;
      }
    } catch (error) {
      // The host's disk failed: the guest sees an I/O error, as of any disk.
      const reason = error instanceof Error ? error.message : String(error);
      this.#host.log.once(`blk-${this.#disk.name}-${reason}`, `xen block ${this.#disk.name}: ${reason}`);
      return BLKIF_RSP_ERROR;
    }
  }

  /** Descriptors within the request; undefined if it claims too many. */
  #directSegments(request: DataView): DataView | undefined {
    const count = request.getUint8(1);
    if (count > BLKIF_MAX_SEGMENTS_PER_REQUEST) return undefined;
    return new DataView(request.buffer, this.#layout.segments, count * SEGMENT_SIZE);
  }

  /** Descriptors in pages of their own. */
  #indirectSegments(request: DataView): DataView | undefined {
    const count = request.getUint16(2, true);
    if (count > MAX_INDIRECT_SEGMENTS) return undefined;
    const descriptors = new Uint8Array(count * SEGMENT_SIZE);
    for (let page = 0; page * SEGMENTS_PER_INDIRECT_PAGE < count; page++) {
      const used: GrantedPage[] = [];
      const granted = this.#page(request.getUint32(this.#layout.indirectGrefs + page * 4, true), false, used);
      if (!granted) return undefined;
      const start = page * PAGE_SIZE;
      const length = Math.min(PAGE_SIZE, descriptors.length - start);
      descriptors.set(this.#host.memory.copyOut(granted.address, length), start);
      for (const each of used) this.#host.unmap(each);
    }
    return new DataView(descriptors.buffer);
  }

  #transfer(operation: number, request: DataView, segments: DataView | undefined): number {
    const writing = operation !== BLKIF_OP_READ;
    if (!segments || (writing && this.#disk.readOnly)) return BLKIF_RSP_ERROR;
    if (segments.byteLength === 0 && operation !== BLKIF_OP_FLUSH_DISKCACHE) return BLKIF_RSP_ERROR;
    const granted: GrantedPage[] = [];
    try {
      // Reading the disk is writing to the guest's page.
      const runs = this.#mapSegments(segments, !writing, granted);
      if (!runs) return BLKIF_RSP_ERROR;
      const length = runs.reduce((sum, run) => sum + run.length, 0);
      const offset = this.#offset(request.getBigUint64(this.#layout.sector, true), length, runs.length === 0);
      if (offset === undefined) return BLKIF_RSP_ERROR;
      // What was written before is stable before this is.
      if (operation === BLKIF_OP_WRITE_BARRIER || operation === BLKIF_OP_FLUSH_DISKCACHE) this.#disk.flush();
      if (writing) this.#write(offset, length, runs);
      else this.#read(offset, length, runs);
      // And this before what comes after.
      if (operation === BLKIF_OP_WRITE_BARRIER) this.#disk.flush();
      return BLKIF_RSP_OKAY;
    } finally {
      for (const page of granted) this.#host.unmap(page);
    }
  }

  /** Maps the pages of all segments; neighbours in memory become one run. Undefined if any segment is bad. */
  #mapSegments(segments: DataView, write: boolean, granted: GrantedPage[]): Run[] | undefined {
    const runs: Run[] = [];
    for (let at = 0; at < segments.byteLength; at += SEGMENT_SIZE) {
      const first = segments.getUint8(at + 4);
      const last = segments.getUint8(at + 5);
      if (first > last || last >= SECTORS_PER_PAGE) return undefined;
      const page = this.#page(segments.getUint32(at, true), write, granted);
      if (!page) return undefined;
      const address = page.address + first * SECTOR_SIZE;
      const length = (last - first + 1) * SECTOR_SIZE;
      const previous = runs.at(-1);
      if (previous && previous.address + previous.length === address) previous.length += length;
      else runs.push({ address, length });
    }
    return runs;
  }

  /** A page for one request, which is then in `granted`, or one that stays mapped. */
  #page(reference: number, write: boolean, granted: GrantedPage[]): GrantedPage | undefined {
    const { persistent, kept } = this.#state;
    const known = kept.get(reference);
    if (known) return known;
    const lasting = persistent && kept.size < MOST_KEPT ? this.#host.map(reference, true) : undefined;
    if (lasting) {
      kept.set(reference, lasting);
      return lasting;
    }
    const page = this.#host.map(reference, write);
    if (page) granted.push(page);
    return page;
  }

  /** Byte offset of a sector, if `length` bytes from there are on the disk. A flush without data may name any. */
  #offset(sector: bigint, length: number, empty = false): number | undefined {
    if (empty) return 0;
    if (sector > BigInt(this.#disk.size / SECTOR_SIZE)) return undefined;
    const offset = Number(sector) * SECTOR_SIZE;
    return offset + length <= this.#disk.size ? offset : undefined;
  }

  #read(offset: number, length: number, runs: readonly Run[]): void {
    const { memory } = this.#host;
    if (runs.length === 1) this.#disk.read(offset, memory.bytes.subarray(runs[0]!.address, runs[0]!.address + length));
    else {
      const bounce = this.#bounce.subarray(0, length);
      this.#disk.read(offset, bounce);
      let at = 0;
      for (const run of runs) {
        memory.bytes.set(bounce.subarray(at, at + run.length), run.address);
        at += run.length;
      }
    }
    for (const run of runs) memory.onWrite(run.address, run.length);
  }

  #write(offset: number, length: number, runs: readonly Run[]): void {
    const { memory } = this.#host;
    if (runs.length === 0) return;
    if (runs.length === 1) {
      this.#disk.write(offset, memory.bytes.subarray(runs[0]!.address, runs[0]!.address + length));
      return;
    }
    const bounce = this.#bounce.subarray(0, length);
    let at = 0;
    for (const run of runs) {
      bounce.set(memory.bytes.subarray(run.address, run.address + run.length), at);
      at += run.length;
    }
    this.#disk.write(offset, bounce);
  }

  #discard(request: DataView): number {
    if (this.#disk.readOnly) return BLKIF_RSP_ERROR;
    if (request.getUint8(1) & BLKIF_DISCARD_SECURE) return BLKIF_RSP_EOPNOTSUPP;
    const sectors = request.getBigUint64(this.#layout.sectors, true);
    if (sectors > BigInt(this.#disk.size / SECTOR_SIZE)) return BLKIF_RSP_ERROR;
    const length = Number(sectors) * SECTOR_SIZE;
    const offset = this.#offset(request.getBigUint64(this.#layout.sector, true), length);
    if (offset === undefined) return BLKIF_RSP_ERROR;
    if (length > 0) this.#disk.discard(offset, length);
    return BLKIF_RSP_OKAY;
  }

  /** The response goes over the request it answers: id u64, operation u8, status s16. */
  #respond(index: number, request: DataView, status: number): void {
    const response = new DataView(new ArrayBuffer(12));
    response.setBigUint64(0, request.getBigUint64(this.#layout.id, true), true);
    // An indirect request is answered as what it really was: Linux (blkfront) gives the disk up otherwise.
    response.setUint8(8, request.getUint8(request.getUint8(0) === BLKIF_OP_INDIRECT ? 1 : 0));
    response.setInt16(10, status, true);
    const start = this.#slotOffset(index);
    this.#pieces(start, response.byteLength, (address, length, done) =>
      this.#host.memory.copyIn(address, new Uint8Array(response.buffer, done, length)),
    );
  }

  #readSlot(index: number): DataView {
    const slot = new Uint8Array(this.#layout.slot);
    this.#pieces(this.#slotOffset(index), slot.length, (address, length, done) =>
      slot.set(this.#host.memory.copyOut(address, length), done),
    );
    return new DataView(slot.buffer);
  }

  #slotOffset(index: number): number {
    return RING_HEADER + (index & (this.#slots - 1)) * this.#layout.slot;
  }

  /** The ring's pages are not neighbours: a slot may lie in two. */
  #pieces(start: number, length: number, each: (address: number, length: number, done: number) => void): void {
    for (let done = 0; done < length; ) {
      const offset = start + done;
      const within = offset % PAGE_SIZE;
      const piece = Math.min(length - done, PAGE_SIZE - within);
      each(this.#state.pages[Math.floor(offset / PAGE_SIZE)]!.address + within, piece, done);
      done += piece;
    }
  }

  #index(offset: number): number {
    return this.#host.memory.read32(this.#state.pages[0]!.address + offset);
  }

  #setIndex(offset: number, value: number): void {
    this.#host.memory.write32(this.#state.pages[0]!.address + offset, value);
  }
}
