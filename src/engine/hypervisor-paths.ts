/**
 * A hypervisor's fast paths (paravirt/fast-paths.ts): a WebAssembly module made of what its table writes. Its functions take
 * places in the table of the interpreter of 64-bit code, which calls them where an op would be asked (x86/traps.ts).
 */
import {
  CELLS,
  type FastPaths,
  type PathCode,
  type PathException,
  type PathRegister,
  type PathSegment,
  type PathSpace,
} from '../paravirt/fast-paths.ts';
import type { Code, Value } from '../wasm/code.ts';
import { Body, Module } from '../wasm/module.ts';
import type { WasmMemory, WasmTable } from '../wasm/objects.ts';
import type { ValueType } from '../wasm/opcodes.ts';
import { DR7_ENABLED } from '../x86/control.ts';
import { RF, TF } from '../x86/flags.ts';
import { PAGE_SIZE } from '../x86/paging.ts';
import { CS, GS, SS } from '../x86/segments.ts';
import {
  type Layout,
  PAGE_RAM,
  PATH_EXCEPTION,
  PATH_SYSCALL,
  TLB_BANK,
  TLB_BANKS,
  TLB_EMPTY,
  TLB_ENTRY,
  TLB_EXECUTE,
  TLB_KEYS,
  TLB_NOTES_LIST,
  TLB_READ,
  TLB_SETS,
  TLB_WRITE,
} from './layout.ts';
import { LOADS, ProcessorCode, STORES } from './x86/code.ts';
import { debugOffset } from './x86/control.ts';
import { FastPath, PATH_DEALT_WITH } from './x86/fast-path.ts';
import { WAIST } from './x86/registers.ts';
import { PATH_CELLS, PATH_COUNTS, PATH_COUNTS_LIMIT, state } from './x86/state.ts';
import { FIRST_ROOT_SPACE } from './x86/tlb.ts';
import { entryOffset, hostAddress, misses } from './x86/tlb-entry.ts';

/** Bytes of a set of banks, and of its notes. */
const SET = 3 * TLB_BANK;
/** The tag of an empty entry 0 (tlb.ts); of all others it is 0. */
const EMPTY_FIRST = 0x1000;
const SET_NOTES = 2 * TLB_NOTES_LIST;
const SEGMENTS = { cs: CS, ss: SS, gs: GS };
const TAGS = { read: TLB_READ, write: TLB_WRITE, execute: TLB_EXECUTE };

/** Address of the cells of processor `index`. */
export const cellsOf = (index: number): number => PATH_CELLS + 4 * CELLS * index;

/** What a path counts. */
interface Counted {
  readonly operation: string;
  readonly hypercall: number | undefined;
}

export interface Paths {
  /** How often each op was answered, and each hypercall made. */
  counts(): { operation: string; hypercall: number | undefined; count: number }[];
  readonly answers: { exceptions: boolean; syscalls: boolean };
}

/** Makes `table`'s paths those of the interpreter whose functions stand in `functions`. */
export function installPaths(paths: FastPaths, layout: Layout, memory: WasmMemory, functions: WasmTable): Paths {
  const module = new Module(layout.importedPages);
  const counted: Counted[] = [];
  const { syscall, exception } = paths;
  const invalidate = module.function(invalidateBody());
  const define = (name: string, parameters: ValueType[], fill: (path: Path) => void) => {
    const path = new Path(parameters, layout, counted, invalidate);
    fill(path);
    module.function(path.complete(), name);
  };
  if (syscall) define('syscall', ['i64'], path => path.syscall(next => syscall(path, next)));
  if (exception) define('exception', ['i32', 'i32'], path => path.exception(given => exception(path, given)));
  const instance = new WebAssembly.Instance(new WebAssembly.Module(module.encode()), {
    env: { memory: memory as WebAssembly.Memory },
  });
  const exported = instance.exports as Record<string, (...parameters: never[]) => number>;
  if (syscall) functions.set(PATH_SYSCALL, exported.syscall!);
  if (exception) functions.set(PATH_EXCEPTION, exported.exception!);
  const counts = new Float64Array(memory.buffer, PATH_COUNTS, PATH_COUNTS_LIMIT);
  return {
    counts: () => counted.map((what, index) => ({ ...what, count: counts[index]! })),
    answers: { exceptions: exception !== undefined, syscalls: syscall !== undefined },
  };
}

