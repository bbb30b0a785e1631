/** The operands of a handler: registers and memory that the record names, by the manual's letters (x86/operands.ts). */

import { CS, ES } from '../../x86/segments.ts';
import { RECORD_SIZE } from '../layout.ts';
import * as record from '../record.ts';
import { type Builder, LOADS, STORES, type Value } from '../x86/builder.ts';
import type { Operand } from '../x86/instructions/row.ts';
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
import type { Variant } from './handler.ts';
import type { InterpreterMemory } from './memory.ts';

/** A register file: where it stands in the state, and its name as a place that is read and written. */
interface File {
  offset: number;
  place: string;
}
const GENERAL: File = { offset: state.GPR, place: 'gpr' };
const XMM: File = { offset: state.XMM, place: 'xmm' };
const UPPER: File = { offset: state.YMM_HIGH, place: 'ymm' };
const MMX: File = { offset: state.FPU_REGISTERS, place: 'x87' };

export function operandOf(
  b: Builder,
  memory: InterpreterMemory,
  variant: Variant,
  spec: OperandSpec,
  index: number,
): Operand {
  const { form, operandSize, addressSize, wide } = variant;
  const values = memory.record;
  const bits = operandBits(spec, operandSize, addressSize);
  const writes = (form.row.writes ?? [0]).includes(index);
  const aligned = bits >= 128 && (spec.place === 'W' || spec.place === 'M') && !form.row.unaligned;
  const clears = form.row.unit === 'avx';
  const register = (field: number, file: File) => new RecordRegister(b, memory, field, file, bits, clears);
  const vectorIndex = form.row.vectorIndex === true;
  const memoryOperand = () => recordMemory(b, memory, bits, { writes, aligned, vectorIndex });
  const immediate = () => values.field(b, record.IMMEDIATE, 64);
  const overridden = (offset: () => Value) => {
    const where = () => memory.overridden(b, offset(), bits / 8, writes);
    return new MemoryOperand(b, bits, where, { writes, aligned: false });
  };
  switch (spec.place) {
    case 'E':
      return variant.memory ? memoryOperand() : register(record.BASE, GENERAL);
    case 'W':
      return variant.memory ? memoryOperand() : register(record.BASE, XMM);
    case 'Q':
      return variant.memory ? memoryOperand() : register(record.BASE, MMX);
    case 'M':
      return memoryOperand();
    case 'R':
      return register(record.BASE, GENERAL);
    case 'U':
      return register(record.BASE, XMM);
    case 'N':
      return register(record.BASE, MMX);
    case 'G':
    case 'Z':
      return register(record.REGISTER, GENERAL);
    case 'B':
      return register(record.VECTOR, GENERAL);
    case 'H':
      return register(record.VECTOR, XMM);
    case 'L':
      return register(record.IMMEDIATE, XMM);
    case 'T':
      return register(record.INDEX, XMM);
    case 'V':
      return register(record.REGISTER, XMM);
    case 'P':
      return register(record.REGISTER, MMX);
    case 'S':
    case 'C':
    case 'D':
      return new NumberOperand(bits, () => values.field(b, record.REGISTER, 8));
    case 'I': {
      const second = form.immediates.indexOf(spec) === 1;
      // The record holds it sign-extended; the second immediate stands in the displacement.
      return new ValueOperand(bits, () =>
        second ? values.field(b, record.DISPLACEMENT, 32) : b.zx(immediate(), bits),
      );
    }
    case 'A':
      return new ValueOperand(bits, immediate);
    case 'J':
      // The record holds the target relative to the page; outside 64-bit mode EIP wraps to the operand size.
      return new ValueOperand(bits, () => {
        const sum = b.add(b.state(state.PAGE), immediate());
        if (wide) return sum;
        return b.zx(b.sub(sum, b.state(state.SEGMENT_BASE + 8 * CS)), operandSize === 16 ? 16 : 32);
      });
    case 'O':
      return overridden(immediate);
    case 'table':
      return overridden(() => b.zx(b.add(b.gpr(3), b.gpr(0, 8)), addressSize));
    case 'destination':
      return overridden(() => b.zx(b.gpr(7), addressSize));
    case 'X':
      return stringOperand(b, 6, bits, addressSize, offset => memory.overridden(b, offset, bits / 8, writes));
    case 'Y':
      return stringOperand(b, 7, bits, addressSize, offset =>
        wide ? offset : memory.linear(b, ES, offset, bits / 8, writes),
      );
    case 'counter':
      return new GeneralRegister(b, 1, addressSize);
    case 'fixed':
      return new GeneralRegister(b, spec.fixed, bits);
    case 'size':
      return new SizeOperand(bits);
  }
}

