/**
 * When WebAssembly's floating point may stand for SSE's. WebAssembly rounds to nearest and knows no flags, so its
 * answer is SSE's exactly when MXCSR asks for nothing else and the instruction would raise no flag that is not raised
 * already:
 *
 * - MXCSR rounds to nearest, and PE, which nearly every operation raises, is set (it is sticky) and masked;
 * - operands are zero or normal: a denormal one would raise DE, or count as zero under DAZ;
 * - the result is normal, that is not a NaN (IE), infinite (OE, ZE), or tiny (UE, FTZ); the smallest normal number itself may
 *   be a rounded tiny one, so it does not count. A zero is fine where the operands tell that it is exact.
 *
 * The commonest instructions have a shorter check (float-fast.ts) and checked-floats.ts after it. All else goes to the
 * helper of the instruction's name (sse-float.ts), which computes in software. The checks are made in all lanes at
 * once; scalar operations look at lane 0 alone. Registers are moved whole even then, which is what processors forward
 * from a store to the next load, and what compiled code keeps in registers.
 */
import type { Builder, Value } from '../builder.ts';
import type { ProcessorCode } from '../code.ts';
import { state } from '../state.ts';
import type { Operand, Row } from './row.ts';
import { doubled } from './vector.ts';

export interface Format {
  /** Of a number. */
  readonly bits: 32 | 64;
  readonly shape: 'f32x4' | 'f64x2';
  readonly integers: 'i32x4' | 'i64x2';
}
export const SINGLE: Format = { bits: 32, shape: 'f32x4', integers: 'i32x4' };
export const DOUBLE: Format = { bits: 64, shape: 'f64x2', integers: 'i64x2' };

/** RC, PM and PE (SDM 1, figure 10-3). */
const ROUNDING_AND_PRECISION = 0x7020;
/** Nearest; masked; raised. */
const SILENT = 0x1020;

/** A result that has to be rounded raises no new flag and is rounded to nearest. */
export function roundingIsSilent(b: ProcessorCode): Value {
  return b.eq(b.both(b.state32(state.MXCSR), b.i32(ROUNDING_AND_PRECISION)), b.i32(SILENT));
}

/** The bits of a number in every lane. */
export function everyLane(b: ProcessorCode, format: Format, bits: bigint | Value): Value {
  const value = typeof bits === 'bigint' ? b.const(bits) : bits;
  return format.bits === 64 ? doubled(b, value) : b.wasm('i32x4.splat', b.narrow(value));
}

export function smallestNormal(b: ProcessorCode, format: Format): Value {
  return everyLane(b, format, format.bits === 64 ? 1n << 52n : 1n << 23n);
}
export function infinity(b: ProcessorCode, format: Format): Value {
  return everyLane(b, format, format.bits === 64 ? 0x7ffn << 52n : 0xffn << 23n);
}

const allOf = (b: ProcessorCode, masks: readonly Value[]) => masks.reduce((x, y) => b.wasm('v128.and', x, y));
const anyOf = (b: ProcessorCode, ...masks: Value[]) => masks.reduce((x, y) => b.wasm('v128.or', x, y));

/** Checks on the lanes of one format; every answer is a mask. */
export class LaneCheck {
  readonly #b: ProcessorCode;
  readonly #format: Format;
  readonly #packed: boolean;
  readonly #normal: Value;
  readonly #infinity: Value;
  readonly #none: Value;

  /** @param packed all lanes count, not lane 0 alone. */
  constructor(b: ProcessorCode, format: Format, packed: boolean) {
    this.#b = b;
    this.#format = format;
    this.#packed = packed;
    this.#normal = smallestNormal(b, format);
    this.#infinity = infinity(b, format);
    this.#none = everyLane(b, format, 0n);
  }
  #magnitude(x: Value): Value {
    return this.#b.wasm(`${this.#format.shape}.abs`, x);
  }
  isZero(x: Value): Value {
    return this.#b.wasm(`${this.#format.shape}.eq`, x, this.#none);
  }
  /** Above the smallest normal number, infinity included. */
  isNormal(x: Value): Value {
    return this.#b.wasm(`${this.#format.shape}.gt`, this.#magnitude(x), this.#normal);
  }
  isPositiveNormal(x: Value): Value {
    return this.#b.wasm(`${this.#format.shape}.gt`, x, this.#normal);
  }
  isBelow(x: Value, limit: Value): Value {
    return this.#b.wasm(`${this.#format.shape}.lt`, this.#magnitude(x), limit);
  }
  isFinite(x: Value): Value {
    return this.isBelow(x, this.#infinity);
  }
  /** No NaN, no denormal. */
  isOrdinary(x: Value): Value {
    return anyOf(this.#b, this.isNormal(x), this.isZero(x));
  }
  /** A result that raised nothing: normal, or zero where `exactZero` says so. */
  isSilent(result: Value, exactZero: Value): Value {
    return allOf(this.#b, [this.isFinite(result), anyOf(this.#b, this.isNormal(result), exactZero)]);
  }
  /** A truth value: the masks hold in all lanes that count. */
  holds(...masks: Value[]): Value {
    const mask = allOf(this.#b, masks);
    if (this.#packed) return this.#b.wasm(`${this.#format.integers}.all_true`, mask);
    return this.#b.both(this.#b.wasm(`${this.#format.integers}.bitmask`, mask), this.#b.i32(1));
  }
}

/**
 * Calls the instruction's helper (sse-float.ts), with the first operand where it takes part and the second; the answer
 * is a v128, of which a scalar instruction's has only lane 0.
 */
export function inSoftware(
  b: Builder,
  name: string,
  first: Value | undefined,
  second: Value,
  immediate?: Value,
): Value {
  if (first) b.setState(state.VECTOR, first, 128);
  b.setState(state.VECTOR + 16, second, 128);
  if (immediate) b.helper(name, immediate);
  else b.helper(name);
  return b.state(state.VECTOR + 48, 128);
}

/** What an operand holds, in the lanes of a vector; a number from memory in all of them. */
export function vectorOf(b: Builder, operand: Operand): Value {
  if (operand.bits === 128) return operand.get();
  return operand.bits === 64 ? doubled(b, operand.get()) : b.wasm('i32x4.splat', b.narrow(operand.get()));
}

/** The number in lane 0, as a WebAssembly float. */
export function lowest(b: ProcessorCode, format: Format, x: Value): Value {
  return b.lane(`${format.shape}.extract_lane`, 0, x);
}

/** x with another number in lane 0. */
export function withLowest(b: ProcessorCode, format: Format, x: Value, number: Value): Value {
  return b.lane(`${format.shape}.replace_lane`, 0, x, number);
}

/**
 * The two rows of an instruction whose source is a scalar (Wss, Wsd): a register, given whole, or memory. A scalar
 * destination (Vss, Vsd) is given whole as well.
 */
export function scalarSource(row: Row): Row[] {
  const whole = row.operands.replace(/V(ss|sd)/, 'Vx');
  return [
    { ...row, form: 'register', operands: whole.replace(/W(ss|sd)/, 'Ux') },
    { ...row, form: 'memory', operands: whole.replace('Wss', 'Md').replace('Wsd', 'Mq') },
  ];
}
