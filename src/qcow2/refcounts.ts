/**
 * The reference counts of a qcow2 image's clusters: a table of blocks, each of which is a cluster full of counts. A count is in the file
 * before anything refers to the cluster, and goes down after nothing does any more: a process that is killed in between loses
 * clusters, and no data.
 */
import { ImageError } from '../boot/image-error.ts';
import type { ImageFile } from '../host/image-file.ts';
import { type Header, REFCOUNT_TABLE_FIELD } from './header.ts';
import { readTable, setEntry, type Table, TableCache } from './tables.ts';

/** Bits 9 to 63 of an entry are the block's offset. */
const BLOCK_MASK = ~0x1ffn;
/** Bytes of blocks that are kept. */
const KEPT_BYTES = 4 << 20;
/** QEMU's limit of an image's table. */
const MOST_TABLE_BYTES = 8 << 20;

export class Refcounts {
  readonly #file: ImageFile;
  readonly #cluster: number;
  readonly #order: number;
  /** Counts in a block. */
  readonly #perBlock: number;
  readonly #blocks: TableCache;
  #table: Table;
  /** All clusters before this one are in use. */
  #free = 0;

  constructor(file: ImageFile, { clusterBits, refcountOrder, refcountTable }: Header) {
    this.#file = file;
    this.#cluster = 2 ** clusterBits;
    this.#order = refcountOrder;
    this.#perBlock = (this.#cluster * 8) / 2 ** refcountOrder;
    this.#blocks = new TableCache(file, this.#cluster, Math.max(4, Math.floor(KEPT_BYTES / this.#cluster)));
    this.#table = readTable(file, refcountTable.offset, refcountTable.clusters * this.#cluster);
  }

