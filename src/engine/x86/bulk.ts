/**
 * REP MOVS and STOS in bulk: all elements that lie in one page at each end, with one memory.copy or memory.fill. Nothing
 * here faults: for an unusual case the functions answer 0, and the instruction then does one element in the ordinary
 * way. How many elements are done at once is how many instructions are counted: it follows from the guest's state alone, not
 * from what has been translated. (A region, which might overwrite itself, leaves that case to the interpreter.)
 */

import type { Code, Value } from '../../wasm/code.ts';
import { Body, type Module } from '../../wasm/module.ts';
import { DF, TF } from '../../x86/flags.ts';
import { ACCESS_CODE, ACCESS_WRITE } from './access.ts';
import { ProcessorCode } from './code.ts';
import { WATCHED_BY_GUEST } from './control.ts';
import { state } from './state.ts';

/** With the bytes of an element: the destination may be RAM that code was translated from. For the interpreter alone. */
export const BULK_TO_CODE = ACCESS_CODE;

/** Calls (to, from or value, count, bytes, and perhaps BULK_TO_CODE) -> elements done. */
export function emitBulk(b: Code, fn: number, bytes: number, to: Value, from: Value, count: Value): Value {
  return b.invokePure(fn, 'i64', to, from, count, bytes);
}

/** @param reach reachBody's function; @param watch the import that hears of watched accesses */
export function defineBulk(module: Module, reach: number, watch: number): Record<'movs' | 'stos', number> {
  return {
    movs: module.function(bulkBody(reach, watch, true), 'bulkMovs'),
    stos: module.function(bulkBody(reach, watch, false), 'bulkStos'),
  };
}

/** Up to so many bytes, a loop is faster than V8's call for memory.copy and memory.fill. */
const SHORT = 128;

function bulkBody(reach: number, watch: number, moves: boolean): Body {
  const b = new ProcessorCode(new Body(['i64', 'i64', 'i64', 'i32'], ['i64']));
  const [to, from, count, how] = b.parameters(4);
  const bytes = b.and(how, BULK_TO_CODE - 1);
  const write = b.either(b.and(how, BULK_TO_CODE), b.i32(ACCESS_WRITE));
  const refuseIf = (condition: Value) => b.when(condition, () => b.answer(0));
  /** The lesser of `most` and the number of whole elements left in the page of `address`. */
  const limited = (most: Value, address: Value) => {
    const left = b.wide(b.div(b.sub(4096, b.and(b.narrow(address), 4095)), bytes));
    return b.select(b.ltu(most, left), most, left);
  };
  /** Where `length` bytes at an address lie in the WebAssembly memory, if that is plain RAM. */
  const host = (address: Value, access: Value | number) => {
    const at = b.invoke(reach, 'i32', address, length, access);
    refuseIf(b.no(at));
    return at;
  };

  // With TF every element is stepped over; the guest's own breakpoints stop it after the element. A debugger on the host's side must not
  // change the number of instructions: it hears of the whole.
  const isWatched = b.state32(state.WATCHING);
  refuseIf(b.either(b.flag(state.FLAGS_REST, DF | TF), b.and(isWatched, WATCHED_BY_GUEST)));
  const tell = (address: Value, isWrite: boolean) =>
    b.when(b.state32(state.WATCHING), () =>
      b.perform(watch, b.narrow(address), b.narrow(b.shr(address, 32)), length, isWrite ? 1 : 0),
    );
  const first = limited(count, to);
  const elements = moves ? limited(first, from) : first;
  refuseIf(b.eqz(elements));
  const length = b.mul(b.narrow(elements), bytes);
  if (moves) {
    const source = host(from, 0);
    const destination = host(to, write);
    // A destination that overtakes the source repeats a pattern: element by element.
    refuseIf(b.ltu(b.sub(destination, source), length));
    tell(from, false);
    tell(to, true);
    emitCopy(b, destination, source, length);
  } else {
    const destination = host(to, write);
    tell(to, true);
    emitFill(b, destination, from, bytes, length);
  }
  b.answer(elements);
  return b.complete();
}

function emitCopy(b: Code, destination: Value, source: Value, length: Value): void {
  b.when(
    b.gtu(length, SHORT),
    () => b.memoryCopy(destination, source, length),
    () => {
      const at = b.variable(source);
      const steps = new Steps(b, destination, length);
      for (const [width, load, store] of [
        [8, 'i64.load', 'i64.store'],
        [1, 'i64.load8_u', 'i64.store8'],
      ] as const)
        steps.of(width, store, () => {
          const value = b.fetch(load, at.get());
          at.add(width);
          return value;
        });
    },
  );
}
/** Fills with the lowest `bytes` bytes of `value`. */
function emitFill(b: Code, destination: Value, value: Value, bytes: Value, length: Value): void {
  // Repeated, they fill eight.
  const pattern = b.variable(value);
  for (const [width, all] of [
    [1, 0x0101010101010101n],
    [2, 0x0001000100010001n],
    [4, 0x0000000100000001n],
  ] as const)
    b.when(b.eq(bytes, width), () => pattern.set(b.mul(b.zx(pattern.get(), 8 * width), all)));
  const isByte = b.eq(pattern.get(), b.rotl(pattern.get(), 8));
  b.when(
    b.both(b.gtu(length, SHORT), isByte),
    () => b.memoryFill(destination, b.narrow(pattern.get()), length),
    () => {
      const steps = new Steps(b, destination, length);
      steps.of(8, 'i64.store', () => pattern.get());
      steps.of(1, 'i64.store8', () => {
        const byte = pattern.get();
        pattern.set(b.rotr(byte, 8));
        return byte;
      });
    },
  );
}
/** Stores one after the other to [destination, destination + length). */
class Steps {
  readonly #b: Code;
  readonly #at;
  readonly #left;
  constructor(b: Code, destination: Value, length: Value) {
    this.#b = b;
    this.#at = b.variable(destination);
    this.#left = b.variable(length);
  }
  /** Steps of `width` bytes, as many as there is room for. */
  of(width: number, store: string, value: () => Value): void {
    const b = this.#b;
    b.while(
      () => b.geu(this.#left.get(), width),
      () => {
        b.put(store, this.#at.get(), value());
        this.#at.add(width);
        this.#left.sub(width);
      },
    );
  }
}
