/**
 * Translated blocks: from guest code to decoded records, and back to nothing when the code is written to. A block lies
 * in one page, starts where somebody jumped and ends at the first instruction that `ends`, at the page's end or at
 * BLOCK_LIMIT.
 */
import { PAGE_SIZE } from '../x86/paging.ts';
import { SS } from '../x86/segments.ts';
import type { InterpreterModule } from './interpreter/loop.ts';
import { handlerKey } from './interpreter/variants.ts';
import {
  BLOCK_AREA,
  BLOCK_ENTRY,
  BLOCK_NONE,
  BLOCK_RECORD,
  BLOCK_SET,
  BLOCK_SETS,
  BLOCK_TABLE,
  BLOCK_WAYS,
  type Layout,
  PAGE_CODE,
  PAGE_RAM,
  RECORD_AREA,
  RECORD_BYTES,
  RECORD_SIZE,
} from './layout.ts';
import * as record from './record.ts';
import { type CodeSize, decode, type Form, forms, Instruction } from './x86/decode.ts';
import type { Row } from './x86/instructions/row.ts';
import type { OperandSpec } from './x86/operands.ts';
import { state } from './x86/state.ts';

/** record.SEGMENT of 64-bit code. */
function addedSegment({ override, isMemory, segment }: Instruction): number {
  if (override) return state.SEGMENT_BASE + 8 * segment;
  return isMemory && segment === SS ? record.STACK_SEGMENT : state.ZERO;
}

/** How a register operand's number becomes the record's byte. */
type File = 'none' | 'byte' | 'general' | 'vector' | 'mmx' | 'number';

function fileOf(spec: OperandSpec | undefined): File {
  switch (spec?.place) {
    case 'V':
    case 'W':
    case 'U':
      return 'vector';
    case 'P':
    case 'Q':
    case 'N':
      return 'mmx';
    case 'S':
    case 'C':
    case 'D':
      return 'number';
    case 'E':
    case 'R':
    case 'G':
    case 'Z':
    case 'M':
      return spec.size === 'b' ? 'byte' : 'general';
    default:
      return 'none';
  }
}
const REGISTER_FILES = forms.map(form => fileOf(form.operands.find(spec => 'GZVPSCD'.includes(spec.place))));
const RM_FILES = forms.map(form => fileOf(form.operands[form.memory]));
/** VEX.vvvv names a vector register, or a general one. */
const VECTOR_FILES = forms.map(form => (form.operands.some(spec => spec.place === 'H') ? 'vector' : 'general'));

function registerByte(file: File, number: number, rex: boolean): number {
  switch (file) {
    case 'byte':
      return !rex && number >= 4 && number < 8 ? (number - 4) * 8 + 1 : number * 8;
    case 'general':
      return number * 8;
    case 'vector':
      return number * 16;
    case 'mmx':
      return (number & 7) * 16;
    default:
      return number;
  }
}

const CODE_SIZES: readonly CodeSize[] = [16, 32, 64];
/** The bytes of a page that one bit says of whether they hold code. */
const CHUNK = 64;
/** No instruction is longer, in bytes; one more, for the sake of roundness. */
const LONGEST_INSTRUCTION = 16;
/** A block takes this at most: its header, three records an instruction and a STOP, with two to end it. */
const BLOCK_BYTES = record.HEADER + (record.BLOCK_LIMIT + 2) * 4 * RECORD_SIZE;

/** What `translate` needs to know of the rest. */
export interface CodeSource {
  /** Guest-physical address of the page after, for execution; -1 if it cannot be fetched. */
  nextPage(linear: bigint): number;
}

export class Blocks {
  readonly #layout: Layout;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #modules: Record<CodeSize, InterpreterModule>;
  readonly #instruction = new Instruction();
  readonly #tail = new Uint8Array(32);
  #next = RECORD_AREA;
  /** By page number: the blocks with bytes in it. */
  readonly #pages = new Map<number, number[]>();
  /** Blocks by code size and physical address. */
  readonly #known: Record<CodeSize, Map<number, number>> = { 16: new Map(), 32: new Map(), 64: new Map() };
  /** Entries of translated regions: TRANSLATED records. */
  readonly #regions: Record<CodeSize, Map<number, number>> = { 16: new Map(), 32: new Map(), 64: new Map() };
  /** Called when a page that held no code holds some now: its write permissions leave the TLB. */
  onCodePage: (page: number) => void = () => {};
  /** True for an offset in a page before which every instruction gets a STOP record (breakpoints.ts). */
  stopsAt: (offset: number) => boolean = () => false;
  /** Called when the blocks with bytes in [from, to) of a page are dropped. Returns true if regions have others there. */
  onDrop: (page: number, from: number, to: number) => boolean = () => false;
  translated = 0;
  invalidations = 0;
  flushes = 0;

