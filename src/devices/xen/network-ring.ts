/**
 * The two rings of one queue of a Xen network interface (public/io/netif.h, ring.h). All that is in them is the guest's word: a slot is
 * copied out once and then checked, and a front end that breaks the protocol is not listened to any more.
 */
import type { Network, Offload } from '../../host/network.ts';
import { complete, FrameQueue, sendTo } from '../../net/offload.ts';
import { ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_TCP, PROTOCOL_UDP, word } from '../../net/packet.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { BackendHost, GrantedPage } from './backend.ts';
import {
  MOST_EXTRAS,
  MOST_SLOTS,
  NETIF_RSP_ERROR,
  NETIF_RSP_NULL,
  NETIF_RSP_OKAY,
  NETRXF_CSUM_BLANK,
  NETRXF_DATA_VALIDATED,
  NETRXF_EXTRA_INFO,
  NETRXF_MORE_DATA,
  NETTXF_CSUM_BLANK,
  NETTXF_EXTRA_INFO,
  NETTXF_MORE_DATA,
  RX_SLOT,
  RX_SLOTS,
  TX_SLOT,
  TX_SLOTS,
  XEN_NETIF_EXTRA_FLAG_MORE,
  XEN_NETIF_EXTRA_TYPE_GSO,
  XEN_NETIF_GSO_TYPE_TCPV4,
  XEN_NETIF_GSO_TYPE_TCPV6,
} from './network-protocol.ts';
import { REQ_EVENT, REQ_PROD, RING_HEADER, RSP_EVENT, RSP_PROD } from './ring-protocol.ts';

const MTU_FRAME = 1514;
const LARGEST_FRAME = 65535;
/** Bytes that wait for a front end without room. */
const WAITING_BYTES = 2 ** 22;

/** What the front end takes undone, and whether in more than one page. */
export interface Takes {
  pieces: boolean;
  checksum4: boolean;
  checksum6: boolean;
  segments4: boolean;
  segments6: boolean;
}

interface RingState {
  /** The page of each ring; undefined while no front end is connected. */
  tx: GrantedPage | undefined;
  rx: GrantedPage | undefined;
  port: number;
  /** Our own indices: of the next request to take and of the next response to put are the same. */
  txNext: number;
  rxNext: number;
  takes: Takes;
  /** The front end broke the protocol: nothing more is taken from it. */
  broken: boolean;
}

/** A piece of a packet in one request to transmit. */
interface Piece {
  readonly reference: number;
  readonly offset: number;
  readonly flags: number;
  readonly id: number;
  size: number;
}

export class NetworkRing {
  readonly #host: BackendHost;
  readonly #network: Network;
  /** The back end's name, to which the port is bound. */
  readonly #name: string;
  readonly #waiting = new FrameQueue(WAITING_BYTES);
  readonly #state: State<RingState>;

