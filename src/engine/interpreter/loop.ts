/**
 * The interpreter: one WebAssembly module made from the table. `run` is a loop with a br_table over the hot handlers; the
 * others are functions of their own, because V8 never optimises a loop of hundreds of kilobytes.
 */

import { Body, Module } from '../../wasm/module.ts';
import { SS } from '../../x86/segments.ts';
import {
  BLOCK_ENTRY,
  BLOCK_RECORD,
  BLOCK_SET,
  BLOCK_SETS,
  type Layout,
  RECORD_SIZE,
  REGION_LIMIT,
  TLB_ADDEND,
  TLB_EXECUTE,
} from '../layout.ts';
import { Builder } from '../x86/builder.ts';
import { defineBulk } from '../x86/bulk.ts';
import { defineCareful } from '../x86/careful.ts';
import { type Form, forms } from '../x86/decode.ts';
import type { ListMeaning } from '../x86/instructions/row.ts';
import { raiseWaiting, switchToMmx } from '../x86/instructions/vector.ts';
import { emitKnownFlags, settleFlagsBody } from '../x86/lazy-flags.ts';
import { ACCESS_EXECUTE, emitEntry, emitPaging, type Imports } from '../x86/paging.ts';
import { definePureFunctions } from '../x86/pure-functions.ts';
import { reachBody } from '../x86/reach.ts';
import * as state from '../x86/state.ts';
import { emitTraps } from '../x86/traps.ts';
import { JumpCache } from './jump-cache.ts';
import * as record from './record.ts';
import { type Functions, helperNumbering, InterpreterTier, type Leaving, type Variant } from './tier.ts';

const { STATE } = state;

/** Blocks hold at most this many instructions; a run stops looking for more when fewer than this are left of its budget. */
export const BLOCK_LIMIT = 64;

const SIZES = [16, 32, 64];
/** Index of a handler in `HandlerNumbers`. */
export function handlerKey(form: number, operandSize: number, addressSize: number, memory: boolean): number {
  return ((form * 3 + SIZES.indexOf(operandSize)) * 3 + SIZES.indexOf(addressSize)) * 2 + (memory ? 1 : 0);
}

export interface InterpreterModule {
  bytes: Uint8Array<ArrayBuffer>;
  /** By `handlerKey`: the handler's number, or 0 where there is none. */
  handlers: Uint16Array;
  /** Helper names by number: what the `helper` import is called with. */
  helpers: readonly string[];
}

function variants(wide: boolean): Variant[] {
  const list: Variant[] = [];
  for (const form of forms) {
    if (form.row.mode === (wide ? 'i64' : 'o64')) continue;
    const operandSizes = form.operandSized ? (wide ? [16, 32, 64] : [16, 32]) : [32];
    const addressSizes = form.addressSized ? (wide ? [32, 64] : [16, 32]) : [wide ? 64 : 32];
    for (const operandSize of operandSizes)
      for (const addressSize of addressSizes)
        for (const memory of kinds(form)) list.push({ form, operandSize, addressSize, memory, wide });
  }
  // Hot ones first, at the sizes that are hot.
  return list.sort((x, y) => Number(isHot(y)) - Number(isHot(x)));
}
function kinds(form: Form): boolean[] {
  if (form.memory < 0) return [false];
  const { place } = form.operands[form.memory]!;
  if (place === 'M' || place === 'O') return [true];
  if (place === 'R' || place === 'U' || place === 'N') return [false];
  return form.row.form ? [form.row.form === 'memory'] : [false, true];
}
function isHot(variant: Variant): boolean {
  const { form, operandSize, addressSize, memory, wide } = variant;
  const { hot, size, opcode, operands } = form.row;
  if (!hot || (hot === 'register' && memory)) return false;
  if (form.operandSized && operandSize === 16) return false;
  // In 64-bit mode there are no branches and stack operations of 32 bits.
  if (form.operandSized && operandSize === 32 && size && wide) return false;
  // From register to register, assemblers take the encoding that could store.
  if (!memory && ((opcode < 0x100 && /^G[bv],E[bv]$/.test(operands)) || operands === 'Wx,Vx')) return false;
  if (form.addressSized && addressSize !== (wide ? 64 : 32)) return false;
  return true;
}

