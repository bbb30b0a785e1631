/** Tells a disk from itself with other contents. It is no signature: somebody who wants two disks with one digest can have them. */
import type { Disk } from '../host/disk.ts';

/** Bytes read at once. */
const PIECE = 1 << 20;

/** 128 bits over all of the disk, as 32 hexadecimal digits: four lanes of MurmurHash3's mixing step. */
export function digestOf(disk: Disk): string {
  const bytes = new Uint8Array(PIECE);
  const lanes = [0x2f0b4c27, 0x5d1e8f43, 0x7a3c9d61, 0x1b6f2e85];
  for (let at = 0; at < disk.size; at += PIECE) {
    const piece = bytes.subarray(0, Math.min(PIECE, disk.size - at));
    disk.read(at, piece);
    mix(lanes, new Int32Array(piece.buffer, 0, piece.length >> 2));
  }
  return lanes.map(lane => (finish(lane ^ disk.size) >>> 0).toString(16).padStart(8, '0')).join('');
}

function mix(lanes: number[], words: Int32Array): void {
  let [a, b, c, d] = lanes as [number, number, number, number];
  for (let i = 0; i < words.length; i += 4) {
    a = step(a, words[i]!);
    b = step(b, words[i + 1]! ^ a);
    c = step(c, words[i + 2]! ^ b);
    d = step(d, words[i + 3]! ^ c);
  }
  lanes.splice(0, 4, a, b, c, d);
}

function step(hash: number, word: number): number {
  let k = Math.imul(word, 0xcc9e2d51);
  k = Math.imul((k << 15) | (k >>> 17), 0x1b873593);
  const mixed = hash ^ k;
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
