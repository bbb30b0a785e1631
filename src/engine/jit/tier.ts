/**
 * The second tier's half of an instruction's meaning: operands known, registers in locals, flags kept as what they came from.
 * Whatever is rare leaves the region (`leave`): the interpreter executes that one instruction, with all its faults, and the
 * region is entered again later. So nothing here can fault, and an instruction must not have changed anything before it leaves.
 */

import type { Body } from '../../wasm/module.ts';
import type { ValueType } from '../../wasm/opcodes.ts';
import { AC, DF } from '../../x86/flags.ts';
import { CS, ES, FS } from '../../x86/segments.ts';
import { TLB_ADDEND, TLB_READ, TLB_WRITE } from '../layout.ts';
import { type Builder, type FlagSource, LOADS, STORES, type Tier, type Value } from '../x86/builder.ts';
import { emitBulk } from '../x86/bulk.ts';
import { CAREFUL } from '../x86/careful.ts';
import type { Instruction } from '../x86/decode.ts';
import { helperRegisters } from '../x86/helper.ts';
import type { Lanes, Operand } from '../x86/instructions/row.ts';
import { KIND_ADD, KIND_KNOWN, KIND_LOGIC, KIND_SUB, settled } from '../x86/lazy-flags.ts';
import {
  BaseOperand,
  GeneralRegister,
  MemoryOperand,
  NumberOperand,
  SizeOperand,
  ValueOperand,
} from '../x86/operand.ts';
import { type OperandSpec, operandBits } from '../x86/operands.ts';
import { emitEntryOffset } from '../x86/paging.ts';
import { emitPureCall, type PureFunction, type PureIndices } from '../x86/pure-functions.ts';
import * as state from '../x86/state.ts';

const { STATE } = state;

export interface RegionLocals {
  /** i64 locals of the general registers; made when first used. */
  registers: (number | undefined)[];
  written: Set<number>;
  /** v128 locals of the XMM registers, likewise. */
  vectors: (number | undefined)[];
  writtenVectors: Set<number>;
  /** Linear address of the entry's page. */
  base: number;
  /** Segments that 32-bit code uses: those of the region must be flat. */
  segments: Set<number>;
  tlb: number;
  fuel: number;
  /** What the flags came from (lazy-flags.ts): FLAG_RESULT, FLAG_X, FLAG_KIND. */
  flagResult: number;
  flagX: number;
  flagKind: number;
  /** Where to go on when the region is left, and whether the interpreter must execute the instruction there. */
  exitRip: number;
  interpret: number;
}

export interface FlagOrigin {
  kind: FlagSource['kind'];
  bits: number;
}

/** What the tier tells the compiler. */
export interface Leaving {
  /** Leaves with the interpreter to execute the current instruction, from any depth of blocks. */
  interpret(body: Body): void;
  /** Leaves behind the current instruction, which is complete. */
  next(body: Body): void;
  /** Instructions of the block before the current one. */
  done(): number;
  /** To a linear address, dynamic. */
  jump(b: Builder, target: Value): void;
  branch(b: Builder, condition: Value): void;
}

export interface JitFunctions {
  helper: number;
  careful: number;
  pure: PureIndices;
  bulk: Record<'movs' | 'stos', number>;
}

/** Numbers of the helpers that are callable with registers in locals: of vector and x87 state, and those of `helperRegisters`. */
export type PureHelpers = (name: string) => number | undefined;

const KINDS: Record<FlagSource['kind'], number> = { add: KIND_ADD, sub: KIND_SUB, logic: KIND_LOGIC, raw: KIND_KNOWN };

