/** From regions to a WebAssembly module: one function a region, several regions a module. */

import { hasTailCalls } from '../../wasm/features.ts';
import { Body, Module } from '../../wasm/module.ts';
import { CS } from '../../x86/segments.ts';
import { type Layout, TLB_ADDEND, TLB_EXECUTE } from '../layout.ts';
import { ACCESS_EXECUTE, ACCESS_QUIET } from '../x86/access.ts';
import { Builder } from '../x86/builder.ts';
import type { ListMeaning } from '../x86/instructions/row.ts';
import { raiseWaiting, switchToMmx } from '../x86/instructions/vector.ts';
import { emitEntryOffset } from '../x86/paging.ts';
import { PURE_FUNCTIONS, type PureFunction } from '../x86/pure-functions.ts';
import * as state from '../x86/state.ts';
import type { Block, Region } from './region.ts';
import { emitStructured, type Target } from './structure.ts';
import { type FlagOrigin, JitTier, type PureHelpers, type RegionLocals } from './tier.ts';

const { STATE } = state;
const REGISTERS = 16;

/** Indices that every module has alike, so that a region's code can move from one module to another. */
const FUNCTIONS = {
  helper: 0,
  bulk: { movs: 1, stos: 2 },
  walk: 3,
  careful: 4,
  pure: { compareStrings: 5, crc32: 6 },
  chain32: 7,
  chain64: 8,
};

/** A region as the bytes of a function: (i32: 0 if the jump cache led here) -> 1 if the interpreter has to execute the instruction at RIP. */
export function compileRegion(layout: Layout, region: Region, wide: boolean, pure: PureHelpers): Uint8Array {
  return regionBody(layout, region, wide, pure, FUNCTIONS).encode();
}

/** The parameter. */
const FROM_INTERPRETER = 0;

/** A module of regions: functions `r0`, `r1`, … */
export function linkRegions(layout: Layout, regions: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const module = new Module(layout.wasmPages);
  const helper = module.import('env', 'helper', ['i32'], ['i32']);
  const movs = module.import('env', 'bulkMovs', ['i64', 'i64', 'i64', 'i32'], ['i64']);
  const stos = module.import('env', 'bulkStos', ['i64', 'i64', 'i64', 'i32'], ['i64']);
  const walk = module.import('env', 'walk', ['i64', 'i32'], ['i64']);
  const careful = module.import('env', 'careful', ['i32', 'v128', 'v128'], ['v128']);
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
    careful !== FUNCTIONS.careful ||
    pure.some(({ name, index }) => index !== FUNCTIONS.pure[name]) ||
    chain32 !== FUNCTIONS.chain32 ||
    chain64 !== FUNCTIONS.chain64
  )
    throw new Error('jit: regions are linked to other functions');
  regions.forEach((body, i) => module.encoded(body, ['i32'], ['i32'], `r${i}`));
  return module.encode();
}

