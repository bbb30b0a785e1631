/** AES-NI and PCLMULQDQ: helpers all (engine/x86/crypto.ts). */
import type { Builder } from '../builder.ts';
import { state } from '../state.ts';
import type { Meaning, Operand, Row } from './row.ts';
import { high, low } from './vector.ts';
import { row, x66 } from './vector-columns.ts';

/** dst = the helper's answer for dst and src, which it takes from VECTOR. */
function computed(b: Builder, dst: Operand, src: Operand, call: () => void): void {
  b.setState(state.VECTOR + 16, src.get(), 128);
  b.setState(state.VECTOR, dst.get(), 128);
  call();
  dst.set(b.state(state.VECTOR + 48, 128));
}
const round =
  (name: string): Meaning =>
  (b, dst, src) =>
    computed(b, dst, src, () => b.helper(name));
const keyAssist: Meaning = (b, dst, src, immediate) =>
  computed(b, dst, src, () => b.helper('aeskeygenassist', immediate.get()));

/** Bits 0 and 4 of the immediate choose a half of each operand. */
const pclmulqdq: Meaning = (b, dst, src, immediate) => {
  const y = src.get();
  const x = dst.get();
  const control = immediate.get();
  const bit = (n: number) => b.narrow(b.and(b.shr(control, b.const(n)), b.const(1)));
  b.helper('pclmulqdq', b.select(bit(0), high(b, x), low(b, x)), b.select(bit(4), high(b, y), low(b, y)));
  dst.set(b.state(state.VECTOR + 48, 128));
};

const aes = { prefix: '66', feature: 'aes', unit: 'sse' } as const;

export const cryptoRows: Row[] = [
  row('pclmulqdq', 0x0f3a44, 'Vx,Wx,Ib', pclmulqdq, x66, { feature: 'pclmulqdq', unit: 'sse' }),
  row('aesimc', 0x0f38db, 'Vx,Wx', round('aesimc'), aes),
  row('aesenc', 0x0f38dc, 'Vx,Wx', round('aesenc'), aes),
  row('aesenclast', 0x0f38dd, 'Vx,Wx', round('aesenclast'), aes),
  row('aesdec', 0x0f38de, 'Vx,Wx', round('aesdec'), aes),
  row('aesdeclast', 0x0f38df, 'Vx,Wx', round('aesdeclast'), aes),
  row('aeskeygenassist', 0x0f3adf, 'Vx,Wx,Ib', keyAssist, aes),
];
