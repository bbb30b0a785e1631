/**
 * The vocabulary in which an instruction's meaning is written, once, for both tiers. A meaning runs at translation time: it
 * builds small expression trees and a list of effects, which `finish` turns into WebAssembly. What differs between the
 * tiers (where a register lives, how memory is reached, what a jump is) is the `Tier` handed in.
 *
 * Integers are i64 and hold unsigned values unless said; truth values are i32, 0 or 1. `bits` is 8, 16, 32 or 64.
 * An instruction that may fault does its loads and its checks before its first write: a fault leaves no trace.
 */

import type { Body } from '../../wasm/module.ts';
import { type Opcode, opcodes, type ValueType } from '../../wasm/opcodes.ts';
import type { PureFunction } from './pure-functions.ts';
import * as state from './state.ts';
import type { TrapName } from './traps.ts';

type Kind = 'const' | 'local' | 'op' | 'read' | 'select' | 'lane' | 'shuffle';

/** A value: a node of an expression tree. Opaque to meanings. */
export interface Value {
  readonly kind: Kind;
  readonly type: ValueType;
  readonly opcode: Opcode | undefined;
  readonly parts: readonly Value[];
  /** Constants: the number; reads: how to emit; lanes: the index. */
  readonly literal: bigint;
  readonly extra: unknown;
  readonly block: Block;
  /** i64: no bit from this one on is set, as far as is known. */
  width: number;
  uses: number;
  local: number;
  /** A read's place: a write to the same place must not overtake it. */
  readonly place: Place;
  readonly serial: number;
}

/** What a read depends on. Registers named by a record's bytes may alias: all general registers are then one place. */
export type Place = string | number | undefined;

interface Block {
  readonly parent: Block | undefined;
  readonly effects: (() => void)[];
  readonly captures: Value[];
}

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

/** What a tier must know how to do. Emission happens inside `b.effect`. */
export interface Tier {
  /** 64 in the long-mode tables, 32 in those of all other modes. */
  readonly wide: boolean;
  /** Offsets in ES, CS, SS and DS are linear addresses, and the stack pointer is as wide as they are: without asking anybody. */
  readonly flat: boolean;
  gpr(b: Builder, index: number, bits: number, high: boolean): Value;
  setGpr(b: Builder, index: number, bits: number, high: boolean, value: Value): void;
  /** XMM registers, whole, where they do not stand in the state. */
  vector?(b: Builder, index: number): Value;
  setVector?(b: Builder, index: number, value: Value): void;
  /** The linear address of `offset` in a segment; limits and rights are checked for `bytes` where there are such. */
  linear(b: Builder, segment: number, offset: Value, bytes: number, write: boolean): Value;
  /** Loads from a linear address; faults leave the instruction. `lock` asks for write permission too. */
  load(b: Builder, address: Value, bits: number, forWrite: boolean): Value;
  /** As `load` of 32 or 64 bits, but gives a float of that size, or a vector with zeros above; where there is a short way. */
  loadAs?(b: Builder, address: Value, bits: number, type: 'f32' | 'f64' | 'v128'): Value;
  store(b: Builder, address: Value, bits: number, value: Value): void;
  setFlags(b: Builder, source: FlagSource): void;
  flagResult(b: Builder): Value;
  flagAux(b: Builder): Value;
  /** A condition code (0-15, SDM 2A B.1.4.7) of the current flags, if the tier knows a shorter way. */
  condition(b: Builder, code: number): Value | undefined;
  /** Leaves the instruction with an exception. */
  raise(b: Builder, vector: Value, code: Value | undefined): void;
  /** Calls helper `name`; returns when it did not fault. */
  helper(b: Builder, name: string): void;
  /** The value of a function (pure-functions.ts). */
  call(b: Builder, name: PureFunction, values: readonly Value[]): Value;
  /** Calls function `name` (careful.ts) of two v128; returns when it did not fault. */
  careful(b: Builder, name: string, x: Value, y: Value): Value;
  /** Leaves behind the instruction, which is complete, if `careful` met a denormal number: for tiers that remember tame lanes. */
  settle?(b: Builder): void;
  /** Tries the fast path of traps.ts: 1 if it did everything and the state's RIP says where to go on; 0: the helper has to. */
  trap(b: Builder, name: TrapName, next: Value | undefined): Value;
  /** `count` elements of `bytes` moved or filled upwards at once: how many were done, 0 if it has to be one by one. */
  bulk(b: Builder, kind: 'movs' | 'stos', bytes: number, to: Value, from: Value, count: Value): Value;
  /** Goes on at linear address `target`; ends the block. */
  jump(b: Builder, target: Value): void;
  /** Goes on at `target` if `condition`, otherwise after the instruction; ends the block. */
  branch(b: Builder, condition: Value, target: Value): void;
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

let serial = 0;

export class Builder {
  readonly body: Body;
  readonly tier: Tier;
  #block: Block = { parent: undefined, effects: [], captures: [] };
  #reads: Value[] = [];
  readonly #free = new Map<ValueType, number[]>();
  readonly #taken: [ValueType, number][] = [];

