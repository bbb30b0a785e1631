/**
 * A region: the part of the guest's control flow around one hot address that is translated together. Found by following
 * direct branches, calls and the returns they lead to; cut into blocks. Offsets are bytes from the start of the entry's
 * page.
 */
import { REGION_LIMIT } from '../layout.ts';
import { type CodeSize, decode, Instruction } from '../x86/decode.ts';

/** How a block ends. */
export type Ending =
  /** Falls through to the only successor, or jumps there. */
  | 'next'
  /** Jcc, LOOP, REP: `taken` and `next`. */
  | 'branch'
  /** A near return, an indirect jump or call: to one of `targets`, or out. */
  | 'dynamic'
  /** Out, with the interpreter to execute the instruction at `end`. */
  | 'interpret'
  /** Out to `end`: the region's limit. */
  | 'leave';

export interface CodeInstruction {
  instruction: Instruction;
  offset: number;
}

export interface Block {
  start: number;
  /** Offset after the last instruction. */
  end: number;
  code: CodeInstruction[];
  ending: Ending;
  taken: Block | undefined;
  next: Block | undefined;
  /** Where a dynamic ending may lead within the region: the most frequent first. */
  targets: Block[];
  /** Where control may go within the region. */
  successors: Block[];
}

export interface Region {
  entry: Block;
  blocks: Block[];
  /** Pages that hold code of the region. */
  pages: CodePage[];
  /** Pages that the search visited: the same search over copies of them finds the same region. */
  seen: CodePage[];
  instructions: number;
}
export interface CodePage {
  /** Number relative to the entry's page. */
  delta: number;
  /** Guest-physical address. */
  physical: number;
}

/**
 * Instructions of a region that is not part of a loop around its entry: V8 takes more time to optimise larger regions
 * than they save. A loop may have up to REGION_LIMIT, because leaving it for the interpreter in every round would cost
 * more.
 */
const USUAL_LIMIT = 100;
/** Pages that a region may lie in. */
const REGION_PAGES = 4;
/** Addresses after calls that a return of the region is compared with. */
const RETURN_TARGETS = 12;

export interface CodeReader {
  /** Guest-physical address of the page `delta` pages after the entry's; -1 if it has no executable RAM. */
  page(delta: number): number;
  /** True if a block may start at the guest-physical address: code that has hardly run stays out of regions. */
  executed(physical: number): boolean;
  /**
   * Recent targets of the indirect jump or call at an offset from the entry's page: offsets, the most frequent first.
   */
  targets(offset: number): readonly number[];
  /** Index in `bytes` of a guest-physical page. */
  at(physical: number): number;
  bytes: Uint8Array;
}

/** True if the region cannot go on past the instruction: the interpreter has to execute it. */
function isForeign(instruction: Instruction): boolean {
  const { row } = instruction.form!;
  if (!row.ends || row.straight) return false;
  return flowOf(instruction) === undefined;
}
type Flow = 'jump' | 'call' | 'branch' | 'repeat' | 'return' | 'indirect jump' | 'indirect call';
function flowOf(instruction: Instruction): Flow | undefined {
  const { row, operands } = instruction.form!;
  const direct = operands[0]?.place === 'J';
  // In 32-bit code, a branch to IP instead of EIP.
  if (direct && instruction.operandSize === 16) return undefined;
  if (row.name === 'jmp') return direct ? 'jump' : 'indirect jump';
  if (row.name === 'call') return direct ? 'call' : 'indirect call';
  if (row.name === 'ret') return 'return';
  if (direct) return 'branch';
  return row.name.startsWith('rep') && operands.at(-1)?.place === 'counter' && !row.untested ? 'repeat' : undefined;
}

/** Finds the region that starts at `entry` (an offset in its page); undefined if there is nothing worth translating. */
export function findRegion(reader: CodeReader, entry: number, code: CodeSize): Region | undefined {
  const around = explore(reader, entry, code);
  const { found, pages } = around;
  if (!found.has(entry)) return undefined;
  let blocks = blocksOf(around, entry);
  if (sizeOf(blocks) > USUAL_LIMIT) {
    // The nearest, and what leads back to the entry.
    const kept = new Set([...found.keys()].slice(0, USUAL_LIMIT));
    for (const block of loopOf(blocks)) for (const { offset } of block.code) kept.add(offset);
    for (const offset of found.keys()) if (!kept.has(offset)) found.delete(offset);
    blocks = blocksOf(around, entry);
  }
  const instructions = sizeOf(blocks);
  if (!instructions) return undefined;
  const ends = ({ offset, instruction }: CodeInstruction) => [offset, offset + instruction.length - 1];
  const used = new Set([0, ...blocks.flatMap(block => block.code.flatMap(ends)).map(offset => offset >> 12)]);
  const seen = [...pages].map(([delta, physical]) => ({ delta, physical }));
  return { entry: blocks[0]!, blocks, pages: seen.filter(({ delta }) => used.has(delta)), seen, instructions };
}
const sizeOf = (blocks: readonly Block[]): number => blocks.reduce((sum, block) => sum + block.code.length, 0);

/** The blocks that control may come back from to the first one. */
function loopOf(blocks: readonly Block[]): Set<Block> {
  const loop = new Set<Block>();
  for (let before = -1; loop.size > before; ) {
    before = loop.size;
    for (const block of blocks) if (block.successors.some(to => to === blocks[0] || loop.has(to))) loop.add(block);
  }
  return loop;
}

