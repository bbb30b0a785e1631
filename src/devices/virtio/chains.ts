/** What is in a request's buffers, in and out. The chain's addresses have been checked when it was taken (virtqueue.ts). */
import type { GuestMemory } from '../../memory/memory.ts';
import type { Chain } from './virtqueue.ts';

/** Copies from the readable part of a chain, `offset` bytes into it; the caller knows that it is long enough. */
export function gather(memory: GuestMemory, chain: Chain, offset: number, into: Uint8Array): void {
  let at = 0;
  for (let i = 0; i < chain.readable && at < into.length; i++) {
    const skipped = Math.min(offset, chain.length[i]);
    offset -= skipped;
    const length = Math.min(chain.length[i] - skipped, into.length - at);
    const address = chain.address[i] + skipped;
    into.set(memory.bytes.subarray(address, address + length), at);
    at += length;
  }
}

/** Copies into the writable part of a chain, as far as it reaches. @returns how much that was */
export function scatter(memory: GuestMemory, chain: Chain, offset: number, from: Uint8Array): number {
  let at = 0;
  for (let i = chain.readable; i < chain.count && at < from.length; i++) {
    const skipped = Math.min(offset, chain.length[i]);
    offset -= skipped;
    const length = Math.min(chain.length[i] - skipped, from.length - at);
    if (length === 0) continue;
    memory.copyIn(chain.address[i] + skipped, from.subarray(at, at + length));
    at += length;
  }
  return at;
}
