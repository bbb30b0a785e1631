/** The interpreter's half of an instruction's meaning: operands read from a decoded record, registers in memory. */

import type { Body } from '../../wasm/module.ts';
import { AC, DF } from '../../x86/flags.ts';
import { CS, DS, ES, FS, SS } from '../../x86/segments.ts';
import { JUMPS, JUMPS_ENTRIES, JUMPS_RING, TLB_ADDEND, TLB_READ, TLB_WRITE } from '../layout.ts';
import { type Builder, LOADS, STORES, type Tier, type Value } from '../x86/builder.ts';
import { emitBulk } from '../x86/bulk.ts';
import { CAREFUL } from '../x86/careful.ts';
import type { Form } from '../x86/decode.ts';
import type { Operand } from '../x86/instructions/row.ts';
import {
  BaseOperand,
  GeneralRegister,
  MemoryOperand,
  NumberOperand,
  SizeOperand,
  ValueOperand,
} from '../x86/operand.ts';
import { type OperandSpec, operandBits } from '../x86/operands.ts';
import { emitEntry, type Paging } from '../x86/paging.ts';
import { emitPureCall, type PureFunction, type PureIndices } from '../x86/pure-functions.ts';
import * as state from '../x86/state.ts';
import { StateRegisters } from '../x86/state-registers.ts';
import type { TrapName, Traps } from '../x86/traps.ts';
import * as record from './record.ts';

const { STATE } = state;

/** One handler to be made: a form for one operand size, address size and kind of r/m operand. */
export interface Variant {
  form: Form;
  operandSize: number;
  addressSize: number;
  memory: boolean;
  /** 64-bit mode, or all others. */
  wide: boolean;
}

/** How a handler leaves: by branching in the loop's function, or by returning from its own. */
export interface Leaving {
  /** The record's local. */
  record: number;
  /** With a fault in the state. */
  fault(body: Body): void;
  /** To the linear address on the stack, through the link at offset `link` of the record (none: looked up). */
  go(body: Body, link: number | undefined): void;
  /** To the address in the state's RIP. */
  resume(body: Body): void;
}

export interface Functions extends Paging {
  /** helper(id) -> 1 if it faulted. */
  helper: number;
  pure: PureIndices;
  /** By number (careful.ts). */
  careful: readonly number[];
  bulk: Record<'movs' | 'stos', number>;
  /** Of the module for 64-bit code. */
  traps: Traps | undefined;
  /** segment(number, offset i64, bytes, write) -> linear i64; FAULT on a violation. */
  segment: number;
}

export function helperNumbering(): { number(name: string): number; names: string[] } {
  const names: string[] = [];
  return {
    names,
    number(name) {
      const known = names.indexOf(name);
      return known >= 0 ? known : names.push(name) - 1;
    },
  };
}

export class InterpreterTier extends StateRegisters implements Tier {
  readonly wide: boolean;
  readonly flat: boolean;
  readonly #variant: Variant;
  readonly #leaving: Leaving;
  readonly #functions: Functions;
  readonly #helpers: (name: string) => number;
  /** Set once the meaning has said where to go on. */
  left = false;

  constructor(variant: Variant, leaving: Leaving, functions: Functions, helpers: (name: string) => number) {
    super();
    this.wide = variant.wide;
    this.flat = variant.wide;
    this.#variant = variant;
    this.#leaving = leaving;
    this.#functions = functions;
    this.#helpers = helpers;
  }

  // Registers named by the record.