  /** @param name of the back end @param index which of its queues it is */
  constructor(host: BackendHost, network: Network, name: string, index: number) {
    this.#host = host;
    this.#network = network;
    this.#name = name;
    this.#state = host.state(index === 0 ? `${name}/rings` : `${name}/rings/${index}`, 1, () => ({
      tx: undefined,
      rx: undefined,
      port: 0,
      txNext: 0,
      rxNext: 0,
      takes: { pieces: false, checksum4: false, checksum6: false, segments4: false, segments6: false },
      broken: false,
    }));
  }

  /** Maps the rings and binds `port`; false if the guest granted no such things. */
  connect(txReference: number, rxReference: number, port: number, takes: Takes): boolean {
    const tx = this.#host.map(txReference, true);
    const rx = this.#host.map(rxReference, true);
    if (!tx || !rx || !this.#host.bind(port, this.#name)) {
      for (const page of [tx, rx]) if (page) this.#host.unmap(page);
      return false;
    }
    Object.assign(this.#state, { tx, rx, port, txNext: 0, rxNext: 0, takes, broken: false } satisfies RingState);
    this.#waiting.clear();
    return true;
  }

  /** Gives the guest its pages and its port back. */
  disconnect(): void {
    const { tx, rx, port } = this.#state;
    if (!tx || !rx) return;
    this.#host.unbind(port, this.#name);
    this.#host.unmap(tx);
    this.#host.unmap(rx);
    this.#waiting.clear();
    this.#state.initialise();
  }

  /** The guest sent an event: it has put something into a ring, or made room in one. */
  service(): void {
    if (!this.#state.tx || this.#state.broken) return;
    const notifyTx = this.#transmit();
    const notifyRx = this.#deliver();
    if (notifyTx || notifyRx) this.#host.notify(this.#state.port, this.#name);
  }

  #break(what: string): void {
    this.#state.broken = true;
    this.#host.log.once(`net-ring-${this.#name}`, `xen network ${this.#network.name}: ${what}; it is cut off`);
  }

  // ---- Out of the guest ------------------------------------------------------------------------

  /** @returns true if the front end wants to know what has been answered */
  #transmit(): boolean {
    const state = this.#state;
    const page = state.tx!.address;
    const before = state.txNext;
    // What is sent may be answered into the ring itself and so make more of it: that must not go on for ever.
    for (let pass = 0; pass < 2 && !state.broken; pass++) {
      const end = this.#read(page, REQ_PROD);
      const count = (end - state.txNext) >>> 0;
      if (count > TX_SLOTS) {
        this.#break('a ring index out of range');
        break;
      }
      if (count === 0) break;
      while (state.txNext !== end && !state.broken) this.#takePacket(end);
      this.#write(page, REQ_EVENT, (state.txNext + 1) >>> 0);
    }
    return this.#publish(page, before, state.txNext);
  }

  /** Takes one packet, in as many slots as it has, and answers them. */
  #takePacket(end: number): void {
    const first = this.#takeSlot();
    const extras = first.flags & NETTXF_EXTRA_INFO ? this.#takeExtras(end) : { count: 0, segment: 0 };
    if (!extras) return;
    const pieces = [first];
    for (let last = first; last.flags & NETTXF_MORE_DATA; last = pieces.at(-1)!) {
      if (this.#state.txNext === end || pieces.length === MOST_SLOTS) return this.#break('a packet without end');
      const piece = this.#takeSlot();
      pieces.push(piece);
      // The first slot's size is the whole packet's.
      first.size -= piece.size;
    }
    if (pieces.some(({ offset, size }) => size <= 0 || offset + size > PAGE_SIZE))
      return this.#break('a piece of a packet outside of its page');
    const sent = this.#send(pieces, extras.segment);
    const answers = (this.#state.txNext - pieces.length - extras.count) >>> 0;
    const status = sent ? NETIF_RSP_OKAY : NETIF_RSP_ERROR;
    this.#answer(answers, first.id, status);
    for (let at = 0; at < extras.count; at++) this.#answer(answers + 1 + at, 0, NETIF_RSP_NULL);
    for (const [at, { id }] of pieces.entries()) if (at > 0) this.#answer(answers + extras.count + at, id, status);
  }

  #takeSlot(): Piece {
    const slot = new DataView(this.#slot(this.#state.tx!.address, this.#state.txNext, TX_SLOT, TX_SLOTS).buffer);
    this.#state.txNext = (this.#state.txNext + 1) >>> 0;
    return {
      reference: slot.getUint32(0, true),
      offset: slot.getUint16(4, true),
      flags: slot.getUint16(6, true),
      id: slot.getUint16(8, true),
      size: slot.getUint16(10, true),
    };
  }

  /** @returns undefined if they are none */
  #takeExtras(end: number): { count: number; segment: number } | undefined {
    let segment = 0;
    for (let count = 1; count <= MOST_EXTRAS && this.#state.txNext !== end; count++) {
      const extra = this.#slot(this.#state.tx!.address, this.#state.txNext, TX_SLOT, TX_SLOTS);
      this.#state.txNext = (this.#state.txNext + 1) >>> 0;
      if (extra[0] === XEN_NETIF_EXTRA_TYPE_GSO) segment = extra[2] | (extra[3] << 8);
      if (!(extra[1] & XEN_NETIF_EXTRA_FLAG_MORE)) return { count, segment };
    }
    this.#break('extra infos without end');
    return undefined;
  }

  #answer(index: number, id: number, status: number): void {
    const { memory } = this.#host;
    const at = this.#state.tx!.address + RING_HEADER + (index & (TX_SLOTS - 1)) * TX_SLOT;
    memory.write16(at, id);
    memory.write16(at + 2, status & 0xffff);
  }

  /** @returns false if a page was not granted; a frame that makes no sense is lost, as on a wire */
  #send(pieces: readonly Piece[], segment: number): boolean {
    const { memory } = this.#host;
    const frame = new Uint8Array(pieces.reduce((length, { size }) => length + size, 0));
    let at = 0;
    for (const { reference, offset, size } of pieces) {
      const page = this.#host.map(reference, false);
      if (!page) return false;
      frame.set(memory.bytes.subarray(page.address + offset, page.address + offset + size), at);
      this.#host.unmap(page);
      at += size;
    }
    if (frame.length < ETHERNET_HEADER || (segment === 0 && frame.length > MTU_FRAME)) return true;
    if (!(pieces[0].flags & NETTXF_CSUM_BLANK) && segment === 0) {
      this.#network.send(frame);
      return true;
    }
    const place = checksumPlace(frame);
    if (place) sendTo(this.#network, frame, { ...place, segment });
    return true;
  }

  // ---- Into the guest --------------------------------------------------------------------------

  /** A frame for the guest. */
  receive(frame: Uint8Array, offload: Offload | undefined): void {
    const { rx, broken } = this.#state;
    if (!rx || broken) return;
    if (this.#takes(frame, offload)) this.#waiting.put(frame, offload);
    else for (const each of complete(frame, offload)) this.#waiting.put(each);
    if (this.#deliver()) this.#host.notify(this.#state.port, this.#name);
  }

  #takes(frame: Uint8Array, offload: Offload | undefined): boolean {
    if (!offload) return true;
    const { pieces, checksum4, checksum6, segments4, segments6 } = this.#state.takes;
    const v6 = word(frame, 12) === ETHERTYPE_IPV6;
    if (!(v6 ? checksum6 : checksum4)) return false;
    return offload.segment === 0 || (pieces && (v6 ? segments6 : segments4));
  }

  /** Hands over what waits, as far as there is room. @returns true if the front end wants to know */
  #deliver(): boolean {
    const state = this.#state;
    if (!state.rx || state.broken) return false;
    const page = state.rx.address;
    const before = state.rxNext;
    for (let next = this.#waiting.first; next; next = this.#waiting.first) {
      const { bytes, offload } = next;
      const pages = Math.ceil(bytes.length / PAGE_SIZE);
      const needed = pages + (offload?.segment ? 1 : 0);
      if (bytes.length > LARGEST_FRAME || needed > MOST_SLOTS) {
        this.#waiting.shift();
        continue;
      }
      if (this.#room(page) < needed) {
        // Asks to be told when there is more, and looks again, for that may have been in between.
        this.#write(page, REQ_EVENT, (this.#read(page, REQ_PROD) + 1) >>> 0);
        if (this.#room(page) < needed || state.broken) break;
      }
      this.#put(page, bytes, offload);
      this.#waiting.shift();
    }
    return this.#publish(page, before, state.rxNext);
  }

  #room(page: number): number {
    const count = (this.#read(page, REQ_PROD) - this.#state.rxNext) >>> 0;
    if (count <= RX_SLOTS) return count;
    this.#break('a ring index out of range');
    return 0;
  }

  /** One frame into as many pages of the front end's as it takes. Response n answers request n. */
  #put(page: number, frame: Uint8Array, offload: Offload | undefined): void {
    const { memory } = this.#host;
    for (let done = 0; done < frame.length; done += PAGE_SIZE) {
      const length = Math.min(PAGE_SIZE, frame.length - done);
      // What is checked is what is used: each field is read once.
      const request = this.#rxSlot(page);
      const [id, reference] = [memory.read16(request), memory.read32(request + 4)];
      const granted = this.#host.map(reference, true);
      if (granted) {
        memory.copyIn(granted.address, frame.subarray(done, done + length));
        this.#host.unmap(granted);
      }
      const isFirst = done === 0;
      const flags =
        (isFirst && offload ? NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED : 0) |
        (isFirst && offload?.segment ? NETRXF_EXTRA_INFO : 0) |
        (done + length < frame.length ? NETRXF_MORE_DATA : 0);
      this.#putResponse(page, id, flags, granted ? length : NETIF_RSP_ERROR);
      if (isFirst && offload?.segment) this.#putGsoInfo(page, frame, offload.segment);
    }
  }

  /** @param status the length, or an error's number */
  #putResponse(page: number, id: number, flags: number, status: number): void {
    const { memory } = this.#host;
    const at = this.#rxSlot(page);
    memory.write32(at, id);
    memory.write16(at + 4, flags);
    memory.write16(at + 6, status & 0xffff);
    this.#state.rxNext = (this.#state.rxNext + 1) >>> 0;
  }

  #putGsoInfo(page: number, frame: Uint8Array, segment: number): void {
    const { memory } = this.#host;
    const at = this.#rxSlot(page);
    const type = word(frame, 12) === ETHERTYPE_IPV6 ? XEN_NETIF_GSO_TYPE_TCPV6 : XEN_NETIF_GSO_TYPE_TCPV4;
    memory.write16(at, XEN_NETIF_EXTRA_TYPE_GSO);
    memory.write16(at + 2, segment);
    memory.write32(at + 4, type);
    this.#state.rxNext = (this.#state.rxNext + 1) >>> 0;
  }

  /** Where the next request to receive is, and its response will be. */
  #rxSlot(page: number): number {
    return page + RING_HEADER + (this.#state.rxNext & (RX_SLOTS - 1)) * RX_SLOT;
  }

  // ---- Rings -----------------------------------------------------------------------------------

  /** A copy: what is checked is what is used. */
  #slot(page: number, index: number, size: number, slots: number): Uint8Array {
    return this.#host.memory.copyOut(page + RING_HEADER + (index & (slots - 1)) * size, size);
  }

  /** Shows the responses from `before` to `after`. @returns true if the front end has asked to be told of one of them */
  #publish(page: number, before: number, after: number): boolean {
    const count = (after - before) >>> 0;
    if (count === 0) return false;
    this.#write(page, RSP_PROD, after);
    return (after - this.#read(page, RSP_EVENT)) >>> 0 < count;
  }

  #read(page: number, offset: number): number {
    return this.#host.memory.read32(page + offset);
  }

  #write(page: number, offset: number, value: number): void {
    this.#host.memory.write32(page + offset, value);
  }
}

/** Where a TCP or UDP checksum that was left undone is: netif does not say. Undefined for other packets. */
function checksumPlace(frame: Uint8Array): { start: number; at: number } | undefined {
  const v4 = word(frame, 12) === ETHERTYPE_IPV4;
  if (!v4 && word(frame, 12) !== ETHERTYPE_IPV6) return undefined;
  const header = v4 ? ((frame[ETHERNET_HEADER] ?? 0) & 15) * 4 : 40;
  const protocol = frame[ETHERNET_HEADER + (v4 ? 9 : 6)];
  const start = ETHERNET_HEADER + header;
  const at = start + (protocol === PROTOCOL_TCP ? 16 : 6);
  const isKnown = protocol === PROTOCOL_TCP || protocol === PROTOCOL_UDP;
  return isKnown && header >= 20 && at + 2 <= frame.length ? { start, at } : undefined;
}
