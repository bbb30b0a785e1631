/** A far CALL or JMP of 16- or 32-bit code, as far as one has to know it (SDM 2A 2.1): what it is, how long, and what it names. */
import type { RegisterName, SegmentName } from '../../paravirt/processor.ts';
import { GENERAL_REGISTERS } from './registers.ts';

/** Where a far pointer's selector stands in memory. */
export interface MemoryOperand {
  readonly segment: SegmentName;
  offset(register: (name: RegisterName) => number): number;
}
export interface FarTransfer {
  readonly calls: boolean;
  /** Bytes of the instruction. */
  readonly length: number;
  /** Of a pointer in the instruction; undefined: it is at `operand`. */
  readonly selector?: number;
  readonly operand?: MemoryOperand;
}

const SEGMENT_PREFIXES: Readonly<Record<number, SegmentName>> = {
  ...{ 0x26: 'es', 0x2e: 'cs', 0x36: 'ss', 0x3e: 'ds', 0x64: 'fs', 0x65: 'gs' },
};
const OPERAND_SIZE = 0x66;
const ADDRESS_SIZE = 0x67;
/** Bytes of an instruction at most (SDM 2A 2.3.11). */
const LONGEST = 15;

const CALL_POINTER = 0x9a;
const JUMP_POINTER = 0xea;
const GROUP_5 = 0xff;
const CALL_MEMORY = 3;
const JUMP_MEMORY = 5;

const [SP, BP] = [4, 5];
/** The registers of 16-bit addresses by R/M (SDM 2A table 2-1). */
const PAIRS: readonly (readonly RegisterName[])[] = [
  ...([
    ['rbx', 'rsi'],
    ['rbx', 'rdi'],
    ['rbp', 'rsi'],
    ['rbp', 'rdi'],
  ] as const),
  ...([['rsi'], ['rdi'], ['rbp'], ['rbx']] as const),
];

/** @param wide the code segment's D bit. @returns undefined for any other instruction, or one that is cut off */
export function farTransfer(bytes: Uint8Array, wide: boolean): FarTransfer | undefined {
  let [operandIsWide, addressIsWide] = [wide, wide];
  let segment: SegmentName | undefined;
  let at = 0;
  for (; at < bytes.length; at++) {
    const byte = bytes[at]!;
    if (byte === OPERAND_SIZE) operandIsWide = !wide;
    else if (byte === ADDRESS_SIZE) addressIsWide = !wide;
    else if (byte in SEGMENT_PREFIXES) segment = SEGMENT_PREFIXES[byte];
    else break;
  }
  const size = operandIsWide ? 4 : 2;
  const opcode = bytes[at++];
  if (opcode === CALL_POINTER || opcode === JUMP_POINTER) {
    const length = at + size + 2;
    if (length > bytes.length) return undefined;
    return { calls: opcode === CALL_POINTER, length, selector: bytes[at + size]! | (bytes[at + size + 1]! << 8) };
  }
  if (opcode !== GROUP_5 || at >= bytes.length) return undefined;
  const modrm = bytes[at++]!;
  const operation = (modrm >>> 3) & 7;
  if (modrm >>> 6 === 3 || (operation !== CALL_MEMORY && operation !== JUMP_MEMORY)) return undefined;
  const address = addressIsWide ? address32(modrm, bytes, at) : address16(modrm, bytes, at);
  if (address.end > Math.min(bytes.length, LONGEST)) return undefined;
  const mask = addressIsWide ? 0xffffffff : 0xffff;
  const operand: MemoryOperand = {
    segment: segment ?? (address.onStack ? 'ss' : 'ds'),
    offset: register => ((address.of(register) & mask) + size) >>> 0,
  };
  return { calls: operation === CALL_MEMORY, length: address.end, operand };
}

interface Address {
  /** Index of the byte behind it. */
  end: number;
  onStack: boolean;
  of(register: (name: RegisterName) => number): number;
}

/** A signed number of 0, 1, 2 or 4 bytes; zeros stand where there are no more. */
function numberAt(bytes: Uint8Array, at: number, size: number): number {
  let value = 0;
  for (let i = 0; i < size; i++) value |= (bytes[at + i] ?? 0) << (8 * i);
  return size === 1 ? (value << 24) >> 24 : size === 2 ? (value << 16) >> 16 : value;
}

function address16(modrm: number, bytes: Uint8Array, at: number): Address {
  const [mod, rm] = [modrm >>> 6, modrm & 7];
  const direct = mod === 0 && rm === 6;
  const size = direct ? 2 : mod;
  const displacement = numberAt(bytes, at, size);
  const names = direct ? [] : PAIRS[rm]!;
  return {
    end: at + size,
    onStack: names.includes('rbp'),
    of: register => names.reduce((sum, name) => sum + register(name), displacement),
  };
}
function address32(modrm: number, bytes: Uint8Array, from: number): Address {
  let at = from;
  const mod = modrm >>> 6;
  let base: number | undefined = modrm & 7;
  let index: number | undefined;
  let scale = 0;
  if (base === SP) {
    const sib = bytes[at++] ?? 0;
    scale = sib >>> 6;
    index = ((sib >>> 3) & 7) === SP ? undefined : (sib >>> 3) & 7;
    base = sib & 7;
  }
  if (mod === 0 && base === BP) base = undefined;
  const size = base === undefined || mod === 2 ? 4 : mod;
  const displacement = numberAt(bytes, at, size);
  return {
    end: at + size,
    onStack: base === SP || base === BP,
    of: register => {
      const scaled = index === undefined ? 0 : register(GENERAL_REGISTERS[index]!) << scale;
      return ((base === undefined ? 0 : register(GENERAL_REGISTERS[base]!)) + scaled + displacement) | 0;
    },
  };
}
