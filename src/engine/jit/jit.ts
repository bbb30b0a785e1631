/**
 * The second tier: notices where the guest spends its time (by looking at RIP whenever a slice of instructions ends), has those
 * regions translated, several at once, and takes them back when their code is written to.
 */
import type { Blocks, CodeSource } from '../blocks.ts';
import type { Layout } from '../layout.ts';
import type { CodeSize } from '../x86/decode.ts';
import { compileRegions } from './compile.ts';
import { findRegion, type Region } from './region.ts';

/** Slices that must end in the same place before it counts as hot. */
const HOT = 10;
/** Regions a module holds at most, and slices to wait for more of them. */
const BATCH = 16;
const PATIENCE = 24;
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
  /** The helper import, and the number of a helper that touches only vector and x87 state. */
  helper(code: CodeSize): (id: number) => number;
  pureHelper(code: CodeSize, name: string): number | undefined;
}

interface Candidate {
  linear: bigint;
  physical: number;
  code: CodeSize;
}
interface Installed {
  physical: number;
  code: CodeSize;
  index: number;
  pages: number[];
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
        const heat = (this.#heat.get(key) ?? 0) + 1;
        this.#heat.set(key, heat);
        if (heat === HOT && (this.#patched.get(key) ?? 0) < PATCHED_LIMIT) this.#queue.push({ linear, physical, code });
      }
    }
    if (this.#queue.length && (++this.#waited >= PATIENCE || this.#queue.length >= BATCH)) this.#compile();
  }

  /** Translates what starts at `linear` at once, hot or not: for tests. @returns false if there is nothing to translate. */
  translate(linear: bigint, code: CodeSize): boolean {
    const physical = this.#host.code(linear);
    if (physical < 0) return false;
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
    const module = compileRegions(
      layout,
      found.map(f => f.region),
      true,
      name => this.#host.pureHelper(64, name),
    );
    const instance = new WebAssembly.Instance(new WebAssembly.Module(module), {
      env: { memory: this.#host.memory, helper: this.#host.helper(64) },
    });
    this.statistics.modules++;
    this.statistics.bytes += module.length;
    const table = this.#host.table(64);
    found.forEach(({ candidate, region }, i) => {
      const { linear, physical, code } = candidate;
      const index = this.#free[code].pop() ?? table.grow(1);
      table.set(index, instance.exports[`r${i}`]);
      if (!blocks.installRegion(linear, physical, code, index, this.#host.source)) return;
      const pages = region.pages.map(p => p.physical >>> 12);
      const installed: Installed = { physical, code, index, pages };
      this.#installed.set(physical * 4 + code / 32, installed);
      for (const { delta, physical: at } of region.pages) {
        const number = at >>> 12;
        for (const block of region.blocks)
          for (const { instruction, offset } of block.code) {
            const from = offset - delta * 4096;
            if (from + instruction.length > 0 && from < 4096)
              blocks.markCode(number, Math.max(0, from), Math.min(4096, from + instruction.length));
          }
        const here = this.#byPage.get(number);
        if (here) here.add(installed);
        else this.#byPage.set(number, new Set([installed]));
      }
      this.statistics.regions++;
      this.statistics.instructions += region.instructions;
    });
    this.statistics.milliseconds += performance.now() - started;
  }

  /** The code of a page was written to. */
  #drop(page: number): void {
    const here = this.#byPage.get(page);
    if (!here) return;
    this.#byPage.delete(page);
    for (const installed of here) {
      const { physical, code, index, pages } = installed;
      const key = physical * 4 + code / 32;
      if (this.#installed.get(key) !== installed) continue;
      this.#installed.delete(key);
      this.#host.blocks.removeRegion(physical, code);
      this.#host.table(code).set(index, null);
      this.#free[code].push(index);
      for (const other of pages) this.#byPage.get(other)?.delete(installed);
      this.#patched.set(key, (this.#patched.get(key) ?? 0) + 1);
      this.#heat.set(key, 0);
      this.statistics.invalidated++;
    }
  }
}
