/**
 * xz (xz-file-format.txt 1.1.0; section numbers below are its), unpacked by the `xz-decompress` package plus what Linux uses
 * and that package lacks: kernels go through the x86 "BCJ" filter before LZMA2, which makes the relative targets of CALL
 * and JMP absolute so that they compress better. Such a stream is handed to the package as one without filter and without
 * checks; we undo the filter and verify the checks.
 */
import { crc32, crc64 } from './checksums.ts';
import { undoX86Filter } from './x86-filter.ts';

/** Stream header and footer (2.1.1, 2.1.2), in bytes. */
const STREAM_HEADER = 12;
const STREAM_FOOTER = 12;
/** Filter numbers (5.3). */
const FILTER_X86 = 0x04;
const FILTER_LZMA2 = 0x21;
/** Check numbers (2.1.1.2). */
const CHECK_NONE = 0;
const CHECK_CRC32 = 1;
const CHECK_CRC64 = 4;
/** How many bytes a check of each number takes. */
const CHECK_SIZES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64];

/** What the package's error codes mean (xz-embedded's `enum xz_ret`). */
const PACKAGE_ERRORS: ReadonlyMap<string, string> = new Map([
  ['4', 'it asks for a dictionary of more than 64 MiB'],
  ['6', 'it uses a filter other than LZMA2 and x86'],
  ['8', 'it is cut off'],
]);

/** Hands the unpacked bytes to `sink` in pieces. @throws Error when the stream is corrupt or cut off. */
export async function decompressXz(bytes: Uint8Array, sink: (part: Uint8Array) => void): Promise<void> {
  const blocks = filteredBlocks(bytes);
  if (!blocks) return readStream(bytes, sink);
  const check = bytes[7] & 15;
  if (check !== CHECK_CRC32 && check !== CHECK_CRC64) throw new Error(`its check is of an unknown kind, ${check}`);

  const parts: Uint8Array[] = [];
  await readStream(withoutFilter(bytes, blocks), part => parts.push(part));
  const all = concatenate(parts);
  let start = 0;
  for (const block of blocks) {
    const content = all.subarray(start, start + block.uncompressedSize);
    start += block.uncompressedSize;
    undoX86Filter(content);
    if (
      checkAt(bytes, block.start + block.unpaddedSize, check) !==
      (check === CHECK_CRC64 ? crc64(content) : BigInt(crc32(content)))
    )
      throw new Error('its checksum does not match');
    sink(content);
  }
}

async function readStream(bytes: Uint8Array, sink: (part: Uint8Array) => void): Promise<void> {
  const { default: xzDecompress } = await import('xz-decompress');
  const source = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(bytes);
      controller.close();
    },
  });
  const reader = new xzDecompress.XzReadableStream(source).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      sink(value);
    }
  } catch (error) {
    const code = /error code (\d+)/.exec(String(error))?.[1];
    throw code === undefined ? error : new Error(PACKAGE_ERRORS.get(code) ?? 'its data is damaged');
  } finally {
    // The package decodes one stream at a time: one that is left unread would block all others.
    await reader.cancel().catch(() => {});
  }
}

interface Block {
  /** Where its header stands. */
  start: number;
  headerSize: number;
  /** From its header's start to its check's end, without the padding before the check. */
  unpaddedSize: number;
  uncompressedSize: number;
}

/** The blocks of a stream whose every block has the filters x86 and LZMA2; undefined for any other stream. */
function filteredBlocks(bytes: Uint8Array): Block[] | undefined {
  if (bytes.length < STREAM_HEADER + STREAM_FOOTER + 8 || !hasX86Filter(bytes, STREAM_HEADER)) return undefined;
  const { view, indexStart } = locateIndex(bytes);
  const reader = new VariableReader(bytes, indexStart + 1, bytes.length - STREAM_FOOTER);
  const count = reader.next();
  if (count > bytes.length / 8) throw new Error(`its index claims ${count} blocks`);
  const blocks: Block[] = [];
  let start = STREAM_HEADER;
  for (let index = 0; index < count; index++) {
    const [unpaddedSize, uncompressedSize] = [reader.next(), reader.next()];
    const headerSize = (bytes[start] + 1) * 4;
    if (start + unpaddedSize > indexStart || headerSize > unpaddedSize || !hasX86Filter(bytes, start))
      throw new Error('its index is wrong');
    blocks.push({ start, headerSize, unpaddedSize, uncompressedSize });
    start += align4(unpaddedSize);
  }
  if (start !== indexStart || view.getUint8(indexStart) !== 0) throw new Error('its index is wrong');
  return blocks;
}

