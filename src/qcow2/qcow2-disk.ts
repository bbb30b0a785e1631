/**
 * A qcow2 image as a disk (QEMU docs/interop/qcow2.txt): two levels of tables lead from the disk's clusters to the file's. What was
 * never written is read from the backing disk, or zeros. Compressed clusters are read; one that is written becomes a plain one.
 * Clusters and tables that a snapshot within the image shares are copied before they change.
 */
import { inflateSync } from 'fflate';
import { ImageError } from '../boot/image-error.ts';
import type { Disk } from '../host/disk.ts';
import type { ImageFile } from '../host/image-file.ts';
import { type Header, readHeader } from './header.ts';
import { Refcounts } from './refcounts.ts';
import { readTable, setEntry, type Table, TableCache } from './tables.ts';

/** Entries of both tables: the lowest 9 bits and the highest 8 are no offset. */
const OFFSET_MASK = 0x00fffffffffffe00n;
/** The count of what the entry refers to is exactly 1. */
const COPIED = 1n << 63n;
const COMPRESSED = 1n << 62n;
/** Version 3: the cluster is zeros, whatever is in the file. */
const ZERO = 1n;
/** Bytes that compressed clusters are counted in. */
const SECTOR = 512;
/** Bytes of L2 tables that are kept. */
const KEPT_BYTES = 4 << 20;

/** What an entry of an L2 table says of a cluster. */
type Cluster =
  | { kind: 'none' }
  /** Zeros; its place in the file, 0 where it has none. */
  | { kind: 'zero'; offset: number }
  | { kind: 'data'; offset: number }
  | { kind: 'compressed'; offset: number; length: number };

export interface Qcow2Options {
  readOnly?: boolean;
  bus?: string | undefined;
  /** What is under it; needed where the header names one. */
  backing?: Disk | undefined;
}

export class Qcow2Disk implements Disk {
  readonly name: string;
  readonly size: number;
  readonly readOnly: boolean;
  readonly bus: string | undefined;
  readonly #file: ImageFile;
  readonly #header: Header;
  readonly #backing: Disk | undefined;
  readonly #cluster: number;
  /** Entries of an L2 table. */
  readonly #entries: number;
  readonly #l1: Table;
  readonly #l2: TableCache;
  readonly #refcounts: Refcounts;
  /** The compressed cluster that was read last. */
  #unpacked: { offset: number; bytes: Uint8Array } | undefined;

  /** @throws ImageError as `readHeader`, and for an image that cannot be written to */
  constructor(file: ImageFile, { readOnly = false, bus, backing }: Qcow2Options = {}) {
    const header = readHeader(file);
    if (!readOnly && header.notWritable !== undefined)
      throw new ImageError(`${file.name} can only be read: ${header.notWritable}; or take "${file.name},ro"`);
    this.name = file.name;
    this.size = header.size;
    this.readOnly = readOnly;
    this.bus = bus;
    this.#file = file;
    this.#header = header;
    this.#backing = backing;
    this.#cluster = 2 ** header.clusterBits;
    this.#entries = this.#cluster / 8;
    this.#l1 = readTable(file, header.l1.offset, 8 * header.l1.entries);
    this.#l2 = new TableCache(file, this.#cluster, Math.max(4, Math.floor(KEPT_BYTES / this.#cluster)));
    this.#refcounts = new Refcounts(file, header);
  }

