/** A DNS server (RFC 1035) that asks the host's resolver: it takes queries apart and puts answers together. */
import type { DnsAnswer, DnsRecord, RecordType } from '../host/sockets.ts';
import { parseAddress } from './addresses.ts';
import { setLong, setWord, word } from './packet.ts';

export const DNS_PORT = 53;

const TYPES: ReadonlyMap<number, RecordType> = new Map([
  [1, 'A'],
  [2, 'NS'],
  [5, 'CNAME'],
  [12, 'PTR'],
  [15, 'MX'],
  [16, 'TXT'],
  [28, 'AAAA'],
  [33, 'SRV'],
]);
const CLASS_IN = 1;
/** Header bits: a response, recursion desired and available, the answer is cut off. */
const RESPONSE = 0x8000;
const TRUNCATED = 0x0200;
const RECURSION_DESIRED = 0x0100;
const RECURSION_AVAILABLE = 0x0080;
const OPCODE = 0x7800;
/** Response codes. */
const FORMAT_ERROR = 1;
const SERVER_FAILURE = 2;
const NAME_ERROR = 3;
const NOT_IMPLEMENTED = 4;

const HEADER = 12;
/** Seconds that an answer may be kept: the host's resolver keeps them itself. */
const TIME_TO_LIVE = 30;
/** Bytes of an answer over UDP for a client that does not say it takes more, and the most for one that does (RFC 6891). */
const SMALL = 512;
const LARGE = 1400;
const OPT = 41;
/** The same over TCP. */
const STREAM = 65535;

export interface Query {
  readonly id: number;
  readonly flags: number;
  /** As it was asked for, without a dot at its end. */
  readonly name: string;
  readonly type: number;
  readonly recordType: RecordType | undefined;
  /** The question as it stands in the message: it is part of the answer. */
  readonly question: Uint8Array;
  /** Bytes that the answer may have. */
  readonly room: number;
}

/**
 * @param stream it has come over TCP, where answers may be long
 * @returns undefined for what is no query; `malformed` answers what is a bad one
 */
export function parseQuery(message: Uint8Array, stream = false): Query | 'malformed' | undefined {
  if (message.length < HEADER || word(message, 2) & RESPONSE) return undefined;
  const flags = word(message, 2);
  if (flags & OPCODE || word(message, 4) !== 1) return 'malformed';
  const labels: string[] = [];
  let at = HEADER;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return 'malformed';
    at++;
    if (length === 0) break;
    const label = message.subarray(at, at + length);
    if (label.length < length || at - HEADER > 255) return 'malformed';
    labels.push(String.fromCharCode(...label));
    at += length;
  }
  if (at + 4 > message.length) return 'malformed';
  const type = word(message, at);
  const isKnown = word(message, at + 2) === CLASS_IN;
  return {
    id: word(message, 0),
    flags,
    name: labels.join('.'),
    type,
    recordType: isKnown ? TYPES.get(type) : undefined,
    question: message.subarray(HEADER, at + 4),
    room: stream ? STREAM : roomFor(message.subarray(at + 4)),
  };
}

/** A client that takes longer answers says so in a record of its own: name 0, type OPT, and the size as its class. */
function roomFor(records: Uint8Array): number {
  return records[0] === 0 && word(records, 1) === OPT ? Math.min(Math.max(word(records, 3), SMALL), LARGE) : SMALL;
}

export function malformed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER);
  bytes.set(message.subarray(0, 2));
  setWord(bytes, 2, RESPONSE | (word(message, 2) & OPCODE ? NOT_IMPLEMENTED : FORMAT_ERROR));
  return bytes;
}

/** @param answer undefined for a type that cannot be asked for */
export function formatAnswer(query: Query, answer: DnsAnswer | undefined): Uint8Array {
  const code =
    answer === undefined
      ? NOT_IMPLEMENTED
      : answer === 'no-name'
        ? NAME_ERROR
        : answer === 'failed'
          ? SERVER_FAILURE
          : 0;
  const records = typeof answer === 'object' ? answer : [];
  const bytes = new Uint8Array(Math.max(query.room, LARGE));
  bytes.set(query.question, HEADER);
  let at = HEADER + query.question.length;
  let count = 0;
  let flags = RESPONSE | RECURSION_AVAILABLE | (query.flags & RECURSION_DESIRED) | code;
  for (const record of records) {
    const data = recordData(record);
    if (!data) continue;
    if (at + 12 + data.length > query.room) {
      flags |= TRUNCATED;
      break;
    }
    setWord(bytes, at, 0xc000 | HEADER); // The question's name.
    setWord(bytes, at + 2, query.type);
    setWord(bytes, at + 4, CLASS_IN);
    setLong(bytes, at + 6, TIME_TO_LIVE);
    setWord(bytes, at + 10, data.length);
    bytes.set(data, at + 12);
    at += 12 + data.length;
    count++;
  }
  setWord(bytes, 0, query.id);
  setWord(bytes, 2, flags);
  setWord(bytes, 4, 1);
  setWord(bytes, 6, count);
  return bytes.subarray(0, at);
}

function recordData(record: DnsRecord): Uint8Array | undefined {
  switch (record.type) {
    case 'A':
    case 'AAAA':
      return parseAddress(record.address);
    case 'PTR':
    case 'CNAME':
    case 'NS':
      return encodeName(record.name);
    case 'MX':
      return prefixed([record.preference], encodeName(record.name));
    case 'SRV':
      return prefixed([record.priority, record.weight, record.port], encodeName(record.name));
    case 'TXT':
      return Uint8Array.from(record.texts.flatMap(text => [Math.min(text.length, 255), ...text.subarray(0, 255)]));
  }
}

function prefixed(words: readonly number[], rest: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(2 * words.length + rest.length);
  for (const [index, value] of words.entries()) setWord(bytes, 2 * index, value);
  bytes.set(rest, 2 * words.length);
  return bytes;
}

function encodeName(name: string): Uint8Array {
  const bytes: number[] = [];
  for (const label of name.split('.').filter(Boolean)) {
    const codes = Array.from(label.slice(0, 63), character => character.charCodeAt(0) & 0xff);
    bytes.push(codes.length, ...codes);
  }
  return Uint8Array.from([...bytes, 0]);
}
