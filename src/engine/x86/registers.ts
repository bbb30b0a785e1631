/**
 * What the table of state (fields.ts) is used for besides offsets: the elements of its fields by name, their values, a reset,
 * and the comparison of two processors.
 */
import type { RegisterName } from '../../paravirt/processor.ts';
import { CR0_CD, CR0_ET, CR0_NW } from '../../x86/control.ts';
import type { Cpu } from './cpu.ts';
import { SIGNATURE } from './cpuid.ts';
import { FIELDS, type Field, type FieldName, type FieldType, OFFSETS, type Role, sizeOf, strideOf } from './fields.ts';
import { state } from './state.ts';

/** One value of the state: a field, or one of a field's several. */
export interface Element {
  readonly name: string;
  readonly field: FieldName;
  readonly role: Role;
  readonly type: FieldType;
  readonly offset: number;
  readonly bytes: number;
  readonly initial: bigint;
  readonly lazy: boolean;
  readonly survivesInit: boolean;
  readonly survivesReset: boolean;
  readonly waist: RegisterName | undefined;
}

function elementsOf(name: FieldName, field: Field): Element[] {
  const { type, role, count = 1, names, initial = 0n, waist } = field;
  return Array.from({ length: count }, (_, i) => ({
    name: nameOf(name, count, i, names?.[i]),
    field: name,
    role,
    type,
    offset: OFFSETS[name] + i * strideOf(field),
    bytes: sizeOf(field),
    initial: typeof initial === 'bigint' ? initial : initial[i]!,
    lazy: field.lazy ?? false,
    survivesInit: field.survivesInit ?? false,
    survivesReset: field.survivesReset ?? false,
    waist: typeof waist === 'string' ? waist : waist?.[i],
  }));
}
/** Registers of their own have names of their own; the parts of a segment register are told by the field. */
function nameOf(field: FieldName, count: number, index: number, own: string | undefined): string {
  if (own) return field === 'GPR' || field === 'DR' ? own : `${own} ${field}`;
  return count === 1 ? field : `${field}${index}`;
}

export const ELEMENTS: readonly Element[] = Object.entries(FIELDS).flatMap(([name, field]) =>
  elementsOf(name as FieldName, field),
);
/** The architecture's, but for the lazy form of RFLAGS. */
export const ARCHITECTURE: readonly Element[] = ELEMENTS.filter(({ role, lazy }) => role === 'architecture' && !lazy);

/** Registers of the waist that are an element of the state. */
export type StateRegister = Exclude<RegisterName, 'rip' | 'flags' | 'cr8'>;
export const WAIST = Object.fromEntries(
  ELEMENTS.filter(({ waist }) => waist !== undefined).map(element => [element.waist, element]),
) as Readonly<Record<StateRegister, Element>>;

export function readElement(cpu: Cpu, { type, offset }: Element): bigint {
  switch (type) {
    case 'u8':
      return BigInt(cpu.get8(offset));
    case 'u16':
      return BigInt(cpu.get16(offset));
    case 'u32':
      return BigInt(cpu.get32(offset));
    case 'i32':
      return BigInt(cpu.get32(offset) | 0);
    case 'v128':
      return cpu.get64(offset) | (cpu.get64(offset + 8) << 64n);
    default:
      return cpu.get64(offset); // of an f64, the bits
  }
}
export function writeElement(cpu: Cpu, { type, offset }: Element, value: bigint): void {
  switch (type) {
    case 'u8':
      return cpu.set8(offset, Number(value & 0xffn));
    case 'u16':
      return cpu.set16(offset, Number(value & 0xffffn));
    case 'u32':
    case 'i32':
      return cpu.set32(offset, Number(value & 0xffffffffn));
    case 'v128':
      cpu.set64(offset, value & 0xffffffffffffffffn);
      return cpu.set64(offset + 8, value >> 64n);
    default:
      return cpu.set64(offset, value);
  }
}

/** Gives every field but the engine's own, and what survives a reset, its value after a reset. What is derived has to be computed then. */
export function resetFields(cpu: Cpu): void {
  for (const element of ELEMENTS)
    if (element.role !== 'engine' && !element.survivesReset) writeElement(cpu, element, element.initial);
}

const RDX = 2;

/** What an INIT resets: all but the engine's own fields and those that survive it. CR0's CD and NW stay, too. */
export function initialiseFields(cpu: Cpu): void {
  const cache = cpu.get32(state.CR0) & (CR0_CD | CR0_NW);
  for (const element of ELEMENTS)
    if (element.role !== 'engine' && !element.survivesInit) writeElement(cpu, element, element.initial);
  cpu.set32(state.CR0, CR0_ET | cache);
  cpu.setGpr(RDX, BigInt(SIGNATURE));
}

export interface Difference {
  name: string;
  values: readonly [bigint, bigint];
}
/** The first register in which two processors differ; undefined if none does. */
export function findDifference(x: Cpu, y: Cpu): Difference | undefined {
  if (x.flags !== y.flags) return { name: 'RFLAGS', values: [BigInt(x.flags >>> 0), BigInt(y.flags >>> 0)] };
  for (const element of ARCHITECTURE)
    if (!same(x, y, element)) return { name: element.name, values: [readElement(x, element), readElement(y, element)] };
  return undefined;
}
function same(x: Cpu, y: Cpu, { offset, bytes }: Element): boolean {
  if (bytes < 4) return bytes === 1 ? x.get8(offset) === y.get8(offset) : x.get16(offset) === y.get16(offset);
  for (let word = 0; word < bytes; word += 4) if (x.get32(offset + word) !== y.get32(offset + word)) return false;
  return true;
}

/** All of the architecture's registers, a line each, for people. */
export function describeRegisters(cpu: Cpu): string[] {
  const hex = (value: bigint, bytes: number) => `0x${value.toString(16).padStart(2 * bytes, '0')}`;
  return [
    `RFLAGS ${hex(BigInt(cpu.flags >>> 0), 8)}`,
    ...ARCHITECTURE.map(element => `${element.name} ${hex(readElement(cpu, element), element.bytes)}`),
  ];
}
