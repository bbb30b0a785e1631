/**
 * What the parts of the loop's function (dispatch.ts) share: its variables, and the steps that several of them take.
 */

import { type Jump, Variable } from '../../wasm/code.ts';
import type { Value } from '../../wasm/expressions.ts';
import type { Body } from '../../wasm/module.ts';
import type { Layout } from '../layout.ts';
import { RECORD_SIZE } from '../layout.ts';
import * as record from '../record.ts';
import { ProcessorCode } from '../x86/code.ts';
import { state } from '../x86/state.ts';
import type { Functions } from './handler.ts';
import type { JumpCache } from './jump-cache.ts';

/** What the loop is made from. */
export interface LoopParts {
  layout: Layout;
  wide: boolean;
  functions: Functions;
  jumps: JumpCache;
  /** The function of computeFlagsBody. */
  computeFlags: number;
  /** The type of handlers and regions that are functions: (i32) -> i32. */
  handlerType: number;
}

/** The places of the loop that its parts go to. */
export interface Places {
  /** The record `rec`; the block at RIP if that is 0. */
  next: Jump;
  /** The block `rec` at `target`. */
  enter: Jump;
  /** The block at `target`, which is looked up. */
  resolve: Jump;
  /** The end of a block: the instructions are charged for, and the link at `slot` (0: none) leads to `target`. */
  go: Jump;
  /** The fault in the state. */
  fault: Jump;
}

export class LoopCode extends ProcessorCode {
  readonly parts: LoopParts;
  readonly to: Partial<Places> = {};
  /** The address of the record to be executed. */
  readonly rec: Variable;
  /** The linear address to go on at. */
  readonly target: Variable;
  /**
   * The address of the link that leads to `target`, to be filled once the block there is known; 0 where there is none.
   */
  readonly slot: Variable;
  /** The address of an entry of the TLB, or of the block table. */
  readonly entry: Variable;
  /** The guest-physical address of `target`. */
  readonly physical: Variable;
  /** Not 0: the interpreter has to execute the instruction at `target`, even if translated code starts there. */
  readonly raw: Variable;

  constructor(body: Body, parts: LoopParts) {
    super(body);
    this.parts = parts;
    this.rec = new Variable(this, 'i32', 0);
    this.target = this.declare('i64');
    this.slot = this.declare('i32');
    this.entry = this.declare('i32');
    this.physical = this.declare('i32');
    this.raw = this.declare('i32');
  }

  go(place: keyof Places, condition?: Value): void {
    this.to[place]!(condition);
  }
  /** A field of the record. */
  field(instruction: string, offset: number): Value {
    return this.fetchFixed(instruction, this.rec.get(), offset);
  }
  /** On to the next record of the block. */
  advance(): void {
    this.rec.add(RECORD_SIZE);
    this.go('next');
  }
  /** target = the linear address of the record's instruction. */
  setTargetHere(): void {
    const here = this.add(this.state(state.PAGE), this.field('i64.load16_u', record.OFFSET));
    this.target.set(this.parts.wide ? here : this.and(here, 0xffffffffn));
  }
  /** RIP = target. */
  saveRip(): void {
    this.setState(state.RIP, this.target.get());
  }
  setTargetToRip(): void {
    this.target.set(this.state(state.RIP));
  }
  /** PAGE = the page of `target`. */
  setPage(): void {
    this.setState(state.PAGE, this.and(this.target.get(), -4096n));
  }
  /** The instructions of the block before this one. */
  position(): Value {
    return this.field('i32.load8_u', record.POSITION);
  }
  /** Returns from the loop with one of record.ts's EXIT_ numbers. */
  exit(code: number): void {
    this.setState32(state.RECORD, this.rec.get());
    this.answer(code);
  }
  /** FUEL -= instructions. @returns true if too little is left for another block */
  charge(instructions: Value): Value {
    const left = this.sub(this.state32(state.FUEL), instructions);
    this.setState32(state.FUEL, left);
    return this.lts(left, record.BLOCK_LIMIT);
  }
  /** True if too little is left for another block. */
  spent(): Value {
    return this.lts(this.state32(state.FUEL), record.BLOCK_LIMIT);
  }
  /** Returns if there is too little fuel for another block; the loop will go on at `target`. */
  exitIf(spent: Value): void {
    this.when(spent, () => {
      this.saveRip();
      this.exit(record.EXIT_BUDGET);
    });
  }
  /** Enters the block that the link at `slot` leads to, if it leads to one. */
  follow(): void {
    const linked = this.variable(this.fetch('i32.load', this.slot.get()));
    this.when(linked.get(), () => {
      this.rec.set(linked.get());
      this.go('enter');
    });
  }
  /**
   * Goes on at the handler of the fault at RIP, if that can be delivered here (traps.ts), after `done` instructions.
   */
  deliverFault(done: Value): void {
    const { traps } = this.parts.functions;
    if (!traps) return;
    this.when(this.invoke(traps.fault, 'i32', done), () => {
      this.rec.set(0);
      this.slot.set(0);
      this.raw.set(0);
      this.setTargetToRip();
      this.when(this.spent(), () => this.exit(record.EXIT_BUDGET));
      this.go('next');
    });
  }
}