export class JitTier implements Tier {
  readonly wide: boolean;
  readonly flat = true;
  readonly locals: RegionLocals;
  readonly #leaving: Leaving;
  readonly #functions: JitFunctions;
  readonly #pure: PureHelpers;
  #instruction!: Instruction;
  /** Offset of the instruction from the entry's page. */
  #offset = 0;
  /** What the flags came from, where that is known. */
  pending: FlagOrigin | undefined;
  /** The meaning has left unconditionally. */
  left = false;
  /** Where the instruction may write so many bits, as a load of them has found, and the local with the place in the WebAssembly memory. */
  #writable: { address: Value; bits: number; host: number } | undefined;
  /** XMM registers without denormal numbers, in such lanes: known within a block. */
  readonly #tame = new Map<number, Lanes>();

  constructor(wide: boolean, locals: RegionLocals, leaving: Leaving, functions: JitFunctions, pure: PureHelpers) {
    this.wide = wide;
    this.locals = locals;
    this.#leaving = leaving;
    this.#functions = functions;
    this.#pure = pure;
  }

  /** @param pending what is known of the flags at the block's start */
  beginBlock(pending: FlagOrigin | undefined): void {
    this.pending = pending;
    this.#tame.clear();
  }
  begin(instruction: Instruction, offset: number): void {
    this.#instruction = instruction;
    this.#offset = offset;
    this.#writable = undefined;
  }

  // Registers.

