/** Packets in a channel's rings (Linux include/linux/hyperv.h, struct vmpacket_descriptor and what follows it). */
import type { GuestMemory } from '../../memory/memory.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { GuestBuffer, type Piece } from '../guest-buffer.ts';

export const VM_PKT_DATA_INBAND = 6;
export const VM_PKT_DATA_USING_XFER_PAGES = 7;
export const VM_PKT_DATA_USING_GPA_DIRECT = 9;
export const VM_PKT_COMP = 11;
/** Flag of a packet that is to be answered by one of type VM_PKT_COMP with the same transaction id. */
export const COMPLETION_REQUESTED = 1;

/** Type u16, offset of the body u16 and length u16 (both in units), flags u16, transaction id u64. */
export const DESCRIPTOR_SIZE = 16;
/** Offsets and lengths are in units of so many bytes. */
export const UNIT = 8;

/** A packet of the guest's: a copy, which the guest cannot change any more. */
export interface Packet {
  readonly type: number;
  readonly flags: number;
  readonly transaction: bigint;
  /** All of it, descriptor included. */
  readonly bytes: Uint8Array;
  /** What follows descriptor and extension: padded with zeros to a multiple of 8 bytes. */
  readonly body: Uint8Array;
}

/** A packet for the guest. */
export interface Sent {
  readonly type: number;
  readonly flags?: number;
  readonly transaction: bigint;
  /** What stands between descriptor and body; a multiple of 8 bytes. */
  readonly extension?: Uint8Array;
  readonly body: Uint8Array;
}

/** The packet in `bytes`; undefined where its descriptor contradicts itself. */
export function parsePacket(bytes: Uint8Array): Packet | undefined {
  const view = viewOf(bytes);
  const offset = view.getUint16(2, true) * UNIT;
  if (offset < DESCRIPTOR_SIZE || offset > bytes.length) return undefined;
  return {
    type: view.getUint16(0, true),
    flags: view.getUint16(6, true),
    transaction: view.getBigUint64(8, true),
    bytes,
    body: bytes.subarray(offset),
  };
}

const padded = (length: number) => Math.ceil(length / UNIT) * UNIT;

/** Bytes that a packet takes, without what a ring adds. */
export function packetSize({ extension, body }: Pick<Sent, 'extension' | 'body'>): number {
  return DESCRIPTOR_SIZE + (extension?.length ?? 0) + padded(body.length);
}

export function packetBytes(packet: Sent): Uint8Array {
  const { type, flags = 0, transaction, extension, body } = packet;
  const bytes = new Uint8Array(packetSize(packet));
  const view = viewOf(bytes);
  const offset = DESCRIPTOR_SIZE + (extension?.length ?? 0);
  view.setUint16(0, type, true);
  view.setUint16(2, offset / UNIT, true);
  view.setUint16(4, bytes.length / UNIT, true);
  view.setUint16(6, flags, true);
  view.setBigUint64(8, transaction, true);
  if (extension) bytes.set(extension, DESCRIPTOR_SIZE);
  bytes.set(body, offset);
  return bytes;
}

/** A GPA-direct packet: after the descriptor a reserved word, the number of ranges, and the ranges. */
const RANGES = DESCRIPTOR_SIZE + 8;
/** A range: byte count u32, byte offset u32, then the page numbers u64. */
const RANGE_HEADER = 8;

/**
 * The memory that a packet of type VM_PKT_DATA_USING_GPA_DIRECT names; undefined where it names none that is RAM, or
 * contradicts itself.
 */
export function directBuffer(memory: GuestMemory, { bytes, body }: Packet): GuestBuffer | undefined {
  const end = body.byteOffset - bytes.byteOffset;
  if (end < RANGES) return undefined;
  const view = viewOf(bytes);
  const pieces: Piece[] = [];
  let at = RANGES;
  for (let count = view.getUint32(DESCRIPTOR_SIZE + 4, true); count > 0; count--) {
    if (at + RANGE_HEADER > end) return undefined;
    const length = view.getUint32(at, true);
    const offset = view.getUint32(at + 4, true);
    const pages = Math.ceil((offset + length) / PAGE_SIZE);
    at += RANGE_HEADER;
    if (offset >= PAGE_SIZE || at + 8 * pages > end) return undefined;
    for (let page = 0, left = length; page < pages; page++, at += 8) {
      const start = page === 0 ? offset : 0;
      const size = Math.min(left, PAGE_SIZE - start);
      pieces.push({ address: Number(view.getBigUint64(at, true)) * PAGE_SIZE + start, length: size });
      left -= size;
    }
  }
  return GuestBuffer.over(memory, pieces);
}

/** A view of what `bytes` shows. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
