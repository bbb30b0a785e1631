/**
 * Machine code from rows: one random instance of a row's form, with its memory operand aimed into the window. It knows the
 * manual's encoding (SDM 2A chapter 2 and appendix A.2) by itself and shares nothing with the decoder but the table.
 */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { rows } from '../../src/engine/x86/instructions/table.ts';
import { PLACES, SELECTOR_PALETTE } from './initial.ts';
import {
  baseOf,
  CODE,
  CS,
  DATA,
  DS,
  ES,
  FAR_POINTERS,
  FS,
  FS_BASE,
  FX_IMAGES,
  GPR,
  GS,
  GS_BASE,
  type Mode,
  RIP,
  SELECTORS,
  SS,
  STAMPS_SIZE,
  XSAVE_IMAGES,
} from './layout.ts';
import type { Random } from './random.ts';

/** What is known when an instruction is chosen: where it will stand and what its registers hold. */
export interface Situation {
  row: Row;
  mode: Mode;
  initial: DataView;
  random: Random;
}

/** An instruction, and where it finds its ModRM memory operand (offset from DATA), if it has one. */
export interface Encoded {
  code: Uint8Array;
  target: number | undefined;
}

interface MemoryOperand {
  /** Offset from DATA. */
  target: number;
  modrm: number;
  sib: number | undefined;
  rexX: number;
  rexB: number;
  displacement: number;
  displacementSize: number;
  /** The displacement is from the end of the instruction. */
  relative: boolean;
}

const SEGMENT_PREFIX = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const REGISTER_LETTERS = /^[EGRVWUPQNSCDM]/; // B is VEX's.
/** Operands that are there for their address's or count's sake, without a ModRM byte: string operands, XLAT, LOOP. */
const IMPLICIT_MEMORY = /^([XY].*|BX|CX)$/;
const MAXIMUM_LENGTH = 15;

const letters = (row: Row): string[] => row.operands.split(',').filter(letter => letter !== '');
const sizeLetters = (row: Row): string[] =>
  letters(row).map(letter => (/^(rAX|eAX)$/.test(letter) ? 'v' : letter.slice(1)));

export const hasModrm = (row: Row): boolean =>
  row.group !== undefined || row.modrm !== undefined || letters(row).some(isModrmOperand);
const isModrmOperand = (letter: string): boolean =>
  REGISTER_LETTERS.test(letter) && !/^(CL|CX|DX|ST|S[zv]$|Sz)/.test(letter);

/** True if REX.W makes another instruction of this one. */
const hasWideSibling = (row: Row): boolean =>
  !row.rexW &&
  rows.some(
    other => other.rexW && other.opcode === row.opcode && other.group === row.group && other.prefix === row.prefix,
  );

/** Which of its forms a row has: both, where nothing says otherwise. */
export function forms(row: Row): ('register' | 'memory')[] {
  if (!hasModrm(row)) return ['register'];
  if (row.modrm !== undefined) return ['register'];
  if (row.form) return [row.form];
  const all = letters(row);
  if (all.some(letter => letter.startsWith('M'))) return ['memory'];
  if (all.some(letter => /^[EWQ]/.test(letter) && isModrmOperand(letter))) return ['register', 'memory'];
  return ['register'];
}

/** Sizes (in bits) that the operand-size prefixes select for this row in this mode. */
export function operandSizes(row: Row, mode: Mode): number[] {
  const sizes = sizeLetters(row);
  const wide = sizes.some(size => size === 'v' || size === 'y') || sizes.includes('p');
  const narrow = sizes.some(size => size === 'v' || size === 'z' || size === 'p');
  if (!wide && !narrow) return [mode === 16 ? 16 : 32];
  if (mode !== 64) return narrow ? [16, 32] : [mode === 16 ? 16 : 32];
  if (row.size === 'f64') return [64];
  if (row.size === 'd64') return [16, 64];
  return [...(narrow ? [16] : []), 32, ...(wide ? [64] : [])];
}

