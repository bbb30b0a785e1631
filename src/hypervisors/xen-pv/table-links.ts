/**
 * Where each page table hangs: the tables and entries that point to it. With it every changed entry can be turned back
 * into the linear addresses that it translates, so that exactly those leave the TLB. That is what lets a context switch
 * keep every translation: the TLB never holds a stale translation (see tlb.ts).
 *
 * Up to two places are remembered for each table, which is what Linux needs: the kernel's image and the direct map
 * share tables, and so do the kernel's and the user's root of one process. A table that hangs in more places is
 * `everywhere`.
 */

import type { State, States } from '../../state/state.ts';
import type { PvAbi } from './abi.ts';
import { NOTED, notedWords, type PageInfo, PGT_l4_page_table, PGT_pae_xen_l2 } from './page-info.ts';

/** A place: frame of the pointing table << 9 | index of the entry. */
export const NOWHERE = 0xffffffff;
/** More places than remembered. */
export const EVERYWHERE = 0xfffffffe;
/** The frame of a place that stands for many tables at one place of the address space, which point here from one slot. */
const ANY_ROOT = 0xfffff;
/** Pages that the last entry of a PAE root leads past. */
const PAE_LAST_GIB = 3 * 512 * 512;

export class TableLinks {
  /** The two places of each table, by the table's frame. */
  readonly #state: State<{ first: Uint32Array; second: Uint32Array }>;

  readonly #info: PageInfo;
  readonly #levels: number;
  /** The type of the tables of which a guest has many at one place: roots, and in PAE the last tables of level 2. */
  readonly #common: number;

  constructor(states: States, info: PageInfo, abi: PvAbi) {
    const { frames } = info;
    this.#info = info;
    this.#levels = abi.levels;
    this.#common = abi.levels === 4 ? PGT_l4_page_table : PGT_pae_xen_l2;
    if (frames > ANY_ROOT) throw new Error('more memory than page-table links can name');
    const nowhere = () => new Uint32Array(frames).fill(NOWHERE);
    this.#state = states.state('table-links', 1, () => ({ first: nowhere(), second: nowhere() }));
    this.attach();
  }

  /** As `PageInfo.attach`. */
  attach(): void {
    const { memory, frames } = this.#info;
    const state = this.#state;
    state.first = notedWords(memory, NOTED.first * frames, state.first);
    state.second = notedWords(memory, NOTED.second * frames, state.second);
  }

  /** Entry `index` of `parent` now points to `child`. */
  add(child: number, parent: number, index: number): void {
    const place = ((parent << 9) | index) >>> 0;
    const first = this.#state.first[child];
    const second = this.#state.second[child];
    if (first === NOWHERE) this.#state.first[child] = place;
    else if (first === EVERYWHERE) return;
    else if (second === NOWHERE && first >>> 9 !== ANY_ROOT) this.#state.second[child] = place;
    else if (this.#isCommon(parent) && this.#sameSlot(first, index) && this.#sameSlot(second, index)) {
      this.#state.first[child] = ((ANY_ROOT << 9) | index) >>> 0;
      this.#state.second[child] = NOWHERE;
    } else {
      this.#state.first[child] = EVERYWHERE;
      this.#state.second[child] = NOWHERE;
    }
  }

  #isCommon(table: number): boolean {
    return this.#info.type[table] === this.#common;
  }

  /** True for no place, and for one at `index` of a table of the common kind. */
  #sameSlot(place: number, index: number): boolean {
    if (place === NOWHERE) return true;
    const table = place >>> 9;
    return (place & 511) === index && (table === ANY_ROOT || this.#isCommon(table));
  }

  /** Entry `index` of `parent` no longer points to `child`; `last`: nothing does any more. */
  remove(child: number, parent: number, index: number, last: boolean): void {
    const place = ((parent << 9) | index) >>> 0;
    if (last) {
      this.#state.first[child] = NOWHERE;
      this.#state.second[child] = NOWHERE;
    } else if (this.#state.second[child] === place) {
      this.#state.second[child] = NOWHERE;
    } else if (this.#state.first[child] === place) {
      this.#state.first[child] = this.#state.second[child];
      this.#state.second[child] = NOWHERE;
    }
  }

  /**
   * Calls `visit` with the page number (linear address >> 12, 36 bits) of everything that entry `index` of L1 table
   * `table` translates.
   * @returns false if that is more than is known.
   */
  pages(table: number, index: number, visit: (pageNumber: number) => void): boolean {
    return this.#climb(table, index, 1, visit);
  }

  #climb(table: number, pageNumber: number, level: number, visit: (pageNumber: number) => void): boolean {
    const first = this.#state.first[table];
    if (first === NOWHERE) return true;
    if (first === EVERYWHERE) return false;
    const second = this.#state.second[table];
    const scale = 512 ** level;
    const through = pageNumber + (first & 511) * scale;
    if (level === this.#levels - 1) {
      visit(through);
      if (second !== NOWHERE && (second & 511) !== (first & 511)) visit(pageNumber + (second & 511) * scale);
      return true;
    }
    if (first >>> 9 === ANY_ROOT) visit(through + PAE_LAST_GIB);
    else if (!this.#climb(first >>> 9, through, level + 1, visit)) return false;
    return second === NOWHERE || this.#climb(second >>> 9, pageNumber + (second & 511) * scale, level + 1, visit);
  }
}
