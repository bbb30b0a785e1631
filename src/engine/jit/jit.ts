/**
 * The second tier. The interpreter tells it which blocks it enters often; it has the regions around them translated,
 * several in one module, and removes a region when its code is written to.
 */
import type { ArtifactCache } from '../../host/artifact-cache.ts';
import type { CompiledModule, WasmMemory, WasmTable } from '../../wasm/objects.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import type { Blocks, CodeSource } from '../blocks.ts';
import { JUMPS, JUMPS_ENTRIES, JUMPS_RING, type Layout } from '../layout.ts';
import type { CodeSize } from '../x86/decode.ts';
import { type CodeView, keyOf, partsOf, type RegionLibrary, type RegionModule, type RegionPlace } from './library.ts';
import { findRegion, type Region } from './region.ts';
import type { TranslationRequest, Translator } from './translator.ts';

/** The interpreter asks for a block's translation at every multiple of so many visits. A power of two. */
export const VISITS_STEP = 2048;
/** A block is hot, and the region around it is translated, when the interpreter has entered it so many times. */
const HOT_VISITS = 10 * VISITS_STEP;
/** A block may be part of a region when the interpreter has entered it so many times. */
const WARM_VISITS = 1000;
/**
 * A block is not translated if the guest executed more than so many instructions while the block was entered VISITS_STEP
 * times: the interpreter spends too little time there for a translation to pay.
 */
const SLOW_INSTRUCTIONS = 2e9;
/**
 * HOT_VISITS falls by a step when the translator has had nothing to do for so many polls: its thread is free, so
 * blocks that are less hot are worth translating, too.
 */
const IDLE_POLLS = 4000;
/** A module holds at most so many regions. */
const BATCH_REGIONS = 64;
/** A module that is not full waits for more regions for so many polls. */
const BATCH_POLLS = 200;
/** A module waits so many polls while the translator is idle and blocks that are less hot are translated. */
const IDLE_BATCH_POLLS = 2000;
/** No module is begun while so many regions wait for theirs: the guest would have moved on before they are ready. */
const OUTSTANDING_REGIONS = 96;
/** The cost of losing a region because its code was written to, by where the region came from. */
const LOSS_COST = { translated: 8, recalled: 1 } as const;
/** A place stays with the interpreter when losing its regions has cost so much. */
const LOSS_COST_LIMIT = 6 * LOSS_COST.translated;
/**
 * So many regions may be live: V8 on Node below 24 keeps a memory mapping for each module, and the system limits those.
 */
const LIVE_REGIONS = 12000;

/** A machine that is patient executes so many instructions before it loads the library: it may end at once. */
const RESTORED_PATIENCE = 20e6;

export interface JitHost {
  layout: Layout;
  bytes: Uint8Array;
  memory: WasmMemory;
  blocks: Blocks;
  source: CodeSource;
  translator: Translator;
  /** Regions of earlier machines and processes, and the name of the file for this guest's regions in the cache. */
  library: RegionLibrary | undefined;
  libraryName: string;
  cache: ArtifactCache | undefined;
  /** The library is not loaded at once. */
  patient: boolean;
  /** Empties the jump caches, which lead to regions by linear address. */
  forgetJumps(): void;
  /** Guest instructions executed so far, roughly. */
  instructions(): number;
  /** Guest-physical address of executable RAM at a linear address; -1 where there is none. */
  code(linear: bigint): number;
  /**
   * True if code of this size that runs now may be translated: 32-bit code under flat segments may, 16-bit code never.
   */
  translates(code: CodeSize): boolean;
  table(code: CodeSize): WasmTable;
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
  origin: keyof typeof LOSS_COST;
  /** The function's index in the table; -1 until its module is ready. */
  index: number;
}

