/** What the fast paths in WebAssembly have in common: those of the processor (traps.ts) and those of a hypervisor (hypervisor-paths.ts). */

import type { Value } from '../../wasm/expressions.ts';
import { Body } from '../../wasm/module.ts';
import type { ValueType } from '../../wasm/opcodes.ts';
import { CR0_AM, CR4_SMAP } from '../../x86/control.ts';
import { AC, ARITHMETIC_FLAGS } from '../../x86/flags.ts';
import { TLB_EMPTY } from '../layout.ts';
import { ACCESS_IMPLICIT } from './access.ts';
import { ProcessorCode } from './code.ts';
import { state } from './state.ts';

/** What a hypervisor's path for exceptions answers when the instruction has been executed: 1 is that the guest has got its exception. */
export const PATH_DEALT_WITH = 2;

/** A function under construction: what the paths have in common. */
export class FastPath {
  readonly b: ProcessorCode;
  readonly #reach: number;
  constructor(parameters: ValueType[], reach: number) {
    this.b = new ProcessorCode(new Body(parameters, ['i32']));
    this.#reach = reach;
  }
  parameter(index: number, type: ValueType): Value {
    return this.b.local(type, index);
  }
  complete(): Body {
    this.b.answer(1);
    return this.b.complete();
  }

  /** Allowed only before the first change of the guest's state. */
  refuseIf(condition: Value): void {
    this.b.when(condition, () => this.b.answer(0));
  }
  /** Refuses unless the bits of `mask` in `x` are as in `wanted`. */
  refuseUnless(x: Value, mask: number, wanted: number): void {
    const { b } = this;
    this.refuseIf(b.ne(b.and(x, mask), wanted));
  }
  refuseUnlessCanonical(x: Value): void {
    const { b } = this;
    this.refuseIf(b.ne(b.sar(b.shl(x, 16), 16), x));
  }

  /** `size` bytes at a linear address; refuses where reach.ts does. */
  reach(linear: Value, size: number, access: number): Structure {
    const at = this.b.invoke(this.#reach, 'i32', linear, size, access);
    this.refuseIf(this.b.no(at));
    return new Structure(this.b, at);
  }
  /** The descriptor that a selector names in the GDT; refuses null and the LDT's. */
  descriptor(selector: Value): { low: Value; high: Value } {
    const { b } = this;
    this.refuseIf(b.no(b.and(selector, 0xfffc)));
    this.refuseIf(b.and(selector, 4));
    const offset = b.and(selector, 0xfff8);
    this.refuseIf(b.gtu(b.add(offset, 7), b.state32(state.GDT_LIMIT)));
    const found = this.reach(b.add(b.state(state.GDT_BASE), b.wide(offset)), 8, ACCESS_IMPLICIT);
    return { low: found.get32(0), high: found.get32(4) };
  }
  setSegment(segment: number, selector: Value, base: Value, limit: Value, attributes: Value): void {
    const { b } = this;
    b.setState(state.SELECTOR + 4 * segment, b.wide(selector), 16);
    b.setState(state.SEGMENT_BASE + 8 * segment, base);
    b.setState32(state.SEGMENT_LIMIT + 4 * segment, limit);
    b.setState32(state.SEGMENT_ATTRIBUTES + 4 * segment, attributes);
  }

  /** RFLAGS. */
  flags(): Value {
    const { b } = this;
    return b.either(b.state32(state.FLAGS_REST), b.arithmeticFlags());
  }
  setFlags(flags: Value): void {
    const { b } = this;
    b.setState32(state.FLAGS_REST, b.or(b.and(flags, ~ARITHMETIC_FLAGS), 2));
    b.flagsFromBits(flags);
  }
  /** CPL and the TLB bank that goes with it and RFLAGS.AC: after the flags. */
  setLevel(cpl: Value): void {
    const { b } = this;
    const rest = b.state32(state.FLAGS_REST);
    const ac = b.and(b.shr(rest, Math.log2(AC)), 1);
    const smap = b.shr(b.state32(state.CR4), Math.log2(CR4_SMAP));
    const kernel = b.select(b.both(ac, smap), b.state32(state.CLASS_BASE + 8), b.state32(state.CLASS_BASE + 4));
    const checksAlignment = b.both(ac, b.shr(b.state32(state.CR0), Math.log2(CR0_AM)));
    const user = b.select(checksAlignment, TLB_EMPTY, b.state32(state.CLASS_BASE));
    b.setState32(state.TLB_BASE, b.select(b.eq(cpl, 3), user, kernel));
    b.setState32(state.CPL, cpl);
  }
}

/** Guest memory that has been reached. */
export class Structure {
  readonly #b: ProcessorCode;
  readonly #at: Value;
  constructor(b: ProcessorCode, at: Value) {
    this.#b = b;
    this.#at = at;
  }
  get32(offset: number): Value {
    return this.#b.fetch('i32.load', this.#at, offset);
  }
  get64(offset: number): Value {
    return this.#b.fetch('i64.load', this.#at, offset);
  }
  set64(offset: number, value: Value): void {
    this.#b.put('i64.store', this.#at, value, offset);
  }
}
