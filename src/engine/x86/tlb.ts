/**
 * The banks of a processor's TLB. A bank holds the translations of one address space for one class of access: user, kernel, kernel with
 * RFLAGS.AC set. Switching address spaces is then a change of three base addresses; banks are reused least recently used
 * first. Flushes find what there is to flush in the notes that the page walk takes (paging.ts).
 */
import {
  type ProcessorArea,
  TLB_BANK,
  TLB_EMPTY,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_EXECUTE,
  TLB_FLAGS,
  TLB_KEYS,
  TLB_NOTES,
  TLB_NOTES_LIST,
  TLB_READ,
  TLB_SETS,
} from '../layout.ts';
import { STATE, state } from './state.ts';

const CLASSES = 3;
const SETS = TLB_SETS;
const GLOBAL = 1;
/** Up to so many translations are looked at one by one. */
const FEW_NOTES = 64;

/** Address spaces' names. Without PCIDs there is one; where a hypervisor sees every change of a table, each root has its own. */
export const ONE_SPACE = -1;
export const pcidSpace = (pcid: number): number => pcid;
const PCIDS = 4096;
/** hypervisor-paths.ts computes the same. */
export const rootSpace = (cr3: bigint): number => PCIDS + Number(cr3);
export const FIRST_ROOT_SPACE = PCIDS;
/** No address space: the set of banks is free. */
const FREE = -2;

export class Tlb {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #doubles: Float64Array;
  flushes = 0;
  /** Absolute address of the processor's state, as Cpu.base. */
  base = STATE;
  readonly #banks: number;
  readonly #notes: number;
  /** Takes the write tags of entries [from, to) for the page at `host`: paging.ts has it, for it looks at thousands of entries. */
  revoke!: (from: number, to: number, host: number) => void;

  constructor(buffer: ArrayBuffer, area: Pick<ProcessorArea, 'banks' | 'notes'>) {
    this.#banks = area.banks;
    this.#notes = area.notes;
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.#doubles = new Float64Array(buffer);
    // Nothing is known of the banks yet.
    for (let set = 0; set < SETS; set++) this.#words[this.#list(set, false)] = TLB_NOTES + 1;
    this.forgetJumps();
  }

  // What the banks hold stands in the processor's state, where fast paths find it, too.

