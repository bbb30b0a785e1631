/**
 * From bytes to instructions, by the table (SDM 2A chapter 2). Both tiers decode with this; the result is one reused
 * object, because a boot decodes half a million instructions.
 */
import { CS, DS, ES, FS, GS, SS } from '../../x86/segments.ts';
import { EXCHANGE, type Form, isVexMap3, LEGACY, LONG, vexMap } from './decode-table.ts';
import { immediateBytes, type OperandSpec } from './operands.ts';

export { type Form, forms } from './decode-table.ts';

export type CodeSize = 16 | 32 | 64;

/** One decoded instruction. Register fields are numbers 0-15; -1 for none. */
export class Instruction {
  form: Form | undefined;
  /** In bytes. */
  length = 0;
  operandSize = 32;
  addressSize = 32;
  /** LOCK was there. */
  lock = false;
  /** REX was there: byte registers 4-7 are SPL-DIL, not AH-BH. */
  rex = false;
  modrm = 0;
  /** ModRM.reg, or the opcode's low bits for Z. With REX. */
  reg = 0;
  /** ModRM.rm of a register form. With REX. */
  rm = 0;
  /** True if the operand by ModRM.rm is memory. */
  isMemory = false;
  base = -1;
  indexRegister = -1;
  scale = 0;
  displacement = 0;
  /** RIP-relative: the displacement counts from the next instruction. */
  ripRelative = false;
  /** VEX.vvvv: a register; 0 without VEX. */
  vector = 0;
  /** Segment register of the memory operand (also of X), overrides applied. */
  segment = 3;
  /** First immediate, sign-extended where its letter says so; a second one (ENTER) in `immediate2`. */
  immediate = 0n;
  immediate2 = 0n;
  /** Whether a segment override was given. */
  override = false;
}

/** Why bytes are no instruction. */
export type DecodeError =
  /** Raises #UD. */
  | 'undefined'
  /** Longer than 15 bytes: #GP(0). */
  | 'too-long'
  /** Ran out of bytes: the caller gives more (the next page) or faults. */
  | 'short';

// The work of one call of `decode`: its steps share it without allocating anything.
let bytes: Uint8Array;
let at = 0;
let limit = 0;
let long = false;
let operand66 = false;
let address67 = false;
/** The class of F3 (2) and F2 (3), or 0. */
let repeat = 0;
let lock = false;
let rex = 0;
/** The segment override, or -1. */
let segment = -1;
/** The opcode's map, and its last byte. */
let map = 0;
let opcode = 0;
let modrm = 0;
/** VEX was there: its pp, L and vvvv. */
let vex = false;
let vexPrefix = 0;
let vexRegister = 0;
/** A prefix stood before VEX that makes it #UD; vvvv is 1111b. */
let vexed = false;
let unusedRegister = false;

/**
 * Decodes one instruction at `source[start]` into `into`; at most up to `end`.
 * @returns its length in bytes, or why there is none.
 */
export function decode(
  source: Uint8Array,
  start: number,
  end: number,
  code: CodeSize,
  into: Instruction,
): number | DecodeError {
  bytes = source;
  at = start;
  limit = Math.min(end, start + 15);
  long = code === 64;
  const short: DecodeError = limit === start + 15 ? 'too-long' : 'short';
  if (!readPrefixes() || !readOpcode()) return short;
  const form = readForm();
  if (form === 'short') return short;
  if (!form) return vex && !readRest(into) ? short : 'undefined';
  const operandSize = operandSizeOf(form, code);
  const addressSize = long ? (address67 ? 32 : 64) : (code === 16) !== address67 ? 16 : 32;
  into.form = form;
  into.operandSize = operandSize;
  into.addressSize = addressSize;
  into.lock = lock;
  into.rex = rex !== 0;
  into.modrm = modrm;
  into.vector = vexRegister;
  into.isMemory = false;
  into.base = -1;
  into.indexRegister = -1;
  into.scale = 0;
  into.displacement = 0;
  into.ripRelative = false;
  into.override = segment >= 0;
  into.segment = segment >= 0 ? segment : DS;
  if (!form.modrm) into.reg = (opcode & 7) | ((rex & 1) << 3);
  else if (!readOperands(form, into)) return short;
  if (form.memory >= 0 && form.operands[form.memory]!.place === 'O' && !readAbsolute(into)) return short;
  for (let i = 0; i < form.immediates.length; i++) {
    const spec = form.immediates[i]!;
    const size = immediateBytes(spec, spec.place === 'J' && long ? 64 : operandSize);
    if (at + size > limit) return short;
    const value = immediateAt(spec, size);
    at += size;
    if (i === 0) into.immediate = value;
    else into.immediate2 = value;
  }
  into.length = at - start;
  if (form.row.registers && !form.row.registers.includes(into.reg)) return 'undefined';
  if (vex && !takesVex(form, into)) return 'undefined';
  // LOCK only where the row allows it and the destination is memory (SDM 2A, LOCK).
  if (lock && !(form.row.lock && into.isMemory)) return 'undefined';
  return into.length;
}

