/**
 * Hyper-V's dynamic memory: the host's side of Linux drivers/hv/hv_balloon.c. The guest hands over pages that it can spare when
 * the host asks for them, and gets them back; memory is never added. What is handed over is cleared, so that a snapshot does
 * without it.
 */
import type { State } from '../../state/state.ts';
import type { Offer, VmbusChannel, VmbusDevice, VmbusHost } from './channel.ts';
import { instanceGuid } from './guid.ts';
import { DESCRIPTOR_SIZE, VM_PKT_DATA_INBAND, viewOf } from './packet.ts';

/** enum dm_message_type. */
const VERSION_REQUEST = 1;
const VERSION_RESPONSE = 2;
const CAPABILITIES_REPORT = 3;
const CAPABILITIES_RESPONSE = 4;
const STATUS_REPORT = 5;
const BALLOON_REQUEST = 6;
const BALLOON_RESPONSE = 7;
const UNBALLOON_REQUEST = 8;
const UNBALLOON_RESPONSE = 9;

/** struct dm_header: type u16, size of the whole message u16, transaction u32. */
const HEADER_SIZE = 8;
/** Versions 0.3, 1.0 and 2.0 of the protocol (Windows 7, 8 and 10). */
const VERSIONS: ReadonlySet<number> = new Set([0x00003, 0x10000, 0x20000]);
const ACCEPTED = 1;

/** struct dm_balloon_response: reserved u32, then this word, then ranges. */
const RESPONSE_WORD = HEADER_SIZE + 4;
/** struct dm_unballoon_request: flags u32, number of ranges u32, then ranges. */
const UNBALLOON_COUNT = HEADER_SIZE + 4;
const RANGES = HEADER_SIZE + 8;
/** Lowest bit of the word: another message with ranges follows. The rest is the number of ranges. */
const MORE_PAGES = 1;
/** union dm_mem_page_range, u64: the first page's number in 40 bits, and how many. */
const RANGE_SIZE = 8;
const START_BITS = 40n;
const START_MASK = (1n << START_BITS) - 1n;
const MOST_PAGES = 2 ** 24 - 1;
/** Ranges in a message of ours. The guest reads it into a page. */
const RANGES_A_MESSAGE = 256;

const PAGE_SIZE = 4096;
const LARGEST_MESSAGE = RANGES + RANGES_A_MESSAGE * RANGE_SIZE;
/** Messages for one signal, before the rest of the machine gets a turn. */
const TURN_MESSAGES = 16;

const initial = (pages: number) => ({
  /** Pages that the host wants. The wish outlives the channel. */
  wanted: 0,
  /** Both have agreed on a version and on what can be done. */
  ready: false,
  /** What the guest is about to answer. */
  asked: undefined as 'balloon' | 'unballoon' | undefined,
  /** The guest has handed over what it can spare: it is asked for more when there is another wish. */
  spent: false,
  transaction: 0,
  /** 1 for each page of RAM that the host holds, and their number. */
  pages: new Uint8Array(pages),
  held: 0,
});

export class DynamicMemory implements VmbusDevice {
  readonly name = 'dynamic-memory';
  readonly offer: Offer = {
    type: '525074dc-8985-46e2-8057-a307dc18a502',
    instance: instanceGuid('dynamic-memory'),
    pipe: false,
  };
  readonly #host: VmbusHost;
  readonly #channel: VmbusChannel;
  readonly #state: State<ReturnType<typeof initial>>;

  constructor(host: VmbusHost, channel: VmbusChannel) {
    this.#host = host;
    this.#channel = channel;
    this.#state = host.state(this.name, 1, () => initial(host.memory.size / PAGE_SIZE));
  }

  /** The guest is to make do with `bytes` of RAM. @returns true: a guest that listens later finds the wish */
  request(bytes: number): boolean {
    this.#state.wanted = Math.max(0, Math.floor((this.#host.memory.size - bytes) / PAGE_SIZE));
    this.#state.spent = false;
    this.#ask();
    return true;
  }

  opened(): void {
    this.#forget();
  }

  closed(): void {
    this.#forget();
  }