  constructor(body: Body, tier: Tier) {
    this.body = body;
    this.tier = tier;
  }

  // ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────

  const(value: bigint | number): Value {
    return this.#node('const', 'i64', undefined, [], BigInt.asIntN(64, BigInt(value)));
  }
  i32(value: number): Value {
    return this.#node('const', 'i32', undefined, [], BigInt(value | 0));
  }
  /** A 128-bit constant of 16 bytes. */
  v128(bytes: readonly number[]): Value {
    return this.#node('const', 'v128', undefined, [], 0n, undefined, Uint8Array.from(bytes));
  }
  /** A WebAssembly local that holds a value for good (tiers only), of so many bits. */
  local(type: ValueType, index: number, width = 64): Value {
    const value = this.#node('local', type, undefined, []);
    value.local = index;
    value.width = width;
    return value;
  }
  /** Any of WebAssembly's value instructions by its own name, e.g. `b.op('i8x16.add_sat_s', x, y)`. */
  op(name: string, ...parts: Value[]): Value {
    const opcode = opcodes.get(name);
    if (!opcode?.result || opcode.memory || opcode.lane) throw new Error(`builder: ${name} is no plain operation`);
    if (parts.length !== opcode.parameters.length || parts.some((part, i) => part.type !== opcode.parameters[i]))
      throw new Error(`builder: ${name} does not take (${parts.map(part => part.type)})`);
    const folded = fold(this, name, parts);
    if (folded) return folded;
    const value = this.#node('op', opcode.result, opcode, parts);
    value.width = widthOf(name, parts);
    return value;
  }
  /** extract_lane and replace_lane. */
  lane(name: string, lane: number, ...parts: Value[]): Value {
    const opcode = opcodes.get(name);
    if (!opcode?.lane || parts.length !== opcode.parameters.length)
      throw new Error(`builder: ${name} is no lane operation`);
    return this.#node('lane', opcode.result!, opcode, parts, BigInt(lane));
  }
  /** i8x16.shuffle: byte i of the result is byte lanes[i] of x and y laid end to end. */
  shuffle(x: Value, y: Value, lanes: readonly number[]): Value {
    return this.#node('shuffle', 'v128', undefined, [x, y], 0n, undefined, lanes);
  }
  /** `condition ? x : y`; both are computed. */
  select(condition: Value, x: Value, y: Value): Value {
    if (condition.kind === 'const') return condition.literal ? x : y;
    return this.#node('select', x.type, undefined, [x, y, condition]);
  }

