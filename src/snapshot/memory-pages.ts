/** The pages of a guest's RAM that are not all zeros, gathered in pieces of a convenient size. */
import { SnapshotError } from './snapshot-error.ts';

export const PAGE = 4096;
/** Pages in a piece, at most: pieces are compressed one by one, several at a time. */
const PIECE = 512;

/** Pages that follow one another: the number of the first, and how many. */
export type PageRun = readonly [first: number, count: number];

export interface MemoryPiece {
  /** Ascending, and not touching. */
  readonly runs: readonly PageRun[];
  /** The pages' contents, one after the other. */
  readonly bytes: Uint8Array;
  /** The same, where they are elsewhere: fills what is as long, at once or by and by, and makes no copy besides. */
  readonly readInto?: (target: Uint8Array) => void | Promise<void>;
}

/** Copies the pages out of `ram`, the whole of a guest's. */
export function gatherPages(ram: Uint8Array): MemoryPiece[] {
  const words = new Int32Array(ram.buffer, ram.byteOffset, ram.length / 4);
  const pieces: MemoryPiece[] = [];
  let runs: [number, number][] = [];
  let held = 0;
  const finish = () => {
    if (held === 0) return;
    const bytes = new Uint8Array(held * PAGE);
    let to = 0;
    for (const [first, count] of runs) {
      bytes.set(ram.subarray(first * PAGE, (first + count) * PAGE), to);
      to += count * PAGE;
    }
    pieces.push({ runs, bytes });
    [runs, held] = [[], 0];
  };
  for (let page = 0; page < ram.length / PAGE; page++) {
    if (isEmpty(words, page)) continue;
    const last = runs.at(-1);
    if (last && last[0] + last[1] === page) last[1]++;
    else runs.push([page, 1]);
    if (++held === PIECE) finish();
  }
  finish();
  return pieces;
}

/** As `gatherPages`, but the pages stay where they are: pieces are views of `ram`, each of pages that follow one another. */
export function viewPages(ram: Uint8Array): MemoryPiece[] {
  const words = new Int32Array(ram.buffer, ram.byteOffset, ram.length / 4);
  const pieces: MemoryPiece[] = [];
  const pages = ram.length / PAGE;
  for (let first = 0; first < pages; ) {
    let count = 0;
    while (count < PIECE && first + count < pages && !isEmpty(words, first + count)) count++;
    const bytes = ram.subarray(first * PAGE, (first + count) * PAGE);
    if (count > 0) pieces.push({ runs: [[first, count]], bytes });
    // The next one is empty, or begins another piece.
    first += count < PIECE ? count + 1 : count;
  }
  return pieces;
}

/**
 * As `gatherPages`, but a page that is as in `like` is shared with it. Each of the others is a piece by itself, to be given back when nobody has it
 * any more.
 */
export function gatherChanged(ram: Uint8Array, like: readonly MemoryPiece[]): MemoryPiece[] {
  const words = new Int32Array(ram.buffer, ram.byteOffset, ram.length / 4);
  const known = new Map<number, MemoryPiece>();
  for (const piece of like) if (piece.bytes.length === PAGE) known.set(piece.runs[0]![0], piece);
  const pages = pagesOf(like.filter(({ bytes }) => bytes.length > PAGE));
  const pieces: MemoryPiece[] = [];
  for (let page = 0; page < ram.length / PAGE; page++) {
    if (isEmpty(words, page)) continue;
    const piece = known.get(page);
    const then = piece?.bytes ?? pages.get(page);
    const isSame = then !== undefined && isEqual(words, page, then);
    if (isSame && piece) pieces.push(piece);
    else pieces.push({ runs: [[page, 1]], bytes: isSame ? then : ram.slice(page * PAGE, (page + 1) * PAGE) });
  }
  return pieces;
}

function isEqual(words: Int32Array, page: number, bytes: Uint8Array): boolean {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  const other = new Int32Array(aligned.buffer, aligned.byteOffset, PAGE / 4);
  const from = page * (PAGE / 4);
  for (let at = 0; at < PAGE / 4; at++) if (words[from + at] !== other[at]) return false;
  return true;
}

/** The pages by their numbers. */
export function pagesOf(pieces: readonly MemoryPiece[]): Map<number, Uint8Array> {
  const pages = new Map<number, Uint8Array>();
  for (const { runs, bytes } of pieces) {
    let from = 0;
    for (const [first, count] of runs)
      for (let page = first; page < first + count; page++, from += PAGE)
        pages.set(page, bytes.subarray(from, from + PAGE));
  }
  return pages;
}

