/** Compression by Node.js, on its pool of threads: several at once take as many processors. */
import { promisify } from 'node:util';
import { deflate, inflate } from 'node:zlib';
import type { Compression } from '../compression.ts';

const LEVEL = 1;
const [deflateLater, inflateLater] = [promisify(deflate), promisify(inflate)] as [
  (bytes: Uint8Array, options: object) => Promise<Buffer<ArrayBuffer>>,
  (bytes: Uint8Array, options: object) => Promise<Buffer<ArrayBuffer>>,
];

export const nodeCompression: Compression = {
  deflate: bytes => deflateLater(bytes, { level: LEVEL, chunkSize: 1 << 20 }),
  async inflate(bytes, length) {
    // In one piece, and no more than there should be.
    const out = await inflateLater(bytes, { chunkSize: Math.max(length, 64), maxOutputLength: Math.max(length, 1) });
    if (out.length !== length) throw new Error(`${out.length} bytes came out instead of ${length}`);
    return new Uint8Array(out.buffer, out.byteOffset, length);
  },
};
