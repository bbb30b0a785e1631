/**
 * From bytes to instructions, by the table (SDM 2A chapter 2). Both tiers decode with this; the result is one reused object,
 * because a boot decodes half a million instructions.
 */
import { CS, DS, ES, FS, GS, SS } from '../../x86/segments.ts';
import { offered } from './cpuid.ts';
import type { Row } from './instructions/row.ts';
import { rows } from './instructions/table.ts';
import { dependsOn, hasModrm, immediateBytes, memoryOperand, type OperandSpec, parseOperands } from './operands.ts';

export type CodeSize = 16 | 32 | 64;

/** A row with what the decoder wants to know of it, worked out once. */
export interface Form {
  row: Row;
  /** Position in the table: the same for both tiers. */
  index: number;
  operands: readonly OperandSpec[];
  /** Index of the operand that ModRM.rm (or an absolute offset) names; -1 if there is none. */
  memory: number;
  modrm: boolean;
  immediates: readonly OperandSpec[];
  operandSized: boolean;
  addressSized: boolean;
  /** MOV to and from control and debug registers: ModRM.mod does not matter. */
  ignoresMod: boolean;
  /** What the same bytes are with REX.W, where that is another row. */
  withRexW: Form | undefined;
}

export const forms: readonly Form[] = rows.map((row, index): Form => {
  const operands = parseOperands(row);
  const depends = dependsOn(row);
  return {
    row,
    index,
    operands,
    memory: memoryOperand(operands),
    modrm: hasModrm(row),
    immediates: operands.filter(spec => ['I', 'J', 'A'].includes(spec.place)),
    operandSized: depends.operandSize,
    addressSized: depends.addressSize,
    ignoresMod: operands.some(spec => spec.place === 'C' || spec.place === 'D'),
    withRexW: undefined,
  };
});
for (const form of forms) {
  const { row } = form;
  if (!row.rexW) continue;
  const other = forms.find(
    ({ row: r }) =>
      !r.rexW && r.opcode === row.opcode && r.group === row.group && r.prefix === row.prefix && r.form === row.form,
  );
  if (!other) throw new Error(`${row.name}: no row without REX.W`);
  other.withRexW = form;
}

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

// Lookup: opcode (map * 256 + byte) * 4 + prefix class -> form, or 256 forms by ModRM. Prefix: 0 none, 1 66, 2 F3, 3 F2.
type Cell = Form | (Form | undefined)[] | undefined;
const PREFIXES = ['none', '66', 'f3', 'f2'] as const;

function mapOf(opcode: number): number {
  if (opcode >> 8 === 0x0f38) return 2;
  if (opcode >> 8 === 0x0f3a) return 3;
  return opcode >> 8 === 0x0f ? 1 : 0;
}
/** A form that an opcode may mean, and what decides that: worked out once, for the table is made at every start. */
interface Candidate {
  form: Form;
  only: 'memory' | 'register' | undefined;
  /** How much of the instruction's bytes the row names. */
  points: number;
}
function build(long: boolean): { cells: Cell[]; modrm: Uint8Array } {
  const candidates = new Map<number, Candidate[]>();
  for (const form of forms) {
    const { row } = form;
    if (row.mode === (long ? 'i64' : 'o64') || row.rexW) continue;
    if (row.feature && !offered.has(row.feature)) continue;
    const points =
      (row.prefix !== undefined ? 8 : 0) +
      (row.modrm !== undefined ? 4 : 0) +
      (row.group !== undefined ? 2 : 0) +
      (row.form ? 1 : 0);
    const candidate = { form, only: row.form ?? formOf(form), points };
    const start = mapOf(row.opcode) * 256 + (row.opcode & 0xff);
    const count = form.operands.some(spec => spec.place === 'Z') ? 8 : 1;
    for (let i = 0; i < count; i++) {
      const list = candidates.get(start + i);
      if (list) list.push(candidate);
      else candidates.set(start + i, [candidate]);
    }
  }
  const cells: Cell[] = new Array(4 * 256 * 4);
  const modrm = new Uint8Array(4 * 256);
  for (const [key, list] of candidates) {
    const needsModrm = list.some(({ form }) => form.modrm);
    // Unless a row names a whole ModRM byte, its reg field and whether it means memory tell all.
    const whole = list.some(({ form }) => form.row.modrm !== undefined);
    modrm[key] = needsModrm ? 1 : 0;
    const anyPrefix = list.every(({ form }) => form.row.prefix === undefined);
    PREFIXES.forEach((prefix, prefixIndex) => {
      if (anyPrefix && prefixIndex > 0) {
        cells[key * 4 + prefixIndex] = cells[key * 4];
        return;
      }
      const fitting = list.filter(({ form: { row } }) => row.prefix === undefined || row.prefix === prefix);
      const best = (byte: number): Form | undefined => {
        let found: Form | undefined;
        let score = -1;
        for (const { form, only, points } of fitting) {
          const { row } = form;
          if (form.modrm) {
            if (row.modrm !== undefined && row.modrm !== byte) continue;
            if (row.group !== undefined && row.group !== ((byte >> 3) & 7)) continue;
            if (only && (only === 'memory') !== byte < 0xc0) continue;
          }
          // Of two that fit alike, the one without register operands: 0x90 is NOP, not XCHG EAX, EAX.
          if (points > score || (points === score && form.operands.length === 0)) {
            score = points;
            found = form;
          }
        }
        return found;
      };
      if (!needsModrm) cells[key * 4 + prefixIndex] = best(0);
      else {
        const cell: (Form | undefined)[] = [];
        for (let byte = 0; byte < 256; byte++) {
          const alike = byte < 0xc0 ? byte & 0x38 : byte & 0xf8;
          cell.push(whole || alike === byte ? best(byte) : cell[alike]);
        }
        cells[key * 4 + prefixIndex] = cell;
      }
    });
  }
  return { cells, modrm };
}
/** M takes memory only; R, U and N registers only. C and D ignore mod altogether: always a register. */
function formOf(form: Form): 'memory' | 'register' | undefined {
  if (form.row.modrm !== undefined) return undefined;
  for (const spec of form.operands) {
    if (spec.place === 'C' || spec.place === 'D') return undefined;
    if (spec.place === 'M') return 'memory';
  }
  return form.operands.some(spec => ['R', 'U', 'N'].includes(spec.place)) ? 'register' : undefined;
}

