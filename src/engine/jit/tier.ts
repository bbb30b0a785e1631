/**
 * The second tier of an instruction's meaning (x86/tier.ts): operands are known, registers stand in locals
 * (registers.ts), memory is reached by the TLB alone (memory.ts). Whatever is rare leaves the region: the interpreter
 * executes that one instruction, with all its faults, and the region is entered again later. So nothing here faults,
 * and an instruction changes nothing before it leaves.
 */

import type { Variable } from '../../wasm/code.ts';
import { AC } from '../../x86/flags.ts';
import type { Builder, FlagSource, Tier, Value } from '../x86/builder.ts';
import { CHECKED_FLOATS } from '../x86/checked-floats.ts';
import type { ProcessorCode } from '../x86/code.ts';
import { helperRegisters } from '../x86/helper.ts';
import type { Operand } from '../x86/instructions/row.ts';
import type { OperandSpec } from '../x86/operands.ts';
import { emitPureCall, type PureFunction, type PureIndices } from '../x86/pure-functions.ts';
import { state } from '../x86/state.ts';
import type { Leaving, RegionVariables } from './frame.ts';
import { type Current, RegionMemory } from './memory.ts';
import { operandOf } from './operands.ts';
import type { RegionRegisters } from './registers.ts';

export interface JitFunctions {
  helper: number;
  checkedFloat: number;
  pure: PureIndices;
  bulk: Record<'movs' | 'stos', number>;
}

/**
 * Numbers of the helpers that are callable with registers in locals: of vector and x87 state, and those of
 * `helperRegisters`.
 */
export type PureHelpers = (name: string) => number | undefined;

export class JitTier implements Tier {
  readonly wide: boolean;
  readonly flat = true;
  registers!: RegionRegisters;
  memory!: RegionMemory;
  readonly #leaving: Leaving;
  readonly #functions: JitFunctions;
  readonly #pure: PureHelpers;
  #fuel!: Variable;
  #tlb!: Variable;
  #current!: Current;
  /** The meaning has left unconditionally. */
  left = false;

