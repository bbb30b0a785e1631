/**
 * The entries of a grant table as they stand in the pages shared with the guest, in either version
 * (public/grant_table.h). Version 1: 8 bytes {flags, domid, frame}; the flags also say what is in use. Version 2: 16
 * bytes, of three kinds, and what is in use stands in pages of its own, the status frames, so that the guest's flags
 * are the guest's alone.
 */
import type { GuestMemory } from '../../memory/memory.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { SharedFrame } from './domain.ts';

export const GTF_type_mask = 3;
export const GTF_invalid = 0;
export const GTF_permit_access = 1;
export const GTF_accept_transfer = 2;
export const GTF_transitive = 3;
export const GTF_readonly = 1 << 2;
export const GTF_reading = 1 << 3;
export const GTF_writing = 1 << 4;
export const GTF_sub_page = 1 << 8;
/** Of an entry that accepts a transfer: under way, and done. */
export const GTF_transfer_committed = 1 << 2;
export const GTF_transfer_completed = 1 << 3;

export type GrantVersion = 1 | 2;

/** Bytes of an entry. */
export const ENTRY_SIZE: Readonly<Record<GrantVersion, number>> = { 1: 8, 2: 16 };
/** Entries whose status is in one status frame: 2 bytes each. */
const STATUS_PER_FRAME = PAGE_SIZE / 2;

/** Status frames that a table of `frames` frames has in version 2. */
export function statusFramesOf(frames: number): number {
  return Math.ceil((frames * (PAGE_SIZE / ENTRY_SIZE[2])) / STATUS_PER_FRAME);
}

/** What an entry says, read once. */
export interface GrantEntry {
  flags: number;
  domid: number;
  frame: number;
  /** The part of the page that it grants: all of it, but for sub-page grants. */
  start: number;
  length: number;
  /** Of a transitive grant: whose grant it passes on. */
  transitiveDomid: number;
  transitiveReference: number;
}

/** One entry. The table's pages may move, so it is good for the hypercall at hand. */
export class EntryAccess {
  readonly #memory: GuestMemory;
  readonly #version: GrantVersion;
  readonly #at: number;
  readonly #statusAt: number;

  constructor(memory: GuestMemory, version: GrantVersion, at: number, statusAt: number) {
    this.#memory = memory;
    this.#version = version;
    this.#at = at;
    this.#statusAt = statusAt;
  }

  /** @param reference below the number of entries in `shared` */
  static of(
    memory: GuestMemory,
    version: GrantVersion,
    reference: number,
    shared: readonly SharedFrame[],
    status: readonly SharedFrame[],
  ): EntryAccess {
    const byte = reference * ENTRY_SIZE[version];
    const at = shared[Math.floor(byte / PAGE_SIZE)]!.address + (byte % PAGE_SIZE);
    if (version === 1) return new EntryAccess(memory, version, at, at);
    const page = status[Math.floor(reference / STATUS_PER_FRAME)]!;
    return new EntryAccess(memory, version, at, page.address + (reference % STATUS_PER_FRAME) * 2);
  }

  get flags(): number {
    return this.#memory.read16(this.#at);
  }

  set flags(flags: number) {
    this.#memory.write16(this.#at, flags);
  }

  read(): GrantEntry {
    const memory = this.#memory;
    const at = this.#at;
    const flags = memory.read16(at);
    const domid = memory.read16(at + 2);
    const entry = { flags, domid, frame: 0, start: 0, length: PAGE_SIZE, transitiveDomid: 0, transitiveReference: 0 };
    if (this.#version === 1) {
      entry.frame = memory.read32(at + 4);
    } else if ((flags & GTF_type_mask) === GTF_transitive) {
      entry.transitiveDomid = memory.read16(at + 4);
      entry.transitiveReference = memory.read32(at + 8);
    } else {
      entry.frame = memory.read32(at + 8) + memory.read32(at + 12) * 2 ** 32;
      if ((flags & GTF_sub_page) === 0) return entry;
      entry.start = memory.read16(at + 4);
      entry.length = memory.read16(at + 6);
    }
    return entry;
  }

  write(flags: number, domid: number, frame: number): void {
    const memory = this.#memory;
    memory.write16(this.#at + 2, domid);
    this.frame = frame;
    memory.write16(this.#at, flags);
  }

  set frame(frame: number) {
    const at = this.#at + (this.#version === 1 ? 4 : 8);
    this.#memory.write32(at, frame >>> 0);
    if (this.#version === 2) this.#memory.write32(at + 4, Math.floor(frame / 2 ** 32));
  }

  /** GTF_reading and GTF_writing, wherever this version has them. */
  get status(): number {
    return this.#memory.read16(this.#statusAt) & (GTF_reading | GTF_writing);
  }

  /** Sets and clears bits of the status. */
  changeStatus(set: number, clear: number): void {
    this.#memory.write16(this.#statusAt, (this.#memory.read16(this.#statusAt) & ~clear) | set);
  }

  /** Everything, as bytes: the entry and, in version 2, its status. */
  bytes(): Uint8Array {
    const entry = this.#memory.copyOut(this.#at, ENTRY_SIZE[this.#version]);
    return this.#version === 1 ? entry : Uint8Array.from([...entry, ...this.#memory.copyOut(this.#statusAt, 2)]);
  }

  setBytes(bytes: Uint8Array): void {
    const size = ENTRY_SIZE[this.#version];
    this.#memory.copyIn(this.#at, bytes.subarray(0, size));
    if (this.#version === 2) this.#memory.copyIn(this.#statusAt, bytes.subarray(size));
  }
}