/** (linear i64): `Tlb.invalidate` (tlb.ts). */
function invalidateBody(): Body {
  const b = new ProcessorCode(new Body(['i64'], []));
  const [linear] = b.parameters(1);
  const offset = b.variable(entryOffset(b, linear)).last();
  const index = b.shr(offset, Math.log2(TLB_ENTRY));
  const empty = b.variable(b.select(b.eqz(index), b.const(EMPTY_FIRST), b.const(0)));
  const first = b.sub(b.state32(state.CLASS_BASE), b.mul(b.state32(state.SPACE_CURRENT), SET));
  const entry = b.variable(b.add(first, offset));
  const left = b.variable(b.i32(TLB_BANKS));
  b.repeat(() => {
    const at = entry.get();
    b.when(b.ne(b.fetch('i64.load', at, TLB_EXECUTE, 'tlb'), empty.get()), () => {
      const key = b.add(b.fetch('i64.load', 0, TLB_KEYS, 'keys'), 1);
      b.put('i64.store', 0, key, TLB_KEYS, 'keys');
      b.put('i64.store', b.shl(b.shr(at, Math.log2(TLB_BANK)), 3), key, TLB_KEYS, 'keys');
    });
    for (const tag of [TLB_READ, TLB_WRITE, TLB_EXECUTE]) b.put('i64.store', at, empty.get(), tag, 'tlb');
    entry.add(TLB_BANK);
    left.sub(1);
    return left.get();
  });
  return b.complete();
}

class Path implements PathCode {
  readonly #f: FastPath;
  readonly #b: ProcessorCode;
  readonly #layout: Layout;
  readonly #counted: Counted[];

  readonly #invalidate: number;