  /** The address space of a set of banks, or FREE. */
  #owner(set: number): number {
    return this.#doubles[(this.base + state.SPACE_OWNER) / 8 + set]!;
  }
  #give(set: number, space: number): void {
    this.#doubles[(this.base + state.SPACE_OWNER) / 8 + set] = space;
  }
  #setOf(space: number): number {
    for (let set = 0; set < SETS; set++) if (this.#owner(set) === space) return set;
    return -1;
  }
  #use(set: number, tick: number): void {
    this.#doubles[(this.base + state.SPACE_USED) / 8 + set] = tick;
  }
  get #current(): number {
    return this.#words[(this.base + state.SPACE_CURRENT) / 4]!;
  }
  #leastRecentlyUsed(): number {
    const used = (this.base + state.SPACE_USED) / 8;
    let least = 0;
    for (let set = 1; set < SETS; set++) if (this.#doubles[used + set]! < this.#doubles[used + least]!) least = set;
    return least;
  }
  #release(set: number): void {
    this.#give(set, FREE);
    this.#use(set, 0);
  }

  /** All banks are free, but for the current address space's. Called once, before anything is selected. */
  begin(): void {
    for (let set = 0; set < SETS; set++) this.#release(set);
    this.select(ONE_SPACE);
  }
  /** Makes `space` the current address space; its translations are as they were left. */
  select(space: number): void {
    let set = this.#setOf(space);
    if (set < 0) {
      set = this.#leastRecentlyUsed();
      this.#give(set, space);
      this.#empty(set);
    }
    this.#use(set, ++this.#doubles[(this.base + state.SPACE_TICK) / 8]!);
    this.#words[(this.base + state.SPACE_CURRENT) / 4] = set;
    const words = this.#words;
    for (let kind = 0; kind < CLASSES; kind++) words[(this.base + state.CLASS_BASE) / 4 + kind] = this.#bank(set, kind);
    words[(this.base + state.NOTES) / 4] = this.#list(set, false) * 4;
  }
  /** The current address space's name. */
  get space(): number {
    return this.#owner(this.#current);
  }
  /** Forgets all translations of `space`. */
  drop(space: number): void {
    const set = this.#setOf(space);
    if (set < 0) return;
    if (set === this.#current) this.#empty(set);
    else this.#release(set);
  }
  /** Drops the current space's translations, but for global pages if `keepGlobal`. */
  flush(keepGlobal: boolean): void {
    this.flushes++;
    const set = this.#current;
    if (!keepGlobal) return this.#empty(set);
    if (this.#emptyNoted(set, false)) return;
    for (let entry = this.#bank(set, 0); entry < this.#bank(set, CLASSES); entry += TLB_ENTRY)
      if (!(this.#words[(entry + TLB_FLAGS) >> 2]! & GLOBAL)) this.#clear(entry);
    this.#words[this.#list(set, false)] = 0;
  }
  /** Drops every translation there is. */
  flushAll(): void {
    this.flushes++;
    for (let set = 0; set < SETS; set++) {
      if (set === this.#current) this.#empty(set);
      else this.#release(set);
    }
  }
  /** Drops one page in all address spaces: global translations may be anywhere. */
  invalidate(linear: bigint): void {
    const index = Number(BigInt.asUintN(32, linear) >> 12n) & (TLB_ENTRIES - 1); // As entryOffset (tlb-entry.ts) has it.
    for (let set = 0; set < SETS; set++)
      if (this.#owner(set) !== FREE)
        for (let kind = 0; kind < CLASSES; kind++) this.#clear(this.#bank(set, kind) + index * TLB_ENTRY);
  }
  /** Takes write permission for a page of guest RAM (at `host` in the WebAssembly memory) out of every bank. */
  revokeWrites(host: number): void {
    for (let set = 0; set < SETS; set++)
      if (this.#owner(set) !== FREE && !this.#revokeNoted(set, host))
        this.revoke(this.#bank(set, 0), this.#bank(set, CLASSES), host);
  }
  /** The same for a set in which few translations are held; false, and nothing is done, if there are more. */
  #revokeNoted(set: number, host: number): boolean {
    const words = this.#words;
    const lists = [this.#list(set, false), this.#list(set, true)];
    if (lists.some(list => words[list]! > FEW_NOTES)) return false;
    for (const list of lists)
      for (let i = 1; i <= words[list]!; i++) {
        const entry = words[list + i]!;
        this.revoke(entry, entry + TLB_ENTRY, host);
      }
    return true;
  }

  /** Whatever translated code has noted about where jumps lead (JUMP_CACHE) counts no more. */
  forgetJumps(): void {
    for (let set = 0; set < SETS; set++)
      for (let kind = 0; kind < CLASSES; kind++) this.#renewKey(this.#bank(set, kind));
    this.#renewKey(TLB_EMPTY);
  }
  /** Gives the bank that `address` lies in a new key. */
  #renewKey(address: number): void {
    const words = this.#words;
    const last = TLB_KEYS / 4;
    words[last]!++;
    if (words[last] === 0) words[last + 1]!++;
    const key = last + 2 * Math.floor(address / TLB_BANK);
    words[key] = words[last]!;
    words[key + 1] = words[last + 1]!;
  }

  /** Drops all translations in a set. */
  #empty(set: number): void {
    const own = this.#emptyNoted(set, false);
    if (this.#emptyNoted(set, true) && own) return;
    for (let kind = 0; kind < CLASSES; kind++) {
      this.#bytes.copyWithin(this.#bank(set, kind), TLB_EMPTY, TLB_EMPTY + TLB_BANK);
      this.#renewKey(this.#bank(set, kind));
    }
    this.#words[this.#list(set, false)] = 0;
    this.#words[this.#list(set, true)] = 0;
  }
  /** Drops what is on a list and still of its kind; false, and nothing is done, if the list has overflown. */
  #emptyNoted(set: number, global: boolean): boolean {
    const words = this.#words;
    const list = this.#list(set, global);
    const count = words[list]!;
    if (count > TLB_NOTES) return false;
    for (let i = 1; i <= count; i++) {
      const entry = words[list + i]!;
      if (((words[(entry + TLB_FLAGS) >> 2]! & GLOBAL) !== 0) === global) this.#clear(entry);
    }
    words[list] = 0;
    return true;
  }
  #clear(entry: number): void {
    const index = (entry / TLB_ENTRY) & (TLB_ENTRIES - 1); // Banks start at multiples of their size.
    const execute = (entry + TLB_EXECUTE) >> 2;
    if (this.#words[execute] !== emptyLow(index) || this.#words[execute + 1] !== 0) this.#renewKey(entry);
    for (let tag = TLB_READ / 4; tag < 6; tag += 2) this.#setTag((entry >> 2) + tag, index);
  }
  #setTag(word: number, index: number): void {
    this.#words[word] = emptyLow(index);
    this.#words[word + 1] = 0;
  }

  #bank(set: number, kind: number): number {
    return this.#banks + (set * CLASSES + kind) * TLB_BANK;
  }
  /** Index in 32-bit words of a set's list. */
  #list(set: number, global: boolean): number {
    return (this.#notes + (2 * set + (global ? 1 : 0)) * TLB_NOTES_LIST) / 4;
  }
}

/** The low half of emptyTag(index) (paging.ts); the high half is 0. */
function emptyLow(index: number): number {
  return index === 0 ? 0x1000 : 0;
}