  add(x: Value, y: Value): Value {
    return this.op('i64.add', x, y);
  }
  sub(x: Value, y: Value): Value {
    return this.op('i64.sub', x, y);
  }
  mul(x: Value, y: Value): Value {
    return this.op('i64.mul', x, y);
  }
  and(x: Value, y: Value): Value {
    return this.op('i64.and', x, y);
  }
  or(x: Value, y: Value): Value {
    return this.op('i64.or', x, y);
  }
  xor(x: Value, y: Value): Value {
    return this.op('i64.xor', x, y);
  }
  not(x: Value): Value {
    return this.xor(x, this.const(-1));
  }
  /** Shifts of 64-bit values; the count is taken modulo 64. */
  shl(x: Value, y: Value): Value {
    return this.op('i64.shl', x, y);
  }
  shr(x: Value, y: Value): Value {
    return this.op('i64.shr_u', x, y);
  }
  sar(x: Value, y: Value): Value {
    return this.op('i64.shr_s', x, y);
  }
  /** Truth values (i32). */
  eq(x: Value, y: Value): Value {
    return this.op('i64.eq', x, y);
  }
  ne(x: Value, y: Value): Value {
    return this.op('i64.ne', x, y);
  }
  eqz(x: Value): Value {
    return this.op('i64.eqz', x);
  }
  ltu(x: Value, y: Value): Value {
    return this.op('i64.lt_u', x, y);
  }
  lts(x: Value, y: Value): Value {
    return this.op('i64.lt_s', x, y);
  }
  both(x: Value, y: Value): Value {
    return this.op('i32.and', x, y);
  }
  either(x: Value, y: Value): Value {
    return this.op('i32.or', x, y);
  }
  no(x: Value): Value {
    return this.op('i32.eqz', x);
  }
  /** A truth value or other i32 as an unsigned i64. */
  wide(x: Value): Value {
    return this.op('i64.extend_i32_u', x);
  }
  narrow(x: Value): Value {
    return this.op('i32.wrap_i64', x);
  }

  /** The low `bits` of x, the rest zero. */
  zx(x: Value, bits: number): Value {
    return x.width <= bits ? x : this.and(x, this.const((1n << BigInt(bits)) - 1n));
  }
  /** The low `bits` of x, sign-extended to 64. */
  sx(x: Value, bits: number): Value {
    return bits === 64 ? x : this.op(`i64.extend${bits}_s`, x);
  }
  /** Bit `bits - 1` as a truth value. */
  sign(x: Value, bits: number): Value {
    return this.narrow(this.and(this.shr(x, this.const(bits - 1)), this.const(1)));
  }

  // ── the processor's state ───────────────────────────────────────────────────────────────────────────────────────

  /** A field of the state, zero-extended. `bits` 128 gives a v128. */
  state(offset: number, bits = 64): Value {
    if (this.tier.vector && placeOf(offset) === 'xmm')
      return lowBits(this, this.tier.vector(this, (offset - state.XMM) / 16), bits);
    const value = this.read(placeOf(offset), bits === 128 ? 'v128' : 'i64', body => {
      body.i32(0);
      body.memory(LOADS[bits]!, state.STATE + offset);
    });
    value.width = Math.min(bits, 64);
    return value;
  }
  setState(offset: number, value: Value, bits = 64): void {
    if (this.tier.setVector && placeOf(offset) === 'xmm') {
      const index = (offset - state.XMM) / 16;
      return this.tier.setVector(
        this,
        index,
        bits === 128 ? value : withLowBits(this, this.state(offset, 128), value, bits),
      );
    }
    this.write(
      placeOf(offset),
      value,
      () => this.body.i32(0),
      () => this.body.memory(STORES[bits]!, state.STATE + offset),
    );
  }
  /** A 32-bit field as i32. */
  state32(offset: number): Value {
    return this.read(offset, 'i32', body => {
      body.i32(0);
      body.memory('i32.load', state.STATE + offset);
    });
  }
  setState32(offset: number, value: Value): void {
    this.write(
      offset,
      value,
      () => this.body.i32(0),
      () => this.body.memory('i32.store', state.STATE + offset),
    );
  }
  /** General register `index` (0 = RAX … 15 = R15), zero-extended. */
  gpr(index: number, bits = 64): Value {
    return this.tier.gpr(this, index, bits, false);
  }
  /** Writes a general register; a 32-bit write clears the upper half, smaller ones leave the rest. */
  setGpr(index: number, value: Value, bits = 64): void {
    this.tier.setGpr(this, index, bits, false, value);
  }
  /** AH (0), CH, DH or BH (3). */
  gprHigh(index: number): Value {
    return this.tier.gpr(this, index, 8, true);
  }
  setGprHigh(index: number, value: Value): void {
    this.tier.setGpr(this, index, 8, true, value);
  }

