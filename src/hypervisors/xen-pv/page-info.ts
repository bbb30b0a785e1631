/**
 * What Xen knows of every frame of memory (its struct page_info): whose it is, how many references there are, what type
 * it has and how many references need that type. Arrays by frame, since a fork touches thousands.
 *
 * A counter cannot overflow: every reference but a handful comes from an entry in a page table, and 4 GiB of memory
 * holds fewer than 2^30 of them.
 */

import type { GuestMemory } from '../../memory/memory.ts';
import type { State, States } from '../../state/state.ts';
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/paging.ts';

/** Types of a frame (public to the guest in what they forbid only). Types exclude each other while in use. */
export const PGT_none = 0;
export const PGT_l1_page_table = 1;
export const PGT_l2_page_table = 2;
export const PGT_l3_page_table = 3;
export const PGT_l4_page_table = 4;
export const PGT_seg_desc_page = 5;
/** In 32-bit guests: the level 2 table of the last GiB, part of which is Xen's (a flag of PGT_l2_page_table in Xen). */
export const PGT_pae_xen_l2 = 6;
export const PGT_writable_page = 7;

/** The domain may refer to the frame. */
export const OWNED = 1;
/** The domain's reservation holds a reference (PGC_allocated). */
const ALLOCATED = 2;
/** The guest pinned the frame's type (PGT_pinned). */
const PINNED = 4;

/** Where arrays by frame stand in the memory's notes: the offset, in bytes for each frame. */
export const NOTED = { references: 0, typeCount: 4, first: 8, second: 12, type: 16, flags: 17 } as const;

/** `content` at its place in the notes. */
export function notedWords({ notes }: GuestMemory, offset: number, content: Uint32Array): Uint32Array {
  const place = new Uint32Array(notes.buffer, notes.byteOffset + offset, content.length);
  if (content.buffer !== place.buffer) place.set(content);
  return place;
}
function notedBytes({ notes }: GuestMemory, offset: number, content: Uint8Array): Uint8Array {
  const place = notes.subarray(offset, offset + content.length);
  if (content.buffer !== place.buffer) place.set(content);
  return place;
}

interface PageInfoState {
  /** All by frame. */
  type: Uint8Array;
  typeCount: Uint32Array;
  references: Uint32Array;
  flags: Uint8Array;
  /** Frames that the domain gave back, to be given out again; the last given back first. */
  free: number[];
}

export class PageInfo {
  readonly memory: GuestMemory;
  /** Frames of memory, the hypervisor's own included. */
  readonly frames: number;
  readonly #state: State<PageInfoState>;
  /** All memory as 32-bit words: entry i of table f is words f * 1024 + 2 * i and the next. */
  readonly words: Uint32Array;

