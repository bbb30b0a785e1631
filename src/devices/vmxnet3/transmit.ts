/** The queue of a VMXNET3 adapter that frames leave the guest by. */
import type { Network } from '../../host/network.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import { completeHeaders, sendTo } from '../../net/offload.ts';
import { ETHERNET_HEADER } from '../../net/packet.ts';
import * as at from './layout.ts';
import { advance, complete, type Ring, ringAt } from './ring.ts';
import { count, newStatistics, type Statistics } from './statistics.ts';

const MTU_FRAME = 1514;
/** An IP packet of 65535 bytes, and Ethernet's header. */
const LARGEST_FRAME = 65535 + ETHERNET_HEADER;
const TCP_CHECKSUM = 16;

export interface TransmitQueue {
  ring: Ring;
  completions: Ring;
  /** Which interrupt tells of completions. */
  interrupt: number;
  statistics: Statistics;
  /** The ring holds what is no frame: it is not looked at again. */
  broken: boolean;
}

/** @param description where its `Vmxnet3_TxQueueDesc` is. @returns undefined if its rings cannot be */
export function transmitQueue(memory: GuestMemory, description: number): TransmitQueue | undefined {
  const ring = ringAt(memory, description, at.TX.ring, at.TX.ringSize);
  const completions = ringAt(memory, description, at.TX.completions, at.TX.completionSize);
  const interrupt = memory.read8(description + at.TX.interrupt);
  return ring && completions && { ring, completions, interrupt, statistics: newStatistics(), broken: false };
}

/**
 * Sends the queue's next frame, if it is there as a whole.
 * @returns undefined if there is none; otherwise whether the driver wants to hear of it
 */
export function sendNext(
  memory: GuestMemory,
  network: Network,
  queue: TransmitQueue,
): { completed: boolean } | undefined {
  const { ring } = queue;
  if (queue.broken) return undefined;
  const walk = { ...ring };
  const first = { dword2: 0, dword3: 0 };
  const pieces: { address: number; length: number }[] = [];
  let length = 0;
  let last = 0;
  for (;;) {
    const entry = walk.base + at.ENTRY * walk.next;
    const [dword2, dword3] = [memory.read32(entry + 8), memory.read32(entry + 12)];
    if (((dword2 >>> at.TX_GENERATION) & 1) !== walk.generation) return undefined;
    if (pieces.length === 0) Object.assign(first, { dword2, dword3 });
    const size = dword2 & at.LENGTH_MASK || at.LENGTH_MASK + 1;
    pieces.push({ address: memory.read32(entry) + memory.read32(entry + 4) * 2 ** 32, length: size });
    length += size;
    last = walk.next;
    advance(walk);
    if (dword3 & at.TX_END) {
      Object.assign(ring, walk);
      if (!send(memory, network, queue, pieces, length, first)) queue.statistics[STATISTICS_ERROR]++;
      const completed = (dword3 & at.TX_COMPLETE) !== 0;
      if (completed) complete(memory, queue.completions, [last, 0, 0, 0]);
      return { completed };
    }
    if (pieces.length === ring.size) {
      queue.broken = true;
      return undefined;
    }
  }
}

const STATISTICS_ERROR = 8;

/** @returns false for what makes no sense: it is lost, as a frame that a wire has garbled */
function send(
  memory: GuestMemory,
  network: Network,
  { statistics }: TransmitQueue,
  pieces: readonly { address: number; length: number }[],
  length: number,
  { dword2, dword3 }: { dword2: number; dword3: number },
): boolean {
  if (length < ETHERNET_HEADER || length > LARGEST_FRAME) return false;
  if (!pieces.every(piece => memory.has(piece.address, piece.length))) return false;
  const frame = new Uint8Array(length);
  let done = 0;
  for (const { address, length: size } of pieces) {
    frame.set(memory.bytes.subarray(address, address + size), done);
    done += size;
  }
  const kind = (dword3 >>> at.TX_OFFLOAD) & 3;
  const header = dword3 & at.TX_HEADER_MASK;
  const value = dword2 >>> at.TX_MSS_OR_OFFSET;
  if (kind === at.OFFLOAD_SEGMENTS) {
    // The header's length is that of all headers; where TCP's begins is in IP's.
    const tcp = tcpAt(frame, header);
    if (tcp === 0 || value === 0 || !completeHeaders(frame, tcp)) return false;
    sendTo(network, frame, { start: tcp, at: tcp + TCP_CHECKSUM, segment: value });
  } else {
    if (length > MTU_FRAME) return false;
    if (kind !== at.OFFLOAD_CHECKSUM) network.send(frame);
    else if (header < ETHERNET_HEADER || value < header || value + 2 > length) return false;
    else sendTo(network, frame, { start: header, at: value, segment: 0 });
  }
  count(statistics, frame, kind === at.OFFLOAD_SEGMENTS);
  return true;
}

/** Where TCP's header begins in a frame, all of whose headers take `headers` bytes; 0 if there is none. */
function tcpAt(frame: Uint8Array, headers: number): number {
  const version = frame[ETHERNET_HEADER] >> 4;
  const tcp = ETHERNET_HEADER + (version === 4 ? (frame[ETHERNET_HEADER] & 15) * 4 : 40);
  return (version === 4 || version === 6) && tcp + 20 <= headers && headers <= frame.length ? tcp : 0;
}
