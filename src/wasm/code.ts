/**
 * WebAssembly written with values instead of a stack: expression trees, effects in their order, conditions, loops,
 * variables, loads and stores, calls. `Body` (module.ts) is the assembler beneath. Nothing here knows what the code is
 * for.
 *
 * A value is what it was where it was made. A read (of a variable, of memory) is emitted at its first use; a write to
 * the same place, a call, a condition or a loop in between saves it first. A value is used in the block that made it or
 * in blocks within that one; what crosses a block's end outwards is a variable.
 */

import { type Block, Expressions, type Operand, type Place, type Value } from './expressions.ts';
import type { Body } from './module.ts';
import { opcodes, type ValueType } from './opcodes.ts';

export type { Operand, Place, Value } from './expressions.ts';

/** To the end of a block, or to the start of a loop: always, or if a condition holds. */
export type Jump = (condition?: Value) => void;

/** A WebAssembly local that may be assigned more than once, and in branches and loops. */
export class Variable {
  readonly type: ValueType;
  readonly local: number;
  readonly #code: Code;
  constructor(code: Code, type: ValueType, local: number) {
    this.#code = code;
    this.type = type;
    this.local = local;
  }
  get(): Value {
    return this.#code.read(this, this.type, body => body.get(this.local));
  }
  set(value: Operand): void {
    this.#code.write(
      this,
      this.#code.operand(value, this.type),
      () => {},
      () => this.#code.body.set(this.local),
    );
  }
  /** What it holds, where it is not assigned again; of so many bits. */
  last(width = 64): Value {
    return this.#code.local(this.type, this.local, width);
  }
  add(amount: Operand): void {
    this.set(this.#code.add(this.get(), amount));
  }
  sub(amount: Operand): void {
    this.set(this.#code.sub(this.get(), amount));
  }
}
/** Memory that no other place names. */
const MEMORY = 'memory';

export class Code extends Expressions {
  // ── variables, memory, calls ────────────────────────────────────────────────────────────────────────────────────

  /** A variable of this block (or instruction) and those within it. */
  variable(initial: Value): Variable {
    const variable = new Variable(this, initial.type, this.temporary(initial.type));
    variable.set(initial);
    return variable;
  }
  /** A variable of this block that both sides of a condition are to assign. */
  unset(type: ValueType): Variable {
    return new Variable(this, type, this.temporary(type));
  }
  /** A variable of the whole function, 0 at its start. */
  declare(type: ValueType): Variable {
    return new Variable(this, type, this.body.local(type));
  }

  /** Loads with one of WebAssembly's instructions at an i32 address + `offset`. */
  fetch(instruction: string, address: Operand, offset = 0, place: Place = MEMORY): Value {
    const type = opcodes.get(instruction)!.result!;
    return this.read(place, type, body => body.memory(instruction, offset), [this.operand(address, 'i32')]);
  }
  /** As `fetch`, of what no code changes: it is read wherever it is used first. */
  fetchFixed(instruction: string, address: Operand, offset = 0): Value {
    const type = opcodes.get(instruction)!.result!;
    return this.read(undefined, type, body => body.memory(instruction, offset), [this.operand(address, 'i32')]);
  }
  /** Stores with one of WebAssembly's instructions at an i32 address + `offset`. */
  put(instruction: string, address: Operand, value: Operand, offset = 0, place: Place = MEMORY): void {
    const at = this.operand(address, 'i32');
    this.use(at);
    this.write(
      place,
      this.operand(value, opcodes.get(instruction)!.parameters[1]),
      () => this.emit(at),
      () => this.body.memory(instruction, offset),
    );
  }
  memoryCopy(to: Value, from: Value, bytes: Value): void {
    this.#perform([to, from, bytes], true, () => this.body.memoryCopy());
  }
  memoryFill(to: Value, byte: Value, bytes: Value): void {
    this.#perform([to, byte, bytes], true, () => this.body.memoryFill());
  }

  /** Calls a function for its result. */
  invoke(fn: number, result: ValueType, ...values: Operand[]): Value {
    return this.#invoke(result, values, true, () => this.body.call(fn));
  }
  /** As `invoke`, of a function that changes nothing that this one reads. */
  invokePure(fn: number, result: ValueType, ...values: Operand[]): Value {
    return this.#invoke(result, values, false, () => this.body.call(fn));
  }
  /**
   * As `invokePure`, of a function that is called where its result is used: once, by the next effect, which therefore
   * needs no local for it.
   */
  called(fn: number, result: ValueType, ...values: Operand[]): Value {
    const operands = values.map(value => this.operand(value));
    return this.read(undefined, result, body => body.call(fn), operands);
  }
  /** Computes a value that nobody wants, for what its computation does. */
  drop(value: Value): void {
    this.#perform([value], false, () => this.body.drop());
  }
  /** Calls a function without a result. */
  perform(fn: number, ...values: Operand[]): void {
    this.#perform(values, true, () => this.body.call(fn));
  }
  /** Calls the table's function `index`, of a type of the module. */
  invokeIndirect(type: number, index: Value, result: ValueType, ...values: Operand[]): Value {
    return this.#invoke(result, [...values, index], true, () => this.body.callIndirect(type));
  }
  #invoke(type: ValueType, values: Operand[], touchesMemory: boolean, call: () => void): Value {
    const result = this.temporary(type);
    this.#perform(values, touchesMemory, () => {
      call();
      this.body.set(result);
    });
    return this.local(type, result);
  }
  #perform(operands: Operand[], touchesMemory: boolean, then: () => void): void {
    const values = operands.map(value => this.operand(value));
    this.use(...values);
    const limit = this.mark;
    this.effect(() => {
      for (const value of values) this.emit(value);
      if (touchesMemory) this.saveNow(limit, read => read.place !== undefined && !(read.place instanceof Variable));
      then();
    });
  }

  // ── flow ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** If `condition`, `then`; else `otherwise`. */
  when(condition: Value, then: () => void, otherwise?: () => void): void {
    if (condition.kind === 'const') {
      if (condition.literal) then();
      else otherwise?.();
      return;
    }
    this.use(condition);
    const limit = this.mark;
    const yes = this.inside(then);
    const no = otherwise && this.inside(otherwise);
    this.effect(() => {
      this.saveFor(no ? [yes, no] : [yes], limit);
      this.emit(condition);
      this.body.if();
      for (const effect of yes.effects) effect();
      if (no) {
        this.body.else();
        for (const effect of no.effects) effect();
      }
      this.body.end();
    });
    if (yes.ended && no?.ended) this.#unreachable();
  }
  /**
   * As `when`, for ways that are seldom taken and change nothing that the code has read before and still needs (slow
   * paths, exceptions): what was read and not used yet is read after them.
   */
  aside(condition: Value, then: () => void, otherwise?: () => void): void {
    this.use(condition);
    const limit = this.mark;
    const yes = this.inside(then);
    const no = otherwise && this.inside(otherwise);
    this.effect(() => {
      for (const block of no ? [yes, no] : [yes]) this.materialiseCaptures(block);
      this.emit(condition);
      this.body.if();
      this.unsaved(limit, () => {
        for (const effect of yes.effects) effect();
        if (no) this.body.else();
        for (const effect of no?.effects ?? []) effect();
      });
      this.body.end();
    });
  }
  /** `condition ? x : y`; only one of them is computed. */
  choose(condition: Value, x: () => Value, y: () => Value): Value {
    this.use(condition);
    const limit = this.mark;
    const [yes, no] = [x, y].map(make => {
      let value!: Value;
      const block = this.inside(() => {
        value = make();
        this.use(value);
      });
      return { block, value };
    }) as [{ block: Block; value: Value }, { block: Block; value: Value }];
    const { type } = yes.value;
    const result = this.temporary(type);
    this.effect(() => {
      this.saveFor([yes.block, no.block], limit);
      this.emit(condition);
      this.body.if(type);
      for (const effect of yes.block.effects) effect();
      this.emit(yes.value);
      this.body.else();
      for (const effect of no.block.effects) effect();
      this.emit(no.value);
      this.body.end();
      this.body.set(result);
    });
    return this.local(type, result);
  }
  /** A block that `fill` may leave before its end. */
  block(fill: (leave: Jump) => void): void {
    this.#labelled(fill, body => body.block());
  }
  /** A loop: `again` starts its next turn; at the end of `fill` it is left. */
  loop(fill: (again: Jump) => void): void {
    this.#labelled(fill, body => body.loop());
  }
  #labelled(fill: (jump: Jump) => void, open: (body: Body) => number): void {
    const limit = this.mark;
    const label = { depth: -1 };
    const block = this.inside(() => fill(this.#jump(label)));
    this.effect(() => {
      this.saveFor([block], limit);
      label.depth = open(this.body);
      for (const effect of block.effects) effect();
      this.body.end();
    });
  }
  /** Turns as long as the condition holds before the turn. */
  while(condition: () => Value, turn: (leave: Jump) => void): void {
    this.block(leave =>
      this.loop(again => {
        leave(this.no(condition()));
        turn(leave);
        again();
      }),
    );
  }
  /** Turns as long as the condition that a turn answers holds. */
  repeat(turn: () => Value): void {
    this.loop(again => again(turn()));
  }
  /** The case with the number `index`, or `otherwise`; every case goes on behind all of them. */
  switch(index: Value, cases: readonly (() => void)[], otherwise: () => void): void {
    this.use(index);
    const limit = this.mark;
    const blocks = [...cases, otherwise].map(fill => this.inside(fill));
    this.effect(() => {
      const { body } = this;
      this.saveFor(blocks, limit);
      const out = body.block();
      const labels = blocks.map(() => body.block()).reverse();
      this.emit(index);
      body.brTable(labels.slice(0, -1), labels.at(-1)!);
      for (const block of blocks) {
        body.end();
        for (const effect of block.effects) effect();
        if (!block.ended && block !== blocks.at(-1)) body.br(out);
      }
      body.end();
    });
    if (blocks.every(block => block.ended)) this.#unreachable();
  }
  /** Returns from the function. */
  answer(value?: Operand): void {
    const result = value === undefined ? undefined : this.operand(value, this.body.results[0]);
    this.#perform(result ? [result] : [], false, () => this.body.return());
    this.current.ended = true;
  }
  /** Returns what function `fn` returns, in place of this one. */
  answerWith(fn: number, ...values: Operand[]): void {
    this.#perform(values, false, () => this.body.returnCall(fn));
    this.current.ended = true;
  }
  /** As `answerWith`, of the table's function `index`. */
  answerWithIndirect(type: number, index: Value, ...values: Operand[]): void {
    this.#perform([...values, index], false, () => this.body.returnCallIndirect(type));
    this.current.ended = true;
  }
  #jump(label: { depth: number }): Jump {
    return condition => {
      if (condition && condition.kind !== 'const') {
        this.#perform([condition], false, () => this.body.brIf(label.depth));
      } else if (!condition || condition.literal) {
        this.effect(() => this.body.br(label.depth));
        this.current.ended = true;
      }
    };
  }
  #unreachable(): void {
    this.effect(() => this.body.unreachable());
    this.current.ended = true;
  }

  // Large functions are emitted in sections: each is done with at its end, and its scratch locals serve the next. No
  // value crosses a section's border, only variables of the whole function (`declare`) do.

  /** As `block`, of sections. Other code over the same body leaves it by `leave(label)`. */
  outerBlock(fill: (leave: Jump, label: number) => void): void {
    this.#section(fill, body => body.block());
  }
  /** As `loop`, of sections. */
  outerLoop(fill: (again: Jump, label: number) => void): void {
    this.#section(fill, body => body.loop());
  }
  /** As `switch`, of sections; a case that does not jump goes on with the next one. */
  outerSwitch(index: () => Value, cases: readonly (() => void)[], otherwise: () => void): void {
    const { body } = this;
    this.finish();
    const labels = [...cases, otherwise].map(() => body.block()).reverse();
    const value = index();
    this.#perform([value], false, () => body.brTable(labels.slice(0, -1), labels.at(-1)!));
    for (const fill of [...cases, otherwise]) {
      this.finish();
      body.end();
      fill();
    }
    this.finish();
  }
  /** Leaves a section by its label, or starts its next turn. */
  leave(label: number): void {
    this.effect(() => this.body.br(label));
    this.current.ended = true;
  }
  #section(fill: (jump: Jump, label: number) => void, open: (body: Body) => number): void {
    if (this.conditional) throw new Error('code: a section stands within a block');
    this.finish();
    const depth = open(this.body);
    fill(this.#jump({ depth }), depth);
    this.finish();
    this.body.end();
  }
  /** The function, complete. */
  complete(): Body {
    const { ended } = this.current;
    this.finish();
    if (!ended && this.body.results.length) this.body.unreachable();
    return this.body;
  }
}