  /** Frames 0 to `pages` are the domain's, all others the hypervisor's. */
  constructor(states: States, memory: GuestMemory, pages: number) {
    this.memory = memory;
    this.frames = memory.size >>> PAGE_SHIFT;
    const { frames } = this;
    this.#state = states.state('page-info', 1, () => ({
      type: new Uint8Array(frames),
      typeCount: new Uint32Array(frames),
      references: new Uint32Array(frames).fill(1, 0, pages),
      flags: new Uint8Array(frames).fill(OWNED | ALLOCATED, 0, pages),
      free: [],
    }));
    this.attach();
    this.words = new Uint32Array(memory.bytes.buffer, memory.bytes.byteOffset, memory.size >>> 2);
  }

  /** Puts what fast paths use where they find it: at the start, and after the states have been replaced. */
  attach(): void {
    const { frames, memory } = this;
    const state = this.#state;
    state.references = notedWords(memory, NOTED.references * frames, state.references);
    state.typeCount = notedWords(memory, NOTED.typeCount * frames, state.typeCount);
    state.type = notedBytes(memory, NOTED.type * frames, state.type);
    state.flags = notedBytes(memory, NOTED.flags * frames, state.flags);
  }

  /** PGT_ value by frame. Means something while `typeCount` is not 0. */
  get type(): Uint8Array {
    return this.#state.type;
  }

  get typeCount(): Uint32Array {
    return this.#state.typeCount;
  }

  /** References of all kinds by frame; a frame is free at 0. */
  get references(): Uint32Array {
    return this.#state.references;
  }

  /** Lets the guest map a frame of the hypervisor's, also writable, and nothing else, for ever. */
  shareWithGuest(frame: number): void {
    this.#state.flags[frame] = OWNED;
    this.references[frame] = 1;
    this.type[frame] = PGT_writable_page;
    this.typeCount[frame] = 1;
  }

  /** Ends a `shareWithGuest` of all of `frames`, or of none if the guest refers to one. @returns whether it did */
  unshare(frames: readonly number[]): boolean {
    if (frames.some(frame => this.references[frame] !== 1)) return false;
    for (const frame of frames) {
      this.#state.flags[frame] = 0;
      this.references[frame] = 0;
      this.typeCount[frame] = 0;
    }
    return true;
  }

  /** True if the domain may refer to `frame`, be it any number. */
  isOwned(frame: number): boolean {
    return frame < this.frames && (this.#state.flags[frame] & OWNED) !== 0;
  }

  /** Takes a reference; false if the frame is not the domain's. */
  get(frame: number): boolean {
    const { flags, references } = this.#state;
    if (frame >= this.frames || (flags[frame] & OWNED) === 0) return false;
    references[frame]++;
    return true;
  }

  put(frame: number): void {
    const { references } = this.#state;
    if (references[frame] === 0) throw new Error(`frame ${frame} has no reference left to give back`);
    if (--references[frame] === 0) this.#release(frame);
  }

  isPinned(frame: number): boolean {
    return (this.#state.flags[frame] & PINNED) !== 0;
  }

  setPinned(frame: number, pinned: boolean): void {
    if (pinned) this.#state.flags[frame] |= PINNED;
    else this.#state.flags[frame] &= ~PINNED;
  }

  /** True if nothing but the reservation refers to the frame. */
  isIdle(frame: number): boolean {
    return this.isAllocated(frame) && this.references[frame] === 1 && this.typeCount[frame] === 0;
  }

  isAllocated(frame: number): boolean {
    return frame < this.frames && (this.#state.flags[frame] & ALLOCATED) !== 0;
  }

  /** The domain gives the frame back. It is free when its last mapping goes. False if it is not the domain's. */
  deallocate(frame: number): boolean {
    if (!this.isAllocated(frame)) return false;
    this.#state.flags[frame] &= ~ALLOCATED;
    this.put(frame);
    return true;
  }

  /** Frames given back and free. */
  get freeFrames(): number {
    return this.#state.free.length;
  }

  /** Takes 2^`order` free frames in a row, aligned to their number. @returns the first, or undefined. */
  allocate(order: number): number | undefined {
    if (order === 0) {
      const frame = this.#state.free.pop();
      if (frame !== undefined) this.#own(frame);
      return frame;
    }
    const count = 2 ** order;
    if (this.#state.free.length < count) return undefined;
    const free = new Set(this.#state.free);
    for (const first of free) {
      if (first % count !== 0) continue;
      let run = 1;
      while (run < count && free.has(first + run)) run++;
      if (run < count) continue;
      this.#state.free = this.#state.free.filter(frame => frame < first || frame >= first + count);
      for (let i = 0; i < count; i++) this.#own(first + i);
      return first;
    }
    return undefined;
  }

  /** Takes back one frame that is free. */
  reclaim(frame: number): void {
    const at = this.#state.free.lastIndexOf(frame);
    if (at < 0) throw new Error(`frame ${frame} is not free`);
    this.#state.free.splice(at, 1);
    this.#own(frame);
  }

  #own(frame: number): void {
    this.#state.flags[frame] = OWNED | ALLOCATED;
    this.references[frame] = 1;
    this.type[frame] = PGT_none;
  }

  /** A freed page is scrubbed, so that whoever gets it next finds zeros. */
  #release(frame: number): void {
    this.#state.flags[frame] = 0;
    this.memory.fill(frame * PAGE_SIZE, PAGE_SIZE);
    this.#state.free.push(frame);
  }
}
