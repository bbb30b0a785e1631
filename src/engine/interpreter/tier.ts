/**
 * The interpreter's tier of an instruction's meaning (x86/tier.ts): registers and flags stand in the state, operands
 * come from a decoded record, and an instruction ends with the next record or leaves its block.
 */

import { AC } from '../../x86/flags.ts';
import { JUMPS, JUMPS_ENTRIES, JUMPS_RING } from '../layout.ts';
import * as record from '../record.ts';
import type { Builder, Tier, Value } from '../x86/builder.ts';
import { CHECKED_FLOATS } from '../x86/checked-floats.ts';
import { emitPureCall, type PureFunction } from '../x86/pure-functions.ts';
import { FAULT_SET, state } from '../x86/state.ts';
import { StateRegisters } from '../x86/state-registers.ts';
import type { TrapName } from '../x86/traps.ts';
import type { Functions, Leaving, Variant } from './handler.ts';
import { InterpreterMemory } from './memory.ts';

export class InterpreterTier extends StateRegisters implements Tier {
  readonly wide: boolean;
  readonly flat: boolean;
  readonly memory: InterpreterMemory;
  readonly #variant: Variant;
  readonly #leaving: Leaving;
  readonly #functions: Functions;
  /** Set once the meaning has said where to go on. */
  left = false;

  constructor(variant: Variant, leaving: Leaving, functions: Functions) {
    super();
    this.wide = variant.wide;
    this.flat = variant.wide;
    this.memory = new InterpreterMemory(variant.wide, leaving, functions);
    this.#variant = variant;
    this.#leaving = leaving;
    this.#functions = functions;
  }

  // ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────

  linear(b: Builder, segment: number, offset: Value, bytes: number, write: boolean): Value {
    return this.memory.linear(b, segment, offset, bytes, write);
  }
  load(b: Builder, address: Value, bits: number, forWrite: boolean, stack: boolean): Value {
    return this.memory.load(b, address, bits, forWrite, stack);
  }
  store(b: Builder, address: Value, bits: number, value: Value, stack: boolean): void {
    this.memory.store(b, address, bits, value, stack);
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

  raise(b: Builder, vector: Value, code: Value | undefined): void {
    b.setState32(state.FAULT, b.either(vector, b.i32(FAULT_SET)));
    b.setState32(state.FAULT_CODE, code ?? b.i32(0));
    this.memory.record.save(b);
    this.#leaving.fault(b);
  }
  helper(b: Builder, name: string): void {
    const { helper, helperNumber } = this.#functions;
    this.memory.record.save(b);
    b.aside(b.called(helper, 'i32', helperNumber(name)), () => this.#leaving.fault(b));
  }
  call(b: Builder, name: PureFunction, values: readonly Value[]): Value {
    return emitPureCall(b, this.#functions.pure, name, values);
  }
  checkedFloat(b: Builder, name: string, x: Value, y: Value): Value {
    this.memory.record.save(b);
    const result = b.unset('v128');
    result.set(b.called(this.#functions.checkedFloat[CHECKED_FLOATS.indexOf(name)]!, 'v128', x, y));
    this.memory.faultIfSet(b);
    return result.last();
  }
  trap(b: Builder, name: TrapName, next: Value | undefined): Value {
    const done = b.unset('i32');
    done.set(b.called(this.#functions.traps![name], 'i32', ...(next ? [next] : [])));
    return done.last();
  }

  // ── where to go on ──────────────────────────────────────────────────────────────────────────────────────────────

  jump(b: Builder, target: Value): void {
    const { form } = this.#variant;
    this.left = true;
    const direct = form.operands.some(spec => spec.place === 'J');
    if (!direct && ['jmp', 'call'].includes(form.row.name)) this.#noteJump(b, target);
    this.#leaving.go(b, target, direct ? record.TAKEN : undefined);
  }
  /** Notes where an indirect jump or call leads: the translator asks for that (`CodeReader.targets`). */
  #noteJump(b: Builder, target: Value): void {
    const from = this.here(b);
    const count = b.add(b.fetch('i32.load', 0, JUMPS, 'jumps'), 1);
    b.put('i32.store', 0, count, JUMPS, 'jumps');
    const at = b.shl(b.and(count, JUMPS_ENTRIES - 1), 4);
    b.put('i64.store', at, from, JUMPS + JUMPS_RING, 'jumps');
    b.put('i64.store', at, target, JUMPS + JUMPS_RING + 8, 'jumps');
  }
  branch(b: Builder, condition: Value, target: Value, check?: () => void): void {
    this.left = true;
    b.when(condition, () => {
      check?.();
      this.#leaving.go(b, target, record.TAKEN);
    });
    this.#leaving.go(b, this.next(b), record.NOT_TAKEN);
  }
  here(b: Builder): Value {
    return this.memory.record.here(b);
  }
  next(b: Builder): Value {
    return this.memory.record.next(b);
  }
  resume(b: Builder): void {
    this.left = true;
    this.#leaving.resume(b);
  }
  attend(): void {}
  attendAccess(b: Builder): void {
    const ac = b.both(b.state32(state.FLAGS_REST), b.i32(AC));
    b.setState32(state.TLB_BASE, b.select(ac, b.state32(state.CLASS_BASE + 8), b.state32(state.CLASS_BASE + 4)));
  }
  /** After the meaning: leaves the block if the row ends it and the meaning has not left. */
  finish(b: Builder): void {
    if (!this.left && this.#variant.form.row.ends) this.#leaving.go(b, this.next(b), record.NOT_TAKEN);
  }
}