  read(offset: number, into: Uint8Array): void {
    this.#check(offset, into.length);
    this.#each(offset, into.length, (at, from, length) => {
      const part = into.subarray(at - offset, at - offset + length);
      const cluster = this.#clusterAt(at);
      if (cluster.kind === 'data') this.#file.read(cluster.offset + from, part);
      else if (cluster.kind === 'compressed') part.set(this.#unpack(cluster).subarray(from, from + length));
      else if (cluster.kind === 'zero') part.fill(0);
      else this.#readBacking(at, part);
    });
  }

  write(offset: number, from: Uint8Array): void {
    this.#check(offset, from.length);
    this.#checkWritable();
    this.#each(offset, from.length, (at, within, length) =>
      this.#writeCluster(at - within, within, from.subarray(at - offset, at - offset + length)),
    );
  }

  flush(): void {
    if (!this.readOnly) this.#file.flush();
  }

  discard(offset: number, length: number): void {
    this.#check(offset, length);
    this.#checkWritable();
    this.#each(offset, length, (at, within, count) => {
      const isWhole = count === this.#cluster || (within === 0 && at + count === this.size);
      if (!isWhole || !this.#drop(at)) this.#writeCluster(at - within, within, new Uint8Array(count));
    });
  }

  close(): void {
    this.#file.close();
    this.#backing?.close();
  }

  /** Calls `work` for each piece of a range that lies in one cluster: its place on the disk and in the cluster, its length. */
  #each(offset: number, length: number, work: (at: number, within: number, length: number) => void): void {
    for (let at = offset; at < offset + length; ) {
      const within = at % this.#cluster;
      const count = Math.min(this.#cluster - within, offset + length - at);
      work(at, within, count);
      at += count;
    }
  }

  // ---- Tables ----------------------------------------------------------------------------------

  #indexes(at: number): { l1: number; l2: number } {
    const cluster = Math.floor(at / this.#cluster);
    return { l1: Math.floor(cluster / this.#entries), l2: cluster % this.#entries };
  }

  /** Where an entry points to. @throws ImageError where no cluster can be */
  #offsetIn(entry: bigint): number {
    const offset = Number(entry & OFFSET_MASK);
    if (offset % this.#cluster !== 0 || !Number.isSafeInteger(offset))
      throw new ImageError(`${this.name} is damaged: a cluster at byte ${offset}`);
    return offset;
  }

  #clusterAt(at: number): Cluster {
    const { l1, l2 } = this.#indexes(at);
    const table = this.#offsetIn(this.#l1.view.getBigUint64(8 * l1));
    return table === 0 ? { kind: 'none' } : this.#parse(this.#l2.at(table).view.getBigUint64(8 * l2));
  }

  #parse(entry: bigint): Cluster {
    if (entry & COMPRESSED) {
      const offsetBits = BigInt(62 - (this.#header.clusterBits - 8));
      const offset = Number(entry & ((1n << offsetBits) - 1n));
      const sectors = Number((entry & (COMPRESSED - 1n)) >> offsetBits) + 1;
      if (!Number.isSafeInteger(offset)) throw new ImageError(`${this.name} is damaged: a cluster at byte ${offset}`);
      return { kind: 'compressed', offset, length: sectors * SECTOR - (offset % SECTOR) };
    }
    const offset = this.#offsetIn(entry);
    if (this.#header.version === 3 && entry & ZERO) return { kind: 'zero', offset };
    return offset === 0 ? { kind: 'none' } : { kind: 'data', offset };
  }

  /** The L2 table for `at`, which is this disk's alone: made, or copied from one that is shared. */
  #tableFor(at: number): Table {
    const { l1 } = this.#indexes(at);
    const entry = this.#l1.view.getBigUint64(8 * l1);
    const offset = this.#offsetIn(entry);
    if (offset !== 0 && this.#isOwn(entry, offset)) return this.#l2.at(offset);
    const content = new Uint8Array(this.#cluster);
    if (offset !== 0) content.set(bytesOf(this.#l2.at(offset)));
    const table = this.#l2.put(this.#refcounts.allocate(), content);
    setEntry(this.#file, this.#l1, l1, BigInt(table.offset) | COPIED);
    if (offset !== 0) this.#refcounts.release(offset);
    return table;
  }

  /** Nothing else refers to the cluster of `entry`. */
  #isOwn(entry: bigint, offset: number): boolean {
    return (entry & COPIED) !== 0n || this.#refcounts.get(offset) === 1;
  }

  // ---- Clusters --------------------------------------------------------------------------------

  /** Writes `data` from byte `within` on into the cluster whose first byte is `start`. */
  #writeCluster(start: number, within: number, data: Uint8Array): void {
    const table = this.#tableFor(start);
    const { l2 } = this.#indexes(start);
    const entry = table.view.getBigUint64(8 * l2);
    const before = this.#parse(entry);
    const hasPlace = (before.kind === 'data' || before.kind === 'zero') && before.offset !== 0;
    const isOwn = hasPlace && this.#isOwn(entry, before.offset);
    const wanted = (offset: number) => BigInt(offset) | COPIED;
    if (isOwn && before.kind === 'data') {
      this.#file.write(before.offset + within, data);
      if (entry !== wanted(before.offset)) setEntry(this.#file, table, l2, wanted(before.offset));
      return;
    }
    let content = data;
    if (data.length < this.#cluster) {
      content = new Uint8Array(this.#cluster);
      // What is beyond the end of the disk stays zeros.
      const length = Math.min(this.#cluster, this.size - start);
      if (within > 0 || data.length < length) this.read(start, content.subarray(0, length));
      content.set(data, within);
    }
    const offset = isOwn ? before.offset : this.#refcounts.allocate();
    this.#file.write(offset, content);
    setEntry(this.#file, table, l2, wanted(offset));
    if (!isOwn) this.#release(before);
  }

  /** The cluster at `at` reads as zeros, and takes no room. @returns false where the format has no way to say so */
  #drop(at: number): boolean {
    const now = this.#clusterAt(at);
    if (now.kind === 'none' && !this.#backing) return true;
    if (now.kind === 'zero' && now.offset === 0) return true;
    if (this.#header.version === 2 && this.#backing) return false;
    const table = this.#tableFor(at);
    const { l2 } = this.#indexes(at);
    const before = this.#parse(table.view.getBigUint64(8 * l2));
    setEntry(this.#file, table, l2, this.#backing ? ZERO : 0n);
    this.#release(before);
    return true;
  }

  /** Nothing of this disk refers to it any more. */
  #release(cluster: Cluster): void {
    if (cluster.kind === 'none' || cluster.offset === 0) return;
    if (cluster.kind !== 'compressed') return this.#refcounts.release(cluster.offset);
    const first = Math.floor(cluster.offset / this.#cluster) * this.#cluster;
    for (let at = first; at < cluster.offset + cluster.length; at += this.#cluster) this.#refcounts.release(at);
    this.#unpacked = undefined;
  }

  #unpack({ offset, length }: { offset: number; length: number }): Uint8Array {
    if (this.#unpacked?.offset === offset) return this.#unpacked.bytes;
    const packed = new Uint8Array(length);
    this.#file.read(offset, packed);
    const bytes = new Uint8Array(this.#cluster);
    try {
      inflateSync(packed, { out: bytes });
    } catch (error) {
      throw new ImageError(`${this.name} is damaged: the cluster at byte ${offset}: ${(error as Error).message}`);
    }
    this.#unpacked = { offset, bytes };
    return bytes;
  }

  /** A backing disk may be shorter. */
  #readBacking(at: number, into: Uint8Array): void {
    const length = Math.max(0, Math.min(into.length, (this.#backing?.size ?? 0) - at));
    if (length > 0) this.#backing!.read(at, into.subarray(0, length));
    into.fill(0, length);
  }

  #check(offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0)
      throw new RangeError(`${this.name}: not a range: ${offset}+${length}`);
    if (offset + length > this.size)
      throw new RangeError(`${this.name}: ${offset}+${length} is past the end (${this.size})`);
  }

  #checkWritable(): void {
    if (this.readOnly) throw new Error(`${this.name} is read-only`);
  }
}

function bytesOf({ view }: Table): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
