/** The encodings (SDM 1, 4.2.2 and 8.2), in memory and taken apart. Stores expect a value already rounded. */
import type { Environment } from './environment.ts';
import { normalize } from './significand.ts';
import { FINITE, QUIET, SIGNALLING, setFinite, setInfinity, setZero, UNSUPPORTED, type Value, ZERO } from './value.ts';

/** Half precision; a denormal one is not marked as such: nothing raises DE for it. */
export function loadFloat16(view: DataView, address: number, value: Value): void {
  const bits = view.getUint16(address, true);
  load(value, bits >>> 15 ? 1 : 0, (bits >>> 10) & 0x1f, 0x1f, 15, (bits << 21) >>> 0, 0);
  value.denormal = false;
}

export function loadFloat32(view: DataView, address: number, value: Value): void {
  const bits = view.getUint32(address, true);
  load(value, bits >>> 31 ? 1 : 0, (bits >>> 23) & 0xff, 0xff, 127, (bits << 8) >>> 0, 0);
}

export function loadFloat64(view: DataView, address: number, value: Value): void {
  const low = view.getUint32(address, true);
  const high = view.getUint32(address + 4, true);
  const sign = high >>> 31 ? 1 : 0;
  load(value, sign, (high >>> 20) & 0x7ff, 0x7ff, 1023, ((high << 11) | (low >>> 21)) >>> 0, (low << 11) >>> 0);
}

/** What float32 and float64 share: the fraction comes left-aligned to bit 30 of high, bit 31 being anything. */
function load(value: Value, sign: 0 | 1, biased: number, max: number, bias: number, high: number, low: number): void {
  high = (high | 0x80000000) >>> 0;
  if (biased === max) {
    if (high === 0x80000000 && low === 0) {
      setInfinity(value, sign);
      return;
    }
    setFinite(value, sign, 0, high, low, 0);
    value.kind = (high & 0x40000000) !== 0 ? QUIET : SIGNALLING;
  } else if (biased === 0) {
    setFinite(value, sign, 1 - bias, high & 0x7fffffff, low, 0);
    normalize(value);
    value.denormal = value.kind === FINITE;
  } else setFinite(value, sign, biased - bias, high, low, 0);
}

/** Loads a significand at address and sign with exponent in the two bytes after it. */
export function loadFloatX80(view: DataView, address: number, value: Value): void {
  const low = view.getUint32(address, true);
  const high = view.getUint32(address + 4, true);
  const top = view.getUint16(address + 8, true);
  const sign = top >>> 15 ? 1 : 0;
  const biased = top & 0x7fff;
  if (biased === 0) {
    // A pseudo-denormal has the integer bit set and counts as what it says.
    setFinite(value, sign, -16382, high, low, 0);
    normalize(value);
    value.denormal = value.kind === FINITE;
    return;
  }
  setFinite(value, sign, biased - 16383, high, low, 0);
  if (high >>> 31 === 0) value.kind = UNSUPPORTED;
  else if (biased === 0x7fff) {
    if (high === 0x80000000 && low === 0) setInfinity(value, sign);
    else value.kind = (high & 0x40000000) !== 0 ? QUIET : SIGNALLING;
  }
}

/** The encoding's exponent field for a rounded value. */
function biasedExponent(value: Value, minExponent: number, max: number): number {
  if (value.kind === FINITE) return value.exponent < minExponent ? 0 : value.exponent - minExponent + 1;
  return value.kind === ZERO ? 0 : max;
}

export function storeFloat16(view: DataView, address: number, value: Value): void {
  const biased = biasedExponent(value, -14, 0x1f);
  const high = biased === 0 && value.kind === FINITE ? value.high >>> Math.min(-14 - value.exponent, 31) : value.high;
  view.setUint16(address, (value.sign << 15) | (biased << 10) | ((high & 0x7fffffff) >>> 21), true);
}

export function storeFloat32(view: DataView, address: number, value: Value): void {
  const biased = biasedExponent(value, -126, 0xff);
  const high = biased === 0 && value.kind === FINITE ? value.high >>> Math.min(-126 - value.exponent, 31) : value.high;
  view.setUint32(address, ((value.sign << 31) | (biased << 23) | ((high & 0x7fffffff) >>> 8)) >>> 0, true);
}

export function storeFloat64(view: DataView, address: number, value: Value): void {
  const biased = biasedExponent(value, -1022, 0x7ff);
  let { high, low } = value;
  if (biased === 0 && value.kind === FINITE) {
    const count = -1022 - value.exponent;
    low = count >= 32 ? high >>> (count - 32) : ((low >>> count) | (high << (32 - count))) >>> 0;
    high = count >= 32 ? 0 : high >>> count;
  }
  view.setUint32(address, ((low >>> 11) | (high << 21)) >>> 0, true);
  view.setUint32(address + 4, ((value.sign << 31) | (biased << 20) | ((high & 0x7fffffff) >>> 11)) >>> 0, true);
}

export function storeFloatX80(view: DataView, address: number, value: Value): void {
  const biased = biasedExponent(value, -16382, 0x7fff);
  let { high, low } = value;
  if (biased === 0 && value.kind === FINITE) {
    const count = -16382 - value.exponent;
    low = count >= 32 ? high >>> (count - 32) : ((low >>> count) | (high << (32 - count))) >>> 0;
    high = count >= 32 ? 0 : high >>> count;
  }
  view.setUint32(address, low, true);
  view.setUint32(address + 4, high, true);
  view.setUint16(address + 8, (value.sign << 15) | biased, true);
}

/** MXCSR.DAZ: a denormal becomes a zero of its sign, and raises nothing. */
export function flushDenormal(value: Value, environment: Environment): void {
  if (value.denormal && environment.denormalsAreZero) setZero(value, value.sign);
}
