/**
 * The SHA extensions (SDM 1, 5.18; FIPS 180-4), written out in 32-bit words and vectors of four: a call for every four
 * rounds would cost more than the rounds.
 */
import type { Builder, Value } from '../builder.ts';
import { state } from '../state.ts';
import type { Meaning, Row } from './row.ts';
import { choose, lanes, whole, zero } from './vector.ts';
import { row } from './vector-columns.ts';

const word = (b: Builder, x: Value, lane: number) => b.lane('i32x4.extract_lane', lane, x);
const add = (b: Builder, ...words: Value[]) => words.reduce((x, y) => b.add(x, y));
const xor = (b: Builder, ...words: Value[]) => words.reduce((x, y) => b.xor(x, y));
const rotated = (b: Builder, x: Value, right: number) => b.rotr(x, b.i32(right));
const fromWords = (b: Builder, words: readonly Value[]) =>
  words.reduce((x, w, lane) => b.lane('i32x4.replace_lane', lane, x, w), zero(b));

/** The functions of FIPS 180-4, 4.1. */
const chosen = (b: Builder, x: Value, y: Value, z: Value) => xor(b, z, b.both(x, xor(b, y, z)));
const majority = (b: Builder, x: Value, y: Value, z: Value) => b.either(b.both(x, y), b.both(z, b.either(x, y)));
const turns = (b: Builder, x: Value, counts: readonly number[]) => xor(b, ...counts.map(count => rotated(b, x, count)));

/** In every lane. */
const rotatedLanes = (b: Builder, x: Value, left: number) =>
  b.wasm('v128.or', b.wasm('i32x4.shl', x, b.i32(left)), b.wasm('i32x4.shr_u', x, b.i32(32 - left)));
const sigma = (b: Builder, x: Value, right: readonly [number, number], shift: number) =>
  right.reduce(
    (sum, count) => b.wasm('v128.xor', sum, rotatedLanes(b, x, 32 - count)),
    b.wasm('i32x4.shr_u', x, b.i32(shift)),
  );

// ── SHA-1 ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Four rounds: A to D from lane 3 down; E is in the first message word already. The immediate tells which twenty. */
const sha1rnds4: Meaning = (b, dst, src, immediate) => {
  const message = src.get();
  const state = dst.get();
  const twenty = b.narrow(b.and(immediate.get(), b.const(3)));
  const is = (n: number) => b.eq(twenty, b.i32(n));
  const [first, third] = [is(0), is(2)];
  const constant = b.select(
    first,
    b.i32(0x5a827999),
    b.select(third, b.i32(0x8f1bbcdc), b.select(is(1), b.i32(0x6ed9eba1), b.i32(0xca62c1d6))),
  );
  let [a, v, c, d] = [3, 2, 1, 0].map(lane => word(b, state, lane)) as [Value, Value, Value, Value];
  let e = b.i32(0);
  for (let i = 0; i < 4; i++) {
    const parity = xor(b, v, c, d);
    const f = b.select(first, chosen(b, v, c, d), b.select(third, majority(b, v, c, d), parity));
    const next = add(b, f, rotated(b, a, 27), word(b, message, 3 - i), e, constant);
    [a, v, c, d, e] = [next, a, rotated(b, v, 2), c, d];
  }
  dst.set(fromWords(b, [d, c, v, a]));
};

/** E of four rounds on, from the A of now, added to the next message words. */
const sha1nexte = whole((b, x, y) => {
  const e = b.wasm('v128.and', rotatedLanes(b, x, 30), choose(b, zero(b), lanes(b, 32, -1), 4, [0, 0, 0, 4]));
  return b.wasm('i32x4.add', y, e);
});
const sha1msg1 = whole((b, x, y) => b.wasm('v128.xor', x, choose(b, x, y, 4, [6, 7, 0, 1])));
/** The word of lane 0 takes in the one just made in lane 3. */
const sha1msg2 = whole((b, x, y) => {
  const words = rotatedLanes(b, b.wasm('v128.xor', x, choose(b, zero(b), y, 4, [0, 4, 5, 6])), 1);
  return b.wasm('v128.xor', words, rotatedLanes(b, choose(b, words, zero(b), 4, [3, 4, 4, 4]), 1));
});

// ── SHA-256 ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Two rounds: dst has C D G H, src A B E F, from lane 3 down; XMM0 the message words with their constants added. */
const sha256rnds2: Meaning = (b, dst, src) => {
  const message = b.state(state.XMM, 128);
  const second = src.get();
  const first = dst.get();
  let [a, v, e, f] = [3, 2, 1, 0].map(lane => word(b, second, lane)) as [Value, Value, Value, Value];
  let [c, d, g, h] = [3, 2, 1, 0].map(lane => word(b, first, lane)) as [Value, Value, Value, Value];
  for (let i = 0; i < 2; i++) {
    const common = add(b, h, chosen(b, e, f, g), turns(b, e, [6, 11, 25]), word(b, message, i));
    const next = add(b, common, majority(b, a, v, c), turns(b, a, [2, 13, 22]));
    [a, v, c, d, e, f, g, h] = [next, a, v, c, add(b, common, d), e, f, g];
  }
  dst.set(fromWords(b, [f, e, v, a]));
};

const sha256msg1 = whole((b, x, y) => b.wasm('i32x4.add', x, sigma(b, choose(b, x, y, 4, [1, 2, 3, 4]), [7, 18], 3)));
/** The upper two words take in the lower two, just made. Of zero sigma is zero. */
const sha256msg2 = whole((b, x, y) => {
  const lower = b.wasm('i32x4.add', x, sigma(b, choose(b, y, zero(b), 4, [2, 3, 4, 4]), [17, 19], 10));
  return b.wasm('i32x4.add', lower, sigma(b, choose(b, lower, zero(b), 4, [4, 4, 0, 1]), [17, 19], 10));
});

/** AMD's processors take memory of any alignment here, whatever the manual says of the type (SDM 2A, table 2-21). */
const sha = { prefix: 'none', feature: 'sha', unit: 'sse', unaligned: true } as const;

export const shaRows: Row[] = [
  row('sha1nexte', 0x0f38c8, 'Vx,Wx', sha1nexte, sha),
  row('sha1msg1', 0x0f38c9, 'Vx,Wx', sha1msg1, sha),
  row('sha1msg2', 0x0f38ca, 'Vx,Wx', sha1msg2, sha),
  row('sha256rnds2', 0x0f38cb, 'Vx,Wx', sha256rnds2, sha),
  row('sha256msg1', 0x0f38cc, 'Vx,Wx', sha256msg1, sha),
  row('sha256msg2', 0x0f38cd, 'Vx,Wx', sha256msg2, sha),
  row('sha1rnds4', 0x0f3acc, 'Vx,Wx,Ib', sha1rnds4, sha),
];
