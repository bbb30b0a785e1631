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
export const rootSpace = (cr3: bigint): number => PCIDS + Number(cr3);

export class Tlb {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  /** Address space of each set of three banks; undefined: free. */
  readonly #owner: (number | undefined)[] = new Array(SETS).fill(undefined);
  readonly #used: number[] = new Array(SETS).fill(0);
  #tick = 0;
  #current = 0;
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
    // Nothing is known of the banks yet.
    for (let set = 0; set < SETS; set++) this.#words[this.#list(set, false)] = TLB_NOTES + 1;
    this.forgetJumps();
  }

  /** Makes `space` the current address space; its translations are as they were left. */
  select(space: number): void {
    let set = this.#owner.indexOf(space);
    if (set < 0) {
      set = this.#used.indexOf(Math.min(...this.#used));
      this.#owner[set] = space;
      this.#empty(set);
    }
    this.#used[set] = ++this.#tick;
    this.#current = set;
    const words = this.#words;
    for (let kind = 0; kind < CLASSES; kind++) words[(this.base + state.CLASS_BASE) / 4 + kind] = this.#bank(set, kind);
    words[(this.base + state.NOTES) / 4] = this.#list(set, false) * 4;
  }
  /** The current address space's name. */
  get space(): number {
    return this.#owner[this.#current]!;
  }
  /** Forgets all translations of `space`. */
  drop(space: number): void {
    const set = this.#owner.indexOf(space);
    if (set < 0) return;
    if (set === this.#current) return this.#empty(set);
    this.#owner[set] = undefined;
    this.#used[set] = 0;
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
      else {
        this.#owner[set] = undefined;
        this.#used[set] = 0;
      }
    }
  }
  /** Drops one page in all address spaces: global translations may be anywhere. */
  invalidate(linear: bigint): void {
    const index = Number(BigInt.asUintN(32, linear) >> 12n) & (TLB_ENTRIES - 1); // As entryOffset (tlb-entry.ts) has it.
    for (let set = 0; set < SETS; set++)
      if (this.#owner[set] !== undefined)
        for (let kind = 0; kind < CLASSES; kind++) this.#clear(this.#bank(set, kind) + index * TLB_ENTRY);
  }
  /** Takes write permission for a page of guest RAM (at `host` in the WebAssembly memory) out of every bank. */
  revokeWrites(host: number): void {
    for (let set = 0; set < SETS; set++)
      if (this.#owner[set] !== undefined && !this.#revokeNoted(set, host))
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
