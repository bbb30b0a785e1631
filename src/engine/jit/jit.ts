/**
 * The second tier: notices where the guest spends its time (by looking at RIP whenever a slice of instructions ends), has those
 * regions translated, several at once, and takes them back when their code is written to.
 */
import type { Blocks, CodeSource } from '../blocks.ts';
import type { Layout } from '../layout.ts';
import type { CodeSize } from '../x86/decode.ts';
import { compileRegion, linkRegions } from './compile.ts';
import { findRegion, type Region } from './region.ts';

/** Slices that must end in the same place before it counts as hot. */
const HOT = 8;
/** Times that a block must be looked up (by region exits, indirect branches, jumps to other pages) before it counts as hot. */
export const HOT_LOOKUPS = 1500;
/** Places to remember. */
const HEAT_LIMIT = 8192;
/** Regions a fresh module holds at most, and slices to wait for more of them. */
const BATCH = 32;
const PATIENCE = 300;
/**
 * Modules of one generation that are merged into one of the next: each module's code starts on pages of its own, and calls
 * between a thousand of them miss every cache (engine-numbers 2: 300 ns a transfer, against 4 within a module).
 */
const GENERATION = 6;
/** A place whose region was invalidated this often is left to the interpreter. */
const PATCHED_LIMIT = 6;
/** Live regions: V8 keeps a mapping a module on Node below 24 (engine-numbers 1). */
const REGION_LIMIT = 12000;

export interface JitHost {
  layout: Layout;
  bytes: Uint8Array;
  memory: WebAssembly.Memory;
  blocks: Blocks;
  source: CodeSource;
  /** Guest-physical address of executable RAM at a linear address; -1 where there is none. */
  code(linear: bigint): number;
  table(code: CodeSize): WebAssembly.Table;
  /** The helper import, and the number of a helper that translated code may call. */
  helper(code: CodeSize): (id: number) => number;
  pureHelper(code: CodeSize, name: string): number | undefined;
  /** The interpreter's functions that regions call. */
  functions(code: CodeSize): { bulkMovs: unknown; bulkStos: unknown; walk: unknown };
}

interface Candidate {
  linear: bigint;
  physical: number;
  code: CodeSize;
}
interface Installed {
  physical: number;
  code: CodeSize;
  /** In the table. */
  index: number;
  pages: number[];
  body: Uint8Array;
}
/** A module's regions; some may have been invalidated since. */
interface Linked {
  regions: Installed[];
}

export class Jit {
  readonly #host: JitHost;
  readonly #heat = new Map<number, number>();
  readonly #patched = new Map<number, number>();
  #queue: Candidate[] = [];
  #waited = 0;
  readonly #installed = new Map<number, Installed>();
  readonly #byPage = new Map<number, Set<Installed>>();
  readonly #free: Record<CodeSize, number[]> = { 16: [], 32: [], 64: [] };
  /** Live modules by generation. */
  readonly #generations: Linked[][] = [];
  readonly statistics = { regions: 0, instructions: 0, modules: 0, bytes: 0, invalidated: 0, milliseconds: 0 };

  constructor(host: JitHost) {
    this.#host = host;
    host.blocks.onDrop = page => this.#drop(page);
  }

