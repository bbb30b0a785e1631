/** Operand values worth trying, written into an image: the corners where instructions change their mind. */
import type { Random } from './random.ts';

const CORNERS_LOW = [
  0, 1, 2, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff,
];
const CORNERS_HIGH = [0, 0, 0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xffffffff];

/** 8 bytes: a corner, a small number, a bit, or anything. */
export function putInteger(r: Random, view: DataView, at: number): void {
  let low: number;
  let high: number;
  switch (r.below(6)) {
    case 0:
      low = r.pick(CORNERS_LOW);
      high = r.pick(CORNERS_HIGH);
      break;
    case 1:
      low = r.below(64);
      high = 0;
      break;
    case 2:
      low = -r.below(64) >>> 0;
      high = 0xffffffff;
      break;
    case 3: {
      const bit = r.below(64);
      low = bit < 32 ? (1 << bit) >>> 0 : 0;
      high = bit < 32 ? 0 : (1 << (bit - 32)) >>> 0;
      break;
    }
    default:
      low = r.u32();
      high = r.u32();
  }
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
}

/** 4 bytes as a single-precision number: zeros, infinities, quiet and signalling NaNs, denormals, near-integers … */
export function putSingle(r: Random, view: DataView, at: number): void {
  const sign = r.below(2) << 31;
  const fraction = r.u32() & 0x7fffff;
  let bits: number;
  switch (r.below(14)) {
    case 0:
      bits = 0;
      break;
    case 1:
      bits = 0x7f800000;
      break;
    case 2:
      bits = 0x7fc00000 | fraction;
      break;
    case 3:
      bits = 0x7f800000 | (fraction & 0x3fffff) | 1;
      break;
    case 4:
      bits = fraction;
      break;
    case 5:
      bits = r.pick([1, 0x7fffff, 0x800000, 0x7f7fffff, 0x3f800000, 0x3f7fffff, 0x3f800001]);
      break;
    case 6:
      bits = ((127 + r.below(33)) << 23) | (fraction & (r.u32() << r.below(23)));
      break;
    case 7:
      bits = r.u32() & 0x7fffffff;
      break;
    // Halves and whole numbers, where rounding to an integer decides.
    case 8:
      view.setFloat32(at, (r.below(64) - 32) / 2, true);
      return;
    case 9:
      view.setFloat32(at, r.pick([2147483647, -2147483648, 2147483648, 4294967295, 32767, -32768, 65535]), true);
      return;
    default:
      bits = ((127 - 8 + r.below(16)) << 23) | fraction;
  }
  view.setUint32(at, (bits | sign) >>> 0, true);
}

/** 8 bytes as a double-precision number. */
export function putDouble(r: Random, view: DataView, at: number): void {
  const sign = r.below(2) << 31;
  const low = r.u32();
  const fraction = r.u32() & 0xfffff;
  let high: number;
  let bits = low;
  switch (r.below(14)) {
    case 0:
      high = 0;
      bits = 0;
      break;
    case 1:
      high = 0x7ff00000;
      bits = 0;
      break;
    case 2:
      high = 0x7ff80000 | fraction;
      break;
    case 3:
      high = 0x7ff00000 | (fraction & 0x7ffff) | 1;
      break;
    case 4:
      high = fraction;
      break;
    case 5:
      [high, bits] = r.pick([
        [0, 1],
        [0xfffff, 0xffffffff],
        [0x100000, 0],
        [0x7fefffff, 0xffffffff],
        [0x3ff00000, 0],
        [0x3fefffff, 0xffffffff],
      ] as const) as [number, number];
      break;
    case 6:
      high = ((1023 + r.below(66)) << 20) | (fraction & (r.u32() << r.below(20)));
      bits = r.once(2) ? 0 : low;
      break;
    case 7:
      high = r.u32() & 0x7fffffff;
      break;
    case 8:
      view.setFloat64(at, (r.below(64) - 32) / 2, true);
      return;
    case 9:
      view.setFloat64(
        at,
        r.pick([
          2147483647,
          -2147483648,
          2147483648,
          2147483647.5,
          -2147483648.5,
          9007199254740992,
          2 ** 63,
          -(2 ** 63),
        ]),
        true,
      );
      return;
    // What a single-precision number can just not hold.
    case 10:
      high = ((1023 + r.pick([-150, -149, -127, -126, 127, 128])) << 20) | fraction;
      break;
    default:
      high = ((1023 - 8 + r.below(16)) << 20) | fraction;
  }
  view.setUint32(at, bits, true);
  view.setUint32(at + 4, (high | sign) >>> 0, true);
}

