/**
 * REP MOVS and STOS in bulk: as much as lies in one page at each end, with one memory.copy or memory.fill. Nothing here faults:
 * whatever is out of the ordinary answers 0, and the instruction does one element the ordinary way.
 */
import { type Layout, PAGE_RAM } from '../layout.ts';
import { Body, type Module } from '../wasm/module.ts';
import type { Builder, Value } from './builder.ts';
import { ACCESS_QUIET, ACCESS_WRITE } from './paging.ts';
import * as state from './state.ts';

/** Calls (to, from or value, count, bytes) -> elements done. */
export function emitBulk(b: Builder, fn: number, bytes: number, to: Value, from: Value, count: Value): Value {
  b.use(to, from, count);
  const result = b.temporary('i64');
  b.effect(() => {
    b.emit(to);
    b.emit(from);
    b.emit(count);
    b.body.i32(bytes);
    b.body.call(fn);
    b.body.set(result);
  });
  return b.local('i64', result);
}

export function defineBulk(module: Module, layout: Layout, walk: number): Record<'movs' | 'stos', number> {
  return {
    movs: module.function(bulkBody(layout, walk, true), 'bulkMovs'),
    stos: module.function(bulkBody(layout, walk, false), 'bulkStos'),
  };
}

function bulkBody(layout: Layout, walk: number, moves: boolean): Body {
  const b = new Body(['i64', 'i64', 'i64', 'i32'], ['i64']);
  const [to, from, count, bytes] = [0, 1, 2, 3];
  const destination = b.local('i32');
  const source = b.local('i32');
  const length = b.local('i32');
  const physical = b.local('i64');
  const elements = b.local('i64');
  const stateField = (offset: number) => {
    b.i32(0);
    b.memory('i32.load', state.STATE + offset);
  };
  const refuse = () => {
    b.if();
    b.i64(0n);
    b.return();
    b.end();
  };
  /** elements = min(elements, whole elements left in the page of `address`). */
  const limit = (address: number) => {
    const left = b.local('i64');
    b.i32(4096);
    b.get(address);
    b.op('i32.wrap_i64');
    b.i32(4095);
    b.op('i32.and');
    b.op('i32.sub');
    b.get(bytes);
    b.op('i32.div_u');
    b.op('i64.extend_i32_u');
    b.set(left);
    b.get(elements);
    b.get(left);
    b.get(elements);
    b.get(left);
    b.op('i64.lt_u');
    b.select();
    b.set(elements);
  };
  /** into = where `address` lies in the WebAssembly memory, if that is plain RAM without translated code. */
  const host = (address: number, access: number, into: number) => {
    b.get(address);
    b.i32(access | ACCESS_QUIET);
    b.call(walk);
    b.tee(physical);
    b.i64(BigInt(layout.ramSize));
    b.op('i64.ge_u'); // also catches -1
    refuse();
    b.get(physical);
    b.i64(12n);
    b.op('i64.shr_u');
    b.op('i32.wrap_i64');
    b.memory('i32.load8_u', layout.pageKind);
    b.i32(PAGE_RAM);
    b.op('i32.ne');
    refuse();
    b.get(physical);
    b.op('i32.wrap_i64');
    b.i32(layout.guestOrigin);
    b.op('i32.add');
    b.set(into);
  };

  stateField(state.FLAGS_REST);
  b.i32(state.DF);
  b.op('i32.and');
  stateField(state.WATCHING);
  b.op('i32.or');
  refuse();
  b.get(count);
  b.set(elements);
  limit(to);
  if (moves) limit(from);
  b.get(elements);
  b.op('i64.eqz');
  refuse();
  b.get(elements);
  b.op('i32.wrap_i64');
  b.get(bytes);
  b.op('i32.mul');
  b.set(length);
  if (moves) {
    host(from, 0, source);
    host(to, ACCESS_WRITE, destination);
    // A destination that overtakes the source repeats a pattern: element by element.
    b.get(destination);
    b.get(source);
    b.op('i32.sub');
    b.get(length);
    b.op('i32.lt_u');
    refuse();
    b.get(destination);
    b.get(source);
    b.get(length);
    b.memoryCopy();
  } else {
    host(to, ACCESS_WRITE, destination);
    // `from` is the value: all its bytes alike, or stored one by one.
    const byte = b.local('i64');
    b.get(from);
    b.i64(0xffn);
    b.op('i64.and');
    b.set(byte);
    const mask = b.local('i64');
    b.i64(-1n);
    b.i64(64n);
    b.get(bytes);
    b.i32(3);
    b.op('i32.shl');
    b.op('i64.extend_i32_u');
    b.op('i64.sub');
    b.op('i64.shr_u');
    b.set(mask);
    b.get(byte);
    b.i64(0x0101010101010101n);
    b.op('i64.mul');
    b.get(from);
    b.op('i64.xor');
    b.get(mask);
    b.op('i64.and');
    b.op('i64.eqz');
    b.if();
    b.get(destination);
    b.get(byte);
    b.op('i32.wrap_i64');
    b.get(length);
    b.memoryFill();
    b.else();
    const end = b.local('i32');
    b.get(destination);
    b.get(length);
    b.op('i32.add');
    b.set(end);
    const next = b.loop();
    for (const [width, store] of [
      [2, 'i64.store16'],
      [4, 'i64.store32'],
      [8, 'i64.store'],
    ] as const) {
      b.get(bytes);
      b.i32(width);
      b.op('i32.eq');
      b.if();
      b.get(destination);
      b.get(from);
      b.memory(store, 0);
      b.end();
    }
    b.get(destination);
    b.get(bytes);
    b.op('i32.add');
    b.tee(destination);
    b.get(end);
    b.op('i32.lt_u');
    b.brIf(next);
    b.end();
    b.end();
  }
  b.get(elements);
  return b;
}
