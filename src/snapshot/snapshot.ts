/**
 * A machine at rest: what it is made of, what it knows, and its memory. `machine.snapshot()` makes one, any number of
 * machines can be made of it (`MachineOptions.snapshot`), and it can be written to a file: docs/snapshot-format.md.
 */
import { type Compression, noCompression } from '../host/compression.ts';
import { portableCompression } from '../host/portable-compression.ts';
import type { Data, StateTree } from '../state/state.ts';
import { decodeData, encodeData } from './data.ts';
import { type Header, parseHeader } from './header.ts';
import {
  checkPages,
  type MemoryPiece,
  PACKED_PIECE_LIMIT,
  packPiece,
  RUNS_LIMIT,
  readRuns,
  runsOf,
  unpackPiece,
} from './memory-pages.ts';
import { SnapshotError } from './snapshot-error.ts';

const MAGIC = new TextEncoder().encode('PVSNAP\r\n');
/** Of the container. What the states mean has versions of its own, by state. */
export const FORMAT = 1;
const HEADER_LIMIT = 1 << 20;
/** More than a header and what stands before it. */
const FRONT = HEADER_LIMIT + 64;
const STATES_LIMIT = 1 << 28;

/** Kinds of parts. */
const END = 0;
const STATES = 1;
const MEMORY = 2;
/** Of a part: kind, bytes of its content, bytes as it is stored. */
const PART_HEAD = 12;
/** Pieces of memory that are compressed at a time. */
const AT_ONCE = 8;

/** What all processors and devices know. */
export interface Knowledge {
  readonly states: StateTree;
  /** In order of their ids. */
  readonly processors: readonly Data[];
}

export class Snapshot implements Knowledge {
  readonly header: Header;
  readonly states: StateTree;
  readonly processors: readonly Data[];
  readonly memory: readonly MemoryPiece[];
  /**
   * What the engine, in this very version, has decoded of the code in memory: `learned` of a machine of the same shape. It is no part of
   * the file, which may come from anywhere: this is believed.
   */
  decoded: Uint8Array | undefined;

  constructor(header: Header, { states, processors }: Knowledge, memory: readonly MemoryPiece[]) {
    this.header = header;
    this.states = states;
    this.processors = processors;
    this.memory = memory;
  }

  /** As a file has it. */
  async encode(compression: Compression = portableCompression): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this.pieces(compression)) pieces.push(piece);
    return joined(pieces);
  }

  /** The same, piece by piece: memory is packed as they are asked for, so that little is held at a time. */
  async *pieces(compression: Compression): AsyncGenerator<Uint8Array> {
    const header = new TextEncoder().encode(JSON.stringify(this.header));
    const knowledge = encodeData({ states: this.states, processors: [...this.processors] } as unknown as Data);
    const front = new Uint8Array(MAGIC.length + 8);
    front.set(MAGIC);
    const view = new DataView(front.buffer);
    view.setUint32(MAGIC.length, FORMAT, true);
    view.setUint32(MAGIC.length + 4, header.length, true);
    yield front;
    yield header;
    const underWay = [encodePart(STATES, knowledge, compression)];
    for (const piece of this.memory) {
      // Nothing of it is copied.
      const isAsItIs = compression === noCompression;
      underWay.push(isAsItIs ? Promise.resolve(partAsItIs(piece)) : encodePart(MEMORY, packPiece(piece), compression));
      if (underWay.length > (isAsItIs ? 0 : AT_ONCE)) yield* await underWay.shift()!;
    }
    for (const part of underWay) yield* await part;
    yield partHead(END, 0, 0);
  }

  /** @throws SnapshotError for anything that `encode` of this version did not make */
  static async decode(bytes: Uint8Array, compression: Compression = portableCompression): Promise<Snapshot> {
    const { header, end } = readHeader(bytes);
    const source = sourceOf(bytes);
    const [states, ...memory] = await Promise.all(
      splitParts(source, end).map(part => decodePart(part, source, compression)),
    );
    return assembled(header, states!, memory.map(unpackPiece));
  }

  /**
   * As `decode` of what is not compressed, but memory stays where it is, and is read when a machine is made of it: meanwhile nobody may change
   * or close it. @throws SnapshotError
   */
  static from(source: SnapshotSource): Snapshot {
    const { header, end } = readHeader(source.bytes(0, Math.min(source.size, FRONT)));
    const [states, ...memory] = splitParts(source, end);
    for (const { length, size } of [states!, ...memory])
      if (length !== size) throw new SnapshotError(`it is damaged: ${size} bytes instead of ${length}`);
    const pieces = memory.map(({ at, size }): MemoryPiece => {
      const { runs, start } = readRuns(source.bytes(at, Math.min(size, RUNS_LIMIT)), size);
      return {
        runs,
        get bytes() {
          return source.bytes(at + start, size - start);
        },
        readInto: target => source.readInto(target, at + start),
      };
    });
    return assembled(header, source.bytes(states!.at, states!.size), pieces);
  }

  /** What a snapshot says of itself, without the rest. @throws SnapshotError */
  static header(bytes: Uint8Array): Header {
    return readHeader(bytes).header;
  }
}

