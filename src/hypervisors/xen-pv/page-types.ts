/**
 * Page types: the rule that keeps a guest which edits real page tables inside its memory. A frame is a page table of
 * one level, a descriptor page, or writable, never two of them at a time; before a frame becomes a table or a
 * descriptor page all of it is checked, and from then on every change is.
 *
 * The engine walks these tables as they stand. The kernel of a 64-bit guest runs at CPL 3, too, so its entries get what
 * that needs when they are accepted: the user bit at every level, and a mark (bit 52) on those that the guest meant for
 * its kernel. The kernel of a 32-bit guest runs in ring 1, and its entries stand as it wrote them but for the four of the
 * root: the processor, which is in long mode, wants the rights there that PAE has no bits for.
 */

/** Entries of a PAE root. The rest of its page is zeros: the processor sees all of it. */
const PAE_ROOT_ENTRIES = 4;
/** The last of them leads to the table that Xen has entries in, and never changes while the root is one. */
const PAE_XEN_ENTRY = 3;

import type { State, States } from '../../state/state.ts';
import { PTE_A, PTE_G, PTE_P, PTE_RW, PTE_US } from '../../x86/paging.ts';
import { EBUSY, EINVAL, EPERM } from '../xen/constants.ts';
import type { PvAbi } from './abi.ts';
import { checkDescriptorPage } from './descriptor-check.ts';
import {
  type PageInfo,
  PGT_l1_page_table,
  PGT_l2_page_table,
  PGT_l3_page_table,
  PGT_l4_page_table,
  PGT_none,
  PGT_pae_xen_l2,
  PGT_seg_desc_page,
  PGT_writable_page,
} from './page-info.ts';
import {
  ENTRIES,
  frameOf,
  L1_DISALLOWED,
  L234_DISALLOWED,
  NO_FRAME,
  PTE_HIGH_GUEST_KERNEL,
} from './page-table-entry.ts';
import { TableLinks } from './table-links.ts';
import type { Tlb } from './tlb.ts';

export class PageTypes {
  readonly info: PageInfo;
  readonly links: TableLinks;
  readonly tlb: Tlb;
  readonly abi: PvAbi;
  /** The kernel runs at CPL 3: the processor must find the user bit in every entry. */
  readonly #lifts: boolean;
  /** Contents of the entries that are Xen's, low and high halves in turn. */
  readonly #xenSlots: Uint32Array;
  readonly #state: State<{ linearEntries: number }>;
  /** Hears of a change of `linearEntries`. */
  onLinearEntries: (count: number) => void = () => {};

  /** `xenSlots`: what every table of the type that has entries of Xen's gets there. */
  constructor(states: States, info: PageInfo, tlb: Tlb, xenSlots: Uint32Array, abi: PvAbi) {
    this.info = info;
    this.tlb = tlb;
    this.abi = abi;
    this.#lifts = abi.kernelRing === 3;
    this.links = new TableLinks(states, info, abi);
    this.#xenSlots = xenSlots;
    this.#state = states.state('page-types', 1, () => ({ linearEntries: 0 }));
  }

  /** Entries of live tables that point to their own table. Their translations follow no rule: see PageUpdates. */
  get linearEntries(): number {
    return this.#state.linearEntries;
  }

