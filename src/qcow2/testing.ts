/** For tests: images in memory, made and checked without QEMU. */
import type { ImageFile } from '../host/image-file.ts';
import { QCOW2_MAGIC } from './header.ts';

export interface MemoryImage extends ImageFile {
  /** All of it, as it is now. */
  content(): Uint8Array<ArrayBuffer>;
  /** Writes that it has taken; the one after `failAfter` fails. */
  writes: number;
  failAfter: number;
}

/** @param most bytes: a host's disk that is full then */
export function memoryImage(start: Uint8Array, most = 1 << 26): MemoryImage {
  let bytes = start.slice();
  let { length } = start;
  return {
    name: 'image',
    readOnly: false,
    writes: 0,
    failAfter: Number.POSITIVE_INFINITY,
    get size() {
      return length;
    },
    read(offset, into) {
      into.fill(0);
      if (offset < length) into.set(bytes.subarray(offset, Math.min(length, offset + into.length)));
    },
    write(offset, from) {
      if (this.writes++ >= this.failAfter) throw new Error('killed');
      if (offset + from.length > most) throw new Error('no space left on device');
      if (offset + from.length > bytes.length) {
        const longer = new Uint8Array(2 * (offset + from.length));
        longer.set(bytes);
        bytes = longer;
      }
      length = Math.max(length, offset + from.length);
      bytes.set(from, offset);
    },
    flush() {},
    close() {},
    content: () => bytes.slice(0, length),
  };
}

export interface ImageShape {
  version: 2 | 3;
  clusterBits: number;
  /** Of the disk, in bytes. */
  size: number;
  /** The width of counts is 2 to this power; 4 in version 2. */
  refcountOrder: number;
  backing?: { path: string; format?: string };
}

/** An image with nothing in it: header, refcount table, one refcount block, and the L1 table, from cluster 0 on. */
export function emptyImage({ version, clusterBits, size, refcountOrder, backing }: ImageShape): Uint8Array {
  const cluster = 2 ** clusterBits;
  const l1Entries = Math.ceil(size / (cluster * (cluster / 8)));
  const l1Clusters = Math.ceil((8 * l1Entries) / cluster);
  const bytes = new Uint8Array((3 + l1Clusters) * cluster);
  const view = new DataView(bytes.buffer);
  const length = version === 2 ? 72 : 104;
  view.setUint32(0, QCOW2_MAGIC);
  view.setUint32(4, version);
  view.setUint32(20, clusterBits);
  view.setBigUint64(24, BigInt(size));
  view.setUint32(36, l1Entries);
  view.setBigUint64(40, BigInt(3 * cluster));
  view.setBigUint64(48, BigInt(cluster));
  view.setUint32(56, 1);
  if (version === 3) {
    view.setUint32(96, refcountOrder);
    view.setUint32(100, length);
  }
  if (backing) {
    const [path, format] = [backing.path, backing.format ?? ''].map(text => new TextEncoder().encode(text));
    let at = length;
    if (backing.format !== undefined) {
      view.setUint32(at, 0xe2792aca);
      view.setUint32(at + 4, format!.length);
      bytes.set(format!, at + 8);
      at += 8 + Math.ceil(format!.length / 8) * 8;
    }
    at += 8;
    bytes.set(path!, at);
    view.setBigUint64(8, BigInt(at));
    view.setUint32(16, path!.length);
  }
  view.setBigUint64(cluster, BigInt(2 * cluster));
  const width = 2 ** refcountOrder;
  for (let index = 0; index < 3 + l1Clusters; index++) {
    const bit = index * width;
    // Big-endian numbers, or bits from the lowest on: the last byte of a count, or a part of one.
    const byte = 2 * cluster + (width >= 8 ? (bit + width) / 8 - 1 : bit >> 3);
    bytes[byte] |= width >= 8 ? 1 : 1 << (bit & 7);
  }
  return bytes;
}

/**
 * What `qemu-img check` looks at in an image without snapshots: every cluster is counted as often as it is referred to, and the entries
 * say so. @returns what is wrong, with clusters that are lost apart: nothing refers to them
 */
export function checkImage(bytes: Uint8Array): { errors: string[]; lost: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const clusterBits = view.getUint32(20);
  const cluster = 2 ** clusterBits;
  const errors: string[] = [];
  const used = new Map<number, number>();
  const use = (offset: number, what: string, length = cluster) => {
    if (offset % cluster !== 0) errors.push(`${what} at byte ${offset}`);
    for (let at = offset; at < offset + length; at += cluster)
      used.set(at / cluster, (used.get(at / cluster) ?? 0) + 1);
  };
  const number = (at: number) => (at + 8 <= bytes.length ? view.getBigUint64(at) : 0n);
  const offsetOf = (entry: bigint) => Number(entry & 0x00fffffffffffe00n);
  const order = view.getUint32(4) === 2 ? 4 : view.getUint32(96);
  use(0, 'the header');
  const [l1, l1Entries] = [Number(view.getBigUint64(40)), view.getUint32(36)];
  use(l1, 'the L1 table', 8 * l1Entries);
  const [table, tableClusters] = [Number(view.getBigUint64(48)), view.getUint32(56)];
  use(table, 'the refcount table', tableClusters * cluster);
  const blocks: number[] = [];
  for (let index = 0; index < (tableClusters * cluster) / 8; index++) {
    const block = Number(number(table + 8 * index));
    if (block) use(block, 'a refcount block');
    blocks.push(block);
  }
  const copied: [entry: bigint, what: string][] = [];
  for (let index = 0; index < l1Entries; index++) {
    const entry = number(l1 + 8 * index);
    const l2 = offsetOf(entry);
    if (!l2) continue;
    use(l2, 'an L2 table');
    copied.push([entry, `L1 entry ${index}`]);
    for (let at = 0; at < cluster / 8; at++) {
      const data = number(l2 + 8 * at);
      if (!offsetOf(data)) continue;
      use(offsetOf(data), 'a cluster');
      copied.push([data, `L2 entry ${at} of ${index}`]);
    }
  }
  const width = 2 ** order;
  const perBlock = (cluster * 8) / width;
  const count = (index: number): number => {
    const block = blocks[Math.floor(index / perBlock)];
    if (!block) return 0;
    const bit = (index % perBlock) * width;
    if (width < 8) return ((bytes[block + (bit >> 3)] ?? 0) >> (bit & 7)) & (2 ** width - 1);
    let value = 0;
    for (let at = 0; at < width / 8; at++) value = value * 256 + (bytes[block + bit / 8 + at] ?? 0);
    return value;
  };
  let lost = 0;
  for (let index = 0; index < blocks.length * perBlock; index++) {
    if (!blocks[Math.floor(index / perBlock)]) continue;
    const [has, should] = [count(index), used.get(index) ?? 0];
    if (has > should) lost++;
    if (has < should) errors.push(`cluster ${index} is used ${should} times and counted ${has} times`);
  }
  for (const index of used.keys()) if (count(index) === 0) errors.push(`cluster ${index} is used and not counted`);
  for (const [entry, what] of copied)
    if (entry >> 63n !== (count(offsetOf(entry) / cluster) === 1 ? 1n : 0n)) errors.push(`${what} has the wrong flag`);
  return { errors, lost };
}
