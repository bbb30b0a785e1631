/**
 * The slow paths of memory access as WebAssembly functions: pages that the TLB does not have, accesses across pages,
 * devices, writes to translated code, data breakpoints. SDM 3A 4.10 for the order: all translations first, then the
 * access.
 */

import type { Value } from '../../wasm/code.ts';
import { Body } from '../../wasm/module.ts';
import { EFER_LMA } from '../../x86/control.ts';
import { AC, GP, SS } from '../../x86/vectors.ts';
import { type Layout, PAGE_CODE, TLB_EMPTY } from '../layout.ts';
import * as record from '../record.ts';
import { ACCESS_WRITE } from './access.ts';
import { ProcessorCode } from './code.ts';
import { FAULT_SET, state } from './state.ts';
import { isRam, pageKind } from './tlb-fill.ts';

export interface Imports {
  /** (physical low, physical high, size) -> low half of the value; the high half goes to RESULT + 4. */
  mmioRead: number;
  /** (physical low, physical high, size, value low, value high). */
  mmioWrite: number;
  /** (physical, size): translated code was overwritten. */
  codeWritten: number;
  /** (linear, size, write): an access while data breakpoints are armed. */
  watch: number;
}

/** How a load is done: bits of its third parameter. */
export const LOAD_FOR_WRITE = 1;
export const LOAD_FROM_STACK = 2;

/** Truth value: the access of `size` bytes at `linear` spans two pages. */
export function crosses(b: ProcessorCode, linear: Value, size: Value): Value {
  return b.gtu(b.add(b.and(b.narrow(linear), 4095), size), 4096);
}

/** What the slow paths are made from; `walk` is walkBody's function. */
interface Parts {
  readonly layout: Layout;
  readonly imports: Imports;
  readonly walk: number;
}

/** Code for one access. The record being executed stands in RECORD. */
class SlowAccess {
  readonly b: ProcessorCode;
  readonly layout: Layout;
  readonly imports: Imports;
  readonly #walk: number;
  readonly #linear: Value;
  readonly size: Value;
  /** Truth value: the access is to the stack, whatever operand the instruction has. */
  readonly #stack: Value;

  constructor(
    b: ProcessorCode,
    { layout, imports, walk }: Parts,
    { linear, size, stack }: Record<'linear' | 'size' | 'stack', Value>,
  ) {
    this.b = b;
    this.layout = layout;
    this.imports = imports;
    this.#walk = walk;
    this.#linear = linear;
    this.size = size;
    this.#stack = stack;
  }

