/**
 * The grant table, version 1 (public/grant_table.h): an array in pages shared with the guest, in which it says which of
 * its frames which other domain may use. The only other domain is 0, our back ends; they reach a granted page through
 * `map`.
 */

import type { GrantedPage } from '../../devices/xen/backend.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
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

/** How often back ends have mapped a reference at the moment. */
interface Use {
  readers: number;
  writers: number;
}

/** One mapping by a back end. */
interface Mapping {
  reference: number;
  /** Guest-physical address of the page. */
  address: number;
  write: boolean;
}

interface GrantState {
  /** Frames of the table that the guest knows. */
  count: number;
  /** By reference. */
  uses: Map<number, Use>;
  /** By handle. */
  mappings: Map<number, Mapping>;
  nextHandle: number;
}

export class GrantTable {
  readonly #domain: Domain;
  /** All frames the table may grow to, there from the start; the guest knows the first `count`. */
  readonly reserved: readonly SharedFrame[];
  readonly #state: State<GrantState>;

  constructor(domain: Domain, reserved: readonly SharedFrame[]) {
    this.#domain = domain;
    this.reserved = reserved;
    this.#state = domain.states.state('grants', 1, () => ({
      count: 1,
      uses: new Map(),
      mappings: new Map(),
      nextHandle: 1,
    }));
  }

  /** The pages of the table that exist, in order. */
  get frames(): readonly SharedFrame[] {
    return this.reserved.slice(0, this.#state.count);
  }

  /** Makes the table at least `count` frames long. @returns false if that is more than a domain may have. */
  grow(count: number): boolean {
    if (count > MAX_GRANT_FRAMES) return false;
    for (; this.#state.count < count; this.#state.count++)
      this.#domain.kind.share(this.#domain, this.reserved[this.#state.count]!.address);
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
    const state = this.#state;
    const use = state.uses.get(reference) ?? { readers: 0, writers: 0 };
    state.uses.set(reference, use);
    use.readers++;
    if (write) use.writers++;
    this.#show(reference, use);
    const handle = state.nextHandle++;
    state.mappings.set(handle, { reference, address, write });
    return { handle, address };
  }

  /** Ends a mapping. One that has ended already stays so. */
  unmap({ handle }: GrantedPage): void {
    const { mappings, uses } = this.#state;
    const mapping = mappings.get(handle);
    const use = mapping && uses.get(mapping.reference);
    if (!mapping || !use) return;
    const { reference, address, write } = mapping;
    mappings.delete(handle);
    this.#domain.kind.release(this.#domain, address, write);
    use.readers--;
    if (write) use.writers--;
    this.#show(reference, use);
    if (use.readers === 0) uses.delete(reference);
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
    const frame = index < this.#state.count ? this.reserved[index] : undefined;
    return frame && frame.address + (reference % ENTRIES_PER_FRAME) * ENTRY_SIZE;
  }
}
