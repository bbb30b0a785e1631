/**
 * The vocabulary in which an instruction's meaning is written, once, for both tiers. A meaning runs at translation
 * time: it builds small expression trees and a list of effects, which `finish` turns into WebAssembly. What differs
 * between the tiers (where a register lives, how memory is reached, what a jump is) is the `Tier` handed in (tier.ts).
 *
 * Integers are i64 and hold unsigned values unless said; truth values are i32, 0 or 1. `bits` is 8, 16, 32 or 64. An
 * instruction that may fault does its loads and its checks before its first write: a fault leaves no trace.
 */

import type { Value } from '../../wasm/expressions.ts';
import type { Body } from '../../wasm/module.ts';
import { CS, SS } from '../../x86/segments.ts';
import { GP } from '../../x86/vectors.ts';
import { ProcessorCode } from './code.ts';
import type { PureFunction } from './pure-functions.ts';
import { state } from './state.ts';
import type { Tier } from './tier.ts';

export type { Value } from '../../wasm/expressions.ts';
export { LOADS, STORES } from './code.ts';
export type { FlagSource, Tier } from './tier.ts';

export class Builder extends ProcessorCode {
  readonly tier: Tier;
  /** The lane of 128 bits that an instruction on 256 is at: 1 or 2, else 0 (FLOAT_LANE). */
  floatLane: 0 | 1 | 2 = 0;

  constructor(body: Body, tier: Tier) {
    super(body, tier);
    this.tier = tier;
  }

  // ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Loads `bits` (8-64 zero-extended, or 128) from a linear address. */
  load(address: Value, bits: number): Value {
    return this.tier.load(this, address, bits, false, false);
  }
  /** As `load`, but faults already if the place may not be written. */
  loadForWrite(address: Value, bits: number): Value {
    return this.tier.load(this, address, bits, true, false);
  }
  store(address: Value, bits: number, value: Value): void {
    this.tier.store(this, address, bits, value, false);
  }
  /** The same at an offset in the stack segment, as pushes and pops do whatever operand the instruction has. */
  loadStack(offset: Value, bits: number, forWrite = false): Value {
    return this.tier.load(this, this.tier.linear(this, SS, offset, bits / 8, forWrite), bits, forWrite, true);
  }
  storeStack(offset: Value, bits: number, value: Value): void {
    this.tier.store(this, this.tier.linear(this, SS, offset, bits / 8, true), bits, value, true);
  }

  // ── what ends an instruction ────────────────────────────────────────────────────────────────────────────────────

  /** Exception `vector`, with an error code where it has one. Inside `when`. */
  raise(vector: number, code?: Value | number): void {
    this.tier.raise(this, this.i32(vector), typeof code === 'number' ? this.i32(code) : code);
  }
  raiseIf(condition: Value, vector: number, code?: number): void {
    this.when(condition, () => this.raise(vector, code));
  }
  /** Calls helper `name` (engine/x86/helper.ts) with up to six i64 or f64 arguments; its result, read as i64. */
  helper(name: string, ...values: Value[]): Value {
    values.forEach((value, i) => this.setState(state.ARGUMENT + 8 * i, value));
    // A helper may change anything: what was read before the call is saved.
    this.saveReads();
    this.#inLane(() => this.tier.helper(this, name));
    return this.state(state.RESULT);
  }
  /** The value of function `name` (pure-functions.ts). */
  call(name: PureFunction, ...values: Value[]): Value {
    return this.tier.call(this, name, values);
  }
  /**
   * Answers like helper `name` of two vectors (checked-floats.ts), which it calls only where WebAssembly does not know the
   * answer.
   */
  checkedFloat(name: string, x: Value, y: Value): Value {
    return this.#inLane(() => this.tier.checkedFloat(this, name, x, y));
  }
  /** A call that has to know the lane. */
  #inLane<Result>(call: () => Result): Result {
    if (this.floatLane) this.setState32(state.FLOAT_LANE, this.floatLane);
    const result = call();
    if (this.floatLane) this.setState32(state.FLOAT_LANE, 0);
    return result;
  }
  leaveAfterDenormal(): void {
    // Of single lanes nothing is remembered (avx-lanes.ts).
    if (!this.floatLane) this.tier.leaveAfterDenormal?.(this);
  }
  /** The next instruction's offset in CS: what CALL pushes. */
  nextOffset(): Value {
    const next = this.tier.next(this);
    return this.tier.flat ? next : this.sub(next, this.state(state.SEGMENT_BASE + 8 * CS));
  }
  /** Goes on at an offset in CS (a linear address in 64-bit mode). */
  jump(target: Value): void {
    this.tier.jump(this, this.#inCode(target));
  }
  branch(condition: Value, target: Value): void {
    this.tier.branch(this, condition, this.#inCode(target), () => this.checkTarget(target));
  }
  /** #GP(0) if an offset in CS lies beyond its limit (SDM 2A, Jcc); in flat code none does. */
  checkTarget(target: Value): void {
    if (!this.tier.flat) this.raiseIf(this.no(this.leu(target, this.codeLimit())), GP, 0);
  }
  /** CS's limit in bytes. */
  codeLimit(): Value {
    return this.state(state.SEGMENT_LIMIT + 4 * CS, 32);
  }
  #inCode(offset: Value): Value {
    return this.tier.flat ? offset : this.zx(this.add(offset, this.state(state.SEGMENT_BASE + 8 * CS)), 32);
  }
}
