/**
 * What the JavaScript API does not tell of a WebAssembly module or do to it: the types of its functions, and a limit
 * for its memory and its tables. The bytes have been validated by `WebAssembly.compile` before (WebAssembly Core
 * Specification 2.0, 5.5).
 */
import { Bytes } from '../wasm/module.ts';

export interface FunctionType {
  parameters: readonly string[];
  results: readonly string[];
}

export interface WasmFile {
  /** Exported and imported functions with their types. */
  exports: ReadonlyMap<string, FunctionType>;
  imports: readonly { module: string; name: string; type: FunctionType }[];
  /** The module with the limits set. */
  limited: Uint8Array<ArrayBuffer>;
}

/** What a plug-in may have: memory in pages of 64 KiB (64 MiB), table entries. */
export const MEMORY_PAGES = 1024;
const TABLE_ENTRIES = 1 << 20;

const TYPES: Readonly<Record<number, string>> = {
  127: 'i32',
  126: 'i64',
  125: 'f32',
  124: 'f64',
  123: 'v128',
  112: 'funcref',
  111: 'externref',
};
const SECTION = { custom: 0, type: 1, import: 2, function: 3, table: 4, memory: 5, export: 7 } as const;

class Reader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;
  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }
  byte(): number {
    if (this.at >= this.end) throw new Error('ends within a section');
    return this.bytes[this.at++];
  }
  u32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    return value;
  }
  name(): string {
    const length = this.u32();
    this.at += length;
    return new TextDecoder().decode(this.bytes.subarray(this.at - length, this.at));
  }
  list<T>(read: () => T): T[] {
    const items: T[] = [];
    for (let left = this.u32(); left > 0; left--) items.push(read());
    return items;
  }
  type(): string {
    const code = this.byte();
    const type = TYPES[code];
    if (!type) throw new Error(`uses the type 0x${code.toString(16)}, which is not in WebAssembly 2.0`);
    return type;
  }
}

/** @throws Error with the reason why this module cannot be a plug-in */
export function readWasmFile(bytes: Uint8Array): WasmFile {
  const types: FunctionType[] = [];
  const imports: { module: string; name: string; type: FunctionType }[] = [];
  let functions: number[] = [];
  const exported: { name: string; index: number }[] = [];
  const out = new Bytes();
  out.append(bytes.subarray(0, 8));

  for (let at = 8; at < bytes.length; ) {
    const header = new Reader(bytes, at, bytes.length);
    const id = header.byte();
    const size = header.u32();
    const section = new Reader(bytes, header.at, header.at + size);
    let replaced: Uint8Array | undefined;
    if (id === SECTION.type) types.push(...section.list(() => functionType(section)));
    else if (id === SECTION.import) imports.push(...section.list(() => functionImport(section, types)));
    else if (id === SECTION.function) functions = section.list(() => section.u32());
    else if (id === SECTION.table) replaced = limitedSection(section, 'table', TABLE_ENTRIES);
    else if (id === SECTION.memory) replaced = limitedSection(section, 'memory', MEMORY_PAGES);
    else if (id === SECTION.export)
      section.list(() => {
        const name = section.name();
        const kind = section.byte();
        const index = section.u32();
        if (kind === 0) exported.push({ name, index });
      });
    at = header.at + size;
    out.byte(id);
    out.u32(replaced?.length ?? size);
    out.append(replaced ?? bytes.subarray(header.at, at));
  }
  const typeOf = (index: number) =>
    index < imports.length ? imports[index].type : types[functions[index - imports.length]];
  return { exports: new Map(exported.map(({ name, index }) => [name, typeOf(index)])), imports, limited: out.take() };
}

function functionType(section: Reader): FunctionType {
  if (section.byte() !== 0x60) throw new Error('defines a type that is not in WebAssembly 2.0');
  return { parameters: section.list(() => section.type()), results: section.list(() => section.type()) };
}

function functionImport(section: Reader, types: readonly FunctionType[]) {
  const module = section.name();
  const name = section.name();
  if (section.byte() !== 0) throw new Error(`imports ${module}.${name}, which is no function: its memory is its own`);
  return { module, name, type: types[section.u32()] };
}

/** A table or memory section with each of its limits at most `most`. */
function limitedSection(section: Reader, what: 'table' | 'memory', most: number): Uint8Array {
  const out = new Bytes();
  const count = section.u32();
  out.u32(count);
  for (let left = count; left > 0; left--) {
    if (what === 'table') {
      section.type();
      out.byte(section.bytes[section.at - 1]);
    }
    const flags = section.byte();
    if (flags > 1) throw new Error(`its ${what} is shared or 64 bits wide`);
    const minimum = section.u32();
    const maximum = flags === 1 ? section.u32() : most;
    if (minimum > most)
      throw new Error(
        what === 'memory'
          ? `wants ${minimum / 16} MiB of memory: ${most / 16} MiB is the limit`
          : `wants a table of ${minimum} entries: ${most} is the limit`,
      );
    out.byte(1);
    out.u32(minimum);
    out.u32(Math.min(maximum, most));
  }
  return out.take();
}
