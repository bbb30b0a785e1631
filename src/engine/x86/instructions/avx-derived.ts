/**
 * The VEX forms of SSE's instructions (SDM 1, 14.1 to 14.7), made from their rows. VEX.128 clears the upper half of the YMM register
 * that it writes (the operand sees to that), memory need not be aligned but for MOVAPS and its kin, and most instructions read a first
 * source of their own.
 */

import { VEX_PREDICATES } from '../float-predicates.ts';
import { state } from '../state.ts';
import { inLanes, type LaneTraits, narrowedInLanes, nonDestructive, type Share } from './avx-lanes.ts';
import { extendedStateRows } from './extended-state.ts';
import type { Meaning, Row } from './row.ts';
import { compareRows } from './sse-compare.ts';
import { sseRows } from './sse-rows.ts';
import { vmaskmovdqu } from './sse-shuffle.ts';
import { zero } from './vector.ts';

const names =
  (...patterns: RegExp[]) =>
  (row: Row) =>
    patterns.some(pattern => pattern.test(row.name));

/** Not there under VEX, or another row there (avx.ts). */
const withoutVex = names(
  /^(p?blendv.*|cmp.*|cvtt?p.2pi|cvtpi2p.|movnti|crc32|popcnt|movbe|fx(save|rstor)|x(save.*|rstor|[gs]etbv)|[lms]fence|clflushopt|prefetchw|emms)$/,
);
/** One source: VEX.vvvv names none. */
const unary = names(
  /^(mov([ua]p[sd]|dq[au]|s[lh]dup|ddup|nt.*|[dq]|mskp[sd])|lddqu|pmovmskb|maskmovdqu|ptest|phminposuw)$/,
  /^(sqrt|r(sqrt|cp)|round)p[sd]$/,
  /^(pabs.|pshuf(d|hw|lw)|pmov[sz]x..|pextr.|extractps|u?comis[sd]|pcmp.str.|aesimc|aeskeygenassist|(ld|st)mxcsr)$/,
  /^cvt(.*p[sd]2(dq|p[sd])|dq2p[sd]|t?s[sd]2si)$/,
);
/** A scalar: VEX.L does not matter. */
const scalar = names(
  /^((add|sub|mul|div|sqrt|min|max|rcp|rsqrt|round|cmp|u?comi)s[sd]|movs[sd]|cvt(si2s[sd]|s[sd]2s[sd]|t?s[sd]2si))$/,
);
/** Of 128 bits only. */
const narrowOnly = names(
  /^(mov([dq]|[lh]p[sd]|hlps|lhps)|phminposuw|pcmp.str.|aes.*|pclmulqdq|pextr[bwd]|extractps|pinsr[bwd]|insertps|dppd|maskmovdqu|(ld|st)mxcsr)$/,
);
const aligned = names(/^mov(ap[sd]|dqa|nt.*)$/);
/** Those on integers are AVX2's at 256 bits. */
const ofAvx2 = (row: Row) => /^(p|mpsadbw|movntdqa)/.test(row.name) && row.name !== 'ptest';
const isFloat = (row: Row) => row.feature !== undefined && /p[sd]$|^cvt/.test(row.name);

/** A two-operand scalar move with memory: the other one, of registers, has three. */
const isPlainMove = (row: Row) =>
  /^mov(s[sd]|[lh]p[sd])$/.test(row.name) && row.form === 'memory' && !/^Vx,Mq$/.test(row.operands);
const isScalarLoad = (row: Row) => /^movs[sd]$/.test(row.name) && row.form === 'memory';
const hasFirst = (row: Row) => !unary(row) && !isPlainMove(row) && !isScalarLoad(row);

/** A first source after the destination; of shifts by an immediate the destination itself is VEX.vvvv's. */
function withFirst(operands: string): string {
  const [dst, ...others] = operands.split(',');
  return dst === 'Ux' && others.join() === 'Ib' ? 'Hx,Ux,Ib' : [dst, 'Hx', ...others].join();
}

/** At 256 bits a source of half the size is twice as wide. */
const DOUBLED: Record<string, string> = { x: 'qq', q: 'x', d: 'q', w: 'd' };
const doubled = (operand: string): string => operand[0]! + (DOUBLED[operand.slice(1)] ?? operand.slice(1));

/** Where the upper lane's bits of an immediate start that has some for each. */
const UPPER_IMMEDIATES: Record<string, number> = { blendps: 4, blendpd: 2, shufpd: 2, mpsadbw: 3 };

