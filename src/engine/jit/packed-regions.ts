/** Regions and their modules as one array of bytes. */
import type { KeptRegion, RegionModule, RegionPlace } from './library.ts';

/** A region in the text; bytes of its parts follow in the order of regions. */
interface Packed extends RegionPlace {
  ramSize: number;
  /** Index in `modules`, and which of its functions. */
  module: number;
  number: number;
}
interface Text {
  regions: Packed[];
  /** Lengths. */
  modules: number[];
}

/** u32: length of the text (JSON), that, the bytes of all parts, and the modules. */
const HEADER = 4;

export function packRegions(regions: readonly KeptRegion[]): Uint8Array {
  const modules = [...new Set(regions.map(({ module }) => module))];
  const indices = new Map(modules.map((module, index) => [module, index]));
  const text = new TextEncoder().encode(
    JSON.stringify({
      regions: regions.map(({ bytes, module, ...place }) => ({ ...place, module: indices.get(module)! })),
      modules: modules.map(({ bytes }) => bytes.length),
    } satisfies Text),
  );
  const pieces = [text, ...regions.flatMap(({ bytes }) => bytes), ...modules.map(({ bytes }) => bytes)];
  const out = new Uint8Array(HEADER + pieces.reduce((sum, { length }) => sum + length, 0));
  new DataView(out.buffer).setUint32(0, text.length, true);
  let at = HEADER;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}

/** @param data what `packRegions` has made, by the same code: nothing is checked */
export function unpackRegions(data: Uint8Array<ArrayBuffer>): KeptRegion[] {
  let at = HEADER;
  const take = (length: number) => data.subarray(at, (at += length));
  const { regions, modules: lengths } = JSON.parse(
    new TextDecoder().decode(take(new DataView(data.buffer, data.byteOffset).getUint32(0, true))),
  ) as Text;
  const bytes = regions.map(({ parts }) => parts.map(({ from, to }) => take(to - from)));
  const modules = lengths.map((length): RegionModule => ({ bytes: take(length), compiled: undefined }));
  return regions.map((region, i) => ({ ...region, bytes: bytes[i]!, module: modules[region.module]! }));
}
