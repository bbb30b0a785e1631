/** The hard integer instructions: wide division, decimal adjustment, ENTER, PUSHA, and string moves in bulk. */
import { PAGE_CODE, PAGE_DEVICE } from '../layout.ts';
import type { Cpu } from './cpu.ts';
import type { Helper } from './helper.ts';
import { ACCESS_WRITE } from './paging.ts';
import { stackAddress } from './segments.ts';
import * as state from './state.ts';

const ONES = 0xffffffffffffffffn;

/** Address of a string operand's element by the address size in `bits`. */
function offsetOf(cpu: Cpu, register: number, bits: number): bigint {
  return BigInt.asUintN(bits, cpu.gpr(register));
}
/** Moves a string register by `by`, in its address size. */
function advance(cpu: Cpu, register: number, bits: number, by: number): void {
  const value = BigInt.asUintN(bits, cpu.gpr(register) + BigInt(by));
  if (bits === 64) cpu.setGpr(register, value);
  else cpu.setGpr32(register, Number(value));
}
/** Guest RAM behind `linear`, as an index into the WebAssembly memory; -1 for a device. */
function hostAddress(cpu: Cpu, linear: bigint, access: number): number {
  const physical = cpu.translate(linear, access);
  if (!cpu.memory.has(physical, 1)) return -1;
  if (cpu.bytes[cpu.pageKind + (physical >>> 12)] === PAGE_DEVICE) return -1;
  return cpu.memory.origin + physical;
}
function wroteCode(cpu: Cpu, host: number, length: number): void {
  const physical = host - cpu.memory.origin;
  if (cpu.bytes[cpu.pageKind + (physical >>> 12)] === PAGE_CODE) cpu.codeWritten(physical, length);
}
/** How many elements of `size` from `linear` upwards lie in its page; 0 if the first one crosses its end. */
function inPage(linear: bigint, size: number): number {
  return Math.floor((4096 - Number(linear & 4095n)) / size);
}

/**
 * REP MOVS and STOS, as much as lies in one page at each end. Arguments: element size, address size, segment bases in the
 * order of the row's operands. Answers 1 if elements are left. Backward moves, devices and elements that cross a page are done one
 * at a time.
 */
