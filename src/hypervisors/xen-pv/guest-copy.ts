/**
 * Copies between the hypervisor and the guest kernel's address space, by the tables of its kernel root whatever root is
 * loaded. Everything is checked: Xen's own area is refused, a page that is not writable is not written, and nothing is
 * written at all unless everything can be.
 */

import type { GuestMemory } from '../../memory/memory.ts';
import { PAGE_OFFSET, PAGE_SIZE, PTE_A, PTE_D, PTE_P, PTE_RW } from '../../x86/paging.ts';
import type { PvAbi } from './abi.ts';
import { pageNumberOfHalves } from './page-table-entry.ts';

const LOW_48 = 0xffffffffffffn;
/** A linear address and its two halves. */
const halves64 = new BigUint64Array(1);
const halves = new Uint32Array(halves64.buffer);

export class GuestCopy {
  readonly #memory: GuestMemory;
  readonly #words: Uint32Array;
  readonly #abi: PvAbi;
  readonly #fourLevels: boolean;

  constructor(memory: GuestMemory, words: Uint32Array, abi: PvAbi) {
    this.#memory = memory;
    this.#words = words;
    this.#abi = abi;
    this.#fourLevels = abi.levels === 4;
  }

  /** Guest-physical address of the page that `pageNumber` names under `root`; -1 if it may not be read (or written). */
  page(root: number, pageNumber: number, write: boolean): number {
    const words = this.#words;
    let table = root;
    let l4 = PTE_RW;
    if (this.#fourLevels) {
      l4 = words[root * 1024 + 2 * (Math.floor(pageNumber / 2 ** 27) & 511)];
      if ((l4 & PTE_P) === 0) return -1;
      table = l4 >>> 12;
    }
    const l3 = words[table * 1024 + 2 * ((pageNumber >>> 18) & 511)];
    if ((l3 & PTE_P) === 0) return -1;
    const l2 = words[(l3 >>> 12) * 1024 + 2 * ((pageNumber >>> 9) & 511)];
    if ((l2 & PTE_P) === 0) return -1;
    const at = (l2 >>> 12) * 1024 + 2 * (pageNumber & 511);
    const l1 = words[at];
    if ((l1 & PTE_P) === 0) return -1;
    if (!write) return (l1 >>> 12) * PAGE_SIZE;
    if ((l4 & l3 & l2 & l1 & PTE_RW) === 0) return -1;
    if ((l1 & PTE_D) === 0) words[at] = l1 | PTE_A | PTE_D;
    return (l1 >>> 12) * PAGE_SIZE;
  }

  /**
   * Guest-physical address of `length` bytes at `linear` that lie in one page; -1 where they do not, or may not be read
   * (or written).
   */
  address(root: number, linear: bigint, length: number, write: boolean): number {
    // As halves: bigint arithmetic would take longer than the walk.
    halves64[0] = linear;
    const low = halves[0];
    if (!this.#abi.isGuestAddressOfHalves(low, halves[1])) return -1;
    const offset = low & PAGE_OFFSET;
    if (offset + length > PAGE_SIZE) return -1;
    const page = this.page(root, pageNumberOfHalves(low, halves[1]), write);
    return page < 0 ? -1 : page + offset;
  }

  /** As `address`, for `count` 32-bit words, which must be aligned. */
  #wordsAddress(root: number, linear: bigint, count: number, write: boolean): number {
    const address = this.address(root, linear, 4 * count, write);
    return address & 3 ? -1 : address;
  }

  /** Copies 32-bit words from `linear`; false if any is not readable. */
  readWords(root: number, linear: bigint, into: Uint32Array, count = into.length): boolean {
    const address = this.#wordsAddress(root, linear, count, false);
    if (address < 0) return this.read(root, linear, new Uint8Array(into.buffer, into.byteOffset, 4 * count));
    const words = this.#words;
    for (let i = 0, at = address >>> 2; i < count; i++, at++) into[i] = words[at];
    return true;
  }

  /** Copies 32-bit words to `linear`, all or nothing. */
  writeWords(root: number, linear: bigint, from: Uint32Array, count = from.length): boolean {
    const address = this.#wordsAddress(root, linear, count, true);
    if (address < 0) return this.write(root, linear, new Uint8Array(from.buffer, from.byteOffset, 4 * count));
    const words = this.#words;
    for (let i = 0, at = address >>> 2; i < count; i++, at++) words[at] = from[i];
    this.#memory.onWrite(address, 4 * count);
    return true;
  }

  /** Copies `into.length` bytes from `linear`; false if any is not readable. */
  read(root: number, linear: bigint, into: Uint8Array): boolean {
    if (!this.#isGuestRange(linear, into.length)) return false;
    const { bytes } = this.#memory;
    let at = Number(linear & LOW_48);
    for (let done = 0; done < into.length; ) {
      const offset = at % PAGE_SIZE;
      const length = Math.min(PAGE_SIZE - offset, into.length - done);
      const page = this.page(root, Math.floor(at / PAGE_SIZE), false);
      if (page < 0) return false;
      into.set(bytes.subarray(page + offset, page + offset + length), done);
      done += length;
      at += length;
    }
    return true;
  }

  /** Copies `data` to `linear`, all or nothing. */
  write(root: number, linear: bigint, data: Uint8Array): boolean {
    if (!this.#isGuestRange(linear, data.length)) return false;
    if (data.length === 0) return true;
    const start = Number(linear & LOW_48);
    const last = Math.floor((start + data.length - 1) / PAGE_SIZE);
    for (let page = Math.floor(start / PAGE_SIZE); page <= last; page++)
      if (this.page(root, page, true) < 0) return false;
    let at = start;
    for (let done = 0; done < data.length; ) {
      const offset = at % PAGE_SIZE;
      const length = Math.min(PAGE_SIZE - offset, data.length - done);
      const page = this.page(root, Math.floor(at / PAGE_SIZE), true);
      this.#memory.copyIn(page + offset, data.subarray(done, done + length));
      done += length;
      at += length;
    }
    return true;
  }

  /** True if the whole range is the guest's part of the address space, without wrapping around. */
  #isGuestRange(linear: bigint, length: number): boolean {
    if (length === 0) return true;
    const last = linear + BigInt(length - 1);
    const { isGuestAddress } = this.#abi;
    return isGuestAddress(linear) && isGuestAddress(last) && linear >> 47n === last >> 47n;
  }
}