/** What an instruction does before its meaning: privilege and unit checks. */
export function emitPrologue(b: Builder, form: Form): void {
  const { row } = form;
  if (row.privileged) b.raiseIf(b.state32(state.CPL), 13, 0);
  if (row.unit) {
    const trap = b.state32(state.UNIT_TRAP + 4 * ['x87', 'mmx', 'sse'].indexOf(row.unit));
    b.when(trap, () => b.tier.raise(b, trap, undefined));
  }
  if (row.unit === 'mmx') raiseWaiting(b);
}
/** What an instruction that did not fault has done besides its meaning. */
export function emitEpilogue(b: Builder, form: Form): void {
  if (form.row.unit === 'mmx') switchToMmx(b);
}

export function buildInterpreter(layout: Layout, wide: boolean): InterpreterModule {
  const module = new Module(layout.wasmPages);
  const helpers = helperNumbering();
  const imports: Imports & { helper: number } = {
    helper: module.import('env', 'helper', ['i32'], ['i32']),
    mmioRead: module.import('env', 'mmioRead', ['i32', 'i32', 'i32'], ['i32']),
    mmioWrite: module.import('env', 'mmioWrite', ['i32', 'i32', 'i32', 'i32', 'i32'], []),
    codeWritten: module.import('env', 'codeWritten', ['i32', 'i32'], []),
    watch: module.import('env', 'watch', ['i32', 'i32', 'i32', 'i32'], []),
  };
  const handlerType = module.type(['i32'], ['i32']);
  const jumps = new JumpCache(wide);
  const paging = emitPaging(module, layout, imports);
  const reach = module.function(reachBody(layout, paging.walk));
  const functions: Functions = {
    ...paging,
    helper: imports.helper,
    segment: module.function(segmentBody(), 'segment'),
    traps: wide ? emitTraps(module, reach) : undefined,
    bulk: defineBulk(module, reach),
    pure: definePureFunctions(module),
    careful: defineCareful(module, imports.helper, helpers.number),
  };

  const settleFlags = module.function(settleFlagsBody());
  module.function(jumps.chainBody(handlerType), `chain${wide ? 64 : 32}`);

  const all = variants(wide);
  const hotCount = all.findIndex(variant => !isHot(variant));
  const handlers = new Uint16Array(forms.length * 18);
  const names: string[] = [];
  all.forEach((variant, i) => {
    const number = record.FIRST_INSTRUCTION + i;
    const { form, operandSize, addressSize, memory } = variant;
    const sizes = form.operandSized ? [operandSize] : SIZES;
    const addresses = form.addressSized ? [addressSize] : SIZES;
    for (const size of sizes)
      for (const address of addresses) handlers[handlerKey(form.index, size, address, memory)] = number;
    names[number] = `${form.row.name} ${form.row.operands} ${operandSize}${memory ? ' memory' : ''}`;
  });

  // Handlers with a function of their own: result 0 goes on, 1 faulted, 2 go on at RIP (checking the budget).
  const trap = new Body(['i32'], ['i32']);
  trap.unreachable();
  const unused = module.function(trap);
  const elements: number[] = new Array(record.FIRST_INSTRUCTION + hotCount).fill(unused);
  const make = (body: Body, variant: Variant, leaving: Leaving) => {
    const tier = new InterpreterTier(variant, leaving, functions, helpers.number);
    const b = new Builder(body, tier);
    emitPrologue(b, variant.form);
    const operands = variant.form.operands.map((spec, index) => tier.operand(b, spec, index));
    const meaning: ListMeaning = variant.form.row.meaning;
    meaning(b, ...operands);
    emitEpilogue(b, variant.form);
    tier.finish(b);
    b.finish();
    return tier;
  };
  for (const variant of all.slice(hotCount)) {
    const body = new Body(['i32'], ['i32']);
    try {
      make(body, variant, ownFunction());
    } catch (error) {
      throw new Error(`${names[record.FIRST_INSTRUCTION + all.indexOf(variant)]}: ${(error as Error).message}`, {
        cause: error,
      });
    }
    body.i32(0);
    elements.push(module.function(body));
  }

  const run = new Body(['i32'], ['i32']);
  const rec = 0;
  const target = run.local('i64');
  const link = run.local('i32');
  const entry = run.local('i32');
  const slot = run.local('i32');
  const physical = run.local('i32');
  /** The instruction at `target` is for the interpreter, even if translated code starts there. */
  const raw = run.local('i32');
  const set = (local: number, value: number) => {
    run.i32(value);
    run.set(local);
  };
  const saveRip = () => {
    run.i32(0);
    run.get(target);
    run.memory('i64.store', STATE + state.RIP);
  };
  const exit = (code: number) => {
    run.i32(0);
    run.get(rec);
    run.memory('i32.store', STATE + state.RECORD);
    run.i32(code);
    run.return();
  };
  /** FUEL -= instructions; leaves FUEL < BLOCK_LIMIT on the stack. */
  const charge = (instructions: () => void) => {
    run.i32(0);
    run.i32(0);
    run.memory('i32.load', STATE + state.FUEL);
    instructions();
    run.op('i32.sub');
    run.tee(link);
    run.memory('i32.store', STATE + state.FUEL);
    run.get(link);
    run.i32(BLOCK_LIMIT);
    run.op('i32.lt_s');
  };
  const position = () => {
    run.get(rec);
    run.memory('i32.load8_u', record.POSITION);
  };

  // A record of 0 asks for the block at RIP.
  run.get(rec);
  run.op('i32.eqz');
  run.if();
  run.i32(0);
  run.memory('i64.load', STATE + state.RIP);
  run.set(target);
  run.end();

  const next = run.loop();
  const enter = run.block(); // into the block `rec` at `target`
  const resolve = run.block();
  const go = run.block(); // charge and follow the link at `slot` (0: none) to `target`
  const fault = run.block();
  run.get(rec);
  run.op('i32.eqz');
  run.brIf(resolve);
  const called = run.block();
  const special: number[] = [];
  const inline: number[] = [];
  for (let i = hotCount - 1; i >= 0; i--) inline[i] = run.block();
  for (let i = record.FIRST_INSTRUCTION - 1; i >= 0; i--) special[i] = run.block();
  run.get(rec);
  run.memory('i32.load16_u', record.HANDLER);
  run.brTable([...special, ...inline], called);

  // The handlers that are not instructions.
  for (let i = 0; i < record.FIRST_INSTRUCTION; i++) {
    run.end();
    switch (i) {
      case record.STALE:
        setTargetHere();
        charge(position);
        run.if();
        saveRip();
        exit(record.EXIT_BUDGET);
        run.end();
        set(slot, 0);
        run.br(resolve);
        break;
      case record.STOP:
        exit(record.EXIT_STOP);
        break;
      case record.CHAIN:
        setTargetHere();
        charge(position);
        run.if();
        saveRip();
        exit(record.EXIT_BUDGET);
        run.end();
        run.get(rec);
        run.i32(record.TAKEN);
        run.op('i32.add');
        run.tee(slot);
        run.memory('i32.load', 0);
        run.tee(link);
        run.if();
        run.get(link);
        run.set(rec);
        run.br(enter);
        run.end();
        run.br(resolve);
        break;
      case record.CROSSING: {
        run.i32(0);
        run.memory('i64.load', STATE + state.PAGE);
        run.i64(4096n);
        run.op('i64.add');
        run.set(target);
        lookUpCode(() => run.br(fault));
        run.get(physical);
        run.get(rec);
        run.memory('i32.load', record.IMMEDIATE);
        run.op('i32.ne');
        run.if();
        exit(record.EXIT_CROSSING);
        run.end();
        advance();
        break;
      }
      case record.ADDRESS: {
        run.i32(0);
        const register = (field: number) => {
          run.get(rec);
          run.memory('i32.load8_u', field);
          run.memory('i64.load', STATE);
        };
        register(record.BASE);
        register(record.INDEX);
        run.get(rec);
        run.memory('i64.load8_u', record.SCALE);
        run.op('i64.shl');
        run.op('i64.add');
        run.get(rec);
        run.memory('i64.load32_s', record.DISPLACEMENT);
        run.op('i64.add');
        run.get(rec);
        run.memory('i64.load', record.IMMEDIATE);
        run.op('i64.and');
        register(record.REGISTER);
        run.op('i64.add');
        run.memory('i64.store', STATE + state.SCRATCH);
        advance();
        break;
      }
      case record.TRANSLATED: {
        // A region that cannot be entered leaves RIP alone.
        setTargetHere();
        saveRip();
        emitKnownFlags(run);
        const again = run.loop();
        // Translated code counts whole stretches: near the budget's end the interpreter takes over.
        const isFuelLow = () => {
          run.i32(0);
          run.memory('i32.load', STATE + state.FUEL);
          run.i32(REGION_LIMIT);
          run.op('i32.le_s');
        };
        isFuelLow();
        run.if();
        run.call(settleFlags);
        run.i32(0);
        run.memory('i32.load', STATE + state.EXACT);
        run.op('i32.eqz');
        run.i32(0);
        run.memory('i32.load', STATE + state.FUEL);
        run.i32(BLOCK_LIMIT);
        run.op('i32.lt_s');
        run.op('i32.or');
        run.if();
        exit(record.EXIT_BUDGET);
        run.end();
        run.get(rec);
        run.memory('i32.load', record.NOT_TAKEN);
        run.set(rec);
        run.br(next);
        run.end();
        run.get(rec);
        run.get(rec);
        run.memory('i32.load', record.TAKEN);
        run.callIndirect(handlerType);
        run.set(raw);
        run.i32(0);
        run.memory('i64.load', STATE + state.RIP);
        run.set(target);
        // Straight on to the next region, if there is one.
        const out = run.block();
        run.get(raw);
        run.if();
        jumps.forget(run, target);
        run.br(out);
        run.end();
        // It may have come back only because of that: the jump cache has what it would be told.
        isFuelLow();
        run.brIf(out);
        emitEntry(run, target, entry);
        run.get(entry);
        run.memory('i64.load', TLB_EXECUTE);
        run.get(target);
        run.op('i64.xor');
        run.i64(4095n);
        run.op('i64.gt_u');
        run.brIf(out);
        physicalFromEntry();
        blockSet();
        run.memory('i32.load', 0);
        run.get(physical);
        run.op('i32.ne');
        run.brIf(out);
        run.get(entry);
        run.memory('i32.load', BLOCK_RECORD);
        run.tee(link);
        run.memory('i32.load16_u', record.HANDLER);
        run.i32(record.TRANSLATED);
        run.op('i32.ne');
        run.brIf(out);
        run.get(link);
        run.set(rec);
        setPage();
        jumps.note(run, target, rec);
        run.br(again);
        run.end();
        run.call(settleFlags);
        charge(() => run.i32(0));
        run.if();
        saveRip();
        exit(record.EXIT_BUDGET);
        run.end();
        set(slot, 0);
        run.br(resolve);
        run.end();
        break;
      }
      case record.UNDEFINED:
        run.i32(0);
        run.get(rec);
        run.memory('i32.load', record.IMMEDIATE);
        run.i32(0x100);
        run.op('i32.or');
        run.memory('i32.store', STATE + state.FAULT);
        run.i32(0);
        run.i32(0);
        run.memory('i32.store', STATE + state.FAULT_CODE);
        run.br(fault);
        break;
    }
  }

  // The hot instructions.
  const leaving: Leaving = {
    record: rec,
    fault: body => body.br(fault),
    go: (body, at) => {
      body.set(target);
      if (at === undefined) body.i32(0);
      else {
        body.get(rec);
        body.i32(at);
        body.op('i32.add');
      }
      body.set(slot);
      body.br(go);
    },
    resume: body => {
      body.i32(0);
      body.memory('i64.load', STATE + state.RIP);
      body.set(target);
      body.i32(0);
      body.set(slot);
      body.br(go);
    },
  };
  for (let i = 0; i < hotCount; i++) {
    run.end();
    try {
      const tier = make(run, all[i]!, leaving);
      if (!tier.left && !all[i]!.form.row.ends) advance();
      else run.unreachable();
    } catch (error) {
      throw new Error(`${names[record.FIRST_INSTRUCTION + i]}: ${(error as Error).message}`, { cause: error });
    }
  }
  run.end(); // called
  run.get(rec);
  run.get(rec);
  run.memory('i32.load16_u', record.HANDLER);
  run.callIndirect(handlerType);
  run.tee(link);
  run.op('i32.eqz');
  run.if();
  advance();
  run.end();
  run.get(link);
  run.i32(1);
  run.op('i32.eq');
  run.brIf(fault);
  // 2 + offset of the link slot: RIP says where.
  run.i32(0);
  run.memory('i64.load', STATE + state.RIP);
  run.set(target);
  run.get(link);
  run.i32(2);
  run.op('i32.eq');
  run.if();
  set(slot, 0);
  run.else();
  run.get(rec);
  run.get(link);
  run.i32(2);
  run.op('i32.sub');
  run.op('i32.add');
  run.set(slot);
  run.end();
  run.br(go);

  run.end(); // fault
  if (functions.traps) {
    setTargetHere();
    saveRip();
    deliverFault(position);
  }
  exit(record.EXIT_FAULT);

  run.end(); // go
  charge(() => {
    position();
    run.i32(1);
    run.op('i32.add');
  });
  run.if();
  saveRip();
  exit(record.EXIT_BUDGET);
  run.end();
  run.get(slot);
  run.if();
  run.get(slot);
  run.memory('i32.load', 0);
  run.tee(link);
  run.if();
  run.get(link);
  run.set(rec);
  run.br(enter);
  run.end();
  run.end();

  run.end(); // resolve: find the block at `target`
  lookUpCode(() => {
    saveRip();
    deliverFault(() => run.i32(0));
    set(rec, 0);
    exit(record.EXIT_FETCH_FAULT);
  });
  blockSet();
  run.memory('i32.load', 0);
  run.get(physical);
  run.op('i32.ne');
  run.if();
  run.get(entry);
  run.i32(BLOCK_ENTRY);
  run.op('i32.add');
  run.tee(entry);
  run.memory('i32.load', 0);
  run.get(physical);
  run.op('i32.ne');
  run.if();
  saveRip();
  set(rec, 0);
  exit(record.EXIT_TRANSLATE);
  run.end();
  run.end();
  run.get(entry);
  run.memory('i32.load', BLOCK_RECORD);
  run.set(rec);
  run.get(raw);
  run.if();
  set(raw, 0);
  run.get(rec);
  run.memory('i32.load16_u', record.HANDLER);
  run.i32(record.TRANSLATED);
  run.op('i32.eq');
  run.if();
  run.get(rec);
  run.memory('i32.load', record.NOT_TAKEN);
  run.set(rec);
  run.end();
  run.end();
  // Within one page the link holds as long as both blocks do; across pages translations may change.
  run.get(slot);
  run.if();
  run.get(target);
  run.i64(-4096n);
  run.op('i64.and');
  run.i32(0);
  run.memory('i64.load', STATE + state.PAGE);
  run.op('i64.eq');
  run.if();
  run.get(slot);
  run.get(rec);
  run.memory('i32.store', 0);
  run.end();
  run.end();
  setPage();
  run.end(); // enter
  // A block that is entered often is worth translating.
  run.get(rec);
  run.i32(record.HEADER);
  run.op('i32.sub');
  run.tee(entry);
  run.get(entry);
  run.memory('i32.load', record.HEADER_HEAT);
  run.i32(1);
  run.op('i32.add');
  run.tee(link);
  run.memory('i32.store', record.HEADER_HEAT);
  run.get(link);
  run.i32(0);
  run.memory('i32.load', STATE + state.HEAT_MASK);
  run.op('i32.and');
  run.brIf(next);
  saveRip();
  set(rec, 0);
  exit(record.EXIT_HOT);
  run.end(); // loop
  run.unreachable();
  module.function(run, 'run');
  module.defineTable(elements);

  return { bytes: module.encode(), handlers, helpers: helpers.names };

  /** PAGE = the page of `target`. */
  function setPage(): void {
    run.i32(0);
    run.get(target);
    run.i64(-4096n);
    run.op('i64.and');
    run.memory('i64.store', STATE + state.PAGE);
  }
  /** physical = where the TLB entry `entry` has `target`. */
  function physicalFromEntry(): void {
    run.get(target);
    run.op('i32.wrap_i64');
    run.get(entry);
    run.memory('i32.load', TLB_ADDEND);
    run.op('i32.add');
    run.i32(layout.guestOrigin);
    run.op('i32.sub');
    run.set(physical);
  }
  /** entry = the block table's first entry for `physical`; leaves it on the stack. */
  function blockSet(): void {
    run.get(physical);
    run.get(physical);
    run.i32(14);
    run.op('i32.shr_u');
    run.op('i32.xor');
    run.i32(BLOCK_SETS - 1);
    run.op('i32.and');
    run.i32(Math.log2(BLOCK_SET));
    run.op('i32.shl');
    run.i32(0);
    run.memory('i32.load', STATE + state.BLOCK_BASE);
    run.op('i32.add');
    run.tee(entry);
  }
  /** Goes on at the handler of the fault at RIP, if that can be delivered here (traps.ts). */
  function deliverFault(done: () => void): void {
    if (!functions.traps) return;
    done();
    run.call(functions.traps.fault);
    run.if();
    set(rec, 0);
    set(slot, 0);
    set(raw, 0);
    run.i32(0);
    run.memory('i64.load', STATE + state.RIP);
    run.set(target);
    charge(() => run.i32(0));
    run.if();
    exit(record.EXIT_BUDGET);
    run.end();
    run.br(next);
    run.end();
  }
  function advance(): void {
    run.get(rec);
    run.i32(RECORD_SIZE);
    run.op('i32.add');
    run.set(rec);
    run.br(next);
  }
  /** target = linear address of the record's instruction. */
  function setTargetHere(): void {
    run.i32(0);
    run.memory('i64.load', STATE + state.PAGE);
    run.get(rec);
    run.memory('i64.load16_u', record.OFFSET);
    run.op('i64.add');
    if (!wide) {
      run.i64(0xffffffffn);
      run.op('i64.and');
    }
    run.set(target);
  }
  /** physical = guest-physical address of code at `target`, by the TLB or a walk. */
  function lookUpCode(faulted: () => void): void {
    emitEntry(run, target, entry);
    run.get(entry);
    run.memory('i64.load', TLB_EXECUTE);
    run.get(target);
    run.op('i64.xor');
    run.i64(4095n);
    run.op('i64.gt_u');
    run.if();
    run.get(target);
    run.i32(ACCESS_EXECUTE);
    run.call(paging.walk);
    run.i64(-1n);
    run.op('i64.eq');
    run.if();
    faulted();
    run.end();
    // Not in the TLB even now: no RAM there. The engine tells the machine.
    run.i32(0);
    run.memory('i32.load', STATE + state.PHYSICAL);
    run.set(physical);
    run.else();
    physicalFromEntry();
    run.end();
  }
}