/** Memory that the record names: base + index * scale + displacement, in a segment. */
function recordMemory(
  b: Builder,
  memory: InterpreterMemory,
  bits: number,
  { writes, aligned, vectorIndex }: { writes: boolean; aligned: boolean; vectorIndex: boolean },
): Operand {
  const { wide, record: values } = memory;
  const offset = () => {
    // A gather adds its indices and scales them itself.
    const scaled = vectorIndex ? 0n : b.shl(values.register(b, record.INDEX), values.field(b, record.SCALE, 8));
    const sum = b.add(b.add(values.register(b, record.BASE), scaled), values.displacement(b));
    return wide ? sum : b.zx(sum, 32);
  };
  // In 64-bit mode BASE or INDEX names the base of FS or GS where one of these is overridden.
  const inSegment = (at: Value) => (wide ? at : memory.overridden(b, at, bits / 8, writes));
  return new MemoryOperand(b, bits, () => inSegment(offset()), {
    writes,
    aligned,
    offset,
    scale: () => values.field(b, record.SCALE, 8),
    ...(wide
      ? { element: (bytes: Value) => elementOf(b, memory, offset(), bytes) }
      : {
          displaced: (bytes: Value) => inSegment(b.zx(b.add(offset(), bytes), 32)),
          element: (bytes: Value) => inSegment(elementOf(b, memory, offset(), bytes)),
          unchecked: () => memory.unchecked(b, offset()),
          forWrite: () => memory.overridden(b, offset(), bits / 8, true),
        }),
  });
}

/**
 * `bytes` further on than an address, wrapped to the address size. Where that is not the usual one, an ADDRESS record stands
 * before this one: it has the mask, and names the segment base that it has added in 64-bit code.
 */
function elementOf(b: Builder, memory: InterpreterMemory, address: Value, bytes: Value): Value {
  const { record: values, wide } = memory;
  const separate = b.eq(values.byte(b, record.BASE), state.SCRATCH);
  const before = b.sub(values.address(b), RECORD_SIZE);
  const usual = wide ? -1n : 0xffffffffn;
  const mask = b.select(separate, b.fetchFixed('i64.load', before, record.IMMEDIATE), usual);
  if (!wide) return b.and(b.add(address, bytes), mask);
  const segment = b.select(separate, b.fetchFixed('i32.load8_u', before, record.REGISTER), state.ZERO);
  const base = b.fetchState('i64.load', 0, segment, 'gpr');
  return b.add(b.and(b.add(b.sub(address, base), bytes), mask), base);
}

/** A register that the record names by its offset in a register file. */
class RecordRegister extends BaseOperand {
  readonly kind = 'register';
  readonly #b: Builder;
  readonly #memory: InterpreterMemory;
  readonly #field: number;
  readonly #file: File;
  /** What is written to an XMM register clears the upper half of the YMM register. */
  readonly #clears: boolean;
  constructor(b: Builder, memory: InterpreterMemory, field: number, file: File, bits: number, clears: boolean) {
    super(bits);
    this.#clears = clears;
    this.#b = b;
    this.#memory = memory;
    this.#field = field;
    this.#file = file;
  }
  #inFile(): Value {
    return this.#memory.record.byte(this.#b, this.#field);
  }
  override get(): Value {
    const { offset, place } = this.#file;
    return this.#b.fetchState(LOADS[this.bits]!, offset, this.#inFile(), place);
  }
  override set(value: Value): void {
    const b = this.#b;
    const { offset, place } = this.#file;
    const extends32 = this.#file === GENERAL && this.bits === 32;
    const stored = extends32 ? b.zx(value, 32) : value;
    b.putState(STORES[extends32 ? 64 : this.bits]!, offset, stored, this.#inFile(), place);
    // An MMX register is the significand of an x87 register, whose exponent becomes all ones (SDM 1, 9.2).
    if (this.#file === MMX) b.putState('i32.store16', offset + 8, 0xffff, this.#inFile(), 'x87 exponents');
    if (this.#file === XMM && this.#clears) this.#putUpper(zero(b));
  }
  #putUpper(value: Value): void {
    this.#b.putState('v128.store', UPPER.offset, value, this.#inFile(), UPPER.place);
  }
  override lanes(): readonly [Value, Value] {
    const lane = ({ offset, place }: File) => this.#b.fetchState('v128.load', offset, this.#inFile(), place);
    return [lane(XMM), lane(UPPER)];
  }
  override setLanes([lower, upper]: readonly [Value, Value]): void {
    this.#b.putState('v128.store', XMM.offset, lower, this.#inFile(), XMM.place);
    this.#putUpper(upper);
  }
  override number(): Value {
    const b = this.#b;
    const byte = this.#memory.record.field(b, this.#field, 8);
    return b.shr(byte, b.const(this.#file === GENERAL ? 3 : 4));
  }
}