  #local(b: Builder, index: number): number {
    return (this.locals.registers[index] ??= b.body.local('i64'));
  }
  #whole(b: Builder, index: number): Value {
    const local = this.#local(b, index);
    return b.read(`register ${index}`, 'i64', body => body.get(local));
  }
  gpr(b: Builder, index: number, bits: number, high: boolean): Value {
    const whole = this.#whole(b, index);
    return high ? b.zx(b.shr(whole, b.const(8)), 8) : b.zx(whole, bits);
  }
  setGpr(b: Builder, index: number, bits: number, high: boolean, value: Value): void {
    const local = this.#local(b, index);
    this.locals.written.add(index);
    let next = value;
    if (bits === 32) next = b.zx(value, 32);
    else if (bits < 32) {
      const shift = high ? 8 : 0;
      const mask = ((1n << BigInt(bits)) - 1n) << BigInt(shift);
      const placed = high ? b.shl(b.zx(value, bits), b.const(shift)) : b.zx(value, bits);
      next = b.or(b.and(this.#whole(b, index), b.const(~mask)), placed);
    }
    b.write(
      `register ${index}`,
      next,
      () => {},
      () => b.body.set(local),
    );
  }

  vector(b: Builder, index: number): Value {
    const local = (this.locals.vectors[index] ??= b.body.local('v128'));
    return b.read(`vector ${index}`, 'v128', body => body.get(local));
  }
  setVector(b: Builder, index: number, value: Value): void {
    const local = (this.locals.vectors[index] ??= b.body.local('v128'));
    this.locals.writtenVectors.add(index);
    const source = value.kind === 'read' ? VECTOR_PLACE.exec(String(value.place)) : null;
    const known = source && this.#tame.get(Number(source[1]));
    if (known) this.#tame.set(index, known);
    else this.#tame.delete(index);
    b.write(
      `vector ${index}`,
      value,
      () => {},
      () => b.body.set(local),
    );
  }

  isTame(index: number, lanes: Lanes): boolean {
    return this.#tame.get(index)?.startsWith(lanes) ?? false;
  }
  setTame(index: number, lanes: Lanes): void {
    if (!this.isTame(index, lanes)) this.#tame.set(index, lanes);
  }

  #register(b: Builder, number: number, bits: number): Operand {
    return new GeneralRegister(b, number, bits, bits === 8 && !this.#instruction.rex && number >= 4 && number < 8);
  }

  // Memory.

  #memory(b: Builder, bits: number, writes: boolean, aligned: boolean): Operand {
    const offset = () => this.#effective(b);
    const inSegment = (at: Value) => this.#inSegment(b, at, bits);
    return new MemoryOperand(b, bits, () => inSegment(offset()), {
      writes,
      aligned,
      offset,
      ...(this.wide ? {} : { displaced: (bytes: Value) => inSegment(b.zx(b.add(offset(), bytes), 32)) }),
    });
  }
  /** base + index * scale + displacement, in the address size. */
  #effective(b: Builder): Value {
    const i = this.#instruction;
    if (i.ripRelative) {
      const sum = b.add(b.local('i64', this.locals.base), b.const(this.#offset + i.length + i.displacement));
      return i.addressSize === 64 ? sum : b.zx(sum, i.addressSize);
    }
    let sum: Value | undefined;
    if (i.base >= 0) sum = this.#whole(b, i.base);
    if (i.indexRegister >= 0) {
      const index = this.#whole(b, i.indexRegister);
      const scaled = i.scale ? b.shl(index, b.const(i.scale)) : index;
      sum = sum ? b.add(sum, scaled) : scaled;
    }
    // POP's own destination sees RSP already moved.
    const popped = i.base === 4 && i.form!.row.name === 'pop' ? i.operandSize / 8 : 0;
    const displacement = b.const(i.displacement + popped);
    sum = sum ? b.add(sum, displacement) : displacement;
    return i.addressSize === 64 ? sum : b.zx(sum, i.addressSize);
  }
  #inSegment(b: Builder, offset: Value, bits: number): Value {
    const { override, segment } = this.#instruction;
    if (!this.wide) return this.linear(b, segment, offset, bits / 8);
    return override ? b.add(offset, b.state(state.SEGMENT_BASE + 8 * segment)) : offset;
  }
  /** The linear address of `offset` in a segment that is flat. */
  linear(b: Builder, segment: number, offset: Value, bytes: number): Value {
    const within = segment >= FS ? b.add(offset, b.state(state.SEGMENT_BASE + 8 * segment)) : offset;
    if (this.wide) return within;
    this.locals.segments.add(segment);
    // A code segment may not be written, and perhaps not be read.
    if (segment === CS) this.raise(b);
    if (segment < FS) return within;
    // An access may not wrap, but the linear address does.
    b.raiseIf(b.ltu(b.const(0x100000000 - bytes), offset), 13, 0);
    return b.zx(within, 32);
  }

  /** Leaves the region unless the TLB has `at`; otherwise its address in the WebAssembly memory is in `host`. */
  #translate(b: Builder, at: number, host: number, bits: number, tag: number): void {
    const { body } = b;
    body.get(at);
    emitEntryOffset(body);
    body.get(this.locals.tlb);
    body.op('i32.add');
    body.tee(host);
    body.memory('i64.load', tag);
    body.get(at);
    body.op('i64.xor');
    body.i64(BigInt(4096 - bits / 8));
    body.op('i64.gt_u');
    body.if();
    // No call that fills the TLB here: V8 would keep every register ready to be saved around it, at every access.
    this.#leaving.interpret(body);
    body.end();
    body.get(at);
    body.op('i32.wrap_i64');
    body.get(host);
    body.memory('i32.load', TLB_ADDEND);
    body.op('i32.add');
  }
  load(b: Builder, address: Value, bits: number, forWrite: boolean): Value {
    return this.#load(b, address, bits, forWrite, bits === 128 ? 'v128' : 'i64', LOADS[bits]!);
  }
  loadAs(b: Builder, address: Value, bits: number, type: 'f32' | 'f64' | 'v128'): Value {
    return this.#load(b, address, bits, false, type, type === 'v128' ? `v128.load${bits}_zero` : `${type}.load`);
  }
  #load(b: Builder, address: Value, bits: number, forWrite: boolean, type: ValueType, instruction: string): Value {
    b.use(address);
    const { body } = b;
    const at = b.temporary('i64');
    const host = b.temporary('i32');
    const result = b.temporary(type);
    const writable = forWrite && !b.conditional;
    if (writable) this.#writable = { address, bits, host };
    b.effect(() => {
      b.emit(address);
      body.set(at);
      this.#translate(b, at, host, bits, forWrite ? TLB_WRITE : TLB_READ);
      if (writable) body.tee(host);
      body.memory(instruction, 0);
      body.set(result);
    });
    return b.local(type, result, type === 'i64' ? bits : 64);
  }
  store(b: Builder, address: Value, bits: number, value: Value): void {
    const { body } = b;
    const known = this.#writable;
    if (known?.address === address && known.bits >= bits) {
      b.use(value);
      b.effect(() => {
        body.get(known.host);
        b.emit(value);
        body.memory(STORES[bits]!, 0);
      });
      return;
    }
    b.use(address, value);
    const at = b.temporary('i64');
    const host = b.temporary('i32');
    b.effect(() => {
      b.emit(address);
      body.set(at);
      this.#translate(b, at, host, bits, TLB_WRITE);
      b.emit(value);
      body.memory(STORES[bits]!, 0);
    });
  }

  // Flags.

  setFlags(b: Builder, source: FlagSource): void {
    const { locals } = this;
    const { kind, bits, x, y, r } = source;
    const set = (local: number, value: Value) => this.#setFlagLocal(b, local, value);
    if (!b.conditional && !source.carryIn && (kind === 'add' || kind === 'sub')) {
      set(locals.flagX, x!);
      set(locals.flagResult, y!);
      this.pending = { kind, bits };
    } else if (!b.conditional && kind === 'logic') {
      set(locals.flagResult, b.zx(r, bits));
      this.pending = { kind, bits };
    } else {
      const aux = source.aux();
      set(locals.flagX, b.wide(aux));
      set(locals.flagResult, b.sx(r, bits));
      // On one of two paths: the kind is known only at run time from here on.
      this.pending = b.conditional ? undefined : { kind: 'raw', bits };
    }
    const lazy = this.pending && this.pending.kind !== 'raw';
    set(locals.flagKind, b.i32(lazy ? KINDS[kind] | bits : KIND_KNOWN));
  }
  #setFlagLocal(b: Builder, local: number, value: Value): void {
    b.write(
      `flags ${local}`,
      value,
      () => {},
      () => b.body.set(local),
    );
  }
  #flagLocal(b: Builder, local: number, type: 'i64' | 'i32'): Value {
    return b.read(`flags ${local}`, type, body => body.get(local));
  }
  flagResult(b: Builder): Value {
    const { pending } = this;
    if (!pending) this.#settleFlags(b);
    const { x, y } = this.#origin(b);
    if (pending?.kind === 'add') return b.sx(b.add(x, y), pending.bits);
    if (pending?.kind === 'sub') return b.sx(b.sub(x, y), pending.bits);
    return pending?.kind === 'logic' ? b.sx(y, pending.bits) : y;
  }
  flagAux(b: Builder): Value {
    const { pending } = this;
    if (pending?.kind === 'logic') return b.i32(0);
    if (!pending) this.#settleFlags(b);
    const { x, y } = this.#origin(b);
    if (pending?.kind === 'add') return b.auxOf('add', pending.bits, x, y, b.add(x, y));
    if (pending?.kind === 'sub') return b.auxOf('sub', pending.bits, x, y, b.sub(x, y));
    return b.narrow(x);
  }
  /** FLAG_X and FLAG_RESULT. */
  #origin(b: Builder): { x: Value; y: Value } {
    const { flagX, flagResult } = this.locals;
    const [x, y] = [this.#flagLocal(b, flagX, 'i64'), this.#flagLocal(b, flagResult, 'i64')];
    if (this.pending && this.pending.kind !== 'raw') x.width = y.width = this.pending.bits;
    return { x, y };
  }
  /** Where the kind is known only at run time: makes it KIND_KNOWN. */
  #settleFlags(b: Builder): void {
    const { locals } = this;
    const words = { ...this.#origin(b), kind: this.#flagLocal(b, locals.flagKind, 'i32') };
    b.when(words.kind, () => {
      const { result, aux } = settled(b, words);
      this.#setFlagLocal(b, locals.flagX, b.wide(aux));
      this.#setFlagLocal(b, locals.flagResult, result);
      this.#setFlagLocal(b, locals.flagKind, b.i32(KIND_KNOWN));
    });
    if (!b.conditional) this.pending = { kind: 'raw', bits: 64 };
  }
  condition(b: Builder, code: number): Value | undefined {
    const { pending } = this;
    if (!pending) return undefined;
    const { kind, bits } = pending;
    const { x, y } = this.#origin(b);
    const zero = b.const(0);
    const less = (p: Value, q: Value) =>
      bits === 32 ? b.op('i32.lt_s', b.narrow(p), b.narrow(q)) : b.lts(b.sx(p, bits), b.sx(q, bits));
    const notMore = (p: Value, q: Value) =>
      bits === 32 ? b.op('i32.le_s', b.narrow(p), b.narrow(q)) : b.op('i64.le_s', b.sx(p, bits), b.sx(q, bits));
    const tables: Record<FlagSource['kind'], Record<number, () => Value>> = {
      sub: {
        1: () => b.ltu(x, y),
        2: () => b.eq(x, y),
        3: () => b.op('i64.le_u', x, y),
        4: () => less(b.sub(x, y), zero),
        6: () => less(x, y),
        7: () => notMore(x, y),
      },
      add: {
        1: () => b.ltu(b.zx(b.add(x, y), bits), x),
        2: () => b.eqz(b.zx(b.add(x, y), bits)),
        4: () => less(b.add(x, y), zero),
      },
      logic: {
        0: () => b.i32(0),
        1: () => b.i32(0),
        2: () => b.eqz(y),
        3: () => b.eqz(y),
        4: () => less(y, zero),
        6: () => less(y, zero),
        7: () => notMore(y, zero),
      },
      // A raw result may have its ZF from POPF-like sources, but ZF is always result == 0.
      raw: { 2: () => b.eqz(y) },
    };
    const value = tables[kind][code >> 1]?.();
    return value && (code & 1) === 1 ? b.no(value) : value;
  }

  // Leaving.

  raise(b: Builder): void {
    b.effect(() => this.#leaving.interpret(b.body));
    if (!b.conditional) this.left = true;
  }
  helper(b: Builder, name: string): void {
    const id = this.#pure(name);
    if (id === undefined) return this.raise(b);
    const registers = helperRegisters[name];
    if (registers) this.#spill(b, registers.reads);
    b.effect(() => {
      const { body } = b;
      body.i32(id);
      body.call(this.#functions.helper);
      if (registers) this.#reloadFuel(b);
      body.if();
      this.#refault(body);
      body.end();
      for (const register of registers?.writes ?? []) this.#reload(b, register);
    });
  }
  call(b: Builder, name: PureFunction, values: readonly Value[]): Value {
    return emitPureCall(b, this.#functions.pure, name, values);
  }
  careful(b: Builder, name: string, x: Value, y: Value): Value {
    b.use(x, y);
    const { body } = b;
    const result = b.temporary('v128');
    b.effect(() => {
      body.i32(CAREFUL.indexOf(name));
      b.emit(x);
      b.emit(y);
      body.call(this.#functions.careful);
      body.set(result);
      body.i32(0);
      body.memory('i32.load', STATE + state.FAULT);
      body.if();
      this.#refault(body);
      body.end();
    });
    return b.local('v128', result);
  }
  /** A call wants to fault: the interpreter will find the same. */
  #refault(body: Body): void {
    body.i32(0);
    body.i32(0);
    body.memory('i32.store', STATE + state.FAULT);
    this.#leaving.interpret(body);
  }
  settle(b: Builder): void {
    b.effect(() => {
      b.body.i32(0);
      b.body.memory('i32.load', STATE + state.FLOAT_DENORMAL);
      b.body.if();
      this.#leaving.next(b.body);
      b.body.end();
    });
  }
  trap(b: Builder): Value {
    this.raise(b);
    return b.i32(1);
  }
  /** Before a helper that reads registers and may ask for the time. */
  #spill(b: Builder, reads: readonly number[]): void {
    const done = this.#leaving.done();
    b.setState(state.RIP, this.here(b));
    b.effect(() => {
      const { body } = b;
      for (const register of reads) {
        body.i32(0);
        body.get(this.#local(b, register));
        body.memory('i64.store', STATE + state.GPR + 8 * register);
      }
      body.i32(0);
      body.get(this.locals.fuel);
      body.i32(done);
      body.op('i32.sub');
      body.memory('i32.store', STATE + state.FUEL);
      body.i32(0);
      body.i32(0);
      body.memory('i32.store', STATE + state.RECORD);
    });
  }
  /** After it: it may have asked for the run to end. */
  #reloadFuel({ body }: Builder): void {
    body.i32(0);
    body.memory('i32.load', STATE + state.FUEL);
    body.i32(this.#leaving.done());
    body.op('i32.add');
    body.set(this.locals.fuel);
  }
  #reload(b: Builder, register: number): void {
    b.body.i32(0);
    b.body.memory('i64.load', STATE + state.GPR + 8 * register);
    b.body.set(this.#local(b, register));
    this.locals.written.add(register);
  }
  bulk(b: Builder, kind: 'movs' | 'stos', bytes: number, to: Value, from: Value, count: Value): Value {
    // As in the interpreter.
    if (!this.wide && kind === 'movs' && this.#instruction.segment >= FS) return b.const(0);
    return emitBulk(b, this.#functions.bulk[kind], bytes, to, from, count);
  }
  jump(b: Builder, target: Value): void {
    this.#leaving.jump(b, target);
  }
  branch(b: Builder, condition: Value): void {
    this.#leaving.branch(b, condition);
  }
  here(b: Builder): Value {
    return this.#at(b, this.#offset);
  }
  next(b: Builder): Value {
    return this.#at(b, this.#offset + this.#instruction.length);
  }
  /** The linear address at an offset from the region's page. */
  #at(b: Builder, offset: number): Value {
    const sum = b.add(b.local('i64', this.locals.base), b.const(offset));
    return this.wide ? sum : b.zx(sum, 32);
  }
  resume(b: Builder): void {
    this.raise(b);
  }
  attend(b: Builder): void {
    // Rows that go straight on have left through their helper if anything is due.
    if (!this.#instruction.form!.row.straight) this.raise(b);
  }
  attendAccess(b: Builder): void {
    const ac = b.both(b.state32(state.FLAGS_REST), b.i32(AC));
    const base = b.select(ac, b.state32(state.CLASS_BASE + 8), b.state32(state.CLASS_BASE + 4));
    b.setState32(state.TLB_BASE, base);
    const now = b.state32(state.TLB_BASE);
    b.use(now);
    b.effect(() => {
      b.emit(now);
      b.body.set(this.locals.tlb);
    });
  }

  operand(b: Builder, spec: OperandSpec, index: number): Operand {
    const i = this.#instruction;
    const { form } = i;
    const bits = operandBits(spec, i.operandSize, i.addressSize);
    const memory = () => {
      const { row } = form!;
      const writes = row.writes ? row.writes.includes(index) : index === 0;
      return this.#memory(
        b,
        bits,
        writes,
        bits === 128 && (spec.place === 'W' || spec.place === 'M') && !row.unaligned,
      );
    };
    switch (spec.place) {
      case 'E':
        return i.isMemory ? memory() : this.#register(b, i.rm, bits);
      case 'M':
        return memory();
      case 'R':
        return this.#register(b, i.rm, bits);
      case 'G':
      case 'Z':
        return this.#register(b, i.reg, bits);
      case 'W':
        return i.isMemory ? memory() : new XmmRegister(b, this, i.rm, bits);
      case 'U':
        return new XmmRegister(b, this, i.rm, bits);
      case 'V':
        return new XmmRegister(b, this, i.reg, bits);
      case 'Q':
        return i.isMemory ? memory() : new MmxRegister(b, i.rm & 7, bits);
      case 'N':
        return new MmxRegister(b, i.rm & 7, bits);
      case 'P':
        return new MmxRegister(b, i.reg & 7, bits);
      case 'S':
      case 'C':
      case 'D':
        return new NumberOperand(bits, () => b.const(i.reg));
      case 'I': {
        const value = form!.immediates.length === 2 && form!.immediates[1] === spec ? i.immediate2 : i.immediate;
        return new ValueOperand(bits, () => b.const(BigInt.asUintN(bits, value)));
      }
      case 'A':
        return new ValueOperand(bits, () => b.const(i.immediate));
      case 'J':
        return new ValueOperand(bits, () => this.#at(b, this.#offset + i.length + Number(i.immediate)));
      case 'O':
        return new MemoryOperand(b, bits, () => this.#inSegment(b, b.const(i.immediate), bits), {
          writes: index === 0,
          aligned: false,
        });
      case 'X':
      case 'Y':
        return this.#string(b, spec.place, bits);
      case 'table':
      case 'destination': {
        const at = () =>
          this.#inSegment(
            b,
            b.zx(spec.place === 'table' ? b.add(b.gpr(3), b.gpr(0, 8)) : b.gpr(7), i.addressSize),
            bits,
          );
        return new MemoryOperand(b, bits, at, { writes: index === 0 && spec.place === 'destination', aligned: false });
      }
      case 'counter':
        return new GeneralRegister(b, 1, i.addressSize);
      case 'fixed':
        return new GeneralRegister(b, spec.fixed, bits);
      case 'size':
        return new SizeOperand(bits);
    }
  }
  #string(b: Builder, place: 'X' | 'Y', bits: number): Operand {
    const { addressSize } = this.#instruction;
    const register = place === 'X' ? 6 : 7;
    const offset = () => b.gpr(register, addressSize);
    const where = () => (place === 'X' ? this.#inSegment(b, offset(), bits) : this.linear(b, ES, offset(), bits / 8));
    return new MemoryOperand(b, bits, where, {
      writes: false,
      aligned: false,
      advance: bytes => b.setGpr(register, b.add(b.gpr(register, addressSize), bytes), addressSize),
      step: () => {
        const down = b.both(b.state32(state.FLAGS_REST), b.i32(DF));
        const by = b.select(down, b.const(-bits / 8), b.const(bits / 8));
        b.setGpr(register, b.add(b.gpr(register, addressSize), by), addressSize);
      },
    });
  }
}

const VECTOR_PLACE = /^vector (\d+)$/;

class XmmRegister extends BaseOperand {
  readonly kind = 'register';
  readonly #b: Builder;
  readonly #tier: JitTier;
  readonly #number: number;
  constructor(b: Builder, tier: JitTier, number: number, bits: number) {
    super(bits);
    this.#b = b;
    this.#tier = tier;
    this.#number = number;
  }
  override get(): Value {
    return this.#b.state(state.XMM + 16 * this.#number, this.bits);
  }
  override set(value: Value): void {
    this.#b.setState(state.XMM + 16 * this.#number, value, this.bits);
  }
  override isTame(lanes: Lanes): boolean {
    return this.#tier.isTame(this.#number, lanes);
  }
  override setTame(lanes: Lanes): void {
    this.#tier.setTame(this.#number, lanes);
  }
  override number(): Value {
    return this.#b.const(this.#number);
  }
}

/** An MMX register: these stay in memory. */
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
