/** For tests: the guest's side of a xenstore ring, writing requests in pieces of any size and reading answers as they come. */
import type { GuestMemory } from '../src/memory/memory.ts';

export interface StoreMessage {
  type: number;
  id: number;
  transaction: number;
  /** NULs and all. */
  payload: string;
}

const REQ_PROD = 0x804;
const RSP_CONS = 0x808;
const RSP_PROD = 0x80c;

export class FakeStoreClient {
  readonly #memory: GuestMemory;
  readonly #page: number;
  /** The event to the other side. */
  onEvent: () => void = () => {};
  /** Events from it. */
  notifications = 0;
  #received: number[] = [];
  #nextId = 1;

  constructor(memory: GuestMemory, page: number) {
    this.#memory = memory;
    this.#page = page;
  }

  /** Sends one message, at most `piece` bytes at a time, each with its event. @returns its id */
  send(type: number, payload: string, transaction = 0, piece = 1024): number {
    const id = this.#nextId++;
    const bytes = new Uint8Array(16 + payload.length);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, type, true);
    view.setUint32(4, id, true);
    view.setUint32(8, transaction, true);
    view.setUint32(12, payload.length, true);
    bytes.set(
      Array.from(payload, letter => letter.charCodeAt(0)),
      16,
    );
    this.sendRaw(bytes, piece);
    return id;
  }

  sendRaw(bytes: Uint8Array, piece = 1024): void {
    for (let at = 0; at < bytes.length; at += piece) {
      for (const byte of bytes.subarray(at, at + piece)) {
        const producer = this.#memory.read32(this.#page + REQ_PROD);
        this.#memory.write8(this.#page + (producer & 1023), byte);
        this.#memory.write32(this.#page + REQ_PROD, (producer + 1) >>> 0);
      }
      this.onEvent();
    }
  }

  /** All messages that have arrived, taking bytes out of the ring (and telling so) until no more come. */
  receive(): StoreMessage[] {
    for (let count = this.#drain(); count > 0; count = this.#drain()) this.onEvent();
    const messages: StoreMessage[] = [];
    for (;;) {
      const view = new DataView(Uint8Array.from(this.#received.slice(0, 16)).buffer);
      if (view.byteLength < 16 || this.#received.length < 16 + view.getUint32(12, true)) return messages;
      const length = view.getUint32(12, true);
      const [, ...rest] = [0, ...this.#received.splice(0, 16 + length)];
      messages.push({
        type: view.getUint32(0, true),
        id: view.getUint32(4, true),
        transaction: view.getUint32(8, true),
        payload: String.fromCharCode(...rest.slice(16)),
      });
    }
  }

  #drain(): number {
    const producer = this.#memory.read32(this.#page + RSP_PROD);
    let consumer = this.#memory.read32(this.#page + RSP_CONS);
    const count = (producer - consumer) >>> 0;
    for (; consumer !== producer; consumer = (consumer + 1) >>> 0)
      this.#received.push(this.#memory.read8(this.#page + 0x400 + (consumer & 1023)));
    this.#memory.write32(this.#page + RSP_CONS, consumer);
    return count;
  }
}