  /** The physical address of the access's first byte; a fault leaves the function with `failed`. */
  first(access: Value, failed?: Value): Value {
    this.#checkAlignment(failed);
    return this.#translated(this.#linear, access, failed);
  }
  /** The same of the second page, for an access that spans two. That is where CR2 points if it faults. */
  second(access: Value, failed?: Value): Value {
    const { b } = this;
    const last = b.add(this.#linear, b.wide(b.sub(this.size, 1)));
    // Outside of long mode, addresses wrap at 4 GiB.
    const within = b.select(b.flag(state.EFER, EFER_LMA), -1n, 0xffffffffn);
    return this.#translated(b.and(b.and(last, -4096), within), access, failed);
  }
  /** While alignment is checked, an access has to be aligned to its size, else #AC(0): before a page fault. */
  #checkAlignment(failed?: Value): void {
    const { b } = this;
    const linear = this.#linear;
    b.when(b.eq(b.state32(state.TLB_BASE), TLB_EMPTY), () => {
      const isCanonical = b.eq(b.sar(b.shl(linear, 16), 16), linear);
      b.when(b.both(isCanonical, b.any(b.narrow(linear), b.sub(this.size, 1))), () => {
        b.setState32(state.FAULT, AC | FAULT_SET);
        b.setState32(state.FAULT_CODE, 0);
        b.answer(failed);
      });
    });
  }
  #translated(linear: Value, access: Value, failed?: Value): Value {
    const { b } = this;
    const physical = b.invoke(this.#walk, 'i64', linear, access);
    b.when(b.eq(physical, -1), () => {
      this.#tellStack();
      b.answer(failed);
    });
    return physical;
  }
  /** An address that is not canonical is #SS(0) where the segment is SS: by the stack itself or a base of RSP or RBP. */
  #tellStack(): void {
    const { b } = this;
    const segment = b.fetch('i32.load8_u', b.state32(state.RECORD), record.SEGMENT);
    const inStack = b.either(this.#stack, b.eq(segment, record.STACK_SEGMENT));
    b.when(b.both(b.eq(b.state32(state.FAULT), GP | FAULT_SET), inStack), () =>
      b.setState32(state.FAULT, SS | FAULT_SET),
    );
  }
  spansPages(): Value {
    return crosses(this.b, this.#linear, this.size);
  }
  /** For every byte of an access that spans two pages: its number and its physical address. */
  eachByte(first: Value, second: Value, byte: (index: Value, physical: Value) => void): void {
    const { b } = this;
    const inPage = b.and(b.narrow(this.#linear), 4095);
    const index = b.variable(b.i32(0));
    b.while(
      () => b.ltu(index.get(), this.size),
      () => {
        const at = b.add(inPage, index.get());
        const inSecond = b.add(second, b.wide(b.and(at, 4095)));
        byte(index.get(), b.select(b.ltu(at, 4096), b.add(first, b.wide(index.get())), inSecond));
        index.add(1);
      },
    );
  }
  /** Tells the engine of an access that data breakpoints may watch: before it is made, once it can no longer fault. */
  watch(write: boolean): void {
    const { b } = this;
    b.when(b.state32(state.WATCHING), () =>
      b.perform(this.imports.watch, ...this.halves(this.#linear), this.size, write ? 1 : 0),
    );
  }
  /** As imports take 64 bits. */
  halves(x: Value): [low: Value, high: Value] {
    return [this.b.narrow(x), this.b.narrow(this.b.shr(x, 32))];
  }
  /** Physical addresses in RAM, and the device's at others. */
  where(physical: Value, ram: (at: Value) => void, device: () => void): void {
    const { b, layout } = this;
    b.when(isRam(b, layout, physical), () => ram(b.narrow(physical)), device);
  }
  /** In `cases` by size, up to 64 bits; `vector` for 128. */
  bySize(names: Readonly<Record<number, string>>, each: (instruction: string) => void): void {
    const { b } = this;
    for (const bytes of [8, 4, 2, 1]) b.when(b.eq(this.size, bytes), () => each(names[bytes]!));
  }
}

const LOADS = { 8: 'i64.load', 4: 'i64.load32_u', 2: 'i64.load16_u', 1: 'i64.load8_u' };
const STORES = { 8: 'i64.store', 4: 'i64.store32', 2: 'i64.store16', 1: 'i64.store8' };

/** (linear i64, size i32, LOAD_ bits i32) -> i64. FAULT tells of faults; 128 bits come in SLOW_VECTOR. */
export function slowLoadBody(parts: Parts): Body {
  const { layout, imports } = parts;
  const b = new ProcessorCode(new Body(['i64', 'i32', 'i32'], ['i64']));
  const [linear, size, how] = b.parameters(3);
  const slow = new SlowAccess(b, parts, { linear, size, stack: b.any(how, LOAD_FROM_STACK) });
  const access = b.select(b.and(how, LOAD_FOR_WRITE), ACCESS_WRITE, 0);
  const zero = b.const(0);
  const { guestOrigin } = layout;
  const physical = slow.first(access, zero);
  b.when(slow.spansPages(), () => {
    const second = slow.second(access, zero);
    slow.watch(false);
    slow.eachByte(physical, second, (index, at) => {
      const store = (byte: Value) => b.putState('i32.store8', state.SLOW_VECTOR, byte, index);
      slow.where(
        at,
        ram => store(b.fetch('i32.load8_u', ram, guestOrigin)),
        () => store(b.invoke(imports.mmioRead, 'i32', ...slow.halves(at), 1)),
      );
    });
    // The value, as wide as asked for.
    const unused = b.sub(64, b.wide(b.shl(size, 3)));
    b.answer(b.and(b.state(state.SLOW_VECTOR), b.shr(-1, unused)));
  });
  slow.watch(false);
  slow.where(
    physical,
    at => {
      slow.bySize(LOADS, load => b.answer(b.fetch(load, at, guestOrigin)));
      b.setState(state.SLOW_VECTOR, b.fetch('v128.load', at, guestOrigin), 128);
      b.answer(0);
    },
    () => {
      // 128 bits of a device are two accesses of 64.
      b.when(b.eq(size, 16), () => {
        for (const half of [0, 8]) {
          const low = b.invoke(imports.mmioRead, 'i32', ...slow.halves(b.add(physical, half)), 8);
          b.setState32(state.SLOW_VECTOR + half, low);
          b.setState32(state.SLOW_VECTOR + half + 4, b.state32(state.RESULT + 4));
        }
        b.answer(0);
      });
      const low = b.wide(b.invoke(imports.mmioRead, 'i32', ...slow.halves(physical), size));
      b.when(b.ne(size, 8), () => b.answer(low));
      b.answer(b.or(low, b.shl(b.state(state.RESULT + 4, 32), 32)));
    },
  );
  return b.complete();
}

/** (linear i64, size i32, value i64, to the stack i32). FAULT tells of faults; 128 bits stand in SLOW_VECTOR. */
export function slowStoreBody(parts: Parts): Body {
  const { layout, imports } = parts;
  const b = new ProcessorCode(new Body(['i64', 'i32', 'i64', 'i32'], []));
  const [linear, size, value, stack] = b.parameters(4);
  const slow = new SlowAccess(b, parts, { linear, size, stack });
  const access = b.i32(ACCESS_WRITE);
  const { guestOrigin } = layout;
  const physical = slow.first(access);
  b.when(slow.spansPages(), () => {
    const second = slow.second(access);
    slow.watch(true);
    b.when(b.ne(size, 16), () => b.setState(state.SLOW_VECTOR, value));
    slow.eachByte(physical, second, (index, at) => {
      const byte = b.fetchState('i32.load8_u', state.SLOW_VECTOR, index);
      slow.where(
        at,
        ram => {
          b.put('i32.store8', ram, byte, guestOrigin);
          notifyOfCode(slow, at, b.i32(1));
        },
        () => b.perform(imports.mmioWrite, ...slow.halves(at), 1, byte, 0),
      );
    });
    b.answer();
  });
  slow.watch(true);
  slow.where(
    physical,
    at => {
      slow.bySize(STORES, store => b.put(store, at, value, guestOrigin));
      b.when(b.eq(size, 16), () => b.put('v128.store', at, b.state(state.SLOW_VECTOR, 128), guestOrigin));
      notifyOfCode(slow, physical, size);
    },
    () =>
      b.when(
        b.eq(size, 16),
        () => {
          for (const half of [0, 8]) {
            const [low, high] = [0, 4].map(word => b.state32(state.SLOW_VECTOR + half + word)) as [Value, Value];
            b.perform(imports.mmioWrite, ...slow.halves(b.add(physical, half)), 8, low, high);
          }
        },
        () => b.perform(imports.mmioWrite, ...slow.halves(physical), size, ...slow.halves(value)),
      ),
  );
  return b.complete();
}

/**
 * Tells the engine if the `bytes` at a physical address in RAM held translated code: one of the 64-byte chunks does.
 */
function notifyOfCode({ b, layout, imports }: SlowAccess, physical: Value, bytes: Value): void {
  b.when(b.eq(pageKind(b, layout, physical), PAGE_CODE), () => {
    const page = b.narrow(b.shr(physical, 12));
    const chunks = b.fetch('i64.load', b.shl(page, 3), layout.codeChunks);
    // A shift's count is taken modulo 64: the chunk's number in its page.
    const chunk = (address: Value) => b.shl(1, b.shr(address, 6));
    const written = b.or(chunk(physical), chunk(b.add(physical, b.wide(b.sub(bytes, 1)))));
    b.when(b.any(chunks, written), () => b.perform(imports.codeWritten, b.narrow(physical), bytes));
  });
}