  /** The guest is gone, or new: all memory is its own. */
  #forget(): void {
    const { wanted } = this.#state;
    this.#state.initialise();
    this.#state.wanted = wanted;
  }

  serve(): boolean {
    for (let messages = 0; messages < TURN_MESSAGES; messages++) {
      if (!this.#channel.hasRoom(DESCRIPTOR_SIZE + LARGEST_MESSAGE)) return false;
      const packet = this.#channel.receive();
      if (!packet) {
        this.#ask();
        return false;
      }
      if (packet.type === VM_PKT_DATA_INBAND && packet.body.length >= HEADER_SIZE + 8) this.#hear(packet.body);
    }
    return true;
  }

  #hear(body: Uint8Array): void {
    const view = viewOf(body);
    const type = view.getUint16(0, true);
    switch (type) {
      case VERSION_REQUEST:
        return this.#answer(VERSION_RESPONSE, view, VERSIONS.has(view.getUint32(HEADER_SIZE, true)));
      case CAPABILITIES_REPORT:
        this.#answer(CAPABILITIES_RESPONSE, view, true);
        this.#state.ready = true;
        return this.#ask();
      case BALLOON_RESPONSE:
        return this.#take(view);
      case UNBALLOON_RESPONSE:
        if (this.#state.asked === 'unballoon') this.#state.asked = undefined;
        return this.#ask();
      case STATUS_REPORT:
        return;
      default:
        this.#host.log.once(`${this.name}-${type}`, `${this.name}: message ${type} is not known`);
    }
  }

  /** An answer of 64 bits, the lowest of which says whether what the guest has told is accepted. */
  #answer(type: number, asked: DataView, accepted: boolean): void {
    const message = new Uint8Array(HEADER_SIZE + 8);
    const view = viewOf(message);
    view.setUint32(4, asked.getUint32(4, true), true);
    view.setUint8(HEADER_SIZE, accepted ? ACCEPTED : 0);
    this.#send(type, message);
  }

  /** Pages that the guest hands over. */
  #take(view: DataView): void {
    const state = this.#state;
    const word = view.getUint32(RESPONSE_WORD, true);
    const count = Math.min(word >>> 1, Math.floor((view.byteLength - RANGES) / RANGE_SIZE));
    for (let index = 0; index < count; index++) {
      const range = view.getBigUint64(RANGES + index * RANGE_SIZE, true);
      const start = Number(range & START_MASK);
      const end = Math.min(start + Number(range >> START_BITS), state.pages.length);
      for (let page = start; page < end; page++) {
        if (state.pages[page]) continue;
        state.pages[page] = 1;
        state.held++;
        this.#host.memory.fill(page * PAGE_SIZE, PAGE_SIZE);
      }
    }
    if (word & MORE_PAGES || state.asked !== 'balloon') return;
    state.asked = undefined;
    state.spent = true;
    // The wish may be another one by now.
    if (state.wanted < state.held) this.#ask();
  }

  /** Asks for what lacks, or gives back what is too much. */
  #ask(): void {
    const state = this.#state;
    const { wanted, held, ready, asked, spent } = state;
    if (!ready || asked !== undefined || wanted === held || (spent && wanted > held)) return;
    if (!this.#channel.isOpen || !this.#channel.hasRoom(DESCRIPTOR_SIZE + LARGEST_MESSAGE)) return;
    if (wanted < held) return this.#giveBack(held - wanted);
    state.asked = 'balloon';
    const message = new Uint8Array(HEADER_SIZE + 8);
    viewOf(message).setUint32(HEADER_SIZE, wanted - held, true);
    this.#begin(BALLOON_REQUEST, message);
  }

  /** As many of `count` pages as fit into a message. */
  #giveBack(count: number): void {
    const state = this.#state;
    const ranges: { start: number; length: number }[] = [];
    for (let page = state.pages.indexOf(1); page >= 0 && count > 0; page = state.pages.indexOf(1, page)) {
      if (ranges.length === RANGES_A_MESSAGE) break;
      const range = { start: page, length: 0 };
      for (; state.pages[page] && count > 0 && range.length < MOST_PAGES; page++, count--) {
        state.pages[page] = 0;
        state.held--;
        range.length++;
      }
      ranges.push(range);
    }
    const message = new Uint8Array(RANGES + ranges.length * RANGE_SIZE);
    const view = viewOf(message);
    view.setUint32(UNBALLOON_COUNT, ranges.length, true);
    for (const [index, { start, length }] of ranges.entries())
      view.setBigUint64(RANGES + index * RANGE_SIZE, BigInt(start) | (BigInt(length) << START_BITS), true);
    state.asked = 'unballoon';
    this.#begin(UNBALLOON_REQUEST, message);
  }

  #begin(type: number, message: Uint8Array): void {
    this.#state.transaction = (this.#state.transaction + 1) >>> 0;
    viewOf(message).setUint32(4, this.#state.transaction, true);
    this.#send(type, message);
  }

  /** There is room: who sends has looked. */
  #send(type: number, message: Uint8Array): void {
    const view = viewOf(message);
    view.setUint16(0, type, true);
    view.setUint16(2, message.length, true);
    this.#channel.send({ type: VM_PKT_DATA_INBAND, transaction: 0n, body: message });
  }
}
