/**
 * What a case may not be held to: flags and bytes that the manual leaves undefined, or that makers fill differently. Both
 * images, the expected and the actual one, get the same treatment before they are compared.
 */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import {
  DS,
  ES,
  FLAGS,
  FS,
  FSW,
  GPR,
  GS,
  MEMORY,
  type Mode,
  PAGE_SIZE,
  RIP,
  SELECTORS,
  X87,
  XMM,
  YMM_HIGH,
} from './layout.ts';
import { type Case, RETIRED } from './vectors.ts';

const FLAG_BITS: Record<string, number> = { CF: 0x1, PF: 0x4, AF: 0x10, ZF: 0x40, SF: 0x80, OF: 0x800 };
const CF = 0x1;
const OF = 0x800;
/** In the x87's status word. */
const C1 = 0x200;

/** Null selectors in data segment registers keep their RPL only until the next return from the kernel. */
function maskNullSelectors(expected: DataView, actual: DataView): void {
  for (const segment of [ES, DS, FS, GS]) {
    const at = SELECTORS + 2 * segment;
    if (expected.getUint16(at, true) < 4 && actual.getUint16(at, true) < 4)
      actual.setUint16(at, expected.getUint16(at, true), true);
  }
}

/** RCPPS and its like promise a relative error of 1.5 * 2^-12 and no bits (SDM 2B, RCPPS); makers' tables differ. */
const APPROXIMATE = /^v?r(cp|sqrt)[ps]s$/;
const TOLERANCE = 3 / 4096;
function maskApproximations(expected: DataView, actual: DataView): void {
  for (const file of [XMM, YMM_HIGH])
    for (let at = file; at < file + 256; at += 4) {
      const want = expected.getFloat32(at, true);
      const got = actual.getFloat32(at, true);
      if (Number.isFinite(want) && Math.abs(got - want) <= Math.abs(want) * TOLERANCE)
        actual.setFloat32(at, want, true);
    }
}

/** Transcendental instructions promise an error below 1 unit in the last place (SDM 1, 8.3.10). */
const TRANSCENDENTAL = /^(f2xm1|fyl2x|fyl2xp1|fptan|fpatan|fsin|fcos|fsincos)$/;
function maskTranscendental(expected: DataView, actual: DataView): void {
  for (let at = X87; at < X87 + 128; at += 16) {
    if (expected.getUint16(at + 8, true) !== actual.getUint16(at + 8, true)) continue;
    const want = expected.getBigUint64(at, true);
    const got = actual.getBigUint64(at, true);
    if (want - got === 1n || got - want === 1n) actual.setBigUint64(at, want, true);
  }
  // C1 says which way a result was rounded that need not be the nearest.
  actual.setUint16(FSW, (actual.getUint16(FSW, true) & ~C1) | (expected.getUint16(FSW, true) & C1), true);
}

/** The limit's bits in what LAR loads are undefined (SDM 2A, LAR). */
function maskAccessRights(expected: DataView, actual: DataView): void {
  for (let at = GPR + 2; at < GPR + 128; at += 8)
    actual.setUint8(at, (actual.getUint8(at) & 0xf0) | (expected.getUint8(at) & 0x0f));
}

const pageOffset = (before: Uint8Array): number => before[RIP]! | ((before[RIP + 1]! & 15) << 8);

/** Cases that no two processors need agree on at all: not made. */
export function isUndefined(row: Row, mode: Mode, code: Uint8Array, before: Uint8Array): boolean {
  if (/^sh[lr]d$/.test(row.name)) {
    // Counts beyond the width (SDM 2B, SHLD).
    const bits = operandBits(mode, code);
    return shiftCount(row, code, before, bits)! > bits;
  }
  // Whether UD0 and UD1 have a ModRM byte, which may then be out of reach, differs by maker.
  if (/^ud[01]$/.test(row.name)) return pageOffset(before) + code.length > PAGE_SIZE;
  // Run without TF, it must have an INT3 behind it.
  if (row.name === 'pushf') return pageOffset(before) + code.length >= PAGE_SIZE;
  return false;
}

/** The operand size of a general instruction, from its prefixes (SDM 1, 3.6). */
export function operandBits(mode: Mode, code: Uint8Array): 16 | 32 | 64 {
  let narrow = false;
  for (const byte of code) {
    if (byte === 0x66) narrow = true;
    else if (mode === 64 && (byte & 0xf0) === 0x40) return byte & 8 ? 64 : narrow ? 16 : 32;
    else if (![0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x67, 0xf0, 0xf2, 0xf3].includes(byte)) break;
  }
  return narrow !== (mode === 16) ? 16 : 32;
}

/** The count of a shift or rotate, as the processor masks it; undefined for anything else. */
function shiftCount(row: Row, code: Uint8Array, before: Uint8Array, bits: number): number | undefined {
  if (!/^(ro[lr]|rc[lr]|sh[lr]d?|sar)$/.test(row.name)) return undefined;
  const operands = row.operands.split(',');
  const count = operands.includes('CL') ? before[GPR + 8]! : operands.at(-1) === 'Ib' ? code.at(-1)! : 1;
  return count & (bits === 64 ? 63 : 31);
}

/** Flags of the row's `undefined` column that are undefined in this very case. */
export function undefinedFlags(row: Row, test: Case, before: Uint8Array): number {
  if (!row.undefined || test.vector !== RETIRED) return 0;
  let mask = 0;
  for (const name of row.undefined.split(' ')) mask |= FLAG_BITS[name]!;
  const bits = row.operands.startsWith('Eb') ? 8 : operandBits(test.mode, test.code);
  const count = shiftCount(row, test.code, before, bits);
  if (count === undefined) return mask;
  // SDM 2B, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD: by 0 nothing changes; OF is defined for 1; CF below the width.
  if (count === 0) return 0;
  if (count === 1) mask &= ~OF;
  if (count < bits) mask &= ~CF;
  return mask;
}

/** Ranges of the memory operand that are not compared: first byte and length. */
function maskedBytes(row: Row, test: Case): readonly (readonly [number, number])[] {
  switch (row.name) {
    // Last opcode and pointers, of which makers keep different ones; MXCSR_MASK; what is reserved or left to software.
    case 'fxsave':
      return [[6, 18], [28, 4], [416, 96], ...(test.mode === 64 ? [] : ([[288, 128]] as const))];
    case 'fnstenv':
    case 'fnsave':
      return operandBits(test.mode, test.code) === 16 ? [[6, 8]] : [[12, 16]];
  }
  return [];
}

/** Makes what is undefined in this case equal in both images. */
export function mask(row: Row, test: Case, before: Uint8Array, expected: DataView, actual: DataView): void {
  const flags = undefinedFlags(row, test, before);
  if (flags)
    actual.setUint32(FLAGS, (actual.getUint32(FLAGS, true) & ~flags) | (expected.getUint32(FLAGS, true) & flags), true);
  maskNullSelectors(expected, actual);
  if (APPROXIMATE.test(row.name)) maskApproximations(expected, actual);
  if (TRANSCENDENTAL.test(row.name)) maskTranscendental(expected, actual);
  if (row.name === 'lar') maskAccessRights(expected, actual);
  if (test.target !== undefined)
    for (const [first, length] of maskedBytes(row, test))
      for (let at = MEMORY + test.target + first, end = at + length; at < end; at++)
        if (at >= MEMORY && at < actual.byteLength) actual.setUint8(at, expected.getUint8(at));
}