/** What the search found around an entry. */
interface Surroundings {
  /** Instructions by their offset, the nearest to the entry first. */
  found: Map<number, Instruction>;
  /** Where blocks start. */
  leaders: Set<number>;
  /** Return addresses: offsets after a CALL. */
  returns: Set<number>;
  /** Where an indirect jump or call may go. */
  dynamic: Map<number, readonly number[]>;
  /** Guest-physical addresses by delta. */
  pages: Map<number, number>;
}

/** Follows control from `entry`. */
function explore(reader: CodeReader, entry: number, code: CodeSize): Surroundings {
  const pages = new Map<number, number>();
  const pageOf = (delta: number): number => {
    const known = pages.get(delta);
    if (known !== undefined) return known;
    if (pages.size >= REGION_PAGES) return -1;
    const physical = reader.page(delta);
    if (physical >= 0) pages.set(delta, physical);
    return physical;
  };
  const tail = new Uint8Array(32);
  /** Decodes at `offset`; undefined where there is no instruction to translate. */
  const read = (offset: number): Instruction | undefined => {
    const delta = Math.floor(offset / 4096);
    const physical = pageOf(delta);
    if (physical < 0) return undefined;
    const instruction = new Instruction();
    const at = offset - delta * 4096;
    const base = reader.at(physical);
    let result = decode(reader.bytes, base + at, base + 4096, code, instruction);
    if (result === 'short') {
      const following = pageOf(delta + 1);
      if (following < 0) return undefined;
      const have = 4096 - at;
      tail.set(reader.bytes.subarray(base + at, base + 4096));
      const from = reader.at(following);
      tail.set(reader.bytes.subarray(from, from + 15), have);
      result = decode(tail, 0, have + 15, code, instruction);
    }
    return typeof result === 'number' ? instruction : undefined;
  };

  const found = new Map<number, Instruction>();
  const leaders = new Set<number>([entry]);
  const returns = new Set<number>();
  const dynamic = new Map<number, readonly number[]>();
  const queue = [entry];
  while (queue.length && found.size < REGION_LIMIT) {
    let offset = queue.shift()!;
    while (!found.has(offset) && found.size < REGION_LIMIT) {
      const instruction = read(offset);
      if (!instruction) break;
      found.set(offset, instruction);
      if (isForeign(instruction)) break;
      const next = offset + instruction.length;
      const flow = flowOf(instruction);
      if (!flow) {
        offset = next;
        continue;
      }
      const target = next + Number(instruction.immediate);
      const lead = (to: number) => {
        const delta = Math.floor(to / 4096);
        const at = pages.get(delta) ?? reader.page(delta);
        if (at < 0 || !reader.executed(at + (to & 4095)) || pageOf(delta) < 0) return;
        leaders.add(to);
        queue.push(to);
      };
      if (flow === 'jump' || flow === 'branch' || flow === 'call') lead(target);
      if (flow === 'repeat') lead(offset);
      if (flow === 'indirect jump' || flow === 'indirect call') {
        const targets = reader.targets(offset);
        dynamic.set(offset, targets);
        for (const to of targets) lead(to);
      }
      if (flow === 'branch' || flow === 'repeat') lead(next);
      if (flow === 'call') {
        returns.add(next);
        lead(next);
      }
      break;
    }
  }
  return { found, leaders, returns, dynamic, pages };
}

/** Blocks of the instructions found that can be reached from `entry`, whose block comes first. */
function blocksOf({ found, leaders, returns, dynamic }: Surroundings, entry: number): Block[] {
  const blocks = new Map<number, Block>();
  for (const start of leaders) {
    if (!found.has(start)) continue;
    const block: Block = {
      start,
      end: start,
      code: [],
      ending: 'leave',
      taken: undefined,
      next: undefined,
      targets: [],
      successors: [],
    };
    for (let offset = start; ; ) {
      const instruction = found.get(offset);
      if (!instruction || (offset !== start && leaders.has(offset))) {
        block.ending = instruction ? 'next' : 'leave';
        break;
      }
      if (isForeign(instruction)) {
        block.ending = 'interpret';
        break;
      }
      block.code.push({ instruction, offset });
      offset += instruction.length;
      block.end = offset;
      const flow = flowOf(instruction);
      if (flow) {
        block.ending =
          flow === 'jump' || flow === 'call' ? 'next' : flow === 'branch' || flow === 'repeat' ? 'branch' : 'dynamic';
        break;
      }
    }
    blocks.set(start, block);
  }
  for (const block of blocks.values()) {
    const last = block.code.at(-1);
    const flow =
      last && block.ending !== 'leave' && block.ending !== 'interpret' ? flowOf(last.instruction) : undefined;
    const target = last && block.end + Number(last.instruction.immediate);
    if (flow === 'jump' || flow === 'call') block.next = blocks.get(target!);
    else if (block.ending === 'next' || block.ending === 'branch') block.next = blocks.get(block.end);
    if (flow === 'branch') block.taken = blocks.get(target!);
    if (flow === 'repeat') block.taken = blocks.get(last!.offset);
    if (block.ending === 'dynamic') {
      const to = flow === 'return' ? returns : dynamic.get(last!.offset)!;
      block.targets = [...to].flatMap(target => blocks.get(target) ?? []);
      if (flow === 'return') block.targets = block.targets.slice(0, RETURN_TARGETS);
    }
  }
  // Only what can be reached.
  const reached = new Set<Block>();
  const visit = (block: Block): void => {
    if (reached.has(block)) return;
    reached.add(block);
    block.successors = [...new Set([block.taken, block.next, ...block.targets])].filter(b => b !== undefined);
    for (const successor of block.successors) visit(successor);
  };
  visit(blocks.get(entry)!);
  return [...reached];
}
