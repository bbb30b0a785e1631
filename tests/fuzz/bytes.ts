/** Files made worse: what fuzzers of parsers share. */
import type { Random } from './fuzzer.ts';

/** Numbers that stand at the edges of what a field can hold, or just beside. */
const EDGES = [0, 1, 2, 3, 7, 8, 0x7f, 0x80, 0xff, 0x100, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10000];
const WIDE_EDGES = [...EDGES, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffffe, 0xffffffff];

/** `bytes` with one to a dozen changes, most of them where headers stand. */
export function mutate(random: Random, bytes: Uint8Array): Uint8Array {
  let out: Uint8Array = bytes.slice();
  for (let changes = 1 + random.below(random.of([1, 3, 12])); changes > 0 && out.length > 0; changes--) {
    const at = random.below(random.below(3) ? Math.min(out.length, 1024) : out.length);
    const length = 1 + random.below(random.of([4, 64, 1024]));
    switch (random.below(9)) {
      case 0:
        out[at] ^= 1 << random.below(8);
        break;
      case 1:
        out[at] = random.of(EDGES);
        break;
      case 2:
      case 3:
        putNumber(out, at, random.of([2, 4, 8]), random.of(WIDE_EDGES));
        break;
      case 4:
        out = out.slice(0, at);
        break;
      case 5: // A part goes.
        out = concatenate(out.subarray(0, at), out.subarray(at + length));
        break;
      case 6: // A part comes twice.
        out = concatenate(out.subarray(0, at + length), out.subarray(at));
        break;
      case 7: // A part goes elsewhere.
        out.copyWithin(random.below(out.length), at, at + length);
        break;
      default:
        for (let i = at; i < Math.min(out.length, at + length); i++) out[i] = random.below(256);
    }
  }
  return out;
}

function putNumber(bytes: Uint8Array, at: number, width: number, value: number): void {
  for (let i = 0; i < width && at + i < bytes.length; i++) bytes[at + i] = i < 4 ? (value >>> (8 * i)) & 0xff : 0;
}

function concatenate(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** `bytes` without a part, or with a part of zeros: large parts first. */
export function* smallerBytes(bytes: Uint8Array): Iterable<Uint8Array> {
  for (let part = bytes.length >> 1; part >= 1; part >>= 1)
    for (let at = bytes.length - part; at >= 0; at -= part)
      yield concatenate(bytes.subarray(0, at), bytes.subarray(at + part));
  for (let part = bytes.length >> 1; part >= 1; part >>= 1)
    for (let at = 0; at + part <= bytes.length; at += part) {
      if (bytes.subarray(at, at + part).every(byte => byte === 0)) continue;
      const zeroed = bytes.slice();
      zeroed.fill(0, at, at + part);
      yield zeroed;
    }
}

/** Small ones in hexadecimal, larger ones in base64. */
export function showBytes(bytes: Uint8Array): string {
  const text = Buffer.from(bytes);
  return `${bytes.length} bytes: ${bytes.length <= 256 ? text.toString('hex') : `base64 ${text.toString('base64')}`}`;
}