/** An address (offset from DATA) that suits what the instruction wants to find there. */
function aim({ row, random: r }: Situation): number {
  const { name } = row;
  const far = /^(l[efgds]s|lss|jmpf|callf)$/.test(name);
  if (far && !r.once(6)) return FAR_POINTERS + 16 * r.below(8);
  if (/^fxrstor/.test(name) && !r.once(8)) return FX_IMAGES + 512 * r.below(2);
  if (/^xrstor/.test(name) && !r.once(8)) return XSAVE_IMAGES + 1024 * r.below(2);
  if (/^fxsave/.test(name) && !r.once(8)) return 0x1000 + 16 * r.below(0x140);
  if (/^xsave/.test(name) && !r.once(8)) return XSAVE_IMAGES + 1024 * r.below(2);
  if (name === 'ldmxcsr' && !r.once(4)) return FX_IMAGES + 512 * r.below(2) + 24;
  if (name === 'fldcw' && r.once(2)) return FX_IMAGES + 512 * r.below(2);
  if (/^cmpxchg/.test(name) && r.once(2)) return STAMPS_SIZE - 0x80 + 8 * r.below(16);
  if ((/^(verr|verw|lar|lsl|arpl)$/.test(name) || row.operands.startsWith('Sw,')) && !r.once(4))
    return r.pick(PLACES.selector);
  if (row.vectorIndex && !r.once(12)) return 0x1000 + r.below(0x1000);
  const kinds = sizeLetters(row);
  if (!r.once(3)) {
    if (row.unit === 'x87') {
      if (name === 'fbld') return r.pick(PLACES.decimal);
      if (kinds.includes('d')) return r.pick(PLACES.single);
      if (kinds.includes('q')) return r.pick(PLACES.double);
      if (name === 'fld') return r.pick(PLACES.extended);
    }
    if (kinds.includes('ss')) return r.pick(PLACES.single);
    if (kinds.includes('sd')) return r.pick(PLACES.double);
  }
  const needsAlignment = (row.unit === 'sse' || row.unit === 'avx') && !row.unaligned;
  const aligned = needsAlignment ? !r.once(8) : r.once(2);
  let offset: number;
  switch (r.below(12)) {
    // At the borders: before the first page, between the two, into the read-only page, past it.
    case 0:
      offset = r.pick([-16, 0x1000 - 16, 0x2000 - 16, 0x3000 - 16]) + r.below(24);
      break;
    case 1:
      offset = 0x2000 + r.below(0x1000);
      break;
    case 2:
    case 3:
      offset = r.below(STAMPS_SIZE);
      break;
    default:
      offset = STAMPS_SIZE + r.below(0x1e00 - STAMPS_SIZE);
  }
  return aligned ? offset & (kinds.includes('qq') && !r.once(4) ? ~31 : ~15) : offset;
}

const register = (initial: DataView, n: number): bigint => initial.getBigUint64(GPR + 8 * n, true);

function segmentBase(initial: DataView, mode: Mode, segment: number): bigint {
  if (mode === 64) return segment === FS ? FS_BASE : segment === GS ? GS_BASE : 0n;
  return BigInt(baseOf(initial.getUint16(SELECTORS + 2 * segment, true)));
}

/** 16-bit addressing (SDM 2A, table 2-1). */
function encode16(s: Situation, offset: number, override: number | undefined): MemoryOperand | undefined {
  const r = s.random;
  const PAIRS = [[3, 6], [3, 7], [5, 6], [5, 7], [6], [7], [5], [3]];
  const rm = r.below(8);
  const direct = rm === 6 && r.once(2);
  const sum = direct ? 0n : PAIRS[rm]!.reduce((total, n) => total + register(s.initial, n), 0n);
  const usesStack = !direct && PAIRS[rm]!.includes(5);
  const base = segmentBase(s.initial, s.mode, override ?? (usesStack ? SS : DS));
  const wanted = BigInt.asUintN(32, BigInt(DATA + offset) - base);
  if (wanted > 0xffffn && !r.once(16)) return undefined;
  const displacement = Number(BigInt.asIntN(16, wanted - sum));
  const plain = { target: offset, sib: undefined, rexX: 0, rexB: 0, relative: false };
  if (direct) return { ...plain, modrm: 6, displacement, displacementSize: 2 };
  if (displacement === 0 && rm !== 6) return { ...plain, modrm: rm, displacement, displacementSize: 0 };
  if (displacement >= -128 && displacement < 128 && !r.once(4))
    return { ...plain, modrm: 0x40 | rm, displacement, displacementSize: 1 };
  return { ...plain, modrm: 0x80 | rm, displacement, displacementSize: 2 };
}

