/**
 * What differs between the tiers when they make code of an instruction's meaning (builder.ts): where registers and
 * flags are, how guest memory is reached, and how an instruction leaves. Emission happens inside `b.effect`.
 */

import type { Value } from '../../wasm/expressions.ts';
import type { Builder } from './builder.ts';
import type { ProcessorCode } from './code.ts';
import type { PureFunction } from './pure-functions.ts';
import type { TrapName } from './traps.ts';

/** How flags came about; the tier may keep the operands and compute nothing until somebody asks. */
export interface FlagSource {
  kind: 'add' | 'sub' | 'logic' | 'raw';
  bits: number;
  x?: Value;
  y?: Value;
  /** add, sub: a carry or borrow went in, so that r is not x ± y. */
  carryIn?: boolean;
  /** The result; bits above `bits` do not matter. */
  r: Value;
  /** Makes FLAG_AUX (i32). */
  aux: () => Value;
}

/** General registers, XMM registers and flags. */
export interface Registers {
  gpr(b: ProcessorCode, index: number, bits: number, high: boolean): Value;
  setGpr(b: ProcessorCode, index: number, bits: number, high: boolean, value: Value): void;
  /** XMM registers and, by numbers from 16 on, upper halves of YMM registers, whole, where they do not stand in the state. */
  vector?(b: ProcessorCode, index: number): Value;
  setVector?(b: ProcessorCode, index: number, value: Value): void;
  setFlags(b: ProcessorCode, source: FlagSource): void;
  /** FLAG_RESULT (i64) and FLAG_AUX (i32) of the current flags (state.ts). */
  flagResult(b: ProcessorCode): Value;
  flagAux(b: ProcessorCode): Value;
  /** A condition code (0-15, SDM 2A B.1.4.7) of the current flags, if the tier knows a shorter way. */
  condition(b: ProcessorCode, code: number): Value | undefined;
}

/** The guest's memory. */
export interface Memory {
  /** Code of 64-bit mode; false: of all other modes. */
  readonly wide: boolean;
  /**
   * Offsets in ES, CS, SS and DS are linear addresses without a check, and the stack pointer is as wide as they are.
   */
  readonly flat: boolean;
  /** The linear address of `offset` in a segment; limits and rights are checked for `bytes` where there are such. */
  linear(b: Builder, segment: number, offset: Value, bytes: number, write: boolean): Value;
  /**
   * Loads from a linear address; faults leave the instruction. `forWrite` asks for write permission too. `stack`: the address
   * is the stack's, not that of the instruction's operand.
   */
  load(b: Builder, address: Value, bits: number, forWrite: boolean, stack: boolean): Value;
  /**
   * As `load` of 32 or 64 bits, but gives a float of that size, or a vector with zeros above; where there is a short
   * way.
   */
  loadAs?(b: Builder, address: Value, bits: number, type: 'f32' | 'f64' | 'v128'): Value;
  store(b: Builder, address: Value, bits: number, value: Value, stack: boolean): void;
  /** 256 bits as two v128, the lower first; a store that faults has written nothing. */
  loadPair(b: Builder, address: Value): readonly [Value, Value];
  storePair(b: Builder, address: Value, values: readonly [Value, Value]): void;
  /** Moves or fills up to `count` elements of `bytes` upwards at once. The number done; 0: do one by one. */
  bulk(b: Builder, kind: 'movs' | 'stos', bytes: number, to: Value, from: Value, count: Value): Value;
}

/** Where the guest goes on, exceptions, and calls of functions that may raise some. */
export interface Flow {
  /** Leaves the instruction with an exception. */
  raise(b: Builder, vector: Value, code: Value | undefined): void;
  /** Calls helper `name`; returns when it did not fault. */
  helper(b: Builder, name: string): void;
  /** The value of a function (pure-functions.ts). */
  call(b: Builder, name: PureFunction, values: readonly Value[]): Value;
  /** Calls function `name` (checked-floats.ts) of two v128; returns when it did not fault. */
  checkedFloat(b: Builder, name: string, x: Value, y: Value): Value;
  /**
   * Leaves after the instruction, which is complete, if `checkedFloat` met a denormal number: for tiers that remember which
   * registers hold none.
   */
  leaveAfterDenormal?(b: Builder): void;
  /**
   * Tries the fast path of traps.ts: 1 if it did everything and the state's RIP says where to go on; 0: the helper has
   * to.
   */
  trap(b: Builder, name: TrapName, next: Value | undefined): Value;
  /** Goes on at linear address `target`; ends the block. */
  jump(b: Builder, target: Value): void;
  /**
   * Goes on at `target` if `condition`, otherwise after the instruction; ends the block. `check` refuses the target where it has
   * to: it is called for code of the branch that is taken.
   */
  branch(b: Builder, condition: Value, target: Value, check?: () => void): void;
  /** Linear address of this instruction, and of the next one. */
  here(b: Builder): Value;
  next(b: Builder): Value;
  /** Goes on wherever the state's RIP points: a helper has set it (and perhaps the mode). Ends the block. */
  resume(b: Builder): void;
  /** The row `ends` a block and has changed what following code depends on (RIP excepted): carry on after it. */
  attend(b: Builder): void;
  /** RFLAGS.AC changed in the kernel: SMAP's rights follow. */
  attendAccess(b: Builder): void;
}

export type Tier = Registers & Memory & Flow;