function regionBody(
  layout: Layout,
  region: Region,
  wide: boolean,
  pure: PureHelpers,
  functions: typeof FUNCTIONS,
): Body {
  const body = new Body(['i32'], ['i32']);
  const locals: RegionLocals = {
    registers: new Array(REGISTERS).fill(undefined),
    written: new Set(),
    vectors: new Array(REGISTERS).fill(undefined),
    writtenVectors: new Set(),
    base: body.local('i64'),
    segments: new Set(wide ? [] : [CS]),
    tlb: body.local('i32'),
    fuel: body.local('i32'),
    flagResult: body.local('i64'),
    flagX: body.local('i64'),
    flagKind: body.local('i32'),
    exitRip: body.local('i64'),
    interpret: body.local('i32'),
  };
  const limit = region.instructions + 1;
  let exit = 0;
  let block!: Block;
  /** Instructions of the block that are done. */
  let done = 0;
  let offset = 0;
  let lookup!: (to: Block) => Target;

  const charge = (instructions: number) => {
    if (!instructions) return;
    body.get(locals.fuel);
    body.i32(instructions);
    body.op('i32.sub');
    body.set(locals.fuel);
  };
  const leaveTo = (to: number) => {
    body.get(locals.base);
    body.i64(BigInt(to));
    body.op('i64.add');
    body.set(locals.exitRip);
    body.br(exit);
  };
  /** On to a block of the region, or out to its address. The block's instructions have been charged for. */
  const edge = (to: Block | undefined, address: number) => {
    if (!to) return leaveTo(address);
    const target = lookup(to);
    if (target.backwards) {
      body.get(locals.fuel);
      body.i32(limit);
      body.op('i32.lt_s');
      body.if();
      leaveTo(address);
      body.end();
    }
    if (target.dispatch) {
      body.i32(target.dispatch.value);
      body.set(target.dispatch.local);
    }
    body.br(target.label);
  };
  const tier = new JitTier(
    wide,
    locals,
    {
      interpret(into) {
        into.i32(1);
        into.set(locals.interpret);
        charge(done);
        leaveTo(offset);
      },
      next() {
        charge(done + 1);
        leaveTo(offset + block.code[done]!.instruction.length);
      },
      done: () => done,
      jump(b, target) {
        // Direct jumps are edges; only returns and indirect ones need the value.
        if (block.ending === 'next') return;
        b.use(target);
        b.effect(() => {
          b.emit(target);
          body.set(locals.exitRip);
        });
      },
      branch(b, condition) {
        const { taken, next, end } = block;
        const last = block.code.at(-1)!;
        const repeats = last.instruction.form!.operands[0]?.place !== 'J';
        const to = repeats ? last.offset : end + Number(last.instruction.immediate);
        b.use(condition);
        b.effect(() => {
          charge(block.code.length);
          b.emit(condition);
          body.if();
          edge(taken, to);
          body.end();
          edge(next, end);
        });
      },
    },
    functions,
    pure,
  );
  const b = new Builder(body, tier);
  /** What is known of the flags at a block's end. */
  const origins = new Map<Block, FlagOrigin | undefined>();
  const onlyPredecessors = predecessors(region);

  exit = body.block();
  emitStructured<Block>(
    {
      body,
      node(node, target) {
        block = node;
        lookup = target;
        done = 0;
        const before = onlyPredecessors.get(node);
        tier.beginBlock(before && origins.get(before));
        origins.set(node, tier.pending);
        for (const { instruction, offset: at } of node.code) {
          offset = at;
          tier.left = false;
          tier.begin(instruction, at);
          const { form } = instruction;
          if (form!.row.privileged) b.raiseIf(b.state32(state.CPL), 13, 0);
          const mmx = form!.row.unit === 'mmx';
          if (mmx) raiseWaiting(b);
          const meaning: ListMeaning = form!.row.meaning;
          meaning(b, ...form!.operands.map((spec, i) => tier.operand(b, spec, i)));
          if (mmx) switchToMmx(b);
          b.finish();
          done++;
          origins.set(node, tier.pending);
          if (tier.left) return;
        }
        switch (node.ending) {
          case 'branch':
            return; // the meaning's branch did it all
          case 'next': {
            charge(node.code.length);
            const last = node.code.at(-1)!;
            const direct = last.instruction.form!.operands[0]?.place === 'J';
            edge(node.next, direct ? node.end + Number(last.instruction.immediate) : node.end);
            return;
          }
          case 'dynamic':
            charge(node.code.length);
            for (const to of node.targets) {
              body.get(locals.exitRip);
              body.get(locals.base);
              body.i64(BigInt(to.start));
              body.op('i64.add');
              body.op('i64.eq');
              body.if();
              edge(to, to.start);
              body.end();
            }
            body.br(exit);
            return;
          case 'interpret':
            done = node.code.length;
            offset = node.end;
            charge(done);
            body.i32(1);
            body.set(locals.interpret);
            leaveTo(node.end);
            return;
          case 'leave':
            charge(node.code.length);
            leaveTo(node.end);
        }
      },
    },
    region.blocks,
    region.entry,
  );
  body.unreachable();
  body.end();

  // Out: everything back to memory.
  const store = (type: string, at: number, value: () => void) => {
    body.i32(0);
    value();
    body.memory(type, STATE + at);
  };
  for (const register of locals.written)
    store('i64.store', state.GPR + 8 * register, () => body.get(locals.registers[register]!));
  for (const register of locals.writtenVectors)
    store('v128.store', state.XMM + 16 * register, () => body.get(locals.vectors[register]!));
  if (!wide) {
    body.get(locals.exitRip);
    body.i64(0xffffffffn);
    body.op('i64.and');
    body.set(locals.exitRip);
  }
  store('i64.store', state.RIP, () => body.get(locals.exitRip));
  store('i32.store', state.FUEL, () => body.get(locals.fuel));
  for (const [at, type, local] of flagState(locals)) store(`${type}.store`, at, () => body.get(local));
  body.get(locals.interpret);
  body.if();
  body.i32(1);
  body.return();
  body.end();
  body.get(locals.exitRip);
  const chain = wide ? functions.chain64 : functions.chain32;
  if (hasTailCalls) body.returnCall(chain);
  else body.call(chain);

  return withPrologue(body, prologue(layout, region, wide, locals));
}