export class Jit {
  readonly #host: JitHost;
  /** By `keyOf`: the guest instructions executed when a block last reached a multiple of VISITS_STEP. */
  readonly #visited = new Map<number, number>();
  /** By `keyOf`: the sum of the costs of the regions lost at a place. */
  readonly #losses = new Map<number, number>();
  #batch: TranslationRequest[] = [];
  /** Polls since the first region of the batch. */
  #batchPolls = 0;
  /** How often a block must have been entered to be hot: HOT_VISITS, or less while the translator is idle. */
  #hotVisits = HOT_VISITS;
  /** Polls that found the translator idle. */
  #idlePolls = 0;
  /** By `keyOf`: regions that are translated or live. */
  readonly #entries = new Map<number, Entry>();
  /** The same by the number of each guest-physical page that holds their code. */
  readonly #byPage = new Map<number, Set<Entry>>();
  /** Regions at the translator, by the number of the request. */
  readonly #requested = new Map<number, Entry>();
  #requests = 0;
  readonly #free: Record<CodeSize, number[]> = { 16: [], 32: [], 64: [] };
  /** The exports of modules from the library, made for this machine. */
  readonly #recalled = new Map<RegionModule, Record<string, unknown>>();
  readonly statistics = { regions: 0, instructions: 0, modules: 0, recalled: 0, invalidated: 0, milliseconds: 0 };

  #isLoaded = false;
  /** The library is loaded when the guest has executed so many instructions, and asks for something. */
  #loadsAt: number | undefined;

  constructor(host: JitHost) {
    this.#host = host;
    host.blocks.onDrop = (page, from, to) => this.#drop(page, from, to);
    host.translator.onModule = (module, ids) => this.#install(module, ids);
    if (!host.patient) this.#load();
  }
  #load(): void {
    if (this.#isLoaded) return;
    const { cache, library, libraryName, translator } = this.#host;
    this.#isLoaded = true;
    if (cache && library) translator.compile(library.load(cache, libraryName));
  }