/** 32- and 64-bit addressing (SDM 2A, tables 2-2 and 2-3). */
function encode32(s: Situation, offset: number, override: number | undefined, bits: number): MemoryOperand | undefined {
  const { mode, random: r, initial } = s;
  const registers = mode === 64 ? 16 : 8;
  const isGather = s.row.vectorIndex === true;
  const linear = BigInt(DATA + offset);
  const rip = initial.getBigUint64(RIP, true);
  if (r.once(isGather ? 40 : 8)) {
    // No register: RIP-relative in 64-bit mode, absolute elsewhere.
    const base = segmentBase(initial, mode, override ?? DS);
    const target = BigInt.asIntN(bits, linear - base - (mode === 64 ? rip : 0n));
    return {
      target: offset,
      modrm: 5,
      sib: undefined,
      rexX: 0,
      rexB: r.below(2),
      displacement: Number(target),
      displacementSize: 4,
      relative: mode === 64,
    };
  }
  const withSib = isGather || r.once(2);
  const baseRegister = r.below(registers);
  if (!withSib && (baseRegister & 7) === 4) return undefined;
  const noBase = withSib && r.once(8);
  const base = noBase ? undefined : baseRegister;
  // Index 4 is none; 12 is R12.
  const index = withSib ? r.below(registers) : 4;
  const scale = withSib ? r.below(4) : 0;
  const usesStack = base === 4 || base === 5;
  const segment = segmentBase(initial, mode, override ?? (usesStack ? SS : DS));
  let sum = base === undefined ? 0n : register(initial, base);
  if (index !== 4 && !isGather) sum += register(initial, index) << BigInt(scale);
  const displacement = BigInt.asIntN(bits, linear - segment - sum);
  if (displacement !== BigInt.asIntN(32, displacement)) return undefined;
  const small = Number(displacement);
  const rm = withSib ? 4 : base! & 7;
  const sib = withSib ? (scale << 6) | ((index & 7) << 3) | (noBase ? 5 : base! & 7) : undefined;
  const operand = {
    target: offset,
    sib,
    rexX: index >> 3,
    rexB: (base ?? 0) >> 3,
    displacement: small,
    relative: false,
  };
  if (noBase) return { ...operand, modrm: rm, displacementSize: 4 };
  if (small === 0 && (base! & 7) !== 5) return { ...operand, modrm: rm, displacementSize: 0 };
  if (small >= -128 && small < 128 && !r.once(4)) return { ...operand, modrm: 0x40 | rm, displacementSize: 1 };
  return { ...operand, modrm: 0x80 | rm, displacementSize: 4 };
}

function chooseMemory(s: Situation, override: number | undefined, addressBits: number): MemoryOperand {
  const encode = (offset: number) =>
    addressBits === 16 ? encode16(s, offset, override) : encode32(s, offset, override, addressBits);
  let offset = aim(s);
  for (let attempt = 0; attempt < 60; attempt++) {
    const operand = encode(offset);
    if (operand) return operand;
    if (attempt % 12 === 11) offset = aim(s);
  }
  // Absolute, wherever that leads.
  const base = segmentBase(s.initial, s.mode, override ?? DS);
  const displacement = Number(BigInt.asIntN(32, BigInt(DATA + offset) - base));
  const absolute = { target: offset, rexX: 0, rexB: 0, displacement, relative: false };
  if (addressBits === 16) return { ...absolute, modrm: 6, sib: undefined, displacementSize: 2 };
  return { ...absolute, modrm: 4, sib: 0x25, displacementSize: 4 };
}

class Bytes {
  readonly list: number[] = [];
  put(value: number | bigint, size: number): void {
    for (let i = 0, left = BigInt.asUintN(64, BigInt(value)); i < size; i++, left >>= 8n)
      this.list.push(Number(left & 0xffn));
  }
}

function immediate(r: Random, size: number): bigint {
  const bits = size * 8;
  switch (r.below(4)) {
    case 0:
      return BigInt(r.below(72));
    case 1:
      return BigInt(r.pick([0, 1, -1, 0x7f, 0x80, 0x7fff, 0x8000, 0x7fffffff, -0x80000000]));
    default:
      return BigInt.asUintN(bits, (BigInt(r.u32()) << 32n) | BigInt(r.u32()));
  }
}