/** Where the bytes of a snapshot are: a file, above all. */
export interface SnapshotSource {
  /** Bytes. */
  readonly size: number;
  /** @param at and length lie within it */
  bytes(at: number, length: number): Uint8Array;
  /** Fills `target` with what is from `at` on, at once or by and by. */
  readInto(target: Uint8Array, at: number): void | Promise<void>;
}

const sourceOf = (bytes: Uint8Array): SnapshotSource => ({
  size: bytes.length,
  bytes: (at, length) => bytes.subarray(at, at + length),
  readInto: (target, at) => target.set(bytes.subarray(at, at + target.length)),
});

/** @throws SnapshotError */
function assembled(header: Header, states: Uint8Array, pieces: readonly MemoryPiece[]): Snapshot {
  checkPages(pieces, header.memory);
  const known = decodeData(states);
  if (!isKnowledge(known, header.processors)) throw new SnapshotError('its states are not those of a machine');
  return new Snapshot(header, known, pieces);
}

function readHeader(bytes: Uint8Array): { header: Header; end: number } {
  const start = MAGIC.length + 8;
  if (MAGIC.some((byte, at) => bytes[at] !== byte)) throw new SnapshotError('it is no snapshot of Polyvisor');
  if (bytes.length < start) throw new SnapshotError('it is cut short');
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const format = view.getUint32(MAGIC.length, true);
  if (format !== FORMAT)
    throw new SnapshotError(`it has format ${format}, and this version of Polyvisor reads format ${FORMAT}`);
  const length = view.getUint32(MAGIC.length + 4, true);
  if (length > HEADER_LIMIT) throw new SnapshotError(`its header has ${length} bytes, more than ${HEADER_LIMIT}`);
  if (start + length > bytes.length) throw new SnapshotError('it is cut short');
  return { header: parseHeader(bytes.subarray(start, start + length)), end: start + length };
}

interface Part {
  kind: number;
  /** Bytes of the content. */
  length: number;
  /** Where it is stored, and in how many bytes. */
  at: number;
  size: number;
}

/** @returns the parts, the states first. @throws SnapshotError */
function splitParts(source: SnapshotSource, from: number): Part[] {
  const parts: Part[] = [];
  for (let at = from; ; ) {
    if (at + PART_HEAD > source.size) throw new SnapshotError('it is cut short');
    const head = source.bytes(at, PART_HEAD);
    const view = new DataView(head.buffer, head.byteOffset, PART_HEAD);
    const [kind, length, size] = [0, 4, 8].map(offset => view.getUint32(offset, true)) as [number, number, number];
    at += PART_HEAD;
    if (at + size > source.size) throw new SnapshotError('it is cut short');
    if (length > (kind === STATES ? STATES_LIMIT : PACKED_PIECE_LIMIT))
      throw new SnapshotError(`a part of it has ${length} bytes, more than any has`);
    if (kind === END) {
      if (at !== source.size || size > 0) throw new SnapshotError('there is more after its end');
      if (parts.length === 0 || parts[0]!.kind !== STATES || parts.slice(1).some(({ kind }) => kind !== MEMORY))
        throw new SnapshotError('its parts are not those of a snapshot');
      return parts;
    }
    parts.push({ kind, length, at, size });
    at += size;
  }
}

async function encodePart(kind: number, content: Uint8Array, compression: Compression): Promise<Uint8Array[]> {
  const stored = await compression.deflate(content);
  return [partHead(kind, content.length, stored.length), stored];
}

function partAsItIs(piece: MemoryPiece): Uint8Array[] {
  const runs = runsOf(piece);
  const length = runs.length + piece.bytes.length;
  return [partHead(MEMORY, length, length), runs, piece.bytes];
}

function partHead(kind: number, length: number, stored: number): Uint8Array {
  const head = new Uint8Array(PART_HEAD);
  const view = new DataView(head.buffer);
  view.setUint32(0, kind, true);
  view.setUint32(4, length, true);
  view.setUint32(8, stored, true);
  return head;
}

async function decodePart(
  { length, at, size }: Part,
  source: SnapshotSource,
  compression: Compression,
): Promise<Uint8Array> {
  try {
    return await compression.inflate(source.bytes(at, size), length);
  } catch (error) {
    throw new SnapshotError(`it is damaged: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function isKnowledge(value: Data, processors: number): value is Data & Knowledge {
  const isObject = (data: unknown): data is Record<string, Data> =>
    typeof data === 'object' && data !== null && Object.getPrototypeOf(data) === Object.prototype;
  if (!isObject(value)) return false;
  const { states, processors: all } = value;
  if (!Array.isArray(all) || all.length !== processors || !isObject(states)) return false;
  return Object.values(states).every(state => isObject(state) && Number.isInteger(state.version) && 'value' in state);
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    out.set(piece, at);
    at += piece.length;
  }
  return out;
}
