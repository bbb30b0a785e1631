/**
 * A hypervisor from a WebAssembly file: checked against the binary interface (abi.ts), then a module like any other.
 * Each machine gets an instance of its own, with a memory of its own and the imports as its only way out.
 */

import { bareTable } from '../hypervisors/bare/index.ts';
import { ownMember } from '../own-member.ts';
import { derive } from '../paravirt/derive.ts';
import { native, nothing } from '../paravirt/native.ts';
import type { HypervisorContext, HypervisorModule, Msr, Paravirt } from '../paravirt/operations.ts';
import { ABI_VERSION, everyExport, type Frame, findExport, IMPORT_MODULE, otherExports, type Wire } from './abi.ts';
import { BinaryGuest } from './binary-guest.ts';
import { type Guard, guarded, LOADING } from './guard.ts';
import { imports } from './imports.ts';
import { MANIFEST_SIZE, type Manifest, type ManifestMsr, parseManifest } from './manifest.ts';
import { type FunctionType, readWasmFile, type WasmFile } from './wasm-file.ts';

/** A binary's instance has globals that nobody outside can read, so a machine with one cannot be saved. */
export const UNSAVED: Readonly<Record<string, string>> = {
  'what it keeps is data: saved and restored, another machine goes on the same':
    "a binary's globals are its own: they cannot be saved",
};

/** Largest file, in bytes. */
const FILE_SIZE = 16 << 20;
const MAGIC = [0x00, 0x61, 0x73, 0x6d];

/** @throws PluginError (guard.ts) that says what is wrong with the file */
export async function binaryHypervisor(bytes: Uint8Array, guard: Guard): Promise<HypervisorModule> {
  const checked = guard.load(LOADING, () => {
    if (MAGIC.some((byte, index) => bytes[index] !== byte)) throw new Error('is not a WebAssembly file');
    if (bytes.length > FILE_SIZE) throw new Error(`has ${bytes.length} bytes: ${FILE_SIZE} is the limit`);
    return new Uint8Array(bytes);
  });
  const whole = await WebAssembly.compile(checked).catch((error: Error) =>
    guard.load(LOADING, () => {
      throw new Error(`is no valid WebAssembly: ${error.message}`);
    }),
  );
  const file = guard.load(LOADING, () => {
    checkImports(WebAssembly.Module.imports(whole));
    if (!WebAssembly.Module.exports(whole).some(({ name, kind }) => name === 'memory' && kind === 'memory'))
      throw new Error('does not export its memory as "memory"');
    return readWasmFile(checked);
  });
  const module = await WebAssembly.compile(file.limited);
  const manifest = guard.load(LOADING, () => {
    checkTypes(file);
    const text = guard.load('polyvisor_manifest', () => readManifest(instantiate(module, () => new Map())));
    const found = parseManifest(text);
    checkExports(found, file.exports);
    return found;
  });
  return guarded(
    {
      name: manifest.name,
      title: manifest.title,
      make: (context, base) => makeTable(manifest, new Binary(module, context, guard), base),
    },
    guard,
  );
}

/** One machine's instance. */
class Binary {
  readonly guest: BinaryGuest;
  readonly #exports: Record<string, unknown>;

  constructor(module: WebAssembly.Module, context: HypervisorContext, guard: Guard) {
    const event = <T>(name: string, fallback: T, ...values: (number | bigint)[]): T =>
      guard.call(
        context.kill,
        name,
        () => fallback,
        () => this.call(name, {}, values) as T,
      );
    this.guest = new BinaryGuest(guard.file, context, () => this.memory, {
      alarm: token => event('alarm', undefined, token),
      read: (token, offset, width) => Number(BigInt.asUintN(8 * width, event('device_read', 0n, token, offset, width))),
      write: (token, offset, width, value) => event('device_write', undefined, token, offset, width, BigInt(value)),
    });
    this.#exports = instantiate(module, () => {
      const { guest } = this;
      return new Map(
        Object.entries(imports).map(([name, { call }]) => [
          name,
          (...values: (number | bigint)[]) => call(guest, ...values),
        ]),
      );
    });
    if (this.#exports.start) guard.load('start', () => this.call('start', {}, []));
  }

  get memory(): WebAssembly.Memory {
    return this.#exports.memory as WebAssembly.Memory;
  }

  /** Calls an export within `frame`; an exception is left to the guard. */
  call(name: string, frame: Frame, values: readonly (number | bigint)[]): unknown {
    const fn = this.#exports[name];
    if (typeof fn !== 'function') throw new Error(`there is no export ${name}`);
    const outer = this.guest.frame;
    this.guest.frame = frame;
    try {
      return fn(...values) as unknown;
    } finally {
      this.guest.frame = outer;
    }
  }
}

function instantiate(module: WebAssembly.Module, functions: () => Map<string, unknown>): Record<string, unknown> {
  // The manifest is read, and a start section runs, before there is a guest to see.
  const early = () => {
    throw new Error('calls an import before it has a guest');
  };
  let given: Map<string, unknown> | undefined;
  const own = Object.fromEntries(
    Object.keys(imports).map(name => [
      name,
      (...values: unknown[]) => ((given?.get(name) ?? early) as (...values: unknown[]) => unknown)(...values),
    ]),
  );
  const { exports } = new WebAssembly.Instance(module, { [IMPORT_MODULE]: own });
  given = functions();
  return exports;
}

