/**
 * The interpreter's two WebAssembly modules (64-bit code; all other code), compiled and instantiated, and what they import:
 * the helpers and the slow ways out of memory accesses.
 */
import type { ArtifactCache } from '../host/artifact-cache.ts';
import type { CompiledModule, WasmMemory, WasmTable } from '../wasm/objects.ts';
import { buildInterpreter, type InterpreterModule } from './interpreter/loop.ts';
import { pack, unpack } from './interpreter/packed.ts';
import type { Layout } from './layout.ts';
import type { Vcpu } from './vcpu.ts';
import { helpers } from './x86/all-helpers.ts';
import { FAULT } from './x86/cpu.ts';
import { state } from './x86/state.ts';

export interface Compiled {
  readonly module: InterpreterModule;
  readonly code: CompiledModule;
  /** V8 knows that its loop is hot. */
  warm: boolean;
}

/** Compiled interpreters by RAM size and mode. The module depends on nothing else, so machines share it. */
const compiled = new Map<string, Compiled>();

export function compileInterpreter(layout: Layout, wide: boolean, cache: ArtifactCache | undefined): Compiled {
  const key = `interpreter-${wide ? 64 : 32}-${layout.ramSize}`;
  const known = compiled.get(key);
  if (known) return known;
  let result = keptInterpreter(cache?.load(key));
  if (!result) {
    const module = buildInterpreter(layout, wide);
    cache?.save(key, pack(module));
    result = { module, code: new WebAssembly.Module(module.bytes), warm: false };
  }
  compiled.set(key, result);
  return result;
}

/** The interpreter that a cache has kept; undefined if it kept nothing, or garbage: then it is made again. */
function keptInterpreter(kept: Uint8Array<ArrayBuffer> | undefined): Compiled | undefined {
  if (!kept) return undefined;
  try {
    const module = unpack(kept);
    return { module, code: new WebAssembly.Module(module.bytes), warm: false };
  } catch {
    return undefined;
  }
}

export interface Instance {
  readonly exports: {
    run(record: number): number;
    walk(linear: bigint, access: number): bigint;
    revoke(from: number, to: number, host: number): void;
    /** In the module for 64-bit code. */
    deliver(vector: number, code: number): number;
    /** More of what translated code imports. */
    [name: string]: unknown;
    table: WasmTable;
  };
  readonly imports: Imports;
}

/** @param running the processor whose state stands at STATE: all questions are its own */
export function instantiate({ module, code }: Compiled, memory: WasmMemory, running: () => Vcpu): Instance {
  const imports = createImports(module, running);
  const instance = new WebAssembly.Instance(code, { env: { memory: memory as WebAssembly.Memory, ...imports } });
  return { imports, exports: instance.exports as unknown as Instance['exports'] };
}

type Imports = ReturnType<typeof createImports>;

function createImports(module: InterpreterModule, running: () => Vcpu) {
  const functions = module.helpers.map(name => {
    const helper = helpers[name];
    if (!helper) throw new Error(`no helper ${name}`);
    return helper;
  });
  return {
    /** @returns 1 if the guest faults */
    helper: (id: number): number => {
      try {
        functions[id]!(running().cpu);
        return 0;
      } catch (thrown) {
        if (thrown === FAULT) return 1;
        throw thrown;
      }
    },
    /** @returns the low half; the high one goes to RESULT. */
    mmioRead: (low: number, high: number, size: number): number => {
      const vcpu = running();
      const address = (low >>> 0) + (high >>> 0) * 2 ** 32;
      const value = vcpu.environment.mmioRead(address, size === 8 ? 4 : (size as 1 | 2 | 4));
      if (size === 8) vcpu.cpu.set32(state.RESULT + 4, vcpu.environment.mmioRead(address + 4, 4));
      vcpu.afterDevice();
      return value;
    },
    mmioWrite: (low: number, high: number, size: number, valueLow: number, valueHigh: number): void => {
      const vcpu = running();
      const address = (low >>> 0) + (high >>> 0) * 2 ** 32;
      const mask = size === 1 ? 0xff : size === 2 ? 0xffff : 0xffffffff;
      vcpu.environment.mmioWrite(address, size === 8 ? 4 : (size as 1 | 2 | 4), (valueLow & mask) >>> 0);
      if (size === 8) vcpu.environment.mmioWrite(address + 4, 4, valueHigh >>> 0);
      vcpu.afterDevice();
    },
    codeWritten: (address: number, size: number): void => running().core.codeWritten(address >>> 0, size),
    /** An access while data breakpoints are armed. */
    watch: (low: number, high: number, size: number, write: number): void =>
      running().watch((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0), size, write !== 0),
  };
}