  /** The guest was at `linear` when a slice ended. */
  sample(linear: bigint, code: CodeSize): void {
    if (code !== 64) return; // segments: the interpreter's, for now
    const physical = this.#host.code(linear);
    if (physical >= 0) {
      const key = physical * 4 + code / 32;
      if (!this.#installed.has(key)) {
        // Places that were seen once in a while are forgotten.
        if (this.#heat.size > HEAT_LIMIT) this.#heat.clear();
        const heat = (this.#heat.get(key) ?? 0) + 1;
        this.#heat.set(key, heat);
        if (heat === HOT && (this.#patched.get(key) ?? 0) < PATCHED_LIMIT) this.#queue.push({ linear, physical, code });
      }
    }
    if (this.#queue.length && (++this.#waited >= PATIENCE || this.#queue.length >= BATCH)) this.#compile();
  }

  /** The block at `linear` has been looked up HOT_LOOKUPS times. */
  request(linear: bigint, code: CodeSize): void {
    if (code !== 64) return;
    const physical = this.#host.code(linear);
    const key = physical * 4 + code / 32;
    if (physical < 0 || this.#installed.has(key) || (this.#patched.get(key) ?? 0) >= PATCHED_LIMIT) return;
    this.#queue.push({ linear, physical, code });
    if (this.#queue.length >= BATCH) this.#compile();
  }

  /** Translates what starts at `linear` at once, hot or not: for tests. @returns false if there is nothing to translate. */
  translate(linear: bigint, code: CodeSize): boolean {
    const physical = this.#host.code(linear);
    if (physical < 0) return false;
    const { blocks, source } = this.#host;
    if (!blocks.known(physical, code) && !blocks.translate(linear, physical, code, source)) return false;
    const before = this.statistics.regions;
    this.#queue = [{ linear, physical, code }];
    this.#compile();
    return this.statistics.regions > before;
  }

  #compile(): void {
    const started = performance.now();
    const { layout, bytes, blocks } = this.#host;
    const batch = this.#queue.splice(0, BATCH);
    this.#waited = 0;
    const found: { candidate: Candidate; region: Region }[] = [];
    const pending: { entry: Installed; linear: bigint }[] = [];
    for (const candidate of batch) {
      const { linear, physical, code } = candidate;
      const page = linear & ~4095n;
      // The address may be mapped elsewhere by now.
      if (this.#host.code(linear) !== physical) continue;
      const region = findRegion(
        {
          origin: layout.guestOrigin,
          bytes,
          page: delta => (delta === 0 ? physical & ~4095 : this.#host.code(page + BigInt(delta * 4096))),
          executed: at => blocks.known(at, code),
        },
        physical & 4095,
        code,
      );
      if (region) found.push({ candidate, region });
    }
    if (!found.length || this.#installed.size + found.length > REGION_LIMIT) return;
    const table = this.#host.table(64);
    const installed: Installed[] = [];
    for (const { candidate, region } of found) {
      const { linear, physical, code } = candidate;
      if (!blocks.known(physical, code)) continue; // dropped by a flush meanwhile
      const body = compileRegion(layout, region, true, name => this.#host.pureHelper(64, name));
      const index = this.#free[code].pop() ?? table.grow(1);
      const entry: Installed = { physical, code, index, pages: region.pages.map(p => p.physical >>> 12), body };
      installed.push(entry);
      this.statistics.regions++;
      this.statistics.instructions += region.instructions;
      this.statistics.bytes += body.length;
      this.#register(entry, region);
      pending.push({ entry, linear });
    }
    this.#link(installed, 0);
    // Only now that the table has the functions may the interpreter go there.
    for (const { entry, linear } of pending)
      if (!blocks.installRegion(linear, entry.physical, entry.code, entry.index, this.#host.source))
        this.#remove(entry);
    this.statistics.milliseconds += performance.now() - started;
  }

  /** Notes where a region's code lies. */
  #register(entry: Installed, region: Region): void {
    const { blocks } = this.#host;
    this.#installed.set(entry.physical * 4 + entry.code / 32, entry);
    for (const { delta, physical: at } of region.pages) {
      const number = at >>> 12;
      for (const block of region.blocks)
        for (const { instruction, offset } of block.code) {
          const from = offset - delta * 4096;
          if (from + instruction.length > 0 && from < 4096)
            blocks.markCode(number, Math.max(0, from), Math.min(4096, from + instruction.length));
        }
      const here = this.#byPage.get(number);
      if (here) here.add(entry);
      else this.#byPage.set(number, new Set([entry]));
    }
  }
  /** Makes one module of the regions and puts its functions in the table; merges modules when there are many of a generation. */
  #link(regions: Installed[], generation: number): void {
    if (!regions.length) return;
    const bytes = linkRegions(
      this.#host.layout,
      regions.map(region => region.body),
    );
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), {
      env: { memory: this.#host.memory, helper: this.#host.helper(64), ...this.#host.functions(64) },
    });
    const table = this.#host.table(64);
    regions.forEach((region, i) => table.set(region.index, instance.exports[`r${i}`]));
    this.statistics.modules++;
    const peers = (this.#generations[generation] ??= []);
    peers.push({ regions });
    if (peers.length < GENERATION) return;
    this.#generations[generation] = [];
    const live = peers.flatMap(peer => peer.regions.filter(region => this.#isLive(region)));
    this.#link(live, generation + 1);
  }
  #isLive(region: Installed): boolean {
    return this.#installed.get(region.physical * 4 + region.code / 32) === region;
  }

  /** The code of a page was written to. */
  #drop(page: number): void {
    const here = this.#byPage.get(page);
    if (!here) return;
    this.#byPage.delete(page);
    for (const entry of here) if (this.#isLive(entry)) this.#remove(entry);
  }
  #remove(entry: Installed): void {
    const { physical, code, index, pages } = entry;
    const key = physical * 4 + code / 32;
    this.#installed.delete(key);
    this.#host.blocks.removeRegion(physical, code);
    this.#host.table(code).set(index, null);
    this.#free[code].push(index);
    for (const page of pages) this.#byPage.get(page)?.delete(entry);
    this.#patched.set(key, (this.#patched.get(key) ?? 0) + 1);
    this.#heat.set(key, 0);
    this.statistics.invalidated++;
  }
}
