/**
 * REP MOVS and STOS in bulk: as much as lies in one page at each end, with one memory.copy or memory.fill. Nothing here faults:
 * whatever is out of the ordinary answers 0, and the instruction does one element the ordinary way.
 */

import type { Body, Module } from '../../wasm/module.ts';
import { DF } from '../../x86/flags.ts';
import type { Builder, Value } from './builder.ts';
import { Hand } from './hand.ts';
import { ACCESS_WRITE } from './paging.ts';
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

/** @param reach reachBody's function */
export function defineBulk(module: Module, reach: number): Record<'movs' | 'stos', number> {
  return {
    movs: module.function(bulkBody(reach, true), 'bulkMovs'),
    stos: module.function(bulkBody(reach, false), 'bulkStos'),
  };
}

/** Up to so many bytes, a loop is faster than V8's call for memory.copy and memory.fill. */
const SHORT = 128;

function bulkBody(reach: number, moves: boolean): Body {
  const b = new Hand(['i64', 'i64', 'i64', 'i32'], ['i64']);
  const [to, from, count, bytes] = [0, 1, 2, 3];
  const destination = b.local('i32');
  const source = b.local('i32');
  const length = b.local('i32');
  const elements = b.local('i64');
  const refuse = () =>
    b.when(() => {
      b.i64(0n);
      b.return();
    });
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
  /** into = where `address` lies in the WebAssembly memory, if that is plain RAM. */
  const host = (address: number, access: number, into: number) => {
    b.get(address);
    b.get(length);
    b.i32(access);
    b.call(reach);
    b.tee(into);
    b.op('i32.eqz');
    refuse();
  };
  const advance = (local: number, by: () => void, op = 'i32.add') => {
    b.get(local);
    by();
    b.op(op);
    b.set(local);
  };
  /** Stores `width` bytes at `destination` as long as there are so many left, and moves on. */
  const storeWhile = (width: number, store: string, value: () => void) => {
    const out = b.block();
    const next = b.loop();
    b.get(length);
    b.i32(width);
    b.op('i32.lt_u');
    b.brIf(out);
    b.get(destination);
    value();
    b.memory(store, 0);
    advance(destination, () => b.i32(width));
    if (moves) advance(source, () => b.i32(width));
    advance(length, () => b.i32(width), 'i32.sub');
    b.br(next);
    b.end();
    b.end();
  };
  const isLong = () => {
    b.get(length);
    b.i32(SHORT);
    b.op('i32.gt_u');
  };

  b.flag(state.FLAGS_REST, DF);
  b.state32(state.WATCHING);
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
    isLong();
    b.when(
      () => {
        b.get(destination);
        b.get(source);
        b.get(length);
        b.memoryCopy();
      },
      () => {
        for (const [width, load, store] of [
          [8, 'i64.load', 'i64.store'],
          [1, 'i64.load8_u', 'i64.store8'],
        ] as const)
          storeWhile(width, store, () => {
            b.get(source);
            b.memory(load, 0);
          });
      },
    );
  } else {
    host(to, ACCESS_WRITE, destination);
    // `from` is the value, whose lowest `bytes` bytes count: repeated, it fills eight.
    for (const [width, all] of [
      [1, 0x0101010101010101n],
      [2, 0x0001000100010001n],
      [4, 0x0000000100000001n],
    ] as const) {
      b.get(bytes);
      b.i32(width);
      b.op('i32.eq');
      b.when(() => {
        b.get(from);
        b.i64((1n << BigInt(8 * width)) - 1n);
        b.op('i64.and');
        b.i64(all);
        b.op('i64.mul');
        b.set(from);
      });
    }
    isLong();
    // All bytes alike?
    b.get(from);
    b.get(from);
    b.i64(8n);
    b.op('i64.rotl');
    b.op('i64.eq');
    b.op('i32.and');
    b.when(
      () => {
        b.get(destination);
        b.get(from);
        b.op('i32.wrap_i64');
        b.get(length);
        b.memoryFill();
      },
      () => {
        storeWhile(8, 'i64.store', () => b.get(from));
        storeWhile(1, 'i64.store8', () => {
          b.get(from);
          advance(from, () => b.i64(8n), 'i64.rotr');
        });
      },
    );
  }
  b.get(elements);
  return b;
}
