/**
 * Registers and flags of a region: WebAssembly locals, read from the state when the region is entered and written to it
 * when it is left. Flags are kept as what they came from (lazy-flags.ts), and computed when an instruction reads them.
 */

import type { Variable } from '../../wasm/code.ts';
import type { Place } from '../../wasm/expressions.ts';
import type { Value } from '../x86/builder.ts';
import type { ProcessorCode } from '../x86/code.ts';
import type { Lanes } from '../x86/instructions/row.ts';
import { computedFlags, KIND_ADD, KIND_KNOWN, KIND_LOGIC, KIND_SUB } from '../x86/lazy-flags.ts';
import { state } from '../x86/state.ts';
import type { FlagSource, Registers } from '../x86/tier.ts';
import { conditionOf } from './conditions.ts';

/** What the flags came from, where translation knows it. */
export interface FlagOrigin {
  kind: FlagSource['kind'];
  bits: number;
}
const KINDS: Record<FlagSource['kind'], number> = { add: KIND_ADD, sub: KIND_SUB, logic: KIND_LOGIC, raw: KIND_KNOWN };

/** A variable of the region and the field of the state that holds it between regions. */
export interface Kept {
  variable: Variable;
  load: string;
  store: string;
  offset: number;
}

export class RegionRegisters implements Registers {
  /** By the register's number; made when an instruction first names it. */
  readonly #general: (Variable | undefined)[] = [];
  readonly #written = new Set<number>();
  readonly #vectors: (Variable | undefined)[] = [];
  readonly #writtenVectors = new Set<number>();
  readonly #vectorNumbers = new Map<Place, number>();
  /** FLAG_RESULT, FLAG_X and FLAG_KIND. */
  readonly #result: Variable;
  readonly #x: Variable;
  readonly #kind: Variable;
  /** What the flags came from, where translation knows it. */
  origin: FlagOrigin | undefined;
  /** XMM registers that hold no denormal number in such lanes: known within a block. */
  readonly #denormalFree = new Map<number, Lanes>();

  constructor(b: ProcessorCode) {
    this.#result = b.declare('i64');
    this.#x = b.declare('i64');
    this.#kind = b.declare('i32');
  }