/** Prefixes, and the byte after them, which is left in `opcode`. @returns false if the bytes run out */
function readPrefixes(): boolean {
  operand66 = address67 = lock = false;
  repeat = rex = 0;
  segment = -1;
  // Most instructions have no prefix but REX: locals are faster here.
  let from = at;
  let byte: number;
  for (;;) {
    if (from >= limit) return false;
    byte = bytes[from++]!;
    if (long && (byte & 0xf0) === 0x40) {
      // REX counts only directly before the opcode.
      rex = byte;
      if (from >= limit) return false;
      if (isPrefix(bytes[from]!)) rex = 0;
    } else if (!isPrefix(byte)) break;
    else if (!readPrefix(byte)) break;
  }
  at = from;
  opcode = byte;
  return true;
}
/** @returns false for INC and DEC outside 64-bit mode, which have REX's bytes */
function readPrefix(byte: number): boolean {
  switch (byte) {
    case 0x66:
      operand66 = true;
      return true;
    case 0x67:
      address67 = true;
      return true;
    case 0xf3:
      repeat = 2;
      return true;
    case 0xf2:
      repeat = 3;
      return true;
    case 0xf0:
      lock = true;
      return true;
    case 0x64:
      segment = FS;
      return true;
    case 0x65:
      segment = GS;
      return true;
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x26:
      // In 64-bit mode the four flat segments' prefixes mean nothing (and cancel an earlier FS or GS no more than
      // that).
      if (!long) segment = byte === 0x26 ? ES : byte === 0x2e ? CS : byte === 0x36 ? SS : DS;
      return true;
    default:
      return false;
  }
}

/** The escape bytes 0F, 0F 38 and 0F 3A, or VEX, choose a map. */
function readOpcode(): boolean {
  map = vexRegister = 0;
  vex = false;
  if ((opcode & 0xfe) === 0xc4) {
    if (at >= limit) return false;
    if (long || bytes[at]! >= 0xc0) return readVex();
  }
  if (opcode !== 0x0f) return true;
  if (at >= limit) return false;
  opcode = bytes[at++]!;
  map = 1;
  if (opcode !== 0x38 && opcode !== 0x3a) return true;
  map = opcode === 0x38 ? 2 : 3;
  if (at >= limit) return false;
  opcode = bytes[at++]!;
  return true;
}

/** VEX of two (C5) or three bytes, of which the first has been read; and the opcode. SDM 2A 2.3.5. */
function readVex(): boolean {
  const three = opcode === 0xc4;
  if (at + (three ? 3 : 2) > limit) return false;
  vex = true;
  const first = bytes[at++]!;
  const second = three ? bytes[at++]! : first;
  // R, X and B are there inverted; outside of 64-bit mode the first two cannot be clear, and B does not count.
  const extension = ((first ^ 0xe0) >> 5) & (three ? 7 : 4);
  vexed = operand66 || repeat !== 0 || rex !== 0 || lock;
  rex = (long ? extension : 0) | (three && second & 0x80 ? 8 : 0);
  map = vexMap(three ? first & 31 : 1, (second >> 2) & 1, three ? second >> 7 : 0);
  vexPrefix = second & 3;
  vexRegister = ((second >> 3) ^ 15) & (long ? 15 : 7);
  unusedRegister = (second & 0x78) === 0x78;
  opcode = bytes[at++]!;
  return true;
}
/**
 * VEX fits the form: no prefix that it replaces was there, vvvv is free unless it names a register, and a gather has a SIB byte and
 * three registers.
 */
function takesVex({ row, takesVexRegister }: Form, { addressSize, indexRegister, reg, vector }: Instruction): boolean {
  if (vexed || !(takesVexRegister || unusedRegister)) return false;
  if (!row.vectorIndex) return true;
  if (addressSize === 16 || indexRegister < 0) return false;
  return indexRegister !== reg && indexRegister !== vector && reg !== vector;
}

/** What follows an opcode that VEX makes undefined: the processor has fetched it before it raises #UD. VZEROUPPER's has no ModRM byte. */
function readRest(into: Instruction): boolean {
  const key = map * 256 + opcode;
  if (map < 0 || opcode === 0x77) return true;
  if (!(long ? LONG : LEGACY).modrm[key]) {
    if (at >= limit) return false;
    modrm = bytes[at++]!;
  }
  into.addressSize = long ? (address67 ? 32 : 64) : 32;
  if (modrm < 0xc0 && !readMemory(into, false)) return false;
  return !isVexMap3(map) || at < limit;
}

/** The form that prefixes, opcode and ModRM byte name. */
function readForm(): Form | undefined | 'short' {
  const lookup = long ? LONG : LEGACY;
  const key = map * 256 + opcode;
  if (map < 0) return undefined;
  const cell = lookup.cell(key, vex ? vexPrefix : repeat || (operand66 ? 1 : 0));
  let form: Form | undefined;
  modrm = 0;
  if (lookup.modrm[key]) {
    if (at >= limit) return 'short';
    modrm = bytes[at++]!;
    form = (cell as (Form | undefined)[])[modrm];
  } else form = cell as Form | undefined;
  if (form && key === 0x90 && rex & 1) form = EXCHANGE;
  return form && rex & 8 && form.withRexW ? form.withRexW : form;
}

