/** A recording as a file: what the machine was, as it was at the start, and the journal in pieces. docs/recording-format.md */
import type { Compression } from '../host/compression.ts';
import type { Network } from '../host/network.ts';
import { Snapshot } from '../snapshot/snapshot.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import type { Topology } from '../x86/topology.ts';

const MAGIC = new TextEncoder().encode('PVRECD\r\n');
export const RECORDING_FORMAT = 1;
/** Before the header: the magic, format, length of the header, length of the snapshot. */
const FRONT = MAGIC.length + 12;
const HEADER_LIMIT = 1 << 20;
/** Of a piece of the journal: its length, and as it is stored. */
const PIECE_HEAD = 8;
const PIECE_LIMIT = 1 << 26;
/** Of a disk in memory. */
const DISK_LIMIT = 1 << 26;

/** A network as the guest sees it. */
export interface RecordedNetwork {
  name: string;
  bus?: string;
  optional: boolean;
  offloads: boolean;
  /** Six bytes, in hexadecimal. */
  mac?: string;
}

/** A disk in memory, zeros but for the label at its beginning. */
export interface RecordedDisk {
  name: string;
  /** Bytes. */
  size: number;
  label: string;
}

/** What the snapshot does not say of the machine. */
export interface RecordingHeader {
  cpus: Topology;
  schedule: number | 'fair';
  networks: RecordedNetwork[];
  /** Disks in memory, after those that the machine is given. */
  disks?: RecordedDisk[];
  /** The command of --exec. */
  exec?: string;
  /** Which tier executed, and which version of Polyvisor recorded it: for people, and to compare. */
  engine?: 'jit' | 'interpreter';
  version?: string;
}

export interface Recording {
  header: RecordingHeader;
  snapshot: Snapshot;
  journal: Uint8Array;
  /** The file ends before the recording did. */
  isShort: boolean;
}

/** The beginning of a file; pieces follow. */
export async function encodeFront(header: RecordingHeader, snapshot: Snapshot, compression: Compression) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const machine = await snapshot.encode(compression);
  const front = new Uint8Array(FRONT + text.length + machine.length);
  front.set(MAGIC);
  const view = new DataView(front.buffer);
  view.setUint32(MAGIC.length, RECORDING_FORMAT, true);
  view.setUint32(MAGIC.length + 4, text.length, true);
  view.setUint32(MAGIC.length + 8, machine.length, true);
  front.set(text, FRONT);
  front.set(machine, FRONT + text.length);
  return front;
}

export async function encodePiece(journal: Uint8Array, compression: Compression): Promise<Uint8Array> {
  const stored = await compression.deflate(journal);
  const piece = new Uint8Array(PIECE_HEAD + stored.length);
  const view = new DataView(piece.buffer);
  view.setUint32(0, journal.length, true);
  view.setUint32(4, stored.length, true);
  piece.set(stored, PIECE_HEAD);
  return piece;
}

/** What a recording says of itself. @throws SnapshotError */
export function recordingHeader(bytes: Uint8Array): { header: RecordingHeader; snapshot: Uint8Array; rest: number } {
  if (MAGIC.some((byte, at) => bytes[at] !== byte)) throw new SnapshotError('it is no recording of Polyvisor');
  if (bytes.length < FRONT) throw new SnapshotError('it is cut short');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [format, length, size] = [0, 4, 8].map(at => view.getUint32(MAGIC.length + at, true)) as [
    number,
    number,
    number,
  ];
  if (format !== RECORDING_FORMAT)
    throw new SnapshotError(`it has format ${format}, and this version of Polyvisor reads format ${RECORDING_FORMAT}`);
  if (length > HEADER_LIMIT) throw new SnapshotError(`its header has ${length} bytes, more than ${HEADER_LIMIT}`);
  const rest = FRONT + length + size;
  if (rest > bytes.length) throw new SnapshotError('it is cut short');
  return {
    header: parseHeader(bytes.subarray(FRONT, FRONT + length)),
    snapshot: bytes.subarray(FRONT + length, rest),
    rest,
  };
}

/** @throws SnapshotError for anything that was not written by this version */
export async function decodeRecording(bytes: Uint8Array, compression: Compression): Promise<Recording> {
  const { header, snapshot, rest } = recordingHeader(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const pieces: Uint8Array[] = [];
  let at = rest;
  while (at + PIECE_HEAD <= bytes.length) {
    const [length, size] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    if (length > PIECE_LIMIT) throw new SnapshotError(`it is damaged: a piece of ${length} bytes`);
    if (at + PIECE_HEAD + size > bytes.length) break;
    pieces.push(
      await compression
        .inflate(bytes.subarray(at + PIECE_HEAD, at + PIECE_HEAD + size), length)
        .catch((error: Error) => {
          throw new SnapshotError(`it is damaged: ${error.message}`);
        }),
    );
    at += PIECE_HEAD + size;
  }
  const journal = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let to = 0;
  for (const piece of pieces) {
    journal.set(piece, to);
    to += piece.length;
  }
  return { header, snapshot: await Snapshot.decode(snapshot, compression), journal, isShort: at !== bytes.length };
}

function parseHeader(bytes: Uint8Array): RecordingHeader {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // Said below.
  }
  if (!isHeader(value)) throw new SnapshotError('its header is not that of a recording');
  return value;
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null;
const isCount = (value: unknown) => Number.isInteger(value) && (value as number) >= 0;

function isHeader(value: unknown): value is RecordingHeader {
  if (!isObject(value) || !isObject(value.cpus) || !Array.isArray(value.networks)) return false;
  const { cpus, sockets, cores, threads } = value.cpus;
  return (
    [cpus, sockets, cores, threads].every(isCount) &&
    (value.schedule === 'fair' || isCount(value.schedule)) &&
    [value.exec, value.version].every(text => text === undefined || typeof text === 'string') &&
    [undefined, 'jit', 'interpreter'].includes(value.engine as undefined) &&
    value.networks.every(isNetwork) &&
    (value.disks === undefined ||
      (Array.isArray(value.disks) && value.disks.length <= 256 && value.disks.every(isDisk)))
  );
}

function isDisk(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { name, size, label } = value;
  return (
    [name, label].every(text => typeof text === 'string' && text.length <= 4096) &&
    isCount(size) &&
    (size as number) % 512 === 0 &&
    (size as number) >= 3 * (label as string).length &&
    (size as number) <= DISK_LIMIT
  );
}

function isNetwork(value: unknown): boolean {
  if (!isObject(value) || typeof value.name !== 'string') return false;
  const { bus, mac, optional, offloads } = value;
  return (
    (bus === undefined || typeof bus === 'string') &&
    (mac === undefined || (typeof mac === 'string' && /^[0-9a-f]{12}$/.test(mac))) &&
    [optional, offloads].every(flag => typeof flag === 'boolean')
  );
}

/** What a recording knows of a network. */
export function recordedNetwork({ name, bus, optional = false, offloads = false, mac }: Network): RecordedNetwork {
  const digits = mac && [...mac].map(byte => byte.toString(16).padStart(2, '0')).join('');
  return { name, ...(bus !== undefined && { bus }), optional, offloads, ...(digits !== undefined && { mac: digits }) };
}

/** A network to look at, with nobody on it. */
export function silentNetwork({ name, bus, optional, offloads, mac }: RecordedNetwork): Network {
  return {
    ...{ name, bus, optional, offloads, awaits: false },
    ...(mac !== undefined && { mac: Uint8Array.from(mac.match(/../g)!, digits => Number.parseInt(digits, 16)) }),
    connect() {},
    send() {},
  };
}
