/**
 * The grant table, version 1 (public/grant_table.h): an array in pages shared with the guest, in which it says which of its
 * frames which other domain may use. The only other domain is 0, our back ends; they reach a granted page through `map`.
 */
import type { GrantedPage } from '../../devices/xen/backend.ts';
import { PAGE_SIZE } from './constants.ts';
import { type Domain, MAX_GRANT_FRAMES, type SharedFrame } from './domain.ts';

export const GTF_type_mask = 3;
export const GTF_permit_access = 1;
export const GTF_readonly = 1 << 2;
export const GTF_reading = 1 << 3;
export const GTF_writing = 1 << 4;

/** Bytes of an entry: flags u16, domid u16, frame u32. */
const ENTRY_SIZE = 8;
const ENTRIES_PER_FRAME = PAGE_SIZE / ENTRY_SIZE;

/** References the toolstack fills for the ring pages it sets up. */
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;

interface Use {
  readers: number;
  writers: number;
}

export class GrantTable {
  readonly #domain: Domain;
  /** All frames the table may grow to, there from the start; the guest knows the first `#count`. */
  readonly reserved: readonly SharedFrame[];
  #count = 1;
  /** References in use by back ends. */
  readonly #uses = new Map<number, Use>();

  constructor(domain: Domain) {
    this.#domain = domain;
    this.reserved = Array.from({ length: MAX_GRANT_FRAMES }, () => ({ address: domain.reserveFrame() }));
  }

  /** The pages of the table that exist, in order. */
  get frames(): readonly SharedFrame[] {
    return this.reserved.slice(0, this.#count);
  }

  /** Makes the table at least `count` frames long. @returns false if that is more than a domain may have. */
  grow(count: number): boolean {
    if (count > MAX_GRANT_FRAMES) return false;
    for (; this.#count < count; this.#count++)
      this.#domain.kind.share(this.#domain, this.reserved[this.#count]!.address);
    return true;
  }

  /** Fills an entry, as the toolstack does for the two ring pages. */
  set(reference: number, domid: number, frame: number): void {
    const entry = this.#entry(reference)!;
    this.#domain.memory.write16(entry + 2, domid);
    this.#domain.memory.write32(entry + 4, frame);
    this.#domain.memory.write16(entry, GTF_permit_access);
  }

  /** The page that `reference` grants to `domid`, if it grants it so; undefined otherwise. */
  resolve(reference: number, domid: number, write: boolean): number | undefined {
    const frame = this.#granted(reference, domid, write);
    return frame === undefined ? undefined : this.#domain.kind.frame(this.#domain, frame, write);
  }

  /** The frame number in the entry, which is read once. */
  #granted(reference: number, domid: number, write: boolean): number | undefined {
    const entry = this.#entry(reference);
    if (entry === undefined) return undefined;
    const { memory } = this.#domain;
    const flags = memory.read16(entry);
    if ((flags & GTF_type_mask) !== GTF_permit_access || memory.read16(entry + 2) !== domid) return undefined;
    if (write && flags & GTF_readonly) return undefined;
    return memory.read32(entry + 4);
  }

  /** Maps a page for a back end (domain 0): while mapped, the entry shows the guest that it is in use. */
  map(reference: number, write: boolean): GrantedPage | undefined {
    const { kind } = this.#domain;
    const frame = this.#granted(reference, 0, write);
    const address = frame === undefined ? undefined : kind.hold(this.#domain, frame, write);
    if (address === undefined) return undefined;
    const use = this.#uses.get(reference) ?? { readers: 0, writers: 0 };
    this.#uses.set(reference, use);
    use.readers++;
    if (write) use.writers++;
    this.#show(reference, use);
    let mapped = true;
    return {
      address,
      unmap: () => {
        if (!mapped) return;
        mapped = false;
        kind.release(this.#domain, address, write);
        use.readers--;
        if (write) use.writers--;
        this.#show(reference, use);
        if (use.readers === 0) this.#uses.delete(reference);
      },
    };
  }

  #show(reference: number, use: Use): void {
    const entry = this.#entry(reference);
    if (entry === undefined) return;
    const { memory } = this.#domain;
    const flags = memory.read16(entry) & ~(GTF_reading | GTF_writing);
    memory.write16(entry, flags | (use.readers ? GTF_reading : 0) | (use.writers ? GTF_writing : 0));
  }

  /** Guest-physical address of the entry, undefined past the end of the table. */
  #entry(reference: number): number | undefined {
    const index = Math.floor(reference / ENTRIES_PER_FRAME);
    const frame = index < this.#count ? this.reserved[index] : undefined;
    return frame && frame.address + (reference % ENTRIES_PER_FRAME) * ENTRY_SIZE;
  }
}
