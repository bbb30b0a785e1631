/**
 * The registers that a debugger sees, by gdb's names and in its order (gdb/features/i386/64bit-*.xml), from the table of the
 * processor's state.
 */
import type { TargetRegister } from '../debug/target.ts';
import type { EngineProcessor } from '../engine/processor.ts';
import type { Cpu } from '../engine/x86/cpu.ts';
import { ELEMENTS, type Element, readElement, writeElement } from '../engine/x86/registers.ts';
import { state } from '../engine/x86/state.ts';
import type { RegisterName } from '../paravirt/processor.ts';

const CORE = 'org.gnu.gdb.i386.core';
const SSE = 'org.gnu.gdb.i386.sse';
const SEGMENTS = 'org.gnu.gdb.i386.segments';
const AVX = 'org.gnu.gdb.i386.avx';
/** No feature of gdb's own: it shows what is here all the same. */
const SYSTEM = 'polyvisor.i386.system';

export interface DebugRegister extends TargetRegister {
  read(cpu: Cpu, processor: EngineProcessor): bigint;
  /** Undefined: it cannot be written. */
  write?: ((value: bigint, cpu: Cpu, processor: EngineProcessor) => void) | undefined;
}

const BY_NAME = new Map(ELEMENTS.map(element => [element.name, element]));
function element(name: string): Element {
  const found = BY_NAME.get(name);
  if (!found) throw new Error(`debug registers: the processor has no ${name}`);
  return found;
}

/** An element of the state. The waist knows what else changes with a register that it has. */
function fromState(feature: string, name: string, from: string, bits: number, type: string): DebugRegister {
  const source = element(from);
  const { waist } = source;
  return {
    ...{ feature, name, bits, type },
    read: cpu => readElement(cpu, source),
    write: waist
      ? (value, _cpu, processor) => processor.set(waist, value)
      : (value, cpu) => writeElement(cpu, source, value),
  };
}
/** One that the waist has and the state has not as it is. */
function fromWaist(feature: string, name: string, waist: RegisterName, bits: number, type: string): DebugRegister {
  return {
    ...{ feature, name, bits, type },
    read: (_cpu, processor) => processor.get(waist),
    write: (value, _cpu, processor) => processor.set(waist, value),
  };
}

/** In gdb's order, which is not the manual's. */
const GENERAL = ['RAX', 'RBX', 'RCX', 'RDX', 'RSI', 'RDI', 'RBP', 'RSP'];
const EXTENDED = Array.from({ length: 8 }, (_, i) => `R${8 + i}`);
const POINTERS = new Set(['RBP', 'RSP']);

const general = [...GENERAL, ...EXTENDED].map(name =>
  fromState(CORE, name.toLowerCase(), name, 64, POINTERS.has(name) ? 'data_ptr' : 'int64'),
);
/** Linear in any mode, as addresses of memory and of breakpoints are. */
const rip = fromState(CORE, 'rip', 'RIP', 64, 'code_ptr');
/** A selector is loaded with its descriptor, by an instruction alone. */
const selectors = ['CS', 'SS', 'DS', 'ES', 'FS', 'GS'].map(name => ({
  ...fromState(CORE, name.toLowerCase(), `${name} SELECTOR`, 32, 'int32'),
  write: undefined,
}));

/** Where register ST(i) is: physical register (TOP + i) modulo 8. */
const physical = (cpu: Cpu, i: number): number => ((cpu.get16(state.FPU_STATUS) >> 11) + i) & 7;
const stack = Array.from({ length: 8 }, (_, i): DebugRegister => {
  const source = (cpu: Cpu) => element(`FPU_REGISTERS${physical(cpu, i)}`);
  return {
    ...{ feature: CORE, name: `st${i}`, bits: 80, type: 'i387_ext' },
    read: cpu => BigInt.asUintN(80, readElement(cpu, source(cpu))),
    write: (value, cpu) => writeElement(cpu, source(cpu), value),
  };
});
/** The tag word (SDM 1, 8.1.7): 0 a number, 1 zero, 2 anything else, 3 empty. */
function tagWord(cpu: Cpu): bigint {
  let word = 0n;
  for (let i = 7; i >= 0; i--) {
    const value = readElement(cpu, element(`FPU_REGISTERS${i}`));
    const exponent = (value >> 64n) & 0x7fffn;
    const isEmpty = !(cpu.get8(state.FPU_TAGS) & (1 << i));
    const isNumber = exponent !== 0n && exponent !== 0x7fffn && (value & (1n << 63n)) !== 0n;
    const isZero = exponent === 0n && BigInt.asUintN(64, value) === 0n;
    word = (word << 2n) | (isEmpty ? 3n : isNumber ? 0n : isZero ? 1n : 2n);
  }
  return word;
}
const fpu = (name: string, from: string) => fromState(CORE, name, from, 32, 'int');
const fpuControl: DebugRegister[] = [
  fpu('fctrl', 'FPU_CONTROL'),
  fpu('fstat', 'FPU_STATUS'),
  { feature: CORE, name: 'ftag', bits: 32, type: 'int', read: tagWord },
  fpu('fiseg', 'FPU_CS'),
  fpu('fioff', 'FPU_IP'),
  fpu('foseg', 'FPU_DS'),
  fpu('fooff', 'FPU_DP'),
  fpu('fop', 'FPU_OPCODE'),
];

const vectors = Array.from({ length: 16 }, (_, i) => fromState(SSE, `xmm${i}`, `XMM${i}`, 128, 'vec128'));

/** gdb puts the YMM registers together itself. */
const upperHalves = Array.from({ length: 16 }, (_, i) => fromState(AVX, `ymm${i}h`, `YMM_HIGH${i}`, 128, 'uint128'));

export const DEBUG_REGISTERS: readonly DebugRegister[] = [
  ...general,
  rip,
  fromWaist(CORE, 'eflags', 'flags', 32, 'i386_eflags'),
  ...selectors,
  ...stack,
  ...fpuControl,
  ...vectors,
  fromState(SSE, 'mxcsr', 'MXCSR', 32, 'i386_mxcsr'),
  fromState(SEGMENTS, 'fs_base', 'FS SEGMENT_BASE', 64, 'int64'),
  fromState(SEGMENTS, 'gs_base', 'GS SEGMENT_BASE', 64, 'int64'),
  ...upperHalves,
  fromState(SYSTEM, 'k_gs_base', 'KERNEL_GS_BASE', 64, 'int64'),
  ...['CR0', 'CR2', 'CR3', 'CR4'].map(name => fromState(SYSTEM, name.toLowerCase(), name, 64, 'int64')),
  fromWaist(SYSTEM, 'cr8', 'cr8', 64, 'int64'),
  fromState(SYSTEM, 'efer', 'EFER', 64, 'int64'),
  ...['DR0', 'DR1', 'DR2', 'DR3', 'DR6', 'DR7'].map(name => fromState(SYSTEM, name.toLowerCase(), name, 64, 'int64')),
  ...['GDT', 'IDT'].flatMap(name => [
    fromState(SYSTEM, `${name.toLowerCase()}_base`, `${name}_BASE`, 64, 'int64'),
    fromState(SYSTEM, `${name.toLowerCase()}_limit`, `${name}_LIMIT`, 32, 'int32'),
  ]),
];