/** True if the block header at `start` (3.1) names exactly the filters x86, without a start offset, and LZMA2. */
function hasX86Filter(bytes: Uint8Array, start: number): boolean {
  const at = filtersAt(bytes, start);
  return (
    (bytes[start + 1] & 3) === 1 && bytes[at] === FILTER_X86 && bytes[at + 1] === 0 && bytes[at + 2] === FILTER_LZMA2
  );
}

/** Where a block header's list of filters begins: after its flags and the two optional sizes. */
function filtersAt(bytes: Uint8Array, start: number): number {
  let at = start + 2;
  for (const flag of [0x40, 0x80]) {
    if (!(bytes[start + 1] & flag)) continue;
    while (at < bytes.length && bytes[at] & 0x80) at++;
    at++;
  }
  return at;
}

function locateIndex(bytes: Uint8Array): { view: DataView; indexStart: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const footer = bytes.length - STREAM_FOOTER;
  if (bytes[footer + 10] !== 0x59 || bytes[footer + 11] !== 0x5a) throw new Error('it is cut off');
  const indexStart = footer - (view.getUint32(footer + 4, true) + 1) * 4;
  if (indexStart < STREAM_HEADER) throw new Error('its index is wrong');
  return { view, indexStart };
}

/** The same stream with LZMA2 as its blocks' only filter and with no checks: what the package can read. */
function withoutFilter(bytes: Uint8Array, blocks: readonly Block[]): Uint8Array {
  const checkSize = CHECK_SIZES[bytes[7] & 15];
  const flags = Uint8Array.of(0, CHECK_NONE);
  const out: Uint8Array[] = [bytes.subarray(0, 6), flags, crcBytes(flags)];
  const index = [0, ...variable(blocks.length)];
  for (const block of blocks) {
    // Not bytes.slice(): a Buffer's is no copy.
    const header = new Uint8Array(bytes.subarray(block.start, block.start + block.headerSize - 4));
    const at = filtersAt(header, 0);
    header[1] &= ~3; // One filter instead of two; its two bytes go, zeros fill the end.
    header.copyWithin(at, at + 2);
    header.fill(0, header.length - 2);
    header[at + 2] = Math.min(header[at + 2], dictionaryByte(block.uncompressedSize));
    const body = bytes.subarray(block.start + block.headerSize, block.start + block.unpaddedSize - checkSize);
    out.push(header, crcBytes(header), body, new Uint8Array(-body.length & 3));
    index.push(...variable(block.unpaddedSize - checkSize), ...variable(block.uncompressedSize));
  }
  const indexBytes = Uint8Array.from([...index, ...new Uint8Array(-index.length & 3)]);
  const backward = new Uint8Array(6);
  new DataView(backward.buffer).setUint32(0, indexBytes.length / 4, true); // Counts the index's CRC-32 and leaves out one word.
  backward.set(flags, 4);
  out.push(indexBytes, crcBytes(indexBytes), crcBytes(backward), backward, Uint8Array.of(0x59, 0x5a));
  return concatenate(out);
}

/**
 * The smallest LZMA2 dictionary (5.3.1) that holds `size` bytes: newer kernels ask for 128 MiB, which is more than the package
 * gives and than their contents need.
 */
function dictionaryByte(size: number): number {
  let byte = 0;
  while (byte < 40 && (2 | (byte & 1)) * 2 ** ((byte >> 1) + 11) < size) byte++;
  return byte;
}

/** The check that ends at `end`, before which the block's data is padded to 4 bytes. */
function checkAt(bytes: Uint8Array, end: number, check: number): bigint {
  // The unpadded size leaves the padding out, but it stands before the check.
  const size = CHECK_SIZES[check];
  const at = align4(end - size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return check === CHECK_CRC64 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
}

/** Reads the format's variable-length integers (1.2). */
class VariableReader {
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    [this.#bytes, this.#at, this.#end] = [bytes, at, end];
  }

  next(): number {
    let value = 0;
    for (let scale = 1; scale < 2 ** 53; scale *= 128) {
      if (this.#at >= this.#end) break;
      const byte = this.#bytes[this.#at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new Error('its index is wrong');
  }
}

function variable(value: number): number[] {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  return [...bytes, value];
}

function crcBytes(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(4);
  new DataView(out.buffer).setUint32(0, crc32(bytes), true);
  return out;
}

function align4(value: number): number {
  return Math.ceil(value / 4) * 4;
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
