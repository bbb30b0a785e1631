/**
 * Expression trees and effects: the half of `Code` (code.ts) that computes values and decides when each is emitted.
 */

import type { Variable } from './code.ts';
import { fold, widthOf } from './fold.ts';
import type { Body } from './module.ts';
import { type Opcode, opcodes, type ValueType } from './opcodes.ts';

type Kind = 'const' | 'local' | 'op' | 'read' | 'select' | 'lane' | 'shuffle';

/** A node of an expression tree. Opaque to those who write code with it. */
export interface Value {
  readonly kind: Kind;
  readonly type: ValueType;
  readonly opcode: Opcode | undefined;
  readonly parts: readonly Value[];
  /** Constants: the number; lanes: the index. */
  readonly literal: bigint;
  readonly extra: unknown;
  readonly block: Block;
  /** i64: no bit from this one on is set, as far as is known. */
  width: number;
  /** How often it is still to be emitted. */
  uses: number;
  /** The WebAssembly local that holds it, or -1. */
  local: number;
  /** A read's place: a write to the same place must not overtake the read. */
  readonly place: Place;
  readonly serial: number;
}

/**
 * A value, or a constant: of the type that is wanted, or where none is known, a number is an i32 and a bigint an i64.
 */
export type Operand = Value | number | bigint;

/**
 * What a read depends on; undefined: nothing that changes. Registers named by a record's bytes may alias: they are one
 * place.
 */
export type Place = string | number | Variable | undefined;

export interface Block {
  readonly parent: Block | undefined;
  readonly effects: (() => void)[];
  /** Values from outside, once for each use. */
  readonly captures: Value[];
  /** The last effect jumps or returns: what follows is not reached. */
  ended: boolean;
}
/** So many values. */
type Tuple<Count extends number, Values extends Value[] = []> = Values['length'] extends Count
  ? Values
  : Tuple<Count, [...Values, Value]>;

/** The instructions of one name, by the operands' type; not every type has each. */
type Instructions = Record<ValueType, Opcode | undefined>;
const named = (name: string): Instructions => ({
  i32: opcodes.get(`i32.${name}`),
  i64: opcodes.get(`i64.${name}`),
  f32: opcodes.get(`f32.${name}`),
  f64: opcodes.get(`f64.${name}`),
  v128: opcodes.get(`v128.${name}`),
});
const ADD = named('add');
const SUB = named('sub');
const MUL = named('mul');
const DIV = named('div_u');
const AND = named('and');
const OR = named('or');
const XOR = named('xor');
const SHL = named('shl');
const SHR = named('shr_u');
const SAR = named('shr_s');
const ROTL = named('rotl');
const ROTR = named('rotr');
const EQ = named('eq');
const NE = named('ne');
const EQZ = named('eqz');
const LTU = named('lt_u');
const LEU = named('le_u');
const GTU = named('gt_u');
const GEU = named('ge_u');
const LTS = named('lt_s');
const LES = named('le_s');
const GTS = named('gt_s');
const GES = named('ge_s');
export abstract class Expressions {
  readonly body: Body;
  /** The block under construction. */
  protected current: Block = { parent: undefined, effects: [], captures: [], ended: false };
  #reads: Value[] = [];
  #serial = 0;
  /** Reads up to this serial number are not saved now. */
  #unsaved = 0;
  readonly #free = new Map<ValueType, number[]>();
  readonly #taken: [ValueType, number][] = [];

  constructor(body: Body) {
    this.body = body;
  }

  // ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** An i64 constant. */
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
  operand(x: Operand, type?: ValueType): Value {
    if (typeof x === 'object') return x;
    const wanted = type ?? (typeof x === 'number' ? 'i32' : 'i64');
    if (wanted !== 'i32' && wanted !== 'i64') throw new Error(`code: ${x} is no constant of type ${wanted}`);
    return wanted === 'i64' ? this.const(x) : this.i32(Number(x));
  }
  /** A WebAssembly local that holds a value for good, of so many bits. */
  local(type: ValueType, index: number, width = 64): Value {
    const value = this.#node('local', type, undefined, []);
    value.local = index;
    value.width = width;
    return value;
  }
  /** The function's parameters, `count` in number. */
  parameters<const Count extends number>(count: Count): Tuple<Count> {
    const { parameters } = this.body;
    if (parameters.length !== count)
      throw new Error(`code: the function has ${parameters.length} parameters, not ${count}`);
    return parameters.map((type, index) => this.local(type, index)) as Tuple<Count>;
  }
  /** Any of WebAssembly's value instructions by its own name, e.g. `b.wasm('i8x16.add_sat_s', x, y)`. */
  wasm(name: string, ...parts: Value[]): Value {
    const opcode = opcodes.get(name);
    if (!opcode?.result || opcode.memory || opcode.lane) throw new Error(`code: ${name} is no plain operation`);
    if (parts.length !== opcode.parameters.length || parts.some((part, i) => part.type !== opcode.parameters[i]))
      throw new Error(`code: ${name} does not take (${parts.map(part => part.type)})`);
    return this.#operation(opcode, parts);
  }
  #operation(opcode: Opcode, parts: readonly Value[]): Value {
    const folded = fold(this, opcode.name, parts);
    if (folded) return folded;
    const value = this.#node('op', opcode.result!, opcode, parts);
    value.width = widthOf(opcode.name, parts);
    return value;
  }
  /** extract_lane and replace_lane. */
  lane(name: string, lane: number, ...parts: Value[]): Value {
    const opcode = opcodes.get(name);
    if (!opcode?.lane || parts.length !== opcode.parameters.length)
      throw new Error(`code: ${name} is no lane operation`);
    return this.#node('lane', opcode.result!, opcode, parts, BigInt(lane));
  }
  /** i8x16.shuffle: byte i of the result is byte lanes[i] of x and y laid end to end. */
  shuffle(x: Value, y: Value, lanes: readonly number[]): Value {
    return this.#node('shuffle', 'v128', undefined, [x, y], 0n, undefined, lanes);
  }
  /** `condition ? x : y`; both are computed. */
  select(condition: Value, x: Operand, y: Operand): Value {
    const type = typeof x === 'object' ? x.type : typeof y === 'object' ? y.type : undefined;
    const [yes, no] = [this.operand(x, type), this.operand(y, type)];
    if (condition.kind === 'const') return condition.literal ? yes : no;
    return this.#node('select', yes.type, undefined, [yes, no, condition]);
  }

  // Of two numbers of one type. Shifts take their count modulo the width.
  add(x: Operand, y: Operand): Value {
    return this.#two(ADD, x, y);
  }
  sub(x: Operand, y: Operand): Value {
    return this.#two(SUB, x, y);
  }
  mul(x: Operand, y: Operand): Value {
    return this.#two(MUL, x, y);
  }
  /** Unsigned. */
  div(x: Operand, y: Operand): Value {
    return this.#two(DIV, x, y);
  }
  and(x: Operand, y: Operand): Value {
    return this.#two(AND, x, y);
  }
  or(x: Operand, y: Operand): Value {
    return this.#two(OR, x, y);
  }
  xor(x: Operand, y: Operand): Value {
    return this.#two(XOR, x, y);
  }
  not(x: Value): Value {
    return this.xor(x, -1);
  }
  shl(x: Operand, y: Operand): Value {
    return this.#two(SHL, x, y);
  }
  shr(x: Operand, y: Operand): Value {
    return this.#two(SHR, x, y);
  }
  /** Fills up with the sign. */
  sar(x: Operand, y: Operand): Value {
    return this.#two(SAR, x, y);
  }
  rotl(x: Operand, y: Operand): Value {
    return this.#two(ROTL, x, y);
  }
  rotr(x: Operand, y: Operand): Value {
    return this.#two(ROTR, x, y);
  }

  // Truth values: i32, 0 or 1. Comparisons are unsigned (u) or signed (s).
  eq(x: Operand, y: Operand): Value {
    return this.#two(EQ, x, y);
  }
  ne(x: Operand, y: Operand): Value {
    return this.#two(NE, x, y);
  }
  eqz(x: Value): Value {
    return this.wasm(EQZ[x.type]!.name, x);
  }
  ltu(x: Operand, y: Operand): Value {
    return this.#two(LTU, x, y);
  }
  leu(x: Operand, y: Operand): Value {
    return this.#two(LEU, x, y);
  }
  gtu(x: Operand, y: Operand): Value {
    return this.#two(GTU, x, y);
  }
  geu(x: Operand, y: Operand): Value {
    return this.#two(GEU, x, y);
  }
  lts(x: Operand, y: Operand): Value {
    return this.#two(LTS, x, y);
  }
  les(x: Operand, y: Operand): Value {
    return this.#two(LES, x, y);
  }
  gts(x: Operand, y: Operand): Value {
    return this.#two(GTS, x, y);
  }
  ges(x: Operand, y: Operand): Value {
    return this.#two(GES, x, y);
  }
  /** Any bit of `mask` is set in x. */
  any(x: Value, mask: Operand): Value {
    return this.ne(this.and(x, mask), 0);
  }
  /** All bits of `mask` are clear in x. */
  none(x: Value, mask: Operand): Value {
    return this.eqz(this.and(x, mask));
  }
  both(x: Value, y: Value): Value {
    return this.wasm('i32.and', x, y);
  }
  either(x: Value, y: Value): Value {
    return this.wasm('i32.or', x, y);
  }
  no(x: Value): Value {
    return this.wasm('i32.eqz', x);
  }

  /** A truth value or other i32 as an unsigned i64. */
  wide(x: Value): Value {
    return this.wasm('i64.extend_i32_u', x);
  }
  /** The low half of an i64. */
  narrow(x: Value): Value {
    return this.wasm('i32.wrap_i64', x);
  }
  /** The low `bits` of an i64, the rest zero. */
  zx(x: Value, bits: number): Value {
    return x.width <= bits ? x : this.and(x, (1n << BigInt(bits)) - 1n);
  }
  /** The low `bits` of an i64, sign-extended to 64. */
  sx(x: Value, bits: number): Value {
    return bits === 64 ? x : this.wasm(`i64.extend${bits}_s`, x);
  }
  /** Bit `bits - 1` of an i64 as a truth value. */
  sign(x: Value, bits: number): Value {
    return this.narrow(this.and(this.shr(x, bits - 1), 1));
  }
  #two(instructions: Instructions, x: Operand, y: Operand): Value {
    const type = typeof x === 'object' ? x.type : typeof y === 'object' ? y.type : undefined;
    if (!type) throw new Error(`code: ${x} and ${y} are both constants; compute with them before`);
    const [p, q] = [this.operand(x, type), this.operand(y, type)];
    const opcode = instructions[type];
    if (!opcode || p.type !== type || q.type !== type)
      throw new Error(`code: ${instructions.i32!.name.slice(4)} does not take (${p.type}, ${q.type})`);
    return this.#operation(opcode, [p, q]);
  }
  /** Reads made so far have at most this serial number. */
  protected get mark(): number {
    return this.#serial;
  }

  // ── for vocabularies on top ─────────────────────────────────────────────────────────────────────────────────────

  /** A read whose value depends on `place` until it is emitted: `parts`, then `emit`. */
  read(place: Place, type: ValueType, emit: (body: Body) => void, parts: readonly Value[] = []): Value {
    const value = this.#node('read', type, undefined, parts, 0n, place, emit);
    this.#reads.push(value);
    return value;
  }
  /** A write to `place`: earlier reads of it that are still needed are saved first. */
  write(place: Place, value: Value, before: () => void, after: () => void): void {
    this.#use(value);
    const limit = this.mark;
    this.effect(() => {
      before();
      this.emit(value);
      this.saveNow(limit, read => read.place === place);
      after();
    });
  }
  /** Something that happens, in order. Values it emits must be announced with `use` beforehand. */
  effect(emit: () => void): void {
    this.current.effects.push(emit);
  }
  use(...values: Value[]): void {
    for (const value of values) this.#use(value);
  }
  /** An effect that saves all reads still needed: what follows may change anything. */
  saveReads(): void {
    const limit = this.mark;
    this.effect(() => this.saveNow(limit));
  }
  /** A scratch local until `finish`. */
  temporary(type: ValueType): number {
    const index = this.#free.get(type)?.pop() ?? this.body.local(type);
    this.#taken.push([type, index]);
    return index;
  }
  /** True while building inside a block. */
  get conditional(): boolean {
    return this.current.parent !== undefined;
  }
  /** Emits code that leaves `value` on the stack. */
  emit(value: Value): void {
    const { body } = this;
    value.uses--;
    if (value.local >= 0) return body.get(value.local);
    if (value.kind === 'const') {
      if (value.type === 'v128') return body.v128(value.extra as Uint8Array);
      return value.type === 'i32' ? body.i32(Number(value.literal)) : body.i64(value.literal);
    }
    for (const part of value.parts) this.emit(part);
    if (value.kind === 'op') body.code.append(value.opcode!.code);
    else if (value.kind === 'read') (value.extra as (body: Body) => void)(body);
    else if (value.kind === 'select') body.select();
    else if (value.kind === 'lane') body.lane(value.opcode!.name, Number(value.literal));
    else body.shuffle(value.extra as number[]);
    if (value.uses > 0) {
      value.local = this.temporary(value.type);
      body.tee(value.local);
    }
  }
  /** Turns the effects gathered so far into code and forgets them: an instruction's or a section's end. */
  finish(): void {
    const { effects } = this.current;
    this.current = { parent: undefined, effects: [], captures: [], ended: false };
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
      block: this.current,
      width: kind === 'const' && literal >= 0n ? literal.toString(2).length : 64,
      uses: 0,
      local: -1,
      place,
      serial: ++this.#serial,
    };
  }
  #use(value: Value): void {
    value.uses++;
    if (value.kind === 'const' || value.kind === 'local') return;
    let block: Block | undefined = this.current;
    for (; block !== value.block; block = block.parent) {
      if (!block) throw new Error('code: a value is used outside of the block that made it; use a variable');
      block.captures.push(value);
    }
  }
  protected inside(fill: () => void): Block {
    const block: Block = { parent: this.current, effects: [], captures: [], ended: false };
    this.current = block;
    fill();
    this.current = block.parent!;
    return block;
  }
  /**
   * Before blocks that may be passed by, or more than once: what they use from outside, and reads that are still
   * needed.
   */
  protected saveFor(blocks: readonly Block[], limit: number): void {
    for (const block of blocks) this.materialiseCaptures(block);
    this.saveNow(limit);
  }
  protected materialiseCaptures(block: Block): void {
    for (const value of block.captures) this.#materialise(value);
  }
  /** Emits without saving any read that was made before `limit`. */
  protected unsaved(limit: number, emit: () => void): void {
    const before = this.#unsaved;
    this.#unsaved = Math.max(before, limit);
    emit();
    this.#unsaved = before;
  }
  protected saveNow(limit: number, which?: (read: Value) => boolean): void {
    for (const read of this.#reads)
      if (
        read.serial <= limit &&
        read.serial > this.#unsaved &&
        read.uses > 0 &&
        read.local < 0 &&
        (!which || which(read))
      )
        this.#materialise(read);
  }
  #materialise(value: Value): void {
    if (value.local >= 0 || value.kind === 'const') return;
    // One more use than counted: the emission here, which is balanced by `emit`.
    value.uses++;
    this.emit(value);
    if (value.local >= 0) this.body.drop();
    else this.body.set((value.local = this.temporary(value.type)));
  }
}