  /** A value that may be assigned more than once, and in branches. */
  variable(initial: Value): { get(): Value; set(value: Value): void } {
    const index = this.temporary(initial.type);
    const place = `variable ${index} ${serial}`;
    const set = (value: Value) =>
      this.write(
        place,
        value,
        () => {},
        () => this.body.set(index),
      );
    set(initial);
    return { get: () => this.read(place, initial.type, body => body.get(index)), set };
  }

  /** If `condition`, `then`; else `otherwise`. */
  when(condition: Value, then: () => void, otherwise?: () => void): void {
    if (condition.kind === 'const') {
      if (condition.literal) then();
      else otherwise?.();
      return;
    }
    this.#use(condition);
    const limit = serial;
    const yes = this.#inside(then);
    const no = otherwise && this.#inside(otherwise);
    this.effect(() => {
      for (const value of [...yes.captures, ...(no?.captures ?? [])]) this.#materialise(value);
      // What is saved inside a branch would be missing on the other: reads still needed are saved before.
      this.#saveReads(limit);
      this.emit(condition);
      this.body.if();
      for (const effect of yes.effects) effect();
      if (no) {
        this.body.else();
        for (const effect of no.effects) effect();
      }
      this.body.end();
    });
  }

  // ── memory ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Loads `bits` (8-64 zero-extended, or 128) from a linear address. */
  load(address: Value, bits: number): Value {
    return this.tier.load(this, address, bits, false);
  }
  /** As `load`, but faults already if the place may not be written. */
  loadForWrite(address: Value, bits: number): Value {
    return this.tier.load(this, address, bits, true);
  }
  store(address: Value, bits: number, value: Value): void {
    this.tier.store(this, address, bits, value);
  }

