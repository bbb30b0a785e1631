/** The hard integer instructions: wide division, decimal adjustment, ENTER, PUSHA. */

import { AF, ARITHMETIC_FLAGS, CF, PF, ZF } from '../../x86/flags.ts';
import * as vectors from '../../x86/vectors.ts';
import type { Cpu } from './cpu.ts';
import type { Helper } from './helper.ts';
import { stackAddress } from './segments.ts';
import { state } from './state.ts';

const ONES = 0xffffffffffffffffn;

export const integerHelpers: Record<string, Helper> = {
  div128: cpu => {
    const divisor = cpu.argument(0);
    const dividend = (cpu.gpr(2) << 64n) | cpu.gpr(0);
    const quotient = dividend / divisor;
    if (quotient > ONES) cpu.raise(vectors.DE);
    cpu.setGpr(0, quotient);
    cpu.setGpr(2, dividend % divisor);
  },
  idiv128: cpu => {
    const divisor = BigInt.asIntN(64, cpu.argument(0));
    const dividend = BigInt.asIntN(128, (cpu.gpr(2) << 64n) | cpu.gpr(0));
    const quotient = dividend / divisor;
    if (BigInt.asIntN(64, quotient) !== quotient) cpu.raise(vectors.DE);
    cpu.setGpr(0, BigInt.asUintN(64, quotient));
    cpu.setGpr(2, BigInt.asUintN(64, dividend % divisor));
  },

  daa: cpu => decimal(cpu, 1),
  das: cpu => decimal(cpu, -1),
  aaa: cpu => ascii(cpu, 1),
  aas: cpu => ascii(cpu, -1),
  aam: cpu => {
    const base = cpu.argument32(0) & 0xff;
    if (base === 0) cpu.raise(vectors.DE);
    const al = cpu.gpr32(0) & 0xff;
    setAx(cpu, (Math.floor(al / base) << 8) | (al % base));
    setByteFlags(cpu, al % base, 0);
  },
  aad: cpu => {
    const ax = cpu.gpr32(0) & 0xffff;
    const al = ((ax & 0xff) + (ax >> 8) * (cpu.argument32(0) & 0xff)) & 0xff;
    setAx(cpu, al);
    setByteFlags(cpu, al, 0);
  },

  enter: cpu => {
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
  pusha: cpu => {
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
  popa: cpu => {
    const bits = cpu.argument32(0);
    const bytes = (bits / 8) as 2 | 4;
    const mask = cpu.get64(state.STACK_MASK);
    const sp = cpu.gpr(4) & mask;
    const at = (i: number) => stackAddress(cpu, (sp + BigInt(i * bytes)) & mask, bytes);
    // As AMD's processors do, each register changes when it has been read: POPA can be executed again after a fault.
    for (let i = 0; i < 8; i++) {
      const value = cpu.readLinear(at(i), bytes, false);
      if (i !== 3) setBits(cpu, 7 - i, bits, value);
    }
    cpu.setGpr(4, (cpu.gpr(4) & ~mask) | ((sp + BigInt(8 * bytes)) & mask));
  },
};

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
  const flags = (al & 0x80) | (al === 0 ? ZF : 0) | (parity & 1 ? 0 : PF) | carries;
  cpu.flags = (cpu.flags & ~ARITHMETIC_FLAGS) | flags;
}
function decimal(cpu: Cpu, sign: 1 | -1): void {
  const old = cpu.gpr32(0) & 0xff;
  const { flags } = cpu;
  let al = old;
  let result = 0;
  if ((old & 15) > 9 || flags & AF) {
    al += 6 * sign;
    result |= AF;
    if (al < 0 || al > 0xff) result |= CF;
  }
  if (flags & CF) result |= CF;
  if (old > 0x99 || flags & CF) {
    al += 0x60 * sign;
    result |= CF;
  }
  al &= 0xff;
  setAx(cpu, (cpu.gpr32(0) & 0xff00) | al);
  setByteFlags(cpu, al, result);
}
function ascii(cpu: Cpu, sign: 1 | -1): void {
  let ax = cpu.gpr32(0) & 0xffff;
  const { flags } = cpu;
  let result = 0;
  if ((ax & 15) > 9 || flags & AF) {
    ax += 0x106 * sign;
    result = AF | CF;
  }
  ax &= 0xff0f;
  setAx(cpu, ax);
  setByteFlags(cpu, ax & 0xff, result);
}
