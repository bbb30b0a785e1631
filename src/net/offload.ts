/**
 * What a sender left undone (`Offload`), done: for networks and drivers that take complete frames only. Frames come from
 * guests, so that nothing in them may be relied on; what cannot be completed is lost.
 */
import type { Network, Offload } from '../host/network.ts';
import { fold, pseudoHeaderSum, sum } from './checksum.ts';
import {
  ETHERNET_HEADER,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  long,
  PROTOCOL_TCP,
  setLong,
  setWord,
  word,
} from './packet.ts';

const FIN = 1;
const PSH = 8;
const CWR = 0x80;
/** More frames than a sound sender's 64 KiB make of any sensible segment size. */
const LEAST_SEGMENT = 64;

/** The frames that `frame` stands for: none if it makes no sense. `frame` itself may be changed. */
export function complete(frame: Uint8Array, offload: Offload | undefined): Uint8Array[] {
  if (!offload) return [frame];
  if (offload.segment > 0) return cut(frame, offload.segment);
  return completeChecksum(frame, offload) ? [frame] : [];
}

/** @returns false if the offload points outside of the frame */
export function completeChecksum(frame: Uint8Array, { start, at }: Offload): boolean {
  if (start < ETHERNET_HEADER || at < start || at + 2 > frame.length) return false;
  const checksum = ~fold(sum(frame, start, frame.length)) & 0xffff;
  // A sum of 0 in UDP says that there is none (RFC 768); to TCP both are the same.
  setWord(frame, at, checksum || 0xffff);
  return true;
}

/**
 * Makes whole the headers of a frame that stands for several, of which some drivers leave to their device the lengths, the checksum of
 * IPv4, and the length in the sum of the pseudo-header. @param tcp where TCP's header begins @returns false if it is no such frame
 */
export function completeHeaders(frame: Uint8Array, tcp: number): boolean {
  const type = word(frame, 12);
  const ip = ETHERNET_HEADER;
  const v4 = type === ETHERTYPE_IPV4;
  if ((!v4 && type !== ETHERTYPE_IPV6) || tcp < ip + (v4 ? 20 : 40) || tcp + 20 > frame.length) return false;
  const length = frame.length - ip;
  if (length > 0xffff) return false;
  const addresses = ip + (v4 ? 12 : 8);
  const size = v4 ? 4 : 16;
  if (v4) {
    setWord(frame, ip + 2, length);
    setWord(frame, ip + 10, 0);
    setWord(frame, ip + 10, ~fold(sum(frame, ip, tcp)) & 0xffff);
  } else setWord(frame, ip + 4, length - 40);
  const source = frame.subarray(addresses, addresses + size);
  const destination = frame.subarray(addresses + size, addresses + 2 * size);
  setWord(frame, tcp + 16, fold(pseudoHeaderSum(source, destination, PROTOCOL_TCP, frame.length - tcp)));
  return true;
}

/** TCP over IPv4 or IPv6 without extension headers, cut into frames of `size` bytes of payload. */
function cut(frame: Uint8Array, size: number): Uint8Array[] {
  const type = word(frame, 12);
  const ip = ETHERNET_HEADER;
  const v4 = type === ETHERTYPE_IPV4;
  if (frame.length < ip + 40 || (!v4 && type !== ETHERTYPE_IPV6)) return [];
  if (frame[ip] >> 4 !== (v4 ? 4 : 6) || frame[ip + (v4 ? 9 : 6)] !== PROTOCOL_TCP) return [];
  const tcp = ip + (v4 ? (frame[ip] & 15) * 4 : 40);
  if (tcp < ip + 20 || tcp + 20 > frame.length) return [];
  const header = tcp + (frame[tcp + 12] >> 4) * 4;
  if (header < tcp + 20 || header > frame.length || size < LEAST_SEGMENT) return [];

  const [source, destination] = v4
    ? [frame.subarray(ip + 12, ip + 16), frame.subarray(ip + 16, ip + 20)]
    : [frame.subarray(ip + 8, ip + 24), frame.subarray(ip + 24, ip + 40)];
  const [sequence, flags, identification] = [long(frame, tcp + 4), frame[tcp + 13], word(frame, ip + 4)];
  const frames: Uint8Array[] = [];
  for (let at = header, index = 0; at < frame.length || index === 0; at += size, index++) {
    const end = Math.min(at + size, frame.length);
    const piece = new Uint8Array(header + end - at);
    piece.set(frame.subarray(0, header));
    piece.set(frame.subarray(at, end), header);
    setLong(piece, tcp + 4, sequence + at - header);
    piece[tcp + 13] = flags & ~(end < frame.length ? FIN | PSH : 0) & ~(index > 0 ? CWR : 0);
    if (v4) {
      setWord(piece, ip + 2, piece.length - ip);
      setWord(piece, ip + 4, identification + index);
      setWord(piece, ip + 10, 0);
      setWord(piece, ip + 10, ~fold(sum(piece, ip, tcp)) & 0xffff);
    } else setWord(piece, ip + 4, piece.length - ip - 40);
    setWord(piece, tcp + 16, 0);
    const pseudo = pseudoHeaderSum(source, destination, PROTOCOL_TCP, piece.length - tcp);
    setWord(piece, tcp + 16, ~fold(sum(piece, tcp, piece.length, pseudo)) & 0xffff);
    frames.push(piece);
  }
  return frames;
}

/** Sends to `network` what it takes: all as it is, or complete frames. */
export function sendTo(network: Network, frame: Uint8Array, offload?: Offload): void {
  if (network.offloads) network.send(frame, offload);
  else for (const each of complete(frame, offload)) network.send(each);
}

/** Frames that wait for a guest to have room for them. The oldest stay: the newest are lost. */
export class FrameQueue {
  readonly #frames: { bytes: Uint8Array; offload: Offload | undefined }[] = [];
  #bytes = 0;
  #next = 0;
  readonly #limit: number;

  /** @param limit in bytes */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** @returns false if the frame is lost */
  put(bytes: Uint8Array, offload?: Offload): boolean {
    if (this.#bytes + bytes.length > this.#limit) return false;
    this.#bytes += bytes.length;
    this.#frames.push({ bytes, offload });
    return true;
  }

  get length(): number {
    return this.#frames.length - this.#next;
  }

  get first(): { readonly bytes: Uint8Array; readonly offload: Offload | undefined } | undefined {
    return this.#frames[this.#next];
  }

  /** The one that `index` others stand before. */
  at(index: number): { readonly bytes: Uint8Array; readonly offload: Offload | undefined } | undefined {
    return this.#frames[this.#next + index];
  }

  /** Puts another one, which is not longer, in the place of the first. */
  replaceFirst(bytes: Uint8Array): void {
    const first = this.#frames[this.#next];
    if (!first) return;
    this.#bytes += bytes.length - first.bytes.length;
    this.#frames[this.#next] = { bytes, offload: undefined };
  }

  /** Drops the first one. */
  shift(): void {
    const first = this.#frames[this.#next];
    if (!first) return;
    this.#bytes -= first.bytes.length;
    this.#next++;
    if (this.#next < 64 && this.#next < this.#frames.length) return;
    this.#frames.splice(0, this.#next);
    this.#next = 0;
  }

  clear(): void {
    this.#frames.length = 0;
    this.#next = this.#bytes = 0;
  }
}
