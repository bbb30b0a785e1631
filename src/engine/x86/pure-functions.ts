/**
 * WebAssembly functions that meanings call for a value (`b.call`): too long to be repeated where they are needed. They
 * touch no state. The interpreter's module defines them; translated code imports them.
 */
import type { Code, Value } from '../../wasm/code.ts';
import type { Module } from '../../wasm/module.ts';
import type { ValueType } from '../../wasm/opcodes.ts';
import { depositBody, extractBody } from './bit-fields.ts';
import { crc32Body } from './crc32.ts';
import { compareStringsBody } from './string-compare.ts';

/** By name: parameters and result. */
export const PURE_FUNCTIONS = {
  compareStrings: { parameters: ['v128', 'v128', 'i32', 'i32', 'i32'], result: 'i32' },
  deposit: { parameters: ['i64', 'i64'], result: 'i64' },
  extract: { parameters: ['i64', 'i64'], result: 'i64' },
  crc32: { parameters: ['i32', 'i64', 'i32'], result: 'i32' },
} as const satisfies Record<string, { parameters: readonly ValueType[]; result: ValueType }>;

export type PureFunction = keyof typeof PURE_FUNCTIONS;
/** Function indices in a module. */
export type PureIndices = Readonly<Record<PureFunction, number>>;

export function definePureFunctions(module: Module): PureIndices {
  return {
    compareStrings: module.function(compareStringsBody(), 'compareStrings'),
    deposit: module.function(depositBody(), 'deposit'),
    extract: module.function(extractBody(), 'extract'),
    crc32: module.function(crc32Body(), 'crc32'),
  };
}

export function emitPureCall(b: Code, indices: PureIndices, name: PureFunction, values: readonly Value[]): Value {
  return b.invokePure(indices[name], PURE_FUNCTIONS[name].result, ...values);
}
