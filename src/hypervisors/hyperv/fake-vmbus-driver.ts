/**
 * A driver of VMBus devices without an engine, as Linux's drivers/hv does it, for tests: it hears the offers, hands over
 * memory, opens channels, and writes and reads rings by its own arithmetic.
 */
import assert from 'node:assert/strict';
import type { BackEnds } from '../../host/back-ends.ts';
import { EVENT_PAGE, fakeGuest, SINT } from './fake-guest.ts';

const PAGE = 4096;
const SIGNAL_EVENT_FAST = 0x1005d;
/** Where the driver takes pages from. */
const FIRST_FREE = 0x20;

export interface OfferedChannel {
  type: string;
  relid: number;
  connection: number;
  pipe: boolean;
}

export interface ReceivedPacket {
  type: number;
  flags: number;
  transaction: bigint;
  /** Descriptor included. */
  bytes: Uint8Array;
  body: Uint8Array;
}

/** 32-bit words of a message or a body, and numbers of other sizes as bytes. */
export const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values, v => v >>> 0).buffer);

export function fakeDriver(backEnds: Partial<BackEnds> = {}, size = 4 << 20) {
  const guest = fakeGuest(backEnds, size);
  assert.ok(guest.enableHypercalls() && guest.enableSynic());
  return { ...guest, ...driverOf(guest) };
}

