/** The manual's operand letters, taken apart once per row (SDM 2D, appendix A.2). */
import type { Row } from './instructions/row.ts';

/** Where an operand is found. */
export type Place =
  /** General register or memory by ModRM.rm (E), memory alone (M), general register by ModRM.rm (R). */
  | 'E'
  | 'M'
  | 'R'
  /** General register by ModRM.reg (G) or by the opcode's low bits (Z). */
  | 'G'
  | 'Z'
  /** General register by VEX.vvvv; vector register by VEX.vvvv (H), or by an immediate's upper half (L). */
  | 'B'
  | 'H'
  | 'L'
  /** The vector register that a SIB byte names as index: a letter of our own. */
  | 'T'
  /** Vector registers: xmm by reg (V), by rm or memory (W), by rm (U); mmx: P, Q, N. */
  | 'V'
  | 'W'
  | 'U'
  | 'P'
  | 'Q'
  | 'N'
  /** Segment, control and debug registers by ModRM.reg. */
  | 'S'
  | 'C'
  | 'D'
  /** Immediate, relative branch target, far pointer, memory at an absolute offset. */
  | 'I'
  | 'J'
  | 'A'
  | 'O'
  /** String operands DS:rSI and ES:rDI. */
  | 'X'
  | 'Y'
  /** A general register by name, `index` in `fixed`. */
  | 'fixed'
  /** The counter CX, ECX or RCX by address size. */
  | 'counter'
  /** XLAT's table: DS:[rBX + AL]. */
  | 'table'
  /** MASKMOV's destination: DS:[rDI]. */
  | 'destination'
  /** No operand: carries the operand size. */
  | 'size';

export interface OperandSpec {
  place: Place;
  size: string;
  /** For `fixed`: the register. */
  fixed: number;
}

const FIXED: Record<string, [number, string]> = {
  AL: [0, 'b'],
  CL: [1, 'b'],
  DX: [2, 'w'],
  rAX: [0, 'v'],
  eAX: [0, 'z'],
};

export function parseOperands(row: Row): OperandSpec[] {
  if (!row.operands) return [];
  return row.operands.split(',').map((text): OperandSpec => {
    const fixed = FIXED[text];
    if (fixed) return { place: 'fixed', size: fixed[1], fixed: fixed[0] };
    if (text === 'CX') return { place: 'counter', size: 'address', fixed: 1 };
    if (text === 'BX') return { place: 'table', size: 'b', fixed: 3 };
    if (text.startsWith('DI')) return { place: 'destination', size: text.slice(2), fixed: 7 };
    const letter = text[0]!;
    const size = text.slice(1);
    if (letter === 'F' || (letter === 'S' && size !== 'w')) return { place: 'size', size, fixed: 0 };
    if (!'EMRGBHLTZVWUPQNSCDIJAOXY'.includes(letter)) throw new Error(`${row.name}: no operand ${text}`);
    return { place: letter as Place, size, fixed: 0 };
  });
}

/** Width of an operand in bits for an operand size of 16, 32 or 64 (and an address size for counters). */
export function operandBits(spec: OperandSpec, operandSize: number, addressSize: number): number {
  switch (spec.size) {
    case 'b':
      return 8;
    case 'w':
      return 16;
    case 'd':
    case 'ss':
      return 32;
    case 'q':
    case 'sd':
      return 64;
    case 'x':
    case 'dq':
      return 128;
    case 'qq':
      return 256;
    case 'bs':
    case 'v':
    case 'p':
    case '':
      return operandSize;
    case 'z':
      return spec.place === 'I' || spec.place === 'J' ? operandSize : Math.min(operandSize, 32);
    case 'y':
      return operandSize === 64 ? 64 : 32;
    case 'address':
      return addressSize;
    default:
      throw new Error(`no operand size ${spec.size}`);
  }
}

/** Bytes an immediate takes in the instruction. */
export function immediateBytes(spec: OperandSpec, operandSize: number): number {
  if (spec.place === 'L') return 1;
  switch (spec.size) {
    case 'b':
    case 'bs':
      return 1;
    case 'w':
      return 2;
    case 'z':
      return operandSize === 16 ? 2 : 4;
    case 'v':
      return operandSize / 8;
    case 'p':
      return operandSize === 16 ? 4 : 6;
    default:
      throw new Error(`no immediate of size ${spec.size}`);
  }
}

/** True if the row means something else for another operand size, or for another address size. */
export function dependsOn(row: Row): { operandSize: boolean; addressSize: boolean } {
  const specs = parseOperands(row);
  return {
    // Branch targets too: with a 16-bit operand size EIP loses its upper half.
    operandSize: specs.some(spec => ['v', 'z', 'y', 'p', '', 'bs'].includes(spec.size) || spec.place === 'J'),
    addressSize: specs.some(spec => ['counter', 'table', 'destination', 'X', 'Y'].includes(spec.place)),
  };
}

/** True if a ModRM byte follows the opcode. */
export function hasModrm(row: Row): boolean {
  if (row.group !== undefined || row.modrm !== undefined || row.form !== undefined) return true;
  return parseOperands(row).some(spec => 'EMRGVWUPQNSCD'.includes(spec.place));
}

/** The operand found through ModRM.rm: the one that may be memory. */
export function memoryOperand(specs: readonly OperandSpec[]): number {
  return specs.findIndex(spec => ['E', 'M', 'W', 'Q', 'O', 'R', 'U', 'N'].includes(spec.place));
}
