/**
 * The interpreter: one WebAssembly module made from the table. `run` is a loop with a br_table over the hot handlers
 * (dispatch.ts); the others are functions of their own, because V8 never optimises a loop of hundreds of kilobytes.
 */

import { Body, Module } from '../../wasm/module.ts';
import type { Layout } from '../layout.ts';
import { FIRST_INSTRUCTION } from '../record.ts';
import { defineBulk } from '../x86/bulk.ts';
import { defineCheckedFloats } from '../x86/checked-floats.ts';
import { computeFlagsBody } from '../x86/lazy-flags.ts';
import { emitPaging } from '../x86/paging.ts';
import { definePureFunctions } from '../x86/pure-functions.ts';
import { reachBody } from '../x86/reach.ts';
import type { Imports } from '../x86/slow-access.ts';
import { emitTraps } from '../x86/traps.ts';
import { runBody } from './dispatch.ts';
import type { Functions } from './handler.ts';
import { JumpCache } from './jump-cache.ts';
import { ownFunctionBody } from './own-function.ts';
import { segmentBody } from './segment.ts';
import { variantsOf } from './variants.ts';

export interface InterpreterModule {
  bytes: Uint8Array<ArrayBuffer>;
  /** By `handlerKey`: the handler's number, or 0 where there is none. */
  handlers: Uint16Array;
  /** Helper names by number: what the `helper` import is called with. */
  helpers: readonly string[];
}

/** @param wide the interpreter of 64-bit mode, or that of all other modes */
export function buildInterpreter(layout: Layout, wide: boolean): InterpreterModule {
  const module = new Module(layout.importedPages);
  const helpers: string[] = [];
  const functions = defineFunctions(module, layout, wide, helpers);
  const computeFlags = module.function(computeFlagsBody());
  const handlerType = module.type(['i32'], ['i32']);
  const jumps = new JumpCache(wide);
  module.function(jumps.chainBody(handlerType), `chain${wide ? 64 : 32}`);

  const { all, hotCount, numbers } = variantsOf(wide);
  const unused = new Body(['i32'], ['i32']);
  unused.unreachable();
  const elements: number[] = new Array(FIRST_INSTRUCTION + hotCount).fill(module.function(unused));
  for (const variant of all.slice(hotCount)) elements.push(module.function(ownFunctionBody(variant, functions)));
  const parts = { layout, wide, functions, jumps, computeFlags, handlerType };
  module.function(runBody(parts, all.slice(0, hotCount)), 'run');
  module.defineTable(elements);
  return { bytes: module.encode(), handlers: numbers, helpers };
}

/**
 * The module's imports, and the functions that handlers call. @param helpers gets the names of the helpers they call
 */
function defineFunctions(module: Module, layout: Layout, wide: boolean, helpers: string[]): Functions {
  const imports: Imports & { helper: number } = {
    helper: module.import('env', 'helper', ['i32'], ['i32']),
    mmioRead: module.import('env', 'mmioRead', ['i32', 'i32', 'i32'], ['i32']),
    mmioWrite: module.import('env', 'mmioWrite', ['i32', 'i32', 'i32', 'i32', 'i32'], []),
    codeWritten: module.import('env', 'codeWritten', ['i32', 'i32'], []),
    watch: module.import('env', 'watch', ['i32', 'i32', 'i32', 'i32'], []),
  };
  const helperNumber = (name: string) => {
    const known = helpers.indexOf(name);
    return known >= 0 ? known : helpers.push(name) - 1;
  };
  const paging = emitPaging(module, layout, imports);
  const reach = module.function(reachBody(layout, paging.walk, imports.codeWritten));
  return {
    ...paging,
    helper: imports.helper,
    helperNumber,
    segment: module.function(segmentBody(), 'segment'),
    traps: wide ? emitTraps(module, reach) : undefined,
    bulk: defineBulk(module, reach, imports.watch),
    pure: definePureFunctions(module),
    checkedFloat: defineCheckedFloats(module, imports.helper, helperNumber),
  };
}
