/** Operands that both tiers share: each answers the calls that its letter allows, and refuses the others. */

import { DF } from '../../x86/flags.ts';
import { GP } from '../../x86/vectors.ts';
import type { Builder, Value } from './builder.ts';
import type { Lanes, Operand } from './instructions/row.ts';
import { state } from './state.ts';

export abstract class BaseOperand implements Operand {
  abstract readonly kind: 'register' | 'memory' | 'immediate';
  readonly bits: number;
  constructor(bits: number) {
    this.bits = bits;
  }
  get(): Value {
    return impossible();
  }
  getAs(_type: 'f32' | 'f64' | 'v128'): Value | undefined {
    return undefined;
  }
  set(_value: Value): void {
    impossible();
  }
  lanes(): readonly [Value, Value] {
    return impossible();
  }
  setLanes(_values: readonly [Value, Value]): void {
    impossible();
  }
  address(): Value {
    return impossible();
  }
  uncheckedAddress(): Value {
    return impossible();
  }
  addressForWrite(): Value {
    return impossible();
  }
  element(_bytes: Value): Value {
    return impossible();
  }
  offset(): Value {
    return impossible();
  }
  displaced(_bytes: Value): Value {
    return impossible();
  }
  afterPop(_bytes: number): Value {
    return impossible();
  }
  step(): void {
    impossible();
  }
  advance(_bytes: Value): void {
    impossible();
  }
  isDenormalFree(_lanes: Lanes): boolean {
    return false;
  }
  setDenormalFree(_lanes: Lanes): void {}
  scale(): Value {
    return impossible();
  }
  number(): Value {
    return impossible();
  }
}
function impossible(): never {
  throw new Error('an operand was used in a way its letter does not allow');
}

/** A general register by number, in either tier. */
export class GeneralRegister extends BaseOperand {
  readonly kind = 'register';
  readonly #b: Builder;
  readonly #number: number;
  readonly #high: boolean;
  /** `high`: AH to BH, as registers 4 to 7 of 8 bits without REX. */
  constructor(b: Builder, number: number, bits: number, high = false) {
    super(bits);
    this.#b = b;
    this.#number = number;
    this.#high = high;
  }
  override get(): Value {
    return this.#high ? this.#b.gprHigh(this.#number - 4) : this.#b.gpr(this.#number, this.bits);
  }
  override set(value: Value): void {
    if (this.#high) this.#b.setGprHigh(this.#number - 4, value);
    else this.#b.setGpr(this.#number, value, this.bits);
  }
  override number(): Value {
    return this.#b.const(this.#number);
  }
}

/** Stands for the operand size alone. */
export class SizeOperand extends BaseOperand {
  readonly kind = 'register';
}

/** A value that is there already: immediates, branch targets. */
export class ValueOperand extends BaseOperand {
  readonly kind = 'immediate';
  readonly #value: () => Value;
  constructor(bits: number, value: () => Value) {
    super(bits);
    this.#value = value;
  }
  override get(): Value {
    return this.#value();
  }
}

/** A register that only its number is asked of: segment, control and debug registers. */
export class NumberOperand extends BaseOperand {
  readonly kind = 'register';
  readonly #value: () => Value;
  constructor(bits: number, value: () => Value) {
    super(bits);
    this.#value = value;
  }
  override number(): Value {
    return this.#value();
  }
}

/** Memory at `where()`, a linear address that is computed once. */
export class MemoryOperand extends BaseOperand {
  readonly kind = 'memory';
  readonly #b: Builder;
  readonly #where: () => Value;
  readonly #how: MemoryTraits;
  #address: Value | undefined;
  constructor(b: Builder, bits: number, where: () => Value, how: MemoryTraits) {
    super(bits);
    this.#b = b;
    this.#where = where;
    this.#how = how;
  }
  override address(): Value {
    return (this.#address ??= this.#where());
  }
  override uncheckedAddress(): Value {
    return this.#how.unchecked ? this.#how.unchecked() : this.address();
  }
  override addressForWrite(): Value {
    return this.#how.forWrite ? this.#how.forWrite() : this.address();
  }
  override scale(): Value {
    return this.#how.scale ? this.#how.scale() : super.scale();
  }
  override element(bytes: Value): Value {
    return this.#how.element ? this.#how.element(bytes) : super.element(bytes);
  }
  #checked(): Value {
    const b = this.#b;
    // Alignment comes before the segment's limit.
    const mask = b.const(this.bits / 8 - 1);
    if (this.#how.aligned) b.raiseIf(b.no(b.eqz(b.and(this.uncheckedAddress(), mask))), GP, 0);
    return this.address();
  }
  override get(): Value {
    return this.#how.writes
      ? this.#b.loadForWrite(this.#checked(), this.bits)
      : this.#b.load(this.#checked(), this.bits);
  }
  override getAs(type: 'f32' | 'f64' | 'v128'): Value | undefined {
    const { tier } = this.#b;
    if (!tier.loadAs || this.#how.writes || (this.bits !== 32 && this.bits !== 64)) return undefined;
    return tier.loadAs(this.#b, this.#checked(), this.bits, type);
  }
  override set(value: Value): void {
    this.#b.store(this.#checked(), this.bits, value);
  }
  override lanes(): readonly [Value, Value] {
    return this.#b.tier.loadPair(this.#b, this.#checked());
  }
  override setLanes(values: readonly [Value, Value]): void {
    this.#b.tier.storePair(this.#b, this.#checked(), values);
  }
  override offset(): Value {
    return this.#how.offset ? this.#how.offset() : super.offset();
  }
  override displaced(bytes: Value): Value {
    return this.#how.displaced ? this.#how.displaced(bytes) : this.#b.add(this.address(), bytes);
  }
  override afterPop(): Value {
    return this.address(); // the decoder has moved the displacement
  }
  override step(): void {
    if (!this.#how.step) super.step();
    this.#how.step!();
  }
  override advance(bytes: Value): void {
    if (!this.#how.advance) super.advance(bytes);
    this.#how.advance!(bytes);
  }
}
export interface MemoryTraits {
  /** The row writes it: a load asks for write permission. */
  writes: boolean;
  /** Must be aligned to its size. */
  aligned: boolean;
  /** The offset in the segment. */
  offset?: () => Value;
  /** The linear address without a check of the segment, or with one for writing; default: the address. */
  unchecked?: () => Value;
  forWrite?: () => Value;
  /** Memory by ModRM: log2 of the scale. */
  scale?: () => Value;
  /** Memory by ModRM: the linear address of a bit string's element. */
  element?: (bytes: Value) => Value;
  /** The linear address `bytes` further on in the segment; default: the address plus `bytes`. */
  displaced?: (bytes: Value) => Value;
  /** String operands alone have these two. */
  step?: () => void;
  advance?: (bytes: Value) => void;
}

/**
 * What a string instruction's register points at: DS:[rSI] or ES:[rDI].
 * @param where the linear address of an offset
 */
export function stringOperand(
  b: Builder,
  register: number,
  bits: number,
  addressSize: number,
  where: (offset: Value) => Value,
): MemoryOperand {
  const offset = () => b.gpr(register, addressSize);
  const move = (bytes: Value) => b.setGpr(register, b.add(offset(), bytes), addressSize);
  return new MemoryOperand(b, bits, () => where(offset()), {
    writes: false,
    aligned: false,
    offset,
    advance: move,
    step: () => {
      const down = b.both(b.state32(state.FLAGS_REST), b.i32(DF));
      move(b.select(down, b.const(-bits / 8), b.const(bits / 8)));
    },
  });
}