  constructor(parameters: ValueType[], layout: Layout, counted: Counted[], invalidate: number) {
    this.#invalidate = invalidate;
    this.#f = new FastPath(parameters, -1);
    this.#b = this.#f.b;
    this.#layout = layout;
    this.#counted = counted;
  }
  /** SYSCALL: traps.ts has seen to EFER and the mode. */
  syscall(fill: (next: Value) => void): void {
    this.#refuseDebugging(TF | RF);
    this.refuseIf(this.#b.state32(state.PENDING_DEBUG));
    this.refuseIf(this.#b.and(this.#b.state32(debugOffset(7)), DR7_ENABLED));
    fill(this.#f.parameter(0, 'i64'));
  }
  exception(fill: (exception: PathException) => void): void {
    this.#f.refuseUnless(this.#b.state32(state.MODE), -1, 64);
    this.#refuseDebugging(TF);
    const [vector, code] = [0, 1].map(index => this.#f.parameter(index, 'i32')) as [Value, Value];
    fill({ vector, code, address: this.#b.state(state.CR2) });
  }
  /** Instructions that are executed one by one are the ops' alone. */
  #refuseDebugging(flags: number): void {
    this.refuseIf(this.#b.and(this.#b.state32(state.FLAGS_REST), flags));
  }
  complete(): Body {
    this.#f.setLevel(this.#b.state32(state.CPL));
    return this.#f.complete();
  }

  get code(): Code {
    return this.#b;
  }
  refuseIf(condition: Value): void {
    this.#f.refuseIf(condition);
  }

  get(register: PathRegister): Value {
    if (register === 'flags') return this.#b.wide(this.#f.flags());
    if (register === 'rip') return this.#b.state(state.RIP);
    const { offset, bytes } = WAIST[register];
    return this.#b.fetchState(LOADS[8 * bytes]!, offset);
  }
  set(register: PathRegister, value: Value): void {
    // As `Processor.set` has it, where no breakpoint is armed.
    if (register === 'flags') return this.#f.setFlags(this.#b.and(this.#b.narrow(value), ~RF));
    if (register === 'rip') return this.#b.setState(state.RIP, value);
    const { offset, bytes } = WAIST[register];
    this.#b.putState(STORES[8 * bytes]!, offset, value);
  }
  general(number: Value): Value {
    return this.#b.fetchState('i64.load', state.GPR, this.#b.shl(number, 3));
  }
  setGeneral(number: Value, value: Value): void {
    this.#b.putState('i64.store', state.GPR, value, this.#b.shl(number, 3));
  }
  selector(name: 'cs' | 'ss'): Value {
    return this.#b.fetchState('i32.load16_u', state.SELECTOR + 4 * SEGMENTS[name]);
  }
  setSegment(name: 'cs' | 'ss' | 'gs', { selector, base, limit, attributes }: PathSegment): void {
    this.#f.setSegment(SEGMENTS[name], selector, base, limit, attributes);
  }

  cell(index: number): Value {
    return this.#b.fetch('i32.load', this.#b.state32(state.CELLS), 4 * index, 'cells');
  }
  cell64(index: number): Value {
    return this.#b.fetch('i64.load', this.#b.state32(state.CELLS), 4 * index, 'cells');
  }
  setCell(index: number, value: Value): void {
    this.#b.put('i32.store', this.#b.state32(state.CELLS), value, 4 * index, 'cells');
  }
  setCell64(index: number, value: Value): void {
    this.#b.put('i64.store', this.#b.state32(state.CELLS), value, 4 * index, 'cells');
  }

  get pages(): number {
    return this.#layout.ramSize / PAGE_SIZE;
  }
  notes(offset: Value): Value {
    return this.#b.add(offset, this.#layout.notes);
  }
  invalidatePage(linear: Value): void {
    this.#b.perform(this.#invalidate, linear);
  }

  space(cr3: Value): PathSpace {
    const b = this.#b;
    const name = b.add(b.wasm('f64.convert_i64_u', cr3), b.wasm('f64.convert_i32_s', b.i32(FIRST_ROOT_SPACE)));
    const found = b.variable(b.i32(-1));
    for (let set = 0; set < TLB_SETS; set++) {
      const owner = b.fetchState('f64.load', state.SPACE_OWNER + 8 * set);
      found.set(b.select(b.wasm('f64.eq', owner, name), b.i32(set), found.get()));
    }
    this.refuseIf(b.lts(found.get(), 0));
    return { cr3, index: found.last() };
  }
  /** How many sets further than the present one. */
  #distance({ index }: PathSpace): Value {
    return this.#b.sub(index, this.#b.state32(state.SPACE_CURRENT));
  }
  switchTo(space: PathSpace): void {
    const b = this.#b;
    const tick = b.add(b.fetchState('f64.load', state.SPACE_TICK), b.wasm('f64.convert_i32_s', b.i32(1)));
    b.putState('f64.store', state.SPACE_TICK, tick);
    b.putState('f64.store', state.SPACE_USED, tick, b.shl(space.index, 3), 'used');
    const distance = b.variable(this.#distance(space)).last();
    const move = (field: number, bytes: number) => b.setState32(field, b.add(b.state32(field), b.mul(distance, bytes)));
    for (let kind = 0; kind < 3; kind++) move(state.CLASS_BASE + 4 * kind, SET);
    move(state.NOTES, SET_NOTES);
    b.setState32(state.SPACE_CURRENT, space.index);
    b.setState(state.CR3, space.cr3);
  }
  reach(linear: Value, size: number, access: keyof typeof TAGS, space?: PathSpace): Value {
    const b = this.#b;
    const bank = b.state32(state.TLB_BASE);
    // While alignment is checked no address space's bank is in use.
    if (space) this.refuseIf(b.eq(bank, TLB_EMPTY));
    const entry = b.add(entryOffset(b, linear), space ? b.add(bank, b.mul(this.#distance(space), SET)) : bank);
    this.refuseIf(misses(b, entry, linear, size, TAGS[access]));
    return hostAddress(b, entry, linear);
  }
  physical(address: Value): Value {
    const b = this.#b;
    const kind = b.fetch('i32.load8_u', b.shr(address, 12), this.#layout.pageKind, 'kind');
    this.refuseIf(b.ne(kind, PAGE_RAM));
    return b.add(address, this.#layout.guestOrigin);
  }

  dealtWith(): void {
    this.#b.answer(PATH_DEALT_WITH);
  }
  count(operation: string, hypercall?: number): void {
    const b = this.#b;
    const known = this.#counted.findIndex(it => it.operation === operation && it.hypercall === hypercall);
    const index = known >= 0 ? known : this.#counted.push({ operation, hypercall }) - 1;
    if (index >= PATH_COUNTS_LIMIT) throw new Error(`fast paths: more than ${PATH_COUNTS_LIMIT} things to count`);
    const before = b.fetch('f64.load', b.i32(0), PATH_COUNTS + 8 * index, 'counts');
    b.put(
      'f64.store',
      b.i32(0),
      b.add(before, b.wasm('f64.convert_i32_s', b.i32(1))),
      PATH_COUNTS + 8 * index,
      'counts',
    );
  }
}