/** 10 bytes as a double extended-precision number, some of them encodings the x87 no longer makes. */
export function putExtended(r: Random, view: DataView, at: number): void {
  const sign = r.below(2) << 15;
  let low = r.u32();
  let high = (r.u32() | 0x80000000) >>> 0;
  let exponent: number;
  switch (r.below(16)) {
    case 0:
      exponent = 0;
      low = high = 0;
      break;
    case 1:
      exponent = 0x7fff;
      low = 0;
      high = 0x80000000;
      break;
    case 2:
      exponent = 0x7fff;
      high = (high | 0xc0000000) >>> 0;
      break;
    case 3:
      exponent = 0x7fff;
      high = ((high & 0x3fffffff) | 0x80000000) >>> 0;
      break;
    case 4:
      exponent = 0;
      high &= 0x7fffffff;
      break; // denormal
    case 5:
      exponent = 0;
      break; // pseudo-denormal
    case 6:
      exponent = r.pick([1, 0x7fff, 0x3fff, 0x4000, 0x403e]);
      high &= 0x7fffffff;
      break; // unnormal, pseudo-NaN
    case 7:
      exponent = r.below(0x8000);
      break;
    case 8:
      exponent = 0x3fff + r.below(70);
      low = r.once(2) ? 0 : low;
      break;
    case 9:
      exponent = r.pick([1, 0x7ffe, 0x3fff - 16383 + 1, 0x3fff + 64]);
      break;
    case 10:
      exponent = 0x3fff + r.below(8);
      low = 0;
      high = (high & (0xff000000 | (1 << 31))) >>> 0;
      break;
    // Around the ends of single and double precision.
    case 11:
      exponent = 0x3fff + r.pick([127, 128, -126, -127, -149, -150, 1023, 1024, -1022, -1023, -1074, -1075]);
      break;
    case 12:
      exponent = 0x3ffe + r.below(2);
      high = (high | (r.once(2) ? 0x7fffff00 : 0)) >>> 0;
      break;
    default:
      exponent = 0x3fff - 20 + r.below(40);
  }
  view.setUint32(at, low, true);
  view.setUint32(at + 4, high, true);
  view.setUint16(at + 8, exponent | sign, true);
}

/** 10 bytes as packed decimal, valid but for once in eight. */
export function putDecimal(r: Random, view: DataView, at: number): void {
  for (let i = 0; i < 9; i++) view.setUint8(at + i, r.below(10) | (r.below(10) << 4));
  if (r.once(8)) view.setUint8(at + r.below(9), r.below(256));
  view.setUint8(at + 9, r.once(2) ? 0x80 : 0);
}

/** 16 bytes for an XMM register or an operand of one: lanes of one kind, of equal bytes, or of text. */
export function putVector(r: Random, view: DataView, at: number): void {
  switch (r.below(8)) {
    case 0:
    case 1:
      for (let i = 0; i < 16; i += 4) putSingle(r, view, at + i);
      break;
    case 2:
    case 3:
      for (let i = 0; i < 16; i += 8) putDouble(r, view, at + i);
      break;
    case 4:
      for (let i = 0; i < 16; i += 8) putInteger(r, view, at + i);
      break;
    case 5: {
      // Text out of few letters, with an end: the string instructions.
      const end = r.below(24);
      for (let i = 0; i < 16; i++) view.setUint8(at + i, i === end ? 0 : 0x61 + r.below(4));
      break;
    }
    case 6:
      // Each byte or word a corner: saturation.
      for (let i = 0; i < 16; i += 2)
        view.setUint16(at + i, r.pick([0, 1, 0xff, 0x7f80, 0x7fff, 0x8000, 0x8001, 0xffff, 0x807f]), true);
      break;
    default:
      for (let i = 0; i < 16; i += 4) view.setUint32(at + i, r.u32(), true);
  }
}