  constructor(wide: boolean, leaving: Leaving, functions: JitFunctions, pure: PureHelpers) {
    this.wide = wide;
    this.#leaving = leaving;
    this.#functions = functions;
    this.#pure = pure;
  }
  /** The region's variables, once there is a builder that they are made with: it is made with the tier. */
  use({ registers, fuel, tlb, base }: RegionVariables): void {
    this.registers = registers;
    this.memory = new RegionMemory(this.wide, registers, this.#leaving, { tlb, base }, this.#functions.bulk);
    this.#fuel = fuel;
    this.#tlb = tlb;
  }
  begin(current: Current): void {
    this.left = false;
    this.#current = current;
    this.memory.begin(current);
  }
  operand(b: Builder, spec: OperandSpec, index: number): Operand {
    return operandOf(b, this.registers, this.memory, this.#current, spec, index);
  }

  // ── registers and flags ─────────────────────────────────────────────────────────────────────────────────────────

  gpr(b: ProcessorCode, index: number, bits: number, high: boolean): Value {
    return this.registers.gpr(b, index, bits, high);
  }
  setGpr(b: ProcessorCode, index: number, bits: number, high: boolean, value: Value): void {
    this.registers.setGpr(b, index, bits, high, value);
  }
  vector(b: ProcessorCode, index: number): Value {
    return this.registers.vector(b, index);
  }
  setVector(b: ProcessorCode, index: number, value: Value): void {
    this.registers.setVector(b, index, value);
  }
  setFlags(b: ProcessorCode, source: FlagSource): void {
    this.registers.setFlags(b, source);
  }
  flagResult(b: ProcessorCode): Value {
    return this.registers.flagResult(b);
  }
  flagAux(b: ProcessorCode): Value {
    return this.registers.flagAux(b);
  }
  condition(b: ProcessorCode, code: number): Value | undefined {
    return this.registers.condition(b, code);
  }

  // ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────

  linear(b: Builder, segment: number, offset: Value, bytes: number): Value {
    return this.memory.linear(b, segment, offset, bytes);
  }
  load(b: Builder, address: Value, bits: number, forWrite: boolean): Value {
    return this.memory.load(b, address, bits, forWrite);
  }
  loadAs(b: Builder, address: Value, bits: number, type: 'f32' | 'f64' | 'v128'): Value {
    return this.memory.loadAs(b, address, bits, type);
  }
  store(b: Builder, address: Value, bits: number, value: Value): void {
    this.memory.store(b, address, bits, value);
  }
  loadPair(b: Builder, address: Value): readonly [Value, Value] {
    return this.memory.loadPair(b, address);
  }
  storePair(b: Builder, address: Value, values: readonly [Value, Value]): void {
    this.memory.storePair(b, address, values);
  }
  bulk(b: Builder, kind: 'movs' | 'stos', bytes: number, to: Value, from: Value, count: Value): Value {
    return this.memory.bulk(b, kind, bytes, to, from, count);
  }

  // ── exceptions and calls ────────────────────────────────────────────────────────────────────────────────────────

  raise(b: Builder): void {
    this.#leaving.interpret(b);
    if (!b.conditional) this.left = true;
  }
  helper(b: Builder, name: string): void {
    const id = this.#pure(name);
    if (id === undefined) return this.raise(b);
    const { helper } = this.#functions;
    const registers = helperRegisters[name];
    if (!registers) return b.aside(b.called(helper, 'i32', id), () => this.#refault(b));
    // It reads registers, and may ask for the time, which counts instructions.
    const done = this.#leaving.done();
    b.setState(state.RIP, this.here(b));
    for (const register of registers.reads) this.registers.spill(b, register);
    b.setState32(state.FUEL, b.sub(this.#fuel.get(), done));
    b.setState32(state.RECORD, 0);
    const faulted = b.unset('i32');
    faulted.set(b.called(helper, 'i32', id));
    // It may have asked for the run to end.
    this.#fuel.set(b.add(b.state32(state.FUEL), done));
    b.aside(faulted.last(), () => this.#refault(b));
    for (const register of registers.writes) this.registers.reload(b, register);
  }
  call(b: Builder, name: PureFunction, values: readonly Value[]): Value {
    return emitPureCall(b, this.#functions.pure, name, values);
  }
  checkedFloat(b: Builder, name: string, x: Value, y: Value): Value {
    const result = b.unset('v128');
    result.set(b.called(this.#functions.checkedFloat, 'v128', CHECKED_FLOATS.indexOf(name), x, y));
    b.aside(b.state32(state.FAULT), () => this.#refault(b));
    return result.last();
  }
  /** A function that was called wants to fault: the interpreter will find the same. */
  #refault(b: Builder): void {
    b.setState32(state.FAULT, 0);
    this.#leaving.interpret(b);
  }
  leaveAfterDenormal(b: Builder): void {
    b.aside(b.state32(state.FLOAT_DENORMAL), () => this.#leaving.next(b));
  }
  trap(b: Builder): Value {
    this.raise(b);
    return b.i32(1);
  }

  // ── where to go on ──────────────────────────────────────────────────────────────────────────────────────────────

  jump(b: Builder, target: Value): void {
    this.#leaving.jump(b, target);
  }
  branch(b: Builder, condition: Value): void {
    this.#leaving.branch(b, condition);
  }
  here(b: Builder): Value {
    return this.memory.at(b, this.#current.offset);
  }
  next(b: Builder): Value {
    return this.memory.at(b, this.#current.offset + this.#current.instruction.length);
  }
  resume(b: Builder): void {
    this.raise(b);
  }
  attend(b: Builder): void {
    // Rows that go straight on have left through their helper if anything is due.
    if (!this.#current.instruction.form!.row.straight) this.raise(b);
  }
  attendAccess(b: Builder): void {
    const ac = b.both(b.state32(state.FLAGS_REST), b.i32(AC));
    b.setState32(state.TLB_BASE, b.select(ac, b.state32(state.CLASS_BASE + 8), b.state32(state.CLASS_BASE + 4)));
    this.#tlb.set(b.state32(state.TLB_BASE));
  }
}
