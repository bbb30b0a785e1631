/**
 * The guest's memory as the interpreter's handlers reach it: by the TLB, or through the slow paths of paging.ts;
 * outside 64-bit mode through segments, whose limits and rights are checked by `segmentBody`.
 */

import type { Operand, Value } from '../../wasm/code.ts';
import { DS, ES, FS, SS } from '../../x86/segments.ts';
import { TLB_READ, TLB_WRITE } from '../layout.ts';
import * as record from '../record.ts';
import { type Builder, LOADS, STORES } from '../x86/builder.ts';
import { BULK_TO_CODE, emitBulk } from '../x86/bulk.ts';
import { LOAD_FOR_WRITE, LOAD_FROM_STACK } from '../x86/slow-access.ts';
import { state } from '../x86/state.ts';
import type { Memory } from '../x86/tier.ts';
import { entryOf, hostAddress, misses } from '../x86/tlb-entry.ts';
import type { Functions, Leaving } from './handler.ts';
import { RecordValues } from './record-values.ts';

/** The segments whose offsets bulk moves take for linear addresses. */
const BULK_SEGMENTS = (1 << ES) | (1 << SS) | (1 << DS);

export class InterpreterMemory implements Memory {
  readonly wide: boolean;
  readonly flat: boolean;
  readonly record: RecordValues;
  readonly #leaving: Leaving;
  readonly #functions: Functions;

  constructor(wide: boolean, leaving: Leaving, functions: Functions) {
    this.wide = wide;
    this.flat = wide;
    this.record = new RecordValues(leaving.record, wide);
    this.#leaving = leaving;
    this.#functions = functions;
  }

  linear(b: Builder, segment: number, offset: Value, bytes: number, write: boolean): Value {
    if (this.wide) return segment >= FS ? b.add(offset, b.state(state.SEGMENT_BASE + 8 * segment)) : offset;
    return this.#segmented(b, segment, offset, bytes, write);
  }
  /** The linear address of an offset in the segment that the record names. */
  overridden(b: Builder, offset: Value, bytes: number, write: boolean): Value {
    // In 64-bit mode the record names the base of FS or GS, or a field that is zero.
    if (this.wide) return b.add(offset, b.fetchState('i64.load', 0, this.record.byte(b, record.SEGMENT)));
    return this.#segmented(b, this.record.byte(b, record.SEGMENT), offset, bytes, write);
  }
  /** The same outside 64-bit mode without a check. */
  unchecked(b: Builder, offset: Value): Value {
    const segment = b.shl(this.record.byte(b, record.SEGMENT), 3);
    return b.zx(b.add(b.fetchState('i64.load', state.SEGMENT_BASE, segment, 'segments'), offset), 32);
  }
  #segmented(b: Builder, segment: Operand, offset: Value, bytes: number, write: boolean): Value {
    const linear = b.unset('i64');
    linear.set(b.called(this.#functions.segment, 'i64', segment, offset, bytes, write ? 1 : 0));
    this.faultIfSet(b);
    return linear.last();
  }

  load(b: Builder, address: Value, bits: number, forWrite: boolean, stack: boolean): Value {
    const entry = entryOf(b, address);
    const loaded = b.unset(bits === 128 ? 'v128' : 'i64');
    b.aside(
      misses(b, entry, address, bits / 8, forWrite ? TLB_WRITE : TLB_READ),
      () => {
        this.record.save(b);
        const how = (forWrite ? LOAD_FOR_WRITE : 0) | (stack ? LOAD_FROM_STACK : 0);
        const slow = b.called(this.#functions.slowLoad, 'i64', address, bits / 8, how);
        if (bits === 128) {
          b.drop(slow);
          loaded.set(b.state(state.SLOW_VECTOR, 128));
        } else loaded.set(slow);
        this.faultIfSet(b);
      },
      () => loaded.set(b.fetch(LOADS[bits]!, hostAddress(b, entry, address))),
    );
    return loaded.last();
  }
  store(b: Builder, address: Value, bits: number, value: Value, stack: boolean): void {
    const entry = entryOf(b, address);
    b.aside(
      misses(b, entry, address, bits / 8, TLB_WRITE),
      () => {
        this.record.save(b);
        if (bits === 128) b.setState(state.SLOW_VECTOR, value, 128);
        b.perform(this.#functions.slowStore, address, bits / 8, bits === 128 ? 0n : value, stack ? 1 : 0);
        this.faultIfSet(b);
      },
      () => b.put(STORES[bits]!, hostAddress(b, entry, address), value),
    );
  }
  loadPair(b: Builder, address: Value): readonly [Value, Value] {
    const entry = entryOf(b, address);
    const lanes = [0, 16].map(offset => ({ offset, loaded: b.unset('v128') }));
    b.aside(
      misses(b, entry, address, 32, TLB_READ),
      () => {
        for (const { offset, loaded } of lanes) loaded.set(this.#slowLane(b, b.add(address, offset), 0));
      },
      () => {
        for (const { offset, loaded } of lanes)
          loaded.set(b.fetch('v128.load', hostAddress(b, entry, address), offset));
      },
    );
    return [lanes[0]!.loaded.last(), lanes[1]!.loaded.last()];
  }
  /** 128 bits by the slow path. */
  #slowLane(b: Builder, address: Value, how: number): Value {
    this.record.save(b);
    b.drop(b.called(this.#functions.slowLoad, 'i64', address, 16, how));
    this.faultIfSet(b);
    return b.state(state.SLOW_VECTOR, 128);
  }
  storePair(b: Builder, address: Value, values: readonly [Value, Value]): void {
    const entry = entryOf(b, address);
    b.aside(
      misses(b, entry, address, 32, TLB_WRITE),
      () => {
        const places = [address, b.add(address, 16)] as const;
        // Both may be written, or nothing is.
        for (const place of places) b.drop(this.#slowLane(b, place, LOAD_FOR_WRITE));
        values.forEach((value, i) => {
          b.setState(state.SLOW_VECTOR, value, 128);
          b.perform(this.#functions.slowStore, places[i]!, 16, 0n, 0);
          this.faultIfSet(b);
        });
      },
      () => {
        for (const [i, value] of values.entries()) b.put('v128.store', hostAddress(b, entry, address), value, 16 * i);
      },
    );
  }
  bulk(b: Builder, kind: 'movs' | 'stos', bytes: number, to: Value, from: Value, count: Value): Value {
    const all = () => {
      // For a debugger that watches: it stops after this instruction.
      this.record.save(b);
      return emitBulk(b, this.#functions.bulk[kind], bytes | BULK_TO_CODE, to, from, count);
    };
    if (this.wide) return all();
    // The addresses are offsets: for segments where that is the same, which FS and GS need not be; code may be
    // unreadable.
    const flat = b.both(b.state32(state.FLAT), b.i32(BULK_SEGMENTS));
    const source = kind === 'movs' ? b.shr(flat, this.record.byte(b, record.SEGMENT)) : flat;
    const done = b.variable(b.const(0));
    b.when(b.both(b.both(flat, source), b.i32(1 << ES)), () => done.set(all()));
    return done.get();
  }
  /** Leaves if a function of the interpreter's has set FAULT. */
  faultIfSet(b: Builder): void {
    b.aside(b.state32(state.FAULT), () => this.#leaving.fault(b));
  }
}
