/** The last exceptions delivered, for people: numbers in a ring in the state, put into words only when somebody asks. */

import type { Value } from '../../wasm/code.ts';
import * as vectors from '../../x86/vectors.ts';
import type { ProcessorCode } from './code.ts';
import type { Cpu } from './cpu.ts';
import { state } from './state.ts';

const ENTRIES = 32;
const ENTRY = 64;
/** An entry: instructions executed before it, f64; RIP and the address (page faults), u64; vector, i32; error code, i32, or NO_CODE. */
const COUNT = 0;
const RIP = 8;
const ADDRESS = 16;
const VECTOR = 24;
const CODE = 28;
/** u32: the privilege level it came from, and HAS_ADDRESS. */
const LEVEL = 32;
const HAS_ADDRESS = 4;

/** Stands for the error code of exceptions that push none. */
export const NO_CODE = -1;

/** Faults: their frame shows RF, so that an instruction breakpoint does not fire twice (SDM 3B 17.3.1.1). */
export const SHOWS_RF = ~((1 << vectors.DB) | (1 << vectors.BP) | (1 << vectors.OF));

export interface Noted {
  vector: number;
  code: number | undefined;
  address: bigint | undefined;
  rip: bigint;
  cpl: number;
  /** Instructions executed before. */
  instructions: number;
}

export function noteException(cpu: Cpu, noted: Noted): void {
  const { view } = cpu;
  const { vector, code, address, rip, cpl, instructions } = noted;
  const number = cpu.get32(state.EXCEPTIONS);
  cpu.set32(state.EXCEPTIONS, number + 1);
  const at = cpu.base + state.RECENT + (number % ENTRIES) * ENTRY;
  view.setFloat64(at + COUNT, instructions, true);
  view.setBigUint64(at + RIP, rip, true);
  view.setBigUint64(at + ADDRESS, address ?? 0n, true);
  view.setInt32(at + VECTOR, vector, true);
  view.setInt32(at + CODE, code ?? NO_CODE, true);
  view.setUint32(at + LEVEL, cpl | (address === undefined ? 0 : HAS_ADDRESS), true);
}

/** Emits the same: vector, error code or NO_CODE, and CPL as i32, RIP as i64. */
export function emitNoteException(
  b: ProcessorCode,
  { vector, code, rip, cpl }: Record<'vector' | 'code' | 'rip' | 'cpl', Value>,
): void {
  const number = b.state32(state.EXCEPTIONS);
  const entry = b.shl(b.and(number, ENTRIES - 1), Math.log2(ENTRY));
  b.setState32(state.EXCEPTIONS, b.add(number, 1));
  const field = (offset: number, store: string, value: Value) => b.putState(store, state.RECENT + offset, value, entry);
  const left = b.wasm('f64.convert_i32_s', b.state32(state.FUEL));
  field(COUNT, 'f64.store', b.sub(b.fetchState('f64.load', state.GOAL), left));
  field(RIP, 'i64.store', rip);
  field(ADDRESS, 'i64.store', b.state(state.CR2));
  field(VECTOR, 'i32.store', vector);
  field(CODE, 'i32.store', code);
  field(LEVEL, 'i32.store', b.or(b.shl(b.eq(vector, vectors.PF), Math.log2(HAS_ADDRESS)), cpl));
}

/** A line each, the newest last. */
export function describeExceptions(cpu: Cpu): string[] {
  const { view } = cpu;
  const end = cpu.get32(state.EXCEPTIONS);
  const lines: string[] = [];
  for (let number = Math.max(0, end - ENTRIES); number < end; number++) {
    const at = cpu.base + state.RECENT + (number % ENTRIES) * ENTRY;
    const code = view.getInt32(at + CODE, true);
    const level = view.getUint32(at + LEVEL, true);
    const address = view.getBigUint64(at + ADDRESS, true);
    lines.push(
      `vector ${view.getInt32(at + VECTOR, true)}${code === NO_CODE ? '' : ` code 0x${code.toString(16)}`}${
        level & HAS_ADDRESS ? ` address 0x${address.toString(16)}` : ''
      } at 0x${view.getBigUint64(at + RIP, true).toString(16)} cpl ${level & 3} instruction ${view.getFloat64(at + COUNT, true)}`,
    );
  }
  return lines;
}