  // ── flags ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Flags of r = x + y (+ carry in): all six. x, y, r zero-extended `bits` wide (higher bits of r do not matter). */
  flagsAdd(bits: number, x: Value, y: Value, r: Value, carryIn = false): void {
    this.tier.setFlags(this, {
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
    this.tier.setFlags(this, {
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
    this.tier.setFlags(this, { kind: 'logic', bits, carryIn: false, r, aux: () => this.i32(0) });
  }
  /** SF, ZF, PF from r; CF, OF and AF given as truth values. */
  flagsFrom(bits: number, r: Value, carry: Value, overflow: Value, adjust: Value = this.i32(0)): void {
    const aux = () =>
      this.either(
        this.either(
          this.op('i32.shl', carry, this.i32(31)),
          this.op('i32.shl', this.op('i32.xor', carry, overflow), this.i32(30)),
        ),
        this.op('i32.shl', adjust, this.i32(3)),
      );
    this.tier.setFlags(this, { kind: 'raw', bits, carryIn: false, r, aux });
  }
  /** All six flags from the bits of a value laid out as RFLAGS (i32). */
  flagsFromBits(flags: Value): void {
    const bit = (n: number) => this.both(this.op('i32.shr_u', flags, this.i32(n)), this.i32(1));
    const r = this.wide(this.op('i32.xor', bit(6), this.i32(1)));
    const aux = () => {
      // The result is 0 or 1; SF comes wholly from the sign difference, PF from the parity difference.
      const parity = this.op('i32.xor', bit(2), bit(6)); // PF wanted, against what the result alone gives (ZF)
      return [
        this.op('i32.shl', bit(0), this.i32(31)),
        this.op('i32.shl', this.op('i32.xor', bit(0), bit(11)), this.i32(30)),
        this.op('i32.shl', bit(4), this.i32(3)),
        this.op('i32.shl', parity, this.i32(8)),
        bit(7),
      ].reduce((x, y) => this.either(x, y));
    };
    this.tier.setFlags(this, { kind: 'raw', bits: 64, carryIn: false, r, aux });
  }
  carry(): Value {
    return this.tier.condition(this, 2) ?? this.op('i32.shr_u', this.tier.flagAux(this), this.i32(31));
  }
  overflow(): Value {
    const aux = this.tier.flagAux(this);
    const differs = this.op('i32.xor', aux, this.op('i32.shl', aux, this.i32(1)));
    return this.op('i32.shr_u', differs, this.i32(31));
  }
  adjust(): Value {
    return this.both(this.op('i32.shr_u', this.tier.flagAux(this), this.i32(3)), this.i32(1));
  }
  zero(): Value {
    return this.eqz(this.tier.flagResult(this));
  }
  negative(): Value {
    const top = this.narrow(this.shr(this.tier.flagResult(this), this.const(63)));
    return this.op('i32.xor', top, this.both(this.tier.flagAux(this), this.i32(1)));
  }
  parity(): Value {
    const low = this.op(
      'i32.xor',
      this.narrow(this.tier.flagResult(this)),
      this.op('i32.shr_u', this.tier.flagAux(this), this.i32(8)),
    );
    return this.no(this.both(this.op('i32.popcnt', this.both(low, this.i32(0xff))), this.i32(1)));
  }
  /** Condition code 0-15 as Jcc has it in its opcode (SDM 2A B.1.4.7). */
  condition(code: number): Value {
    const known = this.tier.condition(this, code);
    if (known) return known;
    const less = () => this.op('i32.xor', this.negative(), this.overflow());
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
    const at = (flag: Value, n: number) => (n ? this.op('i32.shl', flag, this.i32(n)) : flag);
    return [
      at(this.carry(), 0),
      at(this.parity(), 2),
      at(this.adjust(), 4),
      at(this.zero(), 6),
      at(this.negative(), 7),
      at(this.overflow(), 11),
    ].reduce((x, y) => this.either(x, y));
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
    const limit = serial;
    this.effect(() => this.#saveReads(limit));
    this.tier.helper(this, name);
    return this.state(state.RESULT);
  }
  /** The value of function `name` (pure-functions.ts). */
  call(name: PureFunction, ...values: Value[]): Value {
    return this.tier.call(this, name, values);
  }
  /** Answers like helper `name` of two vectors (careful.ts), which it calls only where WebAssembly does not know the answer. */
  careful(name: string, x: Value, y: Value): Value {
    return this.tier.careful(this, name, x, y);
  }
  settle(): void {
    this.tier.settle?.(this);
  }
  /** The next instruction's offset in CS: what CALL pushes. */
  nextOffset(): Value {
    const next = this.tier.next(this);
    return this.tier.flat ? next : this.sub(next, this.state(state.SEGMENT_BASE + 8 * state.CS));
  }
  /** Goes on at an offset in CS (a linear address in 64-bit mode). */
  jump(target: Value): void {
    this.tier.jump(this, this.#inCode(target));
  }
  branch(condition: Value, target: Value): void {
    this.tier.branch(this, condition, this.#inCode(target));
  }
  #inCode(offset: Value): Value {
    return this.tier.flat ? offset : this.zx(this.add(offset, this.state(state.SEGMENT_BASE + 8 * state.CS)), 32);
  }

  // ── for tiers ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** A read whose value depends on `place` until it is emitted. */
  read(place: Place, type: ValueType, emit: (body: Body) => void): Value {
    const value = this.#node('read', type, undefined, [], 0n, place, emit);
    this.#reads.push(value);
    return value;
  }
  /** A write to `place`: earlier reads of it that are still needed are saved first. */
  write(place: Place, value: Value, before: () => void, after: () => void): void {
    this.#use(value);
    const limit = serial;
    this.effect(() => {
      before();
      this.emit(value);
      for (const read of this.#reads)
        if (read.place === place && read.serial <= limit && read.uses > 0 && read.local < 0) this.#materialise(read);
      after();
    });
  }
  /** Something that happens, in order. Values it emits must be announced with `use` beforehand. */
  effect(emit: () => void): void {
    this.#block.effects.push(emit);
  }
  use(...values: Value[]): void {
    for (const value of values) this.#use(value);
  }
  /** A scratch local until the end of this instruction. */
  temporary(type: ValueType): number {
    const index = this.#free.get(type)?.pop() ?? this.body.local(type);
    this.#taken.push([type, index]);
    return index;
  }
  /** Emits code that leaves `value` on the stack. */
  emit(value: Value): void {
    const { body } = this;
    value.uses--;
    if (value.local >= 0) return body.get(value.local);
    switch (value.kind) {
      case 'const':
        if (value.type === 'v128') return body.v128(value.extra as Uint8Array);
        return value.type === 'i32' ? body.i32(Number(value.literal)) : body.i64(value.literal);
      case 'local':
        return body.get(value.local);
      case 'read':
        (value.extra as (body: Body) => void)(body);
        break;
      default:
        for (const part of value.parts) this.emit(part);
        if (value.kind === 'op') body.code.append(value.opcode!.code);
        else if (value.kind === 'select') body.select();
        else if (value.kind === 'lane') body.lane(value.opcode!.name, Number(value.literal));
        else body.shuffle(value.extra as number[]);
    }
    if (value.uses > 0) {
      value.local = this.temporary(value.type);
      body.tee(value.local);
    }
  }
  /** Turns the effects gathered so far into code and forgets them: the instruction's end. */
  finish(): void {
    const { effects } = this.#block;
    this.#block = { parent: undefined, effects: [], captures: [] };
    for (const effect of effects) effect();
    this.#reads = [];
    for (const [type, index] of this.#taken.splice(0)) {
      const free = this.#free.get(type);
      if (free) free.push(index);
      else this.#free.set(type, [index]);
    }
  }

  #node(
    kind: Kind,
    type: ValueType,
    opcode: Opcode | undefined,
    parts: readonly Value[],
    literal = 0n,
    place: Place = undefined,
    extra: unknown = undefined,
  ): Value {
    for (const part of parts) this.#use(part);
    return {
      kind,
      type,
      opcode,
      parts,
      literal,
      extra,
      block: this.#block,
      width: kind === 'const' && literal >= 0n ? literal.toString(2).length : 64,
      uses: 0,
      local: -1,
      place,
      serial: ++serial,
    };
  }
  #use(value: Value): void {
    value.uses++;
    if (value.kind === 'const' || value.kind === 'local') return;
    for (let block: Block | undefined = this.#block; block && block !== value.block; block = block.parent)
      block.captures.push(value);
  }
  #inside(fill: () => void): Block {
    const block: Block = { parent: this.#block, effects: [], captures: [] };
    this.#block = block;
    fill();
    this.#block = block.parent!;
    return block;
  }
  #saveReads(limit: number): void {
    for (const read of this.#reads) if (read.serial <= limit && read.uses > 0) this.#materialise(read);
  }
  #materialise(value: Value): void {
    if (value.local >= 0 || value.kind === 'const') return;
    // One more use than counted: the emission here, which is balanced by `emit`.
    value.uses++;
    this.emit(value);
    if (value.local >= 0) this.body.drop();
    else this.body.set((value.local = this.temporary(value.type)));
  }
  /** FLAG_AUX of r = x + y or x - y, with or without carry in. */
  auxOf(kind: 'add' | 'sub', bits: number, x: Value, y: Value, r: Value): Value {
    const carries =
      kind === 'add'
        ? this.or(this.and(x, y), this.and(this.or(x, y), this.not(r)))
        : this.or(this.and(this.not(x), this.or(y, r)), this.and(y, r));
    return this.#carryAux(carries, bits);
  }
  /** True while building inside a branch of `when`. */
  get conditional(): boolean {
    return this.#block.parent !== undefined;
  }
  /** FLAG_AUX from the vector of carries out of each bit. */
  #carryAux(carries: Value, bits: number): Value {
    const top =
      bits === 64
        ? this.narrow(this.shr(carries, this.const(32)))
        : bits === 32
          ? this.narrow(carries)
          : this.op('i32.shl', this.narrow(carries), this.i32(32 - bits));
    if (bits === 32) return this.both(top, this.i32(0xc0000008 | 0));
    return this.either(this.both(top, this.i32(0xc0000000 | 0)), this.both(this.narrow(carries), this.i32(8)));
  }
}

/** Register files are one place each, because a record's bytes may name any register of them. */
function placeOf(offset: number): Place {
  if (offset < state.ZERO) return 'gpr';
  if (offset >= state.XMM && offset < state.XMM + 256) return 'xmm';
  if (offset >= state.FPU_REGISTERS && offset < state.FPU_REGISTERS + 128) return 'x87';
  return offset;
}

/** The low `bits` (8-64, zero-extended, or 128) of a v128, and a v128 with those replaced. */
function lowBits(b: Builder, x: Value, bits: number): Value {
  if (bits === 128) return x;
  if (bits === 64) return b.lane('i64x2.extract_lane', 0, x);
  return b.wide(b.lane(LANES[bits]!.extract, 0, x));
}
function withLowBits(b: Builder, x: Value, value: Value, bits: number): Value {
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

/** How many of the low bits of an operation's result may be set. */
function widthOf(name: string, [x, y]: readonly Value[]): number {
  switch (name) {
    case 'i64.and':
      return Math.min(x!.width, y!.width);
    case 'i64.or':
    case 'i64.xor':
      return Math.max(x!.width, y!.width);
    case 'i64.shr_u':
      return y!.kind === 'const' ? Math.max(0, x!.width - Number(y!.literal & 63n)) : x!.width;
    case 'i64.extend_i32_u':
      return 32;
    default:
      return 64;
  }
}

/** Constant folding of what meanings and operands make most often; undefined when there is nothing to fold. */
function fold(b: Builder, name: string, parts: readonly Value[]): Value | undefined {
  const [x, y] = parts;
  const known = (value: Value | undefined) => value?.kind === 'const';
  if (y && known(x) && known(y)) {
    const p = x!.literal;
    const q = y.literal;
    const u = (n: bigint) => BigInt.asUintN(64, n);
    switch (name) {
      case 'i64.add':
        return b.const(p + q);
      case 'i64.sub':
        return b.const(p - q);
      case 'i64.and':
        return b.const(p & q);
      case 'i64.or':
        return b.const(p | q);
      case 'i64.xor':
        return b.const(p ^ q);
      case 'i64.shl':
        return b.const(p << (q & 63n));
      case 'i64.shr_u':
        return b.const(u(p) >> (q & 63n));
      case 'i64.shr_s':
        return b.const(p >> (q & 63n));
      case 'i64.mul':
        return b.const(p * q);
      case 'i64.eq':
        return b.i32(p === q ? 1 : 0);
      case 'i64.ne':
        return b.i32(p !== q ? 1 : 0);
      case 'i64.lt_u':
        return b.i32(u(p) < u(q) ? 1 : 0);
      case 'i64.lt_s':
        return b.i32(p < q ? 1 : 0);
      case 'i32.and':
        return b.i32(Number(p & q));
      case 'i32.or':
        return b.i32(Number(p | q));
      case 'i32.xor':
        return b.i32(Number(p ^ q));
      case 'i32.shl':
        return b.i32(Number(p) << Number(q & 31n));
      case 'i32.shr_u':
        return b.i32(Number(p) >>> Number(q & 31n));
    }
    return undefined;
  }
  if (known(x) && !y) {
    const p = x!.literal;
    switch (name) {
      case 'i64.eqz':
        return b.i32(p === 0n ? 1 : 0);
      case 'i32.eqz':
        return b.i32(p === 0n ? 1 : 0);
      case 'i32.wrap_i64':
        return b.i32(Number(BigInt.asIntN(32, p)));
      case 'i64.extend_i32_u':
        return b.const(BigInt.asUintN(32, p));
      case 'i64.extend8_s':
        return b.const(BigInt.asIntN(8, p));
      case 'i64.extend16_s':
        return b.const(BigInt.asIntN(16, p));
      case 'i64.extend32_s':
        return b.const(BigInt.asIntN(32, p));
    }
    return undefined;
  }
  if (y?.kind === 'const') {
    if (y.literal === 0n && /^i(32|64)\.(add|sub|or|xor|shl|shr_u|shr_s)$/.test(name)) return x;
    if (name === 'i64.and' && y.literal === -1n) return x;
  }
  if (x?.kind === 'const' && x.literal === 0n && /^i(32|64)\.(add|or|xor)$/.test(name)) return y;
  return undefined;
}
