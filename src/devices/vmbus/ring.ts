/**
 * A ring of packets in the guest's memory (Linux drivers/hv/ring_buffer.c, include/linux/hyperv.h struct
 * hv_ring_buffer): a header page, then data. Indices are byte offsets into the data; equal ones mean that it is empty. Each
 * packet is followed by eight bytes that say where it began, and may go over the end.
 */
import { PAGE_SIZE } from '../../x86/paging.ts';
import { DESCRIPTOR_SIZE, type Packet, packetBytes, parsePacket, type Sent, UNIT, viewOf } from './packet.ts';
import type { PagedBuffer } from './paged-buffer.ts';

/** Offsets in the header page. */
const WRITE_INDEX = 0;
const READ_INDEX = 4;
const INTERRUPT_MASK = 8;
const PENDING_SEND_SIZE = 12;

export const TRAILER_SIZE = 8;

/** The writer or the reader of a ring has put nonsense into it: nothing more can be had from it. */
export class BrokenRing extends Error {}

export class Ring {
  readonly #buffer: PagedBuffer;
  /** Bytes of data. */
  readonly #size: number;

  /** @param buffer the header page and at least one of data */
  constructor(buffer: PagedBuffer) {
    this.#buffer = buffer;
    this.#size = buffer.length - PAGE_SIZE;
  }

  /** The reader wants no interrupts. */
  get masked(): boolean {
    return this.#buffer.read32(INTERRUPT_MASK) !== 0;
  }

  /** Bytes of room that the writer waits for; 0 where it does not wait. */
  get pendingSendSize(): number {
    return this.#buffer.read32(PENDING_SEND_SIZE);
  }

  set pendingSendSize(size: number) {
    this.#buffer.write32(PENDING_SEND_SIZE, size);
  }

  /** Bytes that can be written. A ring is never filled to the last. @throws BrokenRing */
  get free(): number {
    return this.#size - this.#used - 1;
  }

  /** Takes the oldest packet; undefined where there is none. @throws BrokenRing */
  read(): Packet | undefined {
    const available = this.#used;
    if (available === 0) return undefined;
    const at = this.#index(READ_INDEX);
    const length = viewOf(this.#copyOut(at, UNIT)).getUint16(4, true) * UNIT;
    if (length < DESCRIPTOR_SIZE || length + TRAILER_SIZE > available)
      throw new BrokenRing(`a packet of ${length} bytes where there are ${available}`);
    const packet = parsePacket(this.#copyOut(at, length));
    if (!packet) throw new BrokenRing('a packet whose body begins outside of it');
    this.#buffer.write32(READ_INDEX, (at + length + TRAILER_SIZE) % this.#size);
    return packet;
  }

  /** @returns false if there is no room. @throws BrokenRing */
  write(packet: Sent): boolean {
    const bytes = packetBytes(packet);
    if (bytes.length + TRAILER_SIZE > this.free) return false;
    const at = this.#index(WRITE_INDEX);
    this.#copyIn(at, bytes);
    const trailer = new Uint8Array(TRAILER_SIZE);
    viewOf(trailer).setUint32(4, at, true);
    this.#copyIn((at + bytes.length) % this.#size, trailer);
    this.#buffer.write32(WRITE_INDEX, (at + bytes.length + TRAILER_SIZE) % this.#size);
    return true;
  }

  get #used(): number {
    const used = this.#index(WRITE_INDEX) - this.#index(READ_INDEX);
    return used < 0 ? used + this.#size : used;
  }

  #index(at: number): number {
    const index = this.#buffer.read32(at);
    if (index >= this.#size || index % UNIT !== 0)
      throw new BrokenRing(`an index of ${index} in a ring of ${this.#size} bytes`);
    return index;
  }

  #copyOut(at: number, length: number): Uint8Array {
    const first = Math.min(length, this.#size - at);
    const bytes = this.#buffer.copyOut(PAGE_SIZE + at, first);
    if (first === length) return bytes;
    const whole = new Uint8Array(length);
    whole.set(bytes);
    whole.set(this.#buffer.copyOut(PAGE_SIZE, length - first), first);
    return whole;
  }

  #copyIn(at: number, data: Uint8Array): void {
    const first = Math.min(data.length, this.#size - at);
    this.#buffer.copyIn(PAGE_SIZE + at, data.subarray(0, first));
    if (first < data.length) this.#buffer.copyIn(PAGE_SIZE, data.subarray(first));
  }
}
