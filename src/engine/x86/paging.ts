/**
 * The functions of both interpreter modules that reach guest memory where the TLB alone does not: the walk and the slow
 * paths.
 */

import type { Module } from '../../wasm/module.ts';
import type { Layout } from '../layout.ts';
import { walkBody } from './page-walk.ts';
import { type Imports, slowLoadBody, slowStoreBody } from './slow-access.ts';
import { revokeBody } from './tlb-fill.ts';

export interface Paging {
  /** (linear i64, access i32) -> physical i64, or -1 with FAULT set. */
  walk: number;
  /** (linear i64, size i32, LOAD_ bits i32) -> i64. Check FAULT. 128-bit values go to SLOW_VECTOR. */
  slowLoad: number;
  /** (linear i64, size i32, value i64, to the stack i32). Check FAULT. 128-bit values come from SLOW_VECTOR. */
  slowStore: number;
}

export function emitPaging(module: Module, layout: Layout, imports: Imports): Paging {
  const walk = module.function(walkBody(layout), 'walk');
  const slowLoad = module.function(slowLoadBody({ layout, imports, walk }), 'slowLoad');
  const slowStore = module.function(slowStoreBody({ layout, imports, walk }), 'slowStore');
  module.function(revokeBody(), 'revoke');
  return { walk, slowLoad, slowStore };
}