  /**
   * Called every few thousand instructions: installs the modules that are ready, and begins the next one when it is
   * time.
   */
  poll(): void {
    const { translator } = this.#host;
    translator.poll();
    if (this.#batch.length > 0) {
      this.#idlePolls = 0;
      if (++this.#batchPolls >= (this.#hotVisits < HOT_VISITS ? IDLE_BATCH_POLLS : BATCH_POLLS)) this.#submit();
    } else if (translator.ownThread && translator.outstanding === 0 && ++this.#idlePolls >= IDLE_POLLS) {
      this.#idlePolls = 0;
      this.#hotVisits = Math.max(VISITS_STEP, this.#hotVisits - VISITS_STEP);
    }
  }
  /** The block at `linear` has been entered a multiple of VISITS_STEP times. */
  request(linear: bigint, code: CodeSize): void {
    const physical = this.#host.translates(code) ? this.#host.code(linear) : -1;
    if (physical < 0 || this.recall(linear, physical, code)) return;
    const key = keyOf(physical, code);
    const now = this.#host.instructions();
    this.#loadsAt ??= now + RESTORED_PATIENCE;
    if (!this.#isLoaded && now < this.#loadsAt) return;
    this.#load();
    const pause = now - (this.#visited.get(key) ?? 0);
    this.#visited.set(key, now);
    if (pause > SLOW_INSTRUCTIONS || this.#host.blocks.visits(physical, code) < this.#hotVisits) return;
    this.#want({ linear, physical, code }, WARM_VISITS);
    if (this.#batch.length < BATCH_REGIONS) return;
    this.#hotVisits = HOT_VISITS;
    this.#submit();
  }
  /**
   * Installs the library's region for code that is about to be executed. @returns true if there is one, and it is
   * installed
   */
  recall(linear: bigint, physical: number, code: CodeSize): boolean {
    const { library } = this.#host;
    if (!library || !this.#isLoaded || !this.#host.translates(code) || this.#isRefused(physical, code)) return false;
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
  /**
   * Translates what starts at `linear` at once, hot or not: for tests. @returns false if there is nothing to translate.
   */
  translate(linear: bigint, code: CodeSize): boolean {
    const physical = this.#host.translates(code) ? this.#host.code(linear) : -1;
    if (physical < 0) return false;
    this.#load();
    const { blocks, source } = this.#host;
    if (blocks.visits(physical, code) < 0 && !blocks.translate(linear, physical, code, source)) return false;
    const wanted = this.#want({ linear, physical, code }, 0);
    if (wanted) this.#submit();
    return wanted;
  }
  /** From now on it is patient, as at the start of a machine that goes on from a snapshot. All code has been dropped. */
  becomePatient(): void {
    this.#losses.clear();
    this.#isLoaded = false;
    this.#loadsAt = undefined;
  }
  /** Regions that were lost so far were not lost by writes to their code: they may come back. */
  forgive(): void {
    this.#losses.clear();
  }
  /** Writes what has been translated to the cache, if much of it is new: that takes some 20 ms. */
  save(): void {
    const { cache, library, libraryName } = this.#host;
    if (cache && library && this.#isLoaded) library.save(cache, libraryName);
  }
  close(): void {
    this.save();
    this.#host.translator.close();
  }

  /**
   * Finds the region around a place, of blocks that have been entered `warmVisits` times, and puts it into the next
   * batch. The search is not put off, because it needs the address space in which the place is hot. @returns false if
   * there is no such region, or it exists already
   */
  #want(candidate: Candidate, warmVisits: number): boolean {
    const started = performance.now();
    const { physical, code } = candidate;
    if (this.#isRefused(physical, code)) return false;
    const executed: number[] = [];
    const targets: TranslationRequest['targets'] = [];
    const region = this.#find(candidate, warmVisits, executed, targets);
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
  /** Hands the batch to the translator. */
  #submit(): void {
    const { translator } = this.#host;
    if (translator.outstanding >= OUTSTANDING_REGIONS) return;
    this.#batchPolls = 0;
    translator.translate(this.#batch.splice(0, BATCH_REGIONS));
  }
  #find(
    { linear, physical, code }: Candidate,
    warmVisits: number,
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
          const wanted = blocks.visits(at, code) >= warmVisits;
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
  /** True if the place has a region already, or may not have one. */
  #isRefused(physical: number, code: CodeSize): boolean {
    const key = keyOf(physical, code);
    return (
      this.#entries.has(key) || (this.#losses.get(key) ?? 0) >= LOSS_COST_LIMIT || this.#entries.size >= LIVE_REGIONS
    );
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
  /** Marks the pages of a region's code, so that a write there removes the region even before its module is ready. */
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
  /** A module is ready: its functions go into the table, and the interpreter may enter them. */
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
  #instantiate(module: CompiledModule): Record<string, unknown> {
    const { memory, functions } = this.#host;
    return new WebAssembly.Instance(module, { env: { memory: memory as WebAssembly.Memory, ...functions } }).exports;
  }
  /** Puts a region's function into the table and leads the interpreter to it. */
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

  /** The code in [from, to) of a page was written to. @returns true if there are regions with other bytes of it */
  #drop(page: number, from: number, to: number): boolean {
    const here = this.#byPage.get(page);
    if (!here) return false;
    for (const entry of [...here]) if (this.#isWithin(entry, page, from, to)) this.#remove(entry);
    if (here.size === 0) this.#byPage.delete(page);
    return here.size > 0;
  }
  /** A region goes when its code does, and when the block goes that the interpreter has in its stead. */
  #isWithin({ physical, code, place }: Entry, page: number, from: number, to: number): boolean {
    return (
      to - from === PAGE_SIZE ||
      this.#host.blocks.isWithin(physical, code, page, from, to) ||
      place.pages.some(
        at =>
          at.physical >>> 12 === page &&
          place.parts.some(part => part.delta === at.delta && part.from < to && part.to > from),
      )
    );
  }
  #remove(entry: Entry): void {
    const { physical, code, index, place, origin } = entry;
    const key = keyOf(physical, code);
    this.#entries.delete(key);
    for (const page of place.pages) this.#byPage.get(page.physical >>> 12)?.delete(entry);
    this.#losses.set(key, (this.#losses.get(key) ?? 0) + LOSS_COST[origin]);
    this.statistics.invalidated++;
    if (index < 0) return;
    this.#host.blocks.removeRegion(physical, code);
    this.#host.forgetJumps();
    this.#host.table(code).set(index, null);
    this.#free[code].push(index);
  }
}
