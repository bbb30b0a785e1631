/**
 * Page types: the rule that keeps a guest which edits real page tables inside its memory. A frame is a page table of
 * one level, a descriptor page, or writable, never two of them at a time; before a frame becomes a table or a
 * descriptor page all of it is checked, and from then on every change is.
 *
 * The engine walks these tables as they stand, at CPL 3 for the guest's kernel too. So entries get what that needs when
 * they are accepted: the user bit at every level, and a mark (bit 52) on those that the guest meant for its kernel.
 */

import type { State, States } from '../../state/state.ts';
import { PTE_A, PTE_G, PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';
import { EBUSY, EINVAL, EPERM } from '../xen/constants.ts';
import { checkDescriptorPage } from './descriptor-check.ts';
import {
  type PageInfo,
  PGT_l1_page_table,
  PGT_l4_page_table,
  PGT_none,
  PGT_seg_desc_page,
  PGT_writable_page,
} from './page-info.ts';
import {
  ENTRIES,
  FIRST_XEN_SLOT,
  frameOf,
  isXenSlot,
  L1_DISALLOWED,
  L234_DISALLOWED,
  LAST_XEN_SLOT,
  NO_FRAME,
  PTE_HIGH_GUEST_KERNEL,
} from './page-table-entry.ts';
import { TableLinks } from './table-links.ts';
import type { Tlb } from './tlb.ts';

export class PageTypes {
  readonly info: PageInfo;
  readonly links: TableLinks;
  readonly tlb: Tlb;
  /** Contents of the L4 slots that are Xen's, low and high halves in turn. */
  readonly #xenSlots: Uint32Array;
  readonly #state: State<{ linearEntries: number }>;

  /** `xenSlots`: what every L4 table gets in slots 256 to 271. */
  constructor(states: States, info: PageInfo, tlb: Tlb, xenSlots: Uint32Array) {
    this.info = info;
    this.tlb = tlb;
    this.links = new TableLinks(states, info.frames);
    this.#xenSlots = xenSlots;
    this.#state = states.state('page-types', 1, () => ({ linearEntries: 0 }));
  }

  /** Entries of live tables that point to their own table. Their translations follow no rule: see PageUpdates. */
  get linearEntries(): number {
    return this.#state.linearEntries;
  }

  /**
   * Takes a reference to `frame` as a page of `type`, checking its contents if it is not one yet.
   * @returns 0 or a negative errno; then nothing is held.
   */
  get(frame: number, type: number): number {
    if (!this.info.get(frame)) return -EINVAL;
    const error = this.getType(frame, type);
    if (error !== 0) this.info.put(frame);
    return error;
  }

  put(frame: number): void {
    this.putType(frame);
    this.info.put(frame);
  }

  /** As `get`, for a frame to which a reference is held already. */
  getType(frame: number, type: number): number {
    const { info } = this;
    const { typeCount } = info;
    if (typeCount[frame] !== 0) {
      if (info.type[frame] !== type) return -EINVAL;
      typeCount[frame]++;
      return 0;
    }
    // The type stands while the contents are checked, so that a table which refers to itself as another level is
    // caught.
    info.type[frame] = type;
    typeCount[frame] = 1;
    const error = this.#validate(frame, type);
    if (error === 0) return 0;
    info.type[frame] = PGT_none;
    typeCount[frame] = 0;
    return error;
  }

  putType(frame: number): void {
    const { typeCount, type: types } = this.info;
    if (typeCount[frame] === 0) throw new Error(`frame ${frame} has no type reference left to give back`);
    if (--typeCount[frame] !== 0) return;
    const type = types[frame];
    if (type < PGT_l1_page_table || type > PGT_l4_page_table) return;
    this.#devalidate(frame, type, ENTRIES);
    types[frame] = PGT_none;
  }

  /** Takes what a present L1 entry needs: a reference to its frame and, if writable, its writable type. 0 or -errno. */
  getL1(low: number, high: number): number {
    const { info } = this;
    if (low & L1_DISALLOWED) return -EINVAL;
    const frame = frameOf(low, high);
    // A frame that is no memory would be a device's, and this domain has none. All ones is not even that.
    if (frame >= info.frames) return isAllOnes(low, high) ? -EINVAL : -EPERM;
    if (!info.get(frame)) return -EBUSY;
    if ((low & PTE_RW) === 0) return 0;
    const { typeCount, type } = info;
    if (typeCount[frame] === 0) {
      type[frame] = PGT_writable_page;
      typeCount[frame] = 1;
    } else if (type[frame] === PGT_writable_page) {
      typeCount[frame]++;
    } else {
      info.put(frame);
      return -EBUSY;
    }
    return 0;
  }

  putL1(low: number, high: number): void {
    const frame = frameOf(low, high);
    if (low & PTE_RW) this.putType(frame);
    this.info.put(frame);
  }

  /** Takes what present entry `index` of the table `table` at `level` (2 to 4) needs. 0 or -errno. */
  getTable(level: number, table: number, index: number, low: number, high: number): number {
    if (low & L234_DISALLOWED) return -EINVAL;
    const frame = frameOf(low, high);
    if (frame === table) {
      // A linear page table: readable through itself as if it were one level lower, never writable.
      if (low & PTE_RW) return -EINVAL;
      this.#state.linearEntries++;
      return 0;
    }
    if (frame === NO_FRAME) return -EINVAL;
    const error = this.get(frame, level - 1);
    if (error === 0) this.links.add(frame, table, index, level === PGT_l4_page_table);
    return error;
  }

  putTable(table: number, index: number, low: number, high: number): void {
    const frame = frameOf(low, high);
    if (frame === table) {
      this.#state.linearEntries--;
      return;
    }
    const { info } = this;
    const links = info.typeCount[frame] - 1 - (info.isPinned(frame) ? 1 : 0);
    this.links.remove(frame, table, index, links === 0);
    this.put(frame);
  }

  /**
   * What an accepted L1 entry's low half becomes: a page that the guest meant for its users is global, as Xen has it;
   * the bit means nothing while CR4.PGE is off, but guests read it back.
   */
  static adjustedL1(low: number, high: number): number {
    return low & PTE_US && (high & PTE_HIGH_GUEST_KERNEL) === 0 ? low | PTE_G : low | PTE_US;
  }

  /** What its high half becomes. `low` is as the guest wrote it. */
  static adjustedL1High(low: number, high: number): number {
    return low & PTE_US ? high : (high | PTE_HIGH_GUEST_KERNEL) >>> 0;
  }

  /** What an accepted entry's low half becomes at `level` 2 to 4. */
  static adjustedTable(level: number, low: number): number {
    return level === PGT_l4_page_table ? low | PTE_US | PTE_A : low | PTE_US;
  }

  #validate(frame: number, type: number): number {
    if (type === PGT_l1_page_table) return this.#validateL1(frame);
    if (type <= PGT_l4_page_table) return this.#validateTable(frame, type);
    if (type === PGT_seg_desc_page) return checkDescriptorPage(this.info.words, frame);
    return 0;
  }

  #validateL1(table: number): number {
    const { words } = this.info;
    const start = table * 1024;
    for (let i = 0; i < ENTRIES; i++) {
      const at = start + 2 * i;
      const low = words[at];
      if ((low & PTE_P) === 0) continue;
      const high = words[at + 1];
      const error = this.getL1(low, high);
      if (error !== 0) {
        this.#devalidate(table, PGT_l1_page_table, i);
        return error;
      }
      words[at] = PageTypes.adjustedL1(low, high);
      words[at + 1] = PageTypes.adjustedL1High(low, high);
    }
    return 0;
  }

  #validateTable(table: number, level: number): number {
    const { words } = this.info;
    const start = table * 1024;
    for (let i = 0; i < ENTRIES; i++) {
      if (level === PGT_l4_page_table && isXenSlot(i)) continue;
      const at = start + 2 * i;
      const low = words[at];
      if ((low & PTE_P) === 0) continue;
      const error = this.getTable(level, table, i, low, words[at + 1]);
      if (error !== 0) {
        this.#devalidate(table, level, i);
        return error;
      }
      words[at] = PageTypes.adjustedTable(level, low);
    }
    if (level === PGT_l4_page_table) words.set(this.#xenSlots, start + 2 * FIRST_XEN_SLOT);
    return 0;
  }

  /** Gives back what the entries below `end` hold. */
  #devalidate(table: number, level: number, end: number): void {
    const { words } = this.info;
    const start = table * 1024;
    for (let i = 0; i < end; i++) {
      const low = words[start + 2 * i];
      if ((low & PTE_P) === 0) continue;
      const high = words[start + 2 * i + 1];
      if (level === PGT_l1_page_table) this.putL1(low, high);
      else if (level !== PGT_l4_page_table || !isXenSlot(i)) this.putTable(table, i, low, high);
    }
    if (level === PGT_l4_page_table) {
      // The table is the guest's again: nothing of Xen's stays readable in it.
      if (end === ENTRIES) words.fill(0, start + 2 * FIRST_XEN_SLOT, start + 2 * (LAST_XEN_SLOT + 1));
      this.tlb.root(table);
    }
  }
}

/** The frame number with every bit set, by which a guest says that it has none. */
function isAllOnes(low: number, high: number): boolean {
  return low >>> 12 === 0xfffff && (high & 0xfffff) === 0xfffff;
}
