/** The header of a qcow2 image, versions 2 and 3 (QEMU docs/interop/qcow2.txt): what of it we know, and what we refuse. */
import { ImageError } from '../boot/image-error.ts';
import type { ImageFile } from '../host/image-file.ts';

/** `QFI\xfb`. */
export const QCOW2_MAGIC = 0x514649fb;

const LENGTH_2 = 72;
const LENGTH_3 = 104;
/** QEMU's limits. */
const LEAST_CLUSTER_BITS = 9;
const MOST_CLUSTER_BITS = 21;
const MOST_L1_BYTES = 32 << 20;
const MOST_REFCOUNT_TABLE_BYTES = 8 << 20;
const LONGEST_NAME = 1023;
const SECTOR = 512;
/** Numbers beyond have lost bits. No file is as long. */
const MOST_BYTES = Number.MAX_SAFE_INTEGER;

/** Incompatible features. */
const DIRTY = 1n << 0n;
const CORRUPT = 1n << 1n;
const EXTERNAL_DATA = 1n << 2n;
const COMPRESSION_TYPE = 1n << 3n;
const EXTENDED_L2 = 1n << 4n;

/** Header extensions: type u32 and length u32, then data, padded to 8 bytes. */
const EXTENSION_END = 0;
const EXTENSION_BACKING_FORMAT = 0xe2792aca;

/** Where fields are that change. */
export const REFCOUNT_TABLE_FIELD = 48;

export interface Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  /** Of the disk, in bytes. */
  readonly size: number;
  readonly l1: { readonly offset: number; readonly entries: number };
  readonly refcountTable: { readonly offset: number; readonly clusters: number };
  /** The width of a reference count is 2 to this power, in bits. */
  readonly refcountOrder: number;
  /** Whom to read what has never been written from; its format, where the image says it. */
  readonly backing: { readonly path: string; readonly format: string | undefined } | undefined;
  /** Why nothing may be written to it. */
  readonly notWritable: string | undefined;
}

export function isQcow2(start: Uint8Array): boolean {
  return start.length >= 4 && viewOf(start).getUint32(0) === QCOW2_MAGIC;
}

/** @throws ImageError for what is no image, is damaged, or needs what is not known here */
export function readHeader(file: ImageFile): Header {
  const fail = (what: string): never => {
    throw new ImageError(`${file.name}: ${what}`);
  };
  const bytes = new Uint8Array(LENGTH_3 + 8);
  file.read(0, bytes);
  const view = viewOf(bytes);
  const u64 = (at: number): number => {
    const value = Number(view.getBigUint64(at));
    return value <= MOST_BYTES ? value : fail(`is damaged: byte ${at} of its header says 2^53 or more`);
  };
  if (!isQcow2(bytes)) fail('is no qcow2 image: "format=raw" is for raw ones');
  const version = view.getUint32(4);
  if (version !== 2 && version !== 3) fail(`is a qcow2 image of version ${version}: 2 and 3 are known`);
  const isThree = version === 3;
  const incompatible = isThree ? view.getBigUint64(72) : 0n;
  if (incompatible & EXTERNAL_DATA) fail('has its data in another file: "qemu-img convert -O qcow2" joins them');
  if (incompatible & EXTENDED_L2) fail('has extended L2 entries: "qemu-img convert -O qcow2" makes an image without');
  const unknown = incompatible & ~(DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2);
  if (unknown) fail(`needs features that are not known here: 0x${unknown.toString(16)}`);
  const length = isThree ? view.getUint32(100) : LENGTH_2;
  if (isThree && (length < LENGTH_3 || length % 8 !== 0)) fail(`is damaged: a header of ${length} bytes`);
  if (incompatible & COMPRESSION_TYPE && (length <= LENGTH_3 || bytes[LENGTH_3] !== 0))
    fail('is compressed by Zstandard: "qemu-img convert -O qcow2" makes an image that is not');
  if (view.getUint32(32) !== 0) fail('is encrypted: "qemu-img convert" makes an image that is not');
  const clusterBits = view.getUint32(20);
  if (clusterBits < LEAST_CLUSTER_BITS || clusterBits > MOST_CLUSTER_BITS)
    fail(`is damaged: clusters of 2^${clusterBits} bytes`);
  const cluster = 2 ** clusterBits;
  if (length > cluster) fail(`is damaged: a header of ${length} bytes`);
  const size = u64(24);
  if (size === 0 || size % SECTOR !== 0) fail(`${size} bytes are no whole number of ${SECTOR}-byte sectors`);
  const l1 = { offset: u64(40), entries: view.getUint32(36) };
  const needed = Math.ceil(size / (cluster * (cluster / 8)));
  if (l1.entries < needed || l1.entries * 8 > MOST_L1_BYTES || l1.offset % cluster !== 0 || l1.offset === 0)
    fail(`is damaged: ${l1.entries} L1 entries at byte ${l1.offset} for ${size} bytes`);
  const refcountTable = { offset: u64(48), clusters: view.getUint32(56) };
  const isTableFine = refcountTable.offset % cluster === 0 && refcountTable.offset > 0 && refcountTable.clusters > 0;
  if (!isTableFine || refcountTable.clusters * cluster > MOST_REFCOUNT_TABLE_BYTES)
    fail(`is damaged: a refcount table of ${refcountTable.clusters} clusters at byte ${refcountTable.offset}`);
  const refcountOrder = isThree ? view.getUint32(96) : 4;
  if (refcountOrder > 6) fail(`is damaged: reference counts of 2^${refcountOrder} bits`);
  const autoclear = isThree ? view.getBigUint64(88) : 0n;
  const notWritable =
    incompatible & CORRUPT
      ? 'it is marked as damaged: "qemu-img check -r all" mends it'
      : incompatible & DIRTY
        ? 'it was not closed: "qemu-img check -r all" mends it'
        : autoclear !== 0n
          ? 'it has bitmaps, which would be wrong then: "qemu-img bitmap --remove" removes them'
          : undefined;
  const head = { version: version as 2 | 3, clusterBits, size, l1, refcountTable, refcountOrder, notWritable };
  return { ...head, backing: readBacking(file, view, length, cluster, fail) };
}

function readBacking(
  file: ImageFile,
  view: DataView,
  headerLength: number,
  cluster: number,
  fail: (what: string) => never,
): Header['backing'] {
  const offset = Number(view.getBigUint64(8));
  const length = view.getUint32(16);
  if (offset === 0) return undefined;
  if (length === 0 || length > LONGEST_NAME || offset + length > cluster)
    return fail(`is damaged: the name of its backing file has ${length} bytes at byte ${offset}`);
  const first = new Uint8Array(cluster);
  file.read(0, first);
  const text = new TextDecoder();
  let format: string | undefined;
  for (let at = headerLength; at + 8 <= offset; ) {
    const type = viewOf(first).getUint32(at);
    const size = viewOf(first).getUint32(at + 4);
    if (type === EXTENSION_END) break;
    if (at + 8 + size > offset) return fail(`is damaged: a header extension of ${size} bytes`);
    if (type === EXTENSION_BACKING_FORMAT) format = text.decode(first.subarray(at + 8, at + 8 + size));
    at += 8 + Math.ceil(size / 8) * 8;
  }
  return { path: text.decode(first.subarray(offset, offset + length)), format };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
