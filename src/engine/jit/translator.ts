/**
 * The translator makes WebAssembly modules of regions: on the guest's thread (`LocalTranslator`), or in a worker that
 * runs a `Translation`. Requests are plain data, and answers are finished modules, so that both cross to another
 * thread.
 */

import type { CompiledModule } from '../../wasm/objects.ts';
import { layout } from '../layout.ts';
import { pureHelpers } from '../x86/all-helpers.ts';
import type { CodeSize } from '../x86/decode.ts';
import { helperRegisters } from '../x86/helper.ts';
import { compileRegion } from './compile.ts';
import type { RegionModule } from './library.ts';
import { linkRegions } from './link.ts';
import { type CodePage, findRegion } from './region.ts';

/**
 * A region to be translated: its entry, copies of the pages that its search visits, and what the search asks about
 * them.
 */
export interface TranslationRequest {
  id: number;
  /** Offset of the entry in page 0. */
  entry: number;
  code: CodeSize;
  /** Instructions in the region. */
  instructions: number;
  /** Pages that the search for the region visited. */
  pages: (CodePage & { bytes: Uint8Array })[];
  /** Guest-physical addresses that may start a block. */
  executed: number[];
  /** Where indirect jumps and calls went: offsets from page 0, as `CodeReader.targets` has them. */
  targets: [from: number, to: readonly number[]][];
}

export interface TranslatorSetup {
  ramSize: number;
  /** Names of the interpreter's helpers by number: what a region's calls mean. */
  helpers: readonly string[];
}

export interface Translator {
  /** True if it runs on its own thread, so that translating does not stop the guest. */
  readonly ownThread: boolean;
  /** Regions whose module has not been passed to `onModule` yet. */
  readonly outstanding: number;
  /**
   * Called, from `translate` or `poll`, with a module whose functions `r0`, `r1` … are the regions in the order of
   * `ids`.
   */
  onModule: (module: RegionModule, ids: readonly number[]) => void;
  /** Starts to make one module of the regions. */
  translate(requests: readonly TranslationRequest[]): void;
  /** Begins to compile modules made by an earlier process. Sets each one's `compiled` when that is done. */
  compile(modules: readonly RegionModule[]): void;
  /** Passes finished modules to `onModule`. Cheap, because it is called thousands of times a second. */
  poll(): void;
  close(): void;
}
export type TranslatorFactory = (setup: TranslatorSetup) => Translator;

/** The translator's work, on whichever thread. */
export class Translation {
  readonly #layout: ReturnType<typeof layout>;
  readonly #pure: (name: string) => number | undefined;

  constructor(setup: TranslatorSetup) {
    this.#layout = layout(setup.ramSize);
    this.#pure = name => {
      const number = pureHelpers.has(name) || name in helperRegisters ? setup.helpers.indexOf(name) : -1;
      return number < 0 ? undefined : number;
    };
  }

  /** One module's bytes. Throws where the requests' copies do not hold the regions they were made for. */
  module(requests: readonly TranslationRequest[]): Uint8Array<ArrayBuffer> {
    const bodies = requests.map(request => {
      const region = findRegion(readerOf(request), request.entry, request.code);
      if (region?.instructions !== request.instructions)
        throw new Error(
          `jit: request ${request.id} holds ${region?.instructions} of ${request.instructions} instructions`,
        );
      return compileRegion(this.#layout, region, request.code === 64, this.#pure);
    });
    return linkRegions(this.#layout, bodies);
  }
}

function readerOf({ pages, executed, targets }: TranslationRequest) {
  const bytes = new Uint8Array(pages.length * 4096);
  const at = new Map<number, number>();
  const byDelta = new Map<number, number>();
  pages.forEach((page, i) => {
    bytes.set(page.bytes, i * 4096);
    at.set(page.physical, i * 4096);
    byDelta.set(page.delta, page.physical);
  });
  const starts = new Set(executed);
  const jumps = new Map(targets);
  return {
    bytes,
    page: (delta: number) => byDelta.get(delta) ?? -1,
    executed: (physical: number) => starts.has(physical),
    targets: (offset: number) => jumps.get(offset) ?? [],
    at: (physical: number) => at.get(physical) ?? 0,
  };
}

/**
 * A translator on the guest's thread, for hosts without workers and for tests: a module is ready when `translate`
 * returns.
 */
export class LocalTranslator implements Translator {
  readonly ownThread = false;
  readonly outstanding = 0;
  readonly #translation: Translation;
  onModule: Translator['onModule'] = () => {};

  constructor(setup: TranslatorSetup) {
    this.#translation = new Translation(setup);
  }
  translate(requests: readonly TranslationRequest[]): void {
    const bytes = this.#translation.module(requests);
    this.onModule(
      { bytes, compiled: new WebAssembly.Module(bytes) },
      requests.map(request => request.id),
    );
  }
  compile(modules: readonly RegionModule[]): void {
    for (const module of modules) module.compiled = compiledOrNot(module.bytes);
  }
  poll(): void {}
  close(): void {}
}

/** Undefined for bytes that are no module, which a damaged cache may have: its regions are translated anew. */
function compiledOrNot(bytes: Uint8Array<ArrayBuffer>): CompiledModule | undefined {
  try {
    return new WebAssembly.Module(bytes);
  } catch {
    return undefined;
  }
}
