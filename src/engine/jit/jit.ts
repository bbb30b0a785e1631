/**
 * The second tier: is told which blocks the interpreter enters often, has the regions around them translated, several at
 * once, and takes them back when their code is written to.
 */
import type { ArtifactCache } from '../../host/artifact-cache.ts';
import type { Blocks, CodeSource } from '../blocks.ts';
import { JUMPS, JUMPS_ENTRIES, JUMPS_RING, type Layout } from '../layout.ts';
import type { CodeSize } from '../x86/decode.ts';
import { type CodeView, keyOf, partsOf, type RegionLibrary, type RegionModule, type RegionPlace } from './library.ts';
import { findRegion, type Region } from './region.ts';
import type { TranslationRequest, Translator } from './translator.ts';

/** How often the interpreter has entered a block when it is looked at, again and again. A power of two. */
export const HEAT_STEP = 2048;
/** How often it must have entered it for the block to be hot. */
const HOT = 10 * HEAT_STEP;
/** … and before it is worth being part of a region. */
const WARM = 1000;
/** Instructions in which a block that is hot is entered HEAT_STEP times: what takes longer costs next to nothing as it is. */
const SLOW = 2e9;
/** Looks with nothing to do for the translator after which less is hot, too: the core that it has is free. */
const IDLE = 4000;
/** Regions that go into one module at most, and looks (`look`) to wait for more of them: longer where they are less hot. */
const BATCH = 64;
const PATIENCE = 200;
const MORE_PATIENCE = 2000;
/** Regions that may wait for their module: more of them would be stale before they come. */
const OUTSTANDING = 96;
/** A place is left to the interpreter when losing its regions has cost this much: that of six translations. */
const LOSS_LIMIT = 48;
const LOSS = { translated: 8, recalled: 1 } as const;
/** Live regions: V8 keeps a mapping a module on Node below 24 (engine-numbers 1). */
const LIVE_LIMIT = 12000;

export interface JitHost {
  layout: Layout;
  bytes: Uint8Array;
  memory: WebAssembly.Memory;
  blocks: Blocks;
  source: CodeSource;
  translator: Translator;
  /** Where regions are looked up and kept, and the cache's file that they belong into. */
  library: RegionLibrary | undefined;
  libraryName: string;
  cache: ArtifactCache | undefined;
  /** What leads to regions by linear address is to be forgotten. */
  forgetJumps(): void;
  /** Executed so far, roughly. */
  instructions(): number;
  /** Guest-physical address of executable RAM at a linear address; -1 where there is none. */
  code(linear: bigint): number;
  /** May code that runs now be translated? 32-bit code may under flat segments, 16-bit code never. */
  translates(code: CodeSize): boolean;
  table(code: CodeSize): WebAssembly.Table;
  /** The interpreter's functions that regions call, by the names that they import. */
  functions: Record<string, unknown>;
}

interface Candidate {
  linear: bigint;
  physical: number;
  code: CodeSize;
}
/** A region that is being translated, or that the guest may enter. */
interface Entry extends Candidate {
  place: RegionPlace;
  origin: keyof typeof LOSS;
  /** In the table; -1 until its module has come. */
  index: number;
}

export class Jit {
  readonly #host: JitHost;
  /** When blocks were entered a multiple of HEAT_STEP times, in instructions; by `keyOf`. */
  readonly #heated = new Map<number, number>();
  /** By `keyOf`. */
  readonly #losses = new Map<number, number>();
  #batch: TranslationRequest[] = [];
  #waited = 0;
  #hot = HOT;
  #idle = 0;
  /** By `keyOf`. */
  readonly #entries = new Map<number, Entry>();
  readonly #byPage = new Map<number, Set<Entry>>();
  /** By the number of its request. */
  readonly #requested = new Map<number, Entry>();
  #requests = 0;
  readonly #free: Record<CodeSize, number[]> = { 16: [], 32: [], 64: [] };
  /** The exports of modules from the library, made for this machine. */
  readonly #recalled = new Map<RegionModule, Record<string, unknown>>();
  readonly statistics = { regions: 0, instructions: 0, modules: 0, recalled: 0, invalidated: 0, milliseconds: 0 };

  constructor(host: JitHost) {
    this.#host = host;
    host.blocks.onDrop = page => this.#drop(page);
    host.translator.onModule = (module, ids) => this.#install(module, ids);
    const { cache, library, libraryName } = host;
    if (cache && library) host.translator.compile(library.load(cache, libraryName));
  }

