/** The handlers of records that are not instructions (record.ts). */

import type { Value } from '../../wasm/expressions.ts';
import { BLOCK_RECORD, REGION_LIMIT } from '../layout.ts';
import * as record from '../record.ts';
import { toRegionFlags } from '../x86/lazy-flags.ts';
import { FAULT_SET, state } from '../x86/state.ts';
import { entryOf, missesCode } from '../x86/tlb-entry.ts';
import { isOther, lookUpCode, setBlockEntry, setPhysical } from './look-up.ts';
import type { LoopCode } from './loop-code.ts';

/** In the order of their numbers. */
export function specialHandlers(b: LoopCode): (() => void)[] {
  const handlers: Record<number, () => void> = {
    [record.STALE]: () => stale(b),
    [record.STOP]: () => b.exit(record.EXIT_STOP),
    [record.CHAIN]: () => chain(b),
    [record.CROSSING]: () => crossing(b),
    [record.ADDRESS]: () => address(b),
    [record.TRANSLATED]: () => translated(b),
    [record.UNDEFINED]: () => undefinedInstruction(b),
  };
  return Array.from({ length: record.FIRST_INSTRUCTION }, (_, number) => handlers[number]!);
}

/** The code has changed: its block is looked up anew. */
function stale(b: LoopCode): void {
  b.setTargetHere();
  b.exitIf(b.charge(b.position()));
  b.slot.set(0);
  b.go('resolve');
}

function chain(b: LoopCode): void {
  b.setTargetHere();
  b.exitIf(b.charge(b.position()));
  b.slot.set(b.add(b.rec.get(), record.TAKEN));
  b.follow();
  b.go('resolve');
}

function crossing(b: LoopCode): void {
  b.target.set(b.add(b.state(state.PAGE), 4096n));
  lookUpCode(
    b,
    () => b.go('fault'),
    () => b.exit(record.EXIT_CROSSING),
  );
  b.when(b.ne(b.physical.get(), b.field('i32.load', record.IMMEDIATE)), () => b.exit(record.EXIT_CROSSING));
  b.advance();
}

function address(b: LoopCode): void {
  const register = (field: number) => b.fetchState('i64.load', 0, b.field('i32.load8_u', field), 'gpr');
  const index = b.shl(register(record.INDEX), b.field('i64.load8_u', record.SCALE));
  const sum = b.add(b.add(register(record.BASE), index), b.field('i64.load32_s', record.DISPLACEMENT));
  const offset = b.and(sum, b.field('i64.load', record.IMMEDIATE));
  b.setState(state.SCRATCH, b.add(offset, register(record.REGISTER)));
  b.advance();
}

function undefinedInstruction(b: LoopCode): void {
  b.setState32(state.FAULT, b.or(b.field('i32.load', record.IMMEDIATE), FAULT_SET));
  b.setState32(state.FAULT_CODE, 0);
  b.go('fault');
}

/** Enters translated code, and goes straight on to the next region as long as there is one. */
function translated(b: LoopCode): void {
  const { parts, target, entry, rec, raw, slot } = b;
  // A region that cannot be entered leaves RIP alone.
  b.setTargetHere();
  b.saveRip();
  toRegionFlags(b);
  b.outerLoop(again => {
    b.when(isFuelLow(b), () => interpretInstead(b));
    raw.set(b.invokeIndirect(parts.handlerType, b.field('i32.load', record.TAKEN), 'i32', rec.get()));
    b.setTargetToRip();
    b.outerBlock(out => {
      b.when(raw.get(), () => {
        parts.jumps.forget(b, target.get());
        out();
      });
      // A region also returns because fuel is low. The jump cache then has the entry already.
      out(isFuelLow(b));
      entry.set(entryOf(b, target.get()));
      out(missesCode(b, entry.get(), target.get()));
      setPhysical(b);
      setBlockEntry(b);
      out(isOther(b));
      const block = b.variable(b.fetch('i32.load', entry.get(), BLOCK_RECORD));
      out(b.ne(b.fetchFixed('i32.load16_u', block.get(), record.HANDLER), record.TRANSLATED));
      rec.set(block.get());
      b.setPage();
      parts.jumps.note(b, target.get(), rec.get());
      again();
    });
    b.perform(parts.computeFlags);
    b.exitIf(b.spent());
    slot.set(0);
    b.go('resolve');
  });
}
/** Translated code counts whole stretches: near the budget's end the interpreter takes over. */
function isFuelLow(b: LoopCode): Value {
  return b.les(b.state32(state.FUEL), REGION_LIMIT);
}
function interpretInstead(b: LoopCode): void {
  b.perform(b.parts.computeFlags);
  b.when(b.either(b.no(b.state32(state.EXACT)), b.spent()), () => b.exit(record.EXIT_BUDGET));
  b.rec.set(b.field('i32.load', record.NOT_TAKEN));
  b.go('next');
}