function putImmediates(
  s: Situation,
  out: Bytes,
  operandBits: number,
  addressBits: number,
  override: number | undefined,
): void {
  const { row, random: r, initial } = s;
  const wide = operandBits === 16 ? 2 : 4;
  for (const letter of letters(row)) {
    switch (letter) {
      case 'Ib':
        if (row.name === 'enter') out.put(r.pick([0, 0, 1, 2, 3, 5, 31, 32, 33, r.below(256)]), 1);
        else out.put(immediate(r, 1), 1);
        break;
      case 'Ibs':
        out.put(immediate(r, 1), 1);
        break;
      case 'Iw':
        out.put(r.once(4) ? immediate(r, 2) : r.below(64) * 4, 2);
        break;
      case 'Iz':
        out.put(immediate(r, wide), wide);
        break;
      case 'Iv':
        out.put(immediate(r, operandBits / 8), operandBits / 8);
        break;
      case 'Id':
        out.put(immediate(r, 4), 4);
        break;
      case 'Jb':
        out.put(r.below(256), 1);
        break;
      case 'Jz': {
        const size = operandBits === 16 ? 2 : 4;
        out.put(r.once(3) ? r.u32() : r.below(0x800) - 0x400, size);
        break;
      }
      case 'Ap': {
        const selector = r.once(3) ? r.pick(SELECTOR_PALETTE) : r.pick([0x0f, 0x17, 0x1f, 0x5f, 0x23, 0x33]);
        out.put(r.once(8) ? r.u32() : CODE + r.below(4096) - baseOf(selector), wide);
        out.put(selector, 2);
        break;
      }
      default:
        if (letter.startsWith('L')) out.put(r.below(256), 1);
        else if (letter.startsWith('O')) {
          const base = segmentBase(initial, s.mode, override ?? DS);
          out.put(BigInt(DATA + aim(s)) - base, addressBits / 8);
        } else if (/^([IJ]|A[a-z])/.test(letter)) throw new Error(`${row.name}: no encoding known for ${letter}`);
    }
  }
}

/** VEX (SDM 2A 2.3.5), the opcode and what follows. */
function withVex(
  s: Situation,
  prefixes: readonly number[],
  rex: number,
  reg: number,
  rm: number,
  operand: MemoryOperand | undefined,
  operandBits: number,
  addressBits: number,
  override: number | undefined,
): Encoded | undefined {
  const { row, mode, random: r } = s;
  const out = new Bytes();
  out.list.push(...prefixes);
  const map = row.opcode >> 8 === 0x0f38 ? 2 : row.opcode >> 8 === 0x0f3a ? 3 : 1;
  const hasRegister = letters(row).some(letter => /^[BH]/.test(letter));
  const register = hasRegister ? r.below(16) : r.once(40) ? r.below(16) : 0;
  // AES and PCLMULQDQ on 256 bits are features of their own, which the processor may have.
  const mayDiffer = !/^v(aes|pclmul)/.test(row.name);
  const l = row.vex!.l === undefined || (mayDiffer && r.once(40)) ? r.below(2) : row.vex!.l;
  const pp = ['none', '66', 'f3', 'f2'].indexOf(row.prefix ?? 'none');
  const given = row.vex!.w;
  const w = given === undefined ? (mode === 64 ? rex >> 3 : r.below(2)) : r.once(40) ? 1 - given : given;
  const last = ((register ^ 15) << 3) | (l << 2) | pp;
  if (map === 1 && w === 0 && (rex & 3) === 0 && r.once(2)) out.list.push(0xc5, (~rex & 4 ? 0x80 : 0) | last);
  else out.list.push(0xc4, ((~rex & 7) << 5) | map, (w << 7) | last);
  out.put(row.opcode & 0xff, 1);
  if (operand) {
    out.put(operand.modrm | (reg << 3), 1);
    if (operand.sib !== undefined) out.put(operand.sib, 1);
  } else out.put(0xc0 | (reg << 3) | rm, 1);
  const displacementAt = out.list.length;
  if (operand) out.put(operand.displacement, operand.displacementSize);
  putImmediates(s, out, operandBits, addressBits, override);
  if (operand?.relative) {
    const fixed = new Bytes();
    fixed.put(operand.displacement - out.list.length, 4);
    out.list.splice(displacementAt, 4, ...fixed.list);
  }
  if (out.list.length > MAXIMUM_LENGTH) return undefined;
  return { code: Uint8Array.from(out.list), target: operand?.target };
}

/**
 * One instance of the row, or undefined when the dice made an impossible one (longer than 15 bytes, say): try another seed.
 */