  #address(body: Body, field: number): void {
    body.get(this.#leaving.record);
    body.memory('i32.load8_u', field);
  }
  #register(b: Builder, field: number, file: number, place: string, bits: number): Operand {
    return new RecordRegister(b, this.#leaving.record, field, file, place, bits);
  }
  #field(b: Builder, field: number, bits: number): Value {
    return b.read(undefined, 'i64', body => {
      body.get(this.#leaving.record);
      body.memory(LOADS[bits]!, field);
    });
  }
  #page(b: Builder): Value {
    return b.state(state.PAGE);
  }

  // Memory.

  #memory(b: Builder, bits: number, writes: boolean, aligned: boolean): Operand {
    const { wide } = this;
    const registers = (field: number) =>
      b.read('gpr', 'i64', body => {
        this.#address(body, field);
        body.memory('i64.load', STATE);
      });
    const offset = () => {
      const scaled = b.shl(registers(record.INDEX), this.#field(b, record.SCALE, 8));
      const displacement = b.read(undefined, 'i64', body => {
        body.get(this.#leaving.record);
        body.memory('i64.load32_s', record.DISPLACEMENT);
      });
      const sum = b.add(b.add(registers(record.BASE), scaled), displacement);
      return wide ? sum : b.zx(sum, 32);
    };
    const inSegment = (at: Value) =>
      wide ? at : this.#segmented(b, body => this.#address(body, record.SEGMENT), at, bits / 8, writes);
    return new MemoryOperand(b, bits, () => inSegment(offset()), {
      writes,
      aligned,
      offset,
      ...(wide ? {} : { displaced: (bytes: Value) => inSegment(b.zx(b.add(offset(), bytes), 32)) }),
    });
  }
  #segmented(b: Builder, segment: (body: Body) => void, offset: Value, bytes: number, write: boolean): Value {
    b.use(offset);
    const result = b.temporary('i64');
    b.effect(() => {
      segment(b.body);
      b.emit(offset);
      b.body.i32(bytes);
      b.body.i32(write ? 1 : 0);
      b.body.call(this.#functions.segment);
      b.body.set(result);
      this.#faultIfSet(b);
    });
    return b.local('i64', result);
  }
  linear(b: Builder, segment: number, offset: Value, bytes: number, write: boolean): Value {
    if (this.wide) return segment >= FS ? b.add(offset, b.state(state.SEGMENT_BASE + 8 * segment)) : offset;
    return this.#segmented(b, body => body.i32(segment), offset, bytes, write);
  }
  #faultIfSet(b: Builder): void {
    b.body.i32(0);
    b.body.memory('i32.load', STATE + state.FAULT);
    b.body.if();
    this.#leaving.fault(b.body);
    b.body.end();
  }
  #saveRecord(body: Body): void {
    body.i32(0);
    body.get(this.#leaving.record);
    body.memory('i32.store', STATE + state.RECORD);
  }

  load(b: Builder, address: Value, bits: number, forWrite: boolean): Value {
    b.use(address);
    const { body } = b;
    const at = b.temporary('i64');
    const entry = b.temporary('i32');
    const type = bits === 128 ? 'v128' : 'i64';
    const result = b.temporary(type);
    b.effect(() => {
      b.emit(address);
      body.set(at);
      this.#check(body, at, entry, bits, forWrite ? TLB_WRITE : TLB_READ);
      body.if();
      this.#saveRecord(body);
      body.get(at);
      body.i32(bits / 8);
      body.i32(forWrite ? 1 : 0);
      body.call(this.#functions.slowLoad);
      if (bits === 128) {
        body.drop();
        body.i32(0);
        body.memory('v128.load', STATE + state.SLOW_VECTOR);
      }
      body.set(result);
      this.#faultIfSet(b);
      body.else();
      this.#host(body, at, entry);
      body.memory(LOADS[bits]!, 0);
      body.set(result);
      body.end();
    });
    return b.local(type, result);
  }
  store(b: Builder, address: Value, bits: number, value: Value): void {
    b.use(address, value);
    const { body } = b;
    const at = b.temporary('i64');
    const entry = b.temporary('i32');
    const type = bits === 128 ? 'v128' : 'i64';
    const kept = b.temporary(type);
    b.effect(() => {
      b.emit(address);
      body.set(at);
      b.emit(value);
      body.set(kept);
      this.#check(body, at, entry, bits, TLB_WRITE);
      body.if();
      this.#saveRecord(body);
      if (bits === 128) {
        body.i32(0);
        body.get(kept);
        body.memory('v128.store', STATE + state.SLOW_VECTOR);
      }
      body.get(at);
      body.i32(bits / 8);
      if (bits === 128) body.i64(0n);
      else body.get(kept);
      body.call(this.#functions.slowStore);
      this.#faultIfSet(b);
      body.else();
      this.#host(body, at, entry);
      body.get(kept);
      body.memory(STORES[bits]!, 0);
      body.end();
    });
  }
  /** Leaves 1 on the stack if the TLB does not have it: (address ^ tag) > 4096 - size, which catches page ends as well. */
  #check(body: Body, at: number, entry: number, bits: number, tag: number): void {
    emitEntry(body, at, entry);
    body.get(entry);
    body.memory('i64.load', tag);
    body.get(at);
    body.op('i64.xor');
    body.i64(BigInt(4096 - bits / 8));
    body.op('i64.gt_u');
  }
  #host(body: Body, at: number, entry: number): void {
    body.get(at);
    body.op('i32.wrap_i64');
    body.get(entry);
    body.memory('i32.load', TLB_ADDEND);
    body.op('i32.add');
  }

  // Leaving.

  raise(b: Builder, vector: Value, code: Value | undefined): void {
    b.setState32(state.FAULT, b.either(vector, b.i32(0x100)));
    b.setState32(state.FAULT_CODE, code ?? b.i32(0));
    b.effect(() => {
      this.#saveRecord(b.body);
      this.#leaving.fault(b.body);
    });
  }
  helper(b: Builder, name: string): void {
    const id = this.#helpers(name);
    b.effect(() => {
      this.#saveRecord(b.body);
      b.body.i32(id);
      b.body.call(this.#functions.helper);
      b.body.if();
      this.#leaving.fault(b.body);
      b.body.end();
    });
  }
  call(b: Builder, name: PureFunction, values: readonly Value[]): Value {
    return emitPureCall(b, this.#functions.pure, name, values);
  }
  careful(b: Builder, name: string, x: Value, y: Value): Value {
    b.use(x, y);
    const result = b.temporary('v128');
    b.effect(() => {
      this.#saveRecord(b.body);
      b.emit(x);
      b.emit(y);
      b.body.call(this.#functions.careful[CAREFUL.indexOf(name)]!);
      b.body.set(result);
      this.#faultIfSet(b);
    });
    return b.local('v128', result);
  }
  trap(b: Builder, name: TrapName, next: Value | undefined): Value {
    const done = b.temporary('i32');
    if (next) b.use(next);
    b.effect(() => {
      if (next) b.emit(next);
      b.body.call(this.#functions.traps![name]);
      b.body.set(done);
    });
    return b.local('i32', done);
  }
  bulk(b: Builder, kind: 'movs' | 'stos', bytes: number, to: Value, from: Value, count: Value): Value {
    const all = () => emitBulk(b, this.#functions.bulk[kind], bytes, to, from, count);
    if (this.wide) return all();
    // The addresses are offsets: for segments where that is the same, which FS and GS need not be; code may be unreadable.
    const flat = b.both(b.state32(state.FLAT), b.i32((1 << ES) | (1 << SS) | (1 << DS)));
    const segment = b.read(undefined, 'i32', body => this.#address(body, record.SEGMENT));
    const source = kind === 'movs' ? b.op('i32.shr_u', flat, segment) : flat;
    const done = b.variable(b.const(0));
    b.when(b.both(b.both(flat, source), b.i32(1 << ES)), () => done.set(all()));
    return done.get();
  }
  jump(b: Builder, target: Value): void {
    b.use(target);
    this.left = true;
    const link = this.#isDirect() ? record.TAKEN : undefined;
    const indirect = !link && ['jmp', 'call'].includes(this.#variant.form.row.name);
    if (indirect) this.#noteJump(b, target);
    b.effect(() => {
      b.emit(target);
      this.#leaving.go(b.body, link);
    });
  }
  /** For whoever translates the code: where its indirect jumps lead. */
  #noteJump(b: Builder, target: Value): void {
    const from = this.here(b);
    b.use(from, target);
    b.effect(() => {
      const { body } = b;
      const at = b.temporary('i32');
      const memory = (type: string, offset: number) => body.memory(type, JUMPS + offset);
      body.i32(0);
      body.i32(0);
      memory('i32.load', 0);
      body.i32(1);
      body.op('i32.add');
      body.tee(at);
      memory('i32.store', 0);
      body.get(at);
      body.i32(JUMPS_ENTRIES - 1);
      body.op('i32.and');
      body.i32(4);
      body.op('i32.shl');
      body.tee(at);
      b.emit(from);
      memory('i64.store', JUMPS_RING);
      body.get(at);
      b.emit(target);
      memory('i64.store', JUMPS_RING + 8);
    });
  }
  branch(b: Builder, condition: Value, target: Value): void {
    b.use(condition);
    this.left = true;
    b.when(condition, () => {
      b.use(target);
      b.effect(() => {
        b.emit(target);
        this.#leaving.go(b.body, record.TAKEN);
      });
    });
    const next = this.next(b);
    b.use(next);
    b.effect(() => {
      b.emit(next);
      this.#leaving.go(b.body, record.NOT_TAKEN);
    });
  }
  #isDirect(): boolean {
    return this.#variant.form.operands.some(spec => spec.place === 'J');
  }
  here(b: Builder): Value {
    const sum = b.add(this.#page(b), this.#field(b, record.OFFSET, 16));
    return this.wide ? sum : b.zx(sum, 32);
  }
  next(b: Builder): Value {
    const sum = b.add(this.here(b), this.#field(b, record.LENGTH, 8));
    return this.wide ? sum : b.zx(sum, 32);
  }
  resume(b: Builder): void {
    this.left = true;
    b.effect(() => this.#leaving.resume(b.body));
  }
  attend(): void {}
  attendAccess(b: Builder): void {
    const ac = b.both(b.state32(state.FLAGS_REST), b.i32(AC));
    b.setState32(state.TLB_BASE, b.select(ac, b.state32(state.CLASS_BASE + 8), b.state32(state.CLASS_BASE + 4)));
  }

  /** After the meaning: on to the next record, or out of the block. */
  finish(b: Builder): void {
    if (this.left) return;
    if (this.#variant.form.row.ends) {
      const next = this.next(b);
      b.use(next);
      b.effect(() => {
        b.emit(next);
        this.#leaving.go(b.body, record.NOT_TAKEN);
      });
    }
  }

  operand(b: Builder, spec: OperandSpec, index: number): Operand {
    const { form, operandSize, addressSize, memory } = this.#variant;
    const bits = operandBits(spec, operandSize, addressSize);
    const writes = (form.row.writes ?? [0]).includes(index);
    const aligned = bits === 128 && (spec.place === 'W' || spec.place === 'M') && !form.row.unaligned;
    switch (spec.place) {
      case 'E':
        return memory ? this.#memory(b, bits, writes, false) : this.#register(b, record.BASE, state.GPR, 'gpr', bits);
      case 'W':
        return memory ? this.#memory(b, bits, writes, aligned) : this.#register(b, record.BASE, state.XMM, 'xmm', bits);
      case 'Q':
        return memory
          ? this.#memory(b, bits, writes, false)
          : this.#register(b, record.BASE, state.FPU_REGISTERS, 'x87', bits);
      case 'M':
        return this.#memory(b, bits, writes, aligned);
      case 'R':
        return this.#register(b, record.BASE, state.GPR, 'gpr', bits);
      case 'U':
        return this.#register(b, record.BASE, state.XMM, 'xmm', bits);
      case 'N':
        return this.#register(b, record.BASE, state.FPU_REGISTERS, 'x87', bits);
      case 'G':
      case 'Z':
        return this.#register(b, record.REGISTER, state.GPR, 'gpr', bits);
      case 'V':
        return this.#register(b, record.REGISTER, state.XMM, 'xmm', bits);
      case 'P':
        return this.#register(b, record.REGISTER, state.FPU_REGISTERS, 'x87', bits);
      case 'S':
      case 'C':
      case 'D':
        return new NumberOperand(bits, () => this.#field(b, record.REGISTER, 8));
      case 'I': {
        const second = form.immediates.indexOf(spec) === 1;
        // Sign-extended in the record; the second immediate stands in the displacement.
        return new ValueOperand(bits, () =>
          second ? this.#field(b, record.DISPLACEMENT, 32) : b.zx(this.#field(b, record.IMMEDIATE, 64), bits),
        );
      }
      case 'A':
        return new ValueOperand(bits, () => this.#field(b, record.IMMEDIATE, 64));
      case 'J':
        // The record has the target relative to the page; outside 64-bit mode EIP wraps to the operand size.
        return new ValueOperand(bits, () => {
          const sum = b.add(this.#page(b), this.#field(b, record.IMMEDIATE, 64));
          if (this.wide) return sum;
          return b.zx(b.sub(sum, b.state(state.SEGMENT_BASE + 8 * CS)), operandSize === 16 ? 16 : 32);
        });
      case 'O':
      case 'table':
      case 'destination': {
        const offset = () => {
          if (spec.place === 'O') return this.#field(b, record.IMMEDIATE, 64);
          return b.zx(spec.place === 'table' ? b.add(b.gpr(3), b.gpr(0, 8)) : b.gpr(7), addressSize);
        };
        return new MemoryOperand(b, bits, () => this.#overridden(b, offset(), bits / 8, writes), {
          writes,
          aligned: false,
        });
      }
      case 'X':
      case 'Y':
        return this.#string(b, spec.place, bits, writes);
      case 'counter':
        return new GeneralRegister(b, 1, addressSize);
      case 'fixed':
        return new GeneralRegister(b, spec.fixed, bits);
      case 'size':
        return new SizeOperand(bits);
    }
  }
  /** Where an offset in the default or overriding segment lies. */
  #overridden(b: Builder, offset: Value, bytes: number, writes: boolean): Value {
    if (this.wide) return b.add(offset, this.#segmentBase(b));
    return this.#segmented(b, body => this.#address(body, record.SEGMENT), offset, bytes, writes);
  }
  /** In 64-bit mode: the base of FS or GS if overridden, otherwise the zero slot. */
  #segmentBase(b: Builder): Value {
    return b.read(undefined, 'i64', body => {
      this.#address(body, record.SEGMENT);
      body.memory('i64.load', STATE);
    });
  }
  #string(b: Builder, place: 'X' | 'Y', bits: number, writes: boolean): Operand {
    const { addressSize } = this.#variant;
    const register = place === 'X' ? 6 : 7;
    const offset = () => b.gpr(register, addressSize);
    const where = () => {
      if (place === 'X') return this.#overridden(b, offset(), bits / 8, writes);
      return this.wide ? offset() : this.#segmented(b, body => body.i32(ES), offset(), bits / 8, writes);
    };
    return new MemoryOperand(b, bits, where, {
      writes: false,
      aligned: false,
      offset,
      advance: bytes => b.setGpr(register, b.add(b.gpr(register, addressSize), bytes), addressSize),
      step: () => {
        const down = b.both(b.state32(state.FLAGS_REST), b.i32(DF));
        const by = b.select(down, b.const(-bits / 8), b.const(bits / 8));
        b.setGpr(register, b.add(b.gpr(register, addressSize), by), addressSize);
      },
    });
  }
}

/** A register that the record names by its offset in a register file. */
class RecordRegister extends BaseOperand {
  readonly kind = 'register';
  readonly #b: Builder;
  readonly #record: number;
  readonly #field: number;
  readonly #file: number;
  readonly #place: string;
  constructor(b: Builder, record: number, field: number, file: number, place: string, bits: number) {
    super(bits);
    this.#b = b;
    this.#record = record;
    this.#field = field;
    this.#file = file;
    this.#place = place;
  }
  #address(): void {
    this.#b.body.get(this.#record);
    this.#b.body.memory('i32.load8_u', this.#field);
  }
  override get(): Value {
    return this.#b.read(this.#place, this.bits === 128 ? 'v128' : 'i64', body => {
      this.#address();
      body.memory(LOADS[this.bits]!, STATE + this.#file);
    });
  }
  override set(value: Value): void {
    const b = this.#b;
    const extends32 = this.#file === state.GPR && this.bits === 32;
    b.write(
      this.#place,
      extends32 ? b.zx(value, 32) : value,
      () => this.#address(),
      () => b.body.memory(STORES[extends32 ? 64 : this.bits]!, STATE + this.#file),
    );
    // An MMX register is the significand of an x87 register, whose exponent becomes all ones (SDM 1, 9.2).
    if (this.#file === state.FPU_REGISTERS)
      b.effect(() => {
        this.#address();
        b.body.i32(0xffff);
        b.body.memory('i32.store16', STATE + this.#file + 8);
      });
  }
  override number(): Value {
    const b = this.#b;
    const byte = b.read(undefined, 'i64', body => {
      body.get(this.#record);
      body.memory('i64.load8_u', this.#field);
    });
    return b.shr(byte, b.const(this.#file === state.GPR ? 3 : 4));
  }
}