/** What NOP's opcode is with REX.B. */
const EXCHANGE = forms.find(form => form.row.opcode === 0x90 && form.row.name === 'xchg')!;

const LONG = build(true);
const LEGACY = build(false);

/**
 * Decodes one instruction at `bytes[at]` into `into`; at most up to `end`.
 * @returns its length in bytes, or why there is none.
 */
export function decode(
  bytes: Uint8Array,
  at: number,
  end: number,
  code: CodeSize,
  into: Instruction,
): number | DecodeError {
  const start = at;
  const limit = Math.min(end, start + 15);
  const short = (): DecodeError => (limit === start + 15 ? 'too-long' : 'short');
  const long = code === 64;
  const lookup = long ? LONG : LEGACY;

  let operand66 = false;
  let address67 = false;
  let repeat = 0; // 2 F3, 3 F2
  let lock = false;
  let rex = 0;
  let segment = -1;
  let byte: number;
  for (;;) {
    if (at >= limit) return short();
    byte = bytes[at++]!;
    if (byte === 0x66) operand66 = true;
    else if (byte === 0x67) address67 = true;
    else if (byte === 0xf3) repeat = 2;
    else if (byte === 0xf2) repeat = 3;
    else if (byte === 0xf0) lock = true;
    else if (byte === 0x2e || byte === 0x36 || byte === 0x3e || byte === 0x26) {
      // In 64-bit mode the four flat segments' prefixes mean nothing (and cancel an earlier FS or GS no more than that).
      if (!long) segment = byte === 0x26 ? ES : byte === 0x2e ? CS : byte === 0x36 ? SS : DS;
    } else if (byte === 0x64) segment = FS;
    else if (byte === 0x65) segment = GS;
    else if (long && (byte & 0xf0) === 0x40) {
      // REX counts only directly before the opcode.
      rex = byte;
      if (at >= limit) return short();
      const next = bytes[at]!;
      if (isPrefix(next)) rex = 0;
    } else break;
  }

  let map = 0;
  if (byte === 0x0f) {
    if (at >= limit) return short();
    byte = bytes[at++]!;
    map = 1;
    if (byte === 0x38 || byte === 0x3a) {
      map = byte === 0x38 ? 2 : 3;
      if (at >= limit) return short();
      byte = bytes[at++]!;
    }
  }
  const key = map * 256 + byte;
  const prefix = repeat || (operand66 ? 1 : 0);
  const cell = lookup.cells[key * 4 + prefix];
  let form: Form | undefined;
  let modrm = 0;
  if (lookup.modrm[key]) {
    if (at >= limit) return short();
    modrm = bytes[at++]!;
    form = (cell as (Form | undefined)[])[modrm];
  } else form = cell as Form | undefined;
  if (!form) return 'undefined';
  if (byte === 0x90 && map === 0 && rex & 1) form = EXCHANGE;
  if (rex & 8 && form.withRexW) form = form.withRexW;
  const { row } = form;

  // Sizes.
  let operandSize: number;
  if (long) {
    if (row.size === 'f64') operandSize = 64;
    else if (rex & 8) operandSize = 64;
    else if (operand66 && row.prefix !== '66') operandSize = 16;
    else operandSize = row.size === 'd64' ? 64 : 32;
  } else {
    const small = operand66 && row.prefix !== '66';
    operandSize = (code === 16) !== small ? 16 : 32;
  }
  const addressSize = long ? (address67 ? 32 : 64) : (code === 16) !== address67 ? 16 : 32;

  into.form = form;
  into.operandSize = operandSize;
  into.addressSize = addressSize;
  into.lock = lock;
  into.rex = rex !== 0;
  into.modrm = modrm;
  into.isMemory = false;
  into.base = -1;
  into.indexRegister = -1;
  into.scale = 0;
  into.displacement = 0;
  into.ripRelative = false;
  into.override = segment >= 0;
  into.segment = segment >= 0 ? segment : DS;

  if (form.modrm) {
    into.reg = ((modrm >> 3) & 7) | ((rex & 4) << 1);
    const mod = modrm >> 6;
    const low = modrm & 7;
    if (mod === 3 || form.ignoresMod) {
      into.rm = low | ((rex & 1) << 3);
    } else if (row.modrm !== undefined) {
      into.rm = low;
    } else {
      into.isMemory = true;
      if (addressSize === 16) {
        into.base = [3, 3, 5, 5, 6, 7, 5, 3][low]!;
        into.indexRegister = [6, 7, 6, 7, -1, -1, -1, -1][low]!;
        let bytesOfDisplacement = mod;
        if (mod === 0 && low === 6) {
          into.base = -1;
          bytesOfDisplacement = 2;
        }
        if (into.base === 5 && segment < 0) into.segment = SS;
        if (at + bytesOfDisplacement > limit) return short();
        if (bytesOfDisplacement === 1) into.displacement = (bytes[at]! << 24) >> 24;
        else if (bytesOfDisplacement === 2) into.displacement = ((bytes[at]! | (bytes[at + 1]! << 8)) << 16) >> 16;
        at += bytesOfDisplacement;
      } else {
        let base = low;
        let wideDisplacement = mod === 2;
        if (low === 4) {
          if (at >= limit) return short();
          const sib = bytes[at++]!;
          base = sib & 7;
          const index = ((sib >> 3) & 7) | ((rex & 2) << 2);
          if (index !== 4) {
            into.indexRegister = index;
            into.scale = sib >> 6;
          }
          if (base === 5 && mod === 0) {
            base = -1;
            wideDisplacement = true;
          }
        } else if (low === 5 && mod === 0) {
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
          if (at + 4 > limit) return short();
          into.displacement = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
          at += 4;
        } else if (mod === 1) {
          if (at >= limit) return short();
          into.displacement = (bytes[at++]! << 24) >> 24;
        }
      }
    }
  } else into.reg = (byte & 7) | ((rex & 1) << 3);

  if (form.memory >= 0 && form.operands[form.memory]!.place === 'O') {
    // An absolute offset as wide as addresses are.
    const size = addressSize / 8;
    if (at + size > limit) return short();
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!);
    at += size;
    into.isMemory = true;
    into.immediate = value;
  }
  for (let i = 0; i < form.immediates.length; i++) {
    const spec = form.immediates[i]!;
    const size = immediateBytes(spec, spec.place === 'J' && long ? 64 : operandSize);
    if (at + size > limit) return short();
    let value: bigint;
    if (size === 1) value = BigInt(spec.size === 'b' && spec.place === 'I' ? bytes[at]! : (bytes[at]! << 24) >> 24);
    else if (size === 2) {
      const word = bytes[at]! | (bytes[at + 1]! << 8);
      value = BigInt(spec.size === 'w' ? word : (word << 16) >> 16);
    } else if (spec.place === 'A') {
      // offset, then selector; handed on as offset | selector << 32
      const wide = size === 6;
      const offset = bytes[at]! | (bytes[at + 1]! << 8) | (wide ? (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24) : 0);
      const selector = bytes[at + size - 2]! | (bytes[at + size - 1]! << 8);
      value = BigInt(offset >>> 0) | (BigInt(selector) << 32n);
    } else if (size === 4)
      value = BigInt(bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24));
    else {
      value = 0n;
      for (let j = 7; j >= 0; j--) value = (value << 8n) | BigInt(bytes[at + j]!);
    }
    at += size;
    if (i === 0) into.immediate = value;
    else into.immediate2 = value;
  }
  into.length = at - start;
  // LOCK only where the row allows it and the destination is memory (SDM 2A, LOCK).
  if (lock && !(row.lock && into.isMemory)) return 'undefined';
  return into.length;
}

function isPrefix(byte: number): boolean {
  return (
    (byte & 0xf0) === 0x40 ||
    byte === 0x66 ||
    byte === 0x67 ||
    byte === 0xf0 ||
    byte === 0xf2 ||
    byte === 0xf3 ||
    byte === 0x26 ||
    byte === 0x2e ||
    byte === 0x36 ||
    byte === 0x3e ||
    byte === 0x64 ||
    byte === 0x65
  );
}
