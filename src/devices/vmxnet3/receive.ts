/** The queue of a VMXNET3 adapter that frames come into the guest by: two rings of buffers, and one of completions. */
import type { Offload } from '../../host/network.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import { ETHERNET_HEADER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, PROTOCOL_TCP, PROTOCOL_UDP, word } from '../../net/packet.ts';
import * as at from './layout.ts';
import { advance, complete, type Ring, ringAt } from './ring.ts';
import { count, newStatistics, type Statistics } from './statistics.ts';

export interface ReceiveQueue {
  /** Where its `Vmxnet3_RxQueueDesc` is. */
  description: number;
  /** Buffers for beginnings of frames, and for what does not fit there. */
  rings: Ring[];
  completions: Ring;
  interrupt: number;
  statistics: Statistics;
}

/** @returns undefined if its rings cannot be */
export function receiveQueue(memory: GuestMemory, description: number): ReceiveQueue | undefined {
  const first = ringAt(memory, description, at.RX.ring, at.RX.ringSize);
  const second = ringAt(memory, description, at.RX.ring2, at.RX.ring2Size);
  const completions = ringAt(memory, description, at.RX.completions, at.RX.completionSize);
  const interrupt = memory.read8(description + at.RX.interrupt);
  if (!first || !completions) return undefined;
  // The second may be left out.
  const rings = second ? [first, second] : [first];
  return { description, rings, completions, interrupt, statistics: newStatistics() };
}

/** A piece of a frame in a buffer: which ring the buffer is of, which of it, and how much is in it. */
interface Part {
  ring: number;
  index: number;
  address: number;
  length: number;
}

/**
 * Puts a frame into the driver's buffers.
 * @param offload given if the frame's checksum is known to be right
 * @param number the queue's, of `queues` @returns false if there are not enough buffers
 */
export function deliver(
  memory: GuestMemory,
  queue: ReceiveQueue,
  frame: Uint8Array,
  offload: Offload | undefined,
  number: number,
  queues: number,
): boolean {
  const parts = partsFor(memory, queue, frame.length);
  if (!parts) return false;
  const [dword0, dword3] = describe(frame, offload !== undefined);
  let done = 0;
  for (const [place, { ring, index, address, length }] of parts.entries()) {
    // A buffer outside of RAM swallows what is put there.
    if (memory.has(address, length)) memory.copyIn(address, frame.subarray(done, done + length));
    done += length;
    const edges = (place === 0 ? at.COMPLETION_START : 0) | (place === parts.length - 1 ? at.COMPLETION_END : 0);
    const which = (number + ring * queues) << at.COMPLETION_QUEUE;
    complete(memory, queue.completions, [index | edges | which | dword0, 0, length, dword3]);
  }
  count(queue.statistics, frame, (offload?.segment ?? 0) > 0);
  return true;
}

/** Takes buffers for `length` bytes from the rings, all or none. */
function partsFor(memory: GuestMemory, { rings }: ReceiveQueue, length: number): Part[] | undefined {
  const walks = rings.map(ring => ({ ...ring }));
  const parts: Part[] = [];
  for (let left = length; left > 0; ) {
    let part: Part | undefined;
    for (const [ring, walk] of walks.entries()) {
      part = bufferAt(memory, ring, walk, parts.length === 0);
      if (part || parts.length === 0) break;
    }
    if (!part || part.length === 0 || parts.length === at.MOST_ENTRIES) return undefined;
    advance(walks[part.ring]);
    part.length = Math.min(part.length, left);
    left -= part.length;
    parts.push(part);
  }
  for (const [index, ring] of rings.entries()) Object.assign(ring, walks[index]);
  return parts;
}

/** The ring's next buffer; undefined if the driver has not offered it, or if it is not of the kind that is wanted. */
function bufferAt(
  memory: GuestMemory,
  ring: number,
  { base, next, generation }: Ring,
  first: boolean,
): Part | undefined {
  const entry = base + at.ENTRY * next;
  const dword2 = memory.read32(entry + 8);
  if (dword2 >>> at.RX_GENERATION !== generation || ((dword2 & at.RX_BODY) === 0) !== first) return undefined;
  const address = memory.read32(entry) + memory.read32(entry + 4) * 2 ** 32;
  return { ring, index: next, address, length: dword2 & at.LENGTH_MASK };
}

/** What a completion's first and last words say of a frame. */
function describe(frame: Uint8Array, verified: boolean): [dword0: number, dword3: number] {
  const whole = at.COMPLETION_RECEIVED | at.FRAME_RIGHT;
  const type = frame.length < ETHERNET_HEADER + 40 ? 0 : word(frame, 12);
  const v4 = type === ETHERTYPE_IPV4;
  if (!verified || (!v4 && type !== ETHERTYPE_IPV6)) return [at.CHECKSUM_NOT_CALCULATED, whole];
  const protocol = frame[ETHERNET_HEADER + (v4 ? 9 : 6)];
  const kind = protocol === PROTOCOL_TCP ? at.IS_TCP : protocol === PROTOCOL_UDP ? at.IS_UDP : 0;
  if (kind === 0) return [at.CHECKSUM_NOT_CALCULATED, whole];
  const version = v4 ? at.IS_V4 | at.IP_CHECKSUM_RIGHT : at.IS_V6;
  return [0, whole | kind | at.CHECKSUM_RIGHT | version];
}
