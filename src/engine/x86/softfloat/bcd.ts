/** Packed decimal: 18 digits, two a byte, and a sign in the top bit of the tenth byte (SDM 1, 4.7). */
import { type Environment, IE } from './environment.ts';
import { fromInteger, integer, toInteger } from './rounding.ts';
import type { Value } from './value.ts';

const LIMIT = 10n ** 18n;

/** A digit above 9 is undefined; it counts its ten to fifteen here, as processors do. */
export function fromPackedDecimal(view: DataView, address: number, value: Value): void {
  let number = 0n;
  for (let i = 8; i >= 0; i--) {
    const byte = view.getUint8(address + i);
    number = number * 100n + BigInt((byte >>> 4) * 10 + (byte & 15));
  }
  fromInteger(Number(number >> 32n), Number(number & 0xffffffffn), value);
  value.sign = view.getUint8(address + 9) >>> 7 ? 1 : 0;
}

/** Rounds as RC says and writes 16 bytes, of which ten count. Too large, or no number: invalid and the indefinite. */
export function toPackedDecimal(value: Value, view: DataView, address: number, environment: Environment): void {
  const { sign } = value;
  const { flags } = environment;
  toInteger(value, 64, environment.rounding, environment);
  let number = BigInt.asIntN(64, (BigInt(integer.high) << 32n) | BigInt(integer.low));
  if (number < 0n) number = -number;
  view.setBigUint64(address + 8, 0n, true);
  if (number >= LIMIT) {
    environment.flags = flags | IE;
    environment.roundedUp = false;
    view.setBigUint64(address, 0xc000000000000000n, true);
    view.setUint16(address + 8, 0xffff, true);
    return;
  }
  for (let i = 0; i < 9; i++) {
    const pair = Number(number % 100n);
    view.setUint8(address + i, (Math.floor(pair / 10) << 4) | (pair % 10));
    number /= 100n;
  }
  view.setUint8(address + 9, sign << 7);
}
