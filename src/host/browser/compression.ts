/** Compression in a browser, which unpacks zlib's format by itself, several parts at a time and beside the thread that asks. */
import type { Compression } from '../compression.ts';
import { portableCompression } from '../portable-compression.ts';
import { browser } from './browser.ts';

export const browserCompression: Compression = {
  // Streams offer no level, and theirs takes several times as long.
  deflate: portableCompression.deflate,
  async inflate(bytes, length) {
    if (!browser.DecompressionStream) return portableCompression.inflate(bytes, length);
    const { writable, readable } = new browser.DecompressionStream('deflate');
    const writer = writable.getWriter();
    const written = writer.write(bytes).then(() => writer.close());
    // What is wrong with the bytes, the reader hears.
    written.catch(() => {});
    const out = new Uint8Array(length);
    const reader = readable.getReader();
    let used = 0;
    for (;;) {
      const { done, value } = await reader.read();
      if (done || !value) break;
      if (used + value.length > length) throw new Error(`more than ${length} bytes came out`);
      out.set(value, used);
      used += value.length;
    }
    if (used !== length) throw new Error(`${used} bytes came out instead of ${length}`);
    return out;
  },
};
