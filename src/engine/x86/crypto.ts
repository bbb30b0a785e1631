/**
 * AES-NI and PCLMULQDQ (SDM 1, 5.12; FIPS 197). Operands stand in VECTOR[0] (the destination) and VECTOR[1], an
 * immediate in ARGUMENT[0]; the answer goes to VECTOR[3].
 */
import type { Helper } from './helper.ts';
import { STATE, state } from './state.ts';

const FIRST = STATE + state.VECTOR;
const SECOND = FIRST + 16;
const ANSWER = FIRST + 48;

// ── AES ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Times x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (FIPS 197, 4.2). */
const double = (byte: number) => (byte & 0x80 ? (byte << 1) ^ 0x11b : byte << 1);

function multiply(a: number, b: number): number {
  let product = 0;
  for (let factor = a; b; b >>= 1, factor = double(factor)) if (b & 1) product ^= factor;
  return product;
}

/** The substitution of FIPS 197, 5.1.1: the inverse, then an affine map. */
const SBOX = new Uint8Array(256);
const INVERSE_SBOX = new Uint8Array(256);
for (let byte = 0, power = 1, inverse = 1; byte < 256; byte++) {
  // power runs through the powers of the generator 3, inverse through those of its inverse 0xf6; zero has no inverse.
  const source = byte === 0 ? 0 : power;
  const x = byte === 0 ? 0 : inverse;
  const spread = x ^ (x << 1) ^ (x << 2) ^ (x << 3) ^ (x << 4);
  const substitute = (spread ^ (spread >> 8) ^ 0x63) & 0xff;
  SBOX[source] = substitute;
  INVERSE_SBOX[substitute] = source;
  if (byte > 0) {
    power = multiply(power, 3);
    inverse = multiply(inverse, 0xf6);
  }
}

/** A column [2 1 1 3] (or [14 9 13 11]) times a byte, as MixColumns weighs the byte of row 0; rows 1-3 rotate it. */
const column = (weights: readonly number[]) => (byte: number) =>
  weights.reduce((word, weight, row) => word | (multiply(byte, weight) << (8 * row)), 0) >>> 0;
const MIXED = Uint32Array.from({ length: 256 }, (_, byte) => column([2, 1, 1, 3])(byte));
const INVERSE_MIXED = Uint32Array.from({ length: 256 }, (_, byte) => column([14, 9, 13, 11])(byte));

const rotateLeft = (word: number, count: number) => (word << count) | (word >>> (32 - count));

/** MixColumns of one column, or its inverse. */
function mix(word: number, table: Uint32Array): number {
  return (
    table[word & 0xff]! ^
    rotateLeft(table[(word >>> 8) & 0xff]!, 8) ^
    rotateLeft(table[(word >>> 16) & 0xff]!, 16) ^
    rotateLeft(table[word >>> 24]!, 24)
  );
}

/**
 * One round: ShiftRows (`step` columns further per row), SubBytes, MixColumns but in the last round, the round's key.
 */
function round(view: DataView, step: 1 | 3, sbox: Uint8Array, table: Uint32Array | undefined): void {
  for (let c = 0; c < 4; c++) {
    let word = 0;
    for (let row = 0; row < 4; row++)
      word |= sbox[view.getUint8(FIRST + 4 * ((c + step * row) & 3) + row)]! << (8 * row);
    if (table) word = mix(word, table);
    view.setUint32(ANSWER + 4 * c, word ^ view.getUint32(SECOND + 4 * c, true), true);
  }
}

const substituteWord = (word: number) =>
  SBOX[word & 0xff]! |
  (SBOX[(word >>> 8) & 0xff]! << 8) |
  (SBOX[(word >>> 16) & 0xff]! << 16) |
  (SBOX[word >>> 24]! << 24);

const word = (view: DataView, address: number, lane: number) => view.getUint32(address + 4 * lane, true);
const setWord = (view: DataView, lane: number, value: number) => view.setUint32(ANSWER + 4 * lane, value, true);

// ── carry-less multiplication ─────────────────────────────────────────────────────────────────────────────────────

/** The product of two 32-bit polynomials, xored into 64 bits at `address`. */
function addProduct(view: DataView, a: number, b: number, address: number): void {
  let low = 0;
  let high = 0;
  for (let bit = 31; bit >= 0; bit--) {
    high = (high << 1) | (low >>> 31);
    low <<= 1;
    if ((b >>> bit) & 1) low ^= a;
  }
  view.setUint32(address, view.getUint32(address, true) ^ low, true);
  view.setUint32(address + 4, view.getUint32(address + 4, true) ^ high, true);
}

export const cryptoHelpers: Record<string, Helper> = {
  aesenc: ({ view }) => round(view, 1, SBOX, MIXED),
  aesenclast: ({ view }) => round(view, 1, SBOX, undefined),
  aesdec: ({ view }) => round(view, 3, INVERSE_SBOX, INVERSE_MIXED),
  aesdeclast: ({ view }) => round(view, 3, INVERSE_SBOX, undefined),
  aesimc: ({ view }) => {
    for (let c = 0; c < 4; c++) setWord(view, c, mix(word(view, SECOND, c), INVERSE_MIXED));
  },
  aeskeygenassist: ({ view }) => {
    const constant = view.getUint8(STATE + state.ARGUMENT);
    for (const lane of [1, 3]) {
      const substituted = substituteWord(word(view, SECOND, lane));
      setWord(view, lane - 1, substituted);
      setWord(view, lane, rotateLeft(substituted, 24) ^ constant);
    }
  },
  /** ARGUMENT[0] times ARGUMENT[1], both 64 bits. */
  pclmulqdq: ({ view }) => {
    for (let i = 0; i < 4; i++) setWord(view, i, 0);
    for (const i of [0, 4])
      for (const j of [0, 4]) {
        const a = view.getUint32(STATE + state.ARGUMENT + i, true);
        const b = view.getUint32(STATE + state.ARGUMENT + 8 + j, true);
        addProduct(view, a, b, ANSWER + i + j);
      }
  },
};
