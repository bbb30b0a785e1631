/**
 * The grant table (public/grant_table.h): an array in pages shared with the guest, in which it says which of its frames
 * which domain may use, and, kept here, which entries are in use by whom ("active" entries). Domain 0 is us: back ends
 * reach a granted page through `map`. The guest may also use its own grants: see grant-mappings.ts and grant-copy.ts.
 */

import type { GrantedPage } from '../../devices/xen/backend.ts';
import type { State } from '../../state/state.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { EBUSY, EINVAL, ERANGE } from './constants.ts';
import { type Domain, MAX_GRANT_FRAMES, type SharedFrame } from './domain.ts';
import {
  ENTRY_SIZE,
  EntryAccess,
  type GrantVersion,
  GTF_invalid,
  GTF_permit_access,
  GTF_reading,
  GTF_readonly,
  GTF_sub_page,
  GTF_transitive,
  GTF_type_mask,
  GTF_writing,
  statusFramesOf,
} from './grant-entries.ts';
import { GNTST_bad_gntref, GNTST_bad_page, GNTST_general_error } from './grant-status.ts';

/** References the toolstack fills for the ring pages it sets up. */
export const GNTTAB_RESERVED_CONSOLE = 0;
export const GNTTAB_RESERVED_XENSTORE = 1;
/** References that a change of version keeps. */
const GNTTAB_NR_RESERVED_ENTRIES = 8;

/** The uses of one kind that an entry may have at a time: Xen counts each kind in 8 bits and stops half way. */
const MAX_PINS = 128;
/** Entries of domain 0's own table: none of them grants anything to a guest. */
const DOMAIN_0_ENTRIES = PAGE_SIZE / ENTRY_SIZE[1];

/** How an entry is to be used. */
export interface Use {
  write: boolean;
  /** Mapped for a processor, for devices, or for both. A copy counts as the former. */
  host: boolean;
  device: boolean;
  /** A mapping, which needs a grant of the whole page; otherwise a copy. */
  mapping: boolean;
}

/** An entry in use. */
export interface ActiveEntry {
  domid: number;
  /** Guest-physical address of the page. */
  address: number;
  start: number;
  length: number;
  subPage: boolean;
  /** Uses at the moment, by kind. */
  hostWrite: number;
  hostRead: number;
  deviceWrite: number;
  deviceRead: number;
}

/** One mapping by a back end. */
interface HostMapping {
  reference: number;
  /** Guest-physical address of the page. */
  address: number;
  write: boolean;
}

interface GrantState {
  version: GrantVersion;
  /** Frames of the table that the guest knows. */
  count: number;
  /** Entries in use, by reference. */
  active: Map<number, ActiveEntry>;
  /** Back ends' mappings, by handle. */
  mappings: Map<number, HostMapping>;
  nextHandle: number;
}

const pinned = (active: ActiveEntry) =>
  active.hostWrite + active.hostRead + active.deviceWrite + active.deviceRead !== 0;
const writePinned = (active: ActiveEntry) => active.hostWrite + active.deviceWrite !== 0;

export class GrantTable {
  readonly #domain: Domain;
  /** All frames the table may grow to, there from the start; the guest knows the first `count`. */
  readonly #shared: readonly SharedFrame[];
  readonly #status: readonly SharedFrame[];
  readonly #state: State<GrantState>;

