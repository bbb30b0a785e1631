/** The smallest hypervisors there are: WebAssembly files with a manifest and function bodies from a test. */

import { IMPORT_MODULE, operationExports, otherExports } from '../src/plugins/abi.ts';
import { imports } from '../src/plugins/imports.ts';
import { Body, Bytes } from '../src/wasm/module.ts';
import type { ValueType } from '../src/wasm/opcodes.ts';

export interface TinyHypervisor {
  manifest?: object | string;
  /** Imports by name; functions call them by their place here. */
  imports?: readonly string[];
  /** Where all imports come from. */
  module?: string;
  /** Exports by name, with their bodies; their types are those of the binary interface, or `types`. */
  exports?: Readonly<Record<string, (body: Body) => void>>;
  types?: Readonly<Record<string, readonly [parameters: readonly ValueType[], result?: ValueType]>>;
  /** Memory in pages of 64 KiB, and its flags (1: has a maximum, 2: shared, 4: 64 bits). */
  pages?: number;
  memoryFlags?: number;
  /** Leave the manifest's function out. */
  mute?: boolean;
  /** What polyvisor_manifest answers: the manifest's place. */
  at?: number;
}

export const manifest = (more: object = {}) => ({ abi: '1.2', name: 'tiny', title: 'a hypervisor of a test', ...more });

const PLACE = 1024;
const TYPE: Readonly<Record<string, number>> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c };

export function tinyHypervisor(tiny: TinyHypervisor): Uint8Array {
  const said = tiny.manifest ?? manifest();
  const text = new TextEncoder().encode(`${typeof said === 'string' ? said : JSON.stringify(said)}\0`);
  const functions: [string, Body][] = Object.entries(tiny.exports ?? {}).map(([name, fill]) => {
    const [parameters, result] = tiny.types?.[name] ?? typeOf(name);
    const body = new Body(parameters, result ? [result] : []);
    fill(body);
    return [name, body];
  });
  if (!tiny.mute) {
    const body = new Body([], ['i32']);
    body.i32(tiny.at ?? PLACE);
    functions.push(['polyvisor_manifest', body]);
  }
  const wanted = tiny.imports ?? [];

  const out = new Bytes();
  out.append([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
  const section = (id: number, fill: (bytes: Bytes) => void) => {
    const bytes = new Bytes();
    fill(bytes);
    out.byte(id);
    out.u32(bytes.length);
    out.append(bytes.take());
  };
  section(1, b => {
    b.u32(wanted.length + functions.length);
    for (const name of wanted) {
      const known = imports[name] ?? { parameters: [], result: undefined };
      functionType(
        b,
        known.parameters.map(([, type]) => type),
        known.result,
      );
    }
    for (const [, { parameters, results }] of functions) functionType(b, parameters, results[0]);
  });
  section(2, b => {
    b.u32(wanted.length);
    for (const [index, name] of wanted.entries()) {
      b.name(tiny.module ?? IMPORT_MODULE);
      b.name(name);
      b.byte(0);
      b.u32(index);
    }
  });
  section(3, b => {
    b.u32(functions.length);
    for (const index of functions.keys()) b.u32(wanted.length + index);
  });
  section(5, b => {
    const flags = tiny.memoryFlags ?? 0;
    b.append([1, flags]);
    b.u32(tiny.pages ?? 2);
    if (flags & 1) b.u32(65536);
  });
  section(7, b => {
    b.u32(functions.length + 1);
    b.name('memory');
    b.append([2, 0]);
    for (const [index, [name]] of functions.entries()) {
      b.name(name);
      b.byte(0);
      b.u32(wanted.length + index);
    }
  });
  section(10, b => {
    b.u32(functions.length);
    for (const [, body] of functions) {
      const code = body.encode();
      b.u32(code.length);
      b.append(code);
    }
  });
  section(11, b => {
    b.append([1, 0, 0x41]);
    b.i32(PLACE);
    b.byte(0x0b);
    b.u32(text.length);
    b.append(text);
  });
  return out.take();
}

function typeOf(name: string): readonly [readonly ValueType[], ValueType | undefined] {
  const known = otherExports[name] ?? [...operationExports.values()].find(entry => entry.name === name);
  return [known?.parameters.map(([, type]) => type) ?? [], known?.result];
}

function functionType(bytes: Bytes, parameters: readonly ValueType[], result: ValueType | undefined): void {
  bytes.byte(0x60);
  bytes.u32(parameters.length);
  for (const type of parameters) bytes.byte(TYPE[type]);
  bytes.append(result ? [1, TYPE[result]] : [0]);
}
