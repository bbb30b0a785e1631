/**
 * Changes of live page tables: one entry at a time, each checked against the page types before it is stored. All roads
 * lead here: mmu_update, update_va_mapping and the guest's plain stores into write-protected L1 tables.
 */
import { PTE_A, PTE_D, PTE_P, PTE_PS } from '../../x86/paging.ts';
import { EINVAL } from '../xen/constants.ts';
import type { PageInfo } from './page-info.ts';
import {
  PGT_l1_page_table,
  PGT_l2_page_table,
  PGT_l3_page_table,
  PGT_l4_page_table,
  PGT_pae_xen_l2,
  PGT_writable_page,
} from './page-info.ts';
import { ENTRIES, frameOf, L1_DISALLOWED, PTE_HARMLESS, PTE_HIGH_FRAME } from './page-table-entry.ts';
import type { PageTypes } from './page-types.ts';

/** Where a linear address ends: an entry of an L1 table. */
export interface L1Place {
  table: number;
  index: number;
}

export class PageUpdates {
  readonly info: PageInfo;
  readonly types: PageTypes;
  readonly #words: Uint32Array;
  readonly #place: L1Place = { table: 0, index: 0 };
  readonly #dropPage: (pageNumber: number) => void;

  constructor(types: PageTypes) {
    this.types = types;
    this.info = types.info;
    this.#words = types.info.words;
    this.#dropPage = pageNumber => types.tlb.page(pageNumber);
  }

  /**
   * Stores an entry at machine address `table * 4096 + index * 8`, as MMU_NORMAL_PT_UPDATE or, with `preserveAd`, as
   * MMU_PT_UPDATE_PRESERVE_AD: by the rules of what the page is. 0 or -errno.
   */
  update(table: number, index: number, low: number, high: number, preserveAd: boolean): number {
    const { info } = this;
    if (!info.isOwned(table)) return -EINVAL;
    if (info.typeCount[table] === 0) return this.#storePlain(table, index, low, high);
    const type = info.type[table];
    switch (type) {
      case PGT_l1_page_table:
        return this.modL1(table, index, low, high, preserveAd);
      case PGT_l2_page_table:
      case PGT_l3_page_table:
      case PGT_l4_page_table:
      case PGT_pae_xen_l2:
        return this.#modTable(type, table, index, low, high, preserveAd);
      case PGT_writable_page:
        return this.#storePlain(table, index, low, high);
      default:
        // A descriptor page: HYPERVISOR_update_descriptor changes those.
        return -EINVAL;
    }
  }