function operandSizeOf({ row }: Form, code: CodeSize): number {
  if (row.vex) return long && rex & 8 ? 64 : 32;
  const small = operand66 && row.prefix !== '66';
  if (!long) return (code === 16) !== small ? 16 : 32;
  if (row.size === 'f64' || rex & 8) return 64;
  if (small) return 16;
  return row.size === 'd64' ? 64 : 32;
}

/** The operands that the ModRM byte names. */
function readOperands(form: Form, into: Instruction): boolean {
  into.reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
  const low = modrm & 7;
  if (modrm >> 6 === 3 || form.ignoresMod) {
    into.rm = low | ((rex & 1) << 3);
    return true;
  }
  if (form.row.modrm !== undefined) {
    into.rm = low;
    return true;
  }
  into.isMemory = true;
  return into.addressSize === 16 ? readMemory16(into) : readMemory(into, form.row.vectorIndex === true);
}

/** 16-bit addressing (SDM 2A, table 2-1). */
function readMemory16(into: Instruction): boolean {
  const mod = modrm >> 6;
  const low = modrm & 7;
  into.base = [3, 3, 5, 5, 6, 7, 5, 3][low]!;
  into.indexRegister = [6, 7, 6, 7, -1, -1, -1, -1][low]!;
  let size = mod;
  if (mod === 0 && low === 6) {
    into.base = -1;
    size = 2;
  }
  if (into.base === 5 && segment < 0) into.segment = SS;
  if (at + size > limit) return false;
  if (size === 1) into.displacement = (bytes[at]! << 24) >> 24;
  else if (size === 2) into.displacement = (word(at) << 16) >> 16;
  at += size;
  return true;
}

/** 32-bit and 64-bit addressing, with a SIB byte (SDM 2A, tables 2-2 and 2-3). */
/** @param vectorIndex the index is a vector register: any may be */
function readMemory(into: Instruction, vectorIndex: boolean): boolean {
  const mod = modrm >> 6;
  let base = modrm & 7;
  let wideDisplacement = mod === 2;
  if (base === 4) {
    if (at >= limit) return false;
    const sib = bytes[at++]!;
    base = sib & 7;
    const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
    if (index !== 4 || vectorIndex) {
      into.indexRegister = index;
      into.scale = sib >> 6;
    }
    if (base === 5 && mod === 0) {
      base = -1;
      wideDisplacement = true;
    }
  } else if (base === 5 && mod === 0) {
    base = -1;
    wideDisplacement = true;
    into.ripRelative = long;
  }
  if (base >= 0) {
    base |= (rex & 1) << 3;
    into.base = base;
    if ((base === 4 || base === 5) && segment < 0) into.segment = SS;
  }
  if (wideDisplacement) {
    if (at + 4 > limit) return false;
    into.displacement = double(at);
    at += 4;
  } else if (mod === 1) {
    if (at >= limit) return false;
    into.displacement = (bytes[at++]! << 24) >> 24;
  }
  return true;
}

/** An absolute offset (the manual's O), as wide as addresses are. */
function readAbsolute(into: Instruction): boolean {
  const size = into.addressSize / 8;
  if (at + size > limit) return false;
  into.isMemory = true;
  into.immediate = unsigned(size);
  at += size;
  return true;
}

/** An immediate of `size` bytes, sign-extended where its letter says so. */
function immediateAt(spec: OperandSpec, size: number): bigint {
  if (spec.place === 'L') return BigInt(bytes[at]! & (long ? 0xf0 : 0x70));
  if (size === 1) return BigInt(spec.size === 'b' && spec.place === 'I' ? bytes[at]! : (bytes[at]! << 24) >> 24);
  if (size === 2) return BigInt(spec.size === 'w' ? word(at) : (word(at) << 16) >> 16);
  if (spec.place === 'A') {
    // Offset, then selector: handed on as offset | selector << 32.
    const offset = size === 6 ? double(at) >>> 0 : word(at);
    return BigInt(offset) | (BigInt(word(at + size - 2)) << 32n);
  }
  return size === 4 ? BigInt(double(at)) : unsigned(8);
}

const word = (from: number): number => bytes[from]! | (bytes[from + 1]! << 8);
const double = (from: number): number => word(from) | (bytes[from + 2]! << 16) | (bytes[from + 3]! << 24);
/** The number that the next `size` bytes are. */
function unsigned(size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!);
  return value;
}

/** By byte: 1 for a prefix, REX in 64-bit code included. */
const PREFIX_BYTES = Uint8Array.from({ length: 256 }, (_, byte) =>
  (byte & 0xf0) === 0x40 || [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65].includes(byte) ? 1 : 0,
);
const isPrefix = (byte: number): boolean => PREFIX_BYTES[byte] === 1;
