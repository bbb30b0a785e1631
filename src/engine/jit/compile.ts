/**
 * From a region to a WebAssembly function: (i32: 0 if the jump cache led here) -> 1 if the interpreter has to execute
 * the instruction at RIP.
 */

import { Variable } from '../../wasm/code.ts';
import { Body } from '../../wasm/module.ts';
import type { Layout } from '../layout.ts';
import { Builder, type Value } from '../x86/builder.ts';
import { checkPrivilege } from '../x86/instructions/privilege.ts';
import type { ListMeaning } from '../x86/instructions/row.ts';
import { raiseWaiting, switchToMmx } from '../x86/instructions/vector.ts';
import { enterRegion, type Leaving, leaveRegion, type RegionVariables } from './frame.ts';
import { FUNCTIONS } from './link.ts';
import type { Block, CodeInstruction, Region } from './region.ts';
import { type FlagOrigin, RegionRegisters } from './registers.ts';
import { emitStructured, type Target } from './structure.ts';
import { JitTier, type PureHelpers } from './tier.ts';

export function compileRegion(layout: Layout, region: Region, wide: boolean, pure: PureHelpers): Uint8Array {
  return new RegionCompiler(layout, region, wide, pure).body().encode();
}

/** The code of a region under construction; also how its instructions leave it. */
class RegionCompiler implements Leaving {
  readonly #layout: Layout;
  readonly #region: Region;
  readonly #b: Builder;
  readonly #tier: JitTier;
  readonly #variables: RegionVariables;
  /** The label of the way out. */
  #exit = 0;
  /**
   * The block under translation, the place of a branch to each of its successors, and how many of its instructions are
   * done.
   */
  #block!: Block;
  #lookup!: (to: Block) => Target;
  #done = 0;
  /** Offset of the instruction from the entry's page. */
  #offset = 0;

  constructor(layout: Layout, region: Region, wide: boolean, pure: PureHelpers) {
    this.#layout = layout;
    this.#region = region;
    this.#tier = new JitTier(wide, this, FUNCTIONS, pure);
    const b = new Builder(new Body(['i32'], ['i32']), this.#tier);
    this.#b = b;
    this.#variables = {
      base: b.declare('i64'),
      tlb: b.declare('i32'),
      fuel: b.declare('i32'),
      registers: new RegionRegisters(b),
      exitRip: b.declare('i64'),
      interpret: b.declare('i32'),
    };
    this.#tier.use(this.#variables);
  }

  body(): Body {
    const b = this.#b;
    const { blocks, entry } = this.#region;
    /** What is known of the flags at a block's end. */
    const origins = new Map<Block, FlagOrigin | undefined>();
    const onlyPredecessors = predecessors(this.#region);
    b.outerBlock((_leave, exit) => {
      this.#exit = exit;
      const node = (block: Block, lookup: (to: Block) => Target) => {
        const before = onlyPredecessors.get(block);
        this.#tier.registers.beginBlock(before && origins.get(before));
        this.#node(block, lookup);
        origins.set(block, this.#tier.registers.origin);
      };
      emitStructured<Block>({ body: b.body, node }, blocks, entry);
      b.body.unreachable();
    });
    leaveRegion(b, this.#variables, FUNCTIONS);
    b.finish();
    b.body.prepend(() => {
      enterRegion(b, this.#layout, this.#region, this.#variables, this.#tier.memory.segments, FUNCTIONS);
      b.finish();
    });
    return b.body;
  }

  /** The code of a block. */
  #node(block: Block, lookup: (to: Block) => Target): void {
    this.#block = block;
    this.#lookup = lookup;
    this.#done = 0;
    for (const each of block.code) {
      this.#instruction(each);
      this.#b.finish();
      this.#done++;
      if (this.#tier.left) return;
    }
    this.#end(block);
    this.#b.finish();
  }
  #instruction(current: CodeInstruction): void {
    const b = this.#b;
    this.#offset = current.offset;
    this.#tier.begin(current);
    const { row, operands } = current.instruction.form!;
    checkPrivilege(b, row);
    if (row.unit === 'mmx') raiseWaiting(b);
    const meaning: ListMeaning = row.meaning;
    meaning(b, ...operands.map((spec, i) => this.#tier.operand(b, spec, i)));
    if (row.unit === 'mmx') switchToMmx(b);
  }
  /** After a block's instructions. */
  #end(block: Block): void {
    const b = this.#b;
    const { base, exitRip, interpret } = this.#variables;
    if (block.ending === 'branch') return; // the meaning's branch did it all
    this.#charge(block.code.length);
    switch (block.ending) {
      case 'next': {
        const { instruction } = block.code.at(-1)!;
        const direct = instruction.form!.operands[0]?.place === 'J';
        return this.#edge(block.next, direct ? block.end + Number(instruction.immediate) : block.end);
      }
      case 'dynamic':
        for (const to of block.targets)
          b.when(b.eq(exitRip.get(), b.add(base.get(), BigInt(to.start))), () => this.#edge(to, to.start));
        return b.leave(this.#exit);
      case 'interpret':
        interpret.set(1);
        return this.#leaveTo(block.end);
      case 'leave':
        return this.#leaveTo(block.end);
    }
  }

  #charge(instructions: number): void {
    if (instructions) this.#variables.fuel.sub(instructions);
  }
  /** Out of the region, to an offset from the entry's page. */
  #leaveTo(to: number): void {
    const { base, exitRip } = this.#variables;
    exitRip.set(this.#b.add(base.get(), BigInt(to)));
    this.#b.leave(this.#exit);
  }
  /** On to a block of the region, or out to its address. The block's instructions have been charged for. */
  #edge(to: Block | undefined, address: number): void {
    if (!to) return this.#leaveTo(address);
    const b = this.#b;
    const target = this.#lookup(to);
    if (target.backwards)
      b.when(b.lts(this.#variables.fuel.get(), this.#region.instructions + 1), () => this.#leaveTo(address));
    if (target.dispatch) new Variable(b, 'i32', target.dispatch.local).set(target.dispatch.value);
    b.leave(target.label);
  }

  // ── leaving ─────────────────────────────────────────────────────────────────────────────────────────────────────

  interpret(): void {
    this.#variables.interpret.set(1);
    this.#charge(this.#done);
    this.#leaveTo(this.#offset);
  }
  next(): void {
    this.#charge(this.#done + 1);
    this.#leaveTo(this.#offset + this.#block.code[this.#done]!.instruction.length);
  }
  done(): number {
    return this.#done;
  }
  jump(_b: Builder, target: Value): void {
    // Direct jumps are edges; only returns and indirect ones need the value.
    if (this.#block.ending !== 'next') this.#variables.exitRip.set(target);
  }
  branch(b: Builder, condition: Value): void {
    const { taken, next, end, code } = this.#block;
    const last = code.at(-1)!;
    const repeats = last.instruction.form!.operands[0]?.place !== 'J';
    const to = repeats ? last.offset : end + Number(last.instruction.immediate);
    this.#charge(code.length);
    b.aside(condition, () => this.#edge(taken, to));
    this.#edge(next, end);
  }
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
