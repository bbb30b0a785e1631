/**
 * The operands of a region's instruction, by the manual's letters (x86/operands.ts): all are known at translation time.
 */

import type { Builder, Value } from '../x86/builder.ts';
import type { Lanes, Operand } from '../x86/instructions/row.ts';
import { zero } from '../x86/instructions/vector.ts';
import {
  BaseOperand,
  GeneralRegister,
  MemoryOperand,
  NumberOperand,
  SizeOperand,
  stringOperand,
  ValueOperand,
} from '../x86/operand.ts';
import { type OperandSpec, operandBits } from '../x86/operands.ts';
import { state } from '../x86/state.ts';
import type { Current, RegionMemory } from './memory.ts';
import type { RegionRegisters } from './registers.ts';

export function operandOf(
  b: Builder,
  registers: RegionRegisters,
  memory: RegionMemory,
  { instruction: i, offset }: Current,
  spec: OperandSpec,
  index: number,
): Operand {
  const { row, immediates } = i.form!;
  const bits = operandBits(spec, i.operandSize, i.addressSize);
  const writes = row.writes ? row.writes.includes(index) : index === 0;
  const aligned = bits >= 128 && (spec.place === 'W' || spec.place === 'M') && !row.unaligned;
  const clears = row.unit === 'avx';
  const vector = (number: number) => new XmmRegister(b, registers, number, bits, clears);
  const memoryOperand = () => instructionMemory(b, memory, bits, writes, aligned, i.scale);
  const general = (number: number) =>
    new GeneralRegister(b, number, bits, bits === 8 && !i.rex && number >= 4 && number < 8);
  const inSegment = (at: () => Value, written: boolean) =>
    new MemoryOperand(b, bits, () => memory.inSegment(b, at(), bits), { writes: written, aligned: false });
  switch (spec.place) {
    case 'E':
      return i.isMemory ? memoryOperand() : general(i.rm);
    case 'M':
      return memoryOperand();
    case 'R':
      return general(i.rm);
    case 'G':
    case 'Z':
      return general(i.reg);
    case 'B':
      return general(i.vector);
    case 'W':
      return i.isMemory ? memoryOperand() : vector(i.rm);
    case 'U':
      return vector(i.rm);
    case 'V':
      return vector(i.reg);
    case 'H':
      return vector(i.vector);
    case 'L':
      return vector(Number(i.immediate) >> 4);
    case 'T':
      return vector(i.indexRegister);
    case 'Q':
      return i.isMemory ? memoryOperand() : new MmxRegister(b, i.rm & 7, bits);
    case 'N':
      return new MmxRegister(b, i.rm & 7, bits);
    case 'P':
      return new MmxRegister(b, i.reg & 7, bits);
    case 'S':
    case 'C':
    case 'D':
      return new NumberOperand(bits, () => b.const(i.reg));
    case 'I': {
      const value = immediates.length === 2 && immediates[1] === spec ? i.immediate2 : i.immediate;
      return new ValueOperand(bits, () => b.const(BigInt.asUintN(bits, value)));
    }
    case 'A':
      return new ValueOperand(bits, () => b.const(i.immediate));
    case 'J':
      return new ValueOperand(bits, () => memory.at(b, offset + i.length + Number(i.immediate)));
    case 'O':
      return inSegment(() => b.const(i.immediate), index === 0);
    case 'table':
      return inSegment(() => b.zx(b.add(b.gpr(3), b.gpr(0, 8)), i.addressSize), false);
    case 'destination':
      return inSegment(() => b.zx(b.gpr(7), i.addressSize), index === 0);
    case 'X':
      return stringOperand(b, 6, bits, i.addressSize, at => memory.inSegment(b, at, bits));
    case 'Y':
      return stringOperand(b, 7, bits, i.addressSize, at => memory.inEs(b, at, bits));
    case 'counter':
      return new GeneralRegister(b, 1, i.addressSize);
    case 'fixed':
      return new GeneralRegister(b, spec.fixed, bits);
    case 'size':
      return new SizeOperand(bits);
  }
}

/** Memory by the instruction's ModRM byte. */
function instructionMemory(
  b: Builder,
  memory: RegionMemory,
  bits: number,
  writes: boolean,
  aligned: boolean,
  scale: number,
): Operand {
  const offset = () => memory.effective(b);
  const inSegment = (at: Value) => memory.inSegment(b, at, bits);
  return new MemoryOperand(b, bits, () => inSegment(offset()), {
    writes,
    aligned,
    offset,
    scale: () => b.const(scale),
    element: bytes => inSegment(memory.sized(b, b.add(offset(), bytes))),
    ...(memory.wide ? {} : { displaced: (bytes: Value) => inSegment(b.zx(b.add(offset(), bytes), 32)) }),
  });
}

class XmmRegister extends BaseOperand {
  readonly kind = 'register';
  readonly #b: Builder;
  readonly #registers: RegionRegisters;
  readonly #number: number;
  /** What is written to an XMM register clears the upper half of the YMM register. */
  readonly #clears: boolean;
  constructor(b: Builder, registers: RegionRegisters, number: number, bits: number, clears: boolean) {
    super(bits);
    this.#clears = clears;
    this.#b = b;
    this.#registers = registers;
    this.#number = number;
  }
  override get(): Value {
    return this.#b.state(state.XMM + 16 * this.#number, this.bits);
  }
  override set(value: Value): void {
    this.#b.setState(state.XMM + 16 * this.#number, value, this.bits);
    if (this.#clears) this.#setUpper(zero(this.#b));
  }
  #setUpper(value: Value): void {
    this.#b.setState(state.YMM_HIGH + 16 * this.#number, value, 128);
  }
  override lanes(): readonly [Value, Value] {
    const lane = (file: number) => this.#b.state(file + 16 * this.#number, 128);
    return [lane(state.XMM), lane(state.YMM_HIGH)];
  }
  override setLanes([lower, upper]: readonly [Value, Value]): void {
    this.#b.setState(state.XMM + 16 * this.#number, lower, 128);
    this.#setUpper(upper);
  }
  override isDenormalFree(lanes: Lanes): boolean {
    return this.#registers.isDenormalFree(this.#number, lanes);
  }
  override setDenormalFree(lanes: Lanes): void {
    this.#registers.setDenormalFree(this.#number, lanes);
  }
  override number(): Value {
    return this.#b.const(this.#number);
  }
}

/** An MMX register: these stay in the state. */
class MmxRegister extends BaseOperand {
  readonly kind = 'register';
  readonly #b: Builder;
  readonly #number: number;
  constructor(b: Builder, number: number, bits: number) {
    super(bits);
    this.#b = b;
    this.#number = number;
  }
  override get(): Value {
    return this.#b.state(state.FPU_REGISTERS + 16 * this.#number, this.bits);
  }
  override set(value: Value): void {
    const at = state.FPU_REGISTERS + 16 * this.#number;
    this.#b.setState(at, value, this.bits);
    // It is the significand of an x87 register, whose exponent becomes all ones (SDM 1, 9.2).
    this.#b.setState(at + 8, this.#b.const(0xffff), 16);
  }
  override number(): Value {
    return this.#b.const(this.#number);
  }
}
