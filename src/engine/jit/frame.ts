/**
 * The frame around a region's code: what is read from the state when the region is entered, and written when it is
 * left.
 */

import type { Variable } from '../../wasm/code.ts';
import { hasTailCalls } from '../../wasm/features.ts';
import { type Layout, TLB_EXECUTE } from '../layout.ts';
import { ACCESS_EXECUTE, ACCESS_QUIET } from '../x86/access.ts';
import type { Builder, Value } from '../x86/builder.ts';
import { lacksVex } from '../x86/instructions/bits.ts';
import { UNITS } from '../x86/instructions/row.ts';
import { state } from '../x86/state.ts';
import { entryOffset, hostAddress } from '../x86/tlb-entry.ts';
import type { CodePage, Region } from './region.ts';
import type { RegionRegisters } from './registers.ts';

/** How instructions of a region leave it, or go on within it. */
export interface Leaving {
  /** Leaves with the interpreter to execute the current instruction, from any depth of blocks. */
  interpret(b: Builder): void;
  /** Leaves after the current instruction, which is complete. */
  next(b: Builder): void;
  /** Instructions of the block before the current one. */
  done(): number;
  /** To a linear address, dynamic. */
  jump(b: Builder, target: Value): void;
  branch(b: Builder, condition: Value): void;
}

/** The locals of a region. */
export interface RegionVariables {
  registers: RegionRegisters;
  /** The linear address of the entry's page. */
  base: Variable;
  /** The address of the TLB's bank. */
  tlb: Variable;
  fuel: Variable;
  /** Where to go on when the region is left, and whether the interpreter must execute the instruction there. */
  exitRip: Variable;
  interpret: Variable;
}

/** Functions that the frame calls. */
export interface FrameFunctions {
  walk: number;
  chain32: number;
  chain64: number;
}

/** The function's parameter: 0 if the jump cache led here. */
const FROM_INTERPRETER = 0;

/** A linear address, which wraps outside 64-bit mode. */
const wrapped = (b: Builder, wide: boolean, linear: Value) => (wide ? linear : b.zx(linear, 32));

/**
 * Enters a region: returns 1 if it cannot be entered now. Written last, when it is known what the region's code uses.
 */
export function enterRegion(
  b: Builder,
  layout: Layout,
  region: Region,
  variables: RegionVariables,
  segments: ReadonlySet<number>,
  { walk }: FrameFunctions,
): void {
  const { registers, base, tlb, fuel } = variables;
  const { wide } = b.tier;
  const refuseIf = (condition: Value) => b.when(condition, () => b.answer(1));
  // The interpreter and the jump cache enter a region only with fuel for REGION_LIMIT instructions.
  fuel.set(b.state32(state.FUEL));
  const units = new Set(region.blocks.flatMap(({ code }) => code.map(({ instruction }) => instruction.form!.row.unit)));
  for (const [index, unit] of UNITS.entries()) if (units.has(unit)) refuseIf(b.state32(state.UNIT_TRAP + 4 * index));
  if (!wide) {
    if (region.blocks.some(({ code }) => code.some(({ instruction }) => instruction.form!.row.vex)))
      refuseIf(lacksVex(b));
    const flat = [...segments].reduce((bits, segment) => bits | (1 << segment), 0);
    refuseIf(b.ne(b.and(b.state32(state.FLAT), flat), flat));
  }
  base.set(b.state(state.PAGE));
  tlb.set(b.state32(state.TLB_BASE));
  const others = region.pages.filter(({ delta }) => delta !== 0);
  // The other pages must still be mapped where they were: the jump cache would not have led here otherwise.
  if (others.length)
    b.when(b.local('i32', FROM_INTERPRETER), () => {
      for (const page of others) refuseIf(isElsewhere(b, layout, page, variables, walk));
    });
  for (const { variable, load, offset } of [...registers.used(), ...registers.flags()])
    variable.set(b.fetchState(load, offset));
}

/** True if one of the region's pages is not mapped where it was. */
function isElsewhere(
  b: Builder,
  layout: Layout,
  { delta, physical }: CodePage,
  { base, tlb }: RegionVariables,
  walk: number,
): Value {
  const page = wrapped(b, b.tier.wide, b.add(base.get(), BigInt(delta * 4096)));
  const entry = b.add(entryOffset(b, page), tlb.get());
  return b.choose(
    b.eq(b.fetch('i64.load', entry, TLB_EXECUTE, 'tlb'), page),
    () => b.ne(hostAddress(b, entry, page), layout.guestOrigin + physical),
    // This may set accessed flags before the guest comes there, as processors do. To refuse instead has the interpreter
    // execute loops whose rare ways out lie in a page that this process has not come to.
    () => b.ne(b.called(walk, 'i64', page, ACCESS_EXECUTE | ACCESS_QUIET), BigInt(physical)),
  );
}

/** Leaves a region: everything goes back to the state, and the next region is entered if there is one. */
export function leaveRegion(
  b: Builder,
  { registers, fuel, exitRip, interpret }: RegionVariables,
  { chain32, chain64 }: FrameFunctions,
): void {
  const { wide } = b.tier;
  for (const { variable, store, offset } of registers.changed()) b.putState(store, offset, variable.get());
  if (!wide) exitRip.set(b.and(exitRip.get(), 0xffffffffn));
  b.setState(state.RIP, exitRip.get());
  b.setState32(state.FUEL, fuel.get());
  for (const { variable, store, offset } of registers.flags()) b.putState(store, offset, variable.get());
  b.aside(interpret.get(), () => b.answer(1));
  const chain = wide ? chain64 : chain32;
  if (hasTailCalls) b.answerWith(chain, exitRip.get());
  else b.answer(b.called(chain, 'i32', exitRip.get()));
}
