/**
 * `Code` (wasm/code.ts) that knows a processor: fields of its state, general registers and flags. All WebAssembly that
 * works on the state is written with it; instructions' meanings have more (builder.ts).
 *
 * Integers are i64 and hold unsigned values unless said; truth values are i32, 0 or 1. `bits` is 8, 16, 32 or 64.
 */

import { Code } from '../../wasm/code.ts';
import type { Operand, Place, Value } from '../../wasm/expressions.ts';
import type { Body } from '../../wasm/module.ts';
import { STATE, state } from './state.ts';
import { StateRegisters } from './state-registers.ts';
import type { Registers } from './tier.ts';

export class ProcessorCode extends Code {
  readonly registers: Registers;

  /** @param registers where general registers and flags are; without it, in the state */
  constructor(body: Body, registers: Registers = new StateRegisters()) {
    super(body);
    this.registers = registers;
  }

  // ── the processor's state ───────────────────────────────────────────────────────────────────────────────────────

  /**
   * An access to a field of the state: the address, which is the base's or lies `index` bytes further, and the offset
   * from it. The only place that knows where the base is.
   */
  #field(offset: number, index: Value = this.i32(0)): { address: Value; offset: number } {
    return { address: index, offset: STATE + offset };
  }
  /**
   * A field by one of WebAssembly's load instructions; `index` bytes further where fields of one kind follow each
   * other.
   */
  fetchState(instruction: string, offset: number, index?: Value, place: Place = placeOf(offset)): Value {
    const field = this.#field(offset, index);
    return this.fetch(instruction, field.address, field.offset, place);
  }
  putState(instruction: string, offset: number, value: Operand, index?: Value, place: Place = placeOf(offset)): void {
    const field = this.#field(offset, index);
    this.put(instruction, field.address, value, field.offset, place);
  }

  /** A field of the state, zero-extended. `bits` 128 gives a v128. */
  state(offset: number, bits = 64): Value {
    if (this.registers.vector && isVector(offset))
      return lowBits(this, this.registers.vector(this, (offset - state.XMM) / 16), bits);
    const value = this.fetchState(LOADS[bits]!, offset);
    value.width = Math.min(bits, 64);
    return value;
  }
  setState(offset: number, value: Operand, bits = 64): void {
    const whole = this.operand(value, bits === 128 ? 'v128' : 'i64');
    if (this.registers.setVector && isVector(offset)) {
      const index = (offset - state.XMM) / 16;
      const register = bits === 128 ? whole : withLowBits(this, this.state(offset, 128), whole, bits);
      return this.registers.setVector(this, index, register);
    }
    this.putState(STORES[bits]!, offset, whole);
  }
  /** A 32-bit field as i32. */
  state32(offset: number): Value {
    return this.fetchState('i32.load', offset);
  }
  setState32(offset: number, value: Operand): void {
    this.putState('i32.store', offset, value);
  }
  /** Any bit of `mask` is set in a 32-bit field: a truth value. */
  flag(offset: number, mask: number): Value {
    return this.any(this.state32(offset), mask);
  }

  /** General register `index` (0 = RAX … 15 = R15), zero-extended. */
  gpr(index: number, bits = 64): Value {
    return this.registers.gpr(this, index, bits, false);
  }
  /** Writes a general register; a 32-bit write clears the upper half, smaller ones leave the rest. */
  setGpr(index: number, value: Value, bits = 64): void {
    this.registers.setGpr(this, index, bits, false, value);
  }
  /** AH (0), CH, DH or BH (3). */
  gprHigh(index: number): Value {
    return this.registers.gpr(this, index, 8, true);
  }
  setGprHigh(index: number, value: Value): void {
    this.registers.setGpr(this, index, 8, true, value);
  }

  // ── flags ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Flags of r = x + y (+ carry in): all six. x, y, r zero-extended `bits` wide (higher bits of r do not matter). */
  flagsAdd(bits: number, x: Value, y: Value, r: Value, carryIn = false): void {
    this.registers.setFlags(this, {
      kind: 'add',
      bits,
      x,
      y,
      carryIn,
      r,
      aux: () => this.auxOf('add', bits, x, y, r),
    });
  }
  /** Flags of r = x - y (- borrow in): all six. */
  flagsSub(bits: number, x: Value, y: Value, r: Value, carryIn = false): void {
    this.registers.setFlags(this, {
      kind: 'sub',
      bits,
      x,
      y,
      carryIn,
      r,
      aux: () => this.auxOf('sub', bits, x, y, r),
    });
  }
  /** Flags of a logical result: CF and OF clear, AF clear. */
  flagsLogic(bits: number, r: Value): void {
    this.registers.setFlags(this, { kind: 'logic', bits, carryIn: false, r, aux: () => this.i32(0) });
  }
  /** SF, ZF, PF from r; CF, OF and AF given as truth values. */
  flagsFrom(bits: number, r: Value, carry: Value, overflow: Value, adjust: Value = this.i32(0)): void {
    const aux = () =>
      this.either(this.either(this.shl(carry, 31), this.shl(this.xor(carry, overflow), 30)), this.shl(adjust, 3));
    this.registers.setFlags(this, { kind: 'raw', bits, carryIn: false, r, aux });
  }
  /** All six flags from the bits of a value laid out as RFLAGS (i32). */
  flagsFromBits(flags: Value): void {
    const bit = (n: number) => this.and(this.shr(flags, n), 1);
    const r = this.wide(this.xor(bit(6), 1));
    const aux = () => {
      // The result is 0 or 1; SF comes wholly from the sign difference, PF from the parity difference.
      const parity = this.xor(bit(2), bit(6)); // PF wanted, against what the result alone gives (ZF)
      return [
        this.shl(bit(0), 31),
        this.shl(this.xor(bit(0), bit(11)), 30),
        this.shl(bit(4), 3),
        this.shl(parity, 8),
        bit(7),
      ].reduce((x, y) => this.either(x, y));
    };
    this.registers.setFlags(this, { kind: 'raw', bits: 64, carryIn: false, r, aux });
  }
  carry(): Value {
    return this.registers.condition(this, 2) ?? this.shr(this.registers.flagAux(this), 31);
  }
  overflow(): Value {
    const aux = this.registers.flagAux(this);
    const differs = this.xor(aux, this.shl(aux, 1));
    return this.shr(differs, 31);
  }
  adjust(): Value {
    return this.and(this.shr(this.registers.flagAux(this), 3), 1);
  }
  zero(): Value {
    return this.eqz(this.registers.flagResult(this));
  }
  negative(): Value {
    const top = this.narrow(this.shr(this.registers.flagResult(this), 63));
    return this.xor(top, this.and(this.registers.flagAux(this), 1));
  }
  parity(): Value {
    const low = this.xor(this.narrow(this.registers.flagResult(this)), this.shr(this.registers.flagAux(this), 8));
    return this.no(this.and(this.wasm('i32.popcnt', this.and(low, 0xff)), 1));
  }
  /** Condition code 0-15 as Jcc has it in its opcode (SDM 2A B.1.4.7). */
  condition(code: number): Value {
    const known = this.registers.condition(this, code);
    if (known) return known;
    const less = () => this.xor(this.negative(), this.overflow());
    const positive = [
      () => this.overflow(),
      () => this.carry(),
      () => this.zero(),
      () => this.either(this.carry(), this.zero()),
      () => this.negative(),
      () => this.parity(),
      less,
      () => this.either(less(), this.zero()),
    ][code >> 1]!();
    return code & 1 ? this.no(positive) : positive;
  }
  /** CF PF AF ZF SF OF as RFLAGS has them, i32. */
  arithmeticFlags(): Value {
    const at = (flag: Value, n: number) => (n ? this.shl(flag, n) : flag);
    return [
      at(this.carry(), 0),
      at(this.parity(), 2),
      at(this.adjust(), 4),
      at(this.zero(), 6),
      at(this.negative(), 7),
      at(this.overflow(), 11),
    ].reduce((x, y) => this.either(x, y));
  }

  /** FLAG_AUX of r = x + y or x - y, with or without carry in. */
  auxOf(kind: 'add' | 'sub', bits: number, x: Value, y: Value, r: Value): Value {
    const carries =
      kind === 'add'
        ? this.or(this.and(x, y), this.and(this.or(x, y), this.not(r)))
        : this.or(this.and(this.not(x), this.or(y, r)), this.and(y, r));
    return this.#carryAux(carries, bits);
  }
  /** FLAG_AUX from the vector of carries out of each bit. */
  #carryAux(carries: Value, bits: number): Value {
    const top =
      bits === 64
        ? this.narrow(this.shr(carries, 32))
        : bits === 32
          ? this.narrow(carries)
          : this.shl(this.narrow(carries), 32 - bits);
    if (bits === 32) return this.and(top, 0xc0000008 | 0);
    return this.either(this.and(top, 0xc0000000 | 0), this.and(this.narrow(carries), 8));
  }
}

