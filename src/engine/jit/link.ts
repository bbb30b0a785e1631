/** A WebAssembly module of several regions. */

import { Module } from '../../wasm/module.ts';
import type { Layout } from '../layout.ts';
import { PURE_FUNCTIONS, type PureFunction } from '../x86/pure-functions.ts';

/** Indices that every module has alike, so that a region's code can move from one module to another. */
export const FUNCTIONS = {
  helper: 0,
  bulk: { movs: 1, stos: 2 },
  walk: 3,
  checkedFloat: 4,
  pure: { compareStrings: 5, deposit: 6, extract: 7, crc32: 8 },
  chain32: 9,
  chain64: 10,
};

/** @param regions the bytes of their functions, which become `r0`, `r1`, … */
export function linkRegions(layout: Layout, regions: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const module = new Module(layout.importedPages);
  const helper = module.import('env', 'helper', ['i32'], ['i32']);
  const movs = module.import('env', 'bulkMovs', ['i64', 'i64', 'i64', 'i32'], ['i64']);
  const stos = module.import('env', 'bulkStos', ['i64', 'i64', 'i64', 'i32'], ['i64']);
  const walk = module.import('env', 'walk', ['i64', 'i32'], ['i64']);
  const checkedFloat = module.import('env', 'checkedFloat', ['i32', 'v128', 'v128'], ['v128']);
  const pure = Object.entries(PURE_FUNCTIONS).map(([name, { parameters, result }]) => ({
    name: name as PureFunction,
    index: module.import('env', name, parameters, [result]),
  }));
  const [chain32, chain64] = ['chain32', 'chain64'].map(name => module.import('env', name, ['i64'], ['i32']));
  const { bulk } = FUNCTIONS;
  if (
    helper !== FUNCTIONS.helper ||
    movs !== bulk.movs ||
    stos !== bulk.stos ||
    walk !== FUNCTIONS.walk ||
    checkedFloat !== FUNCTIONS.checkedFloat ||
    pure.some(({ name, index }) => index !== FUNCTIONS.pure[name]) ||
    chain32 !== FUNCTIONS.chain32 ||
    chain64 !== FUNCTIONS.chain64
  )
    throw new Error('jit: regions are linked to other functions');
  regions.forEach((body, i) => module.encoded(body, ['i32'], ['i32'], `r${i}`));
  return module.encode();
}
