/** Names the parts of an image that two images differ in, for reports. */
import {
  DATA,
  FCW,
  FLAGS,
  FSBASE,
  FSW,
  FTW,
  GPR,
  GSBASE,
  MEMORY,
  MXCSR,
  RIP,
  SELECTORS,
  X87,
  XMM,
  YMM_HIGH,
} from './layout.ts';

const GENERAL = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
];

/** Everything but the memory: name, offset, length in bytes. */
export const FIELDS: readonly (readonly [string, number, number])[] = [
  ...GENERAL.map((name, i) => [name, GPR + 8 * i, 8] as const),
  ['rip', RIP, 8],
  ['flags', FLAGS, 4],
  ...['es', 'cs', 'ss', 'ds', 'fs', 'gs'].map((name, i) => [name, SELECTORS + 2 * i, 2] as const),
  ['fsbase', FSBASE, 8],
  ['gsbase', GSBASE, 8],
  ['mxcsr', MXCSR, 4],
  ['fcw', FCW, 2],
  ['fsw', FSW, 2],
  ['ftw', FTW, 1],
  ...Array.from({ length: 8 }, (_, i) => [`fpr${i}`, X87 + 16 * i, 10] as const),
  ...Array.from({ length: 16 }, (_, i) => [`xmm${i}`, XMM + 16 * i, 16] as const),
  ...Array.from({ length: 16 }, (_, i) => [`ymm${i}h`, YMM_HIGH + 16 * i, 16] as const),
];

/** The number in `length` little-endian bytes, in hexadecimal. */
export function hexAt(image: Uint8Array, at: number, length: number): string {
  return Buffer.from(image.subarray(at, at + length))
    .reverse()
    .toString('hex');
}

export interface Difference {
  field: string;
  before: string;
  expected: string;
  actual: string;
}

/** Where `actual` is not `expected`; `before` for orientation. */
export function differences(before: Uint8Array, expected: Uint8Array, actual: Uint8Array): Difference[] {
  const found: Difference[] = [];
  const compare = (field: string, at: number, length: number) => {
    for (let i = 0; i < length; i++)
      if (expected[at + i] !== actual[at + i])
        return void found.push({
          field,
          before: hexAt(before, at, length),
          expected: hexAt(expected, at, length),
          actual: hexAt(actual, at, length),
        });
  };
  for (const [field, at, length] of FIELDS) compare(field, at, length);
  for (let at = MEMORY; at < YMM_HIGH; at += 16) compare(`[${(DATA + at - MEMORY).toString(16)}]`, at, 16);
  return found;
}
