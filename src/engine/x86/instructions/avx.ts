/** What AVX and AVX2 have that SSE has not (SDM 1, 14.1.3 and 14.7), but for FMA (fma.ts). */
import type { Variable } from '../../../wasm/code.ts';
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import { derivedAvxRows } from './avx-derived.ts';
import { inLanes, nonDestructive } from './avx-lanes.ts';
import type { Feature, Meaning, Operand, Row } from './row.ts';
import { blendByImmediate, blendByMask } from './sse4.ts';
import { bytes, choose, everyByte, high, known, lanes, low, pair, splat, zero } from './vector.ts';
import { memory, none, reads, register, x66 } from './vector-columns.ts';

type Columns = Partial<Row>;
const avxRow = (name: string, opcode: number, operands: string, meaning: Meaning, ...columns: Columns[]): Row =>
  Object.assign({ name, opcode, operands, meaning, feature: 'avx', unit: 'avx', unaligned: true } as Row, ...columns);
const vex = (l: 0 | 1 | undefined, w?: 0 | 1): Columns => ({
  vex: { ...(l !== undefined && { l }), ...(w !== undefined && { w }) },
});
const avx2 = { feature: 'avx2' } as const satisfies { feature: Feature };
const [L0, L1] = [0, 1] as const;

type Lanes = readonly [Value, Value];

/** Both widths of an instruction whose lanes do not look at each other; `operands` for 128 bits. */
function bothWidths(
  name: string,
  opcode: number,
  operands: string,
  meaning: Meaning,
  { w, upperImmediate, ...columns }: Columns & { w: 0 | 1; upperImmediate?: number },
): Row[] {
  const first = operands.split(',')[1]!.startsWith('H');
  const wide = operands.replaceAll('x', 'qq');
  return [
    avxRow(name, opcode, operands, first ? nonDestructive(meaning) : meaning, x66, vex(L0, w), columns),
    avxRow(name, opcode, wide, inLanes(meaning, { first, floats: false, upperImmediate }), x66, vex(L1, w), columns),
  ];
}

// ── broadcasts ────────────────────────────────────────────────────────────────────────────────────────────────────

