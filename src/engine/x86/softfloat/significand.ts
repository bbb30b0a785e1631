/** Arithmetic on significands kept in 32-bit words, each an unsigned JavaScript number. */
import { setZero, type Value } from './value.ts';

const TWO_32 = 0x100000000;

/**
 * Upper half of the 64-bit product of two 32-bit words. The double product is off by at most 2^11, its exact low half
 * is taken away, so what is left is within 2^12 of a multiple of 2^32, and rounding finds that multiple.
 */
export function multiplyHigh(a: number, b: number): number {
  return Math.round((a * b - (Math.imul(a, b) >>> 0)) / TWO_32);
}

/** Shifts the 96 bits right by `count` >= 0; what falls out is kept as the sticky bit. */
export function shiftRight(value: Value, count: number): void {
  if (count >= 96) {
    value.rest = (value.high | value.low | value.rest) !== 0 ? 1 : 0;
    value.high = value.low = 0;
    return;
  }
  for (; count >= 32; count -= 32) {
    value.rest = value.rest !== 0 ? (value.low | 1) >>> 0 : value.low;
    value.low = value.high;
    value.high = 0;
  }
  if (count === 0) return;
  const up = 32 - count;
  const sticky = value.rest << up !== 0 ? 1 : 0;
  value.rest = ((value.rest >>> count) | (value.low << up) | sticky) >>> 0;
  value.low = ((value.low >>> count) | (value.high << up)) >>> 0;
  value.high = value.high >>> count;
}

/**
 * Moves the leading bit up to bit 31 of high and corrects the exponent; no bits at all makes a zero (of the same sign).
 */
export function normalize(value: Value): void {
  if (value.high === 0) {
    if (value.low === 0) {
      if (value.rest === 0) {
        setZero(value, value.sign);
        return;
      }
      value.high = value.rest;
      value.low = value.rest = 0;
      value.exponent -= 64;
    } else {
      value.high = value.low;
      value.low = value.rest;
      value.rest = 0;
      value.exponent -= 32;
    }
  }
  const count = Math.clz32(value.high);
  if (count === 0) return;
  const down = 32 - count;
  value.high = ((value.high << count) | (value.low >>> down)) >>> 0;
  value.low = ((value.low << count) | (value.rest >>> down)) >>> 0;
  value.rest = (value.rest << count) >>> 0;
  value.exponent -= count;
}

/** Order of two 64-bit significands: negative, 0 or positive. */
export function compareSignificands(a: Value, b: Value): number {
  return a.high !== b.high ? a.high - b.high : a.low - b.low;
}

/**
 * The product of two 64-bit significands into out: 96 bits and a sticky bit, not normalised (its leading bit is 95 or
 * 94).
 */
export function multiplySignificands(a: Value, b: Value, out: Value): void {
  // Columns of 2^0, 2^32, 2^64, 2^96. Sums of three words and a carry stay far below 2^53.
  const column0 = Math.imul(a.low, b.low) >>> 0;
  const column1 = multiplyHigh(a.low, b.low) + (Math.imul(a.high, b.low) >>> 0) + (Math.imul(a.low, b.high) >>> 0);
  const word1 = column1 % TWO_32;
  const column2 =
    multiplyHigh(a.high, b.low) +
    multiplyHigh(a.low, b.high) +
    (Math.imul(a.high, b.high) >>> 0) +
    (column1 - word1) / TWO_32;
  const word2 = column2 % TWO_32;
  out.high = multiplyHigh(a.high, b.high) + (column2 - word2) / TWO_32;
  out.low = word2;
  out.rest = column0 !== 0 ? (word1 | 1) >>> 0 : word1;
}

/** Remainder left by the last divideWord and squareRoot step. */
let remainderHigh = 0;
let remainderLow = 0;

/**
 * One 32-bit digit of a quotient: (high:low * 2^32) / (divisorHigh:divisorLow), where high:low < divisor and the
 * divisor is normalised. The remainder goes to remainderHigh, remainderLow.
 */