  /** Changes entry `index` of L1 table `table`. 0 or -errno. */
  modL1(table: number, index: number, low: number, high: number, preserveAd: boolean): number {
    const at = table * 1024 + 2 * index;
    const oldLow = this.#words[at];
    const oldHigh = this.#words[at + 1];
    if ((low & PTE_P) === 0) {
      this.#store(at, low, high);
    } else {
      if (low & L1_DISALLOWED) return -EINVAL;
      const same = ((low ^ oldLow) & ~PTE_HARMLESS) === 0 && ((high ^ oldHigh) & PTE_HIGH_FRAME) === 0;
      if (!same) {
        const error = this.types.getL1(low, high);
        if (error !== 0) return error;
      }
      const kept = preserveAd ? oldLow & (PTE_A | PTE_D) : 0;
      this.#store(at, this.types.adjustedL1(low, high) | kept, this.types.adjustedL1High(low, high));
      if (same) {
        if (oldLow !== this.#words[at] || oldHigh !== this.#words[at + 1]) this.dropTranslations(table, index);
        return 0;
      }
    }
    if (oldLow & PTE_P) {
      this.dropTranslations(table, index);
      this.types.putL1(oldLow, oldHigh);
    }
    return 0;
  }

  /**
   * Puts an entry in place of another one in an L1 table, and leaves the references of both to the caller.
   * @returns the entry that was there
   */
  exchangeL1(table: number, index: number, low: number, high: number): { low: number; high: number } {
    const at = table * 1024 + 2 * index;
    const old = { low: this.#words[at], high: this.#words[at + 1] };
    this.#store(at, low, high);
    if (old.low & PTE_P) this.dropTranslations(table, index);
    return old;
  }

  /** Entry `index` of L1 table `table` translates differently: what it translated leaves the TLB. */
  dropTranslations(table: number, index: number): void {
    if (!this.types.links.pages(table, index, this.#dropPage)) this.types.tlb.all();
  }

  #modTable(type: number, table: number, index: number, low: number, high: number, preserveAd: boolean): number {
    const { types } = this;
    if (!types.mayChange(type, index)) return -EINVAL;
    const at = table * 1024 + 2 * index;
    const oldLow = this.#words[at];
    const oldHigh = this.#words[at + 1];
    const wasPresent = (oldLow & PTE_P) !== 0;
    const linear = types.linearEntries;
    if ((low & PTE_P) === 0) {
      if (wasPresent && this.#translates(table, oldLow, oldHigh)) types.tlb.all();
      this.#store(at, low, high);
    } else {
      if (types.disallowsTable(type, low, high)) return -EINVAL;
      const kept = preserveAd ? oldLow & (PTE_A | PTE_D) : 0;
      const same = ((low ^ oldLow) & ~PTE_HARMLESS) === 0 && ((high ^ oldHigh) & PTE_HIGH_FRAME) === 0;
      if (!same) {
        const error = types.getTable(type, table, index, low, high);
        if (error !== 0) return error;
      }
      if (wasPresent && this.#translates(table, oldLow, oldHigh)) types.tlb.all();
      this.#store(at, types.adjustedTable(type, low) | kept, high);
      if (same) return 0;
    }
    // Through a linear entry the upper tables are translations themselves.
    if (linear !== 0 || types.linearEntries !== 0) types.tlb.all();
    if (wasPresent) types.putTable(table, index, oldLow, oldHigh);
    return 0;
  }

  /**
   * True if anything is present in the table that an entry points to: if not, no translation went through the entry.
   */
  #translates(table: number, low: number, high: number): boolean {
    const frame = frameOf(low, high);
    if (frame === table) return true;
    for (let at = frame * 1024, end = at + 2 * ENTRIES; at < end; at += 2) if (this.#words[at] & PTE_P) return true;
    return false;
  }

  /** A page that is no table: the store is just done. */
  #storePlain(table: number, index: number, low: number, high: number): number {
    const error = this.types.getType(table, PGT_writable_page);
    if (error !== 0) return error;
    this.#store(table * 1024 + 2 * index, low, high);
    this.types.putType(table);
    return 0;
  }

  #store(at: number, low: number, high: number): void {
    this.#words[at] = low;
    this.#words[at + 1] = high;
    this.info.memory.onWrite(at * 4, 8);
  }

  /**
   * The L1 entry that translates a page number under `root`, whether present or not; undefined if there is no L1 table
   * there. The object is reused by the next call.
   */
  walk(root: number, pageNumber: number): L1Place | undefined {
    const words = this.#words;
    let upper = root;
    if (this.types.abi.levels === 4) {
      const l4 = root * 1024 + 2 * (Math.floor(pageNumber / 2 ** 27) & 511);
      if ((words[l4] & PTE_P) === 0) return undefined;
      upper = words[l4] >>> 12;
    }
    const l3 = upper * 1024 + 2 * ((pageNumber >>> 18) & 511);
    if ((words[l3] & (PTE_P | PTE_PS)) !== PTE_P) return undefined;
    const l2 = (words[l3] >>> 12) * 1024 + 2 * ((pageNumber >>> 9) & 511);
    if ((words[l2] & (PTE_P | PTE_PS)) !== PTE_P) return undefined;
    this.#place.table = words[l2] >>> 12;
    this.#place.index = pageNumber & 511;
    return this.#place;
  }
}
