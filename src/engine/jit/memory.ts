/**
 * The guest's memory as a region reaches it: by the TLB alone. An access that the TLB does not have leaves the region,
 * and the interpreter executes the instruction.
 */

import type { Variable } from '../../wasm/code.ts';
import type { ValueType } from '../../wasm/opcodes.ts';
import { CS, ES, FS } from '../../x86/segments.ts';
import { GP } from '../../x86/vectors.ts';
import { TLB_READ, TLB_WRITE } from '../layout.ts';
import { type Builder, LOADS, STORES, type Value } from '../x86/builder.ts';
import { emitBulk } from '../x86/bulk.ts';
import type { Instruction } from '../x86/decode.ts';
import { state } from '../x86/state.ts';
import type { Memory } from '../x86/tier.ts';
import { entryOffset, hostAddress, misses } from '../x86/tlb-entry.ts';
import type { Leaving } from './frame.ts';
import type { RegionRegisters } from './registers.ts';

/** The instruction under translation, and its offset from the entry's page. */
export interface Current {
  instruction: Instruction;
  offset: number;
}

export class RegionMemory implements Memory {
  readonly wide: boolean;
  readonly flat = true;
  /** Segments that 32-bit code uses: the region may be entered only while these are flat. */
  readonly segments: Set<number>;
  readonly #registers: RegionRegisters;
  readonly #leaving: Leaving;
  readonly #bulk: Record<'movs' | 'stos', number>;
  /** The address of the TLB's bank, and the linear address of the entry's page. */
  readonly #tlb: Variable;
  readonly #base: Variable;
  #current!: Current;
  /**
   * Where a load for writing has found that the instruction may write so many bits: the address in the WebAssembly
   * memory.
   */
  #writable: { address: Value; bits: number; host: Value } | undefined;

  constructor(
    wide: boolean,
    registers: RegionRegisters,
    leaving: Leaving,
    { tlb, base }: { tlb: Variable; base: Variable },
    bulk: Record<'movs' | 'stos', number>,
  ) {
    this.wide = wide;
    this.segments = new Set(wide ? [] : [CS]);
    this.#registers = registers;
    this.#leaving = leaving;
    this.#tlb = tlb;
    this.#base = base;
    this.#bulk = bulk;
  }
  begin(current: Current): void {
    this.#current = current;
    this.#writable = undefined;
  }

  // ── addresses ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** base + index * scale + displacement, in the address size. */
  effective(b: Builder): Value {
    const { instruction: i, offset } = this.#current;
    if (i.ripRelative) return this.sized(b, b.add(this.#base.last(), BigInt(offset + i.length + i.displacement)));
    let sum: Value | undefined;
    if (i.base >= 0) sum = this.#registers.whole(b, i.base);
    if (i.indexRegister >= 0 && !i.form!.row.vectorIndex) {
      const index = this.#registers.whole(b, i.indexRegister);
      const scaled = i.scale ? b.shl(index, i.scale) : index;
      sum = sum ? b.add(sum, scaled) : scaled;
    }
    // POP's own destination sees RSP already moved.
    const popped = i.base === 4 && i.form!.row.name === 'pop' ? i.operandSize / 8 : 0;
    const displacement = b.const(i.displacement + popped);
    return this.sized(b, sum ? b.add(sum, displacement) : displacement);
  }
  /** An offset, wrapped to the address size. */
  sized(b: Builder, offset: Value): Value {
    const { addressSize } = this.#current.instruction;
    return addressSize === 64 ? offset : b.zx(offset, addressSize);
  }
  /** The linear address of an offset in the instruction's segment. */
  inSegment(b: Builder, offset: Value, bits: number): Value {
    const { override, segment } = this.#current.instruction;
    if (!this.wide) return this.linear(b, segment, offset, bits / 8);
    return override ? b.add(offset, b.state(state.SEGMENT_BASE + 8 * segment)) : offset;
  }
  /** The linear address of an offset in ES. */
  inEs(b: Builder, offset: Value, bits: number): Value {
    return this.linear(b, ES, offset, bits / 8);
  }
  linear(b: Builder, segment: number, offset: Value, bytes: number): Value {
    const within = segment >= FS ? b.add(offset, b.state(state.SEGMENT_BASE + 8 * segment)) : offset;
    if (this.wide) return within;
    this.segments.add(segment);
    // A code segment may not be written, and perhaps not be read.
    if (segment === CS) b.raise(GP, 0);
    if (segment < FS) return within;
    // An access may not wrap, but the linear address does.
    b.raiseIf(b.ltu(BigInt(0x100000000 - bytes), offset), GP, 0);
    return b.zx(within, 32);
  }
  /** The linear address at an offset from the region's page. */
  at(b: Builder, offset: number): Value {
    const sum = b.add(this.#base.last(), BigInt(offset));
    return this.wide ? sum : b.zx(sum, 32);
  }

  // ── accesses ────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * The address in the WebAssembly memory. No call fills the TLB: V8 would keep every register ready to be saved around
   * it.
   */
  #translate(b: Builder, address: Value, bits: number, tag: number): Value {
    const entry = b.add(entryOffset(b, address), this.#tlb.get());
    b.aside(misses(b, entry, address, bits / 8, tag), () => this.#leaving.interpret(b));
    return hostAddress(b, entry, address);
  }
  load(b: Builder, address: Value, bits: number, forWrite: boolean): Value {
    return this.#load(b, address, bits, forWrite, bits === 128 ? 'v128' : 'i64', LOADS[bits]!);
  }
  loadAs(b: Builder, address: Value, bits: number, type: 'f32' | 'f64' | 'v128'): Value {
    return this.#load(b, address, bits, false, type, type === 'v128' ? `v128.load${bits}_zero` : `${type}.load`);
  }
  #load(b: Builder, address: Value, bits: number, forWrite: boolean, type: ValueType, instruction: string): Value {
    const host = this.#translate(b, address, bits, forWrite ? TLB_WRITE : TLB_READ);
    if (forWrite && !b.conditional) this.#writable = { address, bits, host };
    const loaded = b.unset(type);
    loaded.set(b.fetch(instruction, host));
    return loaded.last(type === 'i64' ? bits : 64);
  }
  store(b: Builder, address: Value, bits: number, value: Value): void {
    const known = this.#writable;
    const host =
      known?.address === address && known.bits >= bits ? known.host : this.#translate(b, address, bits, TLB_WRITE);
    b.put(STORES[bits]!, host, value);
  }
  loadPair(b: Builder, address: Value): readonly [Value, Value] {
    const host = this.#translate(b, address, 256, TLB_READ);
    const lane = (offset: number) => {
      const loaded = b.unset('v128');
      loaded.set(b.fetch('v128.load', host, offset));
      return loaded.last();
    };
    return [lane(0), lane(16)];
  }
  storePair(b: Builder, address: Value, [lower, upper]: readonly [Value, Value]): void {
    const host = this.#translate(b, address, 256, TLB_WRITE);
    b.put('v128.store', host, lower);
    b.put('v128.store', host, upper, 16);
  }
  bulk(b: Builder, kind: 'movs' | 'stos', bytes: number, to: Value, from: Value, count: Value): Value {
    // FS and GS need not be flat: the interpreter does without bulk moves there, too.
    if (!this.wide && kind === 'movs' && this.#current.instruction.segment >= FS) return b.const(0);
    return emitBulk(b, this.#bulk[kind], bytes, to, from, count);
  }
}