/** A handler in a function of its own. */
function ownFunction(): Leaving {
  const leave = (body: Body, code: number) => {
    body.i32(code);
    body.return();
  };
  const scratch = new WeakMap<Body, number>();
  return {
    record: 0,
    fault: body => leave(body, 1),
    go: (body, link) => {
      let local = scratch.get(body);
      if (local === undefined) scratch.set(body, (local = body.local('i64')));
      body.set(local);
      body.i32(0);
      body.get(local);
      body.memory('i64.store', STATE + state.RIP);
      leave(body, 2 + (link ?? 0));
    },
    resume: body => leave(body, 2),
  };
}

/**
 * Segment limits and rights outside 64-bit mode (SDM 3A 5.3, 5.5): (segment, offset, bytes, write) -> linear address, or FAULT.
 * A null segment has attributes 0.
 */
function segmentBody(): Body {
  const b = new Body(['i32', 'i64', 'i32', 'i32'], ['i64']);
  const [segment, offset, bytes, write] = [0, 1, 2, 3];
  const attributes = b.local('i32');
  const last = b.local('i64');
  const limit = b.local('i64');
  const field = (base: number, load: string) => {
    b.get(segment);
    b.i32(2);
    b.op('i32.shl');
    b.memory(load, STATE + base);
  };
  field(state.SEGMENT_ATTRIBUTES, 'i32.load');
  b.set(attributes);
  field(state.SEGMENT_LIMIT, 'i64.load32_u');
  b.set(limit);
  b.get(offset);
  b.get(bytes);
  b.i32(1);
  b.op('i32.sub');
  b.op('i64.extend_i32_u');
  b.op('i64.add');
  b.set(last);
  const bad = b.block();
  // Present at all?
  b.get(attributes);
  b.i32(0x8000);
  b.op('i32.and');
  b.op('i32.eqz');
  b.brIf(bad);
  // Code segments: readable if bit 9, never writable. Data segments: writable if bit 9.
  b.get(attributes);
  b.i32(0x800);
  b.op('i32.and');
  b.if();
  b.get(write);
  b.brIf(bad);
  b.get(attributes);
  b.i32(0x200);
  b.op('i32.and');
  b.op('i32.eqz');
  b.brIf(bad);
  b.else();
  b.get(attributes);
  b.i32(0x200);
  b.op('i32.and');
  b.op('i32.eqz');
  b.get(write);
  b.op('i32.and');
  b.brIf(bad);
  b.end();
  // Expand-down data segments: valid above the limit, up to 64 KiB or 4 GiB by the B flag.
  b.get(attributes);
  b.i32(0xc00);
  b.op('i32.and');
  b.i32(0x400);
  b.op('i32.eq');
  b.if();
  b.get(offset);
  b.get(limit);
  b.op('i64.le_u');
  b.brIf(bad);
  b.get(last);
  b.i64(0xffffffffn);
  b.i64(0xffffn);
  b.get(attributes);
  b.i32(0x400000);
  b.op('i32.and');
  b.select();
  b.op('i64.gt_u');
  b.brIf(bad);
  b.else();
  b.get(last);
  b.get(limit);
  b.op('i64.gt_u');
  b.brIf(bad);
  b.end();
  b.get(segment);
  b.i32(3);
  b.op('i32.shl');
  b.memory('i64.load', STATE + state.SEGMENT_BASE);
  b.get(offset);
  b.op('i64.add');
  b.i64(0xffffffffn);
  b.op('i64.and');
  b.return();
  b.end();
  // #SS(0) for the stack segment, #GP(0) for the others.
  b.i32(0);
  b.i32(12 | 0x100);
  b.i32(13 | 0x100);
  b.get(segment);
  b.i32(SS);
  b.op('i32.eq');
  b.select();
  b.memory('i32.store', STATE + state.FAULT);
  b.i32(0);
  b.i32(0);
  b.memory('i32.store', STATE + state.FAULT_CODE);
  b.i64(0n);
  return b;
}