  get #entries(): number {
    return this.#table.view.byteLength / 8;
  }

  /** The block that has the count of a cluster; undefined where there is none yet. @throws Error for a damaged table */
  #blockOf(index: number): Table | undefined {
    const at = Math.floor(index / this.#perBlock);
    if (at >= this.#entries) return undefined;
    const offset = Number(this.#table.view.getBigUint64(8 * at) & BLOCK_MASK);
    if (offset % this.#cluster !== 0 || !Number.isSafeInteger(offset))
      throw new ImageError(`${this.#file.name} is damaged: a refcount block at byte ${offset}`);
    return offset === 0 ? undefined : this.#blocks.at(offset);
  }

  /** How often the cluster at `offset` is referred to. */
  get(offset: number): number {
    return this.#get(Math.floor(offset / this.#cluster));
  }

  #get(index: number): number {
    const block = this.#blockOf(index);
    return block ? readCount(block.view, this.#order, index % this.#perBlock) : 0;
  }

  /** One reference less. @throws Error for a count that is 0 */
  release(offset: number): void {
    const index = Math.floor(offset / this.#cluster);
    const count = this.#get(index);
    if (count === 0)
      throw new ImageError(`${this.#file.name} is damaged: nothing counts the cluster at byte ${offset}`);
    this.#set(index, count - 1);
    if (count === 1) this.#free = Math.min(this.#free, index);
  }

  /** Takes a cluster that is free. @returns its offset, with a count of 1 and whatever content */
  allocate(): number {
    let index = this.#nextFree(this.#free);
    while (!this.#blockOf(index)) {
      // It may take this very cluster.
      this.#addBlock(Math.floor(index / this.#perBlock));
      index = this.#nextFree(index);
    }
    this.#set(index, 1);
    this.#free = index + 1;
    return index * this.#cluster;
  }

  /** @throws ImageError for a cluster in use that is beyond the end of the file */
  #nextFree(from: number): number {
    const end = Math.ceil(this.#file.size / this.#cluster);
    for (let index = from; ; ) {
      const block = this.#blockOf(index);
      if (!block) return index;
      for (let at = index % this.#perBlock; at < this.#perBlock; at++, index++) {
        if (readCount(block.view, this.#order, at) === 0) return index;
        if (index > end) throw new ImageError(`${this.#file.name} is damaged: it ends before cluster ${index}`);
      }
    }
  }

  #set(index: number, count: number): void {
    const block = this.#blockOf(index)!;
    const at = index % this.#perBlock;
    writeCount(block.view, this.#order, at, count);
    const byte = Math.floor((at * 2 ** this.#order) / 8);
    const width = Math.max(1, 2 ** this.#order / 8);
    this.#file.write(block.offset + byte, new Uint8Array(block.view.buffer, block.view.byteOffset + byte, width));
  }

  /** A block in place `at` of the table, where there is none. */
  #addBlock(at: number): void {
    if (at >= this.#entries) return this.#growTable(at + 1);
    if (at === 0) throw new ImageError(`${this.#file.name} is damaged: nothing counts its header`);
    // Nothing counts the clusters of this block, so its first one is free.
    const first = at * this.#perBlock;
    const content = new Uint8Array(this.#cluster);
    writeCount(new DataView(content.buffer), this.#order, 0, 1);
    this.#blocks.put(first * this.#cluster, content);
    setEntry(this.#file, this.#table, at, BigInt(first * this.#cluster));
  }

  /**
   * A longer table, with room for `entries` blocks and more. It stands where the present one ends, behind the blocks that count it; the
   * file knows it when all of it is written.
   */
  #growTable(entries: number): void {
    const old = { offset: this.#table.offset, clusters: (8 * this.#entries) / this.#cluster };
    const before = this.#entries;
    let clusters = Math.ceil(Math.max(8 * entries, 12 * before) / this.#cluster) + 1;
    const blocks = Math.ceil(clusters / (this.#perBlock - 1));
    while ((clusters * this.#cluster) / 8 < before + blocks) clusters++;
    if (clusters * this.#cluster > MOST_TABLE_BYTES)
      throw new Error(`${this.#file.name}: the image cannot become larger: its clusters are too small`);
    const first = before * this.#perBlock;
    const content = new Uint8Array(clusters * this.#cluster);
    content.set(new Uint8Array(this.#table.view.buffer));
    const view = new DataView(content.buffer);
    for (let number = 0; number < blocks; number++) {
      const block = new Uint8Array(this.#cluster);
      const counted = Math.min(this.#perBlock, blocks + clusters - number * this.#perBlock);
      for (let at = 0; at < counted; at++) writeCount(new DataView(block.buffer), this.#order, at, 1);
      this.#blocks.put((first + number) * this.#cluster, block);
      view.setBigUint64(8 * (before + number), BigInt((first + number) * this.#cluster));
    }
    const offset = (first + blocks) * this.#cluster;
    this.#file.write(offset, content);
    const field = new Uint8Array(12);
    new DataView(field.buffer).setBigUint64(0, BigInt(offset));
    new DataView(field.buffer).setUint32(8, clusters);
    this.#file.write(REFCOUNT_TABLE_FIELD, field);
    this.#table = { offset, view };
    for (let cluster = 0; cluster < old.clusters; cluster++) this.release(old.offset + cluster * this.#cluster);
  }
}

/** Count number `at` of a block. Those of less than a byte begin with the lowest bits. */
function readCount(view: DataView, order: number, at: number): number {
  switch (order) {
    case 3:
      return view.getUint8(at);
    case 4:
      return view.getUint16(2 * at);
    case 5:
      return view.getUint32(4 * at);
    case 6:
      return Number(view.getBigUint64(8 * at));
  }
  const width = 2 ** order;
  const bit = at * width;
  return (view.getUint8(bit >> 3) >> (bit & 7)) & (2 ** width - 1);
}

function writeCount(view: DataView, order: number, at: number, count: number): void {
  switch (order) {
    case 3:
      return view.setUint8(at, count);
    case 4:
      return view.setUint16(2 * at, count);
    case 5:
      return view.setUint32(4 * at, count);
    case 6:
      return view.setBigUint64(8 * at, BigInt(count));
  }
  const width = 2 ** order;
  const bit = at * width;
  const mask = (2 ** width - 1) << (bit & 7);
  view.setUint8(bit >> 3, (view.getUint8(bit >> 3) & ~mask) | (count << (bit & 7)));
}
