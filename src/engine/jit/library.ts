/**
 * Translated regions that outlive their machine. Another machine that executes the same code installs them at once: in
 * the same process or, with an `ArtifactCache`, in a later one. A region depends on its code's bytes, on the
 * guest-physical pages that hold them (except the entry's page, which it never names), and on the size of RAM: `find`
 * compares all of these.
 */
import type { ArtifactCache } from '../../host/artifact-cache.ts';
import type { CompiledModule } from '../../wasm/objects.ts';
import type { CodeSize } from '../x86/decode.ts';
import { packRegions, unpackRegions } from './packed-regions.ts';
import type { CodePage, Region } from './region.ts';

/** Bytes [from, to) of the page `delta` pages after the entry's. */
export interface CodePart {
  delta: number;
  from: number;
  to: number;
}

/** Where a region's code lies. */
export interface RegionPlace {
  code: CodeSize;
  /** Offset of the entry in page 0. */
  entry: number;
  pages: readonly CodePage[];
  parts: readonly CodePart[];
  instructions: number;
}

/** A module of regions: its functions `r0`, `r1` … */
export interface RegionModule {
  bytes: Uint8Array<ArrayBuffer>;
  /** Undefined until the bytes have been compiled. */
  compiled: CompiledModule | undefined;
}

export interface KeptRegion extends RegionPlace {
  ramSize: number;
  /** The bytes of `parts`. */
  bytes: readonly Uint8Array[];
  module: RegionModule;
  /** The number of its function in the module. */
  number: number;
}

/** A machine's memory as `find` reads it: as it is mapped around the place of the search. */
export interface CodeView {
  ramSize: number;
  /** Guest-physical address of the page `delta` pages after the entry's; -1 if it has no executable RAM. */
  page(delta: number): number;
  /** `bytes` from a guest-physical address on. */
  read(physical: number, length: number): Uint8Array;
}

/**
 * The default limit of a library, in bytes of modules: enough for four boots of Linux and the programs run after them.
 */
const LIMIT = 16 << 20;
/**
 * The limit of a saved file, in bytes of modules. The first ones are saved, which are those of a boot. The next start
 * compiles all of them on another thread, at 0.1 s a megabyte: modules of code that may never run there would delay the
 * others.
 */
export const SAVED_LIMIT = 3 << 20;
/** A file is written anew when it lacks so many regions, as a share of those it has. */
const WORTH_SAVING = 0.2;

/** For `MachineOptions.library`: machines that are given the same one share what they translate. */
export class RegionLibrary {
  /** By code size and entry. */
  readonly #shelves = new Map<number, KeptRegion[]>();
  /** By the name that a cache has them under. */
  readonly #named = new Map<string, { regions: KeptRegion[]; saved: number }>();
  readonly #modules = new Set<RegionModule>();
  readonly #limit: number;
  #bytes = 0;

  /** @param limit bytes of modules; a module that would exceed it is not kept */
  constructor(limit: number = LIMIT) {
    this.#limit = limit;
  }

  /** @param name the name of the cache's file for the region */
  keep(region: KeptRegion, name: string): void {
    const { module } = region;
    if (!this.#modules.has(module)) {
      if (this.#bytes + module.bytes.length > this.#limit) return;
      this.#bytes += module.bytes.length;
      this.#modules.add(module);
    }
    const key = keyOf(region.entry, region.code);
    const shelf = this.#shelves.get(key);
    if (shelf) shelf.push(region);
    else this.#shelves.set(key, [region]);
    this.#file(name).regions.push(region);
  }
  /**
   * The region with its entry at an offset in the view's page 0; undefined if there is none, or if the view holds other
   * code.
   */
  find(code: CodeSize, entry: number, view: CodeView): KeptRegion | undefined {
    return this.#shelves.get(keyOf(entry, code))?.find(region => isThere(region, view));
  }

  /**
   * Reads the file of a name, unless it has been read already. @returns its modules that are not compiled yet
   */
  load(cache: ArtifactCache, name: string): RegionModule[] {
    const data = this.#named.has(name) ? undefined : cache.load(name);
    const file = this.#file(name);
    if (data) {
      for (const region of regionsIn(data)) this.keep(region, name);
      file.saved = file.regions.length;
    }
    return [...new Set(file.regions.map(({ module }) => module))].filter(({ compiled }) => !compiled);
  }
  /** Writes the file of a name, if it has grown a lot since it was read or written. */
  save(cache: ArtifactCache, name: string): void {
    const file = this.#file(name);
    const regions = firstOf(file.regions, SAVED_LIMIT);
    if (regions.length <= file.saved * (1 + WORTH_SAVING)) return;
    cache.save(name, packRegions(regions));
    file.saved = regions.length;
  }
  #file(name: string) {
    const known = this.#named.get(name) ?? { regions: [], saved: 0 };
    this.#named.set(name, known);
    return known;
  }
}

/** The regions in a file of the cache; none if the file is garbage. */
function regionsIn(data: Uint8Array<ArrayBuffer>): KeptRegion[] {
  try {
    return unpackRegions(data);
  } catch {
    return [];
  }
}

/** The first regions whose modules have at most `limit` bytes together. */
function firstOf(regions: readonly KeptRegion[], limit: number): readonly KeptRegion[] {
  const modules = new Set<RegionModule>();
  let bytes = 0;
  for (const [index, { module }] of regions.entries()) {
    if (modules.has(module)) continue;
    modules.add(module);
    bytes += module.bytes.length;
    if (bytes > limit) return regions.slice(0, index);
  }
  return regions;
}

/** One number for a place of code: a guest-physical address, or an offset in a page, and the code's size. */
export const keyOf = (address: number, code: CodeSize): number => address * 4 + code / 32;

function isThere({ ramSize, pages, parts, bytes }: KeptRegion, view: CodeView): boolean {
  return (
    ramSize === view.ramSize &&
    pages.every(({ delta, physical }) => delta === 0 || view.page(delta) === physical) &&
    parts.every(({ delta, from, to }, i) => {
      const here = view.read(view.page(delta) + from, to - from);
      return bytes[i]!.every((byte, at) => byte === here[at]);
    })
  );
}

/** Where the instructions of a region lie, in as few parts as possible. */
export function partsOf({ blocks, pages }: Region): CodePart[] {
  return pages.flatMap(({ delta }) => {
    const start = delta * 4096;
    const ranges = blocks
      .flatMap(block =>
        block.code.map(({ instruction, offset }) => ({ from: offset, to: offset + instruction.length })),
      )
      .map(({ from, to }) => ({ from: Math.max(from - start, 0), to: Math.min(to - start, 4096) }))
      .filter(({ from, to }) => from < to)
      .sort((x, y) => x.from - y.from);
    const parts: CodePart[] = [];
    for (const { from, to } of ranges) {
      const last = parts.at(-1);
      if (last && from <= last.to) last.to = Math.max(last.to, to);
      else parts.push({ delta, from, to });
    }
    return parts;
  });
}

/**
 * The name of a kernel's file of regions. Equal images have equal names. Should two others share a name, `find` finds
 * nothing of the other.
 */
export function libraryName(kernel: Uint8Array, ramSize: number): string {
  // The end of an image is compressed, or symbols: it differs wherever anything does.
  let hash = 0x811c9dc5; // FNV-1a
  for (const byte of kernel.subarray(-65536)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `regions-${ramSize}-${kernel.length}-${(hash >>> 0).toString(16)}`;
}