export const integerHelpers: Record<string, Helper> = {
  bulk_movs: context => {
    const cpu = context as Cpu;
    const size = cpu.argument32(0) as 1 | 2 | 4 | 8;
    const bits = cpu.argument32(1);
    const count = BigInt.asUintN(bits, cpu.gpr(1));
    const to = offsetOf(cpu, 7, bits);
    const from = BigInt.asUintN(64, offsetOf(cpu, 6, bits) + cpu.argument(3));
    const down = (cpu.get32(state.FLAGS_REST) & state.DF) !== 0;
    let elements = down ? 0 : Math.min(inPage(from, size), inPage(to, size));
    if (BigInt(elements) > count) elements = Number(count);
    if (elements > 0 && !cpu.get32(state.WATCHING)) {
      const source = hostAddress(cpu, from, 0);
      const destination = hostAddress(cpu, to, ACCESS_WRITE);
      if (source >= 0 && destination >= 0) {
        const length = elements * size;
        const overlap = destination - source;
        if (overlap > 0 && overlap < length) {
          // The destination overtakes the source: a pattern repeats, as element after element would have it.
          for (let i = 0; i < length; i += size) cpu.bytes.copyWithin(destination + i, source + i, source + i + size);
        } else cpu.bytes.copyWithin(destination, source, source + length);
        wroteCode(cpu, destination, length);
        return finish(cpu, bits, elements, size, [6, 7]);
      }
    }
    const value = cpu.readLinear(from, size, false);
    cpu.writeLinear(to, size, value, false);
    finish(cpu, bits, 1, down ? -size : size, [6, 7]);
  },
  bulk_stos: context => {
    const cpu = context as Cpu;
    const size = cpu.argument32(0) as 1 | 2 | 4 | 8;
    const bits = cpu.argument32(1);
    const count = BigInt.asUintN(bits, cpu.gpr(1));
    const to = offsetOf(cpu, 7, bits);
    const down = (cpu.get32(state.FLAGS_REST) & state.DF) !== 0;
    const value = BigInt.asUintN(8 * size, cpu.gpr(0));
    let elements = down ? 0 : inPage(to, size);
    if (BigInt(elements) > count) elements = Number(count);
    if (elements > 0 && !cpu.get32(state.WATCHING)) {
      const destination = hostAddress(cpu, to, ACCESS_WRITE);
      if (destination >= 0) {
        const length = elements * size;
        const low = Number(value & 0xffn);
        if (size === 1 || value === 0n) cpu.bytes.fill(low, destination, destination + length);
        else {
          cpu.view.setBigUint64(state.STATE + state.SLOW_VECTOR, value, true);
          const element = state.STATE + state.SLOW_VECTOR;
          for (let i = 0; i < length; i += size) cpu.bytes.copyWithin(destination + i, element, element + size);
        }
        wroteCode(cpu, destination, length);
        return finish(cpu, bits, elements, size, [7]);
      }
    }
    cpu.writeLinear(to, size, value, false);
    finish(cpu, bits, 1, down ? -size : size, [7]);
  },

  div128: context => {
    const cpu = context as Cpu;
    const divisor = cpu.argument(0);
    const dividend = (cpu.gpr(2) << 64n) | cpu.gpr(0);
    const quotient = dividend / divisor;
    if (quotient > ONES) cpu.raise(0);
    cpu.setGpr(0, quotient);
    cpu.setGpr(2, dividend % divisor);
  },
  idiv128: context => {
    const cpu = context as Cpu;
    const divisor = BigInt.asIntN(64, cpu.argument(0));
    const dividend = BigInt.asIntN(128, (cpu.gpr(2) << 64n) | cpu.gpr(0));
    const quotient = dividend / divisor;
    if (BigInt.asIntN(64, quotient) !== quotient) cpu.raise(0);
    cpu.setGpr(0, BigInt.asUintN(64, quotient));
    cpu.setGpr(2, BigInt.asUintN(64, dividend % divisor));
  },

  daa: context => decimal(context as Cpu, 1),
  das: context => decimal(context as Cpu, -1),
  aaa: context => ascii(context as Cpu, 1),
  aas: context => ascii(context as Cpu, -1),
  aam: context => {
    const cpu = context as Cpu;
    const base = cpu.argument32(0) & 0xff;
    if (base === 0) cpu.raise(0);
    const al = cpu.gpr32(0) & 0xff;
    setAx(cpu, (Math.floor(al / base) << 8) | (al % base));
    setByteFlags(cpu, al % base, 0);
  },
  aad: context => {
    const cpu = context as Cpu;
    const ax = cpu.gpr32(0) & 0xffff;
    const al = ((ax & 0xff) + (ax >> 8) * (cpu.argument32(0) & 0xff)) & 0xff;
    setAx(cpu, al);
    setByteFlags(cpu, al, 0);
  },

  enter: context => {
    const cpu = context as Cpu;
    const bits = cpu.argument32(0);
    const bytes = (bits / 8) as 2 | 4 | 8;
    const allocation = cpu.argument(1) & 0xffffn;
    const level = cpu.argument32(2) & 31;
    const mask = cpu.get64(state.STACK_MASK);
    const at = (sp: bigint) => stackAddress(cpu, sp & mask, bytes);
    let sp = (cpu.gpr(4) - BigInt(bytes)) & mask;
    cpu.writeLinear(at(sp), bytes, BigInt.asUintN(bits, cpu.gpr(5)), false);
    const frame = sp;
    if (level > 0) {
      for (let i = 1; i < level; i++) {
        const outer = cpu.readLinear(at(cpu.gpr(5) - BigInt(i * bytes)), bytes, false);
        sp = (sp - BigInt(bytes)) & mask;
        cpu.writeLinear(at(sp), bytes, outer, false);
      }
      sp = (sp - BigInt(bytes)) & mask;
      cpu.writeLinear(at(sp), bytes, BigInt.asUintN(bits, (cpu.gpr(4) & ~mask) | frame), false);
    }
    sp = (sp - allocation) & mask;
    // The new stack must be writable before any register changes (SDM 2A, ENTER).
    cpu.probeWrite(stackAddress(cpu, sp, 1), 1, false);
    setBits(cpu, 5, bits, (cpu.gpr(4) & ~mask) | frame);
    cpu.setGpr(4, (cpu.gpr(4) & ~mask) | sp);
  },
  pusha: context => {
    const cpu = context as Cpu;
    const bits = cpu.argument32(0);
    const bytes = (bits / 8) as 2 | 4;
    const mask = cpu.get64(state.STACK_MASK);
    let sp = cpu.gpr(4) & mask;
    const at = (offset: bigint) => stackAddress(cpu, offset & mask, bytes);
    for (let register = 0; register < 8; register++) {
      sp = (sp - BigInt(bytes)) & mask;
      cpu.writeLinear(at(sp), bytes, BigInt.asUintN(bits, cpu.gpr(register)), false);
    }
    cpu.setGpr(4, (cpu.gpr(4) & ~mask) | sp);
  },
  popa: context => {
    const cpu = context as Cpu;
    const bits = cpu.argument32(0);
    const bytes = (bits / 8) as 2 | 4;
    const mask = cpu.get64(state.STACK_MASK);
    const sp = cpu.gpr(4) & mask;
    const at = (i: number) => stackAddress(cpu, (sp + BigInt(i * bytes)) & mask, bytes);
    const values = Array.from({ length: 8 }, (_, i) => cpu.readLinear(at(i), bytes, false));
    for (let register = 0; register < 8; register++) if (register !== 4) setBits(cpu, register, bits, values[7 - register]!);
    cpu.setGpr(4, (cpu.gpr(4) & ~mask) | ((sp + BigInt(8 * bytes)) & mask));
  },
};