  constructor(layout: Layout, buffer: ArrayBuffer, modules: Record<CodeSize, InterpreterModule>) {
    this.#layout = layout;
    this.#view = new DataView(buffer);
    this.#bytes = new Uint8Array(buffer);
    this.#modules = modules;
    this.#clearTables();
  }
  #clearTables(): void {
    this.#bytes.fill(0xff, BLOCK_AREA, BLOCK_AREA + 3 * BLOCK_TABLE);
  }

  static tableBase(code: CodeSize): number {
    return BLOCK_AREA + BLOCK_TABLE * (code === 16 ? 0 : code === 32 ? 1 : 2);
  }

  /**
   * How often the interpreter has entered the block at a physical address: -1 without a block, Infinity for a region.
   */
  visits(physical: number, code: CodeSize): number {
    if (this.#regions[code].has(physical)) return Number.POSITIVE_INFINITY;
    const block = this.#known[code].get(physical);
    return block ? this.#view.getUint32(block - record.HEADER + record.HEADER_VISITS, true) : -1;
  }
  /** The block at a physical address, entered in the table that `run` looks in; 0 if there is none yet. */
  find(physical: number, code: CodeSize): number {
    const block = this.#known[code].get(physical) ?? 0;
    if (block) this.#enter(physical, code, block);
    return block;
  }

  /** Makes the block at `physical`; 0 if its first instruction reaches into a page that cannot be fetched. */
  translate(linear: bigint, physical: number, code: CodeSize, source: CodeSource): number {
    if (this.#next + BLOCK_BYTES > RECORD_AREA + RECORD_BYTES) this.flush();
    const module = this.#modules[code];
    const base = this.#layout.guestOrigin + (physical >>> 12) * 4096;
    const block = this.#next + record.HEADER;
    const ins = this.#instruction;
    let at = physical & 4095;
    let out = block;
    let position = 0;
    let open = true;
    let crossed = -1;
    /** After the last instruction; of one that is undefined the first byte counts. */
    let end = at;
    while (open) {
      if (position === record.BLOCK_LIMIT || at >= 4096) break;
      if (this.stopsAt(at)) {
        this.#head(out, record.STOP, at, position, 0);
        out += RECORD_SIZE;
      }
      let result = decode(this.#bytes, base + at, base + 4096, code, ins);
      if (result === 'short') {
        const next = source.nextPage(linear);
        if (next < 0) {
          if (position === 0) return 0;
          break; // the block before it is whole; the fetch fault comes when it is reached
        }
        const have = 4096 - at;
        this.#tail.set(this.#bytes.subarray(base + at, base + 4096));
        const from = this.#layout.guestOrigin + next;
        this.#tail.set(this.#bytes.subarray(from, from + 15), have);
        result = decode(this.#tail, 0, have + 15, code, ins);
        crossed = next >>> 12;
        this.#head(out, record.CROSSING, at, position, 0);
        this.#view.setUint32(out + record.IMMEDIATE, next, true);
        out += RECORD_SIZE;
        open = false;
      }
      if (typeof result === 'string') {
        this.#head(out, record.UNDEFINED, at, position, 0);
        this.#view.setUint32(out + record.IMMEDIATE, result === 'too-long' ? 13 : 6, true);
        out += RECORD_SIZE;
        position++;
        end = at + 1;
        at = -1;
        break;
      }
      out = this.#encode(out, ins, at, position, code, module);
      position++;
      at += result;
      end = at;
      if (ins.form!.row.ends) {
        at = -1;
        break;
      }
    }
    if (at >= 0) {
      this.#head(out, record.CHAIN, at, position, 0);
      out += RECORD_SIZE;
    }
    this.#next = out;
    this.translated++;
    this.#header(block, physical, code, (out - block) / RECORD_SIZE, end);
    this.#known[code].set(physical, block);
    this.#enter(physical, code, block);
    this.#markBlock(block, physical, crossed);
    return block;
  }

  /** The instruction at `physical`, if there is one. @param nextPage where its tail is, or -1 */
  instructionAt(physical: number, code: CodeSize, nextPage: () => number): { row: Row; length: number } | undefined {
    const from = this.#layout.guestOrigin + physical;
    const have = Math.min(15, 4096 - (physical & 4095));
    this.#tail.set(this.#bytes.subarray(from, from + have));
    const next = have < 15 ? nextPage() : -1;
    if (next >= 0) {
      const tail = this.#layout.guestOrigin + next;
      this.#tail.set(this.#bytes.subarray(tail, tail + 15 - have), have);
    }
    const result = decode(this.#tail, 0, next < 0 ? have : 15, code, this.#instruction);
    if (typeof result !== 'number') return undefined;
    const { form, length } = this.#instruction;
    return { row: form!.row, length };
  }
  /** The record of a block at which `position` instructions are done: 0 if the block has no more than that. */
  recordAt(block: number, position: number): number {
    for (let at = block, end = this.#end(block); at < end; at += RECORD_SIZE) {
      if (this.#bytes[at + record.POSITION]! === position) return at;
    }
    return 0;
  }

  /** How many of the block's instructions lie in the first `bytes` bytes of it. */
  instructionsWithin(block: number, bytes: number): number {
    const header = block - record.HEADER;
    const start = this.#view.getUint32(header + record.HEADER_PHYSICAL, true) & 4095;
    if (this.#view.getUint32(header + record.HEADER_END, true) - start <= bytes) return record.BLOCK_LIMIT;
    let count = 0;
    for (let at = block, end = this.#end(block); at < end; at += RECORD_SIZE) {
      const after = this.#view.getUint16(at + record.OFFSET, true) + Math.max(1, this.#bytes[at + record.LENGTH]!);
      if (after - start > bytes) break;
      count = this.#bytes[at + record.POSITION]! + 1;
    }
    return count;
  }

  /** The first record of a block that is not a breakpoint's STOP. */
  past(block: number): number {
    return this.#view.getUint16(block + record.HANDLER, true) === record.STOP ? block + RECORD_SIZE : block;
  }

  /**
   * Drops the blocks that have bytes in the 64-byte chunks of [from, to) of a page; by default all that have bytes in it. Linux patches
   * a few bytes of its own code, here and there, thousands of times.
   */
  invalidate(page: number, from = 0, to = PAGE_SIZE): void {
    const blocks = this.#pages.get(page);
    if (!blocks) return;
    const first = from & -CHUNK;
    const end = (to + CHUNK - 1) & -CHUNK;
    if (end - first < PAGE_SIZE && !this.#isMarked(page, first, end)) return;
    this.invalidations++;
    const hasRegions = this.onDrop(page, first, end);
    const left: number[] = [];
    for (const block of blocks) {
      if (!this.#isKnown(block)) continue;
      if (this.#isWithin(block, page, first, end)) this.#drop(block);
      else left.push(block);
    }
    const chunks = this.#layout.codeChunks + page * 8;
    if (left.length > 0 || hasRegions) {
      this.#pages.set(page, left);
      for (let chunk = first / CHUNK; chunk < end / CHUNK; chunk++)
        this.#bytes[chunks + (chunk >> 3)]! &= ~(1 << (chunk & 7));
    } else {
      this.#pages.delete(page);
      this.#bytes[this.#layout.pageKind + page] = PAGE_RAM;
      this.#view.setBigUint64(chunks, 0n, true);
    }
  }
  #drop(block: number): void {
    this.#stale(block);
    const { physical, code } = this.#placeOf(block);
    this.#known[code].delete(physical);
    this.#leave(physical, code, block);
  }
  #placeOf(block: number): { physical: number; code: CodeSize } {
    const header = block - record.HEADER;
    const physical = this.#view.getUint32(header + record.HEADER_PHYSICAL, true);
    return { physical, code: CODE_SIZES[this.#bytes[header + record.HEADER_CODE]!]! };
  }
  /** Not dropped, and no other has taken its place. */
  #isKnown(block: number): boolean {
    const { physical, code } = this.#placeOf(block);
    return this.#known[code].get(physical) === block;
  }
  /** True if the block at a place has bytes in [from, to) of a page. */
  isWithin(physical: number, code: CodeSize, page: number, from: number, to: number): boolean {
    const block = this.#known[code].get(physical);
    return block !== undefined && this.#isWithin(block, page, from, to);
  }
  #isWithin(block: number, page: number, from: number, to: number): boolean {
    const { physical } = this.#placeOf(block);
    // Of what reaches into another page, the tail is there.
    if (physical >>> 12 !== page) return from < LONGEST_INSTRUCTION;
    return (physical & 4095) < to && this.#lastOf(block) > from;
  }
  /** After the bytes of its page that it depends on: what is undefined may be so for any of the bytes that follow. */
  #lastOf(block: number): number {
    const end = this.#view.getUint32(block - record.HEADER + record.HEADER_END, true);
    const handler = this.#view.getUint16(this.#end(block) - RECORD_SIZE + record.HANDLER, true);
    return Math.min(end + (handler === record.UNDEFINED ? LONGEST_INSTRUCTION : 0), PAGE_SIZE);
  }

  /** True if a chunk of [from, to) is marked as one with code, as are some whose code is gone. */
  #isMarked(page: number, from: number, to: number): boolean {
    const chunks = this.#layout.codeChunks + page * 8;
    for (let chunk = from / CHUNK; chunk < to / CHUNK; chunk++)
      if (this.#bytes[chunks + (chunk >> 3)]! & (1 << (chunk & 7))) return true;
    return false;
  }
  /** True if there is translated code in the pages of [address, address + length). */
  holdsCode(address: number, length: number): boolean {
    for (let at = address - (address % 4096); at < address + length; at += 4096)
      if (this.#bytes[this.#layout.pageKind + at / 4096] === PAGE_CODE) return true;
    return false;
  }

  /** Drops everything. */
  flush(): void {
    for (const page of [...this.#pages.keys()]) this.invalidate(page);
    this.flushes++;
    this.#clearTables();
    this.#next = RECORD_AREA;
  }

  /**
   * Lets the block at `physical` be executed by function `index` of the table from now on. The interpreter keeps a copy
   * for when the function refuses; `linear` is where the code is mapped now.
   */
  installRegion(linear: bigint, physical: number, code: CodeSize, index: number, source: CodeSource): boolean {
    if (this.#next + BLOCK_BYTES + record.HEADER + RECORD_SIZE > RECORD_AREA + RECORD_BYTES) return false;
    const old = this.#known[code].get(physical);
    const copy = this.translate(linear, physical, code, source);
    if (!copy) return false;
    // Who has a link to the old block looks it up anew.
    if (old) this.#stale(old);
    const out = this.#next + record.HEADER;
    this.#next = out + RECORD_SIZE;
    this.#header(out, physical, code, 1, this.#view.getUint32(copy - record.HEADER + record.HEADER_END, true));
    this.#head(out, record.TRANSLATED, physical & 4095, 0, 0);
    this.#view.setUint32(out + record.TAKEN, index, true);
    this.#view.setUint32(out + record.NOT_TAKEN, copy, true);
    this.#regions[code].set(physical, out);
    this.#enter(physical, code, copy);
    return true;
  }
  /** Takes a region's entry away. */
  removeRegion(physical: number, code: CodeSize): void {
    const at = this.#regions[code].get(physical);
    if (!at) return;
    this.#regions[code].delete(physical);
    this.#view.setUint16(at + record.HANDLER, record.STALE, true);
    this.#leave(physical, code, at);
  }
  /**
   * The blocks there are, as they would stand in the area of records with nothing else, for `adopt`.
   * @param isKept whether those with bytes in a page are wanted
   */
  kept(isKept: (page: number) => boolean): Uint8Array<ArrayBuffer> {
    const pieces: Uint8Array[] = [];
    for (const code of CODE_SIZES)
      for (const [physical, block] of this.#known[code]) {
        const crossed = this.#crossed(block);
        if (!isKept(physical >>> 12) || (crossed >= 0 && !isKept(crossed))) continue;
        const piece = this.#bytes.slice(block - record.HEADER, this.#end(block));
        const view = new DataView(piece.buffer);
        view.setUint32(record.HEADER_VISITS, 0, true);
        for (let at = record.HEADER; at < piece.length; at += RECORD_SIZE) {
          view.setUint32(at + record.TAKEN, 0, true);
          view.setUint32(at + record.NOT_TAKEN, 0, true);
        }
        pieces.push(piece);
      }
    const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const piece of pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }
  /** Takes the blocks that `kept` of this version of the engine has given, of code that is in memory. There are none yet. */
  adopt(blocks: Uint8Array): void {
    if (blocks.length > RECORD_BYTES - BLOCK_BYTES) return;
    this.#bytes.set(blocks, this.#next);
    const end = this.#next + blocks.length;
    while (this.#next < end) {
      const block = this.#next + record.HEADER;
      const physical = this.#view.getUint32(this.#next + record.HEADER_PHYSICAL, true);
      const code = CODE_SIZES[this.#bytes[this.#next + record.HEADER_CODE]!]!;
      this.#next = this.#end(block);
      this.#known[code].set(physical, block);
      this.#enter(physical, code, block);
      this.#markBlock(block, physical, this.#crossed(block));
    }
  }
  /** The page that the tail of a block's last instruction lies in, where that is another one; else -1. */
  #crossed(block: number): number {
    for (let at = block, end = this.#end(block); at < end; at += RECORD_SIZE)
      if (this.#view.getUint16(at + record.HANDLER, true) === record.CROSSING)
        return this.#view.getUint32(at + record.IMMEDIATE, true) >>> 12;
    return -1;
  }
  #markBlock(block: number, physical: number, crossed: number): void {
    this.#mark(physical >>> 12, block, physical & 4095, this.#lastOf(block));
    if (crossed >= 0) this.#mark(crossed, block, 0, LONGEST_INSTRUCTION);
  }

  /** Notes that translated code came from the page, so that writes to it are seen. */
  markCode(page: number, from: number, to: number): void {
    this.#mark(page, 0, from, to);
  }
  #stale(block: number): void {
    for (let at = block, end = this.#end(block); at < end; at += RECORD_SIZE)
      this.#view.setUint16(at + record.HANDLER, record.STALE, true);
  }
  #header(block: number, physical: number, code: CodeSize, count: number, end: number): void {
    const header = block - record.HEADER;
    this.#view.setUint32(header + record.HEADER_PHYSICAL, physical, true);
    this.#view.setUint16(header + record.HEADER_COUNT, count, true);
    this.#bytes[header + record.HEADER_CODE] = CODE_SIZES.indexOf(code);
    this.#view.setUint32(header + record.HEADER_VISITS, 0, true);
    this.#view.setUint32(header + record.HEADER_END, end, true);
  }
  /** Where a block's records end. */
  #end(block: number): number {
    return block + this.#view.getUint16(block - record.HEADER + record.HEADER_COUNT, true) * RECORD_SIZE;
  }

  /** The set that a block at the address is entered in: the interpreter's `run` computes the same. */
  #set(physical: number, code: CodeSize): number {
    return Blocks.tableBase(code) + ((physical ^ (physical >>> 14)) & (BLOCK_SETS - 1)) * BLOCK_SET;
  }
  /**
   * Enters a block, or the region that stands for it, as its set's first; the one that was first becomes the second.
   */
  #enter(physical: number, code: CodeSize, block: number): void {
    const set = this.#set(physical, code);
    const view = this.#view;
    let way = 0;
    while (way < BLOCK_WAYS - 1 && view.getUint32(set + way * BLOCK_ENTRY, true) !== physical) way++;
    this.#bytes.copyWithin(set + BLOCK_ENTRY, set, set + way * BLOCK_ENTRY);
    view.setUint32(set, physical, true);
    view.setUint32(set + BLOCK_RECORD, this.#regions[code].get(physical) ?? block, true);
  }
  #leave(physical: number, code: CodeSize, block: number): void {
    const set = this.#set(physical, code);
    for (let entry = set; entry < set + BLOCK_SET; entry += BLOCK_ENTRY)
      if (this.#view.getUint32(entry + BLOCK_RECORD, true) === block) this.#view.setUint32(entry, BLOCK_NONE, true);
  }
  /** Notes that [from, to) of `page` is code of `block`, or of a region (0). */
  #mark(page: number, block: number, from: number, to: number): void {
    const blocks = this.#pages.get(page);
    if (!blocks) this.#pages.set(page, block ? [block] : []);
    else if (block) blocks.push(block);
    const kind = this.#layout.pageKind + page;
    if (this.#bytes[kind] !== PAGE_CODE) {
      this.#bytes[kind] = PAGE_CODE;
      this.onCodePage(page);
    }
    const first = from >> 6;
    const last = Math.max(from, to - 1) >> 6;
    const chunks = this.#layout.codeChunks + page * 8;
    for (let chunk = first; chunk <= last; chunk++) this.#bytes[chunks + (chunk >> 3)]! |= 1 << (chunk & 7);
  }

  #head(out: number, handler: number, offset: number, position: number, length: number): void {
    const view = this.#view;
    view.setUint16(out + record.HANDLER, handler, true);
    this.#bytes[out + record.LENGTH] = length;
    view.setUint16(out + record.OFFSET, offset, true);
    this.#bytes[out + record.POSITION] = position;
    view.setUint32(out + record.TAKEN, 0, true);
    view.setUint32(out + record.NOT_TAKEN, 0, true);
  }
  /**
   * Writes the record of a decoded instruction (and of its address, where that needs one). @returns the next free
   * place.
   */
  #encode(
    out: number,
    ins: Instruction,
    at: number,
    position: number,
    code: CodeSize,
    module: InterpreterModule,
  ): number {
    const bytes = this.#bytes;
    const view = this.#view;
    const form: Form = ins.form!;
    const wide = code === 64;
    let base = state.ZERO;
    let index = state.ZERO;
    let scale = 0;
    let displacement = ins.displacement;
    if (ins.isMemory && form.operands[form.memory]!.place !== 'O') {
      if (ins.base >= 0) base = ins.base * 8;
      if (ins.indexRegister >= 0 && !form.row.vectorIndex) {
        index = ins.indexRegister * 8;
        scale = ins.scale;
      }
      const end = at + ins.length;
      if (form.row.name === 'pop' && ins.base === 4) displacement += ins.operandSize / 8;
      let separate = ins.addressSize !== (wide ? 64 : 32) || (wide && ins.override && form.row.name !== 'lea');
      if (ins.ripRelative) {
        base = state.PAGE;
        if (displacement + end !== (displacement + end) >> 0 || separate) separate = true;
        else displacement += end;
      }
      if (separate) {
        this.#head(out, record.ADDRESS, at, position, 0);
        bytes[out + record.REGISTER] =
          wide && ins.override && form.row.name !== 'lea' ? state.SEGMENT_BASE + 8 * ins.segment : state.ZERO;
        bytes[out + record.BASE] = base;
        bytes[out + record.INDEX] = index;
        bytes[out + record.SCALE] = scale;
        view.setInt32(out + record.DISPLACEMENT, displacement, true);
        const mask = ins.addressSize === 64 ? -1n : ins.addressSize === 32 ? 0xffffffffn : 0xffffn;
        view.setBigInt64(out + record.IMMEDIATE, mask, true);
        if (ins.ripRelative) {
          // The rest of a RIP-relative address that would not fit, or that is truncated, is added by an address of its
          // own.
          view.setInt32(out + record.DISPLACEMENT, end, true);
          out += RECORD_SIZE;
          this.#head(out, record.ADDRESS, at, position, 0);
          bytes.copyWithin(
            out + record.REGISTER,
            out - RECORD_SIZE + record.REGISTER,
            out - RECORD_SIZE + record.DISPLACEMENT,
          );
          bytes[out - RECORD_SIZE + record.REGISTER] = state.ZERO;
          view.setBigInt64(out - RECORD_SIZE + record.IMMEDIATE, -1n, true);
          bytes[out + record.BASE] = state.SCRATCH;
          bytes[out + record.INDEX] = state.ZERO;
          bytes[out + record.SCALE] = 0;
          view.setInt32(out + record.DISPLACEMENT, displacement, true);
          view.setBigInt64(out + record.IMMEDIATE, mask, true);
        }
        out += RECORD_SIZE;
        base = state.SCRATCH;
        index = state.ZERO;
        scale = 0;
        displacement = 0;
      }
    } else if (form.memory >= 0) base = registerByte(RM_FILES[form.index]!, ins.rm, ins.rex);

    const handler = module.handlers[handlerKey(form.index, ins.operandSize, ins.addressSize, ins.isMemory)]!;
    if (!handler)
      throw new Error(`no handler for ${form.row.name} ${form.row.operands} ${ins.operandSize}/${ins.addressSize}`);
    this.#head(out, handler, at, position, ins.length);
    bytes[out + record.SEGMENT] = wide ? addedSegment(ins) : ins.segment;
    bytes[out + record.REGISTER] = registerByte(REGISTER_FILES[form.index]!, ins.reg, ins.rex);
    bytes[out + record.VECTOR] = registerByte(VECTOR_FILES[form.index]!, ins.vector, false);
    bytes[out + record.BASE] = base;
    bytes[out + record.INDEX] = form.row.vectorIndex ? ins.indexRegister * 16 : index;
    bytes[out + record.SCALE] = form.row.vectorIndex ? ins.scale : scale;
    let immediate = ins.immediate;
    if (form.immediates.length === 2) displacement = Number(ins.immediate2);
    if (form.immediates[0]?.place === 'J') immediate += BigInt(at + ins.length);
    view.setInt32(out + record.DISPLACEMENT, displacement, true);
    view.setBigInt64(out + record.IMMEDIATE, immediate, true);
    return out + RECORD_SIZE;
  }
}
