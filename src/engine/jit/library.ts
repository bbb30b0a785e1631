/**
 * Translated regions that outlive their machine: another one of the same process that comes to the same code has them at once,
 * compiled and optimised. What a region does depends on its code's bytes, on which guest-physical pages those lie in (but for the
 * entry's own, which it never names), and on the size of RAM; all of that is compared.
 */
import type { CodeSize } from '../x86/decode.ts';
import type { Region } from './region.ts';

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
  pages: Region['pages'];
  parts: readonly CodePart[];
  instructions: number;
}

/** What `find` looks at: a machine's memory, as it is mapped around the place that is asked for. */
export interface CodeView {
  ramSize: number;
  /** Guest-physical address of the page `delta` pages after the entry's; -1 if it has no executable RAM. */
  page(delta: number): number;
  /** `bytes` from a guest-physical address on. */
  read(physical: number, length: number): Uint8Array;
}

export interface KeptRegion extends RegionPlace {
  ramSize: number;
  /** Of `parts`. */
  bytes: readonly Uint8Array[];
  module: WebAssembly.Module;
  /** Of the module's export. */
  name: string;
}

/** Regions kept at most: when there are more, all are forgotten, which is simple and hardly ever happens. */
const CAPACITY = 12000;

/** For `MachineOptions.library`: machines that are given the same one share what they translate. */
export class RegionLibrary {
  /** By code size and entry. */
  readonly #shelves = new Map<number, KeptRegion[]>();
  #count = 0;

  get size(): number {
    return this.#count;
  }
  keep(region: KeptRegion): void {
    if (this.#count >= CAPACITY) this.#forget();
    const key = keyOf(region);
    const shelf = this.#shelves.get(key) ?? [];
    this.#shelves.set(key, shelf);
    shelf.push(region);
    this.#count++;
  }
  /** The region with its entry at an offset in the view's page 0; undefined if there is none, or its code is not all there. */
  find(code: CodeSize, entry: number, view: CodeView): KeptRegion | undefined {
    return this.#shelves.get(keyOf({ code, entry }))?.find(region => isThere(region, view));
  }
  #forget(): void {
    this.#shelves.clear();
    this.#count = 0;
  }
}

const keyOf = ({ code, entry }: Pick<RegionPlace, 'code' | 'entry'>) => entry * 4 + code / 32;

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