/** The lowest lane of src everywhere. */
function broadcastOf(b: Builder, src: Operand, bits: 8 | 16 | 32 | 64): Value {
  const value = src.get();
  const source = src.bits === 128 ? low(b, value) : value;
  const shape = { 8: 'i8x16', 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' }[bits];
  return b.wasm(`${shape}.splat`, bits === 64 ? source : b.narrow(source));
}
const broadcast =
  (bits: 8 | 16 | 32 | 64): Meaning =>
  (b, dst, src) => {
    const value = broadcastOf(b, src, bits);
    if (dst.bits === 128) dst.set(value);
    else dst.setLanes([value, value]);
  };
const broadcastLane: Meaning = (_b, dst, src) => {
  const value = src.get();
  dst.setLanes([value, value]);
};
function broadcasts(name: string, opcode: number, bits: 8 | 16 | 32 | 64, size: string, columns: Columns): Row[] {
  const widths = name === 'vbroadcastsd' ? [L1] : [L0, L1];
  return widths.flatMap(l => {
    const dst = l ? 'Vqq' : 'Vx';
    return [
      avxRow(name, opcode, `${dst},M${size}`, broadcast(bits), x66, vex(l, 0), memory, columns),
      avxRow(name, opcode, `${dst},Ux`, broadcast(bits), x66, vex(l, 0), register, avx2),
    ];
  });
}

// ── lanes of 128 bits ─────────────────────────────────────────────────────────────────────────────────────────────

/** Bit n of an immediate, as i32. */
const bitOf = (b: Builder, immediate: Value, n: number) => b.narrow(b.and(b.shr(immediate, b.const(n)), b.const(1)));

const insertLane: Meaning = (b, dst, first, src, immediate) => {
  const value = src.get();
  const [lower, upper] = first.lanes();
  const intoUpper = bitOf(b, immediate.get(), 0);
  dst.setLanes([b.select(intoUpper, lower, value), b.select(intoUpper, value, upper)]);
};
const extractLane: Meaning = (b, dst, src, immediate) => {
  const [lower, upper] = src.lanes();
  dst.set(b.select(bitOf(b, immediate.get(), 0), upper, lower));
};
/** VPERM2x128: each lane is one of four, or zero. */
const permuteLanes: Meaning = (b, dst, first, second, immediate) => {
  const y = second.lanes();
  const x = first.lanes();
  const control = immediate.get();
  const lane = (at: number) => {
    const [odd, fromSecond, clear] = [0, 1, 3].map(n => bitOf(b, control, at + n)) as [Value, Value, Value];
    const of = (source: Lanes) => b.select(odd, source[1], source[0]);
    return b.select(clear, zero(b), b.select(fromSecond, of(y), of(x)));
  };
  dst.setLanes([lane(0), lane(4)]);
};

// ── permutations ──────────────────────────────────────────────────────────────────────────────────────────────────

/** Byte numbers for i8x16.swizzle of 32-bit lanes, from lane numbers that may have higher bits set. */
function doublewordBytes(b: Builder, numbers: Value, mask: number): Value {
  const field = b.wasm('v128.and', numbers, lanes(b, 32, mask));
  return b.wasm('i32x4.add', b.wasm('i32x4.mul', field, lanes(b, 32, 0x04040404)), lanes(b, 32, 0x03020100));
}

const permilpsBy: Meaning = (b, dst, src) => {
  const control = src.get();
  dst.set(b.wasm('i8x16.swizzle', dst.get(), doublewordBytes(b, control, 3)));
};
/** Bit 1 of each control chooses: all its bytes become 8 or 0. */
const permilpdBy: Meaning = (b, dst, src) => {
  const control = src.get();
  const chosen = b.wasm('i64x2.shr_s', b.wasm('i64x2.shl', control, b.i32(62)), b.i32(63));
  const own = bytes(b, i => i % 8);
  dst.set(b.wasm('i8x16.swizzle', dst.get(), b.wasm('v128.or', b.wasm('v128.and', chosen, everyByte(b, 8)), own)));
};

/** VPERMILPS by an immediate: as PSHUFD. */
const permilps: Meaning = (b, dst, src, immediate) => {
  const x = src.get();
  const number = known(immediate.get());
  if (number !== undefined)
    return dst.set(
      choose(
        b,
        x,
        x,
        4,
        [0, 2, 4, 6].map(n => (number >> n) & 3),
      ),
    );
  const weights = bytes(b, i => (i % 4 === 0 ? 64 >> (2 * (i / 4)) : 0));
  const moved = b.wasm('i32x4.mul', splat(b, 'i32x4', immediate.get()), weights);
  dst.set(b.wasm('i8x16.swizzle', x, doublewordBytes(b, b.wasm('i32x4.shr_u', moved, b.i32(6)), 3)));
};
const permilpd: Meaning = (b, dst, src, immediate) => {
  const x = src.get();
  const half = (n: number) => b.select(bitOf(b, immediate.get(), n), high(b, x), low(b, x));
  dst.set(pair(b, half(0), half(1)));
};

/** VPERMD, VPERMPS: eight doublewords, each chosen among eight. */
const permd: Meaning = (b, dst, control, src) => {
  const [lower, upper] = src.lanes();
  const numbers = control.lanes();
  const lane = (n: Value) => {
    const choice = doublewordBytes(b, n, 7);
    // Byte numbers from 16 on are the upper lane's; swizzle answers those that are none of its with zeros.
    const fromUpper = b.wasm('i8x16.sub', choice, everyByte(b, 16));
    return b.wasm('v128.or', b.wasm('i8x16.swizzle', lower, choice), b.wasm('i8x16.swizzle', upper, fromUpper));
  };
  dst.setLanes([lane(numbers[0]), lane(numbers[1])]);
};
/** VPERMQ, VPERMPD: four quadwords, each chosen among four. */
const permq: Meaning = (b, dst, src, immediate) => {
  const [lower, upper] = src.lanes();
  const control = immediate.get();
  const number = known(control);
  if (number !== undefined) {
    const field = (n: number) => (number >> (2 * n)) & 3;
    return dst.setLanes([
      choose(b, lower, upper, 8, [field(0), field(1)]),
      choose(b, lower, upper, 8, [field(2), field(3)]),
    ]);
  }
  const quadword = (n: number) => {
    const lane = b.select(bitOf(b, control, 2 * n + 1), upper, lower);
    return b.select(bitOf(b, control, 2 * n), high(b, lane), low(b, lane));
  };
  const both = (n: number) => pair(b, quadword(n), quadword(n + 1));
  dst.setLanes([both(0), both(2)]);
};

// ── blends ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** VBLENDVPS and its kin: the mask is the fourth operand. */
function variableBlends(name: string, opcode: number, shape: string, bits: number): Row[] {
  const narrow: Meaning = (b, dst, first, second, mask) => {
    const y = second.get();
    dst.set(blendByMask(b, shape, bits, first.get(), y, mask.get()));
  };
  const wide: Meaning = (b, dst, first, second, mask) => {
    const y = second.lanes();
    const [x, m] = [first.lanes(), mask.lanes()];
    const lane = (i: 0 | 1) => blendByMask(b, shape, bits, x[i], y[i], m[i]);
    dst.setLanes([lane(0), lane(1)]);
  };
  const columns = { feature: name === 'vpblendvb' ? 'avx2' : 'avx' } as const;
  return [
    avxRow(name, opcode, 'Vx,Hx,Wx,Lx', narrow, x66, vex(L0, 0)),
    avxRow(name, opcode, 'Vqq,Hqq,Wqq,Lqq', wide, x66, vex(L1, 0), columns),
  ];
}
// ── shifts by counts of their own ─────────────────────────────────────────────────────────────────────────────────

/** WebAssembly has one count for all lanes: each lane is shifted as a scalar. */
const shiftEach =
  (kind: 'shl' | 'shr_u' | 'shr_s', bits: 32 | 64): Meaning =>
  (b, dst, src) => {
    const counts = src.get();
    const x = dst.get();
    const shape = bits === 32 ? 'i32x4' : 'i64x2';
    const last = bits === 32 ? b.i32(31) : b.const(63);
    let result = zero(b);
    for (let lane = 0; lane < 128 / bits; lane++) {
      const of = (v: Value) => b.lane(`${shape}.extract_lane`, lane, v);
      const count = of(counts);
      const fits = b.leu(count, last);
      const shifted = (by: Value) => b.wasm(`i${bits}.${kind}`, of(x), by);
      const none = bits === 32 ? b.i32(0) : b.const(0);
      const value = kind === 'shr_s' ? shifted(b.select(fits, count, last)) : b.select(fits, shifted(count), none);
      result = b.lane(`${shape}.replace_lane`, lane, result, value);
    }
    dst.set(result);
  };

// ── tests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** VTESTPS, VTESTPD: ZF if no sign bit of src is set in dst, CF if all are. */
const testSigns =
  (shape: string): Meaning =>
  (b, dst, src) => {
    const wide = src.bits === 256;
    const y = wide ? src.lanes() : [src.get()];
    const x = wide ? dst.lanes() : [dst.get()];
    const masks = (make: (i: number) => Value) =>
      y.map((_, i) => b.wasm(`${shape}.bitmask`, make(i))).reduce((some, more) => b.either(some, more));
    const noneSet = b.no(masks(i => b.wasm('v128.and', x[i]!, y[i]!)));
    const allSet = b.no(masks(i => b.wasm('v128.andnot', y[i]!, x[i]!)));
    b.flagsFromBits(b.either(allSet, b.shl(noneSet, b.i32(6))));
  };

// ── masked moves and gathers ──────────────────────────────────────────────────────────────────────────────────────

/** The sign of element n of a mask, as a truth value. */
function signOf(b: Builder, mask: readonly Value[], bits: 32 | 64, n: number): Value {
  const perLane = 128 / bits;
  const shape = bits === 32 ? 'i32x4' : 'i64x2';
  const element = b.lane(`${shape}.extract_lane`, n % perLane, mask[Math.floor(n / perLane)]!);
  return bits === 32 ? b.wasm('i32.lt_s', element, b.i32(0)) : b.wasm('i64.lt_s', element, b.const(0));
}
const lanesOf = (operand: Operand): readonly Value[] => (operand.bits === 256 ? operand.lanes() : [operand.get()]);
function setLanesOf(operand: Operand, values: readonly Value[]): void {
  if (values.length === 2) operand.setLanes([values[0]!, values[1]!]);
  else operand.set(values[0]!);
}

/** Computes an address that conditions then share; outside of 64-bit mode each place in the segment is checked for itself. */
function settle(b: Builder, place: Operand): void {
  if (b.tier.wide) b.use(place.address());
}

/** Elements whose mask has the sign bit clear are not looked at in memory, and become zero. */
const maskedLoad =
  (bits: 32 | 64): Meaning =>
  (b, dst, mask, src) => {
    const signs = lanesOf(mask);
    const shape = bits === 32 ? 'i32x4' : 'i64x2';
    const perLane = 128 / bits;
    settle(b, src);
    const results = signs.map(() => b.variable(zero(b)));
    for (let n = 0; n < signs.length * perLane; n++)
      b.when(signOf(b, signs, bits, n), () => {
        const value = b.load(src.displaced(b.const((n * bits) / 8)), bits);
        const result = results[Math.floor(n / perLane)]!;
        const element = bits === 32 ? b.narrow(value) : value;
        result.set(b.lane(`${shape}.replace_lane`, n % perLane, result.get(), element));
      });
    setLanesOf(
      dst,
      results.map(result => result.get()),
    );
  };
const maskedStore =
  (bits: 32 | 64): Meaning =>
  (b, dst, mask, src) => {
    const signs = lanesOf(mask);
    const values = lanesOf(src);
    const shape = bits === 32 ? 'i32x4' : 'i64x2';
    const perLane = 128 / bits;
    settle(b, dst);
    const places = signs.flatMap((_, lane) => Array.from({ length: perLane }, (_, i) => lane * perLane + i));
    const place = (n: number) => dst.displaced(b.const((n * bits) / 8));
    const chosen = (n: number, then: () => void) => b.when(signOf(b, signs, bits, n), then);
    // All may be written, or nothing is.
    for (const n of places) chosen(n, () => b.drop(b.loadForWrite(place(n), bits)));
    for (const n of places) {
      const element = b.lane(`${shape}.extract_lane`, n % perLane, values[Math.floor(n / perLane)]!);
      chosen(n, () => b.store(place(n), bits, bits === 32 ? b.wide(element) : element));
    }
  };
function maskedMoves(
  suffix: string,
  load: number,
  store: number,
  bits: 32 | 64,
  { w, ...columns }: Columns & { w: 0 | 1 },
): Row[] {
  const name = `v${suffix.length === 1 ? 'p' : ''}maskmov${suffix}`;
  return [L0, L1].flatMap(l => {
    const size = l ? 'qq' : 'x';
    const element = bits === 32 ? 'd' : 'q';
    const shared = [x66, vex(l, w), memory, columns];
    return [
      // Of memory the operand is one element.
      avxRow(name, load, `V${size},H${size},M${element}`, maskedLoad(bits), ...shared),
      avxRow(name, store, `M${element},H${size},V${size}`, maskedStore(bits), ...shared),
    ];
  });
}

/**
 * Elements whose mask has the sign bit set are loaded, the lowest first; what has been done is written, and its mask cleared, before the
 * next one may fault: the instruction then goes on with that one.
 */
const gather =
  (bits: 32 | 64, indexBits: 32 | 64): Meaning =>
  (b, dst, src, index, mask) => {
    const shape = bits === 32 ? 'i32x4' : 'i64x2';
    const indexShape = indexBits === 32 ? 'i32x4' : 'i64x2';
    const [perLane, indicesPerLane] = [128 / bits, 128 / indexBits];
    const indices = lanesOf(index);
    // Both lanes: until the last element is there, the upper half stays, be it used or not.
    const masks = mask.lanes().map(value => b.variable(value));
    const results = dst.lanes().map(value => b.variable(value));
    const count = Math.min((dst.bits / 128) * perLane, indices.length * indicesPerLane);
    const both = ([lower, upper]: Variable[]): Lanes => [lower!.get(), upper!.get()];
    for (let n = 0; n < count; n++) {
      const own = masks[Math.floor(n / perLane)]!;
      const result = results[Math.floor(n / perLane)]!;
      b.when(signOf(b, [own.get()], bits, n % perLane), () => {
        const element = b.lane(
          `${indexShape}.extract_lane`,
          n % indicesPerLane,
          indices[Math.floor(n / indicesPerLane)]!,
        );
        const offset = indexBits === 32 ? b.sx(b.wide(element), 32) : element;
        // Those before are done, as far as they were wanted.
        mask.setLanes(both(masks));
        const value = b.load(src.element(b.shl(offset, src.scale())), bits);
        result.set(b.lane(`${shape}.replace_lane`, n % perLane, result.get(), bits === 32 ? b.narrow(value) : value));
        dst.setLanes(both(results));
      });
      const cleared = bits === 32 ? b.i32(0) : b.const(0);
      own.set(b.lane(`${shape}.replace_lane`, n % perLane, own.get(), cleared));
    }
    // Of fewer indices than elements, the rest is cleared.
    const keep = bytes(b, i => (i < (count * bits) / 8 ? 0xff : 0));
    const [lower, upper] = both(results);
    if (dst.bits === 256) dst.setLanes([lower, upper]);
    else dst.set(count < perLane ? b.wasm('v128.and', lower, keep) : lower);
    mask.setLanes([zero(b), zero(b)]);
  };

/** VPGATHERxx, VGATHERxxx: the index's and the element's sizes, by opcode and VEX.W. */
function gathers(): Row[] {
  const rows: Row[] = [];
  for (const [opcode, floats, indexBits] of [
    [0x0f3890, false, 32],
    [0x0f3891, false, 64],
    [0x0f3892, true, 32],
    [0x0f3893, true, 64],
  ] as const)
    for (const w of [0, 1] as const)
      for (const l of [0, 1] as const) {
        const bits = w ? 64 : 32;
        const letter = indexBits === 32 ? 'd' : 'q';
        const name = floats ? `vgather${letter}p${w ? 'd' : 's'}` : `vpgather${letter}${w ? 'q' : 'd'}`;
        const size = (of: number) => (l && of >= Math.max(bits, indexBits) ? 'qq' : 'x');
        const operands = `V${size(bits)},M${w ? 'q' : 'd'},T${size(indexBits)},H${size(bits)}`;
        const columns = { vectorIndex: true, writes: [0, 3], ...avx2 } as const;
        rows.push(avxRow(name, opcode, operands, gather(bits, indexBits), x66, vex(l, w), memory, columns));
      }
  return rows;
}

// ── all registers ─────────────────────────────────────────────────────────────────────────────────────────────────

/** Outside of 64-bit mode there are eight. */
const clearing =
  (...files: number[]): Meaning =>
  b => {
    for (let n = 0; n < (b.tier.wide ? 16 : 8); n++) for (const file of files) b.setState(file + 16 * n, zero(b), 128);
  };

export const avxRows: Row[] = [
  ...derivedAvxRows,
  ...broadcasts('vbroadcastss', 0x0f3818, 32, 'd', {}),
  ...broadcasts('vbroadcastsd', 0x0f3819, 64, 'q', {}),
  avxRow('vbroadcastf128', 0x0f381a, 'Vqq,Mx', broadcastLane, x66, vex(L1, 0), memory),
  avxRow('vbroadcasti128', 0x0f385a, 'Vqq,Mx', broadcastLane, x66, vex(L1, 0), memory, avx2),
  ...broadcasts('vpbroadcastd', 0x0f3858, 32, 'd', avx2),
  ...broadcasts('vpbroadcastq', 0x0f3859, 64, 'q', avx2),
  ...broadcasts('vpbroadcastb', 0x0f3878, 8, 'b', avx2),
  ...broadcasts('vpbroadcastw', 0x0f3879, 16, 'w', avx2),

  avxRow('vperm2f128', 0x0f3a06, 'Vqq,Hqq,Wqq,Ib', permuteLanes, x66, vex(L1, 0)),
  avxRow('vperm2i128', 0x0f3a46, 'Vqq,Hqq,Wqq,Ib', permuteLanes, x66, vex(L1, 0), avx2),
  avxRow('vinsertf128', 0x0f3a18, 'Vqq,Hqq,Wx,Ib', insertLane, x66, vex(L1, 0)),
  avxRow('vinserti128', 0x0f3a38, 'Vqq,Hqq,Wx,Ib', insertLane, x66, vex(L1, 0), avx2),
  avxRow('vextractf128', 0x0f3a19, 'Wx,Vqq,Ib', extractLane, x66, vex(L1, 0)),
  avxRow('vextracti128', 0x0f3a39, 'Wx,Vqq,Ib', extractLane, x66, vex(L1, 0), avx2),

  ...bothWidths('vpermilps', 0x0f380c, 'Vx,Hx,Wx', permilpsBy, { w: 0 }),
  ...bothWidths('vpermilpd', 0x0f380d, 'Vx,Hx,Wx', permilpdBy, { w: 0 }),
  ...bothWidths('vpermilps', 0x0f3a04, 'Vx,Wx,Ib', permilps, { w: 0 }),
  ...bothWidths('vpermilpd', 0x0f3a05, 'Vx,Wx,Ib', permilpd, { w: 0, upperImmediate: 2 }),
  avxRow('vpermps', 0x0f3816, 'Vqq,Hqq,Wqq', permd, x66, vex(L1, 0), avx2),
  avxRow('vpermd', 0x0f3836, 'Vqq,Hqq,Wqq', permd, x66, vex(L1, 0), avx2),
  // SDM 2C has W1; AMD's processors do not look at it.
  avxRow('vpermq', 0x0f3a00, 'Vqq,Wqq,Ib', permq, x66, vex(L1), avx2),
  avxRow('vpermpd', 0x0f3a01, 'Vqq,Wqq,Ib', permq, x66, vex(L1), avx2),

  ...variableBlends('vblendvps', 0x0f3a4a, 'i32x4', 32),
  ...variableBlends('vblendvpd', 0x0f3a4b, 'i64x2', 64),
  ...variableBlends('vpblendvb', 0x0f3a4c, 'i8x16', 8),
  ...bothWidths('vpblendd', 0x0f3a02, 'Vx,Hx,Wx,Ib', blendByImmediate(4), { w: 0, upperImmediate: 4, ...avx2 }),

  ...bothWidths('vpsrlvd', 0x0f3845, 'Vx,Hx,Wx', shiftEach('shr_u', 32), { w: 0, ...avx2 }),
  ...bothWidths('vpsrlvq', 0x0f3845, 'Vx,Hx,Wx', shiftEach('shr_u', 64), { w: 1, ...avx2 }),
  ...bothWidths('vpsravd', 0x0f3846, 'Vx,Hx,Wx', shiftEach('shr_s', 32), { w: 0, ...avx2 }),
  ...bothWidths('vpsllvd', 0x0f3847, 'Vx,Hx,Wx', shiftEach('shl', 32), { w: 0, ...avx2 }),
  ...bothWidths('vpsllvq', 0x0f3847, 'Vx,Hx,Wx', shiftEach('shl', 64), { w: 1, ...avx2 }),

  ...[L0, L1].flatMap(l => [
    avxRow('vtestps', 0x0f380e, l ? 'Vqq,Wqq' : 'Vx,Wx', testSigns('i32x4'), x66, vex(l, 0), reads),
    avxRow('vtestpd', 0x0f380f, l ? 'Vqq,Wqq' : 'Vx,Wx', testSigns('i64x2'), x66, vex(l, 0), reads),
  ]),

  ...maskedMoves('ps', 0x0f382c, 0x0f382e, 32, { w: 0 }),
  ...maskedMoves('pd', 0x0f382d, 0x0f382f, 64, { w: 0 }),
  ...maskedMoves('d', 0x0f388c, 0x0f388e, 32, { w: 0, ...avx2 }),
  ...maskedMoves('q', 0x0f388c, 0x0f388e, 64, { w: 1, ...avx2 }),
  ...gathers(),

  avxRow('vzeroupper', 0x0f77, '', clearing(state.YMM_HIGH), none, vex(L0)),
  avxRow('vzeroall', 0x0f77, '', clearing(state.XMM, state.YMM_HIGH), none, vex(L1)),
];