  /** Called every few thousand instructions: takes what has been translated, and goes on. */
  look(): void {
    const { translator } = this.#host;
    translator.poll();
    if (this.#batch.length > 0) {
      this.#idle = 0;
      if (++this.#waited >= (this.#hot < HOT ? MORE_PATIENCE : PATIENCE)) this.#submit();
    } else if (translator.beside && translator.outstanding === 0 && ++this.#idle >= IDLE) {
      this.#idle = 0;
      this.#hot = Math.max(HEAT_STEP, this.#hot - HEAT_STEP);
    }
  }
  /** The block at `linear` has been entered a multiple of HEAT_STEP times. */
  request(linear: bigint, code: CodeSize): void {
    const physical = this.#host.translates(code) ? this.#host.code(linear) : -1;
    if (physical < 0 || this.recall(linear, physical, code)) return;
    const key = keyOf(physical, code);
    const now = this.#host.instructions();
    const pause = now - (this.#heated.get(key) ?? 0);
    this.#heated.set(key, now);
    if (pause > SLOW || this.#host.blocks.heat(physical, code) < this.#hot) return;
    this.#want({ linear, physical, code }, WARM);
    if (this.#batch.length < BATCH) return;
    this.#hot = HOT;
    this.#submit();
  }
  /** Code is executed at `linear`, perhaps for the first time. @returns true if the library has a region for it, which is there now */
  recall(linear: bigint, physical: number, code: CodeSize): boolean {
    const { library } = this.#host;
    if (!library || !this.#host.translates(code) || this.#isRefused(physical, code)) return false;
    const found = library.find(code, physical & 4095, this.#viewAt(linear, physical, code));
    if (!found) return false;
    let exports = this.#recalled.get(found.module);
    if (!exports) {
      if (!found.module.compiled) return false;
      this.#recalled.set(found.module, (exports = this.#instantiate(found.module.compiled)));
    }
    const pages = found.pages.map(page => (page.delta === 0 ? { delta: 0, physical: physical & ~4095 } : page));
    const entry: Entry = { linear, physical, code, place: { ...found, pages }, origin: 'recalled', index: -1 };
    this.#register(entry);
    this.statistics.recalled++;
    return this.#enter(entry, exports[`r${found.number}`]);
  }
  /** Translates what starts at `linear` at once, hot or not: for tests. @returns false if there is nothing to translate. */
  translate(linear: bigint, code: CodeSize): boolean {
    const physical = this.#host.translates(code) ? this.#host.code(linear) : -1;
    if (physical < 0) return false;
    const { blocks, source } = this.#host;
    if (blocks.heat(physical, code) < 0 && !blocks.translate(linear, physical, code, source)) return false;
    const wanted = this.#want({ linear, physical, code }, 0);
    if (wanted) this.#submit();
    return wanted;
  }
  /** Keeps what has been translated for a later process, if there is much that is new. Takes some 20 ms then. */
  save(): void {
    const { cache, library, libraryName } = this.#host;
    if (cache && library) library.save(cache, libraryName);
  }
  close(): void {
    this.save();
    this.#host.translator.close();
  }

  /**
   * Finds the region around the place, of blocks entered `warm` times, and puts it into the next batch: now, while the address
   * space is the one in which it is hot. @returns false if there is none, or it is there already.
   */
  #want(candidate: Candidate, warm: number): boolean {
    const started = performance.now();
    const { physical, code } = candidate;
    if (this.#isRefused(physical, code)) return false;
    const executed: number[] = [];
    const targets: TranslationRequest['targets'] = [];
    const region = this.#find(candidate, warm, executed, targets);
    if (!region) return false;
    const { pages, seen, instructions } = region;
    const place = { code, entry: physical & 4095, pages, parts: partsOf(region), instructions };
    const entry: Entry = { ...candidate, place, origin: 'translated', index: -1 };
    const id = ++this.#requests;
    this.#register(entry);
    this.#requested.set(id, entry);
    const copies = seen.map(page => ({ ...page, bytes: this.#read(page.physical, 4096).slice() }));
    this.#batch.push({ id, entry: place.entry, code, instructions, pages: copies, executed, targets });
    this.statistics.milliseconds += performance.now() - started;
    return true;
  }
  /** Hands what has been gathered to the translator. */
  #submit(): void {
    const { translator } = this.#host;
    if (translator.outstanding >= OUTSTANDING) return;
    this.#waited = 0;
    translator.translate(this.#batch.splice(0, BATCH));
  }
  #find(
    { linear, physical, code }: Candidate,
    warm: number,
    executed: number[],
    targets: TranslationRequest['targets'],
  ): Region | undefined {
    const { layout, bytes, blocks } = this.#host;
    const page = linear & ~4095n;
    return findRegion(
      {
        bytes,
        page: this.#viewAt(linear, physical, code).page,
        executed: at => {
          const wanted = blocks.heat(at, code) >= warm;
          if (wanted) executed.push(at);
          return wanted;
        },
        targets: offset => {
          const to = this.#jumpsFrom(page + BigInt(offset)).map(target => Number(BigInt.asIntN(64, target - page)));
          if (to.length) targets.push([offset, to]);
          return to;
        },
        at: at => layout.guestOrigin + at,
      },
      physical & 4095,
      code,
    );
  }
  /** The memory around a place. */
  #viewAt(linear: bigint, physical: number, code: CodeSize): CodeView {
    const page = linear & ~4095n;
    return {
      ramSize: this.#host.layout.ramSize,
      page: delta =>
        delta === 0
          ? physical & ~4095
          : this.#host.code(BigInt.asUintN(code === 64 ? 64 : 32, page + BigInt(delta * 4096))),
      read: (from, length) => this.#read(from, length),
    };
  }
  #read(physical: number, length: number): Uint8Array {
    const from = this.#host.layout.guestOrigin + physical;
    return this.#host.bytes.subarray(from, from + length);
  }
  /** There is a region at the place already, or there shall not be one. */
  #isRefused(physical: number, code: CodeSize): boolean {
    const key = keyOf(physical, code);
    return this.#entries.has(key) || (this.#losses.get(key) ?? 0) >= LOSS_LIMIT || this.#entries.size >= LIVE_LIMIT;
  }
  /** Where the indirect jump or call at a linear address went lately, the most frequent first. */
  #jumpsFrom(linear: bigint): bigint[] {
    const { bytes } = this.#host;
    const ring = new BigUint64Array(bytes.buffer, JUMPS + JUMPS_RING, 2 * JUMPS_ENTRIES);
    const counts = new Map<bigint, number>();
    for (let i = 0; i < ring.length; i += 2)
      if (ring[i] === linear) counts.set(ring[i + 1]!, (counts.get(ring[i + 1]!) ?? 0) + 1);
    return [...counts].sort(([, x], [, y]) => y - x).map(([target]) => target);
  }
  /** Notes where a region's code lies: it is taken back when that is written to, even before its module has come. */
  #register(entry: Entry): void {
    const { pages, parts, instructions } = entry.place;
    this.#entries.set(keyOf(entry.physical, entry.code), entry);
    this.statistics.regions++;
    this.statistics.instructions += instructions;
    for (const { delta, physical } of pages) {
      const number = physical >>> 12;
      for (const { from, to } of parts.filter(part => part.delta === delta))
        this.#host.blocks.markCode(number, from, to);
      const here = this.#byPage.get(number);
      if (here) here.add(entry);
      else this.#byPage.set(number, new Set([entry]));
    }
  }
  /** A module has come: its functions go into the table, and then the interpreter may go there. */
  #install(module: RegionModule, ids: readonly number[]): void {
    const entries = ids.map(id => this.#requested.get(id));
    for (const id of ids) this.#requested.delete(id);
    if (!entries.some(entry => entry && this.#isLive(entry))) return;
    const started = performance.now();
    const exports = this.#instantiate(module.compiled!);
    this.statistics.modules++;
    entries.forEach((entry, number) => {
      if (entry && this.#isLive(entry) && this.#enter(entry, exports[`r${number}`])) this.#keep(entry, module, number);
    });
    this.statistics.milliseconds += performance.now() - started;
  }
  #keep({ place }: Entry, module: RegionModule, number: number): void {
    const { library, libraryName, layout } = this.#host;
    if (!library) return;
    const bytes = place.parts.map(({ delta, from, to }) => {
      const { physical } = place.pages.find(page => page.delta === delta)!;
      return this.#read(physical + from, to - from).slice();
    });
    const { code, entry, pages, parts, instructions } = place;
    const { ramSize } = layout;
    library.keep({ code, entry, pages, parts, instructions, bytes, module, number, ramSize }, libraryName);
  }
  #instantiate(module: WebAssembly.Module): Record<string, unknown> {
    const { memory, functions } = this.#host;
    return new WebAssembly.Instance(module, { env: { memory, ...functions } }).exports;
  }
  /** Lets the interpreter go to the function that is a region. */
  #enter(entry: Entry, translated: unknown): boolean {
    const { linear, physical, code } = entry;
    const { blocks, source } = this.#host;
    const table = this.#host.table(code);
    entry.index = this.#free[code].pop() ?? table.grow(1);
    table.set(entry.index, translated);
    const entered = blocks.installRegion(linear, physical, code, entry.index, source);
    if (!entered) this.#remove(entry);
    return entered;
  }
  #isLive(entry: Entry): boolean {
    return this.#entries.get(keyOf(entry.physical, entry.code)) === entry;
  }

  /** The code of a page was written to. */
  #drop(page: number): void {
    const here = this.#byPage.get(page);
    if (!here) return;
    this.#byPage.delete(page);
    for (const entry of here) if (this.#isLive(entry)) this.#remove(entry);
  }
  #remove(entry: Entry): void {
    const { physical, code, index, place, origin } = entry;
    const key = keyOf(physical, code);
    this.#entries.delete(key);
    for (const page of place.pages) this.#byPage.get(page.physical >>> 12)?.delete(entry);
    this.#losses.set(key, (this.#losses.get(key) ?? 0) + LOSS[origin]);
    this.statistics.invalidated++;
    if (index < 0) return;
    this.#host.blocks.removeRegion(physical, code);
    this.#host.forgetJumps();
    this.#host.table(code).set(index, null);
    this.#free[code].push(index);
  }
}