function finish(cpu: Cpu, bits: number, elements: number, step: number, registers: number[]): void {
  for (const register of registers) advance(cpu, register, bits, elements * step);
  advance(cpu, 1, bits, -elements);
  cpu.setResult32(BigInt.asUintN(bits, cpu.gpr(1)) !== 0n ? 1 : 0);
}

/** Writes a register's low bits; 32 clear the upper half. */
function setBits(cpu: Cpu, register: number, bits: number, value: bigint): void {
  if (bits === 64) cpu.setGpr(register, BigInt.asUintN(64, value));
  else if (bits === 32) cpu.setGpr32(register, Number(BigInt.asUintN(32, value)));
  else cpu.setGpr(register, (cpu.gpr(register) & ~0xffffn) | BigInt.asUintN(16, value));
}
function setAx(cpu: Cpu, ax: number): void {
  setBits(cpu, 0, 16, BigInt(ax & 0xffff));
}
/** SF, ZF, PF of a byte, with CF and AF given; OF cleared. */
function setByteFlags(cpu: Cpu, al: number, carries: number): void {
  let parity = al;
  parity ^= parity >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  const flags = (al & 0x80) | (al === 0 ? state.ZF : 0) | (parity & 1 ? 0 : state.PF) | carries;
  cpu.flags = (cpu.flags & ~state.ARITHMETIC_FLAGS) | flags;
}
function decimal(cpu: Cpu, sign: 1 | -1): void {
  const old = cpu.gpr32(0) & 0xff;
  const { flags } = cpu;
  let al = old;
  let result = 0;
  if ((old & 15) > 9 || flags & state.AF) {
    al += 6 * sign;
    result |= state.AF;
    if (al < 0 || al > 0xff) result |= state.CF;
  }
  if (flags & state.CF) result |= state.CF;
  if (old > 0x99 || flags & state.CF) {
    al += 0x60 * sign;
    result |= state.CF;
  }
  al &= 0xff;
  setAx(cpu, (cpu.gpr32(0) & 0xff00) | al);
  setByteFlags(cpu, al, result);
}
function ascii(cpu: Cpu, sign: 1 | -1): void {
  let ax = cpu.gpr32(0) & 0xffff;
  const { flags } = cpu;
  let result = 0;
  if ((ax & 15) > 9 || flags & state.AF) {
    ax += 0x106 * sign;
    result = state.AF | state.CF;
  }
  ax &= 0xff0f;
  setAx(cpu, ax);
  setByteFlags(cpu, ax & 0xff, result);
}
