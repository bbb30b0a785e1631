/**
 * The TLB's banks. A bank holds the translations of one address space for one class of access: user, kernel, kernel with
 * RFLAGS.AC set. Switching address spaces is then a change of three base addresses; banks are reused least recently used
 * first. An address space is named by its caller: the PCID, or the root's address where a hypervisor sees every change.
 */
import { TLB_AREA, TLB_BANK, TLB_BANKS, TLB_EMPTY, TLB_ENTRIES, TLB_ENTRY, TLB_FLAGS, TLB_READ } from '../layout.ts';
import * as state from './state.ts';

const CLASSES = 3;

export class Tlb {
  readonly #bytes: Uint8Array;
  readonly #words: Uint32Array;
  readonly #view: DataView;
  /** Address space of each set of three banks; undefined: free. */
  readonly #owner: (string | undefined)[] = new Array(TLB_BANKS / CLASSES).fill(undefined);
  readonly #used: number[] = new Array(TLB_BANKS / CLASSES).fill(0);
  #tick = 0;
  #current = 0;
  flushes = 0;

  constructor(buffer: ArrayBuffer) {
    this.#bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** Makes `space` the current address space; its translations are as they were left. */
  select(space: string): void {
    let set = this.#owner.indexOf(space);
    if (set < 0) {
      set = this.#used.indexOf(Math.min(...this.#used));
      this.#owner[set] = space;
      this.#flushSet(set);
    }
    this.#used[set] = ++this.#tick;
    this.#current = set;
    for (let kind = 0; kind < CLASSES; kind++)
      this.#view.setUint32(state.STATE + state.CLASS_BASE + 4 * kind, this.#base(set, kind), true);
  }
  /** Forgets all translations of `space`. */
  drop(space: string): void {
    const set = this.#owner.indexOf(space);
    if (set < 0) return;
    if (set === this.#current) return this.#flushSet(set);
    this.#owner[set] = undefined;
    this.#used[set] = 0;
  }
  /** Drops the current space's translations, but for global pages if `keepGlobal`. */
  flush(keepGlobal: boolean): void {
    this.flushes++;
    if (!keepGlobal) return this.#flushSet(this.#current);
    const words = this.#words;
    for (let kind = 0; kind < CLASSES; kind++) {
      const base = this.#base(this.#current, kind);
      for (let index = 0; index < TLB_ENTRIES; index++) {
        const entry = (base + index * TLB_ENTRY) >> 2;
        if (!(words[entry + TLB_FLAGS / 4]! & 1)) this.#clear(entry, index);
      }
    }
  }
  /** Drops every translation there is. */
  flushAll(): void {
    this.flushes++;
    for (let set = 0; set < this.#owner.length; set++) {
      if (set === this.#current) this.#flushSet(set);
      else {
        this.#owner[set] = undefined;
        this.#used[set] = 0;
      }
    }
  }
  /** Drops one page in all address spaces: global translations may be anywhere. */
  invalidate(linear: bigint): void {
    const page = linear >> 12n;
    const index = Number((page ^ (linear >> 23n)) & BigInt(TLB_ENTRIES - 1));
    for (let set = 0; set < this.#owner.length; set++)
      if (this.#owner[set] !== undefined)
        for (let kind = 0; kind < CLASSES; kind++) this.#clear((this.#base(set, kind) + index * TLB_ENTRY) >> 2, index);
  }
  /** Takes write permission for a page of guest RAM (at `host` in the WebAssembly memory) out of every bank. */
  revokeWrites(host: number): void {
    const words = this.#words;
    for (let set = 0; set < this.#owner.length; set++) {
      if (this.#owner[set] === undefined) continue;
      for (
        let entry = this.#base(set, 0) >> 2, index = 0, end = this.#base(set, CLASSES) >> 2;
        entry < end;
        entry += 8, index++
      )
        if ((words[entry + 2]! + words[entry + 6]!) >>> 0 === host) this.#setTag(entry + 2, index & (TLB_ENTRIES - 1));
    }
  }

  #base(set: number, kind: number): number {
    return TLB_AREA + (set * CLASSES + kind) * TLB_BANK;
  }
  #flushSet(set: number): void {
    for (let kind = 0; kind < CLASSES; kind++)
      this.#bytes.copyWithin(this.#base(set, kind), TLB_EMPTY, TLB_EMPTY + TLB_BANK);
  }
  #clear(entry: number, index: number): void {
    for (let tag = TLB_READ / 4; tag < 6; tag += 2) this.#setTag(entry + tag, index);
  }
  #setTag(word: number, index: number): void {
    // emptyTag(index) without a bigint.
    this.#words[word] = index === 0 ? 0x1000 : 0;
    this.#words[word + 1] = 0;
  }
}
