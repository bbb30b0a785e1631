/** The Internet checksum (RFC 1071). */

/** Below so many bytes a view of them as words is not worth making. */
const SHORT = 128;

/** The sum of big-endian 16-bit words from `start` to `end`, not yet folded; an odd last byte counts as if a zero followed. */
export function sum(bytes: Uint8Array, start: number, end: number, initial = 0): number {
  let total = initial;
  const even = end - ((end - start) & 1);
  if (even - start >= SHORT && ((bytes.byteOffset + start) & 1) === 0) {
    // Words in the host's order, which is the other one: their sum is the same but for the order of its bytes (RFC 1071, 2 B).
    const words = new Uint16Array(bytes.buffer, bytes.byteOffset + start, (even - start) / 2);
    let swapped = 0;
    for (let at = 0; at < words.length; at++) swapped += words[at]!;
    const folded = fold(swapped);
    total += ((folded & 0xff) << 8) | (folded >>> 8);
  } else for (let at = start; at < even; at += 2) total += (bytes[at]! << 8) | bytes[at + 1]!;
  if (even < end) total += bytes[even]! << 8;
  return total;
}

/** Folds a sum into 16 bits: the ones' complement sum. */
export function fold(total: number): number {
  total = (total % 65536) + Math.floor(total / 65536);
  total = (total & 0xffff) + (total >>> 16);
  return (total & 0xffff) + (total >>> 16);
}

/** The sum of an IP pseudo-header. @param source @param destination addresses as bytes, 4 or 16 each */
export function pseudoHeaderSum(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): number {
  return sum(
    source,
    0,
    source.length,
    sum(destination, 0, destination.length, protocol + (length >>> 16) + (length & 0xffff)),
  );
}