function divideWord(high: number, low: number, divisorHigh: number, divisorLow: number): number {
  // The estimate's relative error is below 2^-51 and the quotient below 2^32: it is off by one at most.
  let digit = Math.floor(((high * TWO_32 + low) / (divisorHigh * TWO_32 + divisorLow)) * TWO_32);
  if (digit >= TWO_32) digit = TWO_32 - 1;
  // remainder = (high:low:0) - digit * divisor, in three words, the top one signed.
  let word0 = -(Math.imul(digit, divisorLow) >>> 0);
  let word1 = low - multiplyHigh(digit, divisorLow) - (Math.imul(digit, divisorHigh) >>> 0);
  let word2 = high - multiplyHigh(digit, divisorHigh);
  for (;;) {
    const borrow0 = Math.floor(word0 / TWO_32);
    word0 -= borrow0 * TWO_32;
    word1 += borrow0;
    const borrow1 = Math.floor(word1 / TWO_32);
    word1 -= borrow1 * TWO_32;
    word2 += borrow1;
    if (word2 < 0) {
      digit--;
      word0 += divisorLow;
      word1 += divisorHigh;
    } else if (word2 > 0 || word1 > divisorHigh || (word1 === divisorHigh && word0 >= divisorLow)) {
      digit++;
      word0 -= divisorLow;
      word1 -= divisorHigh;
    } else break;
  }
  remainderHigh = word1;
  remainderLow = word0;
  return digit;
}

/**
 * The quotient of two normalised 64-bit significands into out: 96 bits and a sticky bit, normalised; exponent
 * corrected.
 */
export function divideSignificands(a: Value, b: Value, out: Value): void {
  remainderHigh = a.high;
  remainderLow = a.low;
  // A quotient of at least 1 has its leading 1 taken out first: the remainder is then below the divisor.
  const atLeastOne = compareSignificands(a, b) >= 0;
  if (atLeastOne) {
    remainderLow -= b.low;
    remainderHigh -= b.high;
    if (remainderLow < 0) {
      remainderLow += TWO_32;
      remainderHigh--;
    }
  }
  out.high = divideWord(remainderHigh, remainderLow, b.high, b.low);
  out.low = divideWord(remainderHigh, remainderLow, b.high, b.low);
  out.rest = divideWord(remainderHigh, remainderLow, b.high, b.low);
  if ((remainderHigh | remainderLow) !== 0) out.rest = (out.rest | 1) >>> 0;
  if (atLeastOne) {
    shiftRight(out, 1);
    out.high = (out.high | 0x80000000) >>> 0;
  } else out.exponent--;
}

/**
 * The square root of a normalised 64-bit significand, or of twice it, into out: 64 bits, and in rest whether the
 * remainder is nothing, less or more than a half of the last place. Two digits of 32 bits, by schoolbook completion of
 * the square.
 */
export function squareRootSignificand(a: Value, twice: boolean, out: Value): void {
  const n3 = twice ? a.high : a.high >>> 1;
  const n2 = twice ? a.low : ((a.high << 31) | (a.low >>> 1)) >>> 0;
  const n1 = twice ? 0 : (a.low << 31) >>> 0;
  let first = Math.min(Math.floor(Math.sqrt(n3 * TWO_32 + n2)), TWO_32 - 1);
  let left = squareRest(n3, n2, first);
  while (left < 0) left = squareRest(n3, n2, --first);
  while (left > 2 * first) left = squareRest(n3, n2, ++first);

  let second = Math.min(Math.floor((left * TWO_32 + n1) / (2 * first)), TWO_32 - 1);
  // left:n1:0 - 2 * first * second * 2^32 - second^2, in three words, the top one signed.
  let word0 = -(Math.imul(second, second) >>> 0);
  let word1 = n1 - multiplyHigh(second, second) - 2 * (Math.imul(first, second) >>> 0);
  let word2 = left - 2 * multiplyHigh(first, second);
  for (;;) {
    const carry0 = Math.floor(word0 / TWO_32);
    word0 -= carry0 * TWO_32;
    word1 += carry0;
    const carry1 = Math.floor(word1 / TWO_32);
    word1 -= carry1 * TWO_32;
    word2 += carry1;
    if (word2 >= 0) break;
    second--;
    word0 += 2 * second + 1;
    word1 += 2 * first;
  }
  out.high = first;
  out.low = second;
  const more = word2 > 0 || word1 > first || (word1 === first && word0 > second);
  out.rest = word0 === 0 && word1 === 0 && word2 === 0 ? 0 : more ? 0xc0000000 : 0x40000000;
}

/** high:low - root^2, which is small enough to be exact when root is within a few units of the true root. */
function squareRest(high: number, low: number, root: number): number {
  return (high - multiplyHigh(root, root)) * TWO_32 + low - (Math.imul(root, root) >>> 0);
}