function makeTable(manifest: Manifest, binary: Binary, base: Paravirt = bareTable): Paravirt {
  const groups: Record<string, Record<string, unknown>> = { boot: {}, cpu: {}, mmu: {}, irq: {}, time: {}, smp: {} };
  for (const [operation, answer] of Object.entries(manifest.operations)) {
    const found = findExport(operation);
    if (!found) continue; // It has ended (ENDED_OPERATIONS), and the manifest says native.
    const { group, member, name, pass, take } = found;
    groups[group][member] =
      answer === 'native'
        ? native
        : answer === 'nothing'
          ? nothing
          : (...told: unknown[]) => {
              const frame: Frame = {};
              return take(frame, binary.call(name, frame, pass(frame, told)));
            };
  }
  return derive(base, {
    name: manifest.name,
    title: manifest.title,
    boot: { ...groups.boot, platform: manifest.platform, console: manifest.console },
    cpu: {
      ...groups.cpu,
      msrs: Object.fromEntries(manifest.msrs.map(msr => [msr.index, makeMsr(msr, binary)])),
      hypercalls: manifest.hypercalls,
    },
    mmu: groups.mmu,
    irq: groups.irq,
    time: groups.time,
    smp: groups.smp,
    skip: { ...UNSAVED, ...manifest.skip },
  });
}

function makeMsr({ index, name, access }: ManifestMsr, binary: Binary): Msr {
  const msr: Msr = { name };
  if (access !== 'write')
    msr.read = cpu => BigInt.asUintN(64, binary.call('cpu_msr_read', {}, [cpu.id, index]) as bigint);
  if (access !== 'read') msr.write = (cpu, value) => binary.call('cpu_msr_write', {}, [cpu.id, index, value]) !== 0;
  return msr;
}

/** The text `polyvisor_manifest` points to, up to its zero. */
function readManifest(exports: Record<string, unknown>): string {
  const at = (exports.polyvisor_manifest as () => number)() >>> 0;
  const bytes = new Uint8Array((exports.memory as WebAssembly.Memory).buffer);
  const end = bytes.indexOf(0, at);
  if (at >= bytes.length || end < 0) throw new Error('points outside its own memory');
  if (end - at > MANIFEST_SIZE) throw new Error(`is longer than ${MANIFEST_SIZE} bytes`);
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes.slice(at, end));
}

// ── What can be known before anything runs ──────────────────────────────────────────────────────────────────────────

function checkImports(wanted: readonly { module: string; name: string; kind: string }[]): void {
  const ours = `${ABI_VERSION.major}.${ABI_VERSION.minor}`;
  for (const { module, name, kind } of wanted) {
    const other = /^polyvisor_(\d+)$/.exec(module);
    if (other && module !== IMPORT_MODULE)
      throw new Error(`was made for version ${other[1]} of the binary interface: this is ${ours}`);
    if (module !== IMPORT_MODULE)
      throw new Error(`imports ${module}.${name}: there is nothing to import but what ${IMPORT_MODULE} has`);
    if (kind !== 'function') throw new Error(`imports ${name}, which is no function: its memory is its own`);
    if (!Object.hasOwn(imports, name)) throw new Error(`imports ${name}, which version ${ours} does not have`);
  }
}

interface Signature {
  parameters: readonly (readonly [name: string, type: Wire])[];
  result: Wire | undefined;
  maybeSilent?: boolean;
}

function checkTypes({ imports: wanted, exports }: WasmFile): void {
  for (const { name, type } of wanted) checkType(`the import ${name}`, type, ownMember(imports, name)!);
  for (const [name, signature] of Object.entries(otherExports)) {
    const type = exports.get(name);
    if (type) checkType(`the export ${name}`, type, signature);
  }
  if (!exports.has('polyvisor_manifest')) throw new Error('does not export polyvisor_manifest');
}

function checkType(what: string, { parameters, results }: FunctionType, signature: Signature): void {
  const wanted = `(${signature.parameters.map(([, type]) => type).join(', ')}) -> (${signature.result ?? ''})`;
  const found = `(${parameters.join(', ')}) -> (${results.join(', ')})`;
  if (signature.maybeSilent && `${found.slice(0, -1)}${signature.result})` === wanted) return;
  if (found !== wanted) throw new Error(`${what} is ${found}: it must be ${wanted}`);
}

function checkExports(manifest: Manifest, exports: ReadonlyMap<string, FunctionType>): void {
  const need = (name: string, why: string) => {
    if (!exports.has(name)) throw new Error(`does not export ${name}: ${why}`);
  };
  for (const entry of everyExport()) {
    const type = exports.get(entry.name);
    if (ownMember(manifest.operations, entry.operation) === 'function') {
      need(entry.name, `the manifest says that ${entry.operation} is a function`);
      checkType(`the export ${entry.name}`, type!, entry);
    } else if (type) throw new Error(`exports ${entry.name}, but the manifest does not say that it is a function`);
  }
  for (const { name, access } of manifest.msrs) {
    if (access !== 'write') need('cpu_msr_read', `the manifest says that ${name} can be read`);
    if (access !== 'read') need('cpu_msr_write', `the manifest says that ${name} can be written`);
  }
}