/** The only block that leads to another, of those that have just one. */
function predecessors({ blocks, entry }: Region): Map<Block, Block> {
  const only = new Map<Block, Block>();
  const several = new Set([entry]);
  for (const block of blocks)
    for (const successor of block.successors) {
      if (only.has(successor)) several.add(successor);
      only.set(successor, block);
    }
  for (const block of several) only.delete(block);
  return only;
}

/** What comes before the region's code, once it is known what that uses. Returns 1 if the region cannot be entered now. */
function prologue(layout: Layout, region: Region, wide: boolean, locals: RegionLocals): (body: Body) => void {
  return body => {
    const load = (type: string, at: number) => {
      body.i32(0);
      body.memory(type, STATE + at);
    };
    const refuse = () => {
      body.if();
      body.i32(1);
      body.return();
      body.end();
    };
    // The interpreter and the jump cache enter a region only with fuel for REGION_LIMIT instructions.
    load('i32.load', state.FUEL);
    body.set(locals.fuel);
    const units = new Set(
      region.blocks.flatMap(block => block.code.map(({ instruction }) => instruction.form!.row.unit)),
    );
    for (const [index, unit] of (['x87', 'mmx', 'sse'] as const).entries())
      if (units.has(unit)) {
        load('i32.load', state.UNIT_TRAP + 4 * index);
        refuse();
      }
    if (!wide) {
      const flat = [...locals.segments].reduce((bits, segment) => bits | (1 << segment), 0);
      load('i32.load', state.FLAT);
      body.i32(flat);
      body.op('i32.and');
      body.i32(flat);
      body.op('i32.ne');
      refuse();
    }
    load('i64.load', state.PAGE);
    body.set(locals.base);
    load('i32.load', state.TLB_BASE);
    body.set(locals.tlb);
    // The other pages must still be mapped where they were: the jump cache would not have led here otherwise.
    const others = region.pages.filter(({ delta }) => delta !== 0);
    if (others.length) {
      body.get(FROM_INTERPRETER);
      body.if();
    }
    for (const { delta, physical } of others) {
      const page = () => {
        body.get(locals.base);
        body.i64(BigInt(delta * 4096));
        body.op('i64.add');
        if (!wide) {
          body.i64(0xffffffffn);
          body.op('i64.and');
        }
      };
      const entry = () => {
        page();
        emitEntryOffset(body);
        body.get(locals.tlb);
        body.op('i32.add');
      };
      entry();
      body.memory('i64.load', TLB_EXECUTE);
      page();
      body.op('i64.eq');
      body.if('i32');
      entry();
      body.memory('i32.load', TLB_ADDEND);
      page();
      body.op('i32.wrap_i64');
      body.op('i32.add');
      body.i32((layout.guestOrigin + physical) | 0);
      body.op('i32.ne');
      body.else();
      page();
      // This may set accessed flags before the guest comes there, as processors do. To refuse instead has the interpreter
      // execute loops whose rare ways out lie in a page that this process has not come to.
      body.i32(ACCESS_EXECUTE | ACCESS_QUIET);
      body.call(FUNCTIONS.walk);
      body.i64(BigInt(physical));
      body.op('i64.ne');
      body.end();
      refuse();
    }
    if (others.length) body.end();
    locals.registers.forEach((local, register) => {
      if (local === undefined) return;
      load('i64.load', state.GPR + 8 * register);
      body.set(local);
    });
    locals.vectors.forEach((local, register) => {
      if (local === undefined) return;
      load('v128.load', state.XMM + 16 * register);
      body.set(local);
    });
    for (const [at, type, local] of flagState(locals)) {
      load(`${type}.load`, at);
      body.set(local);
    }
  };
}
/** What the flags came from: where it stands between regions, and its locals. */
function flagState(locals: RegionLocals): [at: number, type: 'i32' | 'i64', local: number][] {
  return [
    [state.FLAG_RESULT, 'i64', locals.flagResult],
    [state.FLAG_KIND, 'i32', locals.flagKind],
    [state.FLAG_X, 'i64', locals.flagX],
  ];
}
/** Puts code in front of a finished body. Labels are relative, so nothing moves. */
function withPrologue(body: Body, emit: (body: Body) => void): Body {
  const main = body.code.take();
  body.code.length = 0;
  emit(body);
  body.code.append(main);
  return body;
}
