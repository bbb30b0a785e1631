/** Packed shifts, by a register's or memory's low 64 bits or by an immediate (SDM 1, 5.4.6, 5.6.3). */
import type { Builder, Value } from '../builder.ts';
import type { Meaning, Row } from './row.ts';
import { counting, doubled, everyByte, known, low, splat, zero } from './vector.ts';
import { mmx, none, register, row, sse2, x66 } from './vector-columns.ts';

type Direction = 'shl' | 'shr_u' | 'shr_s';
const SHAPES = { 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' } as const;

/** WebAssembly takes counts modulo the lane; here a large one clears the lanes, or fills them with the sign. */
function shift(b: Builder, x: Value, count: Value, bits: 16 | 32 | 64, direction: Direction): Value {
  const fits = b.ltu(count, b.const(bits));
  const operation = `${SHAPES[bits]}.${direction}`;
  if (direction === 'shr_s') return b.wasm(operation, x, b.narrow(b.select(fits, count, b.const(bits - 1))));
  return b.select(fits, b.wasm(operation, x, b.narrow(count)), zero(b));
}

const ofVector =
  (bits: 16 | 32 | 64, direction: Direction): Meaning =>
  (b, dst, src) => {
    const x = dst.get();
    const count = src.get();
    dst.set(shift(b, x, src.kind === 'immediate' ? count : low(b, count), bits, direction));
  };
const ofMmx =
  (bits: 16 | 32 | 64, direction: Direction): Meaning =>
  (b, dst, src) =>
    dst.set(low(b, shift(b, doubled(b, dst.get()), src.get(), bits, direction)));

/** name, lane, direction, opcode with a register, opcode and ModRM.reg with an immediate. */
const SHIFTS: [string, 16 | 32 | 64, Direction, number, number, number][] = [
  ['psrlw', 16, 'shr_u', 0x0fd1, 0x0f71, 2],
  ['psraw', 16, 'shr_s', 0x0fe1, 0x0f71, 4],
  ['psllw', 16, 'shl', 0x0ff1, 0x0f71, 6],
  ['psrld', 32, 'shr_u', 0x0fd2, 0x0f72, 2],
  ['psrad', 32, 'shr_s', 0x0fe2, 0x0f72, 4],
  ['pslld', 32, 'shl', 0x0ff2, 0x0f72, 6],
  ['psrlq', 64, 'shr_u', 0x0fd3, 0x0f73, 2],
  ['psllq', 64, 'shl', 0x0ff3, 0x0f73, 6],
];

/** PSLLDQ and PSRLDQ: whole bytes. */
const byteShift =
  (left: boolean): Meaning =>
  (b, dst, count) => {
    const x = dst.get();
    const immediate = count.get();
    const number = known(immediate);
    if (number !== undefined) {
      const distance = Math.min(number, 16);
      const byte = (i: number) => (left ? i - distance : i + distance);
      // Byte 16 and on are those of the zero vector.
      const numbers = Array.from({ length: 16 }, (_, i) => (byte(i) >= 0 && byte(i) < 16 ? byte(i) : 16));
      return dst.set(b.shuffle(x, zero(b), numbers));
    }
    const numbers = splat(b, 'i8x16', immediate);
    // swizzle gives zero for byte numbers from 16 on; left, i - count wraps below zero or, from 128 on, still is above
    // 112.
    const choice = left
      ? b.wasm('v128.or', b.wasm('i8x16.sub', counting(b), numbers), b.wasm('i8x16.gt_u', numbers, everyByte(b, 15)))
      : b.wasm('i8x16.add_sat_u', counting(b), numbers);
    dst.set(b.wasm('i8x16.swizzle', x, choice));
  };

export const vectorShiftRows: Row[] = [
  ...SHIFTS.flatMap(([name, bits, direction, opcode, immediateOpcode, group]): Row[] => [
    row(name, opcode, 'Pq,Qq', ofMmx(bits, direction), none, mmx),
    row(name, opcode, 'Vx,Wx', ofVector(bits, direction), x66, sse2),
    row(name, immediateOpcode, 'Nq,Ib', ofMmx(bits, direction), none, register, mmx, { group }),
    row(name, immediateOpcode, 'Ux,Ib', ofVector(bits, direction), x66, register, sse2, { group }),
  ]),
  row('psrldq', 0x0f73, 'Ux,Ib', byteShift(false), x66, register, sse2, { group: 3 }),
  row('pslldq', 0x0f73, 'Ux,Ib', byteShift(true), x66, register, sse2, { group: 7 }),
];
