/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM 2B, 4.1), and CRC32. The two strings stand in VECTOR[0] and VECTOR[1], the
 * immediate in ARGUMENT[0], explicit lengths (signed, 64 bits) in ARGUMENT[1] and [2]. The index goes to RESULT[0], the
 * flags, laid out as RFLAGS, to RESULT[1], the mask to VECTOR[3].
 */
import type { Helper } from './helper.ts';
import { ARGUMENT, CF, OF, RESULT, SF, STATE, VECTOR, ZF } from './state.ts';

const FIRST = STATE + VECTOR;
const SECOND = STATE + VECTOR + 16;
const MASK = STATE + VECTOR + 48;

/** Immediate bits 3-2: what makes a character of the second string count. */
const EQUAL_ANY = 0;
const RANGES = 1;
const EQUAL_EACH = 2;

/** Characters of the strings of the instruction at hand, as signed or unsigned numbers. */
const first = new Int32Array(16);
const second = new Int32Array(16);

function loadString(view: DataView, address: number, format: number, characters: Int32Array, count: number): void {
  for (let i = 0; i < count; i++) {
    if (format === 0) characters[i] = view.getUint8(address + i);
    else if (format === 1) characters[i] = view.getUint16(address + 2 * i, true);
    else if (format === 2) characters[i] = view.getInt8(address + i);
    else characters[i] = view.getInt16(address + 2 * i, true);
  }
}

/** An explicit length: its magnitude, at most `count`. */
function explicitLength(view: DataView, n: number, count: number): number {
  const length = view.getBigInt64(STATE + ARGUMENT + 8 * n, true);
  const magnitude = length < 0n ? -length : length;
  return magnitude > BigInt(count) ? count : Number(magnitude);
}

function implicitLength(characters: Int32Array, count: number): number {
  for (let i = 0; i < count; i++) if (characters[i] === 0) return i;
  return count;
}

function anyEqual(character: number, length: number): boolean {
  for (let i = 0; i < length; i++) if (first[i] === character) return true;
  return false;
}

/** The first string holds pairs, lowest and highest; one without its second half is none. */
function inRange(character: number, length: number): boolean {
  for (let i = 0; i + 1 < length; i += 2) if (character >= first[i]! && character <= first[i + 1]!) return true;
  return false;
}

/** The first string stands in the second from `at` on, as far as the register shows it. */
function occurs(at: number, firstLength: number, secondLength: number, count: number): boolean {
  for (let i = 0; i < firstLength && at + i < count; i++)
    if (at + i >= secondLength || first[i] !== second[at + i]) return false;
  return true;
}

/** IntRes1: a bit for every character of the second string. */
function aggregate(how: number, firstLength: number, secondLength: number, count: number): number {
  let bits = 0;
  for (let i = 0; i < count; i++) {
    let holds: boolean;
    if (how === EQUAL_ANY) holds = i < secondLength && anyEqual(second[i]!, firstLength);
    else if (how === RANGES) holds = i < secondLength && inRange(second[i]!, firstLength);
    else if (how === EQUAL_EACH) {
      if (i < firstLength && i < secondLength) holds = first[i] === second[i];
      else holds = i >= firstLength && i >= secondLength;
    } else holds = occurs(i, firstLength, secondLength, count);
    if (holds) bits |= 1 << i;
  }
  return bits;
}

/** IntRes2. Returns it after writing the flags. */
function compare(view: DataView, explicit: boolean): number {
  const immediate = view.getUint8(STATE + ARGUMENT);
  const format = immediate & 3;
  const count = format & 1 ? 8 : 16;
  loadString(view, FIRST, format, first, count);
  loadString(view, SECOND, format, second, count);
  const firstLength = explicit ? explicitLength(view, 1, count) : implicitLength(first, count);
  const secondLength = explicit ? explicitLength(view, 2, count) : implicitLength(second, count);
  let bits = aggregate((immediate >> 2) & 3, firstLength, secondLength, count);
  // Polarity: bit 4 inverts, with bit 5 only the characters there are.
  if (immediate & 0x10) bits ^= (1 << (immediate & 0x20 ? secondLength : count)) - 1;
  let flags = 0;
  if (bits !== 0) flags |= CF;
  if (secondLength < count) flags |= ZF;
  if (firstLength < count) flags |= SF;
  if (bits & 1) flags |= OF;
  view.setUint32(STATE + RESULT + 8, flags, true);
  view.setUint32(STATE + RESULT + 12, 0, true);
  return bits;
}

/** Number of the lowest or, with bit 6, the highest bit; the count of characters if there is none. */
function index(view: DataView, explicit: boolean): void {
  const bits = compare(view, explicit);
  const immediate = view.getUint8(STATE + ARGUMENT);
  let answer = immediate & 1 ? 8 : 16;
  if (bits !== 0) answer = 31 - Math.clz32(immediate & 0x40 ? bits : bits & -bits);
  view.setUint32(STATE + RESULT, answer, true);
  view.setUint32(STATE + RESULT + 4, 0, true);
}

/** The bits themselves or, with bit 6, whole characters of ones. */
function mask(view: DataView, explicit: boolean): void {
  const bits = compare(view, explicit);
  const immediate = view.getUint8(STATE + ARGUMENT);
  const size = immediate & 1 ? 2 : 1;
  for (let i = 0; i < 16; i++) {
    const byte = immediate & 0x40 ? -((bits >> Math.floor(i / size)) & 1) : i < 2 ? bits >> (8 * i) : 0;
    view.setUint8(MASK + i, byte & 0xff);
  }
}

/** CRC-32C (Castagnoli), bits reflected: the remainder each byte leaves. */
const REMAINDERS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

export const stringCompareHelpers: Record<string, Helper> = {
  pcmpestri: ({ view }) => index(view, true),
  pcmpistri: ({ view }) => index(view, false),
  pcmpestrm: ({ view }) => mask(view, true),
  pcmpistrm: ({ view }) => mask(view, false),
  /** ARGUMENT: the remainder so far, the source, its size in bytes. */
  crc32: ({ view }) => {
    let crc = view.getUint32(STATE + ARGUMENT, true);
    const size = view.getUint32(STATE + ARGUMENT + 16, true);
    for (let i = 0; i < size; i++)
      crc = REMAINDERS[(crc ^ view.getUint8(STATE + ARGUMENT + 8 + i)) & 0xff]! ^ (crc >>> 8);
    view.setUint32(STATE + RESULT, crc, true);
    view.setUint32(STATE + RESULT + 4, 0, true);
  },
};