/** An XMM register, or the upper half of a YMM register. */
const isVector = (offset: number): boolean => offset >= state.XMM && offset < state.YMM_HIGH + 256;

/** Register files are one place each, because a record's bytes may name any register of them. */
function placeOf(offset: number): Place {
  if (offset < state.ZERO) return 'gpr';
  if (isVector(offset)) return offset < state.YMM_HIGH ? 'xmm' : 'ymm';
  if (offset >= state.FPU_REGISTERS && offset < state.FPU_REGISTERS + 128) return 'x87';
  return offset;
}

/** The low `bits` (8-64, zero-extended, or 128) of a v128, and a v128 with those replaced. */
function lowBits(b: ProcessorCode, x: Value, bits: number): Value {
  if (bits === 128) return x;
  if (bits === 64) return b.lane('i64x2.extract_lane', 0, x);
  return b.wide(b.lane(LANES[bits]!.extract, 0, x));
}
function withLowBits(b: ProcessorCode, x: Value, value: Value, bits: number): Value {
  if (bits === 64) return b.lane('i64x2.replace_lane', 0, x, value);
  return b.lane(LANES[bits]!.replace, 0, x, b.narrow(value));
}
const LANES: Record<number, { extract: string; replace: string }> = {
  8: { extract: 'i8x16.extract_lane_u', replace: 'i8x16.replace_lane' },
  16: { extract: 'i16x8.extract_lane_u', replace: 'i16x8.replace_lane' },
  32: { extract: 'i32x4.extract_lane', replace: 'i32x4.replace_lane' },
};

export const LOADS: Record<number, string> = {
  8: 'i64.load8_u',
  16: 'i64.load16_u',
  32: 'i64.load32_u',
  64: 'i64.load',
  128: 'v128.load',
};
export const STORES: Record<number, string> = {
  8: 'i64.store8',
  16: 'i64.store16',
  32: 'i64.store32',
  64: 'i64.store',
  128: 'v128.store',
};