export function encode(s: Situation): Encoded | undefined {
  const { row, mode, random: r } = s;
  const all = letters(row);
  const vector = row.unit === 'sse' || row.unit === 'mmx' || row.unit === 'avx';
  const form = r.pick(forms(row));
  const modrm = hasModrm(row);
  const memory = modrm && form === 'memory' && row.modrm === undefined;
  const addresses = memory || all.some(letter => letter.startsWith('O') || IMPLICIT_MEMORY.test(letter));

  // Sizes.
  const sizes = operandSizes(row, mode);
  const operandBits = r.pick(sizes);
  const standard = mode === 16 ? 16 : mode === 64 && row.size ? 64 : 32;
  let rexW = mode === 64 && ((operandBits === 64 && standard !== 64) || row.rexW === true);
  const prefixes: number[] = [];
  if (row.vex) {
    if (r.once(60)) prefixes.push(r.pick([0x66, 0xf2, 0xf3]));
  } else if (sizes.length > 1 && operandBits !== standard && operandBits !== 64) prefixes.push(0x66);
  else if (
    !vector &&
    row.prefix === undefined &&
    (row.size !== 'f64' || mode !== 64) &&
    sizes.length === 1 &&
    row.unit === undefined &&
    r.once(20)
  )
    prefixes.push(0x66);
  if (mode === 64 && sizes.length === 1 && !sizeLetters(row).includes('y') && !hasWideSibling(row) && r.once(24))
    rexW = true;
  if (mode === 64 && standard === 64 && operandBits === 64 && r.once(6)) rexW = true;

  // Prefixes.
  const addressBits = addresses && r.once(10) ? (mode === 32 ? 16 : 32) : mode;
  if (addressBits !== mode) prefixes.push(0x67);
  let override: number | undefined;
  if (addresses && r.once(7)) {
    override = mode === 64 ? r.pick([FS, GS, FS, GS, ES, CS, SS, DS]) : r.below(6);
    prefixes.push(SEGMENT_PREFIX[override]!);
    // In 64-bit mode the first four are ignored.
    if (mode === 64 && override < FS) override = undefined;
  }
  if (row.prefix && row.prefix !== 'none' && !row.vex) prefixes.push(Number.parseInt(row.prefix, 16));
  if (row.lock ? r.once(memory ? 5 : 30) : r.once(60)) prefixes.push(0xf0);
  for (let i = prefixes.length - 1; i > 0; i--) {
    const j = r.below(i + 1);
    [prefixes[i], prefixes[j]] = [prefixes[j]!, prefixes[i]!];
  }

  // ModRM and REX.
  const registers = mode === 64 ? 16 : 8;
  let rex = rexW ? 8 : 0;
  let reg = 0;
  let opcodeRegister = 0;
  if (row.group !== undefined) {
    reg = row.group;
    if (mode === 64 && r.once(12)) rex |= 4;
  } else if (all.some(letter => letter.startsWith('S') && isModrmOperand(letter)))
    reg = r.once(12) ? r.below(8) : r.below(6);
  else {
    const n = r.below(registers);
    reg = n & 7;
    if (modrm && row.modrm === undefined) rex |= (n >> 3) << 2;
  }
  if (all.some(letter => letter.startsWith('Z'))) {
    opcodeRegister = r.below(registers);
    rex |= opcodeRegister >> 3;
  }
  let operand: MemoryOperand | undefined;
  let rm = 0;
  if (memory) {
    operand = chooseMemory(s, override, addressBits);
    rex |= (operand.rexX << 1) | operand.rexB;
  } else if (modrm && row.modrm === undefined) {
    const n = r.below(registers);
    rm = n & 7;
    rex |= n >> 3;
    if (mode === 64 && r.once(16)) rex |= 2;
  }
  if (row.vex) return withVex(s, prefixes, rex, reg, rm, operand, operandBits, addressBits, override);
  const needsRex = mode === 64 && (rex !== 0 || r.once(5));

  // Together.
  const out = new Bytes();
  out.list.push(...prefixes);
  if (needsRex) out.put(0x40 | rex, 1);
  const opcode = row.opcode + (opcodeRegister & 7);
  for (let shift = opcode > 0xffff ? 16 : opcode > 0xff ? 8 : 0; shift >= 0; shift -= 8)
    out.put((opcode >> shift) & 0xff, 1);
  if (row.modrm !== undefined) out.put(row.modrm, 1);
  else if (operand) {
    out.put(operand.modrm | (reg << 3), 1);
    if (operand.sib !== undefined) out.put(operand.sib, 1);
  } else if (modrm) out.put(0xc0 | (reg << 3) | rm, 1);
  const displacementAt = out.list.length;
  if (operand) out.put(operand.displacement, operand.displacementSize);
  putImmediates(s, out, operandBits, addressBits, override);
  if (operand?.relative) {
    const fixed = new Bytes();
    fixed.put(operand.displacement - out.list.length, 4);
    out.list.splice(displacementAt, 4, ...fixed.list);
  }
  if (out.list.length > MAXIMUM_LENGTH) return undefined;
  return { code: Uint8Array.from(out.list), target: operand?.target };
}
