/**
 * LZ4's "legacy" frame, which Linux kernels use for their payload: the magic 0x184c2102, then blocks of {u32 compressed
 * length, LZ4 block}, each at most 8 MiB when unpacked; no checksums, no end mark (lz4_Frame_format.md, "Legacy frame";
 * lz4_Block_format.md). Written out here because the packages that exist either read only the newer frame or do not notice
 * a corrupt block: here every length and distance is checked.
 */
import { ImageError } from './image-error.ts';

export const LZ4_LEGACY_MAGIC = 0x184c2102;
/** The most a block of the legacy frame may hold, in bytes. */
const BLOCK_SIZE = 8 << 20;

/** Unpacks a whole legacy frame that is known to hold `size` bytes. @throws ImageError when it is corrupt. */
export function decompressLz4Legacy(source: Uint8Array, size: number): Uint8Array {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  // A byte of LZ4 stands for 255 at most: do not make room for what cannot be there.
  if (size > source.length * 256) throw corrupt(`${source.length} bytes cannot hold ${size}`);
  const out = new Uint8Array(size);
  let at = 4;
  let filled = 0;
  while (filled < size) {
    if (at + 4 > source.length) throw corrupt(`it ends after ${filled} of ${size} bytes`);
    const length = view.getUint32(at, true);
    at += 4;
    if (length === LZ4_LEGACY_MAGIC) continue; // Frames may follow each other.
    if (length === 0 || at + length > source.length) throw corrupt(`block length ${length} at byte ${at - 4}`);
    filled = decompressBlock(source, at, at + length, out, filled);
    at += length;
  }
  return out;
}

/** Unpacks the block source[at, end) to out[start...) and returns where its output ends. */
function decompressBlock(source: Uint8Array, at: number, end: number, out: Uint8Array, start: number): number {
  const limit = Math.min(out.length, start + BLOCK_SIZE);
  let to = start;
  while (at < end) {
    const token = source[at++];
    let literals = token >> 4;
    if (literals === 15) {
      let more: number;
      do {
        if (at >= end) throw corrupt('a literal length runs past its block');
        literals += more = source[at++];
      } while (more === 255);
    }
    if (at + literals > end || to + literals > limit) throw corrupt('literals run past their block');
    // Most runs are a few bytes, for which a loop beats a call.
    if (literals > 32) {
      out.set(source.subarray(at, at + literals), to);
      at += literals;
      to += literals;
    } else for (const stop = at + literals; at < stop; ) out[to++] = source[at++];
    if (at === end) break; // The last sequence of a block is literals alone.

    if (at + 2 > end) throw corrupt('a match is cut off');
    const distance = source[at] | (source[at + 1] << 8);
    at += 2;
    let length = (token & 15) + 4;
    if (length === 19) {
      let more: number;
      do {
        if (at >= end) throw corrupt('a match length runs past its block');
        length += more = source[at++];
      } while (more === 255);
    }
    if (distance === 0 || distance > to - start) throw corrupt('a match reaches before its block');
    if (to + length > limit) throw corrupt('a match runs past the end');
    if (distance >= length && length > 32) {
      out.copyWithin(to, to - distance, to - distance + length);
      to += length;
    } else for (const stop = to + length; to < stop; to++) out[to] = out[to - distance]; // May overlap: that repeats bytes.
  }
  return to;
}

function corrupt(detail: string): ImageError {
  return new ImageError(`the LZ4 data is corrupt: ${detail}; fetch the file again`);
}
