/**
 * What all hosts have, and shared code may use: nothing else of Node.js or of the DOM exists where tsconfig.portable.json compiles
 * (the test that does so is tests/fences-types.test.ts). WebAssembly is declared in src/engine/webassembly.d.ts.
 */

/** https://encoding.spec.whatwg.org */
declare class TextEncoder {
  encode(text?: string): Uint8Array<ArrayBuffer>;
}
declare class TextDecoder {
  constructor(label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean });
  decode(bytes?: Uint8Array | ArrayBuffer, options?: { stream?: boolean }): string;
}

/** https://streams.spec.whatwg.org, as far as xz-decompress is given one. */
declare class ReadableStream<T = Uint8Array> {
  constructor(source?: {
    start?(controller: { enqueue(chunk: T): void; close(): void }): void;
    pull?(controller: { enqueue(chunk: T): void; close(): void }): void;
  });
  getReader(): { read(): Promise<{ done: boolean; value: T }>; cancel(): Promise<void> };
}

/** https://html.spec.whatwg.org */
declare function structuredClone<T>(value: T): T;
declare class MessageChannel {}
declare function setTimeout(work: () => void, milliseconds?: number): number;
declare function clearTimeout(timer: number): void;

/** https://w3c.github.io/hr-time */
declare const performance: { now(): number; readonly timeOrigin: number };