/** The pages' marks by their numbers. */
export function marksOf(pieces: readonly MemoryPiece[]): Map<number, number> {
  const marks = new Map<number, number>();
  for (const { runs, bytes } of pieces) {
    let from = 0;
    for (const [first, count] of runs)
      for (let page = first; page < first + count; page++, from += PAGE)
        marks.set(page, markOf(bytes.subarray(from, from + PAGE)));
  }
  return marks;
}

/** A number of 53 bits by which a page that has changed is told from what it was, as long as nobody sets out to be taken for another. */
export function markOf(page: Uint8Array): number {
  const words = new Int32Array(page.buffer, page.byteOffset, PAGE / 4);
  let high = 0;
  let low = 1;
  // Two independent multiplicative hashes (FNV's prime, Knuth's multiplier).
  for (const word of words) {
    high = Math.imul(high ^ word, 0x01000193);
    low = Math.imul(low + word, 0x9e3779b1) ^ (low >>> 15);
  }
  return (high >>> 11) * 2 ** 32 + (low >>> 0);
}

function isEmpty(words: Int32Array, page: number): boolean {
  const end = (page + 1) * (PAGE / 4);
  for (let at = page * (PAGE / 4); at < end; at += 8)
    if (
      words[at]! |
      words[at + 1]! |
      words[at + 2]! |
      words[at + 3]! |
      words[at + 4]! |
      words[at + 5]! |
      words[at + 6]! |
      words[at + 7]!
    )
      return false;
  return true;
}

/** What stands before a piece's pages as it is stored: u32 count of runs, u32 first page and u32 count of each. */
export function runsOf({ runs }: MemoryPiece): Uint8Array {
  const packed = new Uint8Array(4 + 8 * runs.length);
  const view = new DataView(packed.buffer);
  view.setUint32(0, runs.length, true);
  for (const [index, [first, count]] of runs.entries()) {
    view.setUint32(4 + 8 * index, first, true);
    view.setUint32(8 + 8 * index, count, true);
  }
  return packed;
}

/** A piece as it is stored. */
export function packPiece(piece: MemoryPiece): Uint8Array {
  const runs = runsOf(piece);
  const packed = new Uint8Array(runs.length + piece.bytes.length);
  packed.set(runs);
  packed.set(piece.bytes, runs.length);
  return packed;
}

/** The most bytes that a piece has as it is stored. */
export const PACKED_PIECE_LIMIT = 4 + PIECE * (8 + PAGE);

/** @throws SnapshotError */
export function unpackPiece(packed: Uint8Array): MemoryPiece {
  const { runs, start } = readRuns(packed, packed.length);
  return { runs, bytes: packed.subarray(start) };
}

/** The bytes that a list of runs has at most. */
export const RUNS_LIMIT = 4 + 8 * PIECE;

/**
 * @param packed as much as there is of a piece as it is stored, up to RUNS_LIMIT
 * @param length of the piece. @returns the runs, and where the pages begin. @throws SnapshotError
 */
export function readRuns(packed: Uint8Array, length: number): { runs: PageRun[]; start: number } {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.length);
  const count = packed.length < 4 ? 0 : view.getUint32(0, true);
  const start = 4 + 8 * count;
  if (count > PIECE || start > packed.length) throw new SnapshotError('its list of memory pages is too long');
  const runs = Array.from({ length: count }, (_, index): PageRun => {
    return [view.getUint32(4 + 8 * index, true), view.getUint32(8 + 8 * index, true)];
  });
  const pages = runs.reduce((sum, [, length]) => sum + length, 0);
  if (start + pages * PAGE !== length) throw new SnapshotError('it has fewer or more memory pages than it says');
  return { runs, start };
}

/** @throws SnapshotError if the pieces' pages are not in order, or not all in RAM of `size` bytes */
export function checkPages(pieces: readonly MemoryPiece[], size: number): void {
  let next = 0;
  for (const [first, count] of pieces.flatMap(({ runs }) => runs)) {
    if (first < next || count === 0) throw new SnapshotError('its memory pages are not in order');
    next = first + count;
    if (next * PAGE > size) throw new SnapshotError(`it has memory pages beyond ${size} bytes of RAM`);
  }
}