  constructor(domain: Domain, shared: readonly SharedFrame[], status: readonly SharedFrame[]) {
    this.#domain = domain;
    this.#shared = shared;
    this.#status = status;
    this.#state = domain.states.state('grants', 2, () => ({
      version: 1,
      count: 1,
      active: new Map(),
      mappings: new Map(),
      nextHandle: 1,
    }));
  }

  get version(): GrantVersion {
    return this.#state.version;
  }

  /** The pages of the table that exist, in order. */
  get frames(): readonly SharedFrame[] {
    return this.#shared.slice(0, this.#state.count);
  }

  /** The pages of version 2 with what is in use, in order. */
  get statusFrames(): readonly SharedFrame[] {
    return this.version === 1 ? [] : this.#status.slice(0, statusFramesOf(this.#state.count));
  }

  get entries(): number {
    return (this.#state.count * PAGE_SIZE) / ENTRY_SIZE[this.version];
  }

  /** Makes the table at least `count` frames long. @returns false if that is more than a domain may have. */
  grow(count: number): boolean {
    if (count > MAX_GRANT_FRAMES) return false;
    const { kind } = this.#domain;
    const before = this.statusFrames.length;
    for (; this.#state.count < count; this.#state.count++)
      kind.share(this.#domain, this.#shared[this.#state.count]!.address);
    this.#shareStatus(before);
    return true;
  }

  /** Makes the status frames from number `from` on known to the guest, empty. */
  #shareStatus(from: number): void {
    for (const { address } of this.statusFrames.slice(from)) {
      this.#domain.memory.fill(address, PAGE_SIZE);
      this.#domain.kind.share(this.#domain, address);
    }
  }

  /** Fills an entry, as the toolstack does for the two ring pages. */
  set(reference: number, domid: number, frame: number): void {
    this.entry(reference).write(GTF_permit_access, domid, frame);
  }

  /** The entry as it stands. @param reference below `entries` */
  entry(reference: number): EntryAccess {
    return EntryAccess.of(this.#domain.memory, this.version, reference, this.#shared, this.#status);
  }

  /** The entry of `reference` while it is in use. */
  active(reference: number): ActiveEntry | undefined {
    return this.#state.active.get(reference);
  }

  /** `domid` begins to use what `reference` grants to it. @returns the entry, or a negative GNTST_ */
  pin(reference: number, domid: number, use: Use): ActiveEntry | number {
    if (!Number.isInteger(reference) || reference < 0 || reference >= this.entries) return GNTST_bad_gntref;
    const active = this.active(reference);
    if (active && (active.domid !== domid || (use.mapping && active.subPage) || isFull(active, use)))
      return GNTST_general_error;
    const entry = this.entry(reference);
    const transitive = this.version === 2 && !use.mapping && (entry.flags & GTF_type_mask) === GTF_transitive;
    let result = active;
    if (!active || transitive || (use.write && !writePinned(active))) {
      const status = this.#claim(entry, active, domid, use);
      const made = status === 0 ? this.#resolve(entry, active, domid, use) : status;
      if (typeof made === 'number') {
        if (status === 0) this.#reduceStatus(entry, active, use.write);
        return made;
      }
      result = made;
      this.#state.active.set(reference, made);
    }
    this.#count(result!, use, 1);
    return result!;
  }

  /** Ends a use. */
  unpin(reference: number, use: Use): void {
    const active = this.active(reference);
    if (!active) return;
    this.#count(active, use, -1);
    if (reference < this.entries) this.#reduceStatus(this.entry(reference), active, use.write);
    if (!pinned(active)) this.#state.active.delete(reference);
  }

  #count(active: ActiveEntry, { write, host, device }: Use, by: number): void {
    if (host) active[write ? 'hostWrite' : 'hostRead'] += by;
    if (device) active[write ? 'deviceWrite' : 'deviceRead'] += by;
  }

  /** Notes in the entry that it is in use, if it grants that use. @returns 0 or GNTST_general_error */
  #claim(entry: EntryAccess, active: ActiveEntry | undefined, domid: number, { write, mapping }: Use): number {
    const { flags, domid: to } = entry.read();
    if (!active) {
      const type = flags & (mapping ? GTF_type_mask | GTF_sub_page : GTF_type_mask);
      const fits = type === GTF_permit_access || (this.version === 2 && !mapping && type === GTF_transitive);
      if (!fits || to !== domid) return GNTST_general_error;
    }
    if (write && flags & GTF_readonly) return GNTST_general_error;
    entry.changeStatus(write ? GTF_reading | GTF_writing : GTF_reading, 0);
    return 0;
  }

  /** What the entry grants, as an active entry; `active` if it is in use already and still says the same. */
  #resolve(entry: EntryAccess, active: ActiveEntry | undefined, domid: number, use: Use): ActiveEntry | number {
    if (use.mapping && active) return active;
    const { flags, frame, start, length, transitiveDomid, transitiveReference } = entry.read();
    if (this.version === 2 && !use.mapping && (flags & GTF_type_mask) === GTF_transitive) {
      // It passes on a grant of domain 0's, and there is none.
      const known = transitiveDomid === 0 && transitiveReference >= DOMAIN_0_ENTRIES;
      return known ? GNTST_bad_gntref : GNTST_general_error;
    }
    const address = this.#domain.kind.frame(this.#domain, frame, false);
    if (address === undefined) return GNTST_bad_page;
    const subPage = this.version === 2 && (flags & GTF_sub_page) !== 0;
    if (!active)
      return { domid, address, start, length, subPage, hostWrite: 0, hostRead: 0, deviceWrite: 0, deviceRead: 0 };
    const samePart = !active.subPage || (subPage && active.start === start && active.length === length);
    return active.address === address && samePart ? active : GNTST_general_error;
  }

  /** The entry says no more than what it is still in use for. */
  #reduceStatus(entry: EntryAccess, active: ActiveEntry | undefined, write: boolean): void {
    const reading = active && pinned(active) ? 0 : GTF_reading;
    const writing = write && !(active && writePinned(active)) ? GTF_writing : 0;
    entry.changeStatus(0, reading | writing);
  }

  /** Maps a page for a back end (domain 0): while mapped, the entry shows the guest that it is in use. */
  map(reference: number, write: boolean): GrantedPage | undefined {
    const use = hostUse(write);
    const active = this.pin(reference, 0, use);
    if (typeof active === 'number') return undefined;
    const { kind } = this.#domain;
    const address = kind.hold(this.#domain, active.address / PAGE_SIZE, write);
    if (address === undefined) {
      this.unpin(reference, use);
      return undefined;
    }
    const state = this.#state;
    const handle = state.nextHandle++;
    state.mappings.set(handle, { reference, address, write });
    return { handle, address };
  }

  /** Ends a mapping of a back end. One that has ended already stays so. */
  unmap({ handle }: GrantedPage): void {
    const { mappings } = this.#state;
    const mapping = mappings.get(handle);
    if (!mapping) return;
    mappings.delete(handle);
    this.#domain.kind.release(this.#domain, mapping.address, mapping.write);
    this.unpin(mapping.reference, hostUse(mapping.write));
  }

  /** GNTTABOP_set_version. All entries go but the reserved ones. @returns 0 or a negated error */
  setVersion(version: number): number {
    if (version !== 1 && version !== 2) return -EINVAL;
    if (version === this.version) return 0;
    for (const reference of this.#state.active.keys()) if (reference >= GNTTAB_NR_RESERVED_ENTRIES) return -EBUSY;
    const { kind, memory } = this.#domain;
    const reserved = Array.from({ length: GNTTAB_NR_RESERVED_ENTRIES }, (_, reference) => {
      const entry = this.entry(reference);
      return { ...entry.read(), status: entry.status };
    });
    if (version === 1) {
      const lost = reserved.some(({ flags, frame }) => {
        const type = flags & GTF_type_mask;
        return type === GTF_transitive || (type === GTF_permit_access && frame >= 2 ** 32);
      });
      if (lost) return -ERANGE;
      if (!kind.unshare(this.#domain, this.statusFrames)) return -EBUSY;
    }
    for (const { address } of this.frames) memory.fill(address, PAGE_SIZE);
    this.#state.version = version;
    this.#shareStatus(0);
    for (const [reference, { flags, domid, frame, status }] of reserved.entries()) {
      const entry = this.entry(reference);
      // In version 1 the flags say what is in use, too; other kinds than plain grants are not brought back there.
      const keep = version === 2 || (flags & GTF_type_mask) === GTF_permit_access;
      const plain = version === 2 ? flags & ~(GTF_reading | GTF_writing) : flags;
      if (keep) entry.write(plain, domid, frame);
      else entry.write(GTF_invalid, 0, 0);
      if (keep) entry.changeStatus(status, 0);
    }
    return 0;
  }
}

/** The use that a back end's mapping is. */
function hostUse(write: boolean): Use {
  return { write, host: true, device: false, mapping: true };
}

/** True if one of the counters that `use` would raise is at its end. */
function isFull(active: ActiveEntry, { write, host, device }: Use): boolean {
  const hosts = write ? active.hostWrite : active.hostRead;
  const devices = write ? active.deviceWrite : active.deviceRead;
  return (host && hosts >= MAX_PINS) || (device && devices >= MAX_PINS);
}
