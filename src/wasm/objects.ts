/**
 * Objects of WebAssembly's JavaScript API, by what we use of them, for declarations that others read: the API's own names are
 * in `lib: dom`, which a user of the library need not have.
 */

/** A compiled module: nothing of it is asked. */
export type CompiledModule = object;

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

export interface WasmTable {
  readonly length: number;
  grow(by: number): number;
  set(index: number, value: unknown): void;
  get(index: number): unknown;
}