  #countLinearEntries(more: number): void {
    this.#state.linearEntries += more;
    this.onLinearEntries(this.#state.linearEntries);
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
    if (!isTable(type)) return;
    this.#devalidate(frame, type, this.#entries(type));
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

  /** True if the guest may change entry `index` of a live table of `type`. */
  mayChange(type: number, index: number): boolean {
    if (this.#isXenSlot(type, index)) return false;
    return !this.#isPaeRoot(type) || index < PAE_XEN_ENTRY;
  }

  /** True if a present entry of a table of `type` (not L1) has bits that the guest may not set. */
  disallowsTable(type: number, low: number, high: number): boolean {
    if (low & L234_DISALLOWED) return true;
    // The four entries of a PAE root have nothing but an address.
    return this.#isPaeRoot(type) && high >>> 20 !== 0;
  }

  /** Takes what present entry `index` of the table `table` of `type` (not L1) needs. 0 or -errno. */
  getTable(type: number, table: number, index: number, low: number, high: number): number {
    if (this.disallowsTable(type, low, high)) return -EINVAL;
    const frame = frameOf(low, high);
    const holdsXen = index === PAE_XEN_ENTRY && this.#isPaeRoot(type);
    if (frame === table && !holdsXen) {
      // A linear page table: readable through itself as if it were one level lower, never writable.
      if (low & PTE_RW) return -EINVAL;
      this.#countLinearEntries(1);
      return 0;
    }
    if (frame === NO_FRAME) return -EINVAL;
    const error = this.get(frame, holdsXen ? PGT_pae_xen_l2 : levelOf(type) - 1);
    if (error !== 0) return error;
    // Xen's entries include some of the root's own: no two roots share the table.
    if (holdsXen && this.info.typeCount[frame] !== 1) {
      this.put(frame);
      return -EINVAL;
    }
    this.links.add(frame, table, index);
    return 0;
  }

  putTable(table: number, index: number, low: number, high: number): void {
    const frame = frameOf(low, high);
    if (frame === table) {
      this.#countLinearEntries(-1);
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
  adjustedL1(low: number, high: number): number {
    if (!this.#lifts) return low;
    return low & PTE_US && (high & PTE_HIGH_GUEST_KERNEL) === 0 ? low | PTE_G : low | PTE_US;
  }

  /** What its high half becomes. `low` is as the guest wrote it. */
  adjustedL1High(low: number, high: number): number {
    return !this.#lifts || low & PTE_US ? high : (high | PTE_HIGH_GUEST_KERNEL) >>> 0;
  }

  /** What the low half of an accepted entry becomes in a table of `type` (not L1). */
  adjustedTable(type: number, low: number): number {
    if (!this.#lifts) return this.#isPaeRoot(type) ? low | PTE_US | PTE_RW : low;
    return type === PGT_l4_page_table ? low | PTE_US | PTE_A : low | PTE_US;
  }

  #isPaeRoot(type: number): boolean {
    return type === PGT_l3_page_table && this.abi.levels === 3;
  }

  #isXenSlot(type: number, index: number): boolean {
    const { xenSlots } = this.abi;
    return type === xenSlots.type && index >= xenSlots.first && index <= xenSlots.last;
  }

  /** Entries of a table of `type` that count. */
  #entries(type: number): number {
    return this.#isPaeRoot(type) ? PAE_ROOT_ENTRIES : ENTRIES;
  }

  #validate(frame: number, type: number): number {
    if (type === PGT_l1_page_table) return this.#validateL1(frame);
    if (isTable(type)) return this.#validateTable(frame, type);
    if (type === PGT_seg_desc_page) return checkDescriptorPage(this.info.words, frame, this.abi);
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
      words[at] = this.adjustedL1(low, high);
      words[at + 1] = this.adjustedL1High(low, high);
    }
    return 0;
  }

  #validateTable(table: number, type: number): number {
    const { words } = this.info;
    const { xenSlots } = this.abi;
    const start = table * 1024;
    const entries = this.#entries(type);
    if (entries < ENTRIES) {
      words.fill(0, start + 2 * entries, start + 2 * ENTRIES);
      if ((words[start + 2 * PAE_XEN_ENTRY] & PTE_P) === 0) return -EINVAL;
    }
    for (let i = 0; i < entries; i++) {
      if (this.#isXenSlot(type, i)) continue;
      const at = start + 2 * i;
      const low = words[at];
      if ((low & PTE_P) === 0) continue;
      const error = this.getTable(type, table, i, low, words[at + 1]);
      if (error !== 0) {
        this.#devalidate(table, type, i);
        return error;
      }
      words[at] = this.adjustedTable(type, low);
    }
    if (type === xenSlots.type) words.set(this.#xenSlots, start + 2 * xenSlots.first);
    return 0;
  }

  /** Gives back what the entries below `end` hold. */
  #devalidate(table: number, type: number, end: number): void {
    const { words } = this.info;
    const { xenSlots } = this.abi;
    const start = table * 1024;
    for (let i = 0; i < end; i++) {
      const at = start + 2 * i;
      const low = words[at];
      if ((low & PTE_P) === 0) continue;
      const high = words[at + 1];
      if (type === PGT_l1_page_table) this.putL1(low, high);
      else if (!this.#isXenSlot(type, i)) this.putTable(table, i, low, high);
      // What PAE has no bits for is not left where the guest might use it again.
      if (this.#isPaeRoot(type)) words[at] &= ~(PTE_US | PTE_RW | PTE_A);
    }
    // The table is the guest's again: nothing of Xen's stays readable in it.
    if (type === xenSlots.type && end === ENTRIES)
      words.fill(0, start + 2 * xenSlots.first, start + 2 * (xenSlots.last + 1));
    if (levelOf(type) === this.abi.levels) this.tlb.root(table);
  }
}

function isTable(type: number): boolean {
  return (type >= PGT_l1_page_table && type <= PGT_l4_page_table) || type === PGT_pae_xen_l2;
}

/** The level of tables of `type`. */
function levelOf(type: number): number {
  return type === PGT_pae_xen_l2 ? PGT_l2_page_table : type;
}

/** The frame number with every bit set, by which a guest says that it has none. */
function isAllOnes(low: number, high: number): boolean {
  return low >>> 12 === 0xfffff && (high & 0xfffff) === 0xfffff;
}