  /** @param origin what is known of the flags at the block's start */
  beginBlock(origin: FlagOrigin | undefined): void {
    this.origin = origin;
    this.#denormalFree.clear();
  }
  /** What the region uses: to be read when it is entered. */
  used(): Kept[] {
    const all = (variables: (Variable | undefined)[]) => Object.keys(variables).map(Number);
    return [...all(this.#general).map(i => this.#generalKept(i)), ...all(this.#vectors).map(i => this.#vectorKept(i))];
  }
  /** What the region has changed: to be written when it is left. */
  changed(): Kept[] {
    const general = [...this.#written].map(i => this.#generalKept(i));
    return [...general, ...[...this.#writtenVectors].map(i => this.#vectorKept(i))];
  }
  flags(): Kept[] {
    return [
      { variable: this.#result, load: 'i64.load', store: 'i64.store', offset: state.FLAG_RESULT },
      { variable: this.#kind, load: 'i32.load', store: 'i32.store', offset: state.FLAG_KIND },
      { variable: this.#x, load: 'i64.load', store: 'i64.store', offset: state.FLAG_X },
    ];
  }
  #generalKept(i: number): Kept {
    return { variable: this.#general[i]!, load: 'i64.load', store: 'i64.store', offset: state.GPR + 8 * i };
  }
  #vectorKept(i: number): Kept {
    return { variable: this.#vectors[i]!, load: 'v128.load', store: 'v128.store', offset: state.XMM + 16 * i };
  }

  // ── registers ───────────────────────────────────────────────────────────────────────────────────────────────────

  #generalOf(b: ProcessorCode, index: number): Variable {
    return (this.#general[index] ??= b.declare('i64'));
  }
  #vectorOf(b: ProcessorCode, index: number): Variable {
    const known = this.#vectors[index];
    if (known) return known;
    const variable = b.declare('v128');
    this.#vectorNumbers.set(variable, index);
    return (this.#vectors[index] = variable);
  }
  /** A general register, all 64 bits. */
  whole(b: ProcessorCode, index: number): Value {
    return this.#generalOf(b, index).get();
  }
  gpr(b: ProcessorCode, index: number, bits: number, high: boolean): Value {
    const whole = this.whole(b, index);
    return high ? b.zx(b.shr(whole, 8), 8) : b.zx(whole, bits);
  }
  setGpr(b: ProcessorCode, index: number, bits: number, high: boolean, value: Value): void {
    const variable = this.#generalOf(b, index);
    this.#written.add(index);
    if (bits >= 32) return variable.set(bits === 32 ? b.zx(value, 32) : value);
    const shift = high ? 8 : 0;
    const mask = ((1n << BigInt(bits)) - 1n) << BigInt(shift);
    const placed = high ? b.shl(b.zx(value, bits), shift) : b.zx(value, bits);
    variable.set(b.or(b.and(this.whole(b, index), ~mask), placed));
  }
  /** Writes a general register to the state: for a helper that reads it. */
  spill(b: ProcessorCode, index: number): void {
    b.setState(state.GPR + 8 * index, this.whole(b, index));
  }
  /** Reads a general register from the state, where a helper has changed it. */
  reload(b: ProcessorCode, index: number): void {
    this.#written.add(index);
    this.#generalOf(b, index).set(b.state(state.GPR + 8 * index));
  }
  vector(b: ProcessorCode, index: number): Value {
    return this.#vectorOf(b, index).get();
  }
  setVector(b: ProcessorCode, index: number, value: Value): void {
    this.#writtenVectors.add(index);
    const source = value.kind === 'read' ? this.#vectorNumbers.get(value.place) : undefined;
    const known = source !== undefined && this.#denormalFree.get(source);
    if (known) this.#denormalFree.set(index, known);
    else this.#denormalFree.delete(index);
    this.#vectorOf(b, index).set(value);
  }
  isDenormalFree(index: number, lanes: Lanes): boolean {
    return this.#denormalFree.get(index)?.startsWith(lanes) ?? false;
  }
  setDenormalFree(index: number, lanes: Lanes): void {
    if (!this.isDenormalFree(index, lanes)) this.#denormalFree.set(index, lanes);
  }

  // ── flags ───────────────────────────────────────────────────────────────────────────────────────────────────────

  setFlags(b: ProcessorCode, source: FlagSource): void {
    const { kind, bits, x, y, r } = source;
    if (!b.conditional && !source.carryIn && (kind === 'add' || kind === 'sub')) {
      this.#x.set(x!);
      this.#result.set(y!);
      this.origin = { kind, bits };
    } else if (!b.conditional && kind === 'logic') {
      this.#result.set(b.zx(r, bits));
      this.origin = { kind, bits };
    } else {
      const aux = source.aux();
      this.#x.set(b.wide(aux));
      this.#result.set(b.sx(r, bits));
      // On one of two paths: the kind is known only at run time from here on.
      this.origin = b.conditional ? undefined : { kind: 'raw', bits };
    }
    const lazy = this.origin && this.origin.kind !== 'raw';
    this.#kind.set(lazy ? KINDS[kind] | bits : KIND_KNOWN);
  }
  flagResult(b: ProcessorCode): Value {
    const { origin } = this;
    if (!origin) this.#compute(b);
    const { x, y } = this.#words();
    if (origin?.kind === 'add') return b.sx(b.add(x, y), origin.bits);
    if (origin?.kind === 'sub') return b.sx(b.sub(x, y), origin.bits);
    return origin?.kind === 'logic' ? b.sx(y, origin.bits) : y;
  }
  flagAux(b: ProcessorCode): Value {
    const { origin } = this;
    if (origin?.kind === 'logic') return b.i32(0);
    if (!origin) this.#compute(b);
    const { x, y } = this.#words();
    if (origin?.kind === 'add') return b.auxOf('add', origin.bits, x, y, b.add(x, y));
    if (origin?.kind === 'sub') return b.auxOf('sub', origin.bits, x, y, b.sub(x, y));
    return b.narrow(x);
  }
  condition(b: ProcessorCode, code: number): Value | undefined {
    return this.origin && conditionOf(b, this.origin, this.#words(), code);
  }
  /** FLAG_X and FLAG_RESULT. */
  #words(): { x: Value; y: Value } {
    const [x, y] = [this.#x.get(), this.#result.get()];
    if (this.origin && this.origin.kind !== 'raw') x.width = y.width = this.origin.bits;
    return { x, y };
  }
  /** Where the kind is known only at run time: makes it KIND_KNOWN. */
  #compute(b: ProcessorCode): void {
    const words = { ...this.#words(), kind: this.#kind.get() };
    b.when(words.kind, () => {
      const { result, aux } = computedFlags(b, words);
      this.#x.set(b.wide(aux));
      this.#result.set(result);
      this.#kind.set(KIND_KNOWN);
    });
    if (!b.conditional) this.origin = { kind: 'raw', bits: 64 };
  }
}
