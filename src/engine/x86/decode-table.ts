/** The table as the decoder reads it: rows with what it asks about them, by the bytes that name them. */
import { offered } from './cpuid.ts';
import type { Row } from './instructions/row.ts';
import { rows } from './instructions/table.ts';
import { dependsOn, hasModrm, memoryOperand, type OperandSpec, parseOperands } from './operands.ts';

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
  /** An operand stands in VEX.vvvv. */
  takesVexRegister: boolean;
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
    immediates: operands.filter(spec => ['I', 'J', 'A', 'L'].includes(spec.place)),
    operandSized: depends.operandSize,
    addressSized: depends.addressSize,
    ignoresMod: operands.some(spec => spec.place === 'C' || spec.place === 'D'),
    takesVexRegister: operands.some(spec => spec.place === 'B' || spec.place === 'H'),
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

/** What an opcode means after one class of prefixes: a form, or 256 forms by the ModRM byte. */
export type Cell = Form | (Form | undefined)[] | undefined;
/** The classes of prefixes, by their number. */
const PREFIXES = ['none', '66', 'f3', 'f2'] as const;

/** Maps are 0: one byte, 1: 0F, 2: 0F 38, 3: 0F 3A; and those of VEX, for each L and W. */
const LEGACY_MAPS = 4;
const MAPS = LEGACY_MAPS + 3 * 4;
/** The map of an opcode after VEX with such an mmmmm, L and W; -1 if there is none. */
export function vexMap(mmmmm: number, l: number, w: number): number {
  return mmmmm >= 1 && mmmmm <= 3 ? LEGACY_MAPS + (mmmmm - 1) * 4 + l * 2 + w : -1;
}

/** 0F 3A, whose instructions have an immediate byte. */
export const isVexMap3 = (map: number): boolean => map >= vexMap(3, 0, 0);

/** The keys of an opcode: several where VEX.L or VEX.W does not matter. */
function keysOf({ opcode, vex }: Row): number[] {
  const before = opcode >> 8;
  const map = before === 0x0f38 ? 2 : before === 0x0f3a ? 3 : before === 0x0f ? 1 : 0;
  const key = (of: number) => of * 256 + (opcode & 0xff);
  if (!vex) return [key(map)];
  const both = (bit: 0 | 1 | undefined) => (bit === undefined ? [0, 1] : [bit]);
  return both(vex.l).flatMap(l => both(vex.w).map(w => key(vexMap(map, l, w))));
}

/** A form that an opcode may mean, and what decides that: worked out once, because the table is made at every start. */
interface Candidate {
  form: Form;
  only: 'memory' | 'register' | undefined;
  /** How much of the instruction's bytes the row names. */
  points: number;
}

/** By key. */
function candidatesOf(long: boolean): Map<number, Candidate[]> {
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
    const count = form.operands.some(spec => spec.place === 'Z') ? 8 : 1;
    for (const start of keysOf(row))
      for (let i = 0; i < count; i++) {
        const list = candidates.get(start + i);
        if (list) list.push(candidate);
        else candidates.set(start + i, [candidate]);
      }
  }
  return candidates;
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

/** The candidate that names the most of the bytes, with one ModRM byte (0 where none follows). */
function bestOf(candidates: readonly Candidate[], modrm: number): Form | undefined {
  let found: Form | undefined;
  let score = -1;
  for (const { form, only, points } of candidates) {
    const { row } = form;
    if (form.modrm) {
      if (row.modrm !== undefined && row.modrm !== modrm) continue;
      if (row.group !== undefined && row.group !== ((modrm >> 3) & 7)) continue;
      if (only && (only === 'memory') !== modrm < 0xc0) continue;
    }
    // Of two that fit alike, the one without register operands: 0x90 is NOP, not XCHG EAX, EAX.
    if (points > score || (points === score && form.operands.length === 0)) {
      score = points;
      found = form;
    }
  }
  return found;
}

function cellOf(candidates: readonly Candidate[], needsModrm: boolean): Cell {
  if (!needsModrm) return bestOf(candidates, 0);
  // Unless a row names a whole ModRM byte, its reg field and whether it means memory tell all.
  const whole = candidates.some(({ form }) => form.row.modrm !== undefined);
  const cell: (Form | undefined)[] = [];
  for (let byte = 0; byte < 256; byte++) {
    const alike = byte < 0xc0 ? byte & 0x38 : byte & 0xf8;
    cell.push(whole || alike === byte ? bestOf(candidates, byte) : cell[alike]);
  }
  return cell;
}

/** The table for 64-bit code, or for all other code. A key is map * 256 + opcode byte: see `keysOf`. */
export class Lookup {
  /** By key: 1 if a ModRM byte follows. */
  readonly modrm = new Uint8Array(MAPS * 256);
  /** By key * 4 + class of prefixes; null: not made yet, since a guest uses a tenth of them, and every start would make all. */
  readonly #cells: (Cell | null)[] = new Array(MAPS * 256 * PREFIXES.length).fill(null);
  readonly #candidates: Map<number, Candidate[]>;

  constructor(long: boolean) {
    this.#candidates = candidatesOf(long);
    for (const [key, list] of this.#candidates) if (list.some(({ form }) => form.modrm)) this.modrm[key] = 1;
  }
  /** @param prefix the class of prefixes; VEX.pp numbers them alike */
  cell(key: number, prefix: number): Cell {
    const known = this.#cells[key * 4 + prefix];
    return known === null ? this.#make(key, prefix) : known;
  }
  #make(key: number, prefix: number): Cell {
    const list = this.#candidates.get(key) ?? [];
    const name = PREFIXES[prefix];
    const fitting = list.filter(({ form: { row } }) => row.prefix === undefined || row.prefix === name);
    const cell = list.length ? cellOf(fitting, this.modrm[key] === 1) : undefined;
    this.#cells[key * 4 + prefix] = cell;
    return cell;
  }
}

export const LONG = new Lookup(true);
export const LEGACY = new Lookup(false);

/** What NOP's opcode is with REX.B. */
export const EXCHANGE = forms.find(form => form.row.opcode === 0x90 && form.row.name === 'xchg')!;