/** The driver on `guest`, whose SynIC is switched on. */
export function driverOf(guest: ReturnType<typeof fakeGuest>) {
  const { memory, call, post, receive } = guest;
  const position = { page: FIRST_FREE, handle: 0xe1e10 };
  /** `count` neighbouring pages, all zeros. @returns their number */
  const pages = (count: number): number => {
    const first = position.page;
    position.page += count;
    memory.fill(first * PAGE, count * PAGE);
    return first;
  };

  const connect = (version = 0x50003): OfferedChannel[] => {
    assert.equal(post([14, 0, version, 0, SINT, 0, 0, 0, 0, 0]), 0);
    assert.deepEqual(receive()!.slice(0, 3), [15, 0, 1]);
    assert.equal(post([3, 0]), 0);
    const offers: OfferedChannel[] = [];
    for (let message = receive(); message && message[0] === 1; message = receive()) {
      const bytes = new Uint8Array(Uint32Array.from(message).buffer);
      const view = new DataView(bytes.buffer);
      offers.push({
        type: [...bytes.subarray(8, 24)].map(byte => byte.toString(16).padStart(2, '0')).join(''),
        relid: view.getUint32(184, true),
        connection: view.getUint32(192, true),
        pipe: (view.getUint16(56, true) & 0x10) !== 0,
      });
    }
    return offers;
  };

  /** Hands over `numbers`, in as many messages as it takes. @returns the handle and the status */
  const handOver = (relid: number, numbers: readonly number[], { offset = 0, length = numbers.length * PAGE } = {}) => {
    const handle = position.handle++;
    const parts: number[][] = [numbers.slice(0, 26)];
    for (let at = 26; at < numbers.length; at += 28) parts.push(numbers.slice(at, at + 28));
    for (const [index, part] of parts.entries()) {
      const list = part.flatMap(page => [page, 0]);
      // In the header: the length of all ranges u16, which overflows, their count u16, the range's bytes and its offset.
      const ranges = (1 << 16) | ((8 * numbers.length + 8) & 0xffff);
      const head = index === 0 ? [8, 0, relid, handle, ranges, length, offset] : [9, 0, 0, handle];
      assert.equal(post([...head, ...list]), 0);
    }
    const answer = receive();
    assert.deepEqual(answer?.slice(0, 4), [10, 0, relid, handle]);
    return { handle, status: answer![4] };
  };

  /** Opens a channel with rings of so many pages each. */
  const open = (offer: OfferedChannel, ringPages = 4) => {
    const first = pages(2 * ringPages);
    const { handle, status } = handOver(
      offer.relid,
      Array.from({ length: 2 * ringPages }, (_, index) => first + index),
    );
    assert.equal(status, 0);
    const [outgoing, incoming] = [first * PAGE, (first + ringPages) * PAGE];
    for (const ring of [outgoing, incoming]) memory.write32(ring + 64, 1);
    assert.equal(post([5, 0, offer.relid, offer.relid, handle, 0, ringPages, ...Array(30).fill(0)]), 0);
    const result = receive();
    assert.deepEqual(result, [6, 0, offer.relid, offer.relid, 0]);
    return channel(offer, handle, outgoing, incoming, (ringPages - 1) * PAGE);
  };

  function channel(offer: OfferedChannel, handle: number, outgoing: number, incoming: number, ringSize: number) {
    const bytesAt = (ring: number, at: number, length: number) =>
      Uint8Array.from({ length }, (_, index) => memory.read8(ring + PAGE + ((at + index) % ringSize)));
    const signal = () => call(SIGNAL_EVENT_FAST, offer.connection);
    /** Puts a packet into the ring without a word. */
    const write = (
      type: number,
      transaction: number,
      body: Uint8Array,
      flags = 1,
      extension: Uint8Array = new Uint8Array(0),
    ) => {
      const length = Math.ceil((16 + extension.length + body.length) / 8) * 8;
      const bytes = new Uint8Array(length + 8);
      const view = new DataView(bytes.buffer);
      view.setUint16(0, type, true);
      view.setUint16(2, (16 + extension.length) / 8, true);
      view.setUint16(4, length / 8, true);
      view.setUint16(6, flags, true);
      view.setBigUint64(8, BigInt(transaction), true);
      bytes.set(extension, 16);
      bytes.set(body, 16 + extension.length);
      const at = memory.read32(outgoing);
      view.setUint32(length + 4, at, true);
      for (const [index, byte] of bytes.entries()) memory.write8(outgoing + PAGE + ((at + index) % ringSize), byte);
      memory.write32(outgoing, (at + bytes.length) % ringSize);
    };
    const send = (...packet: Parameters<typeof write>) => {
      write(...packet);
      return signal();
    };
    /** Pieces of memory for a packet of type 9: offset and length within neighbouring pages. */
    const direct = (...ranges: { page: number; offset?: number; length: number }[]): Uint8Array => {
      const list = [0, ranges.length];
      for (const { page, offset = 0, length } of ranges) {
        list.push(length, offset);
        for (let index = 0; index < Math.ceil((offset + length) / PAGE); index++) list.push(page + index, 0);
      }
      return words(...list);
    };
    const take = (): ReceivedPacket | undefined => {
      const [end, at] = [memory.read32(incoming), memory.read32(incoming + 4)];
      if (end === at) return undefined;
      const head = new DataView(bytesAt(incoming, at, 16).buffer);
      const length = head.getUint16(4, true) * 8;
      const bytes = bytesAt(incoming, at, length);
      const trailer = new DataView(bytesAt(incoming, at + length, 8).buffer);
      assert.equal(trailer.getUint32(4, true), at, 'the trailer says where the packet began');
      memory.write32(incoming + 4, (at + length + 8) % ringSize);
      return {
        type: head.getUint16(0, true),
        flags: head.getUint16(6, true),
        transaction: head.getBigUint64(8, true),
        bytes,
        body: bytes.subarray(head.getUint16(2, true) * 8),
      };
    };
    /** Reads and clears the channel's event flag. */
    const flagged = (): boolean => {
      const address = EVENT_PAGE + 256 * SINT + (offer.relid >> 3);
      const bit = 1 << (offer.relid & 7);
      const set = (memory.read8(address) & bit) !== 0;
      memory.write8(address, memory.read8(address) & ~bit);
      return set;
    };
    return { ...offer, handle, outgoing, incoming, ringSize, signal, write, send, direct, take, flagged };
  }

  return { pages, connect, handOver, open, channel };
}

export type FakeChannel = ReturnType<ReturnType<typeof driverOf>['open']>;
