/** Compression on any host. */
import type { Compression } from './compression.ts';

/** Of 0 to 9. What is compressed is memory: a higher level takes several times as long for a few percent. */
const LEVEL = 1;

export const portableCompression: Compression = {
  async deflate(bytes) {
    const { zlibSync } = await import('fflate');
    return zlibSync(bytes, { level: LEVEL });
  },
  async inflate(bytes, length) {
    if (bytes.length < 6) throw new Error('it is shorter than its checksum');
    const { unzlibSync } = await import('fflate');
    // One byte more than there should be: what is longer does not fit, and is not taken for whole.
    const out = unzlibSync(bytes, { out: new Uint8Array(length) });
    if (out.length !== length) throw new Error(`${out.length} bytes came out instead of ${length}`);
    const expected = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 4).getUint32(0);
    if (adler32(out) !== expected) throw new Error('its checksum is wrong');
    return out;
  },
};

/** The largest prime below 2^16, and how many bytes can be added up before a sum of 32 bits overflows (RFC 1950, 9). */
const MODULUS = 65521;
const MOST = 5552;

function adler32(bytes: Uint8Array): number {
  let low = 1;
  let high = 0;
  for (let from = 0; from < bytes.length; from += MOST) {
    const to = Math.min(from + MOST, bytes.length);
    for (let at = from; at < to; at++) high += low += bytes[at]!;
    low %= MODULUS;
    high %= MODULUS;
  }
  return ((high << 16) | low) >>> 0;
}