/** The 256-bit form: its operands, and how the lanes share the sources. */
function wideForm(row: Row): { operands: string; meaning: Meaning } {
  const first = hasFirst(row);
  const listed = (first ? withFirst(row.operands) : row.operands).split(',');
  if (/^cvtt?pd2/.test(row.name)) return { operands: 'Vx,Wqq', meaning: narrowedInLanes(row.meaning) };
  const traits = (share: Share): LaneTraits => ({
    first,
    share,
    upperImmediate: UPPER_IMMEDIATES[row.name],
    floats: isFloat(row),
  });
  // Packed shifts take one count of 128 bits.
  if (/^ps(ll|rl|ra)[wdq]$/.test(row.name) && listed[2] === 'Wx')
    return { operands: 'Vqq,Hqq,Wx', meaning: inLanes(row.meaning, traits('all')) };
  if (row.name === 'movddup') {
    const meaning: Meaning = (b, dst, src) => {
      const [lower, upper] = src.lanes();
      const twice = (x: typeof lower) => b.wasm('i64x2.splat', b.lane('i64x2.extract_lane', 0, x));
      dst.setLanes([twice(lower), twice(upper)]);
    };
    return { operands: 'Vqq,Wqq', meaning };
  }
  return { operands: listed.map(doubled).join(), meaning: inLanes(row.meaning, traits('half')) };
}

/** Sign bits of both lanes, and flags of them. */
const maskOfLanes =
  (shape: string, count: number): Meaning =>
  (b, dst, src) => {
    const [lower, upper] = src.lanes().map(lane => b.wasm(`${shape}.bitmask`, lane));
    dst.set(b.wide(b.either(lower!, b.shl(upper!, b.i32(count)))));
  };
const moveWide: Meaning = (_b, dst, src) => dst.setLanes(src.lanes());
const testWide: Meaning = (b, dst, src) => {
  const [x, y] = [dst.lanes(), src.lanes()];
  const any = (of: (i: 0 | 1) => ReturnType<typeof b.i32>) => b.wasm('v128.any_true', b.wasm('v128.or', of(0), of(1)));
  const none = b.no(any(i => b.wasm('v128.and', x[i], y[i])));
  const all = b.no(any(i => b.wasm('v128.andnot', y[i], x[i])));
  b.flagsFromBits(b.either(all, b.shl(none, b.i32(6))));
};
/** PCMPxSTRM: its destination is no operand. */
const answersInXmm0 =
  (meaning: Meaning): Meaning =>
  (b, ...operands) => {
    meaning(b, ...operands);
    b.setState(state.YMM_HIGH, zero(b), 128);
  };
const WIDE: Record<string, Meaning> = {
  pmovmskb: maskOfLanes('i8x16', 16),
  movmskps: maskOfLanes('i32x4', 4),
  movmskpd: maskOfLanes('i64x2', 2),
  ptest: testWide,
};

/** VPEXTRD and VPINSRD; with VEX.W VPEXTRQ and VPINSRQ, which 64-bit mode alone has. */
function byWidth(row: Row): Row[] {
  const operands = (size: string) => row.operands.replace('Ey', `E${size}`);
  return [
    { ...row, operands: operands('d'), vex: { l: 0, w: 0 } },
    { ...row, name: row.name.replace(/d$/, 'q'), operands: operands('q'), vex: { l: 0, w: 1 }, mode: 'o64' },
  ];
}

function vexForms(row: Row): Row[] {
  const { hot: _hot, ...columns } = row;
  const base = { ...columns, name: `v${row.name}`, feature: 'avx', unit: 'avx' } as const;
  const common = aligned(row) ? base : { ...base, unaligned: true as const };
  const first = hasFirst(row);
  if (row.name === 'maskmovdqu') return [{ ...common, meaning: vmaskmovdqu, vex: { l: 0 } }];
  const narrow: Row = {
    ...common,
    operands: first ? withFirst(row.operands) : row.operands,
    meaning: first
      ? nonDestructive(row.meaning)
      : /^pcmp.strm$/.test(row.name)
        ? answersInXmm0(row.meaning)
        : row.meaning,
    vex: scalar(row) ? {} : { l: 0 },
  };
  if (/^p(extr|insr)d$/.test(row.name)) return byWidth(narrow);
  if (scalar(row) || narrowOnly(row)) return [narrow];
  const wide = { ...common, vex: { l: 1 }, feature: ofAvx2(row) ? 'avx2' : 'avx' } as const;
  const own = WIDE[row.name];
  if (own) return [narrow, { ...wide, operands: row.operands.replaceAll('x', 'qq'), meaning: own }];
  if (/^(mov([ua]p[sd]|dq[au]|nt.*)|lddqu)$/.test(row.name))
    return [narrow, { ...wide, operands: row.operands.replaceAll('x', 'qq'), meaning: moveWide }];
  return [narrow, { ...wide, ...wideForm(row) }];
}

const ROWS: readonly Row[] = [...sseRows, ...extendedStateRows];

export const derivedAvxRows: Row[] = [
  ...ROWS.filter(row => row.unit === 'sse' && row.prefix && !withoutVex(row)).flatMap(vexForms),
  ...compareRows(VEX_PREDICATES).flatMap(vexForms),
];
