/**
 * Unpacking what kernels and packages are packed with: LZ4 (legacy frame), gzip, xz, zstd, told apart by their first bytes.
 * A corrupt stream is an ImageError, and so is one that unpacks to more than `limit`: a few bytes can claim terabytes.
 */
import { crc32 } from './checksums.ts';
import { formatSize, ImageError } from './image-error.ts';
import { decompressLz4Legacy } from './lz4.ts';
import { decompressXz } from './xz.ts';

export type Compression = 'lz4' | 'gzip' | 'xz' | 'zstd';

/** No kernel or package of a default guest is larger than this when unpacked, in bytes. */
const LIMIT = 1 << 30;
/** How much is handed to a streaming decoder at a time. */
const CHUNK = 1 << 18;

/** What Linux can be packed with and we do not read, by first bytes. */
const UNSUPPORTED: readonly [name: string, magic: readonly number[]][] = [
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['LZMA', [0x5d, 0x00, 0x00]],
  ['LZO', [0x89, 0x4c, 0x5a, 0x4f]],
];

/** What `bytes` are packed with, by their magic number; undefined when it is none of those we know. */
export function compressionOf(bytes: Uint8Array): Compression | undefined {
  if (startsWith(bytes, [0x02, 0x21, 0x4c, 0x18])) return 'lz4';
  if (startsWith(bytes, [0x1f, 0x8b])) return 'gzip';
  if (startsWith(bytes, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])) return 'xz';
  if (startsWith(bytes, [0x28, 0xb5, 0x2f, 0xfd])) return 'zstd';
  return undefined;
}

/** The name of a packing that we recognise and do not read. */
export function unsupportedCompressionOf(bytes: Uint8Array): string | undefined {
  return UNSUPPORTED.find(([, magic]) => startsWith(bytes, magic))?.[0];
}

/**
 * Unpacks `bytes`. `size` is the number of bytes that must come out, where that is known: it must be for LZ4, whose legacy
 * frame has no end mark, and for zstd unless its header tells it.
 */
export async function decompress(bytes: Uint8Array, size?: number, limit = LIMIT): Promise<Uint8Array> {
  const kind = compressionOf(bytes);
  if (kind === undefined) throw new ImageError('not packed with LZ4, gzip, xz or zstd');
  if (size !== undefined && size > limit) throw tooLarge(kind, limit);
  const out = await unpack(kind, bytes, size, limit);
  if (size !== undefined && out.length !== size)
    throw new ImageError(
      `the ${kind} data is corrupt: it holds ${out.length} bytes and should hold ${size}; fetch the file again`,
    );
  return out;
}

async function unpack(
  kind: Compression,
  bytes: Uint8Array,
  size: number | undefined,
  limit: number,
): Promise<Uint8Array> {
  switch (kind) {
    case 'lz4': {
      if (size === undefined) throw new ImageError('LZ4 data of unknown size cannot be unpacked');
      return decompressLz4Legacy(bytes, size);
    }
    case 'gzip':
      return guarded(kind, () => gunzip(bytes, limit));
    case 'zstd':
      return guarded(kind, () => unzstd(bytes, size ?? zstdContentSize(bytes), limit));
    case 'xz':
      return guarded(kind, () => unxz(bytes, limit));
  }
}

/** Turns whatever a decoder throws at corrupt data into one line. */
async function guarded(kind: Compression, work: () => Promise<Uint8Array>): Promise<Uint8Array> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ImageError) throw error;
    const detail = error instanceof Error ? error.message : String(error);
    throw new ImageError(`the ${kind} data is corrupt: ${detail.split('\n')[0]}; fetch the file again`);
  }
}

async function gunzip(bytes: Uint8Array, limit: number): Promise<Uint8Array> {
  const { Gunzip } = await import('fflate');
  const parts = new Parts('gzip', limit);
  let done = false;
  const stream = new Gunzip((chunk, final) => {
    parts.add(chunk);
    done ||= final;
  });
  for (let at = 0; at < bytes.length; at += CHUNK)
    stream.push(bytes.subarray(at, at + CHUNK), at + CHUNK >= bytes.length);
  if (!done) throw new Error('it is cut off');
  const out = parts.join();
  // fflate leaves the trailer (RFC 1952: CRC-32 and length modulo 2^32) to its caller.
  const view = new DataView(bytes.buffer, bytes.byteOffset + bytes.length - 8, 8);
  if (view.getUint32(4, true) !== out.length >>> 0 || view.getUint32(0, true) !== crc32(out))
    throw new Error('its checksum does not match');
  return out;
}

async function unzstd(bytes: Uint8Array, size: number | undefined, limit: number): Promise<Uint8Array> {
  if (size === undefined) throw new ImageError('zstd data that does not say its size cannot be unpacked');
  if (size > limit) throw tooLarge('zstd', limit);
  const { ZSTDDecoder } = await import('zstddec');
  const decoder = new ZSTDDecoder();
  await decoder.init();
  const out = decoder.decode(bytes, Math.max(1, size));
  if (out.length !== size) throw new Error('it is cut off or its checksum does not match'); // The package says no more.
  return out;
}

/** The unpacked size that a frame's header may give (RFC 8878, 3.1.1.1), in bytes. */
function zstdContentSize(bytes: Uint8Array): number | undefined {
  const descriptor = bytes[4];
  const singleSegment = (descriptor & 0x20) !== 0;
  const sizeFlag = descriptor >> 6;
  if (sizeFlag === 0 && !singleSegment) return undefined;
  const at = 5 + (singleSegment ? 0 : 1) + [0, 1, 2, 4][descriptor & 3];
  if (at + 8 > bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (sizeFlag) {
    case 0:
      return view.getUint8(at);
    case 1:
      return view.getUint16(at, true) + 256;
    case 2:
      return view.getUint32(at, true);
    default:
      return Number(view.getBigUint64(at, true));
  }
}

async function unxz(bytes: Uint8Array, limit: number): Promise<Uint8Array> {
  const parts = new Parts('xz', limit);
  await decompressXz(bytes, part => parts.add(part));
  return parts.join();
}

/** Collects a decoder's output and stops it at the limit. */
class Parts {
  readonly #kind: Compression;
  readonly #limit: number;
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  constructor(kind: Compression, limit: number) {
    this.#kind = kind;
    this.#limit = limit;
  }

  add(part: Uint8Array): void {
    this.#length += part.length;
    if (this.#length > this.#limit) throw tooLarge(this.#kind, this.#limit);
    this.#parts.push(part);
  }

  join(): Uint8Array {
    const out = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

function tooLarge(kind: Compression, limit: number): ImageError {
  return new ImageError(`the ${kind} data unpacks to more than ${formatSize(limit)}: this is no kernel or package`);
}

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return bytes.length >= magic.length && magic.every((value, index) => bytes[index] === value);
}
